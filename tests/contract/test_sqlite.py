"""What only SQLite can suffer: an unsound version, a lock, a full disk, a killed writer."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy import Connection, Engine, event, make_url, text

from sentinel.adapters.sql_journal import SqlJournalStore
from sentinel.adapters.sqlite import Version, driver, journaling, loses_shared_wal, sqlite_engine
from sentinel.clock import SystemClock
from sentinel.errors import Invalid, Unavailable
from sentinel.incidents.audit import verify
from tests.contract.conftest import A, B, chain


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture
def other(url: str) -> Iterator[Engine]:
    """Another connection to the same file."""
    engine = sqlite_engine(make_url(url), lock_wait_s=1)
    yield engine
    engine.dispose()


def pragmas(connection: Connection) -> dict[str, object]:
    names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    return {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names}


class TestVersion:
    @pytest.mark.parametrize(
        ("version", "loses"),
        [
            ((3, 6, 23), False),
            ((3, 7, 0), True),
            ((3, 40, 1), True),
            ((3, 44, 5), True),
            ((3, 44, 6), False),
            ((3, 45, 0), True),
            ((3, 50, 6), True),
            ((3, 50, 7), False),
            ((3, 51, 0), True),
            ((3, 51, 2), True),
            ((3, 51, 3), False),
            ((3, 53, 4), False),
        ],
    )
    def test_which_lose_commits(self, version: Version, loses: bool) -> None:
        assert loses_shared_wal(version) is loses

    @pytest.mark.parametrize(
        ("version", "mode"), [((3, 53, 4), ("wal", "FULL")), ((3, 40, 1), ("delete", "EXTRA"))], ids=str
    )
    def test_affected_one_goes_without_wal(self, version: Version, mode: tuple[str, str]) -> None:
        assert journaling(version) == mode

    def test_too_old_is_refused_with_the_remedy(self) -> None:
        with pytest.raises(Unavailable, match=r"SQLite 3\.31\.1 is too old.*install pysqlite3"):
            journaling((3, 31, 1))

    @pytest.mark.skipif(sys.platform != "linux", reason="pysqlite3 is a dependency on Linux only")
    def test_the_installed_one_is_sound(self) -> None:
        assert driver().__name__ == "pysqlite3.dbapi2"
        assert not loses_shared_wal(driver().sqlite_version_info)


class TestRecipe:
    def test_sound_version(self, url: str) -> None:
        engine = sqlite_engine(make_url(url), lock_wait_s=1.5)
        with engine.connect() as connection:
            assert pragmas(connection) == {
                "journal_mode": "wal",
                "synchronous": 2,
                "foreign_keys": 1,
                "busy_timeout": 1500,
            }
        engine.dispose()

    def test_readers_do_not_wait_for_a_writer(self, url: str, other: Engine) -> None:
        store = SqlJournalStore(url, lock_wait_s=0)
        store.append(chain(A, 1))
        with other.begin():
            assert store.read(A) == chain(A, 1)
            again = SqlJournalStore(url, lock_wait_s=0)
            assert again.incident_ids() == [A]
            again.close()
        store.close()

    def test_wrong_types_are_refused_by_the_tables(self, url: str, other: Engine) -> None:
        store = SqlJournalStore(url)
        store.append(chain(A, 1))
        with other.begin() as connection, pytest.raises(Exception, match="cannot store TEXT value in INTEGER column"):
            connection.execute(text("UPDATE entries SET at_ms = 'yesterday'"))
        store.close()


class TestAffectedVersion:
    """The sound library under the number of an affected one: the guard decides by number."""

    @pytest.fixture
    def affected(self) -> ModuleType:
        module = ModuleType("affected")
        vars(module).update(vars(driver()))
        vars(module)["sqlite_version_info"] = (3, 45, 1)
        return module

    def test_works_alone_without_wal(self, url: str, affected: ModuleType) -> None:
        engine = sqlite_engine(make_url(url), lock_wait_s=0.1, dbapi=affected)
        with engine.begin() as connection:
            found = pragmas(connection)
        assert (found["journal_mode"], found["synchronous"]) == ("delete", 3)
        engine.dispose()

    def test_refuses_a_shared_wal(self, url: str, other: Engine, affected: ModuleType) -> None:
        with other.begin() as connection:
            connection.execute(text("CREATE TABLE something (x)"))
        engine = sqlite_engine(make_url(url), lock_wait_s=0.1, dbapi=affected)
        with pytest.raises(Unavailable, match=r"is in wal mode in another process, and SQLite 3\.45\.1 loses commits"):
            engine.connect()
        other.dispose()
        engine.connect().close()
        engine.dispose()

    def test_refuses_to_go_on_when_it_becomes_shared(self, url: str, other: Engine, affected: ModuleType) -> None:
        engine = sqlite_engine(make_url(url), lock_wait_s=0.1, dbapi=affected)
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE something (x)"))
        other.connect().close()
        with pytest.raises(Unavailable, match="loses commits"), engine.begin():
            pytest.fail("a transaction on a shared write-ahead log")
        engine.dispose()


class TestPlace:
    @pytest.mark.parametrize("url", ["sqlite:///:memory:", "sqlite://", "sqlite:///file:x?uri=true"])
    def test_no_file_is_invalid(self, url: str) -> None:
        with pytest.raises(Invalid, match="with the path of a file"):
            SqlJournalStore(url)

    def test_file_of_something_else_is_invalid(self, path: Path, url: str) -> None:
        path.write_text("not a database, but long enough to look at. " * 100)
        with pytest.raises(Invalid, match="a file that SQLite wrote"):
            SqlJournalStore(url)
        assert path.read_text().startswith("not a database")

    def test_directory_that_cannot_be_made_is_unavailable(self, path: Path, url: str) -> None:
        path.write_text("")
        with pytest.raises(Unavailable, match="cannot be created"):
            SqlJournalStore(f"{url}/below/journal.db")


class TestTrouble:
    def test_lock_of_another_writer_is_waited_for_a_bounded_time(self, url: str, other: Engine) -> None:
        store, clock = SqlJournalStore(url, lock_wait_s=0.3), SystemClock()
        one, two = chain(A, 2)
        store.append([one])
        with other.begin():
            start = clock.monotonic()
            with pytest.raises(Unavailable, match="database is locked"):
                store.append([two])
            assert 0.25 < clock.monotonic() - start < 5
        assert store.read(A) == [one]
        store.append([two])
        store.close()

    def test_lock_that_is_released_in_time_is_no_trouble(self, url: str, other: Engine) -> None:
        store = SqlJournalStore(url, lock_wait_s=10)
        with ThreadPoolExecutor(1) as threads:
            with other.begin():
                appending = threads.submit(store.append, chain(A, 1))
                with pytest.raises(TimeoutError):
                    appending.result(0.3)
            assert appending.result(10) == 1
        store.close()

    def test_full_disk_refuses_the_append_and_spares_the_rest(self, url: str) -> None:
        def small_disk(connection, _record) -> None:
            connection.execute("PRAGMA max_page_count=40")

        event.listen(Engine, "connect", small_disk)
        try:
            store = SqlJournalStore(url)
        finally:
            event.remove(Engine, "connect", small_disk)
        records = chain(A, 6, body="x" * 30_000)
        store.append(records[:2])
        with pytest.raises(Unavailable, match="database or disk is full"):
            store.append(records[2:])
        assert store.read(A) == records[:2]
        assert store.append(chain(B, 1)) > 2
        assert store.incident_ids() == [B, A]
        store.close()


_ROOT = Path(__file__).parents[2]
_WRITER = """
import sys
from sentinel.adapters.sql_journal import SqlJournalStore
from tests.contract.conftest import A, chain
store = SqlJournalStore(sys.argv[1])
last = (store.read(A) or [None])[-1]
while True:
    (last,) = chain(A, 1, last, body="x" * 2_000)
    store.append([last])
    print(last.seq, flush=True)
"""


def test_killed_writer_loses_nothing_it_acknowledged(url: str, other: Engine) -> None:
    acknowledged = 0
    for kill in range(4):
        with subprocess.Popen([sys.executable, "-c", _WRITER, url], stdout=subprocess.PIPE, cwd=_ROOT) as writer:
            assert writer.stdout
            for _ in range(10 + 7 * kill):
                acknowledged = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
            acknowledged = int((writer.stdout.read().splitlines() or [acknowledged])[-1])
        store = SqlJournalStore(url)
        records = store.read(A)
        store.close()
        assert len(records) in (acknowledged, acknowledged + 1)
        assert verify(records) is None
    with other.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
