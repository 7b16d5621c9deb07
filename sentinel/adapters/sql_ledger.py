"""The ledger in SQL: plans that run, effects that were intended, and the kill switch. Part of the journal's append."""

import msgspec
from sqlalchemy import (
    Column,
    Connection,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    bindparam,
    insert,
    select,
    update,
)

from sentinel.adapters.sql_database import BIG, METADATA
from sentinel.errors import Held
from sentinel.ids import canonical
from sentinel.incidents.audit import Record
from sentinel.remediation.budget import DAY_MS, Claim, Effect, Guard, Past, Use
from sentinel.remediation.switch import RESUMED, state_of

CLAIMS = Table(
    "claims",
    METADATA,
    Column("plan_id", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("at_ms", BIG, nullable=False),
    Column("ended_at_ms", BIG, nullable=True),
    Column("helped", Integer, nullable=True),
    PrimaryKeyConstraint("plan_id", name="claims_pkey"),
    Index("claims_ended", "ended_at_ms"),
    sqlite_strict=True,
)
EFFECTS = Table(
    "effects",
    METADATA,
    Column("key", Text, nullable=False),
    Column("plan_id", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("at_ms", BIG, nullable=False),
    PrimaryKeyConstraint("key", name="effects_pkey"),
    Index("effects_at", "at_ms"),
    sqlite_strict=True,
)
SWITCHES = Table(
    "switches",
    METADATA,
    Column("seq", Integer, nullable=False, autoincrement=False),
    Column("incident_id", Text, nullable=False),
    Column("at_ms", BIG, nullable=False),
    Column("principal", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("prev_hash", Text, nullable=False),
    Column("hash", Text, nullable=False),
    PrimaryKeyConstraint("seq", name="switches_pkey"),
    sqlite_strict=True,
)

# Made once, as in `sql_journal`: each intent asks all of them.
_CLAIM, _EFFECT = insert(CLAIMS), insert(EFFECTS)
_RELEASE = (
    update(CLAIMS)
    .where(CLAIMS.c.plan_id == bindparam("released"), CLAIMS.c.ended_at_ms.is_(None))
    .values(ended_at_ms=bindparam("ended"), helped=bindparam("word"))
)
_RECENT = select(EFFECTS).where(EFFECTS.c.at_ms > bindparam("after_ms"))
_RUNNING = select(CLAIMS.c.body).where(CLAIMS.c.ended_at_ms.is_(None))
_TURNS = select(SWITCHES).order_by(SWITCHES.c.seq)
_LAST_TURN = select(SWITCHES).order_by(SWITCHES.c.seq.desc()).limit(1)
_RESUMED = select(SWITCHES.c.at_ms).where(SWITCHES.c.kind == RESUMED).order_by(SWITCHES.c.seq.desc()).limit(1)
_JUDGED = (
    select(CLAIMS.c.helped)
    .where(CLAIMS.c.helped.is_not(None), CLAIMS.c.ended_at_ms > bindparam("resumed_ms"))
    .order_by(CLAIMS.c.ended_at_ms.desc())
    .limit(bindparam("most"))
)


def apply_guard(connection: Connection, guard: Guard) -> None:
    """Check `guard` against what is there, and write what it adds. Raises Held, and has written nothing then."""
    if guard.claim or guard.intent:
        refused = guard.refusal(_past(connection, guard))
        if refused:
            raise Held(refused)
    if guard.claim:
        claim = guard.claim
        row = {"plan_id": claim.plan_id, "body": canonical(claim).decode(), "at_ms": guard.at_ms}
        connection.execute(_CLAIM, [row])
    if guard.intent and not guard.intent.counted:
        intent = guard.intent
        body = canonical(intent.use).decode()
        row = {"key": intent.key, "plan_id": intent.plan_id, "body": body, "at_ms": guard.at_ms}
        connection.execute(_EFFECT, [row])
    if guard.release:
        word = None if guard.release.helped is None else int(guard.release.helped)
        connection.execute(_RELEASE, {"released": guard.release.plan_id, "ended": guard.at_ms, "word": word})


def switched(connection: Connection) -> list[Record]:
    """Every turn of the kill switch in sequence."""
    return [Record(**row) for row in connection.execute(_TURNS).mappings()]


def _past(connection: Connection, guard: Guard) -> Past:
    effects = tuple(
        Effect(plan_id=row.plan_id, use=msgspec.json.decode(row.body, type=Use), at_ms=row.at_ms)
        for row in connection.execute(_RECENT, {"after_ms": guard.at_ms - DAY_MS})
    )
    running = tuple(msgspec.json.decode(body, type=Claim) for body in connection.scalars(_RUNNING))
    last = connection.execute(_LAST_TURN).mappings().first()
    judged = {"resumed_ms": connection.scalar(_RESUMED) or 0, "most": guard.budget.breaker_after}
    helped = tuple(bool(each) for each in connection.scalars(_JUDGED, judged))
    why = state_of(Record(**last) if last else None).why
    return Past(effects=effects, running=running, helped=helped, stopped=why)
