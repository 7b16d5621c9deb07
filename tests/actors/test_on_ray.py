"""The stages on a real Ray: what a handle makes of an actor's failures, and that each actor comes back and goes on."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from ray.exceptions import RayTaskError

from actors import handles, wiring
from sentinel.clock import SystemClock
from sentinel.detection.anomaly import Condition
from sentinel.errors import Conflict, IllegalTransition, Invalid, NotFound, Overloaded, SentinelError, Unavailable
from sentinel.ids import IncidentId
from sentinel.incidents import facts as f
from sentinel.incidents.nouns import SENTINEL, PlanState
from sentinel.remediation.approval import Provenance
from sentinel.settings import Settings
from sentinel.settings_loader import load
from sentinel.telemetry.batch import SampleBatch
from sentinel.telemetry.series import identify
from tests.actors.rig import anomaly
from tests.actors.test_asking import OPS
from tests.unit.incidents.make import CLUSTER, T0, opened

SYSTEM, ALONE = "test-system", "test-alone"
NAMES = (handles.JOURNAL, handles.CORRELATION, handles.APPROVAL, handles.EXECUTION, handles.detection_name(0))


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A Ray cluster of this module's own, on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.delenv("RAY_ADDRESS", raising=False)
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=80 * 1024 * 1024,
            _node_ip_address="127.0.0.1",
            log_to_driver=False,
        )
        try:
            yield
        finally:
            ray.shutdown()


@pytest.fixture(scope="module")
def settings(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Every actor of a system, and the settings they were made with."""
    made = settings_in(tmp_path_factory.mktemp("system"))
    wiring.start_actors(made)
    try:
        yield made
    finally:
        wiring.stop_actors(made)


def settings_in(directory: Path) -> Settings:
    config = directory / "sentinel.yaml"
    config.write_text(
        f"""
store: {{url: "sqlite:///{directory}/journal.db"}}
qdrant: {{path: "{directory}/qdrant"}}
detection: {{checkpoint_path: "{directory}/checkpoints", grace_samples: 20, open_after: 2}}
correlation: {{group_wait_s: 0}}
executor: {{dry_run: false, poll_s: 0.2, aws_ecs_cluster_whitelist: ["{CLUSTER}"]}}
ray: {{namespace: {SYSTEM}}}
runbooks:
  - name: scale-out
    steps:
      - action: ecs.scale_service
        params: {{cluster: "{CLUSTER}", service: "{{service}}", desired_count: 4}}
""",
        encoding="utf-8",
    )
    return load({"SENTINEL_CONFIG": str(config)})


