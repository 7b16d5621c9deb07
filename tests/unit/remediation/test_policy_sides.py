"""Approval rules on either side of each comparison, and what people are told, word for word."""

from dataclasses import replace

import pytest

from sentinel.incidents.nouns import Plan, Seen
from sentinel.remediation.approval_policy import (
    ApprovalPolicy,
    Demand,
    Freeze,
    Hours,
    Risk,
    Rule,
    frozen,
    may_approve,
    may_resume,
    may_stop,
    risk_of,
    terms_of,
)
from tests.unit.incidents.make import ANN, BOB, CARLA, T0, plan, reboot, scale
from tests.unit.remediation.test_approval_policy import PROD, policy, rule, terms

MINUTE_MS = 60_000
MIDNIGHT = 1_700_006_400_000  # Wed 2023-11-15 in UTC
HALF_PAST_NINE = Hours(days=frozenset({"wed"}), from_min=570, to_min=1_080, timezone="UTC")


def test_what_holds_where_nobody_set_anything() -> None:
    plain = Demand()
    assert (plain.required, plain.requester_may, plain.auto) == (1, True, False)
    assert (plain.expires_after_ms, plain.remind_every_ms, plain.escalate_after_ms) == (900_000, 0, 0)
    assert ApprovalPolicy().start_within_ms == 600_000


def test_a_version_is_short_enough_to_be_read() -> None:
    assert len(ApprovalPolicy().version) == 16


@pytest.mark.parametrize(
    ("minute", "holds"), [(569, False), (570, True), (571, True), (600, True), (1_079, True), (1_080, False)]
)
def test_business_hours_are_held_to_the_minute(minute: int, holds: bool) -> None:
    assert HALF_PAST_NINE.hold(MIDNIGHT + minute * MINUTE_MS) is holds
    assert HALF_PAST_NINE.hold(MIDNIGHT + minute * MINUTE_MS + 59_999) is holds
    assert not HALF_PAST_NINE.hold(MIDNIGHT + (24 * 60 + minute) * MINUTE_MS)


@pytest.mark.parametrize("hours", ["business", "outside"])
def test_a_rule_by_hours_fits_within_them_or_outside(hours: str) -> None:
    timed = rule(hours=hours)
    at_noon, at_night = plan(created_at_ms=MIDNIGHT + 720 * MINUTE_MS), plan(created_at_ms=MIDNIGHT)
    with_hours = policy(timed, business_hours=HALF_PAST_NINE)
    assert terms_of(with_hours, at_noon).rules == (("two",) if hours == "business" else ())
    assert terms_of(with_hours, at_night).rules == (("two",) if hours == "outside" else ())
    assert terms_of(policy(timed), at_noon).rules == (), "without business hours it fits nothing"


def test_a_plan_is_open_to_all_only_where_no_rule_names_anybody() -> None:
    assert terms().open_to_all
    assert not terms(approvers=frozenset({ANN.id})).open_to_all
    mixed = plan(*scale(), *reboot())
    one = rule("one", Demand(approvers=frozenset({ANN.id})), action="ecs*")
    assert not terms_of(policy(one), mixed).open_to_all


def test_escalation_waits_for_the_slowest_rule_that_escalates() -> None:
    mixed = plan(*scale(), *reboot())
    asks = rule("one", Demand(escalate_to=(CARLA.id, BOB.id), escalate_after_ms=100), action="ecs*")
    waits = rule("two", Demand(escalate_after_ms=200), action="ec2*")
    assert terms_of(policy(asks, waits), mixed).escalate_after_ms == 100
    other_order = rule("two", Demand(escalate_to=(BOB.id, CARLA.id), escalate_after_ms=200), action="ec2*")
    both = terms_of(policy(asks, other_order), mixed)
    assert (both.escalate_to, both.escalate_after_ms) == ((CARLA.id, BOB.id), 200)
    assert terms_of(policy(waits), plan(*reboot())).escalate_after_ms == 0
    assert terms().escalate_after_ms == 0


