"""The engine for SQLite: one recipe that does not lose what it acknowledged, and a guard for versions that would.

The recipe follows https://docs.sqlalchemy.org/en/21/dialects/sqlite.html (transactions) and https://sqlite.org/wal.html.
"""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import structlog
from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event

from sentinel.errors import Invalid, Unavailable

_log = structlog.get_logger(__name__)

Version = tuple[int, int, int]

_INSTALL = "install pysqlite3 0.6.1 or newer, or a Python built with SQLite 3.51.3 or newer"


def loses_shared_wal(version: Version) -> bool:
    """Whether this SQLite can lose commits when several connections share a write-ahead log.

    The "WAL-reset bug": 3.7.0 to 3.51.2, except where it was mended in 3.50.7 and 3.44.6. Source:
    https://sqlite.org/wal.html#walresetbug.
    """
    if (3, 50, 7) <= version < (3, 51, 0) or (3, 44, 6) <= version < (3, 45, 0):
        return False
    return (3, 7, 0) <= version <= (3, 51, 2)


def journaling(version: Version) -> tuple[str, str]:
    """`journal_mode` and `synchronous` that are durable on this SQLite.

    A sound one shares a write-ahead log; an affected one goes without. EXTRA, as in DELETE mode FULL may bring a
    committed transaction's rollback journal back after a power cut. Raises Unavailable before 3.37, for want of
    STRICT tables.
    """
    if version < (3, 37, 0):
        raise Unavailable(f"SQLite {_dotted(version)} is too old, 3.37 is the least that will do: {_INSTALL}")
    return ("delete", "EXTRA") if loses_shared_wal(version) else ("wal", "FULL")


def driver() -> ModuleType:
    """pysqlite3, which brings a sound SQLite, or else Python's own sqlite3.

    Never both on one file in one process: SQLite's locks hold between processes and inside one copy of its library,
    and two copies in a process do not see each other's.
    """
    try:
        return importlib.import_module("pysqlite3.dbapi2")
    except ModuleNotFoundError:
        return importlib.import_module("sqlite3")


def sqlite_engine(url: URL, *, lock_wait_s: float, dbapi: ModuleType | None = None) -> Engine:
    """An engine with one connection whose transactions take the write lock at once.

    With the execution option `read_only=True` a transaction takes no lock that others would wait for. A lock held
    elsewhere is waited for `lock_wait_s` at most. The directory of the file is created. Raises Invalid if `url` names
    no file and Unavailable if the directory cannot be made or SQLite is too old.
    """
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise Invalid("store.url", url.render_as_string(), "sqlite:///PATH with the path of a file")
    dbapi = dbapi or driver()
    version: Version = dbapi.sqlite_version_info
    mode, synchronous = journaling(version)
    if mode != "wal":
        _log.warning("sqlite.affected", version=_dotted(version), journal_mode=mode, remedy=_INSTALL)
    directory = Path(url.database).parent
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"directory {directory} for the journal cannot be created: {error.strerror}") from None
    engine = create_engine(
        url,
        module=dbapi,
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_timeout=lock_wait_s,
        hide_parameters=True,
        # The pool hands the one connection to one thread at a time; which thread may change from call to call.
        connect_args={"timeout": lock_wait_s, "check_same_thread": False},
    )

    def configure(connection: Any, _record: object) -> None:
        # The driver's own transaction control begins only before a write: what was read first is then not
        # protected, and the upgrade fails at once with "locked", whatever the timeout. BEGIN is ours, below.
        connection.isolation_level = None
        try:
            (got,) = connection.execute(f"PRAGMA journal_mode={mode}").fetchone()
        except dbapi.OperationalError:
            if mode == "wal":
                raise
            # "Locked": only the last connection to a write-ahead log may leave it.
            (got,) = connection.execute("PRAGMA journal_mode").fetchone()
        _refuse_other_mode(got, mode, version, url.database)
        connection.execute(f"PRAGMA synchronous={synchronous}")
        connection.execute("PRAGMA foreign_keys=ON")

    def begin(connection: Connection) -> None:
        read_only = connection.get_execution_options().get("read_only", False)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
        if mode != "wal":
            # A process with a sound SQLite may have switched the file to a shared WAL since.
            got = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
            _refuse_other_mode(got, mode, version, url.database)

    event.listen(engine, "connect", configure)
    event.listen(engine, "begin", begin)
    return engine


def _refuse_other_mode(got: str, wanted: str, version: Version, path: str | None) -> None:
    """SQLite answers a `journal_mode` it cannot set with the one it has, not with an error."""
    if got == wanted:
        return
    if wanted == "wal":
        raise Unavailable(f"journal {path} cannot use a write-ahead log (journal_mode is {got}): use a local disk")
    raise Unavailable(
        f"journal {path} is in {got} mode in another process, and SQLite {_dotted(version)} loses commits when "
        f"several connections share a write-ahead log: {_INSTALL}, or stop the other process"
    )


def _dotted(version: Version) -> str:
    return ".".join(str(part) for part in version)
