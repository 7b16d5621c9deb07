"""What correlation remembers of incidents, and recalls when one opens."""

import asyncio
from collections.abc import AsyncIterator, Iterable

import structlog

from actors.api import Journal
from sentinel.clock import Clock
from sentinel.correlation import recall
from sentinel.correlation.scope import Scope, scope_of
from sentinel.correlation.signature import Vectors, vectors_of
from sentinel.errors import SentinelError, Unavailable
from sentinel.ids import IncidentId
from sentinel.incidents.nouns import Incident, IncidentState, Similar
from sentinel.ports import IncidentMemory, Memory

_PAGE = 500
_RETRY_S = 5.0
_WITHIN_S = 5.0
_LOOKED_AT = 50  # behind incidents named at a time; more are caught up with in batches by `reconcile`
log = structlog.get_logger(__name__)


class Recollection:
    """Soft state: which resolved incidents are not in memory yet. The journal has them all, so none is lost."""

    def __init__(self, memory: IncidentMemory, limit: int, journal: Journal, clock: Clock) -> None:
        self._memory = memory
        self._limit = limit
        self._journal = journal
        self._clock = clock
        self._to_remember: dict[IncidentId, None] = {}
        self._remembered: dict[IncidentId, int] = {}

    @property
    def note(self) -> str:
        """Empty while memory works, else a sentence on what is lost."""
        return self._memory.note

    def behind(self) -> tuple[IncidentId, ...]:
        """Resolved incidents that memory may not have, the first of them."""
        return tuple(self._to_remember)[:_LOOKED_AT]

    async def similar(self, vectors: Vectors, scope: Scope) -> tuple[tuple[Similar, ...], str]:
        """The like from memory, and a note where memory is off or away: an incident is opened all the same."""
        if not self._limit:
            return (), ""
        try:
            # More than are shown, since some of them are not alike enough.
            async with asyncio.timeout(_WITHIN_S):
                recalled = await asyncio.to_thread(self._memory.similar, vectors, self._limit * 3, scope)
        except TimeoutError:
            # As while a large directory is opened: an incident does not wait for its history.
            log.warning("no recall", error=f"memory did not answer within {_WITHIN_S:g} s")
            return (), f"no history: memory did not answer within {_WITHIN_S:g} s"
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
                why=each.why,
                rejected=each.memory.rejected,
            )
            for each in recalled
        )
        return recall.worth_telling(similar, IncidentId(""), self._limit), self._memory.note

    async def remember(self, incident: Incident) -> None:
        """Keep a resolved incident. Raises Unavailable if memory is away; the incident then stays in `behind`.

        One that goes on in another is left out: its end is told there.
        """
        if not incident.merged_into and self._remembered.get(incident.id) != incident.seq:
            self._to_remember[incident.id] = None
            memory = memory_of(incident)
            await asyncio.to_thread(self._memory.remember, [memory])
            self._remembered[incident.id] = incident.seq
            log.info("remembered", incident_id=incident.id, outcome=memory.outcome)
        self._to_remember.pop(incident.id, None)

    async def keep_level(self) -> None:
        """`reconcile` as soon as memory answers."""
        while True:
            try:
                await self.reconcile()
                return
            except SentinelError as error:
                log.warning("memory waits", error=str(error))
                await self._clock.sleep(_RETRY_S)

    async def reconcile(self) -> int:
        """Bring memory level with the journal's resolved incidents, and answer how many it lacked or had otherwise.

        So a crash between the journal and memory is mended, and a memory that was made anew is filled. Raises
        Unavailable where memory is away; doing it again goes on from there.
        """
        held = await asyncio.to_thread(self._memory.held)
        written = 0
        async for page in resolved(self._journal):
            own = [incident for incident in page if not incident.merged_into]
            missing = [incident for incident in own if held.get(incident.id) != incident.seq]
            if missing:
                memories = await asyncio.to_thread(_memories_of, missing)
                await asyncio.to_thread(self._memory.remember, memories)
                written += len(missing)
            self._remembered.update((incident.id, incident.seq) for incident in own)
        if written:
            log.info("memory reconciled", written=written)
        return written

    async def rebuild(self) -> int:
        """Forget everything and fill memory from the journal; answers how many incidents it then holds."""
        await asyncio.to_thread(self._memory.start_over)
        self._remembered.clear()
        return await self.reconcile()


async def resolved(journal: Journal) -> AsyncIterator[list[Incident]]:
    """Every resolved incident of the journal, the newest first, in pages."""
    before: IncidentId | None = None
    while page := await journal.incidents(IncidentState.RESOLVED, limit=_PAGE, before=before):
        yield page
        before = page[-1].id


def memory_of(incident: Incident) -> Memory:
    """What is remembered of an incident as it now is."""
    outcome = recall.outcome_of(incident)
    return Memory(
        incident_id=incident.id,
        vectors=vectors_of(incident),
        title=incident.title,
        services=incident.services,
        opened_at_ms=incident.opened_at_ms,
        last_seen_ms=incident.last_seen_ms,
        outcome=outcome.outcome,
        runbook=outcome.runbook,
        fixed_by=outcome.fixed_by,
        recovery_ms=outcome.recovery_ms,
        rejected=outcome.rejected,
        scope=scope_of(incident.alerts),
        seq=incident.seq,
    )


def _memories_of(incidents: Iterable[Incident]) -> list[Memory]:
    return [memory_of(incident) for incident in incidents]
