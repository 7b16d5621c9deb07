"""THE TWO LIVES, as tables: state -> {fact -> next state}. What is not in the row is illegal.

Read `INCIDENT` and `PLAN` first. What will not fit a table stands below them in `_guard`, in plain
sight. Nothing else in Sentinel may set a status. `None` is the state of what does not exist yet.

A mitigating incident is one with a live plan, and no other: every fact that ends a plan leads an
incident out of MITIGATING. A resolved incident never reopens; a new alert opens a new one that
names the old. APPROVED is kept apart from EXECUTING: it is the durable hand-over between two
actors, so that a crash between them loses nothing.
"""

from collections.abc import Mapping

from sentinel.errors import IllegalTransition
from sentinel.incidents import facts as f
from sentinel.incidents.nouns import Incident, IncidentState, PlanRecord, PlanState, StepState

IncidentTable = Mapping[IncidentState | None, Mapping[type[f.Fact], IncidentState]]
PlanTable = Mapping[PlanState | None, Mapping[type[f.Fact], PlanState]]

_I, _P = IncidentState, PlanState

_SEEN = (
    f.AlertRaised,
    f.AlertCleared,
    f.DuplicateFolded,
    f.SilenceEnded,
    f.CardPosted,
    f.NotePosted,
    f.IncidentAcknowledged,
)

INCIDENT: IncidentTable = {
    None: {f.IncidentOpened: _I.OPEN},
    _I.OPEN: {
        **dict.fromkeys((*_SEEN, f.ToldApart, f.ToldSame), _I.OPEN),
        f.IncidentMerged: _I.RESOLVED,
        f.PlanProposed: _I.MITIGATING,
        f.IncidentEscalated: _I.ESCALATED,
        f.IncidentResolved: _I.RESOLVED,
    },
    _I.MITIGATING: {
        **dict.fromkeys((*_SEEN, f.ToldSame), _I.MITIGATING),
        **dict.fromkeys(
            (
                f.ApprovalRequested,
                f.ApprovalReminded,
                f.VerdictGiven,
                f.PlanApproved,
                f.PlanHeld,
                f.ExecutionStarted,
                f.ExecutionResumed,
                f.StepStarted,
                f.StepResent,
                f.StepSucceeded,
                f.StepFailed,
                f.StepUnknown,
                f.VerificationStarted,
                f.RollbackStarted,
                f.UndoStarted,
                f.UndoResent,
                f.UndoSucceeded,
                f.UndoFailed,
            ),
            _I.MITIGATING,
        ),
        f.PlanSucceeded: _I.OPEN,
        f.PlanRejected: _I.ESCALATED,
        f.PlanExpired: _I.ESCALATED,
        f.PlanCancelled: _I.ESCALATED,
        f.PlanRolledBack: _I.ESCALATED,
        f.PlanRollbackFailed: _I.ESCALATED,
    },
    _I.ESCALATED: {
        **dict.fromkeys((*_SEEN, f.ToldApart, f.ToldSame), _I.ESCALATED),
        f.IncidentMerged: _I.RESOLVED,
        f.PlanProposed: _I.MITIGATING,
        f.IncidentResolved: _I.RESOLVED,
    },
    _I.RESOLVED: {
        f.AlertCleared: _I.RESOLVED,
        f.CardPosted: _I.RESOLVED,
        f.NotePosted: _I.RESOLVED,
    },
}

PLAN: PlanTable = {
    None: {f.PlanProposed: _P.PROPOSED},
    _P.PROPOSED: {
        f.ApprovalRequested: _P.AWAITING_APPROVAL,
        f.PlanExpired: _P.EXPIRED,
        f.PlanCancelled: _P.CANCELLED,
    },
    _P.AWAITING_APPROVAL: {
        f.ApprovalReminded: _P.AWAITING_APPROVAL,
        f.VerdictGiven: _P.AWAITING_APPROVAL,
        f.PlanApproved: _P.APPROVED,
        f.PlanRejected: _P.REJECTED,
        f.PlanExpired: _P.EXPIRED,
        f.PlanCancelled: _P.CANCELLED,
    },
    _P.APPROVED: {
        f.PlanHeld: _P.APPROVED,
        f.ExecutionStarted: _P.EXECUTING,
        f.PlanExpired: _P.EXPIRED,
        f.PlanCancelled: _P.CANCELLED,
    },
    _P.EXECUTING: {
        f.ExecutionResumed: _P.EXECUTING,
        f.StepStarted: _P.EXECUTING,
        f.StepResent: _P.EXECUTING,
        f.StepSucceeded: _P.EXECUTING,
        f.StepFailed: _P.EXECUTING,
        f.StepUnknown: _P.EXECUTING,
        f.VerificationStarted: _P.VERIFYING,
        f.RollbackStarted: _P.ROLLING_BACK,
    },
    _P.VERIFYING: {
        f.ExecutionResumed: _P.VERIFYING,
        f.PlanSucceeded: _P.SUCCEEDED,
        f.RollbackStarted: _P.ROLLING_BACK,
    },
    _P.ROLLING_BACK: {
        f.ExecutionResumed: _P.ROLLING_BACK,
        # The outcome of a call that was under way when the plan was given up.
        f.StepSucceeded: _P.ROLLING_BACK,
        f.StepFailed: _P.ROLLING_BACK,
        f.StepUnknown: _P.ROLLING_BACK,
        f.UndoStarted: _P.ROLLING_BACK,
        f.UndoResent: _P.ROLLING_BACK,
        f.UndoSucceeded: _P.ROLLING_BACK,
        f.UndoFailed: _P.ROLLING_BACK,
        f.PlanRolledBack: _P.ROLLED_BACK,
        f.PlanRollbackFailed: _P.ROLLBACK_FAILED,
    },
    **{end: {} for end in (_P.SUCCEEDED, _P.REJECTED, _P.EXPIRED, _P.CANCELLED, _P.ROLLED_BACK, _P.ROLLBACK_FAILED)},
}

