"""A step without an outcome that its resource does not tell of: CloudTrail is asked, for as long as it may take."""

from typing import cast

import pytest

from actors.settling import Settling
from actors.steps import StepRunner
from sentinel.clock import ManualClock
from sentinel.errors import Forbidden, OutcomeUnknown, Unavailable
from sentinel.ids import StepKey
from sentinel.incidents import facts as f
from sentinel.incidents.nouns import SENTINEL, PlanRecord, PlanState, Step, StepState
from sentinel.remediation.actions import Settled, Window
from sentinel.remediation.trail import Trail
from tests.actors.rig import Proxy, Rig
from tests.actors.test_execution import carried_out
from tests.unit.incidents.make import ID, T0, plan, reboot, redeploy

LAG_MS = 300_000


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig.cloud.trail_lag_ms = LAG_MS
    return rig


async def waited_s(rig: Rig) -> float:
    """From the first intent to the outcome."""
    at = {entry.fact.kind: entry.at_ms for entry in await rig.journal.entries(ID)}
    ended = next(at[kind] for kind in ("step_succeeded", "step_failed", "step_unknown") if kind in at)
    return (ended - at["step_started"]) / 1000


async def test_a_reboot_whose_answer_was_lost_is_found_in_the_record(rig: Rig) -> None:
    rig.cloud.fail(OutcomeUnknown("no answer"), at="after_effect")
    record = await carried_out(rig, plan(*reboot()))
    assert rig.sent() == ["ec2.reboot_instance"]
    assert record.state is PlanState.SUCCEEDED
    assert "CloudTrail has the call" in record.steps[0].detail
    assert LAG_MS / 1000 <= await waited_s(rig) < LAG_MS / 1000 + 60


async def test_a_reboot_that_never_arrived_is_known_not_to_be_done_and_is_not_sent_again(rig: Rig) -> None:
    rig.cloud.fail(OutcomeUnknown("connection reset"), at="before_effect")
    record = await carried_out(rig, plan(*reboot()))
    assert rig.sent() == []
    assert record.steps[0].state is StepState.FAILED
    assert not record.steps[0].sent
    assert "was never done, and is not sent again without a new approval" in record.steps[0].detail
    assert "has no such call" in record.steps[0].detail
    assert record.state is PlanState.ROLLED_BACK
    assert await waited_s(rig) >= 900


async def test_a_record_that_stands_still_leaves_it_to_people(rig: Rig) -> None:
    rig.cloud.fail(OutcomeUnknown("no answer"), at="after_effect")
    rig.cloud.trail_lag_ms = 7_200_000
    record = await carried_out(rig, plan(*reboot()))
    assert rig.sent() == ["ec2.reboot_instance"]
    assert record.steps[0].state is StepState.UNKNOWN
    assert "nothing newer" in record.steps[0].detail


async def test_whoever_may_not_read_the_record_hears_it_at_once(rig: Rig) -> None:
    rig.cloud.fail(OutcomeUnknown("no answer"), at="after_effect")
    rig.cloud.trail_lag_ms = None
    record = await carried_out(rig, plan(*reboot()))
    assert record.steps[0].state is StepState.UNKNOWN
    assert "no record of calls is kept here" in record.steps[0].detail
    assert await waited_s(rig) < 60


async def test_a_record_that_does_not_answer_is_asked_until_the_time_is_up(rig: Rig) -> None:
    rig.cloud.fail(OutcomeUnknown("no answer"), at="after_effect")
    asked = 0

    def silent(name: str) -> None:
        nonlocal asked
        if name == "trail":
            asked += 1
            raise Unavailable("throttled")

    record = await carried_out(rig, plan(*reboot()), cloud=Proxy(rig.cloud, before=silent))
    assert record.steps[0].state is StepState.UNKNOWN
    assert "throttled" in record.steps[0].detail
    assert await waited_s(rig) >= 900
    assert 20 <= asked <= 40, "AWS takes two lookups a second of a whole account"


async def test_a_redeployment_that_never_arrived_is_told_by_the_service_itself(rig: Rig) -> None:
    rig.cloud.trail_lag_ms = None
    rig.cloud.fail(OutcomeUnknown("connection reset"), at="before_effect")
    record = await carried_out(rig, plan(*redeploy()))
    assert rig.sent() == []
    assert record.steps[0].state is StepState.FAILED
    assert "was never done" in record.steps[0].detail
    assert record.state is PlanState.ROLLED_BACK


