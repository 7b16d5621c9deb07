"""What people say of duplicates: "not the same" splits, "the same as" merges, and both become examples."""

from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from actors.api import Journal
from sentinel import ids
from sentinel.clock import Clock
from sentinel.correlation import dedup, recall, suspects
from sentinel.correlation.signature import similarity, vectors_of
from sentinel.correlation.topology import Topology
from sentinel.errors import Conflict, Invalid, NotFound, Unavailable
from sentinel.ids import IncidentId
from sentinel.incidents import facts as f
from sentinel.incidents.nouns import Alert, Correction, Incident, IncidentState, Principal, Suspect

_TRIES = 20
_MOST_EXAMPLES = 500
log = structlog.get_logger(__name__)


class Corrections:
    """Hard state: none; what was said rests in the journal. Soft state: the examples that follow from it.

    What was answered is recorded. A split and a merge are facts of two incidents: the first names the second, and
    `finish` records what is missing of it, so a crash between the two is mended by looking again.
    """

    def __init__(self, journal: Journal, topology: Callable[[], Topology], clock: Clock) -> None:
        self._journal = journal
        self._topology = topology
        self._clock = clock
        self._examples: dict[tuple[IncidentId, int], dedup.Example] = {}
        self._finished: set[tuple[IncidentId, int]] = set()

    @property
    def examples(self) -> Sequence[dedup.Example]:
        """What people said, the latest last."""
        return tuple(self._examples.values())

    def learn(self, incident: Incident) -> None:
        """Take in what people said of an incident."""
        for number, correction in enumerate(incident.corrections):
            key = (incident.id, number)
            if key not in self._examples:
                self._examples[key] = dedup.example_of(incident.id, correction, self._topology())
        while len(self._examples) > _MOST_EXAMPLES:
            del self._examples[next(iter(self._examples))]

    async def not_duplicate(
        self, incident_id: str, fingerprints: Sequence[str], principal: Principal, reason: str
    ) -> str:
        """Take alerts out of an incident into one of their own: those named, else those folded in last.

        Where nothing was folded in and none are named, it is the incident before this one that it is not a return
        of. Raises NotFound, Invalid for a fingerprint that the incident does not have, Conflict where a plan is live,
        the incident is over, or no alert would stay.
        """
        for _ in range(_TRIES):
            incident = await self._changeable(incident_id, "split")
            leaving = await self._leaving(incident, fingerprints)
            try:
                if not leaving:
                    return await self._not_the_return(incident, principal, reason)
                return await self._split(incident, leaving, principal, reason)
            except Conflict as error:
                if await self._unchanged(incident):
                    raise error from None
        raise Unavailable(f"incident {incident_id} keeps changing")

    async def same_as(self, incident_id: str, other_id: str, principal: Principal, reason: str) -> str:
        """Count an incident in another one; where that is over, name this one its return.

        Raises NotFound, and Conflict for one and the same, or where a plan of this one is live or it is over.
        """
        if incident_id == other_id:
            raise Conflict(f"incident {incident_id} is the same as itself: name another one")
        for _ in range(_TRIES):
            incident = await self._changeable(incident_id, "merged")
            other = await self._journal.incident(IncidentId(other_id))
            if other is None:
                raise NotFound(f"there is no incident {other_id}")
            try:
                return await self._merge(incident, other, principal, reason)
            except Conflict as error:
                if await self._unchanged(incident) and await self._unchanged(other):
                    raise error from None
        raise Unavailable(f"incidents {incident_id} and {other_id} keep changing")

    async def finish(self, incident: Incident) -> None:
        """Record what is missing of the splits and merges that the incident tells of."""
        for number, correction in enumerate(incident.corrections):
            key = (incident.id, number)
            if key in self._finished:
                continue
            if correction.same and correction.other_id != incident.previous_id:
                if not await self._finish_merge(incident, correction):
                    continue
            elif not correction.same:
                await self._finish_split(incident, correction)
            self._finished.add(key)

    async def _split(self, incident: Incident, leaving: tuple[Alert, ...], principal: Principal, reason: str) -> str:
        gone = {alert.fingerprint for alert in leaving}
        kept = [alert for alert in incident.alerts if alert.fingerprint not in gone]
        if not kept:
            raise Conflict(f"incident {incident.id} would keep no alert: the same series raised both")
        new_id = await free_id(self._journal, leaving, suspects.rank(leaving, self._topology()))
        told = f.ToldApart(
            other_id=new_id, alerts=leaving, suspects=suspects.rank(kept, self._topology()), reason=reason
        )
        after = await self._append(incident, told, principal)
        self.learn(after)
        await self.finish(after)
        return f"{len(leaving)} alert{'s' if len(leaving) > 1 else ''} of {incident.id} are incident {new_id} now"

    async def _not_the_return(self, incident: Incident, principal: Principal, reason: str) -> str:
        if incident.previous_id is None:
            raise Invalid("fingerprints", (), f"the alerts that do not belong: nothing was folded into {incident.id}")
        previous = await self._journal.incident(incident.previous_id)
        told = f.ToldApart(
            other_id=incident.previous_id,
            alerts=(),
            suspects=incident.suspects,
            reason=reason,
            against=previous.alerts if previous else (),
        )
        self.learn(await self._append(incident, told, principal))
        return f"{incident.id} is no return of {incident.previous_id}"

    async def _merge(self, incident: Incident, other: Incident, principal: Principal, reason: str) -> str:
        alike = similarity(vectors_of(incident).sig, vectors_of(other).sig)
        if other.state is IncidentState.RESOLVED:
            told = f.ToldSame(
                other_id=other.id,
                alerts=(),
                suspects=incident.suspects,
                occurrences=0,
                similarity=alike,
                reason=reason,
                against=other.alerts,
            )
            self.learn(await self._append(incident, told, principal))
            return f"{incident.id} is the return of {other.id}, which is over"
        told = f.ToldSame(
            other_id=incident.id,
            alerts=incident.alerts,
            suspects=suspects.rank((*other.alerts, *incident.alerts), self._topology(), other.changes),
            occurrences=incident.occurrences,
            similarity=alike,
            reason=reason,
        )
        after = await self._append(other, told, principal)
        self.learn(after)
        # It is said and counted now: to say it once more would count it twice. Whoever looks next finishes it.
        with suppress(Conflict):
            await self.finish(after)
        return f"{incident.id} is counted in {other.id}"

    async def _finish_merge(self, incident: Incident, correction: Correction) -> bool:
        """Whether nothing is left to do. A plan that came in between lives on; the merge follows once it is over."""
        merged = await self._journal.incident(correction.other_id)
        if merged is None or merged.state is IncidentState.RESOLVED:
            return True
        if merged.live_plan:
            return False
        said = _said(f"the same as {incident.id}", correction)
        await self._append(merged, f.IncidentMerged(into=incident.id, reason=said), correction.principal)
        return True

    async def _finish_split(self, incident: Incident, correction: Correction) -> None:
        if await self._journal.incident(correction.other_id) is not None:
            return
        ranked = suspects.rank(correction.alerts, self._topology())
        opened = f.IncidentOpened(
            title=recall.title_of(correction.alerts, ranked),
            severity=max((alert.severity for alert in correction.alerts), key=lambda severity: severity.rank),
            alerts=correction.alerts,
            suspects=ranked,
            similar=(),
            reason=_said(f"not the same as {incident.id}", correction),
            # Who asked for quiet is not told of half of it; correlation ends it where the silence covers less.
            silenced_by=incident.silenced_by if incident.silenced else "",
        )
        await self._journal.append(correction.other_id, 0, [opened], correction.principal, self._clock.now_ms())

    async def _leaving(self, incident: Incident, fingerprints: Sequence[str]) -> tuple[Alert, ...]:
        known = {alert.fingerprint: alert for alert in incident.alerts}
        for number, fingerprint in enumerate(fingerprints):
            if fingerprint not in known:
                raise Invalid(f"fingerprints.{number}", fingerprint, f"one of an alert of {incident.id}")
        if fingerprints:
            return tuple(alert for each, alert in known.items() if each in set(fingerprints))
        entries = await self._journal.entries(incident.id)
        folds = [entry.fact for entry in entries if isinstance(entry.fact, f.DuplicateFolded)]
        if not folds:
            return ()
        return tuple(known[alert.fingerprint] for alert in folds[-1].alerts if alert.fingerprint in known)

    async def _changeable(self, incident_id: str, how: str) -> Incident:
        incident = await self._journal.incident(IncidentId(incident_id))
        if incident is None:
            raise NotFound(f"there is no incident {incident_id}")
        if incident.live_plan:
            raise Conflict(f"incident {incident_id} has a live plan: cancel or abort it before it is {how}")
        if incident.state is IncidentState.RESOLVED:
            raise Conflict(f"incident {incident_id} is over and cannot be {how}")
        return incident

    async def _unchanged(self, incident: Incident) -> bool:
        now = await self._journal.incident(incident.id)
        return now is not None and now.seq == incident.seq

    async def _append(self, incident: Incident, fact: f.Fact, principal: Principal) -> Incident:
        return await self._journal.append(incident.id, incident.seq, [fact], principal, self._clock.now_ms())


async def free_id(journal: Journal, alerts: Sequence[Alert], ranked: Sequence[Suspect]) -> IncidentId:
    """The first id that no incident has, of those that follow from the strongest of the alerts."""
    root = ranked[0].service if ranked else alerts[0].service
    strongest = max(alerts, key=lambda alert: (alert.service == root, alert.score, alert.fingerprint))
    for n in range(1, 1000):
        incident_id = ids.incident_id(strongest.started_at_ms, strongest.fingerprint, n)
        if await journal.incident(incident_id) is None:
            return incident_id
    raise Unavailable(f"{strongest.fingerprint} opened a thousand incidents in one day")


def _said(what: str, correction: Correction) -> str:
    return f"{what}, says {correction.principal.name}" + (f": {correction.reason}" if correction.reason else "")
