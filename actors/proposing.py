"""What approval owes an incident by itself: a plan that was looked at, the question, reminders, an end to waiting."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import structlog

from actors.api import Journal
from sentinel.clock import Clock
from sentinel.errors import Forbidden, Invalid, SentinelError, Unavailable
from sentinel.ids import Fingerprint, IncidentId
from sentinel.incidents import facts as f
from sentinel.incidents.nouns import (
    SENTINEL,
    Incident,
    IncidentState,
    Plan,
    PlanRecord,
    PlanState,
    Principal,
    Seen,
    Verdict,
)
from sentinel.ports import Directory, Preflight
from sentinel.remediation.approval import Standing, auto_refusal, due_reminder, judge
from sentinel.remediation.approval_policy import ApprovalPolicy, Members, terms_of
from sentinel.remediation.binding import bound, drift, track_record
from sentinel.remediation.planner import PlanPolicy, propose
from sentinel.remediation.runbooks import Runbook
from sentinel.remediation.safety import Limits, first_refusal, is_rehearsed
from sentinel.remediation.sealing import sealed

_LOOK_WITHIN_S = 8.0
_LOOK_AGAIN_MS = 5_000
_AWS_PATIENCE_MS = 120_000
_PLAN_AGAIN_MS = 60_000  # for an incident that no runbook could help, until another alert joins
_BY_RULE_WITHIN_MS = 10_000
_REMEMBERED = 500  # incidents looked through for a track record and for the budget of automatic approvals
log = structlog.get_logger(__name__)

Due = tuple[list[f.Fact], Principal]


class Proposing:
    """Gathers what the pure decisions need. Keeps nothing but when to ask AWS again, and after what."""

    def __init__(
        self,
        *,
        journal: Journal,
        runbooks: Sequence[Runbook],
        limits: Limits,
        plan_policy: PlanPolicy,
        policy: ApprovalPolicy,
        preflight: Preflight | None,
        directory: Directory | None,
        key: bytes,
        clock: Clock,
    ) -> None:
        self.policy = policy
        self._journal = journal
        self._runbooks = tuple(runbooks)
        self._limits = limits
        self._plan_policy = plan_policy
        self._preflight = preflight
        self._directory = directory
        self._key = key
        self._clock = clock
        self._not_before_ms: dict[IncidentId, int] = {}
        self._in_vain: dict[IncidentId, frozenset[Fingerprint]] = {}

    async def due(self, incident: Incident, asked: str, now_ms: int) -> Due:
        """What the clock, the runbooks and the rules, not people, have to say about an incident, and who says it."""
        plan = incident.live_plan
        if plan is None:
            return await self._plan_due(incident, now_ms), SENTINEL
        if plan.state is PlanState.PROPOSED:
            return [f.ApprovalRequested(plan_id=plan.plan.plan_id, asked=asked)], SENTINEL
        if plan.state is PlanState.AWAITING_APPROVAL:
            return await self._waiting(incident, plan, now_ms)
        return [], SENTINEL

    async def look(self, plan: Plan) -> tuple[Seen, ...]:
        """The targets of `plan` as they are now; none where no AWS is connected.

        Raises Forbidden or Invalid where a step could not be done, Unavailable if AWS does not answer in time.
        """
        if self._preflight is None:
            return ()
        found = []
        try:
            async with asyncio.timeout(_LOOK_WITHIN_S):
                for step in plan.steps:
                    found.append(await asyncio.to_thread(self._preflight.look, step))
        except TimeoutError:
            raise Unavailable(f"AWS did not tell within {_LOOK_WITHIN_S:.0f} s how {plan.steps[0].target} is") from None
        return tuple(found)

    async def members(self, plan: Plan) -> Members:
        """Who is in the groups that this plan's terms name; one that cannot be read is left out, and lets nobody in."""
        found: dict[str, frozenset[str]] = {}
        for group in sorted(terms_of(self.policy, plan).groups):
            if self._directory is None:
                continue
            try:
                found[group] = await self._directory.members(group)
            except SentinelError as error:
                log.warning("group not read, so nobody of it may approve", group=group, error=str(error))
        return found

    def bound_anew(self, plan: Plan) -> Plan | str:
        """`plan` with today's policy and a digest of its own, or why it may not be proposed."""
        try:
            refused = first_refusal(plan.steps, self._limits)
        except Invalid as error:
            refused = str(error)
        if refused:
            return refused
        dry_run = plan.dry_run or any(is_rehearsed(step, self._limits) for step in plan.steps)
        return bound(replace(plan, dry_run=dry_run), plan.targets, self.policy, plan.track_record)

    async def _plan_due(self, incident: Incident, now_ms: int) -> list[f.Fact]:
        # An incident for which no runbook was found may be joined by an alert for which there is one.
        unplanned = incident.state is IncidentState.ESCALATED and not incident.plans
        if not (incident.state is IncidentState.OPEN or unplanned) or not any(each.open for each in incident.alerts):
            return []
        if incident.plans:
            last = incident.plans[-1]
            # What else is unusual, such as what the remedy itself shook, gets the time that verification had.
            until_ms = (last.verifying_since_ms or 0) + last.plan.verify_within_s * 1000
            if now_ms < until_ms:
                return []
            return [f.IncidentEscalated(reason="the plan succeeded, and yet something is wrong")]
        wrong = frozenset(alert.fingerprint for alert in incident.alerts if alert.open)
        # What joins may have a runbook, so it is not kept waiting by what had none.
        if now_ms < self._not_before_ms.get(incident.id, 0) and self._in_vain.get(incident.id, wrong) == wrong:
            return []
        made = await self._propose(incident, now_ms)
        if isinstance(made, Plan):
            self._not_before_ms.pop(incident.id, None)
            self._in_vain.pop(incident.id, None)
            return [f.PlanProposed(plan=made)]
        if made or unplanned:
            self._not_before_ms[incident.id] = now_ms + _PLAN_AGAIN_MS
            self._in_vain[incident.id] = wrong
        return [f.IncidentEscalated(reason=made)] if made and not unplanned else []

    async def _propose(self, incident: Incident, now_ms: int) -> Plan | str:
        """A plan that AWS was asked about, or the reason for none; empty while AWS has yet to answer."""
        runbooks, refused = list(self._runbooks), list[str]()
        while True:
            proposal = propose(incident, runbooks, self._limits, self._plan_policy, now_ms)
            plan = proposal.plan
            if plan is None:
                return f"no runbook may run: {'; '.join(refused)}" if refused else proposal.reason
            try:
                targets = await self.look(plan)
            except (Forbidden, Invalid) as error:
                refused.append(f"{plan.runbook}: {error}")
                runbooks = [each for each in runbooks if each.name != plan.runbook]
                if not runbooks:
                    return f"no runbook may run: {'; '.join(refused)}"
                continue
            except Unavailable as error:
                log.warning("plan waits for AWS", incident_id=incident.id, error=str(error))
                self._not_before_ms[incident.id] = now_ms + _LOOK_AGAIN_MS
                late = now_ms - incident.opened_at_ms >= _AWS_PATIENCE_MS
                return f"{plan.runbook} could not be checked against AWS: {error}" if late else ""
            past = await self._journal.incidents(limit=_REMEMBERED)
            return bound(plan, targets, self.policy, track_record(plan.runbook, incident.services, past))

    async def _waiting(self, incident: Incident, record: PlanRecord, now_ms: int) -> Due:
        plan_id, terms = record.plan.plan_id, terms_of(self.policy, record.plan)
        judgement = judge(record, record.verdicts, now_ms)
        if judgement.standing is Standing.EXPIRED:
            return [f.PlanExpired(plan_id=plan_id, reason=judgement.reason)], SENTINEL
        # Once a plan has been before people for a while, no rule takes it out of their hands.
        fresh = now_ms - (record.asked_at_ms or 0) < _BY_RULE_WITHIN_MS
        if terms.auto and fresh and record.plan.policy == self.policy.version and not record.verdicts:
            past = await self._journal.incidents(limit=_REMEMBERED)
            refused = auto_refusal(record, terms, self.policy, past, now_ms) or await self._changed(record)
            if not refused:
                return self._by_rule(record, terms.rules, now_ms)
            log.info("left to people", plan_id=plan_id, reason=refused)
        match due_reminder(record, terms, now_ms, acknowledged=bool(incident.acknowledged_by)):
            case "escalate":
                reason = "nobody decided yet: these may decide as well from now on"
                escalated = f.ApprovalReminded(plan_id=plan_id, to=terms.escalate_to, escalated=True, reason=reason)
                return [escalated], SENTINEL
            case "remind":
                to = tuple(sorted({each for allowed in terms.allowed for each in allowed}))
                reason = "still waiting for approval"
                return [f.ApprovalReminded(plan_id=plan_id, to=to, escalated=False, reason=reason)], SENTINEL
            case None:
                return [], SENTINEL

    async def _changed(self, record: PlanRecord) -> str:
        try:
            return drift(record.plan, await self.look(record.plan), self.policy.version)
        except SentinelError as error:
            return str(error)

    def _by_rule(self, record: PlanRecord, rules: tuple[str, ...], now_ms: int) -> Due:
        plan, name = record.plan, " and ".join(rules)
        principal = Principal(id=f"rule:{'+'.join(rules)}", name=f"rule {name}", via="rule")
        verdict = Verdict(
            principal=principal,
            decision="approve",
            digest=plan.digest,
            reason="every step can be undone, and the budget allows it",
            at_ms=now_ms,
            evidence=f"approval.rules {name}, policy {plan.policy}",
            method="rule",
        )
        given = f.VerdictGiven(plan_id=plan.plan_id, verdict=sealed(self._key, plan.plan_id, verdict))
        reason = f"AUTO-APPROVED by {principal.name}"
        return [given, f.PlanApproved(plan_id=plan.plan_id, digest=plan.digest, reason=reason)], principal
