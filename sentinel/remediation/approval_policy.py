"""Who must agree to which plan: rules matched on runbook, action, environment, risk and time. Pure.

Every step of a plan is held to the first rule that fits it (or else to the policy's own terms), and the plan to all of
them together: the most approvals, the shortest wait, and an approver whom each of them names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Literal
from zoneinfo import ZoneInfo

from sentinel.clock import iso
from sentinel.ids import content_digest
from sentinel.incidents.nouns import Plan, Principal, Scalar, Step
from sentinel.remediation.actions import CATALOG

GROUP = "group:"
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

# Members (principal ids) of each Slack user group that could be read just now; one that is missing lets nobody in.
Members = Mapping[str, frozenset[str]]


class Risk(StrEnum):
    """What a plan may break: LOW can be undone whole, HIGH touches several targets or takes capacity away."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """Business hours: whole minutes of the local day, on these days of the week (`mon` … `sun`)."""

    days: frozenset[str]
    from_min: int
    to_min: int
    timezone: str

    def hold(self, at_ms: int) -> bool:
        """Whether `at_ms` is within them."""
        local = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(self.timezone))
        return _DAYS[local.weekday()] in self.days and self.from_min <= local.hour * 60 + local.minute < self.to_min


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """A span in which nothing is approved, in these environments or (empty) in all."""

    name: str
    from_ms: int
    to_ms: int
    environments: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What one rule asks for. Times are milliseconds; 0 for a reminder or an escalation means never.

    `approvers` holds principal ids, names of API keys and `group:ID` of Slack user groups; empty: every verified
    principal. A name in Slack does not count, for whoever bears it chose it. `escalate_to` may decide as well once
    `escalate_after_ms` are over.
    """

    approvers: frozenset[str] = frozenset()
    required: int = 1
    requester_may: bool = True
    expires_after_ms: int = 900_000
    remind_every_ms: int = 0
    escalate_to: tuple[str, ...] = ()
    escalate_after_ms: int = 0
    auto: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A demand, and the steps that it is made of. `runbook`, `action` and `environment` are globs."""

    name: str
    demand: Demand
    runbook: str = "*"
    action: str = "*"
    environment: str = "*"
    risk: Risk | None = None
    hours: Literal["any", "business", "outside"] = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoBudget:
    """How many plans rules may approve by themselves within a span of time."""

    most: int
    per_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalPolicy:
    """The whole of `approval:`. `environments` names targets by glob; a target that none fits is in no environment."""

    default: Demand = Demand()
    rules: tuple[Rule, ...] = ()
    environments: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    business_hours: Hours | None = None
    freezes: tuple[Freeze, ...] = ()
    auto: AutoBudget | None = None
    start_within_ms: int = 600_000

    @property
    def version(self) -> str:
        """Names these very rules: a plan that was shown under others is reviewed again."""
        return content_digest(self)[:16]

    @property
    def open_to_all(self) -> bool:
        """Whether some plan may be approved by every verified principal."""
        return any(not each.approvers for each in self.demands)

    @property
    def demands(self) -> tuple[Demand, ...]:
        """Its own terms and those of every rule."""
        return (self.default, *(rule.demand for rule in self.rules))

    @property
    def named(self) -> frozenset[str]:
        """Whoever may approve some plan at some time, deputies among them."""
        return frozenset(each for demand in self.demands for each in (*demand.approvers, *demand.escalate_to))

    @property
    def groups(self) -> frozenset[str]:
        """The Slack user groups among `named`."""
        return frozenset(each.removeprefix(GROUP) for each in self.named if each.startswith(GROUP))


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What one plan needs: everything that its steps' rules demand, together.

    `allowed` has the approvers of each rule; a principal must be in all of them.
    """

    allowed: tuple[frozenset[str], ...]
    required: int
    requester_may: bool
    expires_after_ms: int
    remind_every_ms: int
    escalate_to: tuple[str, ...]
    escalate_after_ms: int
    auto: bool
    rules: tuple[str, ...]
    environments: tuple[str, ...]
    risk: Risk

    @property
    def open_to_all(self) -> bool:
        """Whether every verified principal may approve."""
        return not any(self.allowed)

    @property
    def groups(self) -> frozenset[str]:
        """The Slack user groups whose members must be known to judge."""
        named = [*(each for allowed in self.allowed for each in allowed), *self.escalate_to]
        return frozenset(each.removeprefix(GROUP) for each in named if each.startswith(GROUP))