# For each fact about a step: the step states it may follow, and the state it leads to.
STEP: Mapping[type[f.StepFact], tuple[frozenset[StepState], StepState]] = {
    f.StepStarted: (frozenset({StepState.PENDING}), StepState.STARTED),
    f.StepResent: (frozenset({StepState.STARTED}), StepState.STARTED),
    f.StepSucceeded: (frozenset({StepState.STARTED}), StepState.SUCCEEDED),
    f.StepFailed: (frozenset({StepState.STARTED}), StepState.FAILED),
    f.StepUnknown: (frozenset({StepState.STARTED}), StepState.UNKNOWN),
    f.UndoStarted: (frozenset({StepState.SUCCEEDED, StepState.FAILED}), StepState.UNDO_STARTED),
    f.UndoResent: (frozenset({StepState.UNDO_STARTED}), StepState.UNDO_STARTED),
    f.UndoSucceeded: (frozenset({StepState.UNDO_STARTED}), StepState.UNDONE),
    f.UndoFailed: (frozenset({StepState.UNDO_STARTED}), StepState.UNDO_FAILED),
}


def next_incident_state(incident: Incident | None, fact: f.Fact) -> IncidentState:
    """Where `fact` leads the incident. Raises IllegalTransition, which names state and fact."""
    state = incident.state if incident else None
    try:
        return INCIDENT[state][type(fact)]
    except KeyError:
        raise _illegal("incident", incident.id if incident else "-", state, fact) from None


def next_plan_state(incident: Incident, fact: f.PlanFact | f.PlanProposed) -> PlanState:
    """Where `fact` leads the plan it names. Raises IllegalTransition, which names state and fact."""
    record = incident.plan(fact.plan_id)
    state = record.state if record else None
    try:
        after = PLAN[state][type(fact)]
    except KeyError:
        raise _illegal("plan", fact.plan_id, state, fact) from None
    _guard(incident, record, fact)
    return after


def _guard(incident: Incident, record: PlanRecord | None, fact: f.Fact) -> None:
    """What the tables cannot say. Raises IllegalTransition."""
    match fact:
        case f.PlanProposed(plan=plan):
            if incident.live_plan is not None:
                raise IllegalTransition(f"incident {incident.id} already has the live plan {incident.live_plan}")
            if plan.incident_id != incident.id or not plan.steps:
                raise IllegalTransition(f"plan {plan.plan_id} is empty or belongs to {plan.incident_id}")
        case f.VerdictGiven(verdict=verdict) if record:
            if verdict.digest != record.plan.digest:
                raise IllegalTransition(f"verdict on another digest than that of plan {record.plan.plan_id}")
            if any(given.principal.id == verdict.principal.id for given in record.verdicts):
                raise IllegalTransition(f"{verdict.principal.id} already gave a verdict on {record.plan.plan_id}")
            if verdict.request and verdict.request in _requests(incident):
                raise IllegalTransition(f"the request with this verdict on {record.plan.plan_id} counted before")
        case f.PlanApproved(digest=digest) if record:
            approvals = sum(verdict.decision == "approve" for verdict in record.verdicts)
            if digest != record.plan.digest or approvals < record.plan.approvals_required:
                raise IllegalTransition(
                    f"plan {record.plan.plan_id} has {approvals} of {record.plan.approvals_required} approvals"
                )
            if approvals < len(record.verdicts):
                raise IllegalTransition(f"plan {record.plan.plan_id} was rejected by one who was asked")
        case f.StepFact(index=index) if record:
            allowed, _ = STEP[type(fact)]
            if not 0 <= index < len(record.steps) or record.steps[index].state not in allowed:
                raise IllegalTransition(f"{fact.kind} does not fit step {index} of plan {record.plan.plan_id}")
            if isinstance(fact, f.StepStarted) and any(
                step.state is not StepState.SUCCEEDED for step in record.steps[:index]
            ):
                raise IllegalTransition(f"step {index} of plan {record.plan.plan_id} before the ones ahead of it")
        case f.VerificationStarted() if record:
            if any(step.state is not StepState.SUCCEEDED for step in record.steps):
                raise IllegalTransition(f"plan {record.plan.plan_id} has steps that did not succeed")


def _requests(incident: Incident) -> set[str]:
    """The signed requests whose word counted: none counts twice."""
    return {verdict.request for record in incident.plans for verdict in record.verdicts}


def _illegal(life: str, id_: str, state: object, fact: f.Fact) -> IllegalTransition:
    return IllegalTransition(f"{life} {id_} is {state or 'not known'}: {fact.kind} cannot follow")
