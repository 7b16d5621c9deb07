"""Approval: proposes a plan, holds it for people, and records what they say."""

from collections.abc import Callable, Sequence
from typing import Literal

import structlog

from actors.api import Journal
from actors.cards import Cards
from actors.following import follow
from sentinel.clock import Clock
from sentinel.errors import Conflict, IllegalTransition, NotFound, OutcomeUnknown, Unavailable
from sentinel.ids import IncidentId, PlanId, incident_of_plan
from sentinel.incidents import facts as f
from sentinel.incidents.nouns import SENTINEL, Incident, IncidentState, PlanRecord, PlanState, Principal, Verdict
from sentinel.remediation.approval import ApprovalPolicy, Standing, judge, refusal
from sentinel.remediation.planner import PlanPolicy, propose
from sentinel.remediation.runbooks import Runbook
from sentinel.remediation.safety import Limits

_TRIES = 20
_RETRY_S = 0.5
log = structlog.get_logger(__name__)


class ApprovalActor:
    """Hard state: none; every plan and verdict rests in the journal. Soft state: what the cards last showed.

    A verdict that was answered with "approved" or "rejected" is in the journal; one that was answered otherwise, or
    with an error, changed nothing, unless the error is OutcomeUnknown. Each call may be repeated: a second verdict is
    told what was decided.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        cards: Cards | None,
        runbooks: Sequence[Runbook],
        limits: Limits,
        plan_policy: PlanPolicy,
        approval_policy: ApprovalPolicy,
        clock: Clock,
    ) -> None:
        self._journal = journal
        self._cards = cards
        self._runbooks = tuple(runbooks)
        self._limits = limits
        self._plan_policy = plan_policy
        self._policy = approval_policy
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
        facts = self._due(incident, now_ms)
        if facts:
            incident = await self._journal.append(incident.id, incident.seq, facts, SENTINEL, now_ms)
        if self._cards:
            await self._cards.show(incident)

    def _due(self, incident: Incident, now_ms: int) -> list[f.Fact]:
        """What the clock and the runbooks, not people, have to say about an incident."""
        plan = incident.live_plan
        if plan is None:
            # An incident for which no runbook was found may be joined by an alert for which there is one.
            unplanned = incident.state is IncidentState.ESCALATED and not incident.plans
            if not (incident.state is IncidentState.OPEN or unplanned) or not any(
                each.open for each in incident.alerts
            ):
                return []
            if incident.plans:
                last = incident.plans[-1]
                # What else is unusual, such as what the remedy itself shook, gets the time that verification had.
                until_ms = (last.verifying_since_ms or 0) + last.plan.verify_within_s * 1000
                if now_ms < until_ms:
                    return []
                return [f.IncidentEscalated(reason="the plan succeeded, and yet something is wrong")]
            proposal = propose(incident, self._runbooks, self._limits, self._plan_policy, now_ms)
            if proposal.plan is not None:
                return [f.PlanProposed(plan=proposal.plan)]
            return [] if unplanned else [f.IncidentEscalated(reason=proposal.reason)]
        if plan.state is PlanState.PROPOSED:
            asked = "in Slack and by API" if self._cards else "by API"
            return [f.ApprovalRequested(plan_id=plan.plan.plan_id, asked=asked)]
        if plan.state is PlanState.AWAITING_APPROVAL:
            judgement = judge(plan, plan.verdicts, now_ms)
            if judgement.standing is Standing.EXPIRED:
                return [f.PlanExpired(plan_id=plan.plan.plan_id, reason=judgement.reason)]
        return []

    async def decide(
        self,
        plan_id: str,
        digest: str,
        decision: Literal["approve", "reject"],
        principal: Principal,
        reason: str,
        evidence: str,
    ) -> str:
        """Record one principal's verdict on the plan as it was shown, and answer what came of it, for people.

        Answers with the reason, and changes nothing, where the word does not count. A journal that restarts is
        waited for. Raises NotFound for a plan that does not exist, Unavailable if the journal stays away (nothing was
        recorded), OutcomeUnknown if it went away while it wrote (the plan tells whether it did).
        """
        sure = True
        for attempt in range(_TRIES):
            try:
                incident, record = await self._find(plan_id)
            except Unavailable:
                if sure and attempt + 1 == _TRIES:
                    raise
                await self._clock.sleep(_RETRY_S)
                continue
            now_ms = self._clock.now_ms()
            refused = refusal(record, digest, principal, self._policy, now_ms)
            if refused:
                log.info("verdict refused", plan_id=plan_id, principal=principal.id, reason=refused)
                return refused
            verdict = Verdict(
                principal=principal, decision=decision, digest=digest, reason=reason, at_ms=now_ms, evidence=evidence
            )
            judgement = judge(record, (*record.verdicts, verdict), now_ms)
            facts: list[f.Fact] = [f.VerdictGiven(plan_id=record.plan.plan_id, verdict=verdict)]
            facts += _consequence(record.plan.plan_id, digest, judgement.standing, judgement.reason)
            try:
                await self._journal.append(incident.id, incident.seq, facts, principal, now_ms)
            except Conflict:
                continue
            except (Unavailable, OutcomeUnknown) as error:
                # It may be recorded all the same. If so, the next look says "already".
                log.warning("verdict not surely recorded", plan_id=plan_id, principal=principal.id, error=str(error))
                sure = False
                await self._clock.sleep(_RETRY_S)
                continue
            return judgement.reason
        if sure:
            raise Conflict(f"plan {plan_id} keeps changing: try again")
        raise OutcomeUnknown(f"the journal does not answer: look at plan {plan_id} before deciding again")

    async def withdraw(
        self, plan_id: str, digest: str, verb: Literal["cancel", "abort"], principal: Principal, reason: str
    ) -> str:
        """Cancel a plan that has not started, or abort one that has. Raises Conflict where that cannot follow."""

        def facts(incident: Incident) -> list[f.Fact]:
            record = incident.plan(plan_id)
            if record is None:
                raise NotFound(f"there is no plan {plan_id}")
            if digest != record.plan.digest:
                raise Conflict("the plan changed since it was shown: review it again")
            if verb == "cancel":
                return [f.PlanCancelled(plan_id=record.plan.plan_id, reason=_said("cancelled", principal, reason))]
            said = _said("aborted", principal, reason)
            return [f.RollbackStarted(plan_id=record.plan.plan_id, reason=said, undo=record.plan.rollback)]

        return await self._by_principal(incident_of_plan(plan_id), facts, principal)

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

    async def ping(self) -> str:
        """Answers while the actor's loop turns."""
        return "approval"

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
