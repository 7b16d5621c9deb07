"""A plan and all that it is made of. Values only: every class here is frozen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from sentinel.ids import Fingerprint, IncidentId, PlanId

Scalar = str | int | float | bool


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

    `undo_previous` is the resource before the undo. `intent_at_ms`: when the newest intent to send was recorded.
    """

    state: StepState = StepState.PENDING
    previous: Mapping[str, Scalar] | None = None
    undo_previous: Mapping[str, Scalar] | None = None
    sent: bool = False
    detail: str = ""
    started_at_ms: int | None = None
    intent_at_ms: int | None = None
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
