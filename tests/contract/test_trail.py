"""The record of calls: each call with an effect is found again by its step's key, in the twin and in CloudTrail."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from actors.settling import Settling
from actors.steps import Ending, StepRunner
from sentinel.adapters.aws import AwsCloud, Role, StaticCredentials
from sentinel.adapters.in_memory_cloud import InMemoryCloud
from sentinel.clock import ManualClock
from sentinel.errors import Forbidden, Invalid, Unavailable
from sentinel.ids import PlanId, StepKey, step_key
from sentinel.incidents.nouns import Step
from sentinel.ports import Cloud
from sentinel.remediation.action import Window
from sentinel.remediation.actions import Settled, steps_of
from sentinel.remediation.trail import Reading, Trail
from sentinel.sandbox.aws_double import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY, AwsDouble
from tests.contract.aws_rig import FaultProxy

PAIR = StaticCredentials(access_key_id=ACCESS_KEY_ID, secret_access_key=SECRET_ACCESS_KEY)
T0 = 1_700_000_000_000
PLAN = PlanId("inc-20260101-00000000-1.p1")
LAG_S = 5


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A cloud that keeps a record, which is `LAG_S` late, and a step of each of two actions."""

    cloud: Cloud
    clock: ManualClock
    reboot: Step
    redeploy: Step

    def trail(self, step: Step, key: StepKey, window: Window | None = None) -> Trail:
        now_ms = self.clock.now_ms()
        return self.cloud.trail(step, key, window or Window(from_ms=now_ms - 60_000, until_ms=now_ms))

    def later(self, seconds: float) -> None:
        """Time passes, and somebody calls something at its end."""
        self.clock.advance(seconds)
        self.cloud.observe(self.reboot)


@pytest.fixture(scope="module")
def double() -> Iterator[tuple[AwsDouble, ManualClock, str, str]]:
    clock = ManualClock(T0)
    with AwsDouble(clock, delay_s=LAG_S) as made:
        estate = made.start()
        clock.advance(LAG_S)  # what was started runs
        yield made, clock, estate.cluster_arn, next(iter(estate.instances.values()))


@pytest.fixture(params=["memory", "aws"])
def kept(request: pytest.FixtureRequest) -> Kept:
    if request.param == "memory":
        clock, cluster, instance = ManualClock(T0), f"arn:aws:ecs:{REGION}:123456789012:cluster/shop", "i-0abc"
        twin = InMemoryCloud(clock=clock)
        twin.add_service(cluster, "payments", 2)
        twin.add_instance(instance)
        twin.trail_lag_ms = LAG_S * 1000
        cloud: Cloud = twin
    else:
        made, clock, cluster, instance = request.getfixturevalue("double")
        clock.advance(3600)
        cloud = AwsCloud(REGION, made.url, call_timeout_s=10, credentials=PAIR)
    [reboot] = steps_of("ec2.reboot_instance", {"instance_id": instance})
    [redeploy] = steps_of("ecs.force_new_deployment", {"cluster": cluster, "service": "payments"})
    return Kept(cloud=cloud, clock=clock, reboot=reboot, redeploy=redeploy)


@pytest.mark.parametrize("which", ["reboot", "redeploy"])
def test_a_call_is_found_by_its_step_once_the_record_has_it(kept: Kept, which: str) -> None:
    step, key = getattr(kept, which), step_key(PLAN, 1)
    kept.cloud.send(step, key)
    assert kept.trail(step, key).calls == ()
    kept.later(LAG_S)
    assert kept.trail(step, key).calls == ("",)


def test_a_call_of_another_step_is_not_taken_for_it(kept: Kept) -> None:
    first, tenth = step_key(PLAN, 1), step_key(PLAN, 10)
    kept.cloud.send(kept.reboot, tenth)
    kept.cloud.send(kept.reboot, StepKey(f"{first}.undo"))
    kept.later(LAG_S)
    assert kept.trail(kept.reboot, first).calls == ()
    assert kept.trail(kept.reboot, tenth).calls == ("",)


def test_a_call_outside_the_window_is_not_found(kept: Kept) -> None:
    key = step_key(PLAN, 2)
    kept.cloud.send(kept.reboot, key)
    at_ms = kept.clock.now_ms()
    kept.later(60)
    assert kept.trail(kept.reboot, key, Window(from_ms=at_ms, until_ms=at_ms + 1000)).calls == ("",)
    assert kept.trail(kept.reboot, key, Window(from_ms=at_ms + 5000, until_ms=at_ms + 9000)).calls == ()
    assert kept.trail(kept.reboot, key, Window(from_ms=at_ms - 9000, until_ms=at_ms - 5000)).calls == ()


def test_a_call_that_aws_refused_is_found_with_its_error(kept: Kept) -> None:
    key = step_key(PLAN, 3)
    kept.cloud.send(*_of(kept, "ec2.stop_instance"))
    kept.clock.advance(2)
    with pytest.raises(Invalid):
        kept.cloud.send(kept.reboot, key)
    kept.later(LAG_S)
    assert kept.trail(kept.reboot, key).calls == ("IncorrectInstanceState",)
    kept.cloud.send(*_of(kept, "ec2.start_instance"))
    kept.later(LAG_S)


