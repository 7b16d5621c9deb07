"""What an approval is bound to, and what it is not."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.errors import Invalid
from sentinel.ids import plan_id
from sentinel.incidents import facts as f
from sentinel.incidents.nouns import Incident, Plan, PlanState, Scalar, Seen
from sentinel.remediation.approval_policy import ApprovalPolicy, Demand
from sentinel.remediation.binding import VOLATILE, allowed_range, bound, drift, moved, narrowed, notes_on, track_record
from sentinel.remediation.planner import digest_of
from sentinel.remediation.sealing import CARD, modal_for, seal_holds, sealed, value_fits, value_mac
from tests.unit.incidents.make import ANN, BOB, ID, T0, after, approved, opened, plan, reboot, restart, scale, verdict

POLICY = ApprovalPolicy(default=Demand(required=2, expires_after_ms=60_000))
LIVE: Mapping[str, Scalar] = {
    "status": "ACTIVE", "desired": 2, "running": 2, "pending": 0, "deployment_id": "ecs-svc/1"
}  # fmt: skip
SEEN = Seen(target=scale()[0].target, account="123456789012", region="us-east-1", observed=LIVE)
BOUND = bound(plan(), (SEEN,), POLICY)
KEY = b"k" * 32


def test_a_bound_plan_carries_its_terms_and_its_digest_covers_all_of_it() -> None:
    assert (BOUND.approvals_required, BOUND.expires_at_ms) == (2, T0 + 60_000)
    assert BOUND.policy == POLICY.version
    assert BOUND.digest == digest_of(BOUND) != plan().digest
    assert drift(BOUND, (SEEN,), POLICY.version) == ""


def test_a_plan_of_the_first_version_has_the_digest_it_had() -> None:
    # The value that tests/golden/fixed.json holds as well; written down here so that no change passes unseen.
    assert plan(*scale(), approvals_required=2).digest == (
        "e3945415733ce37830e196d0ef6f4f859cd75a5ef81b682e2315cbab6dba30b5"
    )


OTHERS: dict[str, Any] = {"target": "elsewhere", "account": "999999999999", "region": "eu-west-1"}


@given(st.sampled_from(sorted(OTHERS)))
def test_another_place_is_a_drift(name: str) -> None:
    assert name in drift(BOUND, (replace(SEEN, **{name: OTHERS[name]}),), POLICY.version)


@given(st.sampled_from(sorted(LIVE)), st.integers() | st.text(max_size=8))
def test_another_state_is_a_drift_unless_it_moves_by_itself(name: str, value: Scalar) -> None:
    now = replace(SEEN, observed={**LIVE, name: value})
    found = drift(BOUND, (now,), POLICY.version)
    assert bool(found) == (value != LIVE[name] and name not in VOLATILE)


@pytest.mark.parametrize("observed", [{}, {**LIVE, "task_definition": "web:2"}], ids=["gone", "one more"])
def test_a_value_that_came_or_went_is_a_drift(observed: dict[str, Scalar]) -> None:
    assert drift(BOUND, (replace(SEEN, observed=observed),), POLICY.version)


def test_what_others_changed_since_the_approval_is_told_and_what_the_plan_itself_did_is_not() -> None:
    assert moved(BOUND, 0, LIVE) == ""
    assert moved(BOUND, 0, {**LIVE, "running": 0}) == ""
    said = moved(BOUND, 0, {**LIVE, "desired": 3})
    assert said == f"{SEEN.target} changed since it was approved: desired 2 → 3"
    twice = bound(plan(*scale(4), *scale(5)), (SEEN, SEEN), POLICY)
    assert moved(twice, 1, {**LIVE, "desired": 4}) == ""
    assert moved(plan(), 0, {"desired": 9}) == "", "plans of older versions are bound to nothing here"


def test_another_policy_or_number_of_targets_is_a_drift() -> None:
    assert drift(BOUND, (SEEN,), ApprovalPolicy().version) == "the approval policy changed"
    assert "0 targets" in drift(BOUND, (), POLICY.version)


@given(st.sampled_from([each.name for each in fields(Plan) if each.name not in ("digest", "incident_id")]))
def test_a_stored_plan_with_another_field_is_a_drift(name: str) -> None:
    value = getattr(BOUND, name)
    other: Any = {
        str: lambda: value + "x", int: lambda: value + 1, bool: lambda: not value, tuple: lambda: (*value, *value)
    }[type(value)]()  # fmt: skip
    changed = replace(BOUND, **{name: other})
    targets = tuple(SEEN for _ in changed.targets)
    assert drift(changed, targets, POLICY.version) == "the stored plan is not the one whose digest was shown"


@pytest.mark.parametrize(
    ("planned", "live", "expected"), [(4, 2, (3, 3)), (6, 2, (3, 5)), (2, 6, (3, 5)), (9, 7, (8, 8))]
)
def test_a_count_is_narrowed_towards_what_is_there(planned: int, live: int, expected: tuple[int, int]) -> None:
    made = bound(plan(*scale(planned)), (replace(SEEN, observed={**LIVE, "desired": live}),), POLICY)
    assert allowed_range(made, 0, "desired_count") == expected
    low, high = expected
    for value in range(low - 2, high + 3):
        try:
            fresh = narrowed(made, plan_id(ID, 2), 0, "desired_count", value, ANN.id, T0 + 5)
        except Invalid:
            assert not low <= value <= high
        else:
            assert abs(value - live) < abs(planned - live)
            assert (fresh.steps[0].params["desired_count"], fresh.requested_by) == (value, ANN.id)
            assert (fresh.created_at_ms, fresh.digest) == (T0 + 5, "")


@pytest.mark.parametrize(
    "made", [plan(), bound(plan(*scale(3)), (SEEN,), POLICY), bound(plan(*reboot()), (SEEN,), POLICY)]
)
def test_what_cannot_be_narrowed_is_refused(made: Plan) -> None:
    with pytest.raises(Invalid):
        allowed_range(made, 0, "desired_count")
    with pytest.raises(Invalid):
        allowed_range(made, 7, "desired_count")


def test_the_notes_say_what_will_be() -> None:
    assert notes_on(scale()[0], LIVE, 50, 0.05) == [
        "tasks: 2 running, 2 wanted now; 4 wanted after (at most 50)",
        "cost: +0.10 USD an hour",
    ]
    busy = notes_on(scale()[0], {**LIVE, "pending": 1}, 50, None)
    assert busy[-1] == "a deployment is in progress: 1 task pending"
    assert notes_on(reboot()[0], {"state": "running"}, 50, 1.0) == ["instance: running now"]


def test_the_track_record_counts_what_was_carried_out() -> None:
    pid = plan().plan_id
    ran = [
        *approved(plan()),
        f.ExecutionStarted(plan_id=pid, owner="a"),
        f.StepStarted(plan_id=pid, index=0, previous={}),
        f.StepSucceeded(plan_id=pid, index=0, detail=""),
        f.VerificationStarted(plan_id=pid),
    ]
    worked = after(opened(), *ran, f.PlanSucceeded(plan_id=pid, reason="gone"), f.IncidentResolved(reason="gone"))
    failed = after(
        opened(),
        *ran,
        f.RollbackStarted(plan_id=pid, reason="no", undo=True),
        f.PlanRolledBack(plan_id=pid, reason="no"),
    )
    rejected = after(opened(), *approved(plan()), f.PlanExpired(plan_id=pid, reason="late"))
    said = track_record("scale-out", ["checkout"], [worked, worked, failed, rejected])
    assert said == "scale-out worked 2 of 3 times here, median 1 min to recover"
    assert track_record("scale-out", ["cart"], [worked]) == ""
    assert track_record("other", ["checkout"], [worked]) == ""
    assert track_record("scale-out", ["checkout"], [rejected]) == ""


def test_a_button_value_fits_only_what_it_was_made_for() -> None:
    mac = value_mac(KEY, "p1", "d1", CARD)
    assert value_fits(KEY, "p1", "d1", CARD, mac)
    for key, plan_, digest, audience in [
        (b"other", "p1", "d1", CARD),
        (KEY, "p2", "d1", CARD),
        (KEY, "p1", "d2", CARD),
        (KEY, "p1", "d1", modal_for("U1")),
    ]:
        assert not value_fits(key, plan_, digest, audience, mac)
    for forged in ("", "0" * 64, mac.upper(), mac + " ", "ü" * 64, "\ud800"):
        assert not value_fits(KEY, "p1", "d1", CARD, forged)


@pytest.mark.parametrize(
    "change",
    [
        {"principal": BOB}, {"decision": "reject"}, {"digest": "0" * 64}, {"reason": "x"}, {"at_ms": 1},
        {"evidence": "x"}, {"method": "x"}, {"shown": "x"}, {"request": "x"}, {"seal": "0" * 64}, {"seal": ""},
    ],
)  # fmt: skip
def test_a_seal_holds_for_one_word_on_one_plan(change: dict[str, Any]) -> None:
    word = sealed(KEY, BOUND.plan_id, verdict(BOUND))
    assert seal_holds(KEY, BOUND.plan_id, word)
    assert not seal_holds(KEY, "another", word)
    assert not seal_holds(b"another", BOUND.plan_id, word)
    assert not seal_holds(KEY, BOUND.plan_id, replace(word, **change))


@pytest.mark.parametrize("index", [0, 1, 2])
def test_only_the_step_that_is_meant_is_narrowed(index: int) -> None:
    made = bound(plan(*scale(6), *scale(6), *scale(6)), (SEEN,) * 3, POLICY)
    fresh = narrowed(made, plan_id(ID, 2), index, "desired_count", 4, ANN.id, T0)
    assert [step.params["desired_count"] for step in fresh.steps] == [4 if n == index else 6 for n in range(3)]


@pytest.mark.parametrize("index", [-1, 3, 4])
def test_a_step_that_is_not_there_is_named_with_those_that_are(index: int) -> None:
    made = bound(plan(*scale(6), *scale(6), *scale(6)), (SEEN,) * 3, POLICY)
    with pytest.raises(Invalid, match="a step of the plan, 0 to 2"):
        allowed_range(made, index, "desired_count")


@pytest.mark.parametrize("name", ["cluster", "service", "desired", "running_count"])
def test_no_other_parameter_is_narrowed(name: str) -> None:
    step = replace(scale(6)[0], params={**scale(6)[0].params, "desired": 6, "running_count": 6})
    with pytest.raises(Invalid):
        allowed_range(bound(plan(step), (SEEN,), POLICY), 0, name)


@pytest.mark.parametrize(
    ("planned", "live", "expected"), [(5, 3, (4, 4)), (5, 7, (6, 6)), (1, 4, (2, 3)), (4, 1, (2, 3))]
)
def test_what_lies_between_is_all_that_is_left(planned: int, live: int, expected: tuple[int, int]) -> None:
    made = bound(plan(*scale(planned)), (replace(SEEN, observed={**LIVE, "desired": live}),), POLICY)
    assert allowed_range(made, 0, "desired_count") == expected


@pytest.mark.parametrize(("planned", "live"), [(5, 5), (5, 4), (5, 6), (8, 7), (7, 8)])
def test_where_nothing_lies_between_nothing_can_be_chosen(planned: int, live: int) -> None:
    made = bound(plan(*scale(planned)), (replace(SEEN, observed={**LIVE, "desired": live}),), POLICY)
    with pytest.raises(Invalid, match="a number with values between"):
        allowed_range(made, 0, "desired_count")


def ended(state: PlanState, *, took_ms: int | None = 60_000, **changes: Any) -> Incident:
    """An incident of checkout whose plan ended so, with the time from its start to recovery."""
    first = after(opened(), *approved(plan()))
    record = replace(first.plans[0], state=state, started_at_ms=T0, plan=replace(first.plans[0].plan, **changes))
    return replace(first, plans=(record,), resolved_at_ms=None if took_ms is None else T0 + took_ms)


GOOD, BAD, WORSE = PlanState.SUCCEEDED, PlanState.ROLLED_BACK, PlanState.ROLLBACK_FAILED


@pytest.mark.parametrize(
    ("incidents", "said"),
    [
        ([ended(GOOD)], "scale-out worked 1 of 1 time here, median 1 min to recover"),
        ([ended(GOOD), ended(BAD)], "scale-out worked 1 of 2 times here, median 1 min to recover"),
        ([ended(BAD), ended(WORSE), ended(BAD)], "scale-out worked 0 of 3 times here"),
        ([ended(GOOD, took_ms=None)], "scale-out worked 1 of 1 time here"),
        ([ended(GOOD, took_ms=1)], "scale-out worked 1 of 1 time here, median 1 min to recover"),
        ([ended(GOOD, took_ms=95_000)], "scale-out worked 1 of 1 time here, median 2 min to recover"),
        (
            [ended(GOOD, took_ms=minutes * 60_000) for minutes in (9, 2, 7, 30, 1)],
            "scale-out worked 5 of 5 times here, median 7 min to recover",
        ),
        # What says nothing of the remedy is passed over, and what comes after it still counts.
        (
            [ended(GOOD, dry_run=True), ended(GOOD, runbook="a"), ended(GOOD, runbook="z"), ended(GOOD)],
            "scale-out worked 1 of 1 time here, median 1 min to recover",
        ),
        ([ended(PlanState.EXPIRED), ended(PlanState.REJECTED), ended(PlanState.VERIFYING)], ""),
    ],
)
def test_the_track_record_word_for_word(incidents: list[Incident], said: str) -> None:
    assert track_record("scale-out", ["checkout"], incidents) == said
    elsewhere = replace(ended(GOOD), services=("cart",))
    assert track_record("scale-out", ["checkout"], [elsewhere, *incidents]) == said


def test_several_plans_of_one_incident_are_each_told() -> None:
    both = ended(GOOD)
    both = replace(both, plans=(replace(both.plans[0], plan=replace(both.plans[0].plan, dry_run=True)), *both.plans))
    said = track_record("scale-out", ["checkout"], [both])
    assert said == "scale-out worked 1 of 1 time here, median 1 min to recover"


@pytest.mark.parametrize("first", ["a", "zz"])
def test_what_the_plan_did_to_another_target_excuses_no_change_of_this_one(first: str) -> None:
    other = replace(scale(4)[0], target=first)
    made = bound(plan(other, *scale(4)), (replace(SEEN, target=first), SEEN), POLICY)
    assert "desired 2 → 7" in moved(made, 1, {**LIVE, "desired": 7})
    assert moved(made, 1, LIVE) == ""


def test_a_step_without_a_target_that_was_seen_is_not_compared() -> None:
    made = bound(plan(*scale(4), *restart(), *scale(4)), (SEEN,), POLICY)
    assert [moved(made, index, {"state": "running"}) for index in (1, 2, 3)] == ["", "", ""]


@pytest.mark.parametrize("found", [0, 1, 3, 4])
def test_more_or_fewer_targets_than_were_shown_are_a_drift(found: int) -> None:
    two = bound(plan(*scale(4), *scale(4)), (SEEN, SEEN), POLICY)
    assert drift(two, (SEEN,) * found, POLICY.version) == f"{found} targets were found where 2 were shown"
