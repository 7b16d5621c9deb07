"""A memory whose text vectors a text model makes, in place of the hashed words."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from sentinel.correlation.scope import ANYWHERE, Scope
from sentinel.correlation.signature import Vector, Vectors
from sentinel.ids import IncidentId
from sentinel.ports import IncidentMemory, Memory, Recalled

_BATCH = 100  # the journal may hand over thousands; the model keeps a batch's activations in memory


class TextEmbedder(Protocol):
    """A model that makes vectors of words."""

    @property
    def made_by(self) -> Mapping[str, str | int]:
        """What a memory records of it: `text`, its dimensions; `text_model`; `text_version`. Others are not alike."""
        ...

    def embed(self, texts: Sequence[str]) -> list[Vector]:
        """A unit vector for each text. Raises Unavailable if the model fails."""
        ...


class WordedMemory:
    """Implements `ports.IncidentMemory` over a memory that was opened for the vectors of `text`."""

    def __init__(self, memory: IncidentMemory, text: TextEmbedder) -> None:
        self._memory = memory
        self._text = text

    @property
    def note(self) -> str:
        """See `ports.IncidentMemory`."""
        return self._memory.note

    def remember(self, memories: Sequence[Memory]) -> None:
        """See `ports.IncidentMemory`."""
        for start in range(0, len(memories), _BATCH):
            batch = memories[start : start + _BATCH]
            made = self._text.embed([memory.vectors.words for memory in batch])
            self._memory.remember(
                [
                    replace(memory, vectors=replace(memory.vectors, text=text))
                    for memory, text in zip(batch, made, strict=True)
                ]
            )

    def similar(self, vectors: Vectors, limit: int, scope: Scope = ANYWHERE) -> list[Recalled]:
        """See `ports.IncidentMemory`."""
        (text,) = self._text.embed([vectors.words])
        return self._memory.similar(replace(vectors, text=text), limit, scope)

    def held(self) -> Mapping[IncidentId, int]:
        """See `ports.IncidentMemory`."""
        return self._memory.held()

    def start_over(self) -> None:
        """See `ports.IncidentMemory`."""
        self._memory.start_over()

    def close(self) -> None:
        """See `ports.IncidentMemory`."""
        self._memory.close()
