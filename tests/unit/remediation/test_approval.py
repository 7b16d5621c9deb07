"""Whose word counts, and what the words amount to: each case is one sentence."""

from dataclasses import replace

import pytest

from sentinel.incidents.nouns import PlanRecord, PlanState, Principal, Verdict
from sentinel.remediation.approval import Standing, already, judge, refusal
from sentinel.remediation.approval_policy import ApprovalPolicy, Demand
from tests.unit.incidents.make import ANN, BOB, CARLA, T0, plan, verdict

ONE, TWO = plan(), plan(approvals_required=2)
END = ONE.expires_at_ms
ANYONE = ApprovalPolicy()


def named(approvers: frozenset[str]) -> ApprovalPolicy:
    return ApprovalPolicy(default=Demand(approvers=approvers))


OPS = Principal(id="api:ops", name="ops", via="api")
FALSE_ANN = Principal(id="slack:T1/U666", name="Ann", via="slack")


def record(on=ONE, state=PlanState.AWAITING_APPROVAL, *verdicts: Verdict, **changes) -> PlanRecord:
    return PlanRecord(plan=on, state=state, verdicts=verdicts, **changes)


JUDGED = {
    "nobody has said anything": (ONE, (), T0, "waiting", "1 more approval needed"),
    "one yes of one is enough": (ONE, (verdict(ONE),), T0, "approved", "approved by Ann"),
    "one yes of two is not": (TWO, (verdict(TWO),), T0, "waiting", "1 more approval needed"),
    "none of two is far from it": (TWO, (), T0, "waiting", "2 more approvals needed"),
    "two yes of two are enough": (
        TWO,
        (verdict(TWO), verdict(TWO, BOB)),
        T0,
        "approved",
        "approved by Ann and Bob",
    ),
    "one no ends it": (ONE, (verdict(ONE, BOB, "reject"),), T0, "rejected", "rejected by Bob"),
    "a no says why": (
        ONE,
        (verdict(ONE, BOB, "reject", reason="backup"),),
        T0,
        "rejected",
        "rejected by Bob: backup",
    ),
    "a no after enough yes still ends it": (
        TWO,
        (verdict(TWO), verdict(TWO, BOB), verdict(TWO, CARLA, "reject")),
        T0,
        "rejected",
        "rejected by Carla",
    ),
    "a no counts even when it comes late": (ONE, (verdict(ONE, BOB, "reject"),), END, "rejected", "rejected by Bob"),
    "a moment before the end it still waits": (ONE, (), END - 1, "waiting", "1 more approval needed"),
    "silence at the end is no yes": (ONE, (), END, "expired", "nobody decided before 2023-11-14T22:28:20.000Z"),
    "half of the yeses at the end are no yes": (TWO, (verdict(TWO),), END, "expired", "nobody decided before"),
    "a yes at the very end comes too late": (ONE, (verdict(ONE),), END, "expired", "nobody decided before"),
}


@pytest.mark.parametrize("case", JUDGED)
def test_what_verdicts_amount_to(case: str) -> None:
    on, verdicts, now_ms, standing, reason = JUDGED[case]
    judgement = judge(record(on), verdicts, now_ms)
    assert judgement.standing is Standing(standing)
    assert judgement.reason.startswith(reason)


REFUSED = {
    "a plan that is not there": (None, ONE.digest, ANN, ANYONE, T0, "there is no such plan"),
    "a plan as it was before it changed": (record(), "0" * 64, ANN, ANYONE, T0, "the plan changed since it was shown"),
    "a plan that is not up yet": (
        record(ONE, PlanState.PROPOSED),
        ONE.digest,
        ANN,
        ANYONE,
        T0,
        "the plan is not up for approval yet",
    ),
    "a plan that was approved": (
        record(ONE, PlanState.APPROVED, verdict(ONE)),
        ONE.digest,
        BOB,
        ANYONE,
        T0,
        "already decided: approved by Ann at 2023-11-14T22:13:20.000Z",
    ),
    "a plan that was rejected": (
        record(ONE, PlanState.REJECTED, verdict(ONE, ANN, "reject")),
        ONE.digest,
        BOB,
        ANYONE,
        T0,
        "already decided: rejected by Ann at",
    ),
    "a plan that expired undecided": (
        record(ONE, PlanState.EXPIRED, ended_reason="nobody decided"),
        ONE.digest,
        ANN,
        ANYONE,
        T0,
        "already decided: nobody decided",
    ),
    "a plan whose time is over": (
        record(),
        ONE.digest,
        ANN,
        ANYONE,
        END,
        "too late: the plan expired at 2023-11-14",
    ),
    "somebody who is not on the list": (
        record(),
        ONE.digest,
        ANN,
        named(frozenset({BOB.id})),
        T0,
        "Ann (slack:T1/U1) is not among approval.approvers",
    ),
    "somebody in Slack who took the name of one on the list": (
        record(),
        ONE.digest,
        FALSE_ANN,
        named(frozenset({"Ann", ANN.id})),
        T0,
        "Ann (slack:T1/U666) is not among approval.approvers",
    ),
    "a second word of the same principal": (
        record(TWO, PlanState.AWAITING_APPROVAL, verdict(TWO)),
        TWO.digest,
        ANN,
        ANYONE,
        T0,
        "Ann has already approved; 1 more approval needed",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_whose_word_does_not_count(case: str) -> None:
    given_record, digest, principal, policy, now_ms, said = REFUSED[case]
    assert refusal(given_record, digest, principal, policy, now_ms).startswith(said)


COUNTS = {
    "anybody who is verified, where nobody is named": (record(), ONE, ANN, ANYONE, T0),
    "one who is named by id": (record(), ONE, ANN, named(frozenset({ANN.id})), T0),
    "an API key that is named by its name": (record(), ONE, OPS, named(frozenset({"ops"})), T0),
    "a second principal": (record(TWO, PlanState.AWAITING_APPROVAL, verdict(TWO)), TWO, BOB, ANYONE, T0),
    "a word in the last moment": (record(), ONE, ANN, ANYONE, END - 1),
}


@pytest.mark.parametrize("case", COUNTS)
def test_whose_word_counts(case: str) -> None:
    given_record, on, principal, policy, now_ms = COUNTS[case]
    assert refusal(given_record, on.digest, principal, policy, now_ms) == ""


@pytest.mark.parametrize("state", [state for state in PlanState if state is not PlanState.AWAITING_APPROVAL])
def test_no_plan_in_another_state_takes_a_word(state: PlanState) -> None:
    assert refusal(record(ONE, state), ONE.digest, ANN, ANYONE, T0)


def test_what_was_decided_names_everybody() -> None:
    decided = record(TWO, PlanState.APPROVED, verdict(TWO), replace(verdict(TWO, BOB), at_ms=T0 + 60_000))
    assert already(decided) == (
        "already decided: approved by Ann at 2023-11-14T22:13:20.000Z; approved by Bob at 2023-11-14T22:14:20.000Z"
    )
