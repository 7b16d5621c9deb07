"""A SQL database by URL, SQLite or PostgreSQL: what every store in it shares."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL, BigInteger, Engine, Integer, MetaData, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from sentinel.adapters import migrations
from sentinel.adapters.sqlite import sqlite_engine
from sentinel.errors import Conflict, Invalid, Unavailable

METADATA = MetaData()
BIG = BigInteger().with_variant(Integer(), "sqlite")

_STATEMENT_TIMEOUT_S = 30
_IDLE_IN_TRANSACTION_TIMEOUT_S = 60


class SqlDatabase:
    """An open database whose schema is up to date; `reader` takes no lock that others would wait for."""

    def __init__(self, url: str, *, lock_wait_s: float = 10.0) -> None:
        """Open `sqlite:///PATH` or `postgresql+psycopg://…`.

        A lock that another writer holds is waited for `lock_wait_s` at most. Raises Invalid for a URL of another
        kind and a database that is none or that a newer Sentinel wrote; Unavailable if it cannot be reached.
        """
        parsed = _parse(url)
        self.where = _without_secrets(parsed)
        self.engine = (
            sqlite_engine(parsed, lock_wait_s=lock_wait_s)
            if parsed.get_backend_name() == "sqlite"
            else _postgresql_engine(parsed, lock_wait_s)
        )
        self.reader = self.engine.execution_options(read_only=True)
        try:
            with self.translated():
                migrations.upgrade(self.engine)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Raises our errors for those of SQLAlchemy: Conflict where another writer was first, else `failure`."""
        try:
            yield
        except IntegrityError as error:
            raise Conflict(f"journal {self.where}: another writer was first ({_first_line(error)})") from None
        except (DBAPIError, PoolTimeout) as error:
            raise self.failure(error) from None

    def failure(self, error: DBAPIError | PoolTimeout) -> Invalid | Unavailable:
        """What `error` means to a caller."""
        if getattr(getattr(error, "orig", None), "sqlite_errorname", "") == "SQLITE_NOTADB":
            return Invalid("store.url", self.where, "a file that SQLite wrote")
        return Unavailable(f"journal {self.where} does not answer: {_first_line(error)}")

    def close(self) -> None:
        """Release the connection. Calling it twice is harmless."""
        self.engine.dispose()


def _parse(url: str) -> URL:
    expected = "sqlite:///PATH or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"
    try:
        parsed = make_url(url)
    except ArgumentError:
        # Not shown: what cannot be parsed cannot be freed of its password.
        raise Invalid("store.url", "(not shown)", expected) from None
    if parsed.drivername not in ("sqlite", "postgresql+psycopg"):
        raise Invalid("store.url", _without_secrets(parsed), expected)
    return parsed


def _without_secrets(url: URL) -> str:
    """`url` for people. Without its query, where a password may be as well."""
    return url.set(query={}).render_as_string(hide_password=True)


def _postgresql_engine(url: URL, lock_wait_s: float) -> Engine:
    limits = {
        "statement_timeout": _STATEMENT_TIMEOUT_S,
        "lock_timeout": lock_wait_s,
        "idle_in_transaction_session_timeout": _IDLE_IN_TRANSACTION_TIMEOUT_S,
    }
    ours = " ".join(f"-c {name}={round(seconds * 1000)}" for name, seconds in limits.items())
    given = url.query.get("options", "")
    defaults = {"connect_timeout": 5, "keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 5}
    defaults |= {"keepalives_count": 3, "tcp_user_timeout": 30_000}
    return create_engine(
        url,
        isolation_level="READ COMMITTED",
        pool_size=1,
        max_overflow=0,
        pool_timeout=lock_wait_s,
        pool_pre_ping=True,
        hide_parameters=True,
        # What the URL says wins: of an option given twice, PostgreSQL takes the later.
        connect_args={name: value for name, value in defaults.items() if name not in url.query}
        | {"options": f"{ours} {given if isinstance(given, str) else ' '.join(given)}".strip()},
    )


def _first_line(error: DBAPIError | PoolTimeout) -> str:
    return str(getattr(error, "orig", error)).split("\n", maxsplit=1)[0]
