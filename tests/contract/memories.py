"""Memories for the suites of `ports.IncidentMemory`."""

from collections.abc import Sequence

import numpy as np

from sentinel.correlation.scope import ANYWHERE, Scope
from sentinel.correlation.signature import DIMENSIONS, SHAPE_DIMENSIONS, TEXT_DIMENSIONS, Vector, Vectors
from sentinel.ids import IncidentId
from sentinel.ports import Memory, Recalled


def vector(*parts: tuple[int, float], size: int = DIMENSIONS) -> Vector:
    """A unit vector with these components."""
    numbers = np.zeros(size, dtype=np.float32)
    for index, value in parts:
        numbers[index] = value
    return numbers / np.float32(np.linalg.norm(numbers))


def vectors(*parts: tuple[int, float]) -> Vectors:
    """Vectors that differ in their signature alone, so that their similarity is .6 of its cosine and .4."""
    alike = (0, 1.0)
    return Vectors(vector(*parts), vector(alike, size=SHAPE_DIMENSIONS), vector(alike, size=TEXT_DIMENSIONS))


def memory_of(n: int, given: Vectors | None = None, scope: Scope = ANYWHERE, seq: int = 3) -> Memory:
    """The memory of the n-th incident; each lies on an axis of its own unless given vectors."""
    return Memory(
        incident_id=IncidentId(f"inc-20250101-aaaaaaaa-{n}"),
        vectors=given or vectors((n % DIMENSIONS, 1.0)),
        title=f"payments: cpu high ({n})",
        services=("payments", "checkout"),
        opened_at_ms=1_700_000_000_000 + n,
        last_seen_ms=1_700_000_009_000,
        outcome="fixed by its plan",
        runbook="scale-out",
        fixed_by=("ecs.scale payments",),
        recovery_ms=42_000,
        rejected="not now",
        scope=scope,
        seq=seq,
    )


def ids_of(found: Sequence[Recalled]) -> list[str]:
    """The n of each memory found, in order."""
    return [each.memory.incident_id.rpartition("-")[2] for each in found]
