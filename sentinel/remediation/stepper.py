"""What the executor does next with a plan: `next_move(record, health, now)`. Decides, and does nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from sentinel.detection.anomaly import Condition, SeriesHealth
from sentinel.incidents.nouns import PlanRecord, PlanState, StepState
from sentinel.remediation.actions import action_named

INCONCLUSIVE = "inconclusive"  # how the reason begins where the detector could not say
_MOST_SKEW_MS = 60_000
# A failed step may have been sent and then shown no effect in time: what it set must not stay.
_PERHAPS_DONE = frozenset({StepState.SUCCEEDED, StepState.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Something to do next, and why."""

    reason: str


class Claim(Move):
    """Take the approved plan."""


class Expire(Move):
    """The approval is too old to act on."""


class StartVerification(Move):
    """Every step is done: let the detector judge."""


class Wait(Move):
    """Look again a little later."""


class Succeed(Move):
    """The fault is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp(Move):
    """End the plan without success; undo what was done if `undo`."""

    undo: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OnStep(Move):
    """A move on the step of that index."""

    index: int


class RunStep(OnStep):
    """Check the step once more, record the intent, send it."""


class SettleStep(OnStep):
    """The step was started and has no outcome: look at the resource, then decide."""


class UndoStep(OnStep):
    """Bring the resource back to what it was before the step."""


class SettleUndo(OnStep):
    """An undo was started and has no outcome: look, then decide."""


class FinishUndone(Move):
    """Nothing of the plan remains in the world."""


class FinishForPeople(Move):
    """Something remains, or nobody can say: people must look."""


class Done(Move):
    """The plan is at its end, or is not the executor's to move."""


def next_move(record: PlanRecord, health: Sequence[SeriesHealth], now_ms: int, start_within_ms: int) -> Move:
    """The one thing to do next. `health` need only be given for a plan in VERIFYING."""
    match record.state:
        case PlanState.APPROVED:
            age_ms = now_ms - (record.approved_at_ms if record.approved_at_ms is not None else now_ms)
            if age_ms < -_MOST_SKEW_MS:
                # A clock that stepped back would make an old approval young.
                return Expire(reason="approved at a time that is still to come: the clock was set back")
            if age_ms > start_within_ms:
                why = f": {record.held_reason}" if record.held_reason else ""
                return Expire(reason=f"approved, but not started within {start_within_ms // 1000} s{why}")
            return Claim(reason="approved")
        case PlanState.EXECUTING:
            return _executing(record, now_ms, start_within_ms)
        case PlanState.VERIFYING:
            return _verifying(record, health, now_ms)
        case PlanState.ROLLING_BACK:
            return _rolling_back(record)
        case _:
            return Done(reason=f"the plan is {record.state}")


def _executing(record: PlanRecord, now_ms: int, start_within_ms: int) -> Move:
    since_ms = record.approved_at_ms
    for index, step in enumerate(record.steps):
        match step.state:
            case StepState.SUCCEEDED:
                since_ms = max(filter(None, (since_ms, step.ended_at_ms)), default=None)
                continue
            case StepState.PENDING if since_ms is not None and now_ms - since_ms < -_MOST_SKEW_MS:
                # As with an approval: by such a clock it would stay young for hours.
                late = f"step {index + 1} was not started: the clock was set back"
                return GiveUp(undo=record.plan.rollback, reason=late)
            case StepState.PENDING if since_ms is not None and now_ms - since_ms > start_within_ms:
                # People approved this for now: after an outage of hours they must look again.
                late = f"step {index + 1} could not start within {start_within_ms // 1000} s"
                return GiveUp(undo=record.plan.rollback, reason=late)
            case StepState.PENDING:
                return RunStep(index=index, reason=f"step {index + 1} of {len(record.steps)}")
            case StepState.STARTED:
                return SettleStep(index=index, reason="started, and no outcome is recorded")
            case _:
                return GiveUp(undo=record.plan.rollback, reason=f"step {index + 1} {step.state}: {step.detail}")
    if record.plan.dry_run:
        return GiveUp(undo=False, reason="dry run: nothing was sent to AWS")
    return StartVerification(reason="every step is done")


def _verifying(record: PlanRecord, health: Sequence[SeriesHealth], now_ms: int) -> Move:
    conditions = {each.fingerprint: each.condition for each in health}
    watched = {fingerprint: conditions.get(fingerprint, Condition.NO_DATA) for fingerprint in record.plan.verify}
    bad = [fingerprint for fingerprint, condition in watched.items() if condition is Condition.ANOMALOUS]
    silent = [fingerprint for fingerprint, condition in watched.items() if condition is Condition.NO_DATA]
    if not bad and not silent:
        what = "the series" if len(watched) == 1 else f"all {len(watched)} series"
        return Succeed(reason=f"the detector finds {what} back to normal")
    since = record.verifying_since_ms if record.verifying_since_ms is not None else now_ms
    # A clock that was set back by hours would have it wait for hours: then the time counts as over.
    if -_MOST_SKEW_MS <= now_ms - since < record.plan.verify_within_s * 1000:
        return Wait(reason=f"{len(bad)} of {len(watched)} series are still unusual, {len(silent)} are silent")
    within = f"within {record.plan.verify_within_s} s"
    if silent:
        # No data is no proof either way, and undoing on a guess could break what the plan mended.
        return GiveUp(
            undo=False, reason=f"{INCONCLUSIVE}: {len(silent)} of {len(watched)} series sent nothing {within}"
        )
    return GiveUp(undo=record.plan.rollback, reason=f"{len(bad)} of {len(watched)} series did not recover {within}")


def _rolling_back(record: PlanRecord) -> Move:
    for index, step in enumerate(record.steps):
        if step.state is StepState.STARTED:
            return SettleStep(index=index, reason="started, and no outcome is recorded")
    undo = record.undo and not record.plan.dry_run  # a rehearsal left nothing to undo
    for index in reversed(range(len(record.steps))):
        state = record.steps[index].state
        if state is StepState.UNDO_STARTED:
            return SettleUndo(index=index, reason="its undoing was started, and no outcome is recorded")
        if state in _PERHAPS_DONE and undo and _inverse_exists(record, index):
            return UndoStep(index=index, reason=record.rollback_reason)
        if state is StepState.UNDO_FAILED:
            break
    left = [
        f"step {index + 1} ({record.plan.steps[index].action}) {_left(step.state)}"
        for index, step in enumerate(record.steps)
        if step.state not in (StepState.PENDING, StepState.UNDONE) and (step.state is not StepState.FAILED or step.sent)
    ]
    if left and not record.plan.dry_run:
        return FinishForPeople(reason=f"{record.rollback_reason}; {', '.join(left)}")
    return FinishUndone(reason=record.rollback_reason)


def _inverse_exists(record: PlanRecord, index: int) -> bool:
    step = record.plan.steps[index]
    return action_named(step.action).inverse(step, record.steps[index].previous or {}) is not None


def _left(state: StepState) -> str:
    return {
        StepState.SUCCEEDED: "was done and stays",
        StepState.FAILED: "was sent, and its effect was not seen",
        StepState.UNKNOWN: "may or may not have been done",
        StepState.UNDO_FAILED: "could not be undone",
    }.get(state, f"is {state}")
