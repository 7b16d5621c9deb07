"""The sandbox world on moto, with a small receiver in Sentinel's place; all of it over loopback."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import httpx
import pytest

from sentinel.adapters.aws import AwsCloud, StaticCredentials
from sentinel.clock import ManualClock, SystemClock
from sentinel.errors import Invalid, Unavailable
from sentinel.ids import PlanId, step_key
from sentinel.incidents.nouns import Scalar, Step
from sentinel.remediation.actions import steps_of
from sentinel.sandbox.aws_double import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY, AwsDouble, Estate
from sentinel.sandbox.control import Control
from sentinel.sandbox.estate import SERVICES
from sentinel.sandbox.http_server import LoopbackServer
from sentinel.sandbox.resources import AwsResources
from sentinel.sandbox.sender import Sender
from sentinel.sandbox.shop import AT_REST, METRICS, Resources, Shop
from sentinel.sandbox.world import World
from tests.contract.receiver import Receiver, receiver

__all__ = ["receiver"]

SERIES = len(SERVICES) * len(METRICS)
KEY = step_key(PlanId("inc-20260101-00000000-1.p1"), 0)


class Calm:
    """Resources that never change, or do not answer."""

    answers = True

    def read(self) -> Mapping[str, Resources]:
        if not self.answers:
            raise Unavailable("no answer")
        return AT_REST


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsDouble]:
    ledger = tmp_path_factory.mktemp("aws") / "ledger.jsonl"
    with AwsDouble(SystemClock(), delay_s=0.8, ledger=ledger) as made:
        made.start()
        yield made


@pytest.fixture
def estate(double: AwsDouble) -> Estate:
    return double.reset()


@pytest.fixture(scope="module")
def cloud(double: AwsDouble) -> AwsCloud:
    pair = StaticCredentials(access_key_id=ACCESS_KEY_ID, secret_access_key=SECRET_ACCESS_KEY)
    return AwsCloud(REGION, double.url, call_timeout_s=10, credentials=pair)


def until(true: Callable[[], bool], within_s: float = 10) -> None:
    clock, pause = SystemClock(), threading.Event()
    give_up = clock.monotonic() + within_s
    while not true():
        assert clock.monotonic() < give_up, "it did not come about"
        pause.wait(0.05)


def in_state(cloud: AwsCloud, step: Step, wanted: str) -> bool:
    return cloud.observe(step).values["state"] == wanted


# --- the world --------------------------------------------------------------------------------------------------


def test_history_is_sent_before_the_present(receiver: Receiver) -> None:
    clock = ManualClock()
    sender = Sender(receiver.url, clock)
    world = World(reader=Calm(), sender=sender, shop=Shop(), clock=clock, tick_s=1)
    assert world.backfill(minutes=2, step_s=1) == 120 * SERIES
    world.tick()
    sender.flush()
    times = [each["timestamp"] for each in receiver.samples]
    assert times == sorted(times)
    assert sorted(set(times)) == list(range(clock.now_ms() - 120_000, clock.now_ms() + 1, 1000))
    assert set(Counter((s["labels"]["service"], s["metric"]) for s in receiver.samples).values()) == {121}
    sender.close()


def test_telemetry_goes_on_when_aws_does_not_answer(receiver: Receiver) -> None:
    reader, clock = Calm(), ManualClock()
    sender = Sender(receiver.url, clock)
    world = World(reader=reader, sender=sender, shop=Shop(), clock=clock)
    reader.answers = False
    assert len(world.tick()) == SERIES
    assert world.state()["aws_unanswered"] == 1
    sender.close()


def test_a_tick_needs_a_length() -> None:
    sender = Sender("http://127.0.0.1:9", ManualClock())
    with pytest.raises(Invalid):
        World(reader=Calm(), sender=sender, shop=Shop(), clock=ManualClock(), tick_s=0)
    sender.close()


class Stage:
    """A world on the double, ticked by hand."""

    def __init__(self, double: AwsDouble, estate: Estate) -> None:
        clock = SystemClock()
        self.sender = Sender("http://127.0.0.1:9", clock)
        self.reader = AwsResources(double.url, estate)
        self.world = World(
            reader=self.reader, sender=self.sender, shop=Shop(7, estate.labels()), clock=clock, tick_s=0.1
        )

    def value(self, service: str, metric: str) -> float:
        found = [s for s in self.world.tick() if (s["labels"]["service"], s["metric"]) == (service, metric)]
        return found[0]["value"] if found else -1.0

    def faults(self) -> object:
        return self.world.state()["faults"]

    def close(self) -> None:
        self.reader.close()
        self.sender.close()


@pytest.fixture
def stage(double: AwsDouble, estate: Estate) -> Iterator[Stage]:
    made = Stage(double, estate)
    yield made
    made.close()


def test_a_surge_is_relieved_by_scaling_out_through_aws(
    stage: Stage, estate: Estate, cloud: AwsCloud, double: AwsDouble
) -> None:
    stage.world.tick()
    stage.world.start_fault("traffic_surge")
    assert stage.value("payments", "latency_p95_seconds") > 0.3
    params: dict[str, Scalar] = {"cluster": estate.cluster_arn, "service": "payments", "desired_count": 4}
    (step,) = steps_of("ecs.scale_service", params)
    cloud.send(step, KEY)
    assert cloud.observe(step).values["running"] == 2, "moto's instant scaling shows through"
    until(lambda: cloud.observe(step).values["running"] == 4)
    assert stage.value("payments", "latency_p95_seconds") < 0.2
    assert [call["operation"] for call in double.calls] == ["UpdateService"]


@pytest.mark.parametrize("action", ["ec2.reboot_instance", "ec2.restart_instance"])
def test_a_leak_is_cleared_by_a_reboot_and_by_a_restart(
    stage: Stage, estate: Estate, cloud: AwsCloud, action: str
) -> None:
    stage.world.tick()
    stage.world.start_fault("memory_leak")
    until(lambda: stage.value("storage", "memory_utilization") > 56.5)
    states = set()
    for step in steps_of(action, {"instance_id": estate.instances["storage"]}):
        before = cloud.observe(step).values
        cloud.send(step, KEY)
        wanted = "stopped" if step.action == "ec2.stop_instance" else "running"
        states.add(cloud.observe(step).values["state"])
        until(partial(in_state, cloud, step, wanted))
        if wanted == "stopped":
            assert stage.value("storage", "memory_utilization") == -1.0, "a stopped machine still speaks"
            assert stage.value("cart", "error_ratio") > 0.9
        if step.action == "ec2.start_instance":
            assert cloud.observe(step).values["launch_time_ms"] != before["launch_time_ms"]
    until(lambda: 0 < stage.value("storage", "memory_utilization") < 56)
    assert stage.faults() == []
    assert states == ({"stopping", "pending"} if action == "ec2.restart_instance" else {"running"})


def test_a_bad_deploy_is_cleared_by_fresh_tasks(stage: Stage, estate: Estate, cloud: AwsCloud) -> None:
    stage.world.tick()
    stage.world.start_fault("bad_deploy")
    (step,) = steps_of("ecs.force_new_deployment", {"cluster": estate.cluster_arn, "service": "catalog"})
    cloud.send(step, KEY)
    assert stage.value("catalog", "error_ratio") > 0.2, "the old tasks are gone before the rollout is complete"
    until(lambda: stage.value("catalog", "error_ratio") < 0.05)
    assert stage.faults() == []


def test_the_double_refuses_what_aws_refuses(estate: Estate, cloud: AwsCloud) -> None:
    params = {"instance_id": estate.instances["search"]}
    (reboot,), (stop, start) = steps_of("ec2.reboot_instance", params), steps_of("ec2.restart_instance", params)
    cloud.send(stop, KEY)
    for step in (start, reboot):
        with pytest.raises(Invalid, match="IncorrectInstanceState"):
            cloud.send(step, KEY)


def test_ids_are_the_same_after_a_reset(estate: Estate, double: AwsDouble) -> None:
    assert double.reset() == estate


def test_effects_are_in_the_ledger(estate: Estate, cloud: AwsCloud, tmp_path: Path, double: AwsDouble) -> None:
    (step,) = steps_of("ec2.reboot_instance", {"instance_id": estate.instances["storage"]})
    cloud.send(step, KEY)
    ledger = double.ledger
    assert ledger is not None
    last = json.loads(ledger.read_text().splitlines()[-1])
    assert (last["operation"], last["targets"]) == ("RebootInstances", [estate.instances["storage"]])
    assert last == double.calls[-1]


# --- the control door -------------------------------------------------------------------------------------------


def test_faults_come_and_go_by_the_control_door() -> None:
    sender = Sender("http://127.0.0.1:9", ManualClock())
    world = World(reader=Calm(), sender=sender, shop=Shop(), clock=ManualClock())
    server = LoopbackServer(Control(world, lambda: {"aws_calls": []}).answer)
    server.start()
    with httpx.Client(base_url=server.url, trust_env=False) as http:
        begun = http.post("/fault", json={"kind": "latent", "service": "search"})
        assert (begun.status_code, begun.json()["service"]) == (201, "search")
        assert http.post("/fault", json={"kind": "latent", "service": "search"}).json() == begun.json()
        world.tick()
        state = http.get("/").json()
        assert [fault["kind"] for fault in state["faults"]] == ["latent"]
        assert state["services"]["search"]["metrics"]["latency_p95_seconds"] > 0.2
        for bad in ({"kind": "flood"}, {"kind": 5}, {"service": "web"}, {"sort": "latent"}, ["latent"]):
            refused = http.post("/fault", json=bad)
            assert refused.status_code == 400
            assert "expected" in refused.json()["error"]
        assert http.post("/fault", content=b"{").status_code == 400
        assert http.get("/fault").status_code == 405
        assert http.get("/nothing").status_code == 404
        assert len(http.delete("/fault").json()["ended"]) == 1
        assert http.get("/").json()["faults"] == []
    server.stop()
    sender.close()


# --- the whole, as a process ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_tells_where_it_is_and_ends_with_its_child(receiver: Receiver, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "sentinel.sandbox", "--sentinel-url", receiver.url, "--tick", "0.2"]
    command += ["--backfill-samples", "70"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"PATH": os.environ["PATH"]}) as process:
        assert process.stdout is not None
        started = json.loads(process.stdout.readline())
        try:
            until(lambda: len(receiver.samples) > 73 * SERIES, within_s=30)
            state = httpx.get(started["control_url"], trust_env=False).json()
            assert state["services"]["payments"]["running"] == 2
            assert set(started["instances"]) == {"search", "storage"}
            assert started["cluster_arn"].endswith(":cluster/shop")
        finally:
            process.send_signal(number)
        assert process.wait(timeout=15) == 0
    assert not Path(f"/proc/{started['moto_pid']}").exists()
    times = [s["timestamp"] for s in receiver.samples if (s["metric"], s["labels"]["service"]) == (METRICS[0], "web")]
    assert times == sorted(set(times))
