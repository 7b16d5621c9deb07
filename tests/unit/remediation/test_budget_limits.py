"""The limits on either side of each comparison, and what they say, word for word."""

import pytest

from sentinel.remediation.budget import DAY_MS, HOUR_MS, Budget, Claim, Effect, Freeze, Past, Use
from tests.unit.remediation.test_budget import HOLIDAY, NOW, WEEKEND, at, held, intent, use

FREE = Budget(cooldown_ms=0, per_hour=1_000, per_day=1_000, group_share=1.0)


def spelt(text: str) -> str:
    """The same text as another object, as it comes from a database."""
    return "".join(list(text))


def effects(count: int, *, age_ms: int = 0, plan: str = "before") -> tuple[Effect, ...]:
    return tuple(Effect(plan_id=plan, use=use(n), at_ms=NOW - age_ms) for n in range(count))


def claim(*uses: Use, plan: str = "p", services: tuple[str, ...] = ("a",)) -> Claim:
    return Claim(plan_id=plan, services=services, uses=uses)


def test_what_holds_where_nobody_set_anything() -> None:
    assert Budget() == Budget(cooldown_ms=300_000, per_hour=20, per_day=100, group_share=0.1, breaker_after=3)
    whole_day = Freeze(reason="all day")
    assert (whole_day.from_minute, whole_day.until_minute) == (0, 1440)
    assert (Use(resource="i-1").group, Use(resource="i-1").group_size) == ("", 0)


@pytest.mark.parametrize(
    ("moment", "covered"),
    [
        ("2026-12-23T23:59:59.999", False),
        ("2026-12-24T00:00:00", True),
        ("2026-12-24T00:00:00.001", True),
        ("2026-12-26T23:59:59.999", True),
        ("2026-12-27T00:00:00", False),
        ("2027-01-04T00:00:00", False),
    ],
)
def test_a_freeze_between_two_moments_is_over_for_good(moment: str, covered: bool) -> None:
    assert HOLIDAY.covers(at(moment)) is covered


@pytest.mark.parametrize("half", [{"starts_ms": NOW - 1}, {"ends_ms": NOW + 1}], ids=["no end", "no start"])
def test_half_a_span_is_none(half: dict[str, int]) -> None:
    assert not Freeze(reason="half", **half).covers(NOW)


def test_a_weekly_freeze_comes_every_week_and_on_no_other_day() -> None:
    first = at("2026-01-05")  # a Monday
    covered = [day for day in range(140) if WEEKEND.covers(first + day * DAY_MS)]
    assert covered == [7 * week + day for week in range(20) for day in (5, 6)]


@pytest.mark.parametrize(
    ("helped", "opens"),
    [
        ((False, False), False),
        ((False, False, False), True),
        ((False, False, False, True), True),
        ((False, False, True), False),
        ((True, False, False, False), False),
        ((True, True, True), False),
    ],
)
def test_the_breaker_opens_after_so_many_plans_that_did_not_help(helped: tuple[bool, ...], opens: bool) -> None:
    said = held(Past(helped=helped), claim=claim(use(1)))
    told = "the breaker is open: the last 3 plans did not help; look at them, then resume with the kill switch"
    assert said == (told if opens else "")


def test_what_two_plans_have_in_common_is_named_by_its_first() -> None:
    running = Claim(plan_id="o", services=("cart", "web"), uses=())
    assert held(Past(running=(running,)), claim=claim(services=("web", "cart"))) == "another plan runs for cart"
    resources = (use(2), use(1), use(3))
    running = Claim(plan_id="o", services=("b",), uses=resources)
    assert held(Past(running=(running,)), claim=claim(*reversed(resources))) == "another plan runs on i-1"
    assert held(Past(running=(running,)), claim=claim(use(2))) == "another plan runs on i-2"


def test_a_plan_does_not_stand_in_its_own_way() -> None:
    mine = Past(running=(claim(use(1), plan=spelt("plan one")),), effects=effects(1, plan=spelt("plan one")))
    assert held(mine, claim=claim(use(0, size=1), plan="plan one"), budget=Budget()) == ""


