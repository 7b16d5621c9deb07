"""The contract of `ports.SilenceStore`, on the twin in memory, on SQLite and on PostgreSQL."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sentinel.adapters.in_memory_silences import InMemorySilenceStore
from sentinel.adapters.sql_journal import SqlJournalStore
from sentinel.adapters.sql_silences import SqlSilenceStore
from sentinel.correlation.silences import Matcher, Silence, silence
from sentinel.errors import Conflict, NotFound
from sentinel.ports import SilenceStore

NOW = 1_700_000_000_000
HOUR = 3_600_000
Open = Callable[[], SilenceStore]


def quiet(service: str = "payments", *, now_ms: int = NOW) -> Silence:
    return silence([Matcher(name="service", value=service)], now_ms, now_ms + HOUR, "Ann ☕", "a deploy", now_ms)


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens one more store on one and the same silences, as another process would."""
    if request.param == "memory":
        twin = InMemorySilenceStore()
        yield lambda: twin
        return
    url = f"sqlite:///{tmp_path}/journal.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    opened: list[SqlJournalStore] = []

    def open_one() -> SilenceStore:
        opened.append(SqlJournalStore(url))
        return SqlSilenceStore(opened[-1].database)

    yield open_one
    for each in opened:
        each.close()


def test_a_silence_comes_back_whole_to_another_process(open_store: Open):
    kept = quiet()
    open_store().add(kept)
    assert open_store().silences() == [kept]


def test_adding_it_again_changes_nothing(open_store: Open):
    store = open_store()
    store.add(quiet())
    store.end(quiet().id, NOW + 1, "Bob")
    store.add(quiet())
    assert [each.ended_by for each in store.silences()] == ["Bob"]


def test_the_newest_come_first(open_store: Open):
    store = open_store()
    made = [quiet(now_ms=NOW + n) for n in range(3)]
    for each in made:
        store.add(each)
    assert store.silences() == made[::-1]


def test_one_that_is_ended_says_by_whom_and_when(open_store: Open):
    store = open_store()
    store.add(quiet())
    after = store.end(quiet().id, NOW + 60_000, "Bob")
    assert after == replace(quiet(), ends_at_ms=NOW + 60_000, ended_by="Bob")
    assert open_store().silences() == [after]


def test_what_is_over_or_unknown_cannot_be_ended(open_store: Open):
    store = open_store()
    with pytest.raises(NotFound, match="no silence sil-0"):
        store.end("sil-0", NOW, "Bob")
    store.add(quiet())
    with pytest.raises(Conflict, match="is over"):
        store.end(quiet().id, NOW + HOUR, "Bob")
