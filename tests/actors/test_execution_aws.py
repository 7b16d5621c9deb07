"""The executor when AWS refuses, does not answer, or can no longer be looked at."""

from typing import Any

import pytest

from sentinel.detection.anomaly import Condition
from sentinel.errors import Forbidden, Invalid, OutcomeUnknown, Unavailable
from sentinel.incidents.nouns import IncidentState, PlanState, StepState
from tests.actors.rig import Proxy, Rig
from tests.actors.test_execution import carried_out
from tests.unit.incidents.make import ID, plan, reboot


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.mark.parametrize(
    "error", [Forbidden("AccessDenied"), Invalid("desiredCount", 4, "fewer"), Unavailable("throttled")], ids=type
)
async def test_a_call_that_aws_refuses_fails_the_step(rig: Rig, error: Exception) -> None:
    for _ in range(4):
        rig.cloud.fail(error, at="before_effect")
    record = await carried_out(rig)
    assert record.state is PlanState.ROLLED_BACK
    assert record.steps[0].state is StepState.UNDONE
    assert rig.sent() == []


async def test_a_call_that_was_surely_not_taken_is_sent_again(rig: Rig) -> None:
    rig.cloud.fail(Unavailable("throttled"), at="before_effect")
    record = await carried_out(rig, plan(*reboot()))
    assert record.state is PlanState.SUCCEEDED
    assert rig.sent() == ["ec2.reboot_instance"]


async def test_a_reboot_without_an_answer_is_never_sent_again(rig: Rig) -> None:
    rig.cloud.fail(OutcomeUnknown("no answer"), at="after_effect")
    record = await carried_out(rig, plan(*reboot()))
    assert rig.sent() == ["ec2.reboot_instance"]
    assert record.steps[0].state is StepState.UNKNOWN
    assert record.state is PlanState.ROLLBACK_FAILED
    assert "may or may not have been done" in record.ended_reason
    assert (await rig.incident()).state is IncidentState.ESCALATED


async def test_a_reboot_that_was_perhaps_not_sent_is_not_sent_again_either(rig: Rig) -> None:
    rig.cloud.fail(OutcomeUnknown("connection reset"), at="before_effect")
    record = await carried_out(rig, plan(*reboot()))
    assert rig.sent() == []
    assert record.steps[0].state is StepState.UNKNOWN


@pytest.mark.parametrize(("at", "times"), [("after_effect", 1), ("before_effect", 1)])
async def test_a_scaling_without_an_answer_is_looked_at_and_sent_again_if_need_be(
    rig: Rig, at: str, times: int
) -> None:
    rig.cloud.fail(OutcomeUnknown("no answer"), at=at)
    record = await carried_out(rig)
    assert record.state is PlanState.SUCCEEDED
    assert rig.sent() == ["ecs.scale_service 4"] * times


async def test_a_resource_is_looked_at_only_when_the_lost_call_can_no_longer_come(rig: Rig) -> None:
    rig.cloud.fail(OutcomeUnknown("no answer"), at="before_effect")
    await carried_out(rig)
    entries = await rig.journal.entries(ID)
    at = {entry.fact.kind: entry.at_ms for entry in entries}
    assert at["step_resent"] - at["step_started"] > 30_000


async def test_a_step_that_can_no_longer_be_looked_at_is_for_people(rig: Rig) -> None:
    rig.cloud.fail(OutcomeUnknown("no answer"), at="after_effect")

    def forbid(name: str) -> None:
        if name == "send":
            rig.cloud.fail(Forbidden("no such service"), at="observe")

    cloud: Any = Proxy(rig.cloud, before=forbid)
    record = await carried_out(rig, cloud=cloud)
    assert record.steps[0].state is StepState.UNKNOWN
    assert record.state is PlanState.ROLLBACK_FAILED
    assert "no such service" in record.steps[0].detail


async def test_an_undoing_that_can_no_longer_be_looked_at_is_for_people(rig: Rig) -> None:
    rig.book.otherwise = Condition.ANOMALOUS
    rig.book.when_asked = rig.cloud.services.clear
    record = await carried_out(rig)
    assert record.state is PlanState.ROLLBACK_FAILED
    assert "no such resource" in record.steps[0].detail
