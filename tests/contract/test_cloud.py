"""The Cloud contract, on the twin in memory and on AWS as moto serves it over HTTP."""

import pytest

from sentinel.adapters.in_memory_cloud import InMemoryCloud
from sentinel.errors import Forbidden, Invalid, OutcomeUnknown, Unavailable
from sentinel.incidents.nouns import Scalar
from sentinel.remediation.actions import CATALOG, Settled
from tests.contract.aws_rig import KEY, REGION, Rig, aws_cloud, estate, just_now, memory_rig, rig

__all__ = ["aws_cloud", "estate", "rig"]


def test_a_service_is_observed(rig: Rig) -> None:
    values = rig.cloud.observe(rig.step("ecs.scale_service", desired_count=4)).values
    assert str(values["task_definition"]).startswith("payments:")
    assert {**values, "deployment_id": "", "deployment_at_ms": 0, "task_definition": ""} == {
        "status": "ACTIVE",
        "desired": 2,
        "running": 2,
        "pending": 0,
        "deployment_id": "",
        "deployment_at_ms": 0,
        "task_definition": "",
    }
    assert str(values["deployment_id"]).startswith("ecs-svc/")


def test_an_instance_is_observed(rig: Rig) -> None:
    values = rig.cloud.observe(rig.step("ec2.reboot_instance")).values
    assert set(values) == {"state", "launch_time_ms"}
    assert values["state"] == "running"
    assert isinstance(values["launch_time_ms"], int)
    assert values["launch_time_ms"] > 1_600_000_000_000


@pytest.mark.parametrize(
    ("action", "params", "settled"),
    [
        ("ecs.scale_service", {"desired_count": 4}, Settled.DONE),
        ("ecs.force_new_deployment", {}, Settled.DONE),
        ("ec2.reboot_instance", {}, Settled.UNKNOWN),  # a reboot leaves nothing that could be observed
        ("ec2.stop_instance", {}, Settled.DONE),
        ("ec2.start_instance", {}, Settled.DONE),
    ],
)
def test_the_effect_of_each_action_is_seen(rig: Rig, action: str, params: dict[str, Scalar], settled: Settled) -> None:
    step, declared = rig.step(action, **params), CATALOG[action]
    before = rig.cloud.observe(step).values
    assert declared.may_start(before) == ""
    said = rig.cloud.send(step, KEY)
    after = rig.cloud.observe(step).values
    assert said
    assert "\n" not in said
    assert declared.effect_seen(step, before, after)
    assert declared.settle(step, before, after, just_now()) == settled


def test_looking_changes_nothing(rig: Rig) -> None:
    step = rig.step("ecs.scale_service", desired_count=4)
    assert rig.cloud.observe(step) == rig.cloud.observe(step)


def test_a_restart_is_a_stop_and_a_start(rig: Rig) -> None:
    stop, start = rig.step("ec2.stop_instance"), rig.step("ec2.start_instance")
    rig.cloud.send(stop, KEY)
    assert rig.cloud.observe(stop).values["state"] == "stopped"
    rig.cloud.send(start, KEY)
    assert rig.cloud.observe(start).values["state"] == "running"


def test_an_absolute_action_may_be_sent_again(rig: Rig) -> None:
    step = rig.step("ecs.scale_service", desired_count=3)
    rig.cloud.send(step, KEY)
    rig.cloud.send(step, KEY)
    assert rig.cloud.observe(step).values["desired"] == 3


@pytest.mark.parametrize(
    ("action", "params"),
    [
        ("ecs.scale_service", {"service": "nobody", "desired_count": 1}),
        ("ecs.force_new_deployment", {"cluster": f"arn:aws:ecs:{REGION}:123456789012:cluster/nowhere"}),
        ("ec2.reboot_instance", {"instance_id": "i-0123456789abcdef0"}),
        ("ec2.stop_instance", {"instance_id": "i-0123456789abcdef0"}),
    ],
)
def test_what_does_not_exist_is_forbidden(rig: Rig, action: str, params: dict[str, Scalar]) -> None:
    step = rig.step(action, **params)
    with pytest.raises(Forbidden):
        rig.cloud.observe(step)
    with pytest.raises(Forbidden):
        rig.cloud.send(step, KEY)


def test_a_cluster_of_another_region_is_forbidden(rig: Rig) -> None:
    step = rig.step("ecs.scale_service", cluster=rig.cluster.replace(REGION, "eu-west-1"), desired_count=1)
    for call in (lambda: rig.cloud.observe(step), lambda: rig.cloud.send(step, KEY)):
        with pytest.raises(Forbidden, match="not in us-east-1"):
            call()


@pytest.mark.parametrize(
    ("action", "params"),
    [
        ("ec2.restart_instance", {}),
        ("ec2.terminate_instance", {}),
        ("ec2.stop_instance", {"instance_id": "everything"}),
        ("ecs.scale_service", {"desired_count": 0}),
        ("ecs.scale_service", {}),
    ],
)
def test_what_is_no_single_call_of_the_catalog_is_invalid(rig: Rig, action: str, params: dict[str, Scalar]) -> None:
    with pytest.raises(Invalid):
        rig.cloud.send(rig.step(action, **params), KEY)


# --- what only the twin in memory can be told -------------------------------------------------------------------


def test_in_memory_a_change_takes_as_many_looks_as_told() -> None:
    rig = memory_rig()
    assert isinstance(rig.cloud, InMemoryCloud)
    rig.cloud.looks_to_converge = 2
    step = rig.step("ecs.scale_service", desired_count=4)
    rig.cloud.send(step, KEY)
    seen = [rig.cloud.observe(step).values for _ in range(3)]
    assert [(each["desired"], each["running"], each["pending"]) for each in seen] == [(4, 2, 2), (4, 4, 0), (4, 4, 0)]
    stop = rig.step("ec2.stop_instance")
    rig.cloud.send(stop, KEY)
    with pytest.raises(Invalid, match="IncorrectInstanceState"):
        rig.cloud.send(rig.step("ec2.start_instance"), KEY)
    assert [rig.cloud.observe(stop).values["state"] for _ in range(2)] == ["stopping", "stopped"]


def test_in_memory_faults_strike_before_or_after_the_effect() -> None:
    rig = memory_rig()
    assert isinstance(rig.cloud, InMemoryCloud)
    step = rig.step("ecs.scale_service", desired_count=4)
    rig.cloud.fail(Unavailable("throttled"), at="before_effect")
    rig.cloud.fail(OutcomeUnknown("lost"), at="after_effect")
    with pytest.raises(Unavailable):
        rig.cloud.send(step, KEY)
    assert rig.cloud.sent == []
    with pytest.raises(OutcomeUnknown):
        rig.cloud.send(step, KEY)
    assert rig.cloud.sent == [(step, KEY)]
    rig.cloud.fail(Unavailable("gone"), at="observe")
    with pytest.raises(Unavailable):
        rig.cloud.observe(step)
    assert rig.cloud.observe(step).values["desired"] == 4
