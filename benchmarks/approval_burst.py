"""Telemetry for `benchmarks.approval --burst`: so many sandbox shops at once, before the same door as the clicks."""

import asyncio
import contextlib
import multiprocessing
import threading
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.routing import Route

from actors.detection import DetectionActor, Scored
from sentinel import logs
from sentinel.adapters.in_memory import InMemoryCheckpoints
from sentinel.clock import Clock, SystemClock
from sentinel.sandbox.sender import Sender
from sentinel.sandbox.shop import AT_REST, Shop
from sentinel.settings import Settings
from sentinel.telemetry.interning import Interner
from serve_apps.bodies import Bodies
from serve_apps.ingest import Telemetry
from serve_apps.intake import Intake
from serve_apps.metrics import Meter

USUAL = len(Shop().tick(0, AT_REST))  # samples a second of one sandbox: each series once a second


class Heard:
    """Takes anomalies, and does nothing: what follows from them is not what is measured."""

    async def submit(self, anomalies: Sequence[Any]) -> None:
        """Takes them."""


class Scorer:
    """One true detection actor, in this process."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        heard: Any = Heard()
        self._actor = DetectionActor(
            name="detection-0",
            config=settings.detection.detector,
            correlation=heard,
            checkpoints=InMemoryCheckpoints(),
            checkpoint_every_s=600,
            clock=clock,
        )

    def actor_of(self, _partition: int) -> int:
        return 0

    async def score(self, _actor: int, packed: bytes) -> list[Scored]:
        return await self._actor.score(packed)


def intake_routes(clock: Clock) -> list[Route]:
    """The real doors for telemetry before real detection."""
    settings = Settings()
    limit = settings.api.max_samples_per_series
    interner = Interner(settings.api.service_labels, 8, settings.detection.max_series, 1)
    scorer: Any = Scorer(settings, clock)
    return Telemetry(settings, Intake(scorer, interner, Meter(), clock, limit), Bodies(), clock).routes()


@dataclass(frozen=True)
class Sent:
    """What the senders counted: every offered sample is accepted, refused, dropped by the sender, or still waiting."""

    seconds: float
    offered: int
    accepted: int
    refused: int
    dropped: int
    waiting: int
    again: int

    @property
    def unaccounted(self) -> int:
        return self.offered - self.accepted - self.refused - self.dropped - self.waiting


def _send(url: str, times: int, stop: Any, result: Any) -> None:
    """`times` shops, one after the other within each second, until told to stop; then what waits is still sent."""
    logs.set_up("error")
    clock, halt = SystemClock(), threading.Event()
    shops = [Shop(seed, {name: {"shop": str(seed)} for name in AT_REST}) for seed in range(times)]
    sender = Sender(url, clock)
    thread = threading.Thread(target=sender.run, args=(halt,))
    thread.start()
    begun, offered, number = time.monotonic(), 0, 0
    while not stop.is_set():
        samples = shops[number % times].tick(clock.now_ms(), AT_REST)
        offered, number = offered + len(samples), number + 1
        sender.offer(samples)
        time.sleep(max(0.0, begun + number / times - time.monotonic()))
    seconds, deadline = time.monotonic() - begun, time.monotonic() + 20
    while int(sender.state()["sent"]) + int(sender.state()["refused"]) < offered and time.monotonic() < deadline:
        time.sleep(0.05)
    halt.set()
    thread.join()
    state = sender.state()
    counts = [int(state[name]) for name in ("sent", "refused", "dropped", "waiting", "retries")]
    result.put(Sent(seconds, offered, *counts))


@contextlib.asynccontextmanager
async def burst(url: str, times: int, into: list[Sent]) -> AsyncIterator[None]:
    """Send `times` the usual telemetry from a process of its own meanwhile; what came of it is added to `into`."""
    if not times:
        yield
        return
    context = multiprocessing.get_context("spawn")
    stop, result = context.Event(), context.Queue()
    sender = context.Process(target=_send, args=(url, times, stop, result), daemon=True)
    sender.start()
    await asyncio.sleep(5)  # the process starts, and every series is known
    try:
        yield
    finally:
        stop.set()
        into.append(await asyncio.to_thread(result.get, True, 60))
        sender.join(10)