class Odd:
    """An actor that fails in every way there is."""

    async def raise_(self, error: Exception) -> None:
        raise error

    async def wait(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "done"

    async def ping(self) -> str:
        return "odd"


@pytest.fixture(scope="module")
def odd(cluster: None) -> Iterator[handles.Handle]:
    """A handle on an Odd that takes two calls at a time."""
    remote: Any = ray.remote(Odd)
    actor = remote.options(name="odd", namespace=ALONE, num_cpus=0.01, max_pending_calls=2).remote()
    yield handles.Handle("odd", ALONE)
    ray.kill(actor)


ERRORS: list[SentinelError] = [
    Conflict("incident x is at entry 2, not 1"),
    IllegalTransition("incident x is resolved: plan_proposed cannot follow"),
    NotFound("there is no plan x"),
    Unavailable("locked"),
    Invalid("field", {"a": 1}, "something else"),
    Overloaded("a full queue", 7),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_an_error_of_ours_arrives_as_it_was_raised(odd: handles.Handle, error: SentinelError) -> None:
    with pytest.raises(type(error)) as caught:
        await odd.call("raise_", error)
    assert type(caught.value) is type(error)
    assert str(caught.value) == str(error)
    assert vars(caught.value) == vars(error)


async def test_an_error_nobody_foresaw_is_not_taken_for_one_of_ours(odd: handles.Handle) -> None:
    for error in (ValueError("a plain bug"), TimeoutError("deep inside")):
        with pytest.raises(RayTaskError, match=str(error)):
            await odd.call("raise_", error)


async def test_a_full_queue_is_overload(odd: handles.Handle) -> None:
    calls = [asyncio.ensure_future(odd.call("wait", 3.0)) for _ in range(2)]
    await asyncio.sleep(0.5)
    with pytest.raises(Overloaded, match="too many calls waiting"):
        await odd.call("wait", 0.0)
    assert await asyncio.gather(*calls) == ["done", "done"]


async def test_a_late_answer_is_no_answer(odd: handles.Handle) -> None:
    with pytest.raises(Unavailable, match=r"wait did not answer within 0 s"):
        await odd.call("wait", 2.0, deadline_s=0.2)


async def test_an_actor_that_is_not_there_is_unavailable(cluster: None) -> None:
    with pytest.raises(Unavailable, match="nobody is not running"):
        await handles.Handle("nobody", ALONE).ping()


async def test_an_actor_that_died_is_unavailable_and_found_again_under_its_name(cluster: None) -> None:
    remote: Any = ray.remote(Odd)
    options = {"name": "mortal", "namespace": ALONE, "num_cpus": 0.01}
    first = remote.options(**options).remote()
    handle = handles.Handle("mortal", ALONE)
    assert await handle.ping() == "odd"
    ray.kill(first)
    with pytest.raises(Unavailable):
        await until(handle.ping, fails=True)
    second = remote.options(**options).remote()
    assert await until(handle.ping) == "odd"
    ray.kill(second)


async def until(ask: Callable[[], Awaitable[Any]], within_s: float = 40.0, *, fails: bool = False) -> Any:
    """The first true answer of `ask`; while the actor behind it is away, it is asked again."""
    clock = SystemClock()
    deadline = clock.monotonic() + within_s
    while True:
        try:
            if (found := await ask()) and not fails:
                return found
        except Unavailable:
            if fails:
                raise
        assert clock.monotonic() < deadline, "it never came"
        await clock.sleep(0.1)


async def kill(name: str) -> None:
    """End the actor's process as a crash would, and wait until it is gone: Ray starts it anew.

    Until then the old one may still answer, and what it takes in is lost with it.
    """
    actor = ray.get_actor(name, SYSTEM)
    pid = await actor.__ray_call__.remote(lambda _actor: os.getpid())
    ray.kill(actor, no_restart=False)

    async def gone() -> bool:
        return not await asyncio.to_thread(Path(f"/proc/{pid}").exists)

    await until(gone)


def incident_of(n: int) -> IncidentId:
    return IncidentId(f"inc-20231114-0000000{n}-1")


async def test_every_actor_has_its_name_and_answers(settings: Settings) -> None:
    journal = handles.JournalHandle(SYSTEM)
    assert await until(journal.ping) == "journal"
    assert await until(handles.CorrelationHandle(SYSTEM).ping) == "correlation"
    assert await until(handles.ApprovalHandle(SYSTEM).ping) == "approval"
    assert await until(handles.ExecutionHandle(SYSTEM).ping) == "execution"
    assert await until(wiring.detectors(settings).ping) == "1 detection actor"
    wiring.start_actors(settings)
    known = ray.util.list_named_actors(all_namespaces=True)
    assert sorted(NAMES) == sorted(each["name"] for each in known if each["namespace"] == SYSTEM)


async def test_the_journal_comes_back_with_all_it_recorded(settings: Settings) -> None:
    journal, incident = handles.JournalHandle(SYSTEM), incident_of(1)
    over = f.IncidentResolved(reason="so that no stage takes it up")
    recorded = await journal.append(incident, 0, [opened(), over], SENTINEL, T0)
    await kill(handles.JOURNAL)
    assert await until(lambda: journal.incident(incident)) == recorded
    with pytest.raises(Conflict, match="is at entry 2, not 1"):
        await journal.append(incident, 1, [over], SENTINEL, T0)
    with pytest.raises(IllegalTransition, match="is resolved"):
        await journal.append(incident, 2, [over], SENTINEL, T0)
    assert await journal.audit() == []


async def test_detection_comes_back_with_what_is_normal(settings: Settings) -> None:
    detectors, series = wiring.detectors(settings), identify("latency_seconds", {"service": "checkout"})
    now_ms = SystemClock().now_ms()
    batch = SampleBatch(
        series_ids=np.full(40, series.id, np.uint64),
        timestamps_ms=now_ms + 1000 * np.arange(-40, 0, dtype=np.int64),
        values=np.array([1.0, 1.1, 0.9, 1.0] * 10),
        new_series={series.id: series},
    )
    (scored,) = await detectors.score(0, batch.pack())
    assert scored.scored == 40
    await detectors.checkpoint()
    await kill(handles.detection_name(0))

    async def normal() -> bool:
        (health,) = await detectors.health({"checkout": [series.fingerprint]})
        return health.condition is Condition.NORMAL

    assert await until(normal)


async def test_new_settings_and_numbers_of_actors_reach_those_that_live(settings: Settings) -> None:
    series = [identify("latency_seconds", {"service": f"service-{n}"}) for n in range(8)]
    now_ms = SystemClock().now_ms()
    one = wiring.detectors(settings)
    for each in series:
        times = now_ms + 1000 * np.arange(-60, -20, dtype=np.int64)
        ids, values = np.full(40, each.id, np.uint64), np.array([1.0, 1.1, 0.9, 1.0] * 10)
        packed = SampleBatch(ids, times, values, {each.id: each}).pack()
        assert await until(lambda packed=packed: one.score(0, packed))

    def tuned(**changes: Any) -> Settings:
        return settings.model_copy(update={"detection": settings.detection.model_copy(update=changes)})

    async def all_known(detectors: handles.DetectorsHandle) -> bool:
        health = await detectors.health({each.service: [each.fingerprint] for each in series})
        return all(each.condition is Condition.NORMAL for each in health)

    three = tuned(actors=3)
    await wiring.bring_up(three)
    assert sorted(handles.detection_actors(SYSTEM)) == [0, 1, 2]
    assert await until(lambda: all_known(wiring.detectors(three)))
    # A longer grace than anything has seen: nobody has a baseline, until the settings are back and all have theirs.
    await wiring.bring_up(tuned(actors=3, grace_samples=1000))
    assert not await all_known(wiring.detectors(three))
    await kill(handles.detection_name(1))
    assert await until(wiring.detectors(three).ping)
    assert not await all_known(wiring.detectors(three))
    # Nor does an old order come back to life, when actors are made as they once were.
    await wiring.bring_up(tuned(grace_samples=1000))
    ray.kill(ray.get_actor(handles.detection_name(0), SYSTEM), no_restart=True)

    async def gone() -> bool:
        return not handles.detection_actors(SYSTEM)

    assert await until(gone)
    await wiring.bring_up(settings)
    assert sorted(handles.detection_actors(SYSTEM)) == [0]
    assert await until(lambda: all_known(one))


async def test_correlation_approval_and_execution_come_back_and_go_on(settings: Settings) -> None:
    journal, approval = handles.JournalHandle(SYSTEM), handles.ApprovalHandle(SYSTEM)
    correlation = handles.CorrelationHandle(SYSTEM)
    await kill(handles.CORRELATION)
    await until(correlation.ping)
    await correlation.submit([anomaly("payments")])

    async def plan_in(*states: PlanState) -> Any:
        found = await journal.incidents(None, "payments")
        plans = [record for incident in found for record in incident.plans]
        return plans[0] if plans and plans[0].state in states else None

    await kill(handles.APPROVAL)
    record = await until(lambda: plan_in(PlanState.AWAITING_APPROVAL))
    await kill(handles.APPROVAL)

    async def say() -> str:
        came = Provenance(method="API key", evidence="test")
        return await approval.decide(record.plan.plan_id, record.plan.digest, "approve", OPS, "", came)

    await kill(handles.EXECUTION)
    said = await until(say)
    assert said == "approved by ops"
    # No AWS is connected here: the step is refused before anything is sent, and the plan comes to its end.
    ended = await until(lambda: plan_in(PlanState.ROLLED_BACK, PlanState.ROLLBACK_FAILED))
    assert "step 1 was not started" in ended.ended_reason
