"""Who must agree to which plan: each case is one sentence."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.incidents import facts as f
from sentinel.incidents.nouns import Plan, PlanRecord, PlanState, Principal, Seen
from sentinel.remediation.approval import auto_refusal, due_reminder, refusal
from sentinel.remediation.approval_policy import (
    ApprovalPolicy,
    AutoBudget,
    Demand,
    Freeze,
    Hours,
    Risk,
    Rule,
    Terms,
    may_approve,
    may_resume,
    may_stop,
    risk_of,
    terms_of,
)
from tests.unit.incidents.make import (
    ANN,
    BOB,
    CARLA,
    T0,
    after,
    approved,
    opened,
    plan,
    reboot,
    restart,
    scale,
    verdict,
)

PROD = {"prod": ("*:cluster/prod/*",), "lab": ("i-*",)}
TUESDAY_22_13 = T0  # in UTC
OFFICE = Hours(days=frozenset({"mon", "tue", "wed", "thu", "fri"}), from_min=540, to_min=1080, timezone="UTC")
SECOND = {"two": Demand(required=2, approvers=frozenset({ANN.id, BOB.id}))}


def policy(*rules: Rule, **changes: Any) -> ApprovalPolicy:
    return ApprovalPolicy(rules=rules, environments=PROD, **changes)


def rule(name: str = "two", demand: Demand = SECOND["two"], **match: Any) -> Rule:
    return Rule(name=name, demand=demand, **match)


def record(on: Plan, state: PlanState = PlanState.AWAITING_APPROVAL, **changes: Any) -> PlanRecord:
    return PlanRecord(plan=on, state=state, asked_at_ms=T0, **changes)


MATCHES: dict[str, tuple[Rule, Plan, bool]] = {
    "its runbook": (rule(runbook="scale-*"), plan(), True),
    "another runbook": (rule(runbook="restart-*"), plan(), False),
    "its action": (rule(action="ecs.*"), plan(), True),
    "another action": (rule(action="ec2.*"), plan(), False),
    "its environment": (rule(environment="prod"), plan(), True),
    "another environment": (rule(environment="lab"), plan(), False),
    "its risk": (rule(risk=Risk.LOW), plan(), True),
    "another risk": (rule(risk=Risk.HIGH), plan(), False),
    "outside of business hours": (rule(hours="outside"), plan(), True),
    "within business hours": (rule(hours="business"), plan(), False),
}


@pytest.mark.parametrize("case", MATCHES)
def test_a_rule_fits_by(case: str) -> None:
    given_rule, on, fits = MATCHES[case]
    terms = terms_of(policy(given_rule, business_hours=OFFICE), on)
    assert (terms.required, terms.rules) == ((2, ("two",)) if fits else (1, ()))


def test_the_first_rule_that_fits_a_step_holds_for_it() -> None:
    strict, lax = rule("strict", Demand(required=3), action="ecs.*"), rule("lax", Demand(required=1))
    assert terms_of(policy(strict, lax), plan()).required == 3
    assert terms_of(policy(lax, strict), plan()).required == 1


def test_a_plan_is_held_to_the_rules_of_all_its_steps() -> None:
    scaling = rule(
        "scaling", Demand(required=1, approvers=frozenset({ANN.id}), expires_after_ms=60_000), action="ecs.*"
    )
    rebooting = rule(
        "rebooting", Demand(required=2, approvers=frozenset({ANN.id, BOB.id}), requester_may=False), action="ec2.*"
    )
    mixed = plan(*scale(), *reboot())
    terms = terms_of(policy(scaling, rebooting), mixed)
    assert (terms.required, terms.expires_after_ms, terms.requester_may) == (2, 60_000, False)
    assert terms.environments == ("lab", "prod")
    assert may_approve(ANN, terms, mixed, {}, escalated=False) == ""
    assert "not among approval.approvers" in may_approve(BOB, terms, mixed, {}, escalated=False)


def test_deputies_of_one_rule_do_not_decide_what_another_guards() -> None:
    one = rule(
        "one", Demand(approvers=frozenset({ANN.id}), escalate_to=(CARLA.id,), escalate_after_ms=1), action="ecs*"
    )
    two = rule("two", Demand(approvers=frozenset({ANN.id})), action="ec2*")
    mixed = plan(*scale(), *reboot())
    assert terms_of(policy(one, two), plan()).escalate_to == (CARLA.id,)
    assert terms_of(policy(one, two), mixed).escalate_to == ()


@pytest.mark.parametrize(
    ("on", "risk"),
    [
        (plan(), Risk.LOW),
        (plan(targets=(Seen(target="x", observed={"desired": 6}),)), Risk.HIGH),
        (plan(targets=(Seen(target="x", observed={"desired": 2}),)), Risk.LOW),
        (plan(*reboot()), Risk.MEDIUM),
        (plan(*restart()), Risk.MEDIUM),
        (plan(*scale(), *scale(service="cart")), Risk.HIGH),
    ],
    ids=["scale out", "scale in", "scale out, seen", "reboot", "restart", "two services"],
)
def test_what_may_break(on: Plan, risk: Risk) -> None:
    assert risk_of(on) is risk


def terms(**changes: Any) -> Terms:
    return terms_of(ApprovalPolicy(default=Demand(**changes)), plan())


GROUPED = terms(approvers=frozenset({"group:S0OPS"}))


def test_members_of_a_group_may_and_nobody_may_while_it_cannot_be_read() -> None:
    assert GROUPED.groups == {"S0OPS"}
    assert may_approve(ANN, GROUPED, plan(), {"S0OPS": frozenset({ANN.id})}, escalated=False) == ""
    assert "is not among" in may_approve(BOB, GROUPED, plan(), {"S0OPS": frozenset({ANN.id})}, escalated=False)
    unread = may_approve(ANN, GROUPED, plan(), {}, escalated=False)
    assert unread.endswith("the members of group:S0OPS could not be read just now")


def test_who_narrowed_a_plan_may_be_barred_from_approving_it() -> None:
    by_ann = plan(requested_by=ANN.id)
    assert may_approve(ANN, terms(), by_ann, {}, escalated=False) == ""
    barred = may_approve(ANN, terms(requester_may=False), by_ann, {}, escalated=False)
    assert "somebody else to approve it" in barred
    assert may_approve(BOB, terms(requester_may=False), by_ann, {}, escalated=False) == ""
    # Saying no to one's own plan needs no second person.
    strict = ApprovalPolicy(default=Demand(requester_may=False))
    assert refusal(record(by_ann), by_ann.digest, ANN, strict, T0, "reject") == ""


def test_deputies_may_only_after_the_escalation() -> None:
    held = terms(approvers=frozenset({ANN.id}), escalate_to=(CARLA.id,), escalate_after_ms=60_000)
    assert may_approve(CARLA, held, plan(), {}, escalated=False)
    assert may_approve(CARLA, held, plan(), {}, escalated=True) == ""
    assert may_approve(BOB, held, plan(), {}, escalated=True)


def test_who_may_approve_some_plan_may_stop_everything() -> None:
    guarded = ApprovalPolicy(
        default=Demand(approvers=frozenset({"group:S0SRE"})),
        rules=(Rule(name="db", demand=Demand(approvers=frozenset({ANN.id}), escalate_to=(CARLA.id,))),),
    )
    assert may_stop(ANN, guarded, {}) == ""
    assert may_stop(CARLA, guarded, {}) == ""
    assert "S0SRE could not be read" in may_stop(BOB, guarded, {})
    assert may_stop(BOB, guarded, {"S0SRE": frozenset()}).endswith("may approve no plan")
    assert may_stop(BOB, guarded, {"S0SRE": frozenset({BOB.id})}) == ""
    assert may_stop(BOB, ApprovalPolicy(), {}) == ""


def test_only_who_is_named_an_admin_may_resume() -> None:
    admins = frozenset({ANN.id, "group:S0LEADS"})
    assert may_resume(ANN, admins, {}) == ""
    assert "S0LEADS could not be read" in may_resume(BOB, admins, {})
    assert may_resume(BOB, admins, {"S0LEADS": frozenset()}).endswith("is not in approval.admins")
    assert may_resume(BOB, admins, {"S0LEADS": frozenset({BOB.id})}) == ""
    assert may_resume(ANN, frozenset(), {"S0LEADS": frozenset({ANN.id})}) != "", "nobody unless named"


def test_in_a_freeze_nothing_is_approved_and_everything_may_be_rejected() -> None:
    freeze = Freeze(name="year end", from_ms=T0, to_ms=T0 + 60_000, environments=frozenset({"prod"}))
    frozen_policy = policy(freezes=(freeze,))
    on, elsewhere = plan(), plan(*reboot())
    said = refusal(record(on), on.digest, ANN, frozen_policy, T0)
    assert said == "frozen: year end, until 2023-11-14T22:14:20.000Z"
    assert refusal(record(on), on.digest, ANN, frozen_policy, T0, "reject") == ""
    assert refusal(record(on), on.digest, ANN, frozen_policy, T0 + 60_000) == ""
    assert refusal(record(on), on.digest, ANN, frozen_policy, T0 - 1) == ""
    assert refusal(record(elsewhere), elsewhere.digest, ANN, frozen_policy, T0) == ""


def test_business_hours_are_local() -> None:
    berlin = replace(OFFICE, timezone="Europe/Berlin")
    nine_in_berlin = 1_700_035_200_000  # Wed 2023-11-15 08:00 UTC
    assert not OFFICE.hold(nine_in_berlin)
    assert berlin.hold(nine_in_berlin)
    assert not berlin.hold(nine_in_berlin - 1)
    assert not berlin.hold(nine_in_berlin + 3 * 86_400_000), "a Saturday"


REMINDERS: dict[str, tuple[dict[str, Any], dict[str, Any], int, bool, str | None]] = {
    "not yet": ({"remind_every_ms": 300_000}, {}, 299_999, False, None),
    "after the first while": ({"remind_every_ms": 300_000}, {}, 300_000, False, "remind"),
    "and again after the next": (
        {"remind_every_ms": 300_000},
        {"reminded_at_ms": T0 + 300_000},
        600_000,
        False,
        "remind",
    ),
    "not in between": ({"remind_every_ms": 300_000}, {"reminded_at_ms": T0 + 300_000}, 599_999, False, None),
    "never where none is wanted": ({"remind_every_ms": 0}, {}, 800_000, False, None),
    "nobody who looks after it": ({"remind_every_ms": 300_000}, {}, 300_000, True, None),
    "others after a while": ({"escalate_to": ("x",), "escalate_after_ms": 60_000}, {}, 60_000, False, "escalate"),
    "others though one looks after it": ({"escalate_to": ("x",), "escalate_after_ms": 1}, {}, 1, True, "escalate"),
    "others once": (
        {"escalate_to": ("x",), "escalate_after_ms": 1},
        {"escalated_at_ms": T0 + 1},
        100,
        False,
        None,
    ),
}


@pytest.mark.parametrize("case", REMINDERS)
def test_who_is_asked_again(case: str) -> None:
    demand, changes, after_ms, acknowledged, due = REMINDERS[case]
    found = due_reminder(record(plan(), **changes), terms(**demand), T0 + after_ms, acknowledged=acknowledged)
    assert found == due


RULE = Principal(id="rule:undoable", name="rule undoable", via="rule")


def auto(**changes: Any) -> ApprovalPolicy:
    own = rule("undoable", Demand(auto=True), action=changes.pop("action", "*"))
    return policy(own, **{"auto": AutoBudget(most=2, per_ms=3_600_000), **changes})


AUTO: dict[str, tuple[ApprovalPolicy, Plan, str]] = {
    "what can be undone, where a rule says so": (auto(), plan(), ""),
    "what cannot be undone": (auto(), plan(*reboot()), "no rule lets it"),
    "what can be undone in part": (auto(), plan(*scale(), *reboot()), "no rule lets it"),
    "where automatic approval is off": (auto(auto=None), plan(), "no rule lets it"),
    "where another rule holds": (auto(action="ec2.*"), plan(), "no rule lets it"),
    "without any rule": (policy(auto=AutoBudget(most=2, per_ms=1)), plan(), "no rule lets it"),
    "in a freeze": (auto(freezes=(Freeze(name="x", from_ms=0, to_ms=T0 + 1),)), plan(), "frozen: x"),
    "what a person changed": (auto(), plan(requested_by=ANN.id), "a person changed it"),
}


@pytest.mark.parametrize("case", AUTO)
def test_rules_approve_by_themselves(case: str) -> None:
    given_policy, on, said = AUTO[case]
    found = auto_refusal(record(on), terms_of(given_policy, on), given_policy, (), T0)
    assert found.startswith(said)
    assert bool(found) == bool(said)


@pytest.mark.parametrize(("spent", "free"), [(0, True), (1, True), (2, False), (3, False)])
def test_a_budget_that_is_spent_leaves_it_to_people(spent: int, free: bool) -> None:
    by_rule = [verdict(plan(), replace(RULE, id=f"rule:{n}")) for n in range(spent)]
    first = after(opened(), *approved(plan()))
    incident = replace(first, plans=(replace(first.plans[0], verdicts=tuple(by_rule)),))
    found = auto_refusal(record(plan()), terms_of(auto(), plan()), auto(), (incident,), T0 + 1)
    assert (found == "") == free
    # An hour later the span is over.
    assert auto_refusal(record(plan()), terms_of(auto(), plan()), auto(), (incident,), T0 + 3_600_000) == ""


def test_another_policy_has_another_version_and_the_same_one_the_same() -> None:
    assert policy(rule()).version == policy(rule()).version
    others = [
        policy(),
        policy(rule("other")),
        policy(rule(), business_hours=OFFICE),
        policy(rule(), default=Demand(required=2)),
        policy(rule(), freezes=(Freeze(name="x", from_ms=0, to_ms=1),)),
    ]
    assert len({policy(rule()).version, *(each.version for each in others)}) == len(others) + 1


@given(st.permutations(["slack:T1/U1", "slack:T1/U2", "api:ops", "group:S1"]))
def test_the_version_does_not_depend_on_the_order_of_approvers(names: list[str]) -> None:
    first = ApprovalPolicy(default=Demand(approvers=frozenset(names)))
    assert first.version == ApprovalPolicy(default=Demand(approvers=frozenset(sorted(names)))).version


def test_an_asked_plan_knows_since_when() -> None:
    history = after(opened(), f.PlanProposed(plan=plan()), f.ApprovalRequested(plan_id=plan().plan_id, asked="by API"))
    assert history.plans[0].asked_at_ms == T0 + 3000
