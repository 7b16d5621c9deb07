"""The executor's next move from every state, as tables."""

import pytest

from sentinel.detection.anomaly import Condition, SeriesHealth
from sentinel.incidents.nouns import PlanRecord, PlanState, StepRecord, StepState
from sentinel.remediation import stepper
from sentinel.remediation.stepper import next_move
from tests.unit.incidents.make import T0, alert, plan, reboot, restart, scale

WITHIN_MS = 600_000
UP, DOWN = alert().fingerprint, alert("web").fingerprint
S = StepState
BEFORE = {"desired": 2, "state": "running"}


def record(state: PlanState, *steps: StepState, on=None, **changes) -> PlanRecord:
    on = on or plan(*(scale()[0] for _ in steps))
    kept = tuple(
        StepRecord(state=each, detail="said", previous=None if each is S.PENDING else BEFORE) for each in steps
    )
    return PlanRecord(plan=on, state=state, steps=kept, **changes)


def move(given: PlanRecord, health=(), now_ms: int = T0) -> stepper.Move:
    return next_move(given, health, now_ms, WITHIN_MS)


def health(**conditions: Condition) -> list[SeriesHealth]:
    found = {"up": UP, "down": DOWN}
    return [
        SeriesHealth(fingerprint=found[name], condition=condition, last_at_ms=T0, last_score=1.0)
        for name, condition in conditions.items()
    ]


@pytest.mark.parametrize(
    "state",
    [
        state
        for state in PlanState
        if state not in (PlanState.APPROVED, PlanState.EXECUTING, PlanState.VERIFYING, PlanState.ROLLING_BACK)
    ],
)
def test_what_is_not_the_executors_is_left_alone(state: PlanState) -> None:
    assert move(record(state, S.PENDING)) == stepper.Done(reason=f"the plan is {state}")


@pytest.mark.parametrize(
    ("approved_at_ms", "kind"),
    [(T0, stepper.Claim), (T0 - WITHIN_MS, stepper.Claim), (T0 - WITHIN_MS - 1, stepper.Expire), (None, stepper.Claim)],
)
def test_an_approval_is_good_for_a_while(approved_at_ms: int | None, kind: type[stepper.Move]) -> None:
    assert type(move(record(PlanState.APPROVED, S.PENDING, approved_at_ms=approved_at_ms))) is kind


EXECUTING = {
    "the first step is run": ((S.PENDING, S.PENDING), stepper.RunStep, 0),
    "the second step is run after the first": ((S.SUCCEEDED, S.PENDING), stepper.RunStep, 1),
    "a started step is settled": ((S.STARTED, S.PENDING), stepper.SettleStep, 0),
    "a started second step is settled": ((S.SUCCEEDED, S.STARTED), stepper.SettleStep, 1),
    "a failed step ends the plan": ((S.FAILED, S.PENDING), stepper.GiveUp, None),
    "an unknown step ends the plan": ((S.SUCCEEDED, S.UNKNOWN), stepper.GiveUp, None),
    "all done, the detector judges": ((S.SUCCEEDED, S.SUCCEEDED), stepper.StartVerification, None),
}


@pytest.mark.parametrize("case", EXECUTING)
def test_while_executing(case: str) -> None:
    steps, kind, index = EXECUTING[case]
    found = move(record(PlanState.EXECUTING, *steps))
    assert type(found) is kind
    assert getattr(found, "index", None) == index
    assert found.reason


@pytest.mark.parametrize("rollback", [True, False])
def test_a_failed_step_is_undone_as_the_runbook_says(rollback: bool) -> None:
    given = record(PlanState.EXECUTING, S.FAILED, on=plan(rollback=rollback))
    assert move(given) == stepper.GiveUp(undo=rollback, reason="step 1 failed: said")


def test_a_rehearsal_ends_without_verification_and_without_undoing() -> None:
    given = record(PlanState.EXECUTING, S.SUCCEEDED, on=plan(dry_run=True))
    assert move(given) == stepper.GiveUp(undo=False, reason="dry run: nothing was sent to AWS")


N, A, Q = Condition.NORMAL, Condition.ANOMALOUS, Condition.NO_DATA
EARLY, LATE = T0 + 119_999, T0 + 120_000
VERIFYING = {
    "every series is back": (health(up=N, down=N), EARLY, stepper.Succeed, None),
    "every series is back in the last moment": (health(up=N, down=N), LATE, stepper.Succeed, None),
    "one is not, and there is time": (health(up=N, down=A), EARLY, stepper.Wait, None),
    "one is silent, and there is time": (health(up=N, down=Q), EARLY, stepper.Wait, None),
    "nobody answers, and there is time": ([], EARLY, stepper.Wait, None),
    "one is not, and time is up": (health(up=N, down=A), LATE, stepper.GiveUp, True),
    "one is silent, and time is up": (health(up=N, down=Q), LATE, stepper.GiveUp, False),
    "one is not and one is silent, and time is up": (health(up=A, down=Q), LATE, stepper.GiveUp, False),
    "one is missing from the answer, and time is up": (health(up=N), LATE, stepper.GiveUp, False),
}


