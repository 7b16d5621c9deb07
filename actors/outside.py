"""Outside events: gives what other systems reported its place in the incidents, and only then forgets it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from actors.api import Events, Journal
from sentinel.clock import Clock
from sentinel.correlation.alerts import alert_of_event, harmful
from sentinel.errors import Conflict, SentinelError
from sentinel.ids import Fingerprint, IncidentId
from sentinel.incidents import facts as f
from sentinel.incidents.nouns import SENTINEL, Alert, Incident, IncidentState

_PAGE = 500
_EVERY_S = 0.5
_DAY_MS = 86_400_000
_FORGET_EVERY_MS = 60_000
_REMEMBERED = 50  # resolved incidents of a service that are asked whether they tell of an alert
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Retention:
    """How long events are kept after they were settled: those that were placed, and dead letters."""

    placed_ms: int = 30 * _DAY_MS
    dead_ms: int = 90 * _DAY_MS


class WaitingRoom(Protocol):
    """Where alerts wait for company: `actors.correlation.CorrelationActor`."""

    def take(self, alerts: Iterable[Alert]) -> None: ...

    def waits(self, alert: Alert) -> bool: ...


class OutsideEvents:
    """Hard state: none; an event is pending in its store until the journal tells of it. Soft state: what was taken.

    `look` is level-triggered: it may be called at any time and any number of times. What is pending and has no place
    goes to correlation's waiting room, to be grouped with what the detectors found; it is settled once a fact names
    it. So a crash at any point repeats work, and neither loses an event nor counts it twice.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        events: Events,
        room: WaitingRoom,
        clock: Clock,
        retention: Retention = Retention(),
    ) -> None:
        self._journal = journal
        self._events = events
        self._room = room
        self._clock = clock
        self._retention = retention
        self._forget_ms = 0
        self._taken: set[int] = set()

    async def run(self) -> None:
        """Look for ever."""
        while True:
            try:
                await self.look()
                await self.forget()
            except SentinelError as error:
                log.warning("outside events wait", error=str(error))
            await self._clock.sleep(_EVERY_S)

    async def look(self) -> None:
        """Move every pending event one step on: into the waiting room, into an incident, or out of the pending."""
        pending = await self._events.pending_events(_PAGE)
        if not pending:
            self._taken.clear()
            return
        told = _Told(self._journal, await self._journal.unresolved())
        done: list[int] = []
        beginning: set[Fingerprint] = set()
        endings: dict[IncidentId, list[tuple[int, f.AlertCleared]]] = {}
        for each in pending:
            if each.event is None:
                log.error("event is a dead letter", position=each.position, reason=each.fault)
                await self._events.settle_events([each.position], self._clock.now_ms(), each.fault)
                continue
            alert = alert_of_event(each.event)
            if each.event.status == "firing":
                if await told.of(alert) or self._only_information(each.position, alert):
                    done.append(each.position)
                else:
                    beginning.add(alert.fingerprint)
                    self._taken.add(each.position)
                    self._room.take([alert])
            elif alert.fingerprint not in beginning:  # else it ends what has no place yet: next time
                ending = told.ending(alert)
                if ending is None:
                    done.append(each.position)
                else:
                    incident, fact = ending
                    endings.setdefault(incident.id, []).append((each.position, fact))
        for incident_id, facts in endings.items():
            done += await self._clear(told.incident(incident_id), facts)
        if done:
            await self._events.settle_events(done, self._clock.now_ms())
            self._taken.difference_update(done)

    async def forget(self) -> None:
        """Now and then delete a few events that were settled longer ago than they are kept."""
        now_ms = self._clock.now_ms()
        if now_ms < self._forget_ms:
            return
        placed, dead = now_ms - self._retention.placed_ms, now_ms - self._retention.dead_ms
        gone = await self._events.forget_events(placed, dead, _PAGE)
        # A full page tells of more; what records facts has its turn in between.
        self._forget_ms = now_ms if gone == _PAGE else now_ms + _FORGET_EVERY_MS
        if gone:
            log.info("old events deleted", events=gone)

    def _only_information(self, position: int, alert: Alert) -> bool:
        """Whether the alert was grouped and, being harmless, opened nothing: then no fact will ever name it."""
        return not harmful(alert) and position in self._taken and not self._room.waits(alert)

    async def _clear(self, incident: Incident, endings: Sequence[tuple[int, f.AlertCleared]]) -> list[int]:
        """Record the ends of alerts; the positions of their events once that is done."""
        # A resolution told twice under two identities ends its alert once.
        facts = list({fact.fingerprint: fact for _, fact in endings}.values())
        try:
            await self._journal.append(incident.id, incident.seq, facts, SENTINEL, self._clock.now_ms())
        except Conflict as error:
            log.debug("looked too late", incident_id=incident.id, error=str(error))
            return []
        return [position for position, _ in endings]


class _Told:
    """What the incidents tell of an alert, for the length of one look."""

    def __init__(self, journal: Journal, unresolved: Sequence[Incident]) -> None:
        self._journal = journal
        self._unresolved = {incident.id: incident for incident in unresolved}
        self._resolved: dict[str, list[Incident]] = {}

    def incident(self, incident_id: IncidentId) -> Incident:
        return self._unresolved[incident_id]

    async def of(self, alert: Alert) -> bool:
        """Whether an incident has this very span of the alert, or a later one."""
        if _names(self._unresolved.values(), alert):
            return True
        if alert.service not in self._resolved:
            self._resolved[alert.service] = await self._journal.incidents(
                IncidentState.RESOLVED, alert.service, _REMEMBERED
            )
        return _names(self._resolved[alert.service], alert)

    def ending(self, alert: Alert) -> tuple[Incident, f.AlertCleared] | None:
        """The end that `alert` brings to one of an unresolved incident; None if it ends nothing that is open.

        An end from before the alert was last raised is the end of an earlier span, and comes too late to matter.
        """
        ended_ms = alert.ended_at_ms or alert.last_at_ms
        for incident in self._unresolved.values():
            for known in incident.alerts:
                if known.fingerprint == alert.fingerprint and known.open and ended_ms >= known.last_at_ms:
                    return incident, f.AlertCleared(fingerprint=known.fingerprint, ended_at_ms=ended_ms)
        return None


def _names(incidents: Iterable[Incident], alert: Alert) -> bool:
    return any(
        known.fingerprint == alert.fingerprint and alert.started_at_ms <= known.last_at_ms
        for incident in incidents
        for known in incident.alerts
    )
