"""The audit chain: each record carries the hash of the one before it in its incident."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sentinel.errors import Conflict, Invalid
from sentinel.ids import IncidentId

GENESIS = "0" * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An entry as it lies in the store: the texts that were hashed, so that later code still verifies them."""

    incident_id: IncidentId
    seq: int
    at_ms: int
    principal: str
    kind: str
    body: str
    prev_hash: str
    hash: str


def seal(
    *, incident_id: IncidentId, seq: int, at_ms: int, principal: str, kind: str, body: str, prev_hash: str
) -> Record:
    """A record whose hash covers every other field, `prev_hash` included."""
    return Record(
        incident_id=incident_id,
        seq=seq,
        at_ms=at_ms,
        principal=principal,
        kind=kind,
        body=body,
        prev_hash=prev_hash,
        hash=_hash(prev_hash, incident_id, str(seq), str(at_ms), principal, kind, body),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """Where the chain of one incident does not hold, and why."""

    incident_id: IncidentId
    seq: int
    reason: str


def verify(records: Iterable[Record]) -> Break | None:
    """The first break in one incident's records, given in sequence, or None.

    A history cut off at its end verifies: only a hash kept elsewhere can show that.
    """
    expected_seq, prev_hash = 1, GENESIS
    for record in records:

        def broken(reason: str, at: Record = record) -> Break:
            return Break(incident_id=at.incident_id, seq=at.seq, reason=reason)

        if record.seq != expected_seq:
            return broken(f"expected entry {expected_seq}, found {record.seq}: an entry was removed or added")
        if record.prev_hash != prev_hash:
            return broken("the entry before it is not the one it was chained to")
        computed = _hash(
            record.prev_hash,
            record.incident_id,
            str(record.seq),
            str(record.at_ms),
            record.principal,
            record.kind,
            record.body,
        )
        if computed != record.hash:
            return broken("the entry was changed after it was written")
        expected_seq, prev_hash = record.seq + 1, record.hash
    return None


def refuse_unless_following(records: Sequence[Record], last_seq: int, last_hash: str) -> None:
    """The rule of `JournalStore.append`: `records` of one incident continue the entry (`last_seq`, `last_hash`).

    For an incident without entries that is (0, GENESIS). Raises Invalid for no records, records of several
    incidents or a text that PostgreSQL cannot hold, and Conflict for a taken or skipped sequence or a broken chain.
    """
    if not records:
        raise Invalid("records", [], "at least one record")
    incident_id = records[0].incident_id
    for record in records:
        if record.incident_id != incident_id:
            raise Invalid("incident_id", record.incident_id, f"records of one incident, {incident_id}")
        if any("\0" in text for text in (record.incident_id, record.principal, record.kind, record.body)):
            raise Invalid("record", f"{incident_id} entry {record.seq}", "texts without the character U+0000")
        if record.seq != last_seq + 1:
            raise Conflict(f"incident {incident_id}: entry {record.seq} where {last_seq + 1} follows")
        if record.prev_hash != last_hash:
            raise Conflict(f"incident {incident_id}: entry {record.seq} is not chained to the entry before it")
        last_seq, last_hash = record.seq, record.hash


def _hash(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode()
        digest.update(len(raw).to_bytes(8, "big"))
        digest.update(raw)
    return digest.hexdigest()
