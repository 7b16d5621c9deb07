"""The store of silences in memory. It passes the contract tests of its port."""

import threading

from sentinel.correlation.silences import Silence, ended
from sentinel.errors import NotFound
from sentinel.ports import MOST_SILENCES


class InMemorySilenceStore:
    """Keeps `ports.SilenceStore` in a dictionary, and nothing after the process. Safe from any thread."""

    def __init__(self) -> None:
        self._silences: dict[str, Silence] = {}
        self._lock = threading.Lock()

    def add(self, silence: Silence) -> None:
        with self._lock:
            self._silences.setdefault(silence.id, silence)

    def end(self, silence_id: str, at_ms: int, by: str) -> Silence:
        with self._lock:
            if silence_id not in self._silences:
                raise NotFound(f"there is no silence {silence_id}")
            self._silences[silence_id] = ended(self._silences[silence_id], at_ms, by)
            return self._silences[silence_id]

    def silences(self) -> list[Silence]:
        with self._lock:
            found = sorted(self._silences.values(), key=lambda each: (-each.created_at_ms, each.id))
        return found[:MOST_SILENCES]
