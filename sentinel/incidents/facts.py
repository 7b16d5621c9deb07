"""Facts: small, frozen, in the past tense. Each changes one incident; `kind` names it in the journal."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from sentinel.ids import Fingerprint, IncidentId, PlanId
from sentinel.incidents.fact import Fact as Fact  # noqa: PLC0414 offered here
from sentinel.incidents.facts_of_people import IncidentMerged as IncidentMerged  # noqa: PLC0414
from sentinel.incidents.facts_of_people import SilenceEnded as SilenceEnded  # noqa: PLC0414
from sentinel.incidents.facts_of_people import ToldApart as ToldApart  # noqa: PLC0414
from sentinel.incidents.facts_of_people import ToldSame as ToldSame  # noqa: PLC0414
from sentinel.incidents.nouns import Alert, Card, Change, Plan, Principal, Scalar, Severity, Similar, Suspect, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentOpened(Fact):
    """Alerts that belong together were seen for the first time."""

    kind: ClassVar[str] = "incident_opened"
    title: str
    severity: Severity
    alerts: tuple[Alert, ...]
    suspects: tuple[Suspect, ...]
    similar: tuple[Similar, ...]
    reason: str
    memory_note: str = ""
    previous_id: IncidentId | None = None
    changes: tuple[Change, ...] = ()
    silenced_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRaised(Fact):
    """An alert joined the incident, or one it had was raised again."""

    kind: ClassVar[str] = "alert_raised"
    alert: Alert
    suspects: tuple[Suspect, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertCleared(Fact):
    """The series of an alert is back where it belongs."""

    kind: ClassVar[str] = "alert_cleared"
    fingerprint: Fingerprint
    ended_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateFolded(Fact):
    """The same fault was seen again and is counted here instead of opening a second incident."""

    kind: ClassVar[str] = "duplicate_folded"
    alerts: tuple[Alert, ...]
    similarity: float
    threshold: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CardPosted(Fact):
    """People were shown the incident."""

    kind: ClassVar[str] = "card_posted"
    card: Card


@dataclass(frozen=True, slots=True, kw_only=True)
class NotePosted(Fact):
    """The thread below the card tells of every entry up to `upto_seq`."""

    kind: ClassVar[str] = "note_posted"
    card: Card
    upto_seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentAcknowledged(Fact):
    """A person has seen it and looks after it."""

    kind: ClassVar[str] = "incident_acknowledged"
    by: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentEscalated(Fact):
    """A person must look."""

    kind: ClassVar[str] = "incident_escalated"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentResolved(Fact):
    """The outage is over."""

    kind: ClassVar[str] = "incident_resolved"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFact(Fact):
    """A fact about one plan."""

    plan_id: PlanId


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanProposed(Fact):
    """The planner chose a runbook."""

    kind: ClassVar[str] = "plan_proposed"
    plan: Plan

    @property
    def plan_id(self) -> PlanId:
        """The id of the proposed plan."""
        return self.plan.plan_id


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRequested(PlanFact):
    """People were asked. From here the plan waits for verdicts."""

    kind: ClassVar[str] = "approval_requested"
    asked: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalReminded(PlanFact):
    """People were asked again; with `escalated`, those in `to` as well, who may decide from now on."""

    kind: ClassVar[str] = "approval_reminded"
    to: tuple[str, ...]
    escalated: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictGiven(PlanFact):
    """A principal approved or rejected the digest that was shown."""

    kind: ClassVar[str] = "verdict_given"
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanApproved(PlanFact):
    """The policy is met: the durable hand-over to the executor."""

    kind: ClassVar[str] = "plan_approved"
    digest: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRejected(PlanFact):
    """A principal said no."""

    kind: ClassVar[str] = "plan_rejected"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanExpired(PlanFact):
    """Nobody decided, or the approved plan was not started, in time."""

    kind: ClassVar[str] = "plan_expired"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanCancelled(PlanFact):
    """Withdrawn before the first step."""

    kind: ClassVar[str] = "plan_cancelled"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanHeld(PlanFact):
    """The approved plan may not start yet, by a limit or the kill switch; it is tried again until it expires."""

    kind: ClassVar[str] = "plan_held"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionStarted(PlanFact):
    """An executor claimed the plan; `owner` names its process."""

    kind: ClassVar[str] = "execution_started"
    owner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionResumed(PlanFact):
    """Another executor process took the plan over: whoever held it before can record nothing more."""

    kind: ClassVar[str] = "execution_resumed"
    owner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFact(PlanFact):
    """A fact about one step, by its index from 0."""

    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted(StepFact):
    """The intent, recorded before the call; `previous` is the resource as it was."""

    kind: ClassVar[str] = "step_started"
    previous: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResent(StepFact):
    """The intent to send once more what surely had no effect, or may repeat; recorded before the call."""

    kind: ClassVar[str] = "step_resent"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSucceeded(StepFact):
    """The call was accepted and its effect seen."""

    kind: ClassVar[str] = "step_succeeded"
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFailed(StepFact):
    """The call was not made or was refused; or, if `sent`, it was taken and its effect was not seen in time."""

    kind: ClassVar[str] = "step_failed"
    detail: str
    sent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StepUnknown(StepFact):
    """Nobody can say whether the call took effect; it is not sent again."""

    kind: ClassVar[str] = "step_unknown"
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationStarted(PlanFact):
    """All steps are done; the detector that raised the alarm now judges."""

    kind: ClassVar[str] = "verification_started"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSucceeded(PlanFact):
    """The detector says that the fault is gone."""

    kind: ClassVar[str] = "plan_succeeded"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackStarted(PlanFact):
    """The plan is given up: undone where `undo` is set, else left as it is for people."""

    kind: ClassVar[str] = "rollback_started"
    reason: str
    undo: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoStarted(StepFact):
    """The intent to undo one step, recorded before the call; `previous` is the resource as it was then."""

    kind: ClassVar[str] = "undo_started"
    previous: Mapping[str, Scalar] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoResent(StepFact):
    """The intent to send an undo once more, recorded before the call."""

    kind: ClassVar[str] = "undo_resent"


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoSucceeded(StepFact):
    """The resource is as it was before the step."""

    kind: ClassVar[str] = "undo_succeeded"
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoFailed(StepFact):
    """The step could not be undone."""

    kind: ClassVar[str] = "undo_failed"
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRolledBack(PlanFact):
    """Everything that could be undone is undone; people take over."""

    kind: ClassVar[str] = "plan_rolled_back"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRollbackFailed(PlanFact):
    """What was done is not, or not surely, undone; people must look."""

    kind: ClassVar[str] = "plan_rollback_failed"
    reason: str


# Every fact of this file that has a name of its own.
FACTS: Mapping[str, type[Fact]] = {
    each.kind: each
    for each in tuple(globals().values())
    if isinstance(each, type) and issubclass(each, Fact) and each.kind != Fact.kind
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A fact with its place in one incident's history: sequence from 1, time and principal."""

    incident_id: IncidentId
    seq: int
    at_ms: int
    principal: Principal
    fact: Fact
