"""Fixtures and records that several contract suites share. Each suite adds those of its own port in its own module."""

from sentinel.ids import IncidentId
from sentinel.incidents.audit import GENESIS, Record, seal
from tests.contract.postgres import cutter, postgres_server, postgres_url

__all__ = ["A", "B", "C", "chain", "cutter", "postgres_server", "postgres_url"]

A, B, C = (IncidentId(f"inc-20250101-0000000{n}-1") for n in "abc")


def chain(
    incident: IncidentId, n: int, after: Record | None = None, body: str = "{}", kind: str = "noted"
) -> list[Record]:
    """`n` records of `incident` that continue `after`."""
    records: list[Record] = []
    for _ in range(n):
        seq, prev = (after.seq + 1, after.hash) if after else (1, GENESIS)
        after = seal(
            incident_id=incident,
            seq=seq,
            at_ms=1_700_000_000_000 + seq,
            principal='{"id":"sentinel"}',
            kind=kind,
            body=body,
            prev_hash=prev,
        )
        records.append(after)
    return records
