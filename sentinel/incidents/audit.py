"""The audit chain: each record carries the hash of the one before it in its incident."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

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


def _hash(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode()
        digest.update(len(raw).to_bytes(8, "big"))
        digest.update(raw)
    return digest.hexdigest()