def terms_of(policy: ApprovalPolicy, plan: Plan) -> Terms:
    """What `plan` needs under `policy`, as it was when the plan was made."""
    risk = risk_of(plan)
    environments = [_environments(policy, step) for step in plan.steps]
    chosen: dict[str, Demand] = {}
    for step, within in zip(plan.steps, environments, strict=True):
        rule = next((each for each in policy.rules if _fits(policy, each, plan, step, within, risk)), None)
        chosen[rule.name if rule else ""] = rule.demand if rule else policy.default
    demands = list(chosen.values())
    soonest = [each for each in demands if each.escalate_after_ms and each.escalate_to]
    reminders = [each.remind_every_ms for each in demands if each.remind_every_ms]
    return Terms(
        allowed=tuple(each.approvers for each in demands),
        required=max(each.required for each in demands),
        requester_may=all(each.requester_may for each in demands),
        expires_after_ms=min(each.expires_after_ms for each in demands),
        remind_every_ms=min(reminders, default=0),
        # Only those to whom every rule escalates: else one rule's deputies would decide what another rule guards.
        escalate_to=tuple(each for each in demands[0].escalate_to if all(each in one.escalate_to for one in demands)),
        escalate_after_ms=max((each.escalate_after_ms for each in soonest), default=0),
        auto=policy.auto is not None and all(each.auto for each in demands) and _undoable(plan),
        rules=tuple(name for name in chosen if name),
        environments=tuple(sorted({name for names in environments for name in names})),
        risk=risk,
    )


def risk_of(plan: Plan) -> Risk:
    """How much `plan` may break, from its steps and from what was seen of their targets."""
    if len({step.target for step in plan.steps}) > 1:
        return Risk.HIGH
    for step, seen in zip(plan.steps, plan.targets, strict=False):
        if _takes_away(step.params, seen.observed):
            return Risk.HIGH
    return Risk.LOW if _undoable(plan) else Risk.MEDIUM


def may_approve(principal: Principal, terms: Terms, plan: Plan, members: Members, *, escalated: bool) -> str:
    """Why this principal may not approve this plan; empty if they may."""
    if principal.id == plan.requested_by and not terms.requester_may:
        return f"{principal.name} asked for this plan, and the policy wants somebody else to approve it"
    if escalated and _named(principal, frozenset(terms.escalate_to), members):
        return ""
    for allowed in terms.allowed:
        if allowed and not _named(principal, allowed, members):
            unread = sorted(
                each for each in allowed if each.startswith(GROUP) and each.removeprefix(GROUP) not in members
            )
            lost = f"; the members of {', '.join(unread)} could not be read just now" if unread else ""
            return f"{principal.name} ({principal.id}) is not among approval.approvers for this plan{lost}"
    return ""


def may_stop(principal: Principal, policy: ApprovalPolicy, members: Members) -> str:
    """Why this principal may not stop everything; empty for whoever may approve some plan, now or as a deputy."""
    if policy.open_to_all or _named(principal, policy.named, members):
        return ""
    unread = sorted(policy.groups - members.keys())
    lost = f"; the members of {', '.join(unread)} could not be read just now" if unread else ""
    return f"{principal.name} ({principal.id}) may approve no plan{lost}"


def may_resume(principal: Principal, admins: frozenset[str], members: Members) -> str:
    """Why this principal may not lift a stop; empty for an admin. With no admins named, nobody may."""
    if _named(principal, admins, members):
        return ""
    unread = sorted({each.removeprefix(GROUP) for each in admins if each.startswith(GROUP)} - members.keys())
    lost = f"; the members of {', '.join(unread)} could not be read just now" if unread else ""
    return f"{principal.name} ({principal.id}) is not in approval.admins{lost}"


def frozen(policy: ApprovalPolicy, terms: Terms, now_ms: int) -> str:
    """Why nothing may be approved at `now_ms`; empty if it may."""
    for freeze in policy.freezes:
        meant = not freeze.environments or not freeze.environments.isdisjoint(terms.environments)
        if meant and freeze.from_ms <= now_ms < freeze.to_ms:
            return f"frozen: {freeze.name}, until {iso(freeze.to_ms)}"
    return ""


def _fits(policy: ApprovalPolicy, rule: Rule, plan: Plan, step: Step, within: frozenset[str], risk: Risk) -> bool:
    if rule.hours != "any":
        # Without business hours there are none outside of them either; settings refuse such a rule.
        if policy.business_hours is None:
            return False
        if policy.business_hours.hold(plan.created_at_ms) != (rule.hours == "business"):
            return False
    return (
        fnmatchcase(plan.runbook, rule.runbook)
        and fnmatchcase(step.action, rule.action)
        and (rule.environment == "*" or any(fnmatchcase(name, rule.environment) for name in within))
        and rule.risk in (None, risk)
    )


def _environments(policy: ApprovalPolicy, step: Step) -> frozenset[str]:
    return frozenset(
        name
        for name, targets in policy.environments.items()
        if any(fnmatchcase(step.target, target) for target in targets)
    )


def _undoable(plan: Plan) -> bool:
    return all((action := CATALOG.get(step.action)) is not None and action.reversible for step in plan.steps)


def _takes_away(params: Mapping[str, Scalar], observed: Mapping[str, Scalar]) -> bool:
    wanted, live = params.get("desired_count"), observed.get("desired")
    return isinstance(wanted, int) and isinstance(live, int) and wanted < live


def _named(principal: Principal, named: frozenset[str], members: Members) -> bool:
    known = {principal.id} if principal.via == "slack" else {principal.id, principal.name}
    if not known.isdisjoint(named):
        return True
    groups = [each.removeprefix(GROUP) for each in named if each.startswith(GROUP)]
    return any(principal.id in members.get(group, frozenset()) for group in groups)
