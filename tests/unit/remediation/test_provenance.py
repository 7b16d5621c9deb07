"""Whose word counts, where it comes from and when people are asked: every comparison on both of its sides."""

from dataclasses import replace

import pytest

from sentinel.incidents.nouns import Card, Incident, PlanState, Principal
from sentinel.remediation.approval import (
    NOT_ON_RECORD,
    Provenance,
    Standing,
    auto_refusal,
    due_reminder,
    judge,
    refusal,
    unproven,
)
from sentinel.remediation.approval_policy import ApprovalPolicy, AutoBudget, Demand, Rule, terms_of
from sentinel.remediation.planner import digest_of
from sentinel.remediation.sealing import CARD, modal_for, value_mac
from tests.unit.incidents.make import ANN, BOB, CARLA, T0, after, opened, plan, scale, verdict
from tests.unit.remediation.test_approval import ANYONE, END, ONE, OPS, TWO, record

KEY = b"k" * 32
OURS, THEIRS = "this button was not made by Sentinel", "this message is not one on which Sentinel asked"


def incident(*cards: Card) -> Incident:
    return replace(after(opened()), cards=cards)


def click(
    audience: str = CARD, *, channel: str = "C1", ts: str = "1.1", key: bytes = KEY, **changes: str
) -> Provenance:
    mac = value_mac(key, ONE.plan_id, ONE.digest, audience)
    came = Provenance(method="a signed click", evidence="x", audience=audience, channel=channel, ts=ts, mac=mac)
    return replace(came, **changes)  # type: ignore[arg-type]


def said(came: Provenance, *cards: Card, by: Principal = ANN) -> str:
    return unproven(came, ONE.plan_id, ONE.digest, by, incident(*cards), KEY)


ON_RECORD = Card(channel="C1", ts="1.1")


def test_where_a_plan_was_shown_is_a_message_or_else_its_kind_of_place() -> None:
    assert click().shown == "C1/1.1"
    assert click(ts="").shown == CARD


def test_a_click_on_a_card_of_ours_counts() -> None:
    assert said(click(), ON_RECORD) == ""
    assert said(click(), Card(channel="C2", ts="9.9"), ON_RECORD) == ""


def test_a_click_counts_where_slack_never_told_where_the_cards_lie() -> None:
    assert said(click()) == ""
    assert said(click(), Card(channel="C1", ts="")) == ""


def test_a_word_by_another_door_needs_no_button() -> None:
    nothing = Provenance(method="API key", evidence="ops")
    assert said(nothing, ON_RECORD, by=OPS) == ""
    assert said(nothing, ON_RECORD, by=replace(OPS, via="zsh")) == ""


@pytest.mark.parametrize("via_slack", [ANN, replace(ANN, id="slack:T9/U1")])
def test_a_modal_counts_for_the_one_it_was_shown_to(via_slack: Principal) -> None:
    own = click(modal_for("U1"))
    assert said(own, ON_RECORD, by=via_slack) == ""
    assert said(replace(own, ts="7.7"), ON_RECORD, by=via_slack) == ""  # a modal is no message
    assert OURS in said(own, ON_RECORD, by=BOB)


@pytest.mark.parametrize(
    "forged",
    [
        click(key=b"x" * 32),
        click(mac=""),
        click(mac="0" * 64),
        click(audience=modal_for("U1"), mac=click().mac),
        click(audience="", mac=click().mac),
        replace(click(), audience=modal_for("U2"), mac=click(modal_for("U2")).mac),
        replace(click(), audience="zcard", mac=click("zcard").mac),
        replace(click(), audience="acard", mac=click("acard").mac),
    ],
)
def test_a_button_that_is_not_ours_or_not_for_this_place_counts_nowhere(forged: Provenance) -> None:
    assert OURS in said(forged, ON_RECORD)
    assert OURS in said(forged)


def test_a_button_of_another_plan_or_digest_does_not_fit() -> None:
    assert OURS in unproven(click(), "another", ONE.digest, ANN, incident(), KEY)
    assert OURS in unproven(click(), ONE.plan_id, "f" * 64, ANN, incident(), KEY)


def test_a_card_beside_one_of_ours_is_put_on_record_and_must_be_clicked_again() -> None:
    beside = click(ts="2.2")
    assert said(beside, ON_RECORD) == NOT_ON_RECORD
    four = [Card(channel="C1", ts=f"{n}.0") for n in range(4)]
    assert said(beside, *four) == NOT_ON_RECORD


@pytest.mark.parametrize("many", [5, 6, 7])
def test_but_not_for_ever_more(many: int) -> None:
    assert THEIRS in said(click(ts="2.2"), *(Card(channel="C1", ts=f"{n}.0") for n in range(many)))


@pytest.mark.parametrize("channel", ["C0", "C2", ""])
def test_a_card_of_ours_that_was_carried_to_another_channel_does_not_count(channel: str) -> None:
    assert THEIRS in said(click(channel=channel), ON_RECORD)


@pytest.mark.parametrize("digest", ["0" * 64, "f" * 64])
def test_a_digest_on_either_side_of_the_real_one_is_another_plan(digest: str) -> None:
    why = "the plan changed since it was shown"
    assert refusal(record(), digest, ANN, ANYONE, T0).startswith(why)
    stored = replace(ONE, digest=digest)
    assert refusal(record(stored), digest, ANN, ANYONE, T0).startswith(why)
    assert refusal(record(stored), ONE.digest, ANN, ANYONE, T0).startswith(why)


