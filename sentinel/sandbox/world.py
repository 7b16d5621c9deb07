"""The world: at every tick it looks at AWS, works out the shop's telemetry, and sends it to Sentinel."""

import threading
from collections.abc import Mapping
from typing import Protocol

from sentinel.clock import Clock, iso
from sentinel.errors import Invalid, Unavailable
from sentinel.sandbox import faults
from sentinel.sandbox.faults import Fault, FaultKind
from sentinel.sandbox.sender import Sender
from sentinel.sandbox.shop import AT_REST, Resources, Sample, Shop


class ResourceReader(Protocol):
    """Where the world learns what the shop runs on."""

    def read(self) -> Mapping[str, Resources]:
        """Every service's resources now. Raises Unavailable."""
        ...


class World:
    """One shop, its faults and its telemetry. `tick` and `backfill` are called from one thread, the rest from any."""

    def __init__(
        self, *, reader: ResourceReader, sender: Sender, shop: Shop, clock: Clock, tick_s: float = 1.0
    ) -> None:
        if not tick_s > 0:
            raise Invalid("tick_s", tick_s, "a number of seconds above 0")
        self._reader = reader
        self._sender = sender
        self._shop = shop
        self._clock = clock
        self._tick_s = tick_s
        self._lock = threading.Lock()
        self._resources: Mapping[str, Resources] = AT_REST
        self._faults: list[Fault] = []
        self._cleared: list[Fault] = []
        self._last: list[Sample] = []
        self._ticks = 0
        self._unanswered = 0

    def backfill(self, minutes: float, step_s: float) -> int:
        """Offer the past `minutes`, a sample of each series every `step_s`; answers how many samples.

        The shop was calm then, on the resources it has now. Made before the first tick, for time runs forwards.
        """
        self._look()
        steps = int(minutes * 60 / step_s)
        now_ms = self._clock.now_ms()
        offered = 0
        for back in range(steps, 0, -1):
            samples = self._shop.tick(now_ms - round(back * step_s * 1000), self._resources)
            self._sender.offer(samples)
            offered += len(samples)
        return offered

    def tick(self) -> list[Sample]:
        """Look at AWS, let what a restart clears be cleared, and offer one sample of each series."""
        self._look()
        with self._lock:
            cleared = [fault for fault in self._faults if fault.cleared_by(self._incarnations()[fault.service])]
            self._faults = [fault for fault in self._faults if fault not in cleared]
            self._cleared.extend(cleared)
            samples = self._shop.tick(self._clock.now_ms(), self._resources, self._faults)
            self._last = samples
            self._ticks += 1
        self._sender.offer(samples)
        return samples

    def run(self, stop: threading.Event) -> None:
        """Tick every `tick_s` until `stop` is set; a tick that comes late moves the later ones, none is made up."""
        due = self._clock.monotonic()
        while not stop.wait(max(due - self._clock.monotonic(), 0)):
            self.tick()
            due = max(due + self._tick_s, self._clock.monotonic())

    def start_fault(self, kind: str, service: str | None = None) -> Fault:
        """Begin a fault, once per kind and service. Raises Invalid for an unknown kind or service."""
        with self._lock:
            fault = faults.begin(kind, service, self._clock.now_ms(), self._incarnations())
            for running in self._faults:
                if (running.kind, running.service) == (fault.kind, fault.service):
                    return running
            self._faults.append(fault)
            return fault

    def stop_faults(self, kind: str | None = None) -> list[Fault]:
        """End all faults, or those of one kind; answers those that were ended. Raises Invalid for an unknown kind."""
        if kind is not None and kind not in list(FaultKind):
            raise Invalid("kind", kind, f"one of {', '.join(FaultKind)}")
        with self._lock:
            ended = [fault for fault in self._faults if kind in (None, fault.kind)]
            self._faults = [fault for fault in self._faults if fault not in ended]
            return ended

    def state(self) -> dict[str, object]:
        """Everything there is to know, ready for JSON."""
        with self._lock:
            metrics: dict[str, dict[str, float]] = {name: {} for name in self._resources}
            for sample in self._last:
                metrics[sample["labels"]["service"]][sample["metric"]] = sample["value"]
            return {
                "now": iso(self._clock.now_ms()),
                "tick_s": self._tick_s,
                "ticks": self._ticks,
                "services": {
                    name: {
                        "running": resources.running,
                        "desired": resources.desired,
                        "incarnation": resources.incarnation,
                        "metrics": metrics[name],
                    }
                    for name, resources in self._resources.items()
                },
                "faults": [shown(fault) for fault in self._faults],
                "cleared_faults": [shown(fault) for fault in self._cleared[-20:]],
                "samples": self._sender.state(),
                "aws_unanswered": self._unanswered,
            }

    def _look(self) -> None:
        """Without an answer the shop runs on as it was last seen: telemetry does not stop when AWS's API does."""
        try:
            seen = self._reader.read()
        except Unavailable:
            with self._lock:
                self._unanswered += 1
            return
        with self._lock:
            self._resources = seen

    def _incarnations(self) -> dict[str, str]:
        return {name: resources.incarnation for name, resources in self._resources.items()}


def shown(fault: Fault) -> dict[str, str]:
    """A fault for people and JSON."""
    return {"kind": fault.kind, "service": fault.service, "since": iso(fault.since_ms)}
