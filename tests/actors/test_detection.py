"""The detection stage: what it scores, what it tells until it was heard, and what it knows after a restart."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from actors.detection import DetectionActor, Scored
from actors.shelves import Share
from sentinel.adapters.in_memory import InMemoryCheckpoints
from sentinel.clock import ManualClock
from sentinel.detection.anomaly import Anomaly, Condition
from sentinel.detection.config import DetectorConfig
from sentinel.errors import Invalid, Overloaded, SentinelError, Unavailable
from sentinel.ids import Fingerprint
from sentinel.telemetry.batch import SampleBatch
from sentinel.telemetry.series import identify, partition_of
from tests.actors.rig import ended, eventually
from tests.unit.incidents.make import T0

SERIES = identify("latency_seconds", {"service": "checkout"})
SHELF = Share().blob(partition_of("checkout", 64))
CONFIG = DetectorConfig(grace_samples=20, open_after=2, close_after=2)


class Heard:
    """Correlation, as far as detection sees it: takes what it is told, or fails first as often as it is told to."""

    def __init__(self, *errors: SentinelError) -> None:
        self.errors = list(errors)
        self.heard: list[Anomaly] = []

    async def submit(self, anomalies: Sequence[Anomaly]) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.heard.extend(anomalies)


def actor(
    correlation: Heard | None = None,
    checkpoints: InMemoryCheckpoints | None = None,
    config: DetectorConfig = CONFIG,
    clock: ManualClock | None = None,
    share: Share = Share(),  # noqa: B008 frozen
) -> DetectionActor:
    return DetectionActor(
        name=f"sentinel-detection-{share.index}",
        config=config,
        correlation=correlation or Heard(),
        checkpoints=checkpoints or InMemoryCheckpoints(),
        checkpoint_every_s=10,
        clock=clock or ManualClock(T0 + 60_000),
        share=share,
    )


def batch(values: Sequence[float], *, start: int = 0, described: bool = False) -> bytes:
    """One sample a second of SERIES, from `start` seconds after T0."""
    count = len(values)
    return SampleBatch(
        series_ids=np.full(count, SERIES.id, np.uint64),
        timestamps_ms=T0 + 1000 * np.arange(start, start + count, dtype=np.int64),
        values=np.array(values, np.float64),
        new_series={SERIES.id: SERIES} if described else {},
    ).pack()


async def score(stage: DetectionActor, packed: bytes) -> Scored:
    (scored,) = await stage.score(packed)
    return scored


CALM = [1.0, 1.1, 0.9, 1.0, 1.05, 0.95] * 6
WILD = [50.0] * 4


async def learned(stage: DetectionActor) -> None:
    await score(stage, batch(CALM, described=True))


async def test_samples_of_a_series_nobody_described_are_asked_for_again() -> None:
    stage = actor()
    asked = await score(stage, batch([1.0, 2.0]))
    assert (asked.scored, asked.refused, asked.unknown) == (0, {}, (SERIES.id,))
    again = await score(stage, batch([1.0, 2.0], described=True))
    assert (again.scored, again.refused, again.unknown) == (2, {}, ())
    assert (await score(stage, batch([1.0], start=2))).scored == 1


async def test_what_was_sent_twice_is_scored_once() -> None:
    stage = actor()
    await learned(stage)
    again = await score(stage, batch(CALM))
    assert (again.scored, again.refused, again.unknown) == (0, {"late": len(CALM)}, ())


async def test_batches_that_were_joined_are_answered_one_by_one() -> None:
    stage = actor()
    joined = batch([1.0, 2.0], described=True) + batch([3.0], start=2)
    assert [each.scored for each in await stage.score(joined)] == [2, 1]


async def test_bytes_that_are_no_batch_are_refused() -> None:
    with pytest.raises(Invalid, match="packed"):
        await actor().score(b"GET / HTTP/1.1")


async def test_what_turned_unusual_is_told_and_what_is_back_as_well() -> None:
    correlation = Heard()
    stage = actor(correlation)
    running = asyncio.create_task(stage._tell())
    await learned(stage)
    await score(stage, batch(WILD, start=len(CALM)))
    await eventually(lambda: correlation.heard)
    assert [each.series.service for each in await stage.open_anomalies()] == ["checkout"]
    await score(stage, batch([1.0] * 6, start=len(CALM) + len(WILD)))
    await eventually(lambda: correlation.heard[-1].ended_at_ms)
    assert await stage.open_anomalies() == []
    await ended([running])


@pytest.mark.parametrize("error", [Unavailable("restarting"), Overloaded("a full queue")], ids=type)
async def test_a_change_is_told_until_correlation_took_it(error: SentinelError) -> None:
    correlation = Heard(*[error] * 5)
    stage = actor(correlation)
    running = asyncio.create_task(stage._tell())
    await learned(stage)
    await score(stage, batch(WILD, start=len(CALM)))
    await eventually(lambda: correlation.heard)
    assert correlation.errors == []
    assert stage._untold == []
    await ended([running])


async def test_changes_that_come_while_others_are_told_are_told_too() -> None:
    gate, told = asyncio.Event(), []

    class Slow(Heard):
        async def submit(self, anomalies: Sequence[Anomaly]) -> None:
            told.append(len(anomalies))
            await gate.wait()
            await super().submit(anomalies)

    correlation = Slow()
    stage = actor(correlation)
    running = asyncio.create_task(stage._tell())
    await learned(stage)
    await score(stage, batch(WILD, start=len(CALM)))
    await eventually(lambda: told)
    await score(stage, batch([1.0] * 6, start=len(CALM) + len(WILD)))
    gate.set()
    await eventually(lambda: correlation.heard and correlation.heard[-1].ended_at_ms)
    assert stage._untold == []
    await ended([running])


async def test_one_loop_that_fails_ends_the_other() -> None:
    class Broken(InMemoryCheckpoints):
        def save(self, name: str, blob: bytes) -> None:
            raise ZeroDivisionError

    stage = actor(checkpoints=Broken())
    await learned(stage)
    with pytest.raises(ExceptionGroup):
        await stage.run()
    # Else each new start would leave one more loop behind, and two of them drop what neither told.
    assert [task for task in asyncio.all_tasks() if "DetectionActor" in str(task.get_coro())] == []


async def test_a_restart_knows_what_is_normal() -> None:
    checkpoints = InMemoryCheckpoints()
    stage = actor(checkpoints=checkpoints)
    await learned(stage)
    await stage.checkpoint()
    again = actor(checkpoints=checkpoints)
    assert (await again.health([SERIES.fingerprint]))[0].condition is Condition.NORMAL
    await score(again, batch(WILD, start=len(CALM)))
    assert len(await again.open_anomalies()) == 1


async def test_a_restart_tells_again_what_is_unusual() -> None:
    # The one before may have ended between noticing and telling.
    checkpoints, correlation = InMemoryCheckpoints(), Heard()
    stage = actor(checkpoints=checkpoints)
    await learned(stage)
    await score(stage, batch(WILD, start=len(CALM)))
    await stage.checkpoint()
    again = actor(correlation, checkpoints)
    running = asyncio.create_task(again._tell())
    await eventually(lambda: correlation.heard)
    assert correlation.heard == await stage.open_anomalies()
    await ended([running])


async def test_a_damaged_checkpoint_is_learned_anew() -> None:
    checkpoints = InMemoryCheckpoints()
    checkpoints.save(SHELF, b"not a checkpoint")
    stage = actor(checkpoints=checkpoints)
    assert (await stage.health([SERIES.fingerprint]))[0].condition is Condition.NO_DATA
    assert (await score(stage, batch([1.0], described=True))).scored == 1


async def test_checkpoints_are_kept_although_one_could_not_be_written() -> None:
    class Full(InMemoryCheckpoints):
        def __init__(self) -> None:
            super().__init__()
            self.tries = 0

        def save(self, name: str, blob: bytes) -> None:
            self.tries += 1
            if self.tries == 1:
                raise Unavailable("no space left on device")
            super().save(name, blob)

    checkpoints = Full()
    stage = actor(checkpoints=checkpoints)
    await learned(stage)
    running = asyncio.create_task(stage._keep_checkpoints())
    await eventually(lambda: checkpoints.load(SHELF))
    assert checkpoints.tries >= 2
    await ended([running])


async def test_a_series_nobody_knows_has_no_data() -> None:
    (health,) = await actor().health([Fingerprint("0" * 16)])
    assert health.condition is Condition.NO_DATA
    assert await actor().ping() == "sentinel-detection-0"