@pytest.mark.parametrize("late_ms", [0, 1, 86_400_000])
def test_what_comes_after_the_end_is_too_late_however_long_after(late_ms: int) -> None:
    assert refusal(record(), ONE.digest, ANN, ANYONE, END + late_ms).startswith("too late")
    assert judge(record(), (verdict(ONE),), END + late_ms).standing is Standing.EXPIRED


def test_more_words_than_asked_for_approve_and_what_is_missing_is_counted() -> None:
    assert judge(record(), (verdict(ONE), verdict(ONE, BOB)), T0).standing is Standing.APPROVED
    three = plan(approvals_required=3)
    assert judge(record(three), (verdict(three),), T0).reason == "2 more approvals needed"
    assert judge(record(three), (verdict(three), verdict(three, BOB)), T0).reason == "1 more approval needed"


@pytest.mark.parametrize("by", [ANN, CARLA])
def test_a_second_word_is_told_by_who_gave_it_and_by_nothing_else(by: Principal) -> None:
    waiting = record(TWO, PlanState.AWAITING_APPROVAL, verdict(TWO, BOB))
    assert refusal(waiting, TWO.digest, by, ANYONE, T0) == ""
    again = replace(BOB, id="".join(list(BOB.id)))
    assert "has already approved" in refusal(waiting, TWO.digest, again, ANYONE, T0)


def changed_by(person: Principal) -> tuple[ApprovalPolicy, str]:
    """A policy that names Carla alone, and the digest of a plan that this person changed."""
    return ApprovalPolicy(default=Demand(approvers=frozenset({CARLA.id}))), person.id


@pytest.mark.parametrize("other", [ANN, CARLA])
def test_who_changed_a_plan_may_take_it_back_and_no_more(other: Principal) -> None:
    policy, requester = changed_by(BOB)
    fresh = replace(plan(*scale(3)), requested_by=requester, digest="")
    fresh = replace(fresh, digest=digest_of(fresh))
    assert refusal(record(fresh), fresh.digest, BOB, policy, T0, "reject") == ""
    assert "is not among" in refusal(record(fresh), fresh.digest, BOB, policy, T0, "approve")
    barred = refusal(record(fresh), fresh.digest, other, policy, T0, "reject")
    assert (barred == "") == (other is CARLA)


def test_deputies_may_decide_once_they_were_asked_and_not_before() -> None:
    demand = Demand(approvers=frozenset({CARLA.id}), escalate_to=(BOB.id,), escalate_after_ms=60_000)
    policy = ApprovalPolicy(default=demand)
    assert "is not among" in refusal(record(), ONE.digest, BOB, policy, T0)
    assert refusal(record(escalated_at_ms=T0), ONE.digest, BOB, policy, T0) == ""


@pytest.mark.parametrize(("after_ms", "due"), [(0, None), (59_999, None), (60_000, "escalate"), (900_000, "escalate")])
@pytest.mark.parametrize("asked_ms", [T0, T0 + 5_000])
def test_others_are_asked_so_long_after_people_were(after_ms: int, due: str | None, asked_ms: int) -> None:
    policy = ApprovalPolicy(default=Demand(escalate_to=(BOB.id,), escalate_after_ms=60_000))
    asked = record(asked_at_ms=asked_ms)
    assert due_reminder(asked, terms_of(policy, ONE), asked_ms + after_ms, acknowledged=False) == due


@pytest.mark.parametrize("demand", [Demand(escalate_to=(BOB.id,)), Demand(escalate_after_ms=60_000)])
def test_others_are_never_asked_where_none_are_named_or_no_time_is(demand: Demand) -> None:
    terms = terms_of(ApprovalPolicy(default=demand), ONE)
    assert due_reminder(record(asked_at_ms=T0), terms, T0 + 900_000, acknowledged=False) is None


@pytest.mark.parametrize(("after_ms", "due"), [(59_999, None), (60_000, "remind"), (61_000, "remind")])
def test_people_are_reminded_so_long_after_they_were_last_asked(after_ms: int, due: str | None) -> None:
    terms = terms_of(ApprovalPolicy(default=Demand(remind_every_ms=60_000)), ONE)
    assert due_reminder(record(asked_at_ms=T0 + 7), terms, T0 + 7 + after_ms, acknowledged=False) == due


@pytest.mark.parametrize(
    ("via", "at_ms", "counts"),
    [
        ("rule", T0, True),
        ("api", T0, False),
        ("slack", T0, False),
        ("rule", T0 - 60_000, False),
        ("rule", T0 - 1, True),
    ],
)
def test_the_budget_of_rules_counts_their_own_words_within_its_span(via: str, at_ms: int, counts: bool) -> None:
    own = Rule(name="undoable", demand=Demand(auto=True))
    policy = ApprovalPolicy(rules=(own,), auto=AutoBudget(most=1, per_ms=60_000))
    word = verdict(ONE, Principal(id=f"{via}:x", name="x", via=via), at_ms=at_ms)
    before = replace(incident(), plans=(record(ONE, PlanState.SUCCEEDED, word),))
    assert bool(auto_refusal(record(), terms_of(policy, ONE), policy, (before,), T0)) is counts
