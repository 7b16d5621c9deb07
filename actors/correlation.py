"""Correlation: folds anomalies into incidents, ranks suspects, recalls the like. The only owner of memory."""

import asyncio
from collections.abc import Iterable, Sequence

import structlog

from actors.api import Detectors, Events, Journal, Silences
from actors.call_graph import CallGraph
from actors.corrections import Corrections, free_id
from actors.following import follow
from actors.recollection import Recollection, resolved
from sentinel.clock import Clock
from sentinel.correlation import dedup, grouping, recall, suspects
from sentinel.correlation.alerts import alert_of, change_of, harmful
from sentinel.correlation.policy import CorrelationPolicy
from sentinel.correlation.scope import scope_of
from sentinel.correlation.signature import vectors
from sentinel.correlation.silences import Silence, silencing
from sentinel.correlation.topology import Edge, Topology
from sentinel.correlation.window import HotWindow
from sentinel.detection.anomaly import Anomaly, Condition
from sentinel.errors import Conflict, SentinelError, Unavailable
from sentinel.ids import Fingerprint, IncidentId
from sentinel.incidents import facts as f
from sentinel.incidents.nouns import SENTINEL, Alert, Change, Incident, IncidentState, PlanState, Principal, merge
from sentinel.ports import IncidentMemory

_TRIES = 20
_WITHDRAWABLE = frozenset({PlanState.PROPOSED, PlanState.AWAITING_APPROVAL})
log = structlog.get_logger(__name__)


