"""The numbers of the limits: freezes, shares of groups, what an undo is free of. The stores have their own suite."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.remediation.budget import Budget, Claim, Effect, Freeze, Guard, Intent, Past, Use

NOW = 1_700_000_000_000  # Tuesday 2023-11-14 22:13:20 UTC
GROUP = "executor.allow.0"


def use(n: int, size: int = 20, group: str = GROUP) -> Use:
    return Use(resource=f"i-{n}", group=group, group_size=size)


def held(past: Past, *, claim: Claim | None = None, intent: Intent | None = None, budget: Budget | None = None) -> str:
    return Guard(at_ms=NOW, budget=budget or Budget(), claim=claim, intent=intent).refusal(past)


def intent(n: int, plan: str = "p", **more: bool) -> Intent:
    return Intent(key=f"{plan}.s{n}", plan_id=plan, use=use(n), **more)


def test_with_nothing_in_the_past_everything_may_be() -> None:
    assert held(Past(), claim=Claim(plan_id="p", services=("a",), uses=(use(1),))) == ""
    assert held(Past(), intent=intent(1)) == ""
    assert held(Past()) == ""


@pytest.mark.parametrize(
    ("size", "share", "others", "may"),
    [
        (20, 0.1, 1, True),
        (20, 0.1, 2, False),
        (9, 0.1, 0, True),
        (9, 0.1, 1, False),
        (1, 0.1, 0, True),
        (2, 1.0, 1, True),
    ],
)
def test_a_share_of_a_group_at_a_time_and_never_less_than_one(size: int, share: float, others: int, may: bool) -> None:
    recent = tuple(Effect(plan_id=f"o{n}", use=use(n, size), at_ms=NOW - 1) for n in range(others))
    wanted = Intent(key="p.s0", plan_id="p", use=use(99, size))
    budget = Budget(group_share=share)
    assert (held(Past(effects=recent), intent=wanted, budget=budget) == "") is may
    running = tuple(Claim(plan_id=f"o{n}", services=(f"s{n}",), uses=(use(n, size),)) for n in range(others))
    plan = Claim(plan_id="p", services=("a",), uses=(use(99, size),))
    assert (held(Past(running=running), claim=plan, budget=budget) == "") is may


def test_a_plan_cannot_take_more_of_a_group_than_the_share_by_itself() -> None:
    plan = Claim(plan_id="p", services=("a",), uses=(use(1), use(2), use(3)))
    assert held(Past(), claim=plan) == "2 of the 20 in executor.allow.0 may be acted on at a time"
    assert held(Past(), claim=Claim(plan_id="p", services=("a",), uses=(use(1), use(1), use(2)))) == ""


def test_undoing_and_sending_again_are_held_by_the_switch_alone() -> None:
    full = Past(effects=tuple(Effect(plan_id=f"o{n}", use=use(1), at_ms=NOW) for n in range(200)))
    for free in (intent(1, undo=True), intent(1, counted=True)):
        assert held(full, intent=free) == ""
        assert held(Past(stopped="stopped by Ann"), intent=free) == "the kill switch is on: stopped by Ann"
    assert held(full, intent=intent(1))


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


WEEKEND = Freeze(reason="weekend", days=frozenset({5, 6}))
EVENING = Freeze(reason="evening", days=frozenset({4}), from_minute=18 * 60, until_minute=1440)
HOLIDAY = Freeze(reason="holiday", starts_ms=at("2026-12-24"), ends_ms=at("2026-12-27"))


@pytest.mark.parametrize(
    ("freeze", "moment", "covered"),
    [
        (WEEKEND, "2026-11-27T23:59:59", False),
        (WEEKEND, "2026-11-28T00:00:00", True),
        (WEEKEND, "2026-11-29T23:59:59", True),
        (WEEKEND, "2026-11-30T00:00:00", False),
        (EVENING, "2026-11-27T17:59:59", False),
        (EVENING, "2026-11-27T18:00:00", True),
        (EVENING, "2026-11-26T18:00:00", False),
        (HOLIDAY, "2026-12-23T23:59:59", False),
        (HOLIDAY, "2026-12-24T00:00:00", True),
        (HOLIDAY, "2026-12-27T00:00:00", False),
    ],
)
def test_a_freeze_covers_its_time_to_the_second(freeze: Freeze, moment: str, covered: bool) -> None:
    assert freeze.covers(at(moment)) is covered
    plan = Claim(plan_id="p", services=("a",), uses=())
    said = Guard(at_ms=at(moment), budget=Budget(freezes=(freeze,)), claim=plan).refusal(Past())
    assert said == (f"a freeze is on: {freeze.reason}" if covered else "")


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-90_000_000, 90_000_000)), max_size=40), st.integers(1, 8))
def test_never_more_in_an_hour_than_the_budget(effects: list[tuple[int, int]], per_hour: int) -> None:
    past = Past(effects=tuple(Effect(plan_id=f"o{n}", use=use(n), at_ms=NOW + ms) for n, ms in effects))
    in_hour = sum(ms > -3_600_000 for _, ms in effects)
    budget = Budget(cooldown_ms=0, per_hour=per_hour, per_day=1000, group_share=1.0)
    assert (held(past, intent=intent(7), budget=budget) == "") is (in_hour < per_hour)


@pytest.mark.parametrize(
    ("age_ms", "may"), [(0, False), (3_599_999, False), (3_600_000, True), (4_000_000, True), (-60_000, False)]
)
def test_a_plan_that_would_start_counts_what_was_done_within_the_hour(age_ms: int, may: bool) -> None:
    past = Past(effects=(Effect(plan_id="ended", use=use(1), at_ms=NOW - age_ms),))
    plan = Claim(plan_id="p", services=("a",), uses=(use(2),))
    budget = Budget(cooldown_ms=0, per_hour=1, per_day=100)
    assert (held(past, claim=plan, budget=budget) == "") is may


@pytest.mark.parametrize("other", ["a", "z"])
def test_another_plan_is_another_whatever_its_name(other: str) -> None:
    past = Past(running=(Claim(plan_id=other, services=("cart",), uses=()),))
    assert held(past, claim=Claim(plan_id="m", services=("cart",), uses=())) == "another plan runs for cart"
    assert held(past, claim=Claim(plan_id=other, services=("cart",), uses=())) == ""


def test_a_resource_is_known_by_its_name() -> None:
    name = "".join(["i", "-", "1"])
    past = Past(effects=(Effect(plan_id="o", use=Use(resource=name), at_ms=NOW),))
    assert "i-1 was acted on" in held(past, intent=Intent(key="p.s0", plan_id="p", use=Use(resource="i-1")))


@pytest.mark.parametrize(("minute", "covered"), [(539, False), (540, True), (719, True), (720, False), (900, False)])
def test_a_weekly_freeze_ends_within_the_day(minute: int, covered: bool) -> None:
    morning = Freeze(reason="morning", days=frozenset(range(7)), from_minute=540, until_minute=720)
    assert morning.covers(at("2026-11-25") + minute * 60_000) is covered
