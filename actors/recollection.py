"""What correlation remembers of incidents, and recalls when one opens."""

import asyncio
from collections.abc import Iterable

import numpy as np
import structlog
from numpy.typing import NDArray

from sentinel.correlation import recall
from sentinel.correlation.signature import signature
from sentinel.errors import Unavailable
from sentinel.ids import IncidentId
from sentinel.incidents.nouns import Incident, Similar
from sentinel.ports import IncidentMemory, Memory

Vector = NDArray[np.float32]
log = structlog.get_logger(__name__)


class Recollection:
    """Soft state: which resolved incidents are not in memory yet. The journal has them all, so none is lost."""

    def __init__(self, memory: IncidentMemory, limit: int) -> None:
        self._memory = memory
        self._limit = limit
        self._to_remember: dict[IncidentId, None] = {}
        self._remembered: dict[IncidentId, int] = {}

    @property
    def note(self) -> str:
        """Empty while memory works, else a sentence on what is lost."""
        return self._memory.note

    def behind(self) -> tuple[IncidentId, ...]:
        """Resolved incidents that memory may not have."""
        return tuple(self._to_remember)

    def look_at(self, incident_ids: Iterable[IncidentId]) -> None:
        """Have these remembered, for a predecessor may have ended before it could."""
        self._to_remember.update(dict.fromkeys(incident_ids))

    async def similar(self, vector: Vector) -> tuple[tuple[Similar, ...], str]:
        """The like from memory, and a note where memory is off or away: an incident is opened all the same."""
        if not self._limit:
            return (), ""
        try:
            # More than are shown, since some of them are not alike enough.
            recalled = await asyncio.to_thread(self._memory.similar, vector, self._limit * 3)
        except Unavailable as error:
            log.warning("no recall", error=str(error))
            return (), f"no history: {error}"
        similar = (
            Similar(
                incident_id=each.memory.incident_id,
                similarity=each.similarity,
                title=each.memory.title,
                at_ms=each.memory.opened_at_ms,
                outcome=each.memory.outcome,
                runbook=each.memory.runbook,
                fixed_by=each.memory.fixed_by,
                recovery_ms=each.memory.recovery_ms,
            )
            for each in recalled
        )
        return recall.worth_telling(similar, IncidentId(""), self._limit), self._memory.note

    async def remember(self, incident: Incident) -> None:
        """Keep a resolved incident. Raises Unavailable if memory is away; the incident then stays in `behind`."""
        if self._remembered.get(incident.id) != incident.seq:
            self._to_remember[incident.id] = None
            outcome = recall.outcome_of(incident)
            memory = Memory(
                incident_id=incident.id,
                vector=signature_of(incident),
                title=incident.title,
                services=incident.services,
                opened_at_ms=incident.opened_at_ms,
                outcome=outcome.outcome,
                runbook=outcome.runbook,
                fixed_by=outcome.fixed_by,
                recovery_ms=outcome.recovery_ms,
            )
            await asyncio.to_thread(self._memory.remember, memory)
            self._remembered[incident.id] = incident.seq
            log.info("remembered", incident_id=incident.id, outcome=outcome.outcome)
        self._to_remember.pop(incident.id, None)


def signature_of(incident: Incident) -> Vector:
    """The signature of an incident as it now is."""
    root = incident.suspects[0].service if incident.suspects else incident.services[0]
    return signature(incident.alerts, root)
