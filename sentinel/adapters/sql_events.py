"""The store of outside events, in the journal's database."""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import (
    Column,
    Identity,
    Index,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    case,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from sentinel.adapters.in_memory import refuse_unless_positive
from sentinel.adapters.sql_database import BIG, METADATA, SqlDatabase
from sentinel.codec import event_of, event_text
from sentinel.errors import Invalid
from sentinel.ports import MOST_CHANGES, DeadLetter, Pending, Standing
from sentinel.telemetry.events import Event

EVENTS = Table(
    "events",
    METADATA,
    Column("position", BIG, Identity()),
    Column("source", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("happened_at_ms", BIG, nullable=False),
    Column("received_at_ms", BIG, nullable=False),
    Column("settled_at_ms", BIG, nullable=True),
    Column("reason", Text, nullable=False),
    Column("body", Text, nullable=False),
    PrimaryKeyConstraint("position", name="events_pkey"),
    UniqueConstraint("source", "event_id", name="events_source_event_id"),
    Index("events_settled_position", "settled_at_ms", "position"),
    Index("events_kind_happened", "kind", "happened_at_ms"),
    sqlite_strict=True,
    sqlite_autoincrement=True,
)
_SETTLED_AT_ONCE = 500  # SQLite takes no more than 32,766 parameters
_UNREADABLE = "unreadable"  # the kind of what was buried as it came

_Key = tuple[str, str]


class SqlEventStore:
    """Keeps `ports.EventStore` in the database that `SqlJournalStore.database` opened, and closes with it."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    def receive(self, events: Sequence[Event], received_at_ms: int) -> list[bool]:
        rows: dict[_Key, dict[str, object]] = {}
        for event in events:
            # What the sender itself repeats within one body is known from its first telling on.
            rows.setdefault((event.source, event.event_id), _row(event, received_at_ms))
        new = self._insert(list(rows.values()))
        answers: list[bool] = []
        for event in events:
            key = (event.source, event.event_id)
            answers.append(key in new)
            new.discard(key)
        return answers

    def bury(self, letter: DeadLetter) -> bool:
        row = {
            "source": letter.source,
            "event_id": letter.event_id,
            "kind": _UNREADABLE,
            "service": "",
            "happened_at_ms": letter.received_at_ms,
            "received_at_ms": letter.received_at_ms,
            "settled_at_ms": letter.received_at_ms,
            "reason": letter.reason,
            # PostgreSQL cannot store this one character, which no reader misses.
            "body": letter.body.replace("\0", "\ufffd"),
        }
        return bool(self._insert([row]))

    def pending(self, limit: int) -> list[Pending]:
        refuse_unless_positive(limit)
        query = select(EVENTS.c.position, EVENTS.c.body).where(EVENTS.c.settled_at_ms.is_(None))
        with self._database.translated(), self._database.reader.connect() as connection:
            rows = connection.execute(query.order_by(EVENTS.c.position).limit(limit))
            return [_pending(row.position, row.body) for row in rows]

    def settle(self, positions: Sequence[int], at_ms: int, reason: str = "") -> None:
        with self._database.translated(), self._database.engine.begin() as connection:
            for start in range(0, len(positions), _SETTLED_AT_ONCE):
                chosen = EVENTS.c.position.in_(positions[start : start + _SETTLED_AT_ONCE])
                settled = {"settled_at_ms": at_ms, "reason": reason}
                connection.execute(update(EVENTS).where(chosen, EVENTS.c.settled_at_ms.is_(None)).values(settled))

    def changes(self, services: Collection[str], from_ms: int, to_ms: int) -> list[Event]:
        query = (
            select(EVENTS.c.body)
            .where(EVENTS.c.kind == "change", EVENTS.c.happened_at_ms.between(from_ms, to_ms))
            .where(EVENTS.c.service.in_(sorted(services)))
            .order_by(EVENTS.c.happened_at_ms.desc(), EVENTS.c.position.desc())
            .limit(MOST_CHANGES)
        )
        with self._database.translated(), self._database.reader.connect() as connection:
            return [event_of(body) for body in reversed(connection.scalars(query).all())]

    def dead_letters(self, limit: int) -> list[DeadLetter]:
        refuse_unless_positive(limit)
        query = select(EVENTS).where(EVENTS.c.reason != "").order_by(EVENTS.c.position.desc()).limit(limit)
        with self._database.translated(), self._database.reader.connect() as connection:
            return [
                DeadLetter(
                    source=row.source,
                    event_id=row.event_id,
                    received_at_ms=row.received_at_ms,
                    reason=row.reason,
                    body=row.body,
                )
                for row in connection.execute(query)
            ]

    def standing(self) -> Mapping[str, Standing]:
        waits, dead = EVENTS.c.settled_at_ms.is_(None), EVENTS.c.reason != ""
        state = case((waits, "pending"), (dead, "dead"), else_="placed")
        query = select(EVENTS.c.source, state.label("state"), func.count().label("n"))
        query = query.group_by(EVENTS.c.source, state)
        counts: dict[str, dict[str, int]] = {}
        with self._database.translated(), self._database.reader.connect() as connection:
            for row in connection.execute(query):
                counts.setdefault(row.source, {})[row.state] = row.n
        return {source: Standing(**found) for source, found in sorted(counts.items())}

    def forget(self, placed_before_ms: int, dead_before_ms: int, limit: int) -> int:
        refuse_unless_positive(limit)
        dead = EVENTS.c.reason != ""
        before = case((dead, dead_before_ms), else_=placed_before_ms)
        # The later of both times first: it is what the index can be asked for.
        old = EVENTS.c.settled_at_ms < max(placed_before_ms, dead_before_ms)
        chosen = select(EVENTS.c.position).where(old, EVENTS.c.settled_at_ms < before)
        chosen = chosen.order_by(EVENTS.c.settled_at_ms).limit(limit)
        with self._database.translated(), self._database.engine.begin() as connection:
            return int(connection.execute(delete(EVENTS).where(EVENTS.c.position.in_(chosen))).rowcount)

    def _insert(self, rows: Sequence[Mapping[str, object]]) -> set[_Key]:
        """The keys of those `rows` that were not there."""
        if not rows:
            return set()
        with self._database.translated(), self._database.engine.begin() as connection:
            dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
            insert = dialect.insert(EVENTS).on_conflict_do_nothing()
            returned = connection.execute(insert.returning(EVENTS.c.source, EVENTS.c.event_id), list(rows))
            return {(row.source, row.event_id) for row in returned}


def _row(event: Event, received_at_ms: int) -> dict[str, object]:
    return {
        "source": event.source,
        "event_id": event.event_id,
        "kind": event.kind,
        "service": event.service,
        "happened_at_ms": event.started_at_ms,
        "received_at_ms": received_at_ms,
        "settled_at_ms": received_at_ms if event.kind == "change" else None,
        "reason": "",
        "body": event_text(event),
    }


def _pending(position: int, body: str) -> Pending:
    try:
        return Pending(position=position, event=event_of(body))
    except Invalid as error:
        return Pending(position=position, event=None, fault=str(error))
