"""What `JournalStore.append` does with a guard, and the kill switch: in memory, on SQLite and on PostgreSQL."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from sentinel.errors import Conflict, Held
from sentinel.ids import IncidentId
from sentinel.incidents.audit import verify
from sentinel.incidents.nouns import Principal
from sentinel.ports import JournalStore
from sentinel.remediation.budget import Budget, Claim, Guard, Intent, Release, Use
from sentinel.remediation.switch import next_record, state_of
from tests.contract.conftest import A, B, C, chain
from tests.contract.journal_stores import Open, open_store, store

__all__ = ["open_store", "store"]

NOW = 1_700_000_000_000
ANN = Principal(id="slack:T1/U1", name="Ann", via="slack")
LOOSE = Budget(cooldown_ms=0, per_hour=1000, per_day=1000, group_share=1.0)


def claim(
    plan: str, *, service: str = "", resource: str = "", steps: int = 1, budget: Budget = LOOSE, at: int = NOW
) -> Guard:
    uses = tuple(Use(resource=resource or f"{plan}-{n}") for n in range(steps))
    return Guard(at_ms=at, budget=budget, claim=Claim(plan_id=plan, services=(service or plan,), uses=uses))


def intent(
    plan: str, *, key: str = "", resource: str = "r", budget: Budget = LOOSE, at: int = NOW, **more: object
) -> Guard:
    made = Intent(key=key or f"{plan}.s0", plan_id=plan, use=Use(resource=resource), **more)  # type: ignore[arg-type]
    return Guard(at_ms=at, budget=budget, intent=made)


def release(plan: str, helped: bool | None, at: int = NOW, budget: Budget = LOOSE) -> Guard:
    return Guard(at_ms=at, budget=budget, release=Release(plan_id=plan, helped=helped))


def history(name: str) -> IncidentId:
    return IncidentId(f"inc-20250101-{name}-1")


def turn(store: JournalStore, stopped: bool, at: int = NOW) -> None:
    store.switch(next_record(store.switched(), stopped, ANN, "too much", at))


def test_what_is_held_is_not_written(store: JournalStore) -> None:
    store.append(chain(A, 1), claim("p1", service="checkout"))
    with pytest.raises(Held, match="another plan runs for checkout"):
        store.append(chain(B, 1), claim("p2", service="checkout"))
    assert store.read(B) == []
    store.append(chain(B, 1), claim("p2", service="cart"))


def test_a_plan_that_ended_makes_room(store: JournalStore) -> None:
    store.append(chain(A, 1), claim("p1", service="checkout"))
    store.append(chain(A, 1, chain(A, 1)[0]), release("p1", True))
    store.append(chain(B, 1), claim("p2", service="checkout"))


def test_two_plans_never_hold_one_resource(store: JournalStore) -> None:
    store.append(chain(A, 1), claim("p1", resource="i-1"))
    with pytest.raises(Held, match="another plan runs on i-1"):
        store.append(chain(B, 1), claim("p2", resource="i-1"))


def test_a_refused_append_leaves_no_row_in_the_ledger(store: JournalStore) -> None:
    with pytest.raises(Conflict):
        store.append(chain(A, 2)[1:], claim("p1", service="checkout"))
    store.append(chain(B, 1), claim("p2", service="checkout"))


def test_the_budget_of_an_hour_and_of_a_day(store: JournalStore) -> None:
    tight = Budget(cooldown_ms=0, per_hour=2, per_day=3)
    for n, at in enumerate((0, 60_000)):
        store.append(chain(history(f"0000000{n}"), 1), intent(f"p{n}", budget=tight, at=NOW + at))
    with pytest.raises(Held, match="2 actions an hour"):
        store.append(chain(A, 1), intent("p8", budget=tight, at=NOW + 120_000))
    store.append(chain(A, 1), intent("p8", budget=tight, at=NOW + 3_700_000))
    with pytest.raises(Held, match="3 actions a day"):
        store.append(chain(B, 1), intent("p9", budget=tight, at=NOW + 7_400_000))
    store.append(chain(B, 1), intent("p9", budget=tight, at=NOW + 86_400_000 + 60_001))


def test_a_plan_that_runs_has_its_steps_reserved(store: JournalStore) -> None:
    tight = Budget(cooldown_ms=0, per_hour=3, per_day=100)
    store.append(chain(A, 1), claim("p1", steps=2, budget=tight))
    with pytest.raises(Held, match="3 actions an hour"):
        store.append(chain(B, 1), claim("p2", steps=2, budget=tight))
    store.append(chain(B, 1), claim("p2", steps=1, budget=tight))


def test_a_resource_cools_down(store: JournalStore) -> None:
    slow = Budget(cooldown_ms=300_000)
    store.append(chain(A, 1), intent("p1", resource="i-1", budget=slow))
    with pytest.raises(Held, match="i-1 was acted on less than 300 s ago"):
        store.append(chain(B, 1), intent("p2", resource="i-1", budget=slow, at=NOW + 299_999))
    with pytest.raises(Held, match="less than"):  # a clock that stepped back does not cool anything down
        store.append(chain(B, 1), intent("p2", resource="i-1", budget=slow, at=NOW - 3_600_000))
    store.append(chain(B, 1), intent("p1", key="p1.s1", resource="i-1", budget=slow, at=NOW + 1))  # its own next step
    store.append(chain(C, 1), intent("p2", resource="i-1", budget=slow, at=NOW + 300_002))


def test_a_step_that_is_sent_again_counts_once(store: JournalStore) -> None:
    tight = Budget(cooldown_ms=0, per_hour=1, per_day=1)
    store.append(chain(A, 1), intent("p1", budget=tight))
    store.append(chain(A, 1, chain(A, 1)[0]), intent("p1", budget=tight, counted=True))
    with pytest.raises(Held):
        store.append(chain(B, 1), intent("p2", budget=tight))


def test_one_step_key_is_one_effect_for_ever(store: JournalStore) -> None:
    store.append(chain(A, 1), intent("p1"))
    with pytest.raises(Conflict):
        store.append(chain(B, 1), intent("p1"))
    assert store.read(B) == []


def test_the_breaker_opens_after_as_many_as_did_not_help_and_a_resume_closes_it(store: JournalStore) -> None:
    budget = Budget(cooldown_ms=0, breaker_after=2)
    outcomes: list[bool | None] = [False, True, False, None, False]
    for n, helped in enumerate(outcomes):
        name, first = history(f"1000000{n}"), chain(history(f"1000000{n}"), 1)
        store.append(first, claim(f"b{n}", budget=budget, at=NOW + n))
        store.append(chain(name, 1, first[0]), release(f"b{n}", helped, NOW + n, budget))
    with pytest.raises(Held, match="the breaker is open: the last 2 plans did not help"):
        store.append(chain(A, 1), claim("p1", budget=budget, at=NOW + 10))
    turn(store, False, NOW + 11)
    store.append(chain(A, 1), claim("p1", budget=budget, at=NOW + 12))


def test_the_kill_switch_holds_plans_steps_and_undoing_and_nothing_else(store: JournalStore) -> None:
    store.append(chain(A, 1), claim("p1"))
    turn(store, True)
    for guard in (claim("p2"), intent("p1"), intent("p1", undo=True), intent("p1", counted=True)):
        with pytest.raises(Held, match=r"the kill switch is on: stopped by Ann at .*: too much"):
            store.append(chain(B, 1), guard)
    store.append(chain(B, 1))
    store.append(chain(C, 1), release("p1", None))
    turn(store, False)
    store.append(chain(C, 1, chain(C, 1)[0]), intent("p1"))


def test_the_turns_of_the_switch_are_a_chain(open_store: Open) -> None:
    one, other = open_store(), open_store()
    late = next_record(one.switched(), True, ANN, "mine", NOW)
    turn(other, True)
    with pytest.raises(Conflict):
        one.switch(late)
    turn(one, False)
    assert [record.kind for record in other.switched()] == ["stopped", "resumed"]
    assert verify(other.switched()) is None
    assert state_of(other.switched()[-1]).stopped is False


def test_of_many_that_race_for_the_last_place_one_gets_it(open_store: Open) -> None:
    stores = [open_store() for _ in range(4)]
    tight = Budget(cooldown_ms=0, per_hour=5, per_day=5)
    start = threading.Barrier(4)

    def rush(number: int) -> int:
        start.wait()
        got = 0
        for n in range(10):
            try:
                name = history(f"{number}{n:07}")
                stores[number].append(chain(name, 1), intent(f"p{number}-{n}", budget=tight))
                got += 1
            except Held:
                pass
        return got

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(rush, range(4))) == 5
