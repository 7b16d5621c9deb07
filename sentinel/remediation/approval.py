"""Whose word counts, what the words together amount to, and when people are asked again."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

from sentinel.clock import iso
from sentinel.incidents.nouns import Incident, PlanRecord, PlanState, Principal, Verdict
from sentinel.remediation.approval_policy import ApprovalPolicy, Members, Terms, frozen, may_approve, terms_of
from sentinel.remediation.planner import digest_of
from sentinel.remediation.sealing import CARD, modal_for, value_fits

NOT_ON_RECORD = "this message was not on record, and now it is: review the plan and click again"
_MOST_CARDS = 5
NO_GROUPS: Members = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """How a word came to us. `method` and `evidence` tell how its principal was authenticated.

    `request` is the id of the signed request, empty where none was signed. A word from Slack also says where the plan
    was shown (`audience`, see `sealing`; `channel` and `ts` of the message) and repeats the button's `mac`.
    """

    method: str
    evidence: str
    request: str = ""
    audience: str = ""
    channel: str = ""
    ts: str = ""
    mac: str = ""

    @property
    def shown(self) -> str:
        """Where the plan was seen, for the audit."""
        return f"{self.channel}/{self.ts}" if self.ts else self.audience


class Standing(StrEnum):
    """What a plan that waits has come to."""

    WAITING = "waiting"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A standing and its reason, for people."""

    standing: Standing
    reason: str


def judge(record: PlanRecord, verdicts: tuple[Verdict, ...], now_ms: int) -> Judgement:
    """What `verdicts` on the plan amount to at `now_ms`. One rejection ends it; no answer never means yes."""
    rejection = next((verdict for verdict in verdicts if verdict.decision == "reject"), None)
    if rejection is not None:
        why = f": {rejection.reason}" if rejection.reason else ""
        return Judgement(standing=Standing.REJECTED, reason=f"rejected by {rejection.principal.name}{why}")
    if now_ms >= record.plan.expires_at_ms:
        return Judgement(standing=Standing.EXPIRED, reason=f"nobody decided before {iso(record.plan.expires_at_ms)}")
    names = [verdict.principal.name for verdict in verdicts]
    if len(names) >= record.plan.approvals_required:
        return Judgement(standing=Standing.APPROVED, reason=f"approved by {' and '.join(names)}")
    missing = record.plan.approvals_required - len(names)
    return Judgement(standing=Standing.WAITING, reason=f"{missing} more approval{'s' if missing > 1 else ''} needed")


def refusal(
    record: PlanRecord | None,
    digest: str,
    principal: Principal,
    policy: ApprovalPolicy,
    now_ms: int,
    decision: Literal["approve", "reject"] = "approve",
    members: Members = NO_GROUPS,
) -> str:
    """Why this principal's word on this digest does not count now, for the one who gave it; empty if it does."""
    if record is None:
        return "there is no such plan"
    if digest != record.plan.digest or digest_of(record.plan) != digest:
        return "the plan changed since it was shown: review it again"
    if record.state is not PlanState.AWAITING_APPROVAL:
        return already(record)
    if now_ms >= record.plan.expires_at_ms:
        return f"too late: the plan expired at {iso(record.plan.expires_at_ms)}"
    terms = terms_of(policy, record.plan)
    barred = may_approve(principal, terms, record.plan, members, escalated=record.escalated_at_ms is not None)
    if barred and not (decision == "reject" and principal.id == record.plan.requested_by):
        return barred
    if decision == "approve" and (why := frozen(policy, terms, now_ms)):
        return why
    if any(verdict.principal.id == principal.id for verdict in record.verdicts):
        return f"{principal.name} has already approved; {judge(record, record.verdicts, now_ms).reason}"
    return ""


def unproven(came: Provenance, plan_id: str, digest: str, principal: Principal, incident: Incident, key: bytes) -> str:
    """Why a word from Slack is not about something that Sentinel showed; empty if it is, or came by another door."""
    if principal.via != "slack":
        return ""
    user = principal.id.rpartition("/")[2]
    if came.audience not in (CARD, modal_for(user)) or not value_fits(key, plan_id, digest, came.audience, came.mac):
        return "this button was not made by Sentinel, or by one with another key: review the plan again"
    on_record = {(card.channel, card.ts) for card in incident.cards if card.ts}
    # Where cards cannot be updated (a webhook), Slack never told where they lie.
    if came.audience != CARD or not on_record or (came.channel, came.ts) in on_record:
        return ""
    # Only beside a card of ours, and not for ever more: what is put on record is kept up to date from then on.
    ours = came.channel in {channel for channel, _ in on_record} and len(on_record) < _MOST_CARDS
    return NOT_ON_RECORD if ours else "this message is not one on which Sentinel asked"


def due_reminder(
    record: PlanRecord, terms: Terms, now_ms: int, *, acknowledged: bool
) -> Literal["remind", "escalate"] | None:
    """Whether people are to be asked again, or others as well. Somebody who looks after it is not reminded."""
    asked_ms = record.asked_at_ms if record.asked_at_ms is not None else record.plan.created_at_ms
    escalates = record.escalated_at_ms is None and bool(terms.escalate_to) and terms.escalate_after_ms > 0
    if escalates and now_ms - asked_ms >= terms.escalate_after_ms:
        return "escalate"
    latest_ms = record.reminded_at_ms if record.reminded_at_ms is not None else asked_ms
    if terms.remind_every_ms and not acknowledged and now_ms - latest_ms >= terms.remind_every_ms:
        return "remind"
    return None


def auto_refusal(
    record: PlanRecord, terms: Terms, policy: ApprovalPolicy, incidents: Sequence[Incident], now_ms: int
) -> str:
    """Why rules may not approve this plan by themselves; empty if they may, which the policy must say outright."""
    if policy.auto is None or not terms.auto:
        return "no rule lets it run without people"
    if why := frozen(policy, terms, now_ms):
        return why
    if record.plan.requested_by:
        return "a person changed it"
    since_ms = now_ms - policy.auto.per_ms
    spent = sum(
        verdict.principal.via == "rule" and verdict.at_ms > since_ms
        for incident in incidents
        for plan in incident.plans
        for verdict in plan.verdicts
    )
    if spent >= policy.auto.most:
        return f"the budget of automatic approvals is spent: {spent} of {policy.auto.most}"
    return ""


def already(record: PlanRecord) -> str:
    """A line on what was decided before."""
    if record.state is PlanState.PROPOSED:
        return "the plan is not up for approval yet"
    said = [
        f"{verdict.decision.removesuffix('e')}ed by {verdict.principal.name} at {iso(verdict.at_ms)}"
        for verdict in record.verdicts
    ]
    return f"already decided: {'; '.join(said) or record.ended_reason or record.state}"
