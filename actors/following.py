"""How a stage lives: unfinished work first, then the journal, and a look at the clock in between."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

import structlog

from actors.api import Journal
from sentinel.clock import Clock
from sentinel.errors import Conflict, SentinelError
from sentinel.ids import IncidentId
from sentinel.incidents.nouns import Incident

log = structlog.get_logger(__name__)
_RETRY_S = 0.5


async def follow(
    journal: Journal,
    clock: Clock,
    stage: str,
    settle: Callable[[Incident], Awaitable[None]],
    *,
    every_s: float = 1.0,
    also: Callable[[], Iterable[IncidentId]] = tuple,
) -> None:
    """Call `settle` for every unresolved incident at start and `every_s`, and for each incident when it changes.

    `settle` is a level-triggered look at one incident: it may be called at any time and any number of times.
    Where it fails with a SentinelError the incident is simply looked at again; nothing else remembers it.
    `also` names resolved incidents that the stage is not done with.
    """
    position: int | None = None
    due_at = clock.monotonic()
    while True:
        try:
            if position is None:
                position = await journal.position()
            followed = await journal.follow(position, timeout_s=every_s)
            position = followed.position
            ids = list(followed.incident_ids)
            looked_at: dict[IncidentId, Incident] = {}
            if clock.monotonic() >= due_at:
                due_at = clock.monotonic() + every_s
                looked_at = {incident.id: incident for incident in await journal.unresolved()}
                ids.extend(also())
            if ids:
                # In one call: of many that change at once the last would wait for a call each of all before it.
                looked_at |= {incident.id: incident for incident in await journal.those(ids)}
        except SentinelError as error:
            log.warning("journal not reached", stage=stage, error=str(error))
            await clock.sleep(_RETRY_S)
            continue
        for incident in looked_at.values():
            try:
                await settle(incident)
            except Conflict as error:
                # Somebody else moved the incident on. The entry that did so is still to come.
                log.debug("looked too late", stage=stage, incident_id=incident.id, error=str(error))
            except SentinelError as error:
                log.warning("will look again", stage=stage, incident_id=incident.id, error=str(error))


def keep_running(coroutine: Callable[[], Coroutine[Any, Any, None]], stage: str, clock: Clock) -> asyncio.Task[None]:
    """Run a stage's loop for ever: an error nobody foresaw is logged with its trace, and the loop starts over.

    Starting over is safe, since a stage keeps nothing that the journal does not have.
    """

    async def forever() -> None:
        while True:
            try:
                await coroutine()
            except Exception:
                # A loop that ended would be a stage that is silently gone: whatever it was is logged whole.
                log.exception("stage failed and starts over", stage=stage)
            await clock.sleep(_RETRY_S)

    return asyncio.create_task(forever(), name=stage)