def _of(kept: Kept, action: str) -> tuple[Step, StepKey]:
    [step] = steps_of(action, kept.reboot.params)
    return step, StepKey(f"{step_key(PLAN, 4)}.{action}")


def test_how_far_the_record_reaches_is_told(kept: Kept) -> None:
    kept.cloud.send(kept.reboot, step_key(PLAN, 5))
    window = Window(from_ms=kept.clock.now_ms() - 1000, until_ms=kept.clock.now_ms() + 1000)
    assert kept.trail(kept.reboot, step_key(PLAN, 6), window).reaches_ms <= window.until_ms
    kept.later(10)
    reached_ms = kept.clock.now_ms()
    kept.clock.advance(LAG_S)
    assert kept.trail(kept.reboot, step_key(PLAN, 6), window) == Trail(calls=(), reaches_ms=reached_ms // 1000 * 1000)


def test_every_page_of_the_record_is_read(double: tuple[AwsDouble, ManualClock, str, str]) -> None:
    made, clock, _cluster, instance = double
    clock.advance(3600)
    cloud = AwsCloud(REGION, made.url, call_timeout_s=10, credentials=PAIR)
    [reboot] = steps_of("ec2.reboot_instance", {"instance_id": instance})
    for n in range(60, 180):
        cloud.send(reboot, step_key(PLAN, n))
    clock.advance(LAG_S)
    window = Window(from_ms=clock.now_ms() - 60_000, until_ms=clock.now_ms())
    assert all(cloud.trail(reboot, step_key(PLAN, n), window).calls == ("",) for n in (60, 120, 179))


def test_a_call_by_an_assumed_role_bears_its_step_as_well(double: tuple[AwsDouble, ManualClock, str, str]) -> None:
    made, clock, _cluster, _instance = double
    clock.advance(3600)
    role = Role(arn="arn:aws:iam::210987654321:role/sentinel")
    cloud = AwsCloud(REGION, made.url, call_timeout_s=10, credentials=PAIR, roles={"210987654321": role})
    [there] = steps_of("ec2.reboot_instance", {"instance_id": "i-0abc", "account": "210987654321"})
    with pytest.raises(Forbidden):  # it is the other account's, and moto has none there
        cloud.send(there, step_key(PLAN, 7))
    clock.advance(LAG_S)
    window = Window(from_ms=clock.now_ms() - 60_000, until_ms=clock.now_ms())
    assert cloud.trail(there, step_key(PLAN, 7), window).calls == ("InvalidInstanceID.NotFound",)


async def test_a_reboot_whose_answer_was_lost_on_the_wire_is_found_and_sent_once(
    double: tuple[AwsDouble, ManualClock, str, str],
) -> None:
    made, clock, _cluster, instance = double
    clock.advance(3600)
    proxy = FaultProxy(made.url)
    try:
        cloud = AwsCloud(REGION, proxy.url, call_timeout_s=10, credentials=PAIR)
        [reboot] = steps_of("ec2.reboot_instance", {"instance_id": instance})
        runner, key = StepRunner(cloud, clock, effect_within_s=20, poll_s=1), step_key(PLAN, 11)
        before = (await runner.look(reboot)).values
        proxy.mode = "drop"
        outcome = await runner.send(reboot, key, before, clock.monotonic())
        assert outcome.ending is Ending.UNKNOWN
        proxy.mode = "pass"
        window = Window(from_ms=clock.now_ms() - 60_000, until_ms=clock.now_ms())
        settling = Settling(runner, clock, within_s=900)
        assert (await settling.found(reboot, key, before, before, window)).settled is None
        clock.advance(900 / 30)
        found = await settling.found(reboot, key, before, before, window)
        assert found == Reading(settled=Settled.DONE, reason="CloudTrail has the call")
        assert proxy.count("RebootInstances") == 1
    finally:
        proxy.stop()


def test_looks_bear_no_step(double: tuple[AwsDouble, ManualClock, str, str]) -> None:
    made, clock, _cluster, instance = double
    clock.advance(3600)
    cloud = AwsCloud(REGION, made.url, call_timeout_s=10, credentials=PAIR)
    [reboot] = steps_of("ec2.reboot_instance", {"instance_id": instance})
    cloud.send(reboot, step_key(PLAN, 8))
    cloud.observe(reboot)
    cloud.rehearse(reboot)
    agents = [event.user_agent for event in list(made._cloudtrail._events)[-3:]]
    assert [f"sentinel-step/{step_key(PLAN, 8)}" in agent for agent in agents] == [True, False, False]


def test_a_record_that_does_not_answer_may_be_asked_again(double: tuple[AwsDouble, ManualClock, str, str]) -> None:
    made, _clock, _cluster, instance = double
    proxy = FaultProxy(made.url)
    try:
        cloud = AwsCloud(REGION, proxy.url, call_timeout_s=10, credentials=PAIR)
        [reboot] = steps_of("ec2.reboot_instance", {"instance_id": instance})
        proxy.mode, proxy.answer = "answer", (400, "application/x-amz-json-1.1", b'{"__type": "ThrottlingException"}')
        with pytest.raises(Unavailable):
            cloud.trail(reboot, step_key(PLAN, 9), Window(from_ms=0, until_ms=1000))
    finally:
        proxy.stop()
