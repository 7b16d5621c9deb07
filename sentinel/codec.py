"""Facts and values <-> JSON, and incidents as they go from actor to actor."""

import copyreg
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from sentinel.errors import Invalid
from sentinel.ids import canonical
from sentinel.incidents.audit import GENESIS, Record, seal
from sentinel.incidents.facts import FACTS, Entry
from sentinel.incidents.nouns import Incident, Principal
from sentinel.telemetry.events import Event

T = TypeVar("T")


def to_builtins(value: object) -> Any:
    """Dataclasses, enums and tuples as dicts, texts and lists, ready for any JSON writer."""
    return msgspec.to_builtins(value)


def record_of(entry: Entry, prev_hash: str = GENESIS) -> Record:
    """The sealed record of `entry`, chained to `prev_hash`."""
    return seal(
        incident_id=entry.incident_id,
        seq=entry.seq,
        at_ms=entry.at_ms,
        principal=canonical(entry.principal).decode(),
        kind=entry.fact.kind,
        body=canonical(entry.fact).decode(),
        prev_hash=prev_hash,
    )


def entry_of(record: Record) -> Entry:
    """The entry that `record` holds. Raises Invalid if its kind or shape is not known to this version."""
    fact_type = FACTS.get(record.kind)
    if fact_type is None:
        raise Invalid("kind", record.kind, f"a fact this version knows, in entry {record.seq} of {record.incident_id}")
    try:
        fact = msgspec.json.decode(record.body, type=fact_type)
        principal = msgspec.json.decode(record.principal, type=Principal)
    except msgspec.DecodeError as error:
        raise Invalid(record.kind, str(error), f"a readable entry {record.seq} of {record.incident_id}") from None
    return Entry(incident_id=record.incident_id, seq=record.seq, at_ms=record.at_ms, principal=principal, fact=fact)


def incident_of(packed: bytes) -> Incident:
    """The incident that `packed` holds, as JSON."""
    return msgspec.json.decode(packed, type=Incident)


def _packed(incident: Incident) -> tuple[Callable[[bytes], Incident], tuple[bytes]]:
    return incident_of, (msgspec.json.encode(incident),)


# Actors send each other incidents all the time, and pickle walks their dataclasses field by field, ten times as slow.
# All that is in them was in a record, so JSON holds it.
copyreg.pickle(Incident, _packed)


def event_text(event: Event) -> str:
    """`event` as canonical JSON."""
    return canonical(event).decode()


def event_of(text: str) -> Event:
    """The event that `text` holds. Raises Invalid if its shape is not known to this version."""
    try:
        return msgspec.json.decode(text, type=Event)
    except msgspec.DecodeError as error:
        raise Invalid("event", text[:60], f"an event that this version reads ({error})") from None
