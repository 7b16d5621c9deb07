"""What people read of the executor's moves, and the very moments at which it gives up: word for word."""

from dataclasses import replace

import pytest

from sentinel.detection.anomaly import Condition
from sentinel.incidents.nouns import PlanState
from sentinel.remediation import stepper
from tests.unit.incidents.make import T0, plan, scale
from tests.unit.remediation.test_stepper import DOWN, UP, WITHIN_MS, S, health, move, record

E, V, R = PlanState.EXECUTING, PlanState.VERIFYING, PlanState.ROLLING_BACK
NAME = "ecs.scale_service"


@pytest.mark.parametrize(
    ("late_ms", "held", "reason"),
    [
        (1, "", "approved, but not started within 600 s"),
        (86_400_000, "", "approved, but not started within 600 s"),
        (1, "a freeze", "approved, but not started within 600 s: a freeze"),
    ],
)
def test_an_approval_that_is_too_old_says_why_it_waited(late_ms: int, held: str, reason: str) -> None:
    given = record(PlanState.APPROVED, S.PENDING, approved_at_ms=T0 - WITHIN_MS - late_ms, held_reason=held)
    assert move(given) == stepper.Expire(reason=reason)


@pytest.mark.parametrize(
    ("ahead_ms", "kind"),
    [(59_999, stepper.Claim), (60_000, stepper.Claim), (60_001, stepper.Expire), (10**9, stepper.Expire)],
)
def test_a_clock_that_was_set_back_makes_no_approval_young(ahead_ms: int, kind: type[stepper.Move]) -> None:
    found = move(record(PlanState.APPROVED, S.PENDING, approved_at_ms=T0 + ahead_ms))
    assert type(found) is kind
    assert ("the clock was set back" in found.reason) is (kind is stepper.Expire)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_step_is_told_by_its_place(index: int) -> None:
    states = [S.SUCCEEDED] * index + [S.PENDING] * (3 - index)
    assert move(record(E, *states)) == stepper.RunStep(index=index, reason=f"step {index + 1} of 3")
    failed = [S.SUCCEEDED] * index + [S.FAILED] + [S.PENDING] * (2 - index)
    assert move(record(E, *failed)) == stepper.GiveUp(undo=True, reason=f"step {index + 1} failed: said")


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("late_ms", [0, 1, 86_400_000])
def test_a_step_that_waits_too_long_for_its_turn_is_not_started(index: int, late_ms: int) -> None:
    since_ms = T0 - WITHIN_MS - late_ms
    given = record(E, *[S.SUCCEEDED] * index, *[S.PENDING] * (3 - index), approved_at_ms=since_ms - 10 * bool(index))
    steps = tuple(replace(each, ended_at_ms=since_ms) if n == index - 1 else each for n, each in enumerate(given.steps))
    found = move(replace(given, steps=steps))
    if late_ms:
        assert found == stepper.GiveUp(undo=True, reason=f"step {index + 1} could not start within 600 s")
    else:
        assert isinstance(found, stepper.RunStep)


def test_the_wait_counts_from_the_latest_of_the_approval_and_the_steps_before() -> None:
    given = record(E, S.SUCCEEDED, S.SUCCEEDED, S.PENDING, approved_at_ms=T0 - 10 * WITHIN_MS)
    first, second, third = given.steps
    late, soon = T0 - WITHIN_MS - 1, T0 - WITHIN_MS
    for ends, runs in (((late, soon), True), ((soon, late), True), ((late, late), False)):
        ended = replace(first, ended_at_ms=ends[0]), replace(second, ended_at_ms=ends[1])
        assert isinstance(move(replace(given, steps=(*ended, third))), stepper.RunStep) is runs


N, A, Q = Condition.NORMAL, Condition.ANOMALOUS, Condition.NO_DATA
BOTH = plan(verify=(UP, DOWN), verify_within_s=120)
SINCE = {"verifying_since_ms": T0}


@pytest.mark.parametrize(
    ("up", "down", "after_ms", "expected"),
    [
        (N, N, 0, stepper.Succeed(reason="the detector finds all 2 series back to normal")),
        (A, N, 0, stepper.Wait(reason="1 of 2 series are still unusual, 0 are silent")),
        (A, Q, 119_999, stepper.Wait(reason="1 of 2 series are still unusual, 1 are silent")),
        (A, A, 120_000, stepper.GiveUp(undo=True, reason="2 of 2 series did not recover within 120 s")),
        (N, A, 999_999, stepper.GiveUp(undo=True, reason="1 of 2 series did not recover within 120 s")),
        (N, Q, 120_000, stepper.GiveUp(undo=False, reason="inconclusive: 1 of 2 series sent nothing within 120 s")),
        (A, Q, 120_001, stepper.GiveUp(undo=False, reason="inconclusive: 1 of 2 series sent nothing within 120 s")),
    ],
)
def test_what_the_detector_found_is_counted(up: Condition, down: Condition, after_ms: int, expected: object) -> None:
    given = record(V, S.SUCCEEDED, on=BOTH, **SINCE)
    assert move(given, health(up=up, down=down), T0 + after_ms) == expected


def test_a_verification_without_a_beginning_begins_now() -> None:
    given = record(V, S.SUCCEEDED, on=BOTH)
    assert isinstance(move(given, health(up=A, down=A), T0 + 10**9), stepper.Wait)


def test_what_is_left_for_people_is_told_step_by_step() -> None:
    made = plan(*(scale()[0] for _ in range(5)))
    given = record(R, S.SUCCEEDED, S.FAILED, S.UNKNOWN, S.UNDO_FAILED, S.PENDING, on=made, rollback_reason="why")
    steps = tuple(replace(each, sent=each.state is S.FAILED) for each in given.steps)
    assert move(replace(given, steps=steps)) == stepper.FinishForPeople(
        reason=f"why; step 1 ({NAME}) was done and stays, step 2 ({NAME}) was sent, and its effect was not seen, "
        f"step 3 ({NAME}) may or may not have been done, step 4 ({NAME}) could not be undone"
    )


def test_a_failure_that_was_never_sent_leaves_nothing() -> None:
    given = record(R, S.UNDONE, S.FAILED, S.PENDING, rollback_reason="why")
    assert move(given) == stepper.FinishUndone(reason="why")


@pytest.mark.parametrize("index", [0, 1, 2])
def test_an_undo_is_told_by_its_step(index: int) -> None:
    states = [S.SUCCEEDED] * (index + 1) + [S.UNDONE] * (2 - index)
    undoing = record(R, *states, undo=True, rollback_reason="why")
    assert move(undoing) == stepper.UndoStep(index=index, reason="why")
    states[index] = S.UNDO_STARTED
    found = move(record(R, *states, undo=True, rollback_reason="why"))
    assert isinstance(found, stepper.SettleUndo)
    assert found.index == index
