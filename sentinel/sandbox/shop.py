"""The shop's telemetry: a deterministic model from resources and faults to samples.

Load comes in at the front door and spreads along the calls; a service that nears its capacity slows down and then
errs; callers wait for their callees and inherit their errors. Same seed and same ticks: same samples.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TypedDict

import numpy as np

from sentinel.sandbox.estate import BASE_REQUESTS_PER_S, SERVICES
from sentinel.sandbox.faults import CALM, LEAK_CEILING, Fault, Strain, strain

METRICS = ("request_rate", "latency_p95_seconds", "error_ratio", "cpu_utilization", "memory_utilization")
DAILY_SWING = 0.15
SHARED_NOISE, SHARED_MEMORY_S = 0.02, 60.0  # spread of the load that all services share, and how long it lasts
OWN_NOISE = 0.02
BUSIEST = 0.95  # where the queueing formula is cut off: beyond it a queue grows without a steady state
ERRORS_AT_REST = 0.004
DAY_MS = 86_400_000


class Sample(TypedDict):
    """One sample as POST /api/v1/samples takes it; `timestamp` in Unix milliseconds."""

    metric: str
    labels: dict[str, str]
    timestamp: int
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a service runs on now: `running` of `desired` units, and a name for this generation of them."""

    running: int
    desired: int
    incarnation: str


AT_REST: Mapping[str, Resources] = {
    name: Resources(running=max(service.tasks, 1), desired=max(service.tasks, 1), incarnation="")
    for name, service in SERVICES.items()
}


@dataclass(frozen=True, slots=True)
class _Vitals:
    """A service without measurement noise: requests/s, share of capacity, seconds, ratio, percent."""

    rate: float
    load: float
    latency: float
    errors: float
    memory: float


class Shop:
    """The model and its noise. `labels` are added to those of each service: what it runs on."""

    def __init__(self, seed: int = 7, labels: Mapping[str, Mapping[str, str]] | None = None) -> None:
        self._random = np.random.default_rng(seed)
        self._labels = {
            name: {"service": name, "env": "sandbox", **((labels or {}).get(name, {}))} for name in SERVICES
        }
        self._shared = 0.0  # AR(1), standard deviation SHARED_NOISE
        self._last_ms: int | None = None

    def tick(self, now_ms: int, resources: Mapping[str, Resources], faults: Sequence[Fault] = ()) -> list[Sample]:
        """One sample of each metric for every service that runs; a service without units says nothing."""
        vitals = _vitals(self._front_load(now_ms), self._own_noise(), resources, _strains(faults, now_ms))
        noise = self._random.standard_normal((len(SERVICES), len(METRICS))).clip(-4, 4)
        return [
            Sample(metric=metric, labels=self._labels[name], timestamp=now_ms, value=round(value, 6))
            for row, name in enumerate(SERVICES)
            if resources[name].running > 0
            for metric, value in zip(METRICS, _measured(vitals[name], noise[row].tolist()), strict=True)
        ]

    def _front_load(self, now_ms: int) -> float:
        elapsed_s = SHARED_MEMORY_S if self._last_ms is None else max(now_ms - self._last_ms, 0) / 1000
        self._last_ms = now_ms
        keep = math.exp(-elapsed_s / SHARED_MEMORY_S)
        fresh = SHARED_NOISE * math.sqrt(1 - keep * keep)
        self._shared = keep * self._shared + fresh * float(self._random.standard_normal())
        daily = 1 + DAILY_SWING * math.sin(2 * math.pi * (now_ms % DAY_MS) / DAY_MS)
        return BASE_REQUESTS_PER_S * daily * (1 + self._shared)

    def _own_noise(self) -> dict[str, float]:
        noise = 1 + OWN_NOISE * self._random.standard_normal(len(SERVICES)).clip(-4, 4)
        return dict(zip(SERVICES, noise.tolist(), strict=True))


def _strains(faults: Sequence[Fault], now_ms: int) -> dict[str, Strain]:
    """All faults of each service as one strain."""
    found: dict[str, list[Strain]] = {}
    for fault in faults:
        found.setdefault(fault.service, []).append(strain(fault, now_ms))
    return {name: reduce(_both, strains, CALM) for name, strains in found.items()}


def _both(a: Strain, b: Strain) -> Strain:
    return Strain(
        work=a.work * b.work, slowness=a.slowness * b.slowness, errors=a.errors + b.errors, memory=a.memory + b.memory
    )


def _vitals(
    front: float, own: Mapping[str, float], resources: Mapping[str, Resources], strains: Mapping[str, Strain]
) -> dict[str, _Vitals]:
    rates = dict.fromkeys(SERVICES, 0.0)
    rates["web"] = front
    for name, service in SERVICES.items():
        rates[name] *= own[name]
        for callee, calls in service.calls.items():
            rates[callee] += rates[name] * calls
    vitals: dict[str, _Vitals] = {}
    for name in reversed(list(SERVICES)):  # callees first: their time and errors are part of the caller's
        vitals[name] = _one(name, rates[name], resources[name].running, strains.get(name, CALM), vitals)
    return vitals


def _one(name: str, rate: float, running: int, strained: Strain, callees: Mapping[str, _Vitals]) -> _Vitals:
    service = SERVICES[name]
    if running == 0:
        return _Vitals(rate, 0, 0, 1, 0)
    load = rate * strained.work / (service.per_unit * running)
    memory = min(service.memory + 4 * min(load, 1) + strained.memory, LEAK_CEILING)
    busy = min(load, BUSIEST)
    # M/M/c waiting grows like load^c/(1 - load); the fourth power keeps it flat at half load, as several tasks do.
    queueing = 1 + busy**4 / (1 - busy) + 2 * max(load - BUSIEST, 0)
    swapping = 1 + (max(memory - 75, 0) / 10) ** 2
    latency = service.seconds * queueing * swapping * strained.slowness
    survives = (1 - ERRORS_AT_REST) * (1 - 0.5 * max(load - BUSIEST, 0)) * (1 - 0.02 * max(memory - 90, 0))
    survives *= 1 - strained.errors
    for callee, calls in service.calls.items():
        latency += calls * callees[callee].latency
        survives *= 1 - min(calls, 1) * callees[callee].errors
    return _Vitals(rate, load, latency, 1 - max(survives, 0), memory)


def _measured(vitals: _Vitals, noise: Sequence[float]) -> tuple[float, ...]:
    """`vitals` as instruments show them, in the order of METRICS; noise is standard normal."""
    return (
        vitals.rate * (1 + 0.01 * noise[0]),
        vitals.latency * (1 + 0.03 * noise[1]),
        min(max(vitals.errors + 0.0008 * noise[2], 0.0), 1.0),
        min(max(100 * min(vitals.load, 1) + 0.8 * noise[3], 0.0), 100.0),
        min(max(vitals.memory + 0.4 * noise[4], 0.0), 100.0),
    )
