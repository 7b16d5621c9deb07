"""The executor dies at every point where it could, and another takes over: nothing is done twice, nothing is lost."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from actors.execution import ExecutionActor
from actors.journal import JournalActor
from sentinel.detection.anomaly import Condition
from sentinel.errors import OutcomeUnknown, Unavailable
from sentinel.incidents import facts as f
from sentinel.incidents.nouns import IncidentState, Plan, PlanState, StepState
from sentinel.remediation.actions import CATALOG, Idempotency
from tests.actors.rig import Killed, Proxy, Rig, ended
from tests.unit.incidents.make import ID, plan, reboot, redeploy, restart, scale

PLANS: dict[str, tuple[Plan, Condition]] = {
    "a reboot": (plan(*reboot()), Condition.NORMAL),
    "a redeployment": (plan(*redeploy()), Condition.NORMAL),
    "a restart": (plan(*restart()), Condition.NORMAL),
    "a scaling that helps": (plan(*scale()), Condition.NORMAL),
    "a scaling that is undone": (plan(*scale(), verify_within_s=5), Condition.ANOMALOUS),
    "three steps that are undone": (plan(*scale(), *restart(), verify_within_s=5), Condition.ANOMALOUS),
    "a rehearsal": (plan(*restart(), *reboot(), dry_run=True), Condition.NORMAL),
}


class Fuse:
    """Kills at the n-th point that is passed; each call of journal and cloud has one before and one after it."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.passed: list[str] = []

    def before(self, name: str) -> None:
        self._pass(f"before {name}")

    def after(self, name: str) -> None:
        self._pass(f"after {name}")

    def _pass(self, point: str) -> None:
        self.passed.append(point)
        if len(self.passed) > self.at:
            raise Killed(point)


def fused(rig: Rig, fuse: Fuse, owner: str) -> ExecutionActor:
    journal = Proxy(rig.journal, before=fuse.before, after=fuse.after)
    cloud: Any = Proxy(rig.cloud, before=fuse.before, after=fuse.after)
    return rig.execution(owner, journal=journal, cloud=cloud)


async def deaths(made: Plan, condition: Condition, *, twice: bool = False) -> AsyncIterator[tuple[Rig, str]]:
    """One world for each point at which the executor can die, each carried to its end by a successor.

    With `twice`, the first successor dies as well, at one point or another of its work.
    """
    for at in range(1000):
        rig = Rig()
        rig.cloud.looks_to_converge = 1
        rig.book.otherwise = condition
        await rig.approved(made)
        fuse = Fuse(at)
        try:
            await fused(rig, fuse, "first").carry_out(ID, made.plan_id)
        except Killed as killed:
            died = str(killed)
        else:
            assert at > 10, "the fuse is in the way of the work"
            return
        rig.journal = JournalActor(rig.store)
        if twice:
            with contextlib.suppress(Killed):
                await fused(rig, Fuse(1 + 3 * at % 13), "second").carry_out(ID, made.plan_id)
            rig.journal = JournalActor(rig.store)
        await rig.execution("last").carry_out(ID, made.plan_id)
        yield rig, f"{died}, point {at}"
    raise AssertionError("it never came to its end")


@pytest.mark.parametrize("case", PLANS)
@pytest.mark.parametrize("twice", [False, True], ids=["one death", "two deaths"])
async def test_wherever_it_dies_nothing_is_done_twice_and_nothing_is_lost(case: str, twice: bool) -> None:
    made, condition = PLANS[case]
    points = 0
    async for rig, where in deaths(made, condition, twice=twice):
        points += 1
        record, incident = await rig.plan(), await rig.incident()
        assert not record.state.live, where
        assert incident.state in (IncidentState.RESOLVED, IncidentState.ESCALATED), where
        assert not {step.state for step in record.steps} & {StepState.STARTED, StepState.UNDO_STARTED}, where
        calls = Counter((step.action, key) for step, key in rig.cloud.sent)
        once = [call for call in calls if CATALOG[call[0]].idempotency is Idempotency.AT_MOST_ONCE]
        assert all(calls[call] == 1 for call in once), where
        if made.dry_run:
            assert not calls, where
        if record.state is PlanState.SUCCEEDED:
            assert {key for _action, key in calls} == {f"{made.plan_id}.s{n}" for n in range(len(made.steps))}, where
        if record.state is PlanState.ROLLED_BACK and not made.dry_run:
            assert all(values["desired"] == 2 for values in rig.cloud.services.values()), where
            assert all(values["state"] == "running" for values in rig.cloud.instances.values()), where
        assert rig.chain_holds(), where
    assert points > 10