@pytest.mark.parametrize("case", VERIFYING)
def test_while_verifying(case: str) -> None:
    found_health, now_ms, kind, undo = VERIFYING[case]
    given = record(PlanState.VERIFYING, S.SUCCEEDED, on=plan(verify=(UP, DOWN)), verifying_since_ms=T0)
    found = move(given, found_health, now_ms)
    assert type(found) is kind
    assert getattr(found, "undo", None) is undo
    assert found.reason


def test_what_did_not_recover_stays_where_the_runbook_says_so() -> None:
    given = record(PlanState.VERIFYING, S.SUCCEEDED, on=plan(rollback=False), verifying_since_ms=T0)
    assert move(given, health(up=A), LATE) == stepper.GiveUp(
        undo=False, reason="1 of 1 series did not recover within 120 s"
    )


ROLLING_BACK = {
    "the last step is undone first": ((S.SUCCEEDED, S.SUCCEEDED), True, stepper.UndoStep, 1),
    "then the one before it": ((S.SUCCEEDED, S.UNDONE), True, stepper.UndoStep, 0),
    "a call under way is settled before anything is undone": ((S.SUCCEEDED, S.STARTED), True, stepper.SettleStep, 1),
    "an undoing under way is settled": ((S.SUCCEEDED, S.UNDO_STARTED), True, stepper.SettleUndo, 1),
    "a failed step may have been sent, and is undone": ((S.FAILED, S.PENDING), True, stepper.UndoStep, 0),
    "everything is undone": ((S.UNDONE, S.UNDONE), True, stepper.FinishUndone, None),
    "nothing was begun": ((S.PENDING, S.PENDING), True, stepper.FinishUndone, None),
    "what could not be undone ends the undoing": ((S.SUCCEEDED, S.UNDO_FAILED), True, stepper.FinishForPeople, None),
    "what nobody knows is for people": ((S.UNKNOWN, S.PENDING), True, stepper.FinishForPeople, None),
    "what came before the unknown is undone": ((S.SUCCEEDED, S.UNKNOWN), True, stepper.UndoStep, 0),
    "what is to stay, stays, and people are told": ((S.SUCCEEDED, S.PENDING), False, stepper.FinishForPeople, None),
    "a failed step is not known to have left anything": ((S.FAILED,), False, stepper.FinishUndone, None),
}


@pytest.mark.parametrize("case", ROLLING_BACK)
def test_while_rolling_back(case: str) -> None:
    steps, undo, kind, index = ROLLING_BACK[case]
    found = move(record(PlanState.ROLLING_BACK, *steps, undo=undo, rollback_reason="why"))
    assert type(found) is kind
    assert getattr(found, "index", None) == index
    assert "why" in found.reason or isinstance(found, stepper.OnStep)


def test_a_step_without_an_inverse_is_left_for_people() -> None:
    given = record(PlanState.ROLLING_BACK, S.SUCCEEDED, on=plan(*reboot()), undo=True, rollback_reason="no help")
    assert move(given) == stepper.FinishForPeople(reason="no help; step 1 (ec2.reboot_instance) was done and stays")


def test_a_stopped_instance_is_started_again() -> None:
    given = record(PlanState.ROLLING_BACK, S.SUCCEEDED, S.FAILED, on=plan(*restart()), undo=True)
    assert move(given) == stepper.UndoStep(index=0, reason="")


@pytest.mark.parametrize("state", [S.SUCCEEDED, S.FAILED])
def test_a_rehearsal_leaves_nothing_to_undo(state: StepState) -> None:
    # A person may abort a rehearsal, and its next step may be refused: both ask to undo.
    given = record(PlanState.ROLLING_BACK, state, on=plan(dry_run=True), undo=True, rollback_reason="aborted")
    assert move(given) == stepper.FinishUndone(reason="aborted")


def test_a_failed_step_that_was_sent_and_stays_is_for_people() -> None:
    step = StepRecord(state=S.FAILED, previous=BEFORE, sent=True)
    given = PlanRecord(plan=plan(), state=PlanState.ROLLING_BACK, steps=(step,), rollback_reason="no effect")
    found = move(given)
    assert isinstance(found, stepper.FinishForPeople)
    assert "was sent, and its effect was not seen" in found.reason


@pytest.mark.parametrize(("back_ms", "kind"), [(60_000, stepper.RunStep), (60_001, stepper.GiveUp)])
def test_a_step_does_not_stay_young_by_a_clock_that_was_set_back(back_ms: int, kind: type[stepper.Move]) -> None:
    given = record(PlanState.EXECUTING, S.PENDING, approved_at_ms=T0 + back_ms)
    assert type(move(given)) is kind


@pytest.mark.parametrize(("back_ms", "kind"), [(60_000, stepper.Wait), (60_001, stepper.GiveUp)])
def test_a_verification_does_not_last_for_hours_because_the_clock_was_set_back(
    back_ms: int, kind: type[stepper.Move]
) -> None:
    given = record(PlanState.VERIFYING, S.SUCCEEDED, on=plan(verify=(UP,)), verifying_since_ms=T0 + back_ms)
    assert type(move(given, health(up=Condition.ANOMALOUS))) is kind