@pytest.mark.parametrize(
    ("done", "reserved", "wanted", "most", "may"),
    [(1, 1, 1, 3, True), (2, 1, 1, 3, False), (0, 2, 1, 3, True), (0, 3, 1, 3, False), (1, 1, 2, 3, False)],
)
@pytest.mark.parametrize("span", ["hour", "day"])
def test_done_reserved_and_wanted_count_together(
    span: str, done: int, reserved: int, wanted: int, most: int, may: bool
) -> None:
    running = Claim(plan_id="o", services=("b",), uses=tuple(use(50 + n) for n in range(reserved)))
    past = Past(effects=effects(done), running=(running,))
    limits = {"per_hour": most if span == "hour" else 99, "per_day": most}
    budget = Budget(cooldown_ms=0, group_share=1.0, **limits)
    said = held(past, claim=claim(*(use(70 + n) for n in range(wanted))), budget=budget)
    told = "an hour" if span == "hour" else "a day"
    assert said == ("" if may else f"the budget of 3 actions {told} is used up")


@pytest.mark.parametrize(("age_ms", "may"), [(HOUR_MS - 1, False), (HOUR_MS, True), (HOUR_MS + 1, True)])
def test_a_step_counts_what_was_done_within_the_hour(age_ms: int, may: bool) -> None:
    budget = Budget(cooldown_ms=0, per_hour=1, per_day=100)
    said = held(Past(effects=effects(1, age_ms=age_ms)), intent=intent(9), budget=budget)
    assert said == ("" if may else "the budget of 1 actions an hour is used up")


@pytest.mark.parametrize(
    ("age_ms", "may"),
    [(-60_000, False), (0, False), (998_999, False), (999_000, True), (999_001, True), (5_000_000, True)],
)
def test_a_resource_rests_so_long_and_it_is_said_how_long(age_ms: int, may: bool) -> None:
    past = Past(effects=effects(1, age_ms=age_ms))
    said = held(past, intent=intent(0), budget=Budget(cooldown_ms=999_000, group_share=1.0))
    assert said == ("" if may else "i-0 was acted on less than 999 s ago")


@pytest.mark.parametrize("plan", ["a", "z"])
def test_a_resource_rests_after_any_other_plan(plan: str) -> None:
    budget = Budget(group_share=1.0)
    assert held(Past(effects=effects(1, plan=plan)), intent=intent(0), budget=budget)
    assert held(Past(effects=effects(1, plan=spelt("my plan"))), intent=intent(0, "my plan"), budget=budget) == ""


@pytest.mark.parametrize("other", [0, 2])
def test_other_resources_may_be_acted_on_at_once(other: int) -> None:
    past = Past(effects=(Effect(plan_id="o", use=use(other), at_ms=NOW),))
    assert held(past, intent=intent(1), budget=Budget(group_share=1.0)) == ""


def test_what_is_in_no_group_and_what_need_not_rest_has_no_share() -> None:
    lone = (Use(resource="a"), Use(resource="b"))
    recent = Past(effects=(Effect(plan_id="o", use=lone[0], at_ms=NOW),))
    assert held(recent, claim=claim(lone[1])) == ""
    assert held(Past(), claim=claim(use(1), use(2), use(3), use(4)), budget=Budget(cooldown_ms=0)) == ""


@pytest.mark.parametrize("group", ["executor.allow.", "executor.allow.1"])
def test_another_group_is_another_whatever_its_name(group: str) -> None:
    others = tuple(use(n, group=group) for n in range(2))
    recent = tuple(Effect(plan_id="o", use=each, at_ms=NOW) for each in others)
    assert held(Past(effects=recent), claim=claim(use(9)), budget=Budget(group_share=0.05)) == ""
    running = Claim(plan_id="o", services=("b",), uses=others)
    assert held(Past(running=(running,)), claim=claim(use(9)), budget=Budget(group_share=0.05)) == ""


def test_a_group_is_known_by_its_name() -> None:
    same = use(1, group=spelt("executor.allow.0"))
    full = "1 of the 20 in executor.allow.0 may be acted on at a time"
    recent = Past(effects=(Effect(plan_id="o", use=same, at_ms=NOW),))
    assert held(recent, claim=claim(use(9)), budget=Budget(group_share=0.05)) == full
    running = Past(running=(Claim(plan_id="o", services=("b",), uses=(same,)),))
    assert held(running, claim=claim(use(9)), budget=Budget(group_share=0.05)) == full


def test_free_limits_hold_nothing_back() -> None:
    assert held(Past(effects=effects(90)), claim=claim(*(use(n) for n in range(90))), budget=FREE) == ""