async def test_what_may_be_sent_again_comes_to_a_good_end_wherever_it_dies() -> None:
    for case in ("a restart", "a scaling that helps"):
        async for rig, where in deaths(*PLANS[case]):
            assert (await rig.plan()).state is PlanState.SUCCEEDED, where


async def test_a_reboot_is_for_people_only_where_nobody_can_know() -> None:
    ends: dict[str, set[str]] = {}
    async for rig, where in deaths(*PLANS["a reboot"]):
        record = await rig.plan()
        ends.setdefault(record.steps[0].state, set()).add(where)
        if record.steps[0].state is StepState.UNKNOWN:
            assert (await rig.incident()).state is IncidentState.ESCALATED
    assert set(ends) == {"succeeded", "unknown"}
    # From the intent on disk to the outcome on disk, and at no other time.
    assert any(where.startswith("after append") for where in ends["unknown"])
    assert any(where.startswith("after send") for where in ends["unknown"])
    assert len(ends["unknown"]) < len(ends["succeeded"])


async def test_a_task_that_is_cancelled_is_like_a_death() -> None:
    for turns in range(0, 60, 3):
        rig = Rig()
        await rig.approved(plan(*reboot()))
        task = asyncio.create_task(rig.execution("first").carry_out(ID, plan().plan_id))
        for _ in range(turns):
            await asyncio.sleep(0)
        await ended([task])
        await asyncio.sleep(0.01)  # a call in its thread cannot be cancelled: let it end
        rig.journal = JournalActor(rig.store)
        await rig.execution("last").carry_out(ID, plan().plan_id)
        assert not (await rig.plan()).state.live
        assert len(rig.sent()) <= 1


async def test_a_journal_that_fails_at_any_time_is_like_no_failure() -> None:
    for error in (Unavailable("locked"), OutcomeUnknown("the answer was lost")):
        for at in range(60):
            rig = Rig()
            await rig.approved(plan())
            calls = 0

            def fails(name: str, when: str, error: Any = error, at: int = at) -> None:
                nonlocal calls
                if name == "append":
                    calls += 1
                    # Unavailable promises that nothing was written, OutcomeUnknown may come after it was.
                    if calls == at and when == ("before" if isinstance(error, Unavailable) else "after"):
                        raise error

            journal = Proxy(rig.journal, before=lambda name: fails(name, "before"), after=lambda n: fails(n, "after"))
            await rig.execution(journal=journal).carry_out(ID, plan().plan_id)
            assert (await rig.plan()).state is PlanState.SUCCEEDED
            assert len(rig.sent()) in (0, 1)
            if calls < at:
                break
        else:
            raise AssertionError("more calls than were tried")


async def test_an_outcome_that_was_not_surely_recorded_is_recorded_all_the_same() -> None:
    # Else a reboot that is known to have been done would be called unknown, and people would be woken for it.
    rig = Rig()
    await rig.approved(plan(*reboot()))
    lost: list[str] = []

    class Lossy(Proxy):
        """The answer to the outcome is lost, and the outcome with it."""

        async def append(self, incident_id: Any, seq: int, facts: Any, *rest: Any) -> Any:
            if isinstance(facts[0], f.StepSucceeded) and not lost:
                lost.append(facts[0].kind)
                raise OutcomeUnknown("the database went away during the commit")
            return await rig.journal.append(incident_id, seq, facts, *rest)

    await rig.execution(journal=Lossy(rig.journal)).carry_out(ID, plan().plan_id)
    assert lost
    assert (await rig.plan()).state is PlanState.SUCCEEDED
    assert rig.sent() == ["ec2.reboot_instance"]