class CorrelationActor:
    """Hard state: none; incidents rest in the journal. Soft state: anomalies waiting for company, the hot window,
    the calls seen, and what people said of duplicates.

    `submit` that returned holds the anomalies in memory only. That is enough: what is unusual is asked of the
    detectors at start, and what is back to normal is asked of them as long as an incident has an open alert.
    Submitting the same anomaly twice changes nothing.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        detectors: Detectors,
        memory: IncidentMemory,
        topology: Topology,
        policy: CorrelationPolicy,
        clock: Clock,
        events: Events | None = None,
        silences: Silences | None = None,
    ) -> None:
        self._journal = journal
        self._detectors = detectors
        self._memory = Recollection(memory, policy.recall_limit, journal, clock)
        self._calls = CallGraph(topology, detectors, clock)
        self._corrections = Corrections(journal, lambda: self._topology, clock)
        self._window = HotWindow(policy.dedup_window_s)
        self._policy = policy
        self._clock = clock
        self._events = events
        self._silences = silences
        self._taken_up = False
        self._waiting: dict[tuple[Fingerprint, int], Alert] = {}
        self._waiting_since_ms: int | None = None

    @property
    def _topology(self) -> Topology:
        return self._calls.topology

    async def run(self) -> None:
        """Take up what is known and what is unusual now, then group and follow the journal for ever."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._memory.keep_level())
            loops.create_task(self._calls.run())
            loops.create_task(self._group_for_ever())
            loops.create_task(self._take_up_open_anomalies())
            loops.create_task(follow(self._journal, self._clock, "correlation", self.settle, also=self._memory.behind))

    async def _take_up_incidents(self) -> None:
        for incident in await self._journal.unresolved():
            self._know(incident)
        async for page in resolved(self._journal):
            for incident in page:
                self._know(incident)
        self._taken_up = True

    async def rebuild_memory(self) -> int:
        """Forget all that is remembered and fill the memory from the journal; answers how many incidents it holds."""
        return await self._memory.rebuild()

    def _know(self, incident: Incident) -> Incident:
        """Have the incident in the window as it now is, and honour what people said of it."""
        self._corrections.learn(incident)
        long_over_ms = self._clock.now_ms() - round(self._policy.dedup_window_s * 1000)
        if incident.merged_into or (incident.resolved_at_ms is not None and incident.resolved_at_ms < long_over_ms):
            self._window.drop(incident.id)
        else:
            self._window.put(incident)
        return incident

    async def not_duplicate(
        self, incident_id: str, fingerprints: Sequence[str], principal: Principal, reason: str
    ) -> str:
        """See `Corrections.not_duplicate`."""
        return await self._corrections.not_duplicate(incident_id, fingerprints, principal, reason)

    async def same_as(self, incident_id: str, other_id: str, principal: Principal, reason: str) -> str:
        """See `Corrections.same_as`."""
        return await self._corrections.same_as(incident_id, other_id, principal, reason)

    async def call_graph(self) -> tuple[Sequence[Edge], Sequence[str]]:
        """Every edge with where it comes from, and the services of the settings that no telemetry speaks of."""
        return self._calls.edges(), self._calls.unseen()

    async def submit(self, anomalies: Sequence[Anomaly]) -> None:
        """Take in changes of anomalies: opened, worse, or over."""
        self.take(alert_of(anomaly) for anomaly in anomalies)

    def take(self, alerts: Iterable[Alert]) -> None:
        """Have alerts wait for company; taking one that waits, or that has its place, changes nothing."""
        for alert in alerts:
            key = (alert.fingerprint, alert.started_at_ms)
            known = self._waiting.get(key)
            self._waiting[key] = merge(known, alert) if known else alert
        if self._waiting and self._waiting_since_ms is None:
            self._waiting_since_ms = self._clock.now_ms()

    def waits(self, alert: Alert) -> bool:
        """Whether an alert that was taken has no place yet."""
        return (alert.fingerprint, alert.started_at_ms) in self._waiting

    async def memory_state(self) -> str:
        """Empty if the memory of incidents is on, else what is lost."""
        return self._memory.note

    async def ping(self) -> str:
        """Answers while the actor's loop turns."""
        return "correlation"

    async def _take_up_open_anomalies(self) -> None:
        while True:
            try:
                await self.submit(await self._detectors.open_anomalies())
                return
            except SentinelError as error:
                log.warning("detectors not reached", error=str(error))
                await self._clock.sleep(0.5)

    async def _group_for_ever(self) -> None:
        while True:
            await self._clock.sleep(0.2)
            since = self._waiting_since_ms
            if since is not None and self._clock.now_ms() - since >= self._policy.group_wait_s * 1000:
                await self.group()

    async def group(self) -> None:
        """Give every waiting alert its place: in an incident that has it, in one near by, or in a new one."""
        waiting, self._waiting, self._waiting_since_ms = self._waiting, {}, None
        for burst in grouping.bursts(waiting.values(), self._policy.group_window_s):
            try:
                await self._place(burst)
            except SentinelError as error:
                log.warning("alerts wait", alerts=len(burst), error=str(error))
                for alert in burst:
                    self._waiting.setdefault((alert.fingerprint, alert.started_at_ms), alert)
                self._waiting_since_ms = self._clock.now_ms()

    async def _place(self, burst: Sequence[Alert]) -> None:
        if not self._taken_up:
            await self._take_up_incidents()
        self._calls.burst(self._topology.of(alert.service) for alert in burst)
        incidents = {incident.id: incident for incident in await self._journal.unresolved()}
        left, before = list(burst), 0
        # Each alert that joins brings its service's neighbours near, whatever order a burst comes in.
        while len(left) != before:
            before = len(left)
            for alert in tuple(left):
                decision = grouping.decide(
                    alert,
                    list(incidents.values()),
                    self._topology,
                    alert.started_at_ms,
                    self._policy.group_window_s,
                    self._policy.max_incident_age_s,
                )
                if decision.incident_id is not None:
                    incidents[decision.incident_id] = await self._join(decision.incident_id, alert, decision.reason)
                    left.remove(alert)
        new = [alert for alert in left if not await self._known_before(alert)]
        for together in grouping.components(new, self._topology):
            if any(harmful(alert) for alert in together):
                await self._open_or_fold(together)
            else:
                log.info("nothing harmful", services=sorted({alert.service for alert in together}))

    async def _known_before(self, alert: Alert) -> bool:
        """Whether a resolved incident already tells of this very span, as when a detector repeats itself."""
        recent = await self._journal.incidents(IncidentState.RESOLVED, alert.service, 50)
        return any(
            known.fingerprint == alert.fingerprint and known.started_at_ms == alert.started_at_ms
            for incident in recent
            for known in incident.alerts
        )

    async def _join(self, incident_id: IncidentId, alert: Alert, reason: str) -> Incident:
        for _ in range(_TRIES):
            incident = await self._journal.incident(incident_id)
            if incident is None or incident.state is IncidentState.RESOLVED:
                raise Conflict(f"incident {incident_id} was resolved meanwhile")
            facts = self._joining(incident, alert, reason)
            if not facts:
                return incident
            try:
                return await self._append(incident, facts)
            except Conflict:
                continue
        raise Unavailable(f"incident {incident_id} keeps changing")

    def _joining(self, incident: Incident, alert: Alert, reason: str) -> list[f.Fact]:
        """What `alert` adds to what the incident already tells; nothing if it is known."""
        known = next((each for each in incident.alerts if each.fingerprint == alert.fingerprint), None)
        if known is None or alert.started_at_ms > known.last_at_ms:
            others = tuple(each for each in incident.alerts if each.fingerprint != alert.fingerprint)
            ranked = suspects.rank((*others, alert), self._topology, incident.changes)
            return [f.AlertRaised(alert=alert, suspects=ranked, reason=reason)]
        if known.open and alert.ended_at_ms is not None:
            return [f.AlertCleared(fingerprint=alert.fingerprint, ended_at_ms=alert.ended_at_ms)]
        return []

    async def _open_or_fold(self, alerts: tuple[Alert, ...]) -> None:
        changes = await self._changes_before(alerts)
        ranked = suspects.rank(alerts, self._topology, changes)
        made = vectors(alerts, ranked[0].service if ranked else alerts[0].service)
        at_ms = max(alert.last_at_ms for alert in alerts)
        policy = self._policy
        self._window.forget(at_ms)
        judged = dedup.judge(
            made.sig,
            alerts,
            self._window.near(made.sig, at_ms, policy.dedup_window_s),
            at_ms,
            policy.dedup_window_s,
            policy.dedup_similarity,
            examples=self._corrections.examples,
            max_age_s=policy.max_incident_age_s,
            topology=self._topology,
        )
        if isinstance(judged, dedup.Folded):
            await self._fold(judged, alerts)
            return
        similar, note = await self._memory.similar(made, scope_of(alerts))
        silence = silencing(alerts, await self._silences_now(), self._clock.now_ms())
        opened = f.IncidentOpened(
            title=recall.title_of(alerts, ranked),
            severity=max((alert.severity for alert in alerts), key=lambda severity: severity.rank),
            alerts=alerts,
            suspects=ranked,
            similar=similar,
            reason=f"{grouping.why_together(alerts, self._topology)}; {judged.reason}",
            memory_note=note,
            previous_id=judged.previous_id,
            changes=changes,
            silenced_by=silence.id if silence else "",
        )
        incident_id = await free_id(self._journal, alerts, ranked)
        self._know(await self._journal.append(incident_id, 0, [opened], SENTINEL, self._clock.now_ms()))

    async def _silences_now(self) -> Sequence[Silence]:
        return await self._silences.silences() if self._silences else ()

    async def _changes_before(self, alerts: Sequence[Alert]) -> tuple[Change, ...]:
        """What people did to the services of `alerts` shortly before the first of them."""
        if self._events is None:
            return ()
        services, from_ms, to_ms = suspects.change_window(alerts)
        found = await self._events.recent_changes(services, from_ms, to_ms)
        return tuple(change_of(event) for event in found)

    async def _fold(self, judged: dedup.Folded, alerts: tuple[Alert, ...]) -> None:
        folded = f.DuplicateFolded(
            alerts=alerts,
            similarity=judged.similarity,
            threshold=self._policy.dedup_similarity,
            reason=judged.reason,
        )
        for _ in range(_TRIES):
            incident = await self._journal.incident(judged.incident_id)
            if incident is not None:
                self._know(incident)  # so that the next try sees what this one did not
            if incident is None or incident.state is IncidentState.RESOLVED:
                raise Conflict(f"incident {judged.incident_id} was resolved meanwhile")
            try:
                await self._append(incident, [folded])
            except Conflict:
                continue
            return
        raise Unavailable(f"incident {judged.incident_id} keeps changing")

    async def settle(self, incident: Incident) -> None:
        """Clear alerts whose series are back, resolve what is quiet, and remember what is resolved."""
        self._know(incident)
        await self._corrections.finish(incident)
        if incident.state is IncidentState.RESOLVED:
            await self._memory.remember(incident)
            return
        cleared = await self._cleared(incident)
        now_ms = self._clock.now_ms()
        if cleared:
            incident = await self._append(incident, cleared)
        wrong = [alert for alert in incident.alerts if alert.open and harmful(alert)]
        if incident.silenced and wrong and not silencing(wrong, await self._silences_now(), now_ms):
            ended = f.SilenceEnded(reason=f"silence {incident.silenced_by} no longer covers all that is wrong")
            incident = await self._append(incident, [ended])
        facts = _over(incident, now_ms, self._policy.resolve_after_s)
        if facts:
            await self._append(incident, facts)

    async def _cleared(self, incident: Incident) -> list[f.Fact]:
        watched: dict[str, list[Fingerprint]] = {}
        for alert in incident.alerts:
            if alert.open and not alert.from_outside:
                watched.setdefault(alert.service, []).append(alert.fingerprint)
        if not watched:
            return []
        return [
            f.AlertCleared(fingerprint=health.fingerprint, ended_at_ms=health.last_at_ms or self._clock.now_ms())
            for health in await self._detectors.health(watched)
            if health.condition is Condition.NORMAL
        ]

    async def _append(self, incident: Incident, facts: Sequence[f.Fact]) -> Incident:
        return self._know(await self._journal.append(incident.id, incident.seq, facts, SENTINEL, self._clock.now_ms()))


def _over(incident: Incident, now_ms: int, resolve_after_s: float) -> list[f.Fact]:
    """The end of an incident whose series have all been back for `resolve_after_s`; an idle plan goes too."""
    if any(alert.open for alert in incident.alerts) or now_ms - incident.updated_at_ms < resolve_after_s * 1000:
        return []
    resolved = f.IncidentResolved(reason="every series is back to normal")
    plan = incident.live_plan
    if plan is None:
        return [resolved]
    held = plan.held_reason if plan.state is PlanState.APPROVED else ""
    if held or plan.state in _WITHDRAWABLE:  # if a held one is let go meanwhile, the sequence number tells
        reason = f"recovered while the plan was held: {held}" if held else "recovered before anybody decided"
        return [f.PlanCancelled(plan_id=plan.plan.plan_id, reason=reason), resolved]
    return []
