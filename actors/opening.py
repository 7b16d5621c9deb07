"""The memory of incidents, opened late: see `OpenedWhenNeeded`."""

import threading
from collections.abc import Callable, Mapping, Sequence

from sentinel.correlation.scope import ANYWHERE, Scope
from sentinel.correlation.signature import Vectors
from sentinel.ids import IncidentId
from sentinel.ports import IncidentMemory, Memory, Recalled


class OpenedWhenNeeded:
    """The memory of incidents, opened by the first call that succeeds in it.

    A predecessor that is still ending may hold the embedded directory, and an actor whose constructor
    raises never comes back.
    """

    def __init__(self, open_memory: Callable[[], IncidentMemory]) -> None:
        self._open_memory = open_memory
        self._opened: IncidentMemory | None = None
        self._opening = threading.Lock()  # recall and catching up come from different threads, and one owner may open

    @property
    def note(self) -> str:
        """See `ports.IncidentMemory`."""
        return self._opened.note if self._opened else ""

    def remember(self, memories: Sequence[Memory]) -> None:
        """See `ports.IncidentMemory`."""
        self._open().remember(memories)

    def similar(self, vectors: Vectors, limit: int, scope: Scope = ANYWHERE) -> list[Recalled]:
        """See `ports.IncidentMemory`."""
        return self._open().similar(vectors, limit, scope)

    def held(self) -> Mapping[IncidentId, int]:
        """See `ports.IncidentMemory`."""
        return self._open().held()

    def start_over(self) -> None:
        """See `ports.IncidentMemory`."""
        self._open().start_over()

    def close(self) -> None:
        """See `ports.IncidentMemory`."""
        if self._opened:
            self._opened.close()

    def _open(self) -> IncidentMemory:
        with self._opening:
            if self._opened is None:
                self._opened = self._open_memory()
            return self._opened
