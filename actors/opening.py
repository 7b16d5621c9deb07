"""The memory of incidents, opened late: see `OpenedWhenNeeded`."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sentinel.ports import IncidentMemory, Memory, Recalled


class OpenedWhenNeeded:
    """The memory of incidents, opened by the first call that succeeds in it.

    A predecessor that is still ending may hold the embedded directory, and an actor whose constructor
    raises never comes back.
    """

    def __init__(self, open_memory: Callable[[], IncidentMemory]) -> None:
        self._open_memory = open_memory
        self._opened: IncidentMemory | None = None

    @property
    def note(self) -> str:
        """See `ports.IncidentMemory`."""
        return self._opened.note if self._opened else ""

    def remember(self, memory: Memory) -> None:
        """See `ports.IncidentMemory`."""
        self._open().remember(memory)

    def similar(self, vector: NDArray[np.float32], limit: int) -> list[Recalled]:
        """See `ports.IncidentMemory`."""
        return self._open().similar(vector, limit)

    def close(self) -> None:
        """See `ports.IncidentMemory`."""
        if self._opened:
            self._opened.close()

    def _open(self) -> IncidentMemory:
        if self._opened is None:
            self._opened = self._open_memory()
        return self._opened