async def test_a_redeployment_of_somebody_else_is_not_taken_for_ours(rig: Rig) -> None:
    rig.cloud.fail(OutcomeUnknown("connection reset"), at="before_effect")

    def meanwhile(name: str) -> None:
        if name == "send":
            for values in rig.cloud.services.values():
                values |= {"deployment_id": "another", "deployment_at_ms": rig.clock.now_ms() + 3_600_000}

    record = await carried_out(rig, plan(*redeploy()), cloud=Proxy(rig.cloud, before=meanwhile))
    assert record.steps[0].state is StepState.FAILED
    assert "has no such call" in record.steps[0].detail


async def test_another_process_goes_on_waiting_where_the_first_one_died(rig: Rig) -> None:
    rig.cloud.fail(OutcomeUnknown("no answer"), at="after_effect")

    class Dead(Exception):
        pass

    def die(name: str) -> None:
        if name == "trail":
            raise Dead

    made = plan(*reboot())
    await rig.approved(made)
    with pytest.raises(Dead):
        await rig.execution("first", cloud=Proxy(rig.cloud, before=die)).carry_out(ID, made.plan_id)
    await rig.execution("second").carry_out(ID, made.plan_id)
    assert (await rig.plan()).state is PlanState.SUCCEEDED
    assert rig.sent() == ["ec2.reboot_instance"]
    assert await waited_s(rig) < LAG_MS / 1000 + 120


async def test_who_aborts_does_not_wait_for_the_record(rig: Rig) -> None:
    rig.cloud.fail(OutcomeUnknown("no answer"), at="after_effect")
    made = plan(*reboot())
    aborted = False

    async def abort() -> None:
        incident = await rig.incident()
        fact = f.RollbackStarted(plan_id=made.plan_id, reason="aborted by ann", undo=True)
        await rig.journal.append(ID, incident.seq, [fact], SENTINEL, rig.clock.now_ms())

    await rig.approved(made)

    class Aborting(Proxy):
        async def incident(self, incident_id: str) -> object:
            nonlocal aborted
            found = await rig.journal.incident(ID)
            if not aborted and found and found.plans[-1].steps[0].state is StepState.STARTED:
                aborted = True
                await abort()
            return await rig.journal.incident(ID)

    await rig.execution("a", journal=Aborting(rig.journal)).carry_out(ID, made.plan_id)
    record: PlanRecord = await rig.plan()
    assert aborted
    assert record.steps[0].state is StepState.UNKNOWN
    assert "aborted by ann" in record.ended_reason
    assert await waited_s(rig) < 120


async def test_the_record_is_not_asked_where_the_settings_say_so(rig: Rig) -> None:
    rig.cloud.fail(OutcomeUnknown("no answer"), at="after_effect")
    rig.trail_within_s = 0
    record = await carried_out(rig, plan(*reboot()))
    assert record.steps[0].state is StepState.UNKNOWN
    assert "cloudtrail_within_s" in record.steps[0].detail


async def test_forbidden_to_ask_names_what_is_missing(rig: Rig) -> None:
    rig.cloud.fail(OutcomeUnknown("no answer"), at="after_effect")

    def refuse(name: str) -> None:
        if name == "trail":
            raise Forbidden("AccessDenied: cloudtrail:LookupEvents")

    record = await carried_out(rig, plan(*reboot()), cloud=Proxy(rig.cloud, before=refuse))
    assert record.steps[0].state is StepState.UNKNOWN
    assert "cloudtrail:LookupEvents" in record.steps[0].detail


class Record:
    """A record of calls that has no such call, and newer ones."""

    async def trail(self, step: Step, key: StepKey, made: Window) -> Trail:
        return Trail(reaches_ms=made.until_ms + 1)


@pytest.mark.parametrize("hours", [-2, 2])
async def test_a_wall_clock_that_jumps_neither_ends_the_wait_nor_makes_it_longer(hours: int) -> None:
    clock, (step,) = ManualClock(T0), reboot()
    settling, made = Settling(cast(StepRunner, Record()), clock, within_s=900), Window(from_ms=T0, until_ms=T0 + 30_000)

    async def settled() -> Settled | None:
        return (await settling.found(step, StepKey("key"), {}, {}, made)).settled

    clock._now_ms += hours * 3_600_000
    assert await settled() is None
    clock.advance(860)
    assert await settled() is None
    clock.advance(40)
    assert await settled() is Settled.NEVER_DONE
