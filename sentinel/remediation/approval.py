"""The policy of agreement: whose word counts, and what the words together amount to."""

from dataclasses import dataclass
from enum import StrEnum

from sentinel.clock import iso
from sentinel.incidents.nouns import PlanRecord, PlanState, Principal, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalPolicy:
    """Who may approve, and how soon it must start.

    `approvers` holds principal ids and names of API keys; empty: every verified principal. A name in Slack does not
    count, for whoever bears it chose it: Slack's people are named by id.
    """

    approvers: frozenset[str] = frozenset()
    start_within_ms: int = 600_000

    def may_decide(self, principal: Principal) -> bool:
        """Whether this principal's word counts."""
        known = {principal.id} if principal.via == "slack" else {principal.id, principal.name}
        return not self.approvers or not known.isdisjoint(self.approvers)


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


def refusal(record: PlanRecord | None, digest: str, principal: Principal, policy: ApprovalPolicy, now_ms: int) -> str:
    """Why this principal's word on this digest does not count now, for the one who gave it; empty if it does."""
    if record is None:
        return "there is no such plan"
    if digest != record.plan.digest:
        return "the plan changed since it was shown: review it again"
    if record.state is not PlanState.AWAITING_APPROVAL:
        return already(record)
    if now_ms >= record.plan.expires_at_ms:
        return f"too late: the plan expired at {iso(record.plan.expires_at_ms)}"
    if not policy.may_decide(principal):
        return f"{principal.name} ({principal.id}) is not among approval.approvers"
    if any(verdict.principal.id == principal.id for verdict in record.verdicts):
        return f"{principal.name} has already approved; {judge(record, record.verdicts, now_ms).reason}"
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
