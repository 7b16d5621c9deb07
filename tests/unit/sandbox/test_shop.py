"""The shop: calm when nothing is wrong, hurt where the fault is, and healed by what should heal it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from sentinel.errors import Invalid
from sentinel.sandbox.estate import SERVICES, TOPOLOGY
from sentinel.sandbox.faults import USUAL_SERVICE, Fault, FaultKind, begin
from sentinel.sandbox.shop import AT_REST, METRICS, Resources, Sample, Shop
from sentinel.telemetry.kinds import kind_of

START_MS = 1_700_000_000_000
Key = tuple[str, str]


def telemetry(
    ticks: int,
    resources: Mapping[str, Resources] = AT_REST,
    faults: Sequence[Fault] = (),
    *,
    seed: int = 7,
    step_ms: int = 1000,
) -> dict[Key, np.ndarray]:
    shop = Shop(seed)
    values: dict[Key, list[float]] = {}
    for n in range(ticks):
        for sample in shop.tick(START_MS + n * step_ms, resources, faults):
            values.setdefault((sample["labels"]["service"], sample["metric"]), []).append(sample["value"])
    return {key: np.array(series) for key, series in values.items()}


CALM = telemetry(240)


def spreads(now: Mapping[Key, np.ndarray]) -> dict[Key, float]:
    """How far each series' mean is from where it is in calm, in spreads of the calm series."""
    return {key: float((series.mean() - CALM[key].mean()) / CALM[key].std()) for key, series in now.items()}


def hurt(far: Mapping[Key, float], at_least: float = 8.0) -> set[Key]:
    return {key for key, distance in far.items() if abs(distance) >= at_least}


def fault(kind: FaultKind, *, seconds_ago: float = 0) -> Fault:
    return begin(kind, None, START_MS - round(seconds_ago * 1000), {})


def with_tasks(name: str, running: int) -> dict[str, Resources]:
    return {**AT_REST, name: replace(AT_REST[name], running=running, desired=running)}


def test_there_is_a_graph_of_calls_without_a_circle() -> None:
    order = list(SERVICES)
    assert set(TOPOLOGY["checkout"]) == {"payments", "shipping", "cart"}
    for caller, callees in TOPOLOGY.items():
        assert all(order.index(callee) > order.index(caller) for callee in callees)


def test_each_service_emits_every_metric_once_a_tick() -> None:
    samples = Shop(1, {"payments": {"cluster": "c"}}).tick(START_MS, AT_REST)
    assert {(s["labels"]["service"], s["metric"]) for s in samples} == {(n, m) for n in SERVICES for m in METRICS}
    assert len(samples) == len(SERVICES) * len(METRICS)
    of_payments: list[Sample] = [sample for sample in samples if sample["labels"]["service"] == "payments"]
    assert of_payments[0]["labels"] == {"service": "payments", "env": "sandbox", "cluster": "c"}
    assert {sample["timestamp"] for sample in samples} == {START_MS}
    assert [kind_of(metric) for metric in METRICS] == ["traffic", "latency", "errors", "cpu", "memory"]


def test_the_same_seed_tells_the_same_story_and_another_seed_another() -> None:
    again, other = telemetry(20), telemetry(20, seed=8)
    assert all(np.array_equal(series, CALM[key][:20]) for key, series in again.items())
    assert not any(np.array_equal(series, other[key]) for key, series in again.items())


def test_a_calm_shop_stays_within_sane_noise() -> None:
    for (_, metric), series in CALM.items():
        assert np.isfinite(series).all()
        assert (series >= 0).all()
        assert np.abs(series - series.mean()).max() < 5 * series.std()
        if metric != "error_ratio":
            assert series.std() < 0.06 * series.mean()
    assert CALM["payments", "error_ratio"].max() < 0.01
    assert 40 < CALM["payments", "cpu_utilization"].mean() < 65


def test_load_is_shared_and_follows_the_day() -> None:
    minutes = telemetry(1440, step_ms=60_000)
    web, payments = minutes["web", "request_rate"], minutes["payments", "request_rate"]
    assert np.corrcoef(web, payments)[0, 1] > 0.9
    hourly = web.reshape(24, 60).mean(axis=1)
    assert 1.2 < hourly.max() / hourly.min() < 1.5


