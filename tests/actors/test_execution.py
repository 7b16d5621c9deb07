"""The executor: what it does with a plan, step by step, when nothing dies."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from sentinel.detection.anomaly import Condition
from sentinel.errors import Unavailable
from sentinel.incidents import facts as f
from sentinel.incidents.nouns import IncidentState, PlanState, StepState, Verdict
from sentinel.remediation.planner import digest_of
from sentinel.remediation.proof import unproven
from sentinel.remediation.safety import Limits
from tests.actors.rig import LIMITS, Proxy, Rig, eventually
from tests.unit.incidents.make import CLUSTER, ID, INSTANCE, alert, approved, opened, plan, reboot, restart, scale

PID = plan().plan_id


def GOOD(_plan_id: str, _verdict: Verdict) -> str:
    return ""


SERVICE = (CLUSTER, "checkout")


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def carried_out(rig: Rig, on=None, **kwargs):
    made = on or plan()
    await rig.approved(made)
    await rig.execution(**kwargs).carry_out(ID, made.plan_id)
    assert rig.chain_holds()
    return await rig.plan()


async def test_a_plan_that_helps_resolves_the_incident(rig: Rig) -> None:
    record = await carried_out(rig)
    assert record.state is PlanState.SUCCEEDED
    assert rig.sent() == ["ecs.scale_service 4"]
    incident = await rig.incident()
    assert incident.state is IncidentState.RESOLVED
    assert incident.state_reason.startswith("scale-out helped: the detector finds the series back")
    assert not any(alert.open for alert in incident.alerts)
    assert (await rig.kinds())[-8:] == [
        *("plan_approved", "execution_started", "step_started", "step_succeeded"),
        *("verification_started", "alert_cleared", "plan_succeeded", "incident_resolved"),
    ]


async def test_the_step_key_is_the_token_of_the_call(rig: Rig) -> None:
    await carried_out(rig)
    assert [key for _step, key in rig.cloud.sent] == [f"{ID}.p1.s0"]


async def test_what_was_before_is_recorded_with_the_intent(rig: Rig) -> None:
    record = await carried_out(rig)
    assert record.steps[0].previous == {
        "status": "ACTIVE",
        "desired": 2,
        "running": 2,
        "pending": 0,
        "deployment_id": "ecs-svc/1",
        "task_definition": "checkout:1",
    }


async def test_steps_run_in_order(rig: Rig) -> None:
    rig.cloud.looks_to_converge = 3
    record = await carried_out(rig, plan(*restart()))
    assert record.state is PlanState.SUCCEEDED
    assert rig.sent() == ["ec2.stop_instance", "ec2.start_instance"]


async def test_another_alert_that_is_still_open_keeps_the_incident_open(rig: Rig) -> None:
    await rig.tell(opened(alert(), alert("web")), *approved(plan()))
    await rig.execution().carry_out(ID, PID)
    assert (await rig.incident()).state is IncidentState.OPEN
    assert (await rig.plan()).state is PlanState.SUCCEEDED


async def test_the_detector_is_asked_of_the_plans_series_by_their_service(rig: Rig) -> None:
    await carried_out(rig)
    assert rig.book.asked[-1] == {"checkout": [alert().fingerprint]}


async def test_a_plan_that_does_not_help_is_undone(rig: Rig) -> None:
    rig.book.otherwise = Condition.ANOMALOUS
    record = await carried_out(rig)
    assert record.state is PlanState.ROLLED_BACK
    assert rig.sent() == ["ecs.scale_service 4", "ecs.scale_service 2"]
    assert rig.cloud.services[SERVICE]["desired"] == 2
    assert record.rollback_reason == "1 of 1 series did not recover within 120 s"
    assert (await rig.incident()).state is IncidentState.ESCALATED


async def test_silence_is_no_success_and_undoes_nothing(rig: Rig) -> None:
    rig.book.otherwise = Condition.NO_DATA
    record = await carried_out(rig)
    assert record.state is PlanState.ROLLBACK_FAILED
    assert rig.sent() == ["ecs.scale_service 4"]
    assert "inconclusive" in record.ended_reason


async def test_a_plan_without_rollback_leaves_what_it_did(rig: Rig) -> None:
    rig.book.otherwise = Condition.ANOMALOUS
    record = await carried_out(rig, plan(rollback=False))
    assert record.state is PlanState.ROLLBACK_FAILED
    assert "step 1 (ecs.scale_service) was done and stays" in record.ended_reason
    assert rig.sent() == ["ecs.scale_service 4"]


async def test_a_step_that_stalls_is_put_back(rig: Rig) -> None:
    rig.cloud.looks_to_converge = 10_000
    record = await carried_out(rig)
    assert record.steps[0].state in (StepState.UNDONE, StepState.UNDO_FAILED)
    assert "no effect within 20 s" in record.rollback_reason
    assert rig.cloud.services[SERVICE]["desired"] == 2, "a call that was accepted and stalled must not stay"


async def test_the_second_step_fails_and_the_first_is_undone(rig: Rig) -> None:
    two = plan(*scale(), *reboot())
    rig.cloud.instances[INSTANCE]["state"] = "stopped"
    record = await carried_out(rig, two)
    assert record.state is PlanState.ROLLED_BACK
    assert "step 2 was not started: the instance is stopped, not running" in record.rollback_reason
    assert rig.sent() == ["ecs.scale_service 4", "ecs.scale_service 2"]


async def test_what_is_already_so_is_not_sent(rig: Rig) -> None:
    rig.cloud.add_service(CLUSTER, "checkout", 4)
    record = await carried_out(rig)
    assert rig.sent() == []
    assert record.state is PlanState.SUCCEEDED
    assert record.steps[0].detail.startswith("nothing sent: already so")


async def test_somebody_elses_change_is_not_undone(rig: Rig) -> None:
    rig.book.otherwise = Condition.ANOMALOUS
    rig.book.when_asked = lambda: rig.cloud.services[SERVICE].update(desired=6, running=6)
    record = await carried_out(rig)
    assert record.state is PlanState.ROLLBACK_FAILED
    assert rig.cloud.services[SERVICE]["desired"] == 6
    assert rig.sent() == ["ecs.scale_service 4"]
    assert record.steps[0].detail.startswith("somebody changed it since")


async def test_what_somebody_already_put_back_is_undone_without_a_call(rig: Rig) -> None:
    rig.book.otherwise = Condition.ANOMALOUS
    rig.book.when_asked = lambda: rig.cloud.services[SERVICE].update(desired=2, running=2)
    record = await carried_out(rig)
    assert record.state is PlanState.ROLLED_BACK
    assert rig.sent() == ["ecs.scale_service 4"]


async def test_a_rehearsal_sends_nothing(rig: Rig) -> None:
    record = await carried_out(rig, plan(*restart(), *scale(), dry_run=True))
    assert rig.sent() == []
    assert record.state is PlanState.ROLLED_BACK
    assert record.ended_reason == "dry run: nothing was sent to AWS"
    assert all(step.detail.startswith("dry run: would have sent") for step in record.steps)


async def test_a_rehearsal_that_is_given_up_sends_nothing_either(rig: Rig) -> None:
    # Its second step is refused, and somebody scales by hand to what the first one only pretended.
    rig.cloud.instances[INSTANCE]["state"] = "stopped"
    looks: list[str] = []

    def by_hand(name: str) -> None:
        looks.append(name)
        if len(looks) == 1:
            rig.cloud.services[SERVICE].update(desired=4, running=4)

    cloud: Any = Proxy(rig.cloud, after=by_hand)
    record = await carried_out(rig, plan(*scale(), *reboot(), dry_run=True), cloud=cloud)
    assert rig.sent() == []
    assert record.state is PlanState.ROLLED_BACK
    assert "step 2 was not started" in record.ended_reason


async def test_an_approval_that_is_too_old_is_not_acted_on(rig: Rig) -> None:
    await rig.approved(plan())
    rig.clock.advance(601)
    await rig.execution().carry_out(ID, PID)
    record = await rig.plan()
    assert record.state is PlanState.EXPIRED
    assert record.ended_reason == "approved, but not started within 600 s"
    assert rig.sent() == []


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(), "is not in executor.aws_ecs_cluster_whitelist"),
        (replace(LIMITS, max_desired_count=3), "above executor.max_desired_count"),
        (replace(LIMITS, max_scale_step=1), "more than executor.max_scale_step 1 at once"),
    ],
)
async def test_limits_that_were_narrowed_after_the_approval_hold(rig: Rig, limits: Limits, said: str) -> None:
    record = await carried_out(rig, limits=limits)
    assert rig.sent() == []
    assert record.state is PlanState.ROLLED_BACK
    assert said in record.ended_reason


async def test_a_plan_that_was_changed_in_the_journal_is_not_carried_out(rig: Rig) -> None:
    made = plan()
    changed = replace(made, steps=scale(5))  # the steps of another plan under the digest that was approved
    assert digest_of(changed) != changed.digest
    record = await carried_out(rig, changed)
    assert rig.sent() == []
    assert "the plan is not the one whose digest was approved" in record.ended_reason


async def test_a_plan_whose_digest_was_changed_with_it_has_no_approvals(rig: Rig) -> None:
    # The facts forbid it; this is what a hand in the database would leave.
    made = plan()
    incident = await rig.approved(made)
    changed = replace(made, steps=scale(5), digest="")
    changed = replace(changed, digest=digest_of(changed))
    record = replace(incident.plans[0], plan=changed)
    assert unproven(record, GOOD).startswith("0 of 1 approvals are on record")
    assert unproven(incident.plans[0], GOOD) == ""


async def test_a_plan_is_aborted_while_its_call_is_under_way(rig: Rig) -> None:
    loop, given_up = asyncio.get_running_loop(), f.RollbackStarted(plan_id=PID, reason="aborted by Ann", undo=True)

    def abort(name: str) -> None:
        if name == "send" and rig.sent() == ["ecs.scale_service 4"]:
            asyncio.run_coroutine_threadsafe(rig.tell(given_up), loop).result(10)

    cloud: Any = Proxy(rig.cloud, after=abort)
    record = await carried_out(rig, cloud=cloud)
    assert record.state is PlanState.ROLLED_BACK
    assert rig.sent() == ["ecs.scale_service 4", "ecs.scale_service 2"]
    assert (await rig.kinds())[-5:] == [
        *("rollback_started", "step_succeeded", "undo_started", "undo_succeeded", "plan_rolled_back")
    ]


async def test_detectors_that_restart_are_waited_for(rig: Rig) -> None:
    rig.book.errors.append(Unavailable("the detectors restart"))
    record = await carried_out(rig)
    assert record.state is PlanState.SUCCEEDED


@pytest.mark.parametrize("state", ["proposed", "awaiting_approval", "rejected", "succeeded"], ids=lambda state: state)
async def test_what_is_not_the_executors_gets_no_task(rig: Rig, state: str) -> None:
    made, pid = plan(), PID
    facts = {
        "proposed": approved(made)[:1],
        "awaiting_approval": approved(made)[:3],
        "rejected": [*approved(made)[:2], f.PlanRejected(plan_id=pid, reason="no")],
        "succeeded": [
            *approved(made),
            f.ExecutionStarted(plan_id=pid, owner="x"),
            f.StepStarted(plan_id=pid, index=0, previous={}),
            f.StepSucceeded(plan_id=pid, index=0, detail=""),
            f.VerificationStarted(plan_id=pid),
            f.PlanSucceeded(plan_id=pid, reason="gone"),
        ],
    }[state]
    incident = await rig.tell(opened(), *facts)
    actor = rig.execution()
    await actor.settle(incident)
    assert actor._tasks == {}
    await actor.carry_out(ID, pid)
    assert rig.sent() == []
    assert (await rig.incident()).seq == incident.seq


async def test_settling_twice_runs_one_task(rig: Rig) -> None:
    incident = await rig.approved(plan())
    actor = rig.execution()
    await actor.settle(incident)
    (task,) = actor._tasks.values()
    await actor.settle(incident)
    assert list(actor._tasks.values()) == [task]
    await task
    assert rig.sent() == ["ecs.scale_service 4"]


async def test_a_stage_takes_up_what_it_finds_at_its_start(rig: Rig) -> None:
    await rig.approved(plan())
    running = asyncio.create_task(rig.execution().run())
    try:
        await eventually(rig.sent)

        async def over() -> bool:
            return not (await rig.plan()).state.live

        await eventually(over)
    finally:
        running.cancel()
    assert (await rig.incident()).state is IncidentState.RESOLVED
