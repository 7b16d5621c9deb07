"""The journal store on SQLite or PostgreSQL, by URL."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Row,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from sentinel.adapters.in_memory import refuse_unless_positive
from sentinel.adapters.sql_database import BIG, METADATA, SqlDatabase
from sentinel.adapters.sql_ledger import SWITCHES, apply_guard, switched
from sentinel.errors import OutcomeUnknown
from sentinel.ids import IncidentId
from sentinel.incidents.audit import GENESIS, Record, refuse_unless_following
from sentinel.ports import Located
from sentinel.remediation.budget import Guard

ENTRIES = Table(
    "entries",
    METADATA,
    Column("position", BIG, Identity()),
    Column("incident_id", Text, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("at_ms", BIG, nullable=False),
    Column("principal", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("prev_hash", Text, nullable=False),
    Column("hash", Text, nullable=False),
    PrimaryKeyConstraint("position", name="entries_pkey"),
    UniqueConstraint("incident_id", "seq", name="entries_incident_seq"),
    Index("entries_incident_position", "incident_id", "position"),
    sqlite_strict=True,
    sqlite_autoincrement=True,
)
_RECORD = tuple(column for column in ENTRIES.c if column.name != "position")

# What each append asks, made once: SQLAlchemy takes longer to put a statement together than SQLite to answer it.
_LAST = (
    select(ENTRIES.c.seq, ENTRIES.c.hash)
    .where(ENTRIES.c.incident_id == bindparam("incident_id"))
    .order_by(ENTRIES.c.seq.desc())
    .limit(1)
)
_POSITION = select(ENTRIES.c.position).where(
    *(ENTRIES.c[name] == bindparam(name) for name in ("incident_id", "seq", "hash"))
)
_INSERT = insert(ENTRIES)
_LOCK = text("SELECT pg_advisory_xact_lock(:key)")

# "SENTINEL" in ASCII: a key that nobody else in the database takes by chance.
_APPEND_LOCK = 0x53454E54494E454C


class SqlJournalStore:
    """Keeps `ports.JournalStore` in a SQL database; several stores, in several processes, may share one."""

    def __init__(self, url: str, *, lock_wait_s: float = 10.0) -> None:
        """Open `sqlite:///PATH` or `postgresql+psycopg://…` and bring its schema up to date.

        A lock that another writer holds is waited for `lock_wait_s` at most. Raises Invalid for a URL of another
        kind and a database that is none or that a newer Sentinel wrote; Unavailable if it cannot be reached.
        """
        self._database = SqlDatabase(url, lock_wait_s=lock_wait_s)

    @property
    def database(self) -> SqlDatabase:
        """For another store in the same database and process: SQLite is best written through one connection."""
        return self._database

    def append(self, records: Sequence[Record], guard: Guard | None = None) -> int:
        """Write records of one incident and what `guard` adds, all or none, and answer the position of the last.

        Raises Conflict, Held and Unavailable as the port says, and OutcomeUnknown if the database went away during the
        commit and could not be asked again.
        """
        with self._database.translated(), self._database.engine.connect() as connection:
            transaction = connection.begin()
            _serialise_appends(connection)
            refuse_unless_following(records, *_last_of(connection, records))
            if guard:
                apply_guard(connection, guard)
            connection.execute(_INSERT, [asdict(record) for record in records])
            position = _position_of(connection, records[-1])
            assert position is not None
            try:
                transaction.commit()
            except DBAPIError as error:
                lost = error
            else:
                return position
        return self._after_lost_commit(records, lost)

    def read(self, incident_id: IncidentId) -> list[Record]:
        query = select(*_RECORD).where(ENTRIES.c.incident_id == incident_id).order_by(ENTRIES.c.seq)
        with self._database.translated(), self._database.reader.connect() as connection:
            return [_record(row) for row in connection.execute(query)]

    def read_after(self, position: int, limit: int) -> list[Located]:
        refuse_unless_positive(limit)
        after = ENTRIES.c.position > position
        query = select(ENTRIES.c.position, *_RECORD).where(after).order_by(ENTRIES.c.position).limit(limit)
        with self._database.translated(), self._database.reader.connect() as connection:
            return [Located(position=row.position, record=_record(row)) for row in connection.execute(query)]

    def incident_ids(self) -> list[IncidentId]:
        query = select(ENTRIES.c.incident_id).group_by(ENTRIES.c.incident_id)
        with self._database.translated(), self._database.reader.connect() as connection:
            found = connection.scalars(query.order_by(func.max(ENTRIES.c.position).desc()))
            return [IncidentId(each) for each in found]

    def switched(self) -> list[Record]:
        with self._database.translated(), self._database.reader.connect() as connection:
            return switched(connection)

    def switch(self, record: Record) -> None:
        with self._database.translated(), self._database.engine.begin() as connection:
            _serialise_appends(connection)
            before = switched(connection)
            last = (before[-1].seq, before[-1].hash) if before else (0, GENESIS)
            refuse_unless_following([record], *last)
            connection.execute(insert(SWITCHES), [asdict(record)])

    def close(self) -> None:
        self._database.close()

    def _after_lost_commit(self, records: Sequence[Record], lost: DBAPIError) -> int:
        """The answer of an append whose commit was not answered: our hashes are there, or they are not."""
        try:
            with self._database.engine.begin() as connection:
                # Waits for the lost transaction, should the server still be committing it: until then "not there"
                # would prove nothing.
                _serialise_appends(connection)
                position = _position_of(connection, records[-1])
        except (DBAPIError, PoolTimeout):
            last = records[-1]
            which = f"entry {last.seq} of incident {last.incident_id}"
            raise OutcomeUnknown(f"journal {self._database.where} went away while {which} was committed") from None
        if position is None:
            raise self._database.failure(lost)
        return position


def _serialise_appends(connection: Connection) -> None:
    """Let one append at a time through, until the transaction ends.

    PostgreSQL hands out positions when rows are inserted but shows them when they are committed: without the lock a
    reader of `read_after` could see position 8, remember it, and never see 7, which was committed later. SQLite has one
    writer at a time anyway.
    """
    if connection.dialect.name == "postgresql":
        # Transaction-level: a session-level lock would stay with the server connection behind a pooler.
        connection.execute(_LOCK, {"key": _APPEND_LOCK})


def _last_of(connection: Connection, records: Sequence[Record]) -> tuple[int, str]:
    """Sequence and hash of the last stored entry of the incident of `records`."""
    if not records:
        return 0, GENESIS
    row = connection.execute(_LAST, {"incident_id": records[0].incident_id}).first()
    return (row.seq, row.hash) if row else (0, GENESIS)


def _position_of(connection: Connection, record: Record) -> int | None:
    """Where exactly this record is stored, or None. Its hash covers all before it, so they are there as well."""
    key = {"incident_id": record.incident_id, "seq": record.seq, "hash": record.hash}
    return connection.scalar(_POSITION, key)


def _record(row: Row[Any]) -> Record:
    return Record(
        incident_id=row.incident_id,
        seq=row.seq,
        at_ms=row.at_ms,
        principal=row.principal,
        kind=row.kind,
        body=row.body,
        prev_hash=row.prev_hash,
        hash=row.hash,
    )
