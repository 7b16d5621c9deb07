"""Approval: proposes a plan, holds it for people, and records what they say."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import structlog

from actors.api import Journal
from actors.cards import Cards
from actors.following import follow
from actors.pictures import Pictures
from actors.proposing import Proposing
from sentinel.clock import Clock
from sentinel.errors import Conflict, Forbidden, IllegalTransition, Invalid, NotFound, OutcomeUnknown, Unavailable
from sentinel.ids import IncidentId, PlanId, incident_of_plan
from sentinel.ids import plan_id as plan_id_of
from sentinel.incidents import facts as f
from sentinel.incidents.nouns import SENTINEL, Card, Incident, Plan, PlanRecord, Principal, Verdict
from sentinel.remediation.approval import NOT_ON_RECORD, Provenance, Standing, judge, refusal, unproven
from sentinel.remediation.binding import drift, narrowed
from sentinel.remediation.sealing import sealed, value_mac

_TRIES = 20
_RETRY_S = 0.5
log = structlog.get_logger(__name__)


class ApprovalActor:
    """Hard state: none; every plan and verdict rests in the journal. Soft state: what the cards last showed.

    A verdict that was answered with "approved" or "rejected" is in the journal; one that was answered otherwise, or
    with an error, changed nothing of its plan, unless the error is OutcomeUnknown or the answer says that the plan
    was replaced by a new one. Each call may be repeated: a second verdict is told what was decided.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        cards: Cards | None,
        proposing: Proposing,
        key: bytes,
        clock: Clock,
        pictures: Pictures | None = None,
    ) -> None:
        self._journal = journal
        self._cards = cards
        self._pictures = pictures
        self._proposing = proposing
        self._key = key
        self._clock = clock

    async def run(self) -> None:
        """Settle unfinished incidents, then follow the journal for ever."""
        if self._cards:
            self._cards.look_at(await self._journal.incidents(limit=20))
        await follow(
            self._journal,
            self._clock,
            "approval",
            self.settle,
            also=self._cards.behind if self._cards else tuple,
        )

    async def settle(self, incident: Incident) -> None:
        """Do what this stage owes one incident as it now is."""
        if incident.silenced:
            return  # people asked not to be told of it; `SilenceEnded` brings it back
        now_ms = self._clock.now_ms()
        asked = "in Slack and by API" if self._cards else "by API"
        facts, principal = await self._proposing.due(incident, asked, now_ms)
        if facts:
            incident = await self._journal.append(incident.id, incident.seq, facts, principal, now_ms)
        if self._cards:
            await self._cards.show(incident)
        if self._pictures:
            self._pictures.look(incident)

    async def decide(
        self,
        plan_id: str,
        digest: str,
        decision: Literal["approve", "reject"],
        principal: Principal,
        reason: str,
        came: Provenance,
    ) -> str:
        """Record one principal's verdict on the plan as it was shown, and answer what came of it, for people.

        Answers with the reason, and changes nothing, where the word does not count. Where what was shown is no longer
        so, nothing is approved, and a plan for what is there now takes its place. A journal that restarts is
        waited for. Raises NotFound for a plan that does not exist, Unavailable if the journal or AWS stays away
        (nothing was recorded), OutcomeUnknown if the journal went away while it wrote (the plan tells whether it did).
        """
        sure = True
        for attempt in range(_TRIES):
            try:
                incident, record = await self._find(plan_id)
                now_ms = self._clock.now_ms()
                refused = await self._refusal(incident, record, digest, decision, principal, came, now_ms)
            except Conflict:
                continue
            except (Unavailable, OutcomeUnknown):
                if sure and attempt + 1 == _TRIES:
                    raise
                await self._clock.sleep(_RETRY_S)
                continue
            if refused:
                log.info("verdict refused", plan_id=plan_id, principal=principal.id, reason=refused)
                return refused
            facts, answer, by = await self._verdict(incident, record, decision, principal, reason, came, now_ms)
            try:
                await self._journal.append(incident.id, incident.seq, facts, by, now_ms)
            except Conflict:
                continue
            except (Unavailable, OutcomeUnknown) as error:
                # It may be recorded all the same. If so, the next look says "already".
                log.warning("verdict not surely recorded", plan_id=plan_id, principal=principal.id, error=str(error))
                sure = False
                await self._clock.sleep(_RETRY_S)
                continue
            return answer
        if sure:
            raise Conflict(f"plan {plan_id} keeps changing: try again")
        raise OutcomeUnknown(f"the journal does not answer: look at plan {plan_id} before deciding again")

    async def narrow(
        self, plan_id: str, digest: str, index: int, name: str, value: int, principal: Principal, came: Provenance
    ) -> str:
        """Replace a waiting plan by one whose parameter is nearer to what is there, and answer what came of it.

        The new plan has a digest of its own and no verdicts. Raises Invalid for a value that is no narrowing.
        """
        incident, record = await self._find(plan_id)
        now_ms = self._clock.now_ms()
        refused = await self._refusal(incident, record, digest, "reject", principal, came, now_ms)
        if refused:
            return refused
        targets = await self._proposing.look(record.plan)
        if why := drift(record.plan, targets, self._proposing.policy.version):
            now = replace(record.plan, targets=targets)
            facts = self._replaced(incident, record, now, f"the plan changed: {why}", now_ms)
            await self._journal.append(incident.id, incident.seq, facts, SENTINEL, now_ms)
            return f"the plan changed, review it again: {why}"
        old = record.plan.steps[index].params.get(name) if 0 <= index < len(record.plan.steps) else None
        fresh = narrowed(record.plan, record.plan.plan_id, index, name, value, principal.id, now_ms)
        said = f"narrowed by {principal.name}: {name} {old} → {value}"
        facts = self._replaced(incident, record, replace(fresh, targets=targets), said, now_ms)
        await self._journal.append(incident.id, incident.seq, facts, principal, now_ms)
        return f"{said}; the new plan waits for approval"

    async def withdraw(
        self,
        plan_id: str,
        digest: str,
        verb: Literal["cancel", "abort"],
        principal: Principal,
        reason: str,
        came: Provenance | None = None,
    ) -> str:
        """Cancel a plan that has not started, or abort one that has. Raises Conflict where that cannot follow."""

        def facts(incident: Incident) -> list[f.Fact]:
            record = incident.plan(plan_id)
            if record is None:
                raise NotFound(f"there is no plan {plan_id}")
            if digest != record.plan.digest:
                raise Conflict("the plan changed since it was shown: review it again")
            if came and (why := unproven(came, plan_id, digest, principal, incident, self._key)):
                raise Forbidden(why)
            if verb == "cancel":
                return [f.PlanCancelled(plan_id=record.plan.plan_id, reason=_said("cancelled", principal, reason))]
            said = _said("aborted", principal, reason)
            return [f.RollbackStarted(plan_id=record.plan.plan_id, reason=said, undo=record.plan.rollback)]

        return await self._by_principal(incident_of_plan(plan_id), facts, principal)

    async def acknowledge(
        self, incident_id: str, principal: Principal, reason: str, came: Provenance | None = None
    ) -> str:
        """Record that somebody looks after an incident; they are not reminded any more. Raises as `close` does."""

        def facts(incident: Incident) -> list[f.Fact]:
            if came and (why := unproven(came, incident_id, "", principal, incident, self._key)):
                raise Forbidden(why)
            if incident.acknowledged_by == principal.name:
                raise Conflict(f"already acknowledged by {principal.name}")
            return [f.IncidentAcknowledged(by=principal.name, reason=_said("acknowledged", principal, reason))]

        return await self._by_principal(IncidentId(incident_id), facts, principal)

    async def prove(self, incident_id: str, principal: Principal, came: Provenance) -> None:
        """Whether a press about an incident came from a button that Sentinel showed. Raises Forbidden, or NotFound."""
        incident = await self._journal.incident(IncidentId(incident_id))
        if incident is None:
            raise NotFound(f"there is no incident {incident_id}")
        if why := unproven(came, incident_id, "", principal, incident, self._key):
            raise Forbidden(why)

    async def close(
        self, incident_id: str, verb: Literal["resolve", "escalate"], principal: Principal, reason: str
    ) -> str:
        """Resolve or escalate an incident by hand. Raises Conflict while a plan is live, NotFound if unknown."""

        def facts(incident: Incident) -> list[f.Fact]:
            if incident.live_plan:
                raise Conflict(f"incident {incident.id} has a live plan: cancel or abort it first")
            said = _said(f"{verb}d", principal, reason)
            return [f.IncidentResolved(reason=said) if verb == "resolve" else f.IncidentEscalated(reason=said)]

        return await self._by_principal(IncidentId(incident_id), facts, principal)

    async def offer(self, plan_id: str, audience: str) -> str:
        """What protects a button that shows this plan, as it is now, in one place. Raises NotFound."""
        _, record = await self._find(plan_id)
        return value_mac(self._key, record.plan.plan_id, record.plan.digest, audience)

    async def ping(self) -> str:
        """Answers while the actor's loop turns."""
        return "approval"

    async def _refusal(
        self,
        incident: Incident,
        record: PlanRecord,
        digest: str,
        decision: Literal["approve", "reject"],
        principal: Principal,
        came: Provenance,
        now_ms: int,
    ) -> str:
        why = unproven(came, record.plan.plan_id, digest, principal, incident, self._key)
        if why == NOT_ON_RECORD:
            # A card of ours whose posting was never answered: from now on it is kept up to date like the others.
            card = f.CardPosted(card=Card(channel=came.channel, ts=came.ts, shows="found by a click"))
            await self._journal.append(incident.id, incident.seq, [card], SENTINEL, now_ms)
        if why:
            return why
        members = await self._proposing.members(record.plan)
        why = refusal(record, digest, principal, self._proposing.policy, now_ms, decision, members)
        counted = {given.request for each in incident.plans for given in each.verdicts}
        if not why and came.request and came.request in counted:
            return "this click was counted before; nothing was done for it again"
        return why

    async def _verdict(
        self,
        incident: Incident,
        record: PlanRecord,
        decision: Literal["approve", "reject"],
        principal: Principal,
        reason: str,
        came: Provenance,
        now_ms: int,
    ) -> tuple[list[f.Fact], str, Principal]:
        """The facts that this word leads to, what to answer, and who records them."""
        plan = record.plan
        if decision == "approve":
            # What follows from another look is not recorded by the one who clicked: they said yes to something else.
            try:
                targets = await self._proposing.look(plan)
            except (Forbidden, Invalid) as error:
                gone = f"the plan cannot run any more: {error}"
                return [f.PlanCancelled(plan_id=plan.plan_id, reason=gone)], gone, SENTINEL
            if why := drift(plan, targets, self._proposing.policy.version):
                now = replace(plan, targets=targets)
                facts = self._replaced(incident, record, now, f"the plan changed: {why}", now_ms)
                return facts, f"the plan changed, review it again: {why}", SENTINEL
        verdict = Verdict(
            principal=principal,
            decision=decision,
            digest=plan.digest,
            reason=reason,
            at_ms=now_ms,
            evidence=came.evidence,
            method=came.method,
            shown=came.shown,
            request=came.request,
        )
        judgement = judge(record, (*record.verdicts, verdict), now_ms)
        given = f.VerdictGiven(plan_id=plan.plan_id, verdict=sealed(self._key, plan.plan_id, verdict))
        facts = [given, *_consequence(plan.plan_id, plan.digest, judgement.standing, judgement.reason)]
        return facts, judgement.reason, principal

    def _replaced(self, incident: Incident, record: PlanRecord, fresh: Plan, reason: str, now_ms: int) -> list[f.Fact]:
        """The facts by which `fresh`, under an id and a digest of its own, takes the place of a waiting plan."""
        cancelled = f.PlanCancelled(plan_id=record.plan.plan_id, reason=reason)
        next_id = plan_id_of(incident.id, len(incident.plans) + 1)
        made = self._proposing.bound_anew(replace(fresh, plan_id=next_id, created_at_ms=now_ms))
        if isinstance(made, str):
            return [replace(cancelled, reason=f"{reason}; {made}")]
        asked = f.ApprovalRequested(plan_id=made.plan_id, asked="again")
        return [cancelled, f.PlanProposed(plan=made), asked]

    async def _find(self, plan_id: str) -> tuple[Incident, PlanRecord]:
        incident = await self._journal.incident(incident_of_plan(plan_id))
        record = incident.plan(plan_id) if incident else None
        if incident is None or record is None:
            raise NotFound(f"there is no plan {plan_id}")
        return incident, record

    async def _by_principal(
        self, incident_id: IncidentId, facts: Callable[[Incident], list[f.Fact]], principal: Principal
    ) -> str:
        for _ in range(_TRIES):
            incident = await self._journal.incident(incident_id)
            if incident is None:
                raise NotFound(f"there is no incident {incident_id}")
            decided = facts(incident)
            try:
                await self._journal.append(incident_id, incident.seq, decided, principal, self._clock.now_ms())
            except IllegalTransition:
                raise
            except Conflict:
                continue
            return str(getattr(decided[-1], "reason", "done"))
        raise Conflict(f"incident {incident_id} keeps changing: try again")


def _consequence(plan_id: PlanId, digest: str, standing: Standing, reason: str) -> list[f.Fact]:
    """What follows at once from a verdict: in the same append, so that no crash can come between."""
    if standing is Standing.APPROVED:
        return [f.PlanApproved(plan_id=plan_id, digest=digest, reason=reason)]
    if standing is Standing.REJECTED:
        return [f.PlanRejected(plan_id=plan_id, reason=reason)]
    return []


def _said(verb: str, principal: Principal, reason: str) -> str:
    return f"{verb} by {principal.name}" + (f": {reason}" if reason else "")