def test_a_surge_saturates_payments_and_slows_its_callers_only() -> None:
    surging = telemetry(20, faults=[fault(FaultKind.TRAFFIC_SURGE)])
    assert surging["payments", "cpu_utilization"].mean() > 90
    assert hurt(spreads(surging)) >= {
        ("payments", "cpu_utilization"),
        ("payments", "latency_p95_seconds"),
        ("checkout", "latency_p95_seconds"),
        ("web", "latency_p95_seconds"),
    }
    assert {service for service, _ in hurt(spreads(surging))} <= {"payments", "checkout", "web"}


def test_scaling_out_relieves_a_surge_at_once() -> None:
    relieved = telemetry(30, with_tasks("payments", 4), [fault(FaultKind.TRAFFIC_SURGE)])
    assert hurt(spreads(relieved), at_least=2.0) == set()


def test_a_leak_climbs_and_slows_and_a_restart_clears_it() -> None:
    leak = fault(FaultKind.MEMORY_LEAK)
    leaking = telemetry(40, faults=[leak])
    memory = leaking["storage", "memory_utilization"]
    assert memory[10] < memory[20] < memory[-1]
    assert memory[-1] > 90
    worn = telemetry(10, faults=[fault(FaultKind.MEMORY_LEAK, seconds_ago=60)])
    assert hurt(spreads(worn)) >= {("storage", "latency_p95_seconds"), ("cart", "latency_p95_seconds")}
    assert not leak.cleared_by(leak.incarnation)
    assert leak.cleared_by("boot 1")


def test_a_bad_deploy_errs_and_only_fresh_tasks_clear_it() -> None:
    bad = begin("bad_deploy", None, START_MS, {"catalog": "ecs-svc/1"})
    assert hurt(spreads(telemetry(20, faults=[bad]))) >= {("catalog", "error_ratio"), ("web", "error_ratio")}
    scaled = telemetry(20, with_tasks("catalog", 6), [bad])
    assert ("catalog", "error_ratio") in hurt(spreads(scaled))
    assert not bad.cleared_by("ecs-svc/1")
    assert bad.cleared_by("ecs-svc/2")


def test_nothing_helps_against_a_latent_fault() -> None:
    latent = fault(FaultKind.LATENT)
    slow = ("shipping", "latency_p95_seconds")
    assert slow in hurt(spreads(telemetry(20, faults=[latent])))
    assert slow in hurt(spreads(telemetry(20, with_tasks("shipping", 8), [latent])))
    assert not latent.cleared_by("anything else")
    assert not fault(FaultKind.TRAFFIC_SURGE).cleared_by("anything else")


def test_a_service_that_is_down_is_silent_and_its_callers_err() -> None:
    down = telemetry(20, with_tasks("storage", 0))
    assert not any(service == "storage" for service, _ in down)
    assert down["cart", "error_ratio"].mean() > 0.9


def test_two_faults_of_one_service_add_up() -> None:
    leak = begin("memory_leak", "catalog", START_MS - 5000, {})
    both = telemetry(10, faults=[begin("bad_deploy", None, START_MS, {}), leak])
    assert {("catalog", "error_ratio"), ("catalog", "memory_utilization")} <= hurt(spreads(both))


@pytest.mark.parametrize("kind", list(FaultKind))
def test_each_fault_has_a_usual_service(kind: FaultKind) -> None:
    assert begin(kind, None, START_MS, {}).service == USUAL_SERVICE[kind]


@pytest.mark.parametrize(
    ("kind", "service", "named"),
    [("flood", None, "kind"), ("latent", "billing", "service"), ("bad_deploy", "storage", "service")],
)
def test_what_cannot_go_wrong_is_invalid(kind: str, service: str | None, named: str) -> None:
    with pytest.raises(Invalid) as caught:
        begin(kind, service, START_MS, {})
    assert caught.value.field == named
