"""The faults one can give the shop: what each strains, and what really clears it."""

from dataclasses import dataclass
from enum import StrEnum

from sentinel.errors import Invalid
from sentinel.sandbox.estate import SERVICES

LEAK_POINTS_PER_S = 2.0
LEAK_CEILING = 97.0


class FaultKind(StrEnum):
    """What can go wrong."""

    TRAFFIC_SURGE = "traffic_surge"  # twice the work; as many more tasks relieve it
    MEMORY_LEAK = "memory_leak"  # memory climbs; a restart clears it
    BAD_DEPLOY = "bad_deploy"  # errors; fresh tasks clear it
    LATENT = "latent"  # slow for a reason outside; nothing that Sentinel can do helps


USUAL_SERVICE = {
    FaultKind.TRAFFIC_SURGE: "payments",
    FaultKind.MEMORY_LEAK: "storage",
    FaultKind.BAD_DEPLOY: "catalog",
    FaultKind.LATENT: "shipping",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault of one service since a time. `incarnation` is what ran then: a fresh one clears some faults."""

    kind: FaultKind
    service: str
    since_ms: int
    incarnation: str

    def cleared_by(self, incarnation: str) -> bool:
        """Whether the fault is gone for good now that `incarnation` runs."""
        return self.kind in (FaultKind.MEMORY_LEAK, FaultKind.BAD_DEPLOY) and incarnation != self.incarnation


@dataclass(frozen=True, slots=True, kw_only=True)
class Strain:
    """What faults do to a service: factors on work and time, and points of error ratio and of memory percent."""

    work: float = 1.0
    slowness: float = 1.0
    errors: float = 0.0
    memory: float = 0.0


CALM = Strain()


def strain(fault: Fault, now_ms: int) -> Strain:
    """What `fault` does to its service at `now_ms`."""
    match fault.kind:
        case FaultKind.TRAFFIC_SURGE:
            # Large baskets: each request is twice the work. More requests instead would also raise request_rate, which
            # no remedy brings down, so that the detector could never say that the fault is gone.
            return Strain(work=2.0)
        case FaultKind.MEMORY_LEAK:
            return Strain(memory=LEAK_POINTS_PER_S * max(now_ms - fault.since_ms, 0) / 1000)
        case FaultKind.BAD_DEPLOY:
            return Strain(errors=0.25, slowness=1.3)
        case FaultKind.LATENT:
            return Strain(slowness=6.0)


def begin(kind: str, service: str | None, now_ms: int, incarnations: dict[str, str]) -> Fault:
    """A fault of that kind, on its usual service unless one is named. Raises Invalid for what cannot go wrong."""
    if kind not in list(FaultKind):
        raise Invalid("kind", kind, f"one of {', '.join(FaultKind)}")
    known = FaultKind(kind)
    name = service or USUAL_SERVICE[known]
    if name not in SERVICES:
        raise Invalid("service", name, f"one of {', '.join(SERVICES)}")
    if known is FaultKind.BAD_DEPLOY and SERVICES[name].tasks == 0:
        raise Invalid("service", name, "a service that runs as ECS tasks, for a deployment to be bad")
    return Fault(kind=known, service=name, since_ms=now_ms, incarnation=incarnations.get(name, ""))
