"""Facts -> what they take from, and give back to, the budget. Pure; the journal calls it before every append."""

from collections.abc import Sequence
from dataclasses import dataclass

from sentinel import ids
from sentinel.incidents import facts as f
from sentinel.incidents.nouns import Incident, PlanRecord, Step
from sentinel.remediation.budget import Budget, Claim, Guard, Intent, Release, Use
from sentinel.remediation.safety import Limits, group_of
from sentinel.remediation.stepper import INCONCLUSIVE

_ENDED = (f.PlanSucceeded, f.PlanRolledBack, f.PlanRollbackFailed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the journal holds every plan to. While the file `stop_file` is there, nothing is sent."""

    budget: Budget
    limits: Limits
    stop_file: str = ""


def guard_of(incident: Incident, facts: Sequence[f.Fact], rules: Rules, at_ms: int) -> Guard | None:
    """What these facts, of which `incident` already tells, must fit into; None where they need no room."""
    settled = {fact.index for fact in facts if isinstance(fact, f.StepSucceeded | f.UndoSucceeded | f.UndoFailed)}
    for fact in facts:
        record = incident.plan(fact.plan_id) if isinstance(fact, f.PlanFact) else None
        if record is None:
            continue
        match fact:
            case f.ExecutionStarted():
                return Guard(at_ms=at_ms, budget=rules.budget, claim=_claim(incident, record, rules.limits))
            case f.StepStarted(index=index) | f.UndoStarted(index=index) if index in settled:
                return None  # nothing is sent: an outcome came with the intent
            case f.StepStarted() | f.StepResent() | f.UndoStarted() | f.UndoResent():
                return Guard(at_ms=at_ms, budget=rules.budget, intent=_intent(record, fact, rules.limits))
            case _ if isinstance(fact, _ENDED):
                release = Release(plan_id=fact.plan_id, helped=_helped(record, fact))
                return Guard(at_ms=at_ms, budget=rules.budget, release=release)
            case _:
                pass
    return None


def use_of(step: Step, limits: Limits) -> Use:
    """What a step holds while it runs."""
    group, size = group_of(step, limits)
    return Use(resource=limits.arn_of(step) or step.target, group=group, group_size=size)


def _claim(incident: Incident, record: PlanRecord, limits: Limits) -> Claim:
    verified = {alert.service for alert in incident.alerts if alert.fingerprint in record.plan.verify}
    # A rehearsal sends nothing, so it takes nothing but its turn.
    steps = () if record.plan.dry_run else record.plan.steps
    return Claim(
        plan_id=record.plan.plan_id,
        services=tuple(sorted(verified)),
        uses=tuple(use_of(step, limits) for step in steps),
    )


def _intent(record: PlanRecord, fact: f.StepFact, limits: Limits) -> Intent:
    undo = isinstance(fact, f.UndoStarted | f.UndoResent)
    key = ids.step_key(record.plan.plan_id, fact.index)
    return Intent(
        key=f"{key}.undo" if undo else key,
        plan_id=record.plan.plan_id,
        use=use_of(record.plan.steps[fact.index], limits),
        undo=undo,
        counted=isinstance(fact, f.StepResent | f.UndoResent),
    )


def _helped(record: PlanRecord, fact: f.PlanFact) -> bool | None:
    if isinstance(fact, f.PlanSucceeded):
        return True
    if record.verifying_since_ms is None or record.rollback_reason.startswith(INCONCLUSIVE):
        return None
    return False
