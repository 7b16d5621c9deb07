"""What an incident is made of. Values only: every class here is frozen."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

from sentinel.ids import Fingerprint, IncidentId, PlanId

Scalar = str | int | float | bool


class Direction(StrEnum):
    """Where the value went."""

    UP = "up"
    DOWN = "down"


class Severity(StrEnum):
    """How bad it is, worst last."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for the mildest."""
        return list(Severity).index(self)


class IncidentState(StrEnum):
    """Where an incident stands; `transitions.INCIDENT` says what may follow."""

    OPEN = "open"
    MITIGATING = "mitigating"
    ESCALATED = "escalated"
    RESOLVED = "resolved"


class PlanState(StrEnum):
    """Where a plan stands; `transitions.PLAN` says what may follow."""

    PROPOSED = "proposed"
    AWAITING_APPROVAL = "awaiting_approval"
    APPROVED = "approved"
    EXECUTING = "executing"
    VERIFYING = "verifying"
    ROLLING_BACK = "rolling_back"
    SUCCEEDED = "succeeded"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    ROLLED_BACK = "rolled_back"
    ROLLBACK_FAILED = "rollback_failed"

    @property
    def live(self) -> bool:
        """Whether something may still happen to the plan."""
        return self in LIVE_PLAN_STATES


LIVE_PLAN_STATES = frozenset(
    map(PlanState, ("proposed", "awaiting_approval", "approved", "executing", "verifying", "rolling_back"))
)


class StepState(StrEnum):
    """Where one step of a plan stands."""

    PENDING = "pending"
    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"
    UNDO_STARTED = "undo_started"
    UNDONE = "undone"
    UNDO_FAILED = "undo_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The person or rule that acted."""

    id: str
    name: str
    via: Literal["slack", "api", "cli", "rule", "sentinel"]