async def test_a_predecessor_that_wakes_up_late_sends_nothing_and_records_nothing() -> None:
    rig = Rig()
    await rig.approved(plan(*reboot()))
    asleep, awake = asyncio.Event(), asyncio.Event()

    class Sleepy(Proxy):
        """The first process is stopped between its intent and its call, as by SIGSTOP or a hung machine."""

        async def append(self, incident_id: Any, seq: int, facts: Any, *rest: Any) -> Any:
            answer = await rig.journal.append(incident_id, seq, facts, *rest)
            if isinstance(facts[0], f.StepStarted):
                asleep.set()
                await awake.wait()
            return answer

    first = asyncio.create_task(rig.execution("first", journal=Sleepy(rig.journal)).carry_out(ID, plan().plan_id))
    await asleep.wait()
    await rig.execution("second").carry_out(ID, plan().plan_id)
    told = await rig.kinds()
    awake.set()
    await first
    assert rig.sent() == []
    assert await rig.kinds() == told
    assert (await rig.plan()).steps[0].state is StepState.UNKNOWN


async def test_of_two_that_live_the_later_one_has_the_plan() -> None:
    rig = Rig()
    rig.cloud.looks_to_converge = 3
    await rig.approved(plan(*restart()))
    actors = [rig.execution("first"), rig.execution("second")]
    await asyncio.gather(*(actor.carry_out(ID, plan().plan_id) for actor in actors))
    for actor in actors:  # the level-triggered look, which would take the plan back
        await actor.settle(await rig.incident())
    record = await rig.plan()
    assert record.state is PlanState.SUCCEEDED
    assert (await rig.kinds()).count("execution_resumed") <= 1
    assert set(rig.sent()) == {"ec2.stop_instance", "ec2.start_instance"}


async def test_one_that_lost_its_plan_does_not_take_it_back() -> None:
    rig = Rig()
    incident = await rig.approved(plan())
    first = rig.execution("first")
    await rig.tell(f.ExecutionStarted(plan_id=plan().plan_id, owner="first"))
    first._claimed.add(plan().plan_id)
    incident = await rig.tell(f.ExecutionResumed(plan_id=plan().plan_id, owner="second"))
    await first.settle(incident)
    assert first._tasks == {}
    await first.carry_out(ID, plan().plan_id)
    assert (await rig.incident()).seq == incident.seq
    assert rig.sent() == []


async def test_a_successor_waits_until_the_call_of_the_one_before_can_no_longer_come() -> None:
    rig = Rig()
    await rig.approved(plan())
    await rig.tell(
        f.ExecutionStarted(plan_id=plan().plan_id, owner="first"),
        f.StepStarted(plan_id=plan().plan_id, index=0, previous={"desired": 2}),
    )
    rig.clock.advance(25)
    taken_at = rig.clock.now_ms()
    await rig.execution("second").carry_out(ID, plan().plan_id)
    at = {each.fact.kind: each.at_ms for each in await rig.journal.entries(ID)}
    assert at["execution_resumed"] == taken_at
    assert at["step_resent"] - taken_at > 30_000, "looked at, and sent again, only then"
    assert rig.sent() == ["ecs.scale_service 4"]


async def test_an_intent_that_took_too_long_to_record_is_recorded_anew_before_anything_is_sent() -> None:
    rig = Rig()
    await rig.approved(plan(*reboot()))

    class Slow(Proxy):
        """The database takes longer for the first intent than the fence allows."""

        async def append(self, incident_id: Any, seq: int, facts: Any, *rest: Any) -> Any:
            answer = await rig.journal.append(incident_id, seq, facts, *rest)
            if isinstance(facts[0], f.StepStarted):
                assert rig.sent() == []
                rig.clock.advance(31)
            return answer

    await rig.execution(journal=Slow(rig.journal)).carry_out(ID, plan().plan_id)
    assert rig.sent() == ["ec2.reboot_instance"]
    assert (await rig.kinds()).count("step_resent") == 1
    assert (await rig.plan()).state is PlanState.SUCCEEDED
