"""The order in which every memory, whatever keeps it, answers what is most alike."""

from collections.abc import Iterable

from sentinel.correlation.recall import fused
from sentinel.correlation.signature import Vectors
from sentinel.ports import Memory, Recalled


def ranked(vectors: Vectors, memories: Iterable[Memory], limit: int) -> list[Recalled]:
    """Up to `limit` of these, the most alike first; of equals, the one with the lower id."""
    recalled = []
    for memory in memories:
        similarity, why = fused(vectors, memory.vectors)
        recalled.append(Recalled(memory=memory, similarity=similarity, why=why))
    recalled.sort(key=lambda each: (-each.similarity, each.memory.incident_id))
    return recalled[: max(limit, 0)]