SENTINEL = Principal(id="sentinel", name="Sentinel", via="sentinel")
DETECTOR = "detector"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Anomalies of one fingerprint over a span; `ended_at_ms` is set once the series is back.

    `value` was outside the expected band [`expected_low`, `expected_high`]; `score` is in
    spreads of the series (robust standard deviations). An alert that somebody else raised (`origin` names the
    system, such as `alertmanager`) has neither value nor band, a score that stands for its severity, and what
    its `note` says; it is over when that system says so.

    `change` is how far, in the same spreads, the value moved from where it was just before. None where that was normal,
    as when a detector opens an anomaly: then the score says it all, and ranking needs no other history.
    """

    fingerprint: Fingerprint
    service: str
    metric: str
    kind: str
    direction: Direction
    severity: Severity
    score: float
    value: float | None
    expected_low: float | None
    expected_high: float | None
    labels: Mapping[str, str]
    started_at_ms: int
    last_at_ms: int
    ended_at_ms: int | None = None
    origin: str = DETECTOR
    note: str = ""
    change: float | None = None

    @property
    def open(self) -> bool:
        """Whether the series is still anomalous as far as is recorded."""
        return self.ended_at_ms is None

    @property
    def from_outside(self) -> bool:
        """Whether another system raised it: then no detector knows its series."""
        return self.origin != DETECTOR


def merge(old: Alert, new: Alert) -> Alert:
    """Two spans of one fingerprint as one: earliest start, newest end, the worst of severity and score.

    The later of the two says whether the alert is still open, for it knows more.
    """
    earlier, later = sorted((old, new), key=lambda alert: alert.last_at_ms)
    worst = max(old, new, key=lambda alert: alert.score)
    return replace(
        worst,
        severity=max(old.severity, new.severity, key=lambda severity: severity.rank),
        started_at_ms=min(old.started_at_ms, new.started_at_ms),
        last_at_ms=later.last_at_ms,
        ended_at_ms=later.ended_at_ms if earlier.last_at_ms < later.last_at_ms else new.ended_at_ms,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something that people or pipelines did to a service, such as a deploy."""

    at_ms: int
    service: str
    title: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A likely cause: a service, its rank score and why, in words."""

    service: str
    score: float
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Similar:
    """A past incident that looked alike, and what became of it.

    `similarity` is the weighted mean of three cosines: of the signatures, of what is wrong wherever it is (`shape`),
    and of the words (`text`). `why` says which spoke for it; `rejected` why people did not want the plan of then.
    """

    incident_id: IncidentId
    similarity: float
    title: str
    at_ms: int
    outcome: str
    runbook: str | None
    fixed_by: tuple[str, ...]
    recovery_ms: int | None
    why: str = ""
    rejected: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What a principal said of an incident and another: the same fault, or not. Every later decision honours it.

    `alerts` are those of the other side, `against` those of this one, as they were then: the signatures follow from
    them, whatever version makes these.
    """

    same: bool
    other_id: IncidentId
    alerts: tuple[Alert, ...]
    against: tuple[Alert, ...]
    principal: Principal
    reason: str
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One use of an action: what is done to which target with which parameters."""

    action: str
    target: str
    params: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A step's target as it was when the plan was made: where it is, comparable values, and notes for people."""

    target: str
    account: str = ""
    region: str = ""
    observed: Mapping[str, Scalar] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Ordered steps for one incident. `digest` binds everything that people are shown and that runs.

    `targets` has one entry a step (none in plans of older versions, and where no AWS is connected), `policy` names
    the version of the approval policy, `requested_by` the principal who narrowed an earlier plan to this one, and
    `track_record` tells how the runbook did before.
    """

    plan_id: PlanId
    incident_id: IncidentId
    runbook: str
    reason: str
    steps: tuple[Step, ...]
    verify: tuple[Fingerprint, ...]
    verify_within_s: int
    rollback: bool
    dry_run: bool
    approvals_required: int
    created_at_ms: int
    expires_at_ms: int
    digest: str
    targets: tuple[Seen, ...] = ()
    policy: str = ""
    requested_by: str = ""
    track_record: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a principal said about one digest, and how we know that it was they.

    `method` tells how they were authenticated, `shown` the message (channel/ts) or other place where they saw the
    plan, `request` the id of the signed request that carried the word (empty where there was none: it counts once),
    and `seal` is an HMAC over all of it with Sentinel's own key.
    """

    principal: Principal
    decision: Literal["approve", "reject"]
    digest: str
    reason: str
    at_ms: int
    evidence: str
    method: str = ""
    shown: str = ""
    request: str = ""
    seal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """What is known of one step. `previous` is the resource before it; `sent` marks a failure whose call was taken.

    `undo_previous` is the resource before the undo.
    """

    state: StepState = StepState.PENDING
    previous: Mapping[str, Scalar] | None = None
    undo_previous: Mapping[str, Scalar] | None = None
    sent: bool = False
    detail: str = ""
    started_at_ms: int | None = None
    ended_at_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRecord:
    """A plan and what became of it. `ended_reason` is set with a terminal state.

    `owned_since_ms` is when `owner` last claimed the plan: until a while after it, a call of the owner before may
    still be on its way. `held_reason` is why an approved plan has not started. `asked_at_ms` is when people were
    asked, `reminded_at_ms` when they last were reminded, and `escalated_at_ms` when others were asked as well.
    """

    plan: Plan
    state: PlanState
    verdicts: tuple[Verdict, ...] = ()
    steps: tuple[StepRecord, ...] = ()
    owner: str | None = None
    owned_since_ms: int | None = None
    approved_at_ms: int | None = None
    started_at_ms: int | None = None
    verifying_since_ms: int | None = None
    held_reason: str = ""
    ended_reason: str = ""
    rollback_reason: str = ""
    undo: bool = False
    asked_at_ms: int | None = None
    reminded_at_ms: int | None = None
    escalated_at_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Where people see the incident: a Slack message. `ts` is empty where it cannot be updated.

    `shows` is the state it told of when it was posted.
    """

    channel: str
    ts: str
    shows: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """What people would call the outage: alerts that belong together, one live plan at most.

    `told_seq` is the last entry that the thread below its card tells of.
    While it is `silenced`, people are not told and nothing is planned; `silenced_by` names the silence even after.
    """

    id: IncidentId
    state: IncidentState
    seq: int
    title: str
    severity: Severity
    services: tuple[str, ...]
    alerts: tuple[Alert, ...]
    suspects: tuple[Suspect, ...]
    similar: tuple[Similar, ...]
    reason: str
    memory_note: str
    previous_id: IncidentId | None
    opened_at_ms: int
    updated_at_ms: int
    resolved_at_ms: int | None = None
    state_reason: str = ""
    occurrences: int = 1
    plans: tuple[PlanRecord, ...] = ()
    cards: tuple[Card, ...] = field(default=())
    changes: tuple[Change, ...] = ()
    acknowledged_by: str = ""
    told_seq: int = 0
    corrections: tuple[Correction, ...] = ()
    merged_into: IncidentId | None = None
    silenced_by: str = ""
    silenced: bool = False

    @property
    def live_plan(self) -> PlanRecord | None:
        """The one plan that is not at its end, if there is one."""
        return next((record for record in self.plans if record.state.live), None)

    def plan(self, plan: str) -> PlanRecord | None:
        """The record of a plan of this incident, by plan id."""
        return next((record for record in self.plans if record.plan.plan_id == plan), None)

    @property
    def last_seen_ms(self) -> int:
        """When the incident last showed itself."""
        return max((alert.last_at_ms for alert in self.alerts), default=self.opened_at_ms)