def test_a_rule_for_any_environment_fits_what_is_in_none() -> None:
    nowhere = ApprovalPolicy(rules=(rule(),), environments={})
    assert terms_of(nowhere, plan()).rules == ("two",)
    hashed = ApprovalPolicy(rules=(rule(environment="#lab"),), environments=PROD)
    assert terms_of(hashed, plan()).rules == ()


@pytest.mark.parametrize(("live", "risk"), [(3, Risk.LOW), (4, Risk.LOW), (5, Risk.HIGH)])
def test_taking_away_is_fewer_than_there_are(live: int, risk: Risk) -> None:
    assert risk_of(plan(*scale(4), targets=(Seen(target="x", observed={"desired": live}),))) is risk


def requested_by(name: str) -> Plan:
    return plan(requested_by=name)


def test_only_who_asked_for_a_plan_is_its_requester() -> None:
    strict = terms(requester_may=False)
    same = requested_by("".join(list(ANN.id)))
    said = may_approve(ANN, strict, same, {}, escalated=False)
    assert said == "Ann asked for this plan, and the policy wants somebody else to approve it"
    for other in ("slack:T1/U0", "slack:T1/U9"):
        assert may_approve(ANN, strict, requested_by(other), {}, escalated=False) == ""


def test_only_groups_that_could_not_be_read_are_named() -> None:
    held = terms(approvers=frozenset({BOB.id, "group:S1", "group:S2"}))
    members = {"S1": frozenset({BOB.id}), "S9": frozenset({CARLA.id})}
    told = "Ann (slack:T1/U1) is not among approval.approvers for this plan"
    unread = "; the members of group:S2 could not be read just now"
    assert may_approve(ANN, held, plan(), members, escalated=False) == told + unread
    assert may_approve(ANN, held, plan(), {**members, "S2": frozenset()}, escalated=False) == told


def test_who_may_stop_and_resume_hears_of_no_other_groups() -> None:
    guarded = ApprovalPolicy(default=Demand(approvers=frozenset({"group:S1"})))
    members = {"S1": frozenset({BOB.id}), "S9": frozenset({CARLA.id})}
    assert may_stop(ANN, guarded, members) == "Ann (slack:T1/U1) may approve no plan"
    assert may_stop(ANN, guarded, {"S9": frozenset()}) == (
        "Ann (slack:T1/U1) may approve no plan; the members of S1 could not be read just now"
    )
    admins = frozenset({"group:S1"})
    assert may_resume(ANN, admins, members) == "Ann (slack:T1/U1) is not in approval.admins"
    assert may_resume(ANN, admins, {"S9": frozenset()}) == (
        "Ann (slack:T1/U1) is not in approval.admins; the members of S1 could not be read just now"
    )


@pytest.mark.parametrize(
    ("late_ms", "holds"), [(-1, False), (0, True), (59_999, True), (60_000, False), (10**9, False)]
)
def test_a_freeze_is_over_for_good(late_ms: int, holds: bool) -> None:
    span = Freeze(name="year end", from_ms=T0, to_ms=T0 + 60_000)
    said = frozen(ApprovalPolicy(freezes=(span,)), terms(), T0 + late_ms)
    assert said == ("frozen: year end, until 2023-11-14T22:14:20.000Z" if holds else "")


def test_an_api_key_is_known_by_its_name_and_a_person_in_slack_is_not() -> None:
    named = terms(approvers=frozenset({"Ann"}))
    assert may_approve(ANN, named, plan(), {}, escalated=False)
    key = replace(ANN, id="key:1", via="api")
    assert may_approve(key, named, plan(), {}, escalated=False) == ""
    assert may_approve(replace(key, via="token"), named, plan(), {}, escalated=False) == ""


def test_rules_are_tried_in_their_order() -> None:
    rules = (Rule(name="first", demand=Demand(required=3)), Rule(name="second", demand=Demand()))
    assert terms_of(ApprovalPolicy(rules=rules), plan()).required == 3
