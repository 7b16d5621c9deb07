"""Memories for the suites of `ports.IncidentMemory`."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sentinel.correlation.signature import DIMENSIONS
from sentinel.ids import IncidentId
from sentinel.ports import Memory, Recalled


def vector(*parts: tuple[int, float]) -> NDArray[np.float32]:
    """A unit vector with these components."""
    numbers = np.zeros(DIMENSIONS, dtype=np.float32)
    for index, value in parts:
        numbers[index] = value
    return numbers / np.float32(np.linalg.norm(numbers))


def memory_of(n: int, numbers: NDArray[np.float32] | None = None) -> Memory:
    """The memory of the n-th incident; each lies on an axis of its own unless given a vector."""
    return Memory(
        incident_id=IncidentId(f"inc-20250101-aaaaaaaa-{n}"),
        vector=vector((n % DIMENSIONS, 1.0)) if numbers is None else numbers,
        title=f"payments: cpu high ({n})",
        services=("payments", "checkout"),
        opened_at_ms=1_700_000_000_000 + n,
        outcome="fixed by its plan",
        runbook="scale-out",
        fixed_by=("ecs.scale payments",),
        recovery_ms=42_000,
    )


def ids_of(found: Sequence[Recalled]) -> list[str]:
    """The n of each memory found, in order."""
    return [each.memory.incident_id.rpartition("-")[2] for each in found]
