"""The incidents of late, in memory: what a new candidate is compared with, before anything is asked of Qdrant.

Qdrant embedded filters point by point in Python, and a decision must not wait for a server. The window is soft state:
it is filled from the journal at start, and every incident that changes is put into it again.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sentinel.correlation.grouping import seen_at_ms
from sentinel.correlation.signature import DIMENSIONS, Vector, opening_of, vectors_of
from sentinel.ids import IncidentId
from sentinel.incidents.nouns import Incident, IncidentState

_GOES_ON = np.iinfo(np.int64).max
_FIRST_ROWS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Near:
    """An incident of the window, its signature as it is, and how alike a candidate is to that or to how it began."""

    incident: Incident
    vector: Vector
    similarity: float


class HotWindow:
    """Incidents that are unresolved or were seen within `keep_s`; older ones are forgotten as time goes on."""

    def __init__(self, keep_s: float) -> None:
        self._keep_ms = round(keep_s * 1000)
        self._row: dict[IncidentId, int] = {}
        self._incidents: list[Incident | None] = [None] * _FIRST_ROWS
        # Two signatures a row: as the incident is, and as it began.
        self._vectors = np.zeros((2, _FIRST_ROWS, DIMENSIONS), dtype=np.float32)
        self._seen_ms: NDArray[np.int64] = np.full(_FIRST_ROWS, -1, dtype=np.int64)
        self._free = list(range(_FIRST_ROWS))

    def __len__(self) -> int:
        return len(self._row)

    def put(self, incident: Incident) -> None:
        """Take in an incident as it now is. One without alerts is like nothing, and is left out."""
        known = self.get(incident.id)
        if known is not None and known.seq >= incident.seq:
            return
        if not incident.alerts:
            self.drop(incident.id)
            return
        row = self._row.get(incident.id)
        if row is None:
            row = self._row[incident.id] = self._next_row()
        self._incidents[row] = incident
        self._vectors[0, row] = vectors_of(incident).sig
        self._vectors[1, row] = opening_of(incident)
        self._seen_ms[row] = _seen_ms(incident)

    def get(self, incident_id: IncidentId) -> Incident | None:
        """The incident as it was put last."""
        row = self._row.get(incident_id)
        return None if row is None else self._incidents[row]

    def vector(self, incident_id: IncidentId) -> Vector | None:
        """The signature of the incident as it was put last."""
        row = self._row.get(incident_id)
        return None if row is None else self._vectors[0, row].copy()

    def drop(self, incident_id: IncidentId) -> None:
        """Forget one incident."""
        row = self._row.pop(incident_id, None)
        if row is not None:
            self._incidents[row] = None
            self._seen_ms[row] = -1
            self._free.append(row)

    def forget(self, now_ms: int) -> None:
        """Drop what was last seen longer than `keep_s` ago."""
        for row in np.flatnonzero((self._seen_ms >= 0) & (self._seen_ms < now_ms - self._keep_ms)):
            incident = self._incidents[row]
            if incident is not None and incident.state is IncidentState.RESOLVED:
                self.drop(incident.id)

    def near(self, vector: Vector, now_ms: int, window_s: float, limit: int = 20) -> list[Near]:
        """Up to `limit` incidents seen within `window_s`, the most alike first; of equals the one opened last."""
        rows = np.flatnonzero(self._seen_ms >= max(now_ms - window_s * 1000, 0))
        if not len(rows) or limit < 1:
            return []
        alike = (self._vectors[:, rows] @ vector).max(axis=0)
        if len(rows) > limit:
            kept = np.argpartition(-alike, limit - 1)
            edge = alike[kept[limit - 1]]
            # All that are as alike as the last one kept, or else the order of rows would choose among equals.
            kept = np.flatnonzero(alike >= edge)
            rows, alike = rows[kept], alike[kept]
        found = [
            Near(incident=incident, vector=self._vectors[0, row].copy(), similarity=float(np.clip(score, -1.0, 1.0)))
            for row, score in zip(rows, alike, strict=True)
            if (incident := self._incidents[row]) is not None
        ]
        found.sort(key=lambda each: (-each.similarity, -each.incident.opened_at_ms, each.incident.id))
        return found[:limit]

    def _next_row(self) -> int:
        if not self._free:
            rows = len(self._incidents)
            self._vectors = np.concatenate([self._vectors, np.zeros_like(self._vectors)], axis=1)
            self._seen_ms = np.concatenate([self._seen_ms, np.full(rows, -1, dtype=np.int64)])
            self._incidents += [None] * rows
            self._free = list(range(2 * rows - 1, rows - 1, -1))
        return self._free.pop()


def last_seen_ms(incident: Incident, now_ms: int) -> int:
    """When the incident was last seen; now, while it goes on.

    A resolved incident may keep an alert whose end nobody recorded; it is not seen "now" for ever.
    """
    if incident.resolved_at_ms is not None:
        return max(incident.resolved_at_ms, incident.last_seen_ms)
    return seen_at_ms(incident, now_ms)


def _seen_ms(incident: Incident) -> int:
    return last_seen_ms(incident, _GOES_ON)
