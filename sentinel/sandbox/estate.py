"""What the shop is made of: its services, who calls whom, and what each runs on."""

from collections.abc import Mapping
from dataclasses import dataclass, field

BASE_REQUESTS_PER_S = 100.0  # at the front door, averaged over a day


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service of the shop.

    `calls` is how many calls to each callee one request makes, on average. `per_unit` is how many requests a second one
    task or instance carries. `tasks` is the desired count on ECS; 0 means that it runs on one EC2 instance.
    `seconds` is its own time at rest, callees left out; `memory` its percentage at rest.
    """

    calls: Mapping[str, float] = field(default_factory=dict)
    per_unit: float
    tasks: int
    seconds: float
    memory: float


# Callers stand before their callees: the load is worked out in this order and the latency in the reverse one.
SERVICES: Mapping[str, Service] = {
    "web": Service(
        calls={"catalog": 0.6, "cart": 0.3, "checkout": 0.1}, per_unit=50, tasks=4, seconds=0.040, memory=48
    ),
    "catalog": Service(calls={"search": 0.5, "recommendations": 0.8}, per_unit=40, tasks=3, seconds=0.030, memory=55),
    "checkout": Service(
        calls={"payments": 1.0, "shipping": 1.0, "cart": 1.0}, per_unit=10, tasks=2, seconds=0.060, memory=42
    ),
    "cart": Service(calls={"storage": 2.0}, per_unit=40, tasks=2, seconds=0.015, memory=40),
    "search": Service(per_unit=60, tasks=0, seconds=0.050, memory=61),
    "recommendations": Service(per_unit=32, tasks=3, seconds=0.035, memory=58),
    # 0.55 of capacity used: twice the work is more than two tasks carry, and four are where two were before.
    "payments": Service(per_unit=9.1, tasks=2, seconds=0.080, memory=45),
    "shipping": Service(per_unit=10, tasks=2, seconds=0.045, memory=38),
    "storage": Service(per_unit=160, tasks=0, seconds=0.006, memory=52),
}

TOPOLOGY: Mapping[str, tuple[str, ...]] = {name: tuple(service.calls) for name, service in SERVICES.items()}
"""Caller -> callees, as `correlation.topology` takes it."""
