"""Partitions that move between detection actors, settings that change under way, and series that fall silent."""

import asyncio
import dataclasses
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from actors.detection import DetectionActor
from actors.shelves import Share, within_reach
from actors.wiring import surely_configured
from sentinel.adapters.in_memory import InMemoryCheckpoints
from sentinel.clock import ManualClock
from sentinel.detection.anomaly import Condition
from sentinel.detection.config import DetectorConfig, Policy
from sentinel.errors import Invalid, SentinelError, Unavailable
from sentinel.telemetry.batch import SampleBatch
from sentinel.telemetry.series import Series, identify, partition_of
from tests.actors.rig import ended, eventually
from tests.actors.test_detection import CALM, CONFIG, SERIES, WILD, Heard, actor, batch, learned, score
from tests.unit.incidents.make import T0

SERVICES = [identify("latency_seconds", {"service": f"service-{n}"}) for n in range(12)]
NOW_MS = T0 + 60_000


def actors(checkpoints: InMemoryCheckpoints, count: int, partitions: int = 64) -> list[DetectionActor]:
    return [actor(checkpoints=checkpoints, share=Share(index, count, partitions)) for index in range(count)]


def holder(stages: Sequence[DetectionActor], series: Series, partitions: int = 64) -> DetectionActor:
    return stages[partition_of(series.service, partitions) % len(stages)]


async def send(stages: Sequence[DetectionActor], value: float, ticks: range, partitions: int = 64) -> None:
    for series in SERVICES:
        values = value + 0.05 * (np.array(ticks) % 3)
        packed = SampleBatch(
            np.full(len(ticks), series.id, np.uint64), T0 + 1000 * np.array(ticks), values, {series.id: series}
        ).pack()
        await score(holder(stages, series, partitions), packed)


async def knows(stages: Sequence[DetectionActor], partitions: int = 64) -> bool:
    """Every service is known, by its holder and by nobody else."""
    prints = [each.fingerprint for each in SERVICES]
    for stage in stages:
        for series, health in zip(SERVICES, await stage.health(prints), strict=True):
            held = holder(stages, series, partitions) is stage
            if (health.condition is Condition.NORMAL) != held:
                return False
    return sum(len(stage._detector) for stage in stages) == len(SERVICES)


async def test_services_find_their_baselines_whatever_the_number_of_actors_was() -> None:
    checkpoints = InMemoryCheckpoints()
    for start, count in enumerate((2, 5, 1, 3, 2)):
        stages = actors(checkpoints, count)
        if start:
            assert await knows(stages)
        await send(stages, 1.0, range(30 * start, 30 * start + 30))
        assert await knows(stages)
        for stage in stages:
            await stage.checkpoint()


async def test_a_crash_before_all_have_written_loses_nothing() -> None:
    checkpoints = InMemoryCheckpoints()
    stages = actors(checkpoints, 1)
    await send(stages, 1.0, range(30))
    await stages[0].checkpoint()
    four = actors(checkpoints, 4)
    await four[2].checkpoint()  # one wrote, the others did not
    for count in (4, 3, 2):
        assert await knows(actors(checkpoints, count))


async def test_another_number_of_partitions_keeps_what_was_heard_last() -> None:
    checkpoints = InMemoryCheckpoints()
    stages = actors(checkpoints, 2, 64)
    await send(stages, 1.0, range(30))
    for stage in stages:
        await stage.checkpoint()
    stages = actors(checkpoints, 3, 7)
    assert await knows(stages, 7)
    await send(stages, 1.0, range(30, 60), 7)
    for stage in stages:
        await stage.checkpoint()
    # Back again, where older checkpoints still lie under the names of old.
    stages = actors(checkpoints, 2, 64)
    assert await knows(stages)
    assert {int(each._detector._state.baseline.last_ms[0]) for each in stages} == {T0 + 59_000}


async def test_partitions_move_between_actors_that_live() -> None:
    checkpoints = InMemoryCheckpoints()
    two = actors(checkpoints, 2)
    await send(two, 1.0, range(30))
    for stage in two:
        await stage.checkpoint()
    three = [*two, actor(checkpoints=checkpoints, share=Share(2, 3))]
    for index, stage in enumerate(three):
        await stage.configure(CONFIG, Share(index, 3))
    assert await knows(three)
    await send(three, 1.0, range(30, 60))
    for stage in three:
        await stage.checkpoint()
    # And back, the first two alive.
    for index, stage in enumerate(three[:2]):
        await stage.configure(CONFIG, Share(index, 2))
    assert await knows(three[:2])


async def test_a_checkpoint_under_way_while_partitions_move_empties_none_of_them() -> None:
    checkpoints = InMemoryCheckpoints()
    stage = actor(checkpoints=checkpoints)
    await send([stage], 1.0, range(30))
    keeping = asyncio.create_task(stage.checkpoint())
    await asyncio.sleep(0)
    await stage.configure(CONFIG, Share(0, 2))
    await keeping
    await stage.checkpoint()
    assert await knows(actors(checkpoints, 2))


class Slow(InMemoryCheckpoints):
    """Its reads of partitions, or its writes of them, wait until they are let go; in threads, as the real ones."""

    def __init__(self, holds: str) -> None:
        super().__init__()
        self.holds, self.began, self.goes = holds, threading.Event(), threading.Event()

    def load(self, name: str) -> bytes | None:
        self._wait("load", name)
        return super().load(name)

    def save(self, name: str, blob: bytes) -> None:
        self._wait("save", name)
        super().save(name, blob)

    def _wait(self, what: str, name: str) -> None:
        if what == self.holds and not name.endswith(".settings"):
            self.began.set()
            assert self.goes.wait(10)


async def test_a_partition_that_is_gained_is_not_written_before_it_was_read() -> None:
    checkpoints = Slow("nothing")
    two = actors(checkpoints, 2)
    await send(two, 1.0, range(30))
    await two[1].checkpoint()
    checkpoints.holds = "load"
    moving = asyncio.create_task(two[0].configure(CONFIG, Share(0, 1)))
    await asyncio.to_thread(checkpoints.began.wait, 10)
    await send(two[:1], 1.0, range(30, 32))  # the door knows already
    keeping = asyncio.create_task(two[0].checkpoint())
    for _ in range(20):
        await asyncio.sleep(0.005)  # more than writing would take
    checkpoints.goes.set()
    await asyncio.gather(moving, keeping)
    assert await knows(two[:1])
    assert await knows(actors(checkpoints, 1))


async def test_series_that_retire_while_partitions_are_written_stop_nothing() -> None:
    checkpoints, clock = Slow("nothing"), ManualClock(T0 + 60_000)
    small = dataclasses.replace(CONFIG, max_series=len(SERVICES))
    stage = actor(checkpoints=checkpoints, config=small, clock=clock)
    await send([stage], 1.0, range(30))
    assert stage._detector.nearly_full
    checkpoints.holds = "save"
    keeping = asyncio.create_task(stage.checkpoint())
    await asyncio.to_thread(checkpoints.began.wait, 10)
    await clock.sleep(7 * 3600)
    retiring = asyncio.create_task(stage._retire())
    await asyncio.sleep(0)
    checkpoints.goes.set()
    await asyncio.gather(keeping, retiring)
    assert len(stage._detector) == 0
    await stage.checkpoint()
    assert await knows(actors(checkpoints, 1)) is False


async def test_what_comes_in_while_a_partition_moves_does_not_pass_for_its_past() -> None:
    checkpoints = InMemoryCheckpoints()
    two = actors(checkpoints, 2)
    await send(two, 1.0, range(30))
    await two[1].checkpoint()
    moving = asyncio.create_task(two[0].configure(CONFIG, Share(0, 1)))
    await asyncio.sleep(0)
    await send(two[:1], 1.0, range(30, 32))  # the door knows already
    await moving
    assert len(two[0]._detector) == len(SERVICES)
    await send(two[:1], 1.0, range(40, 45))
    assert await knows(two[:1])


async def test_new_settings_keep_what_was_learned_and_outlive_a_crash() -> None:
    checkpoints, correlation = InMemoryCheckpoints(), Heard()
    stage = actor(correlation, checkpoints)
    await learned(stage)
    await stage.checkpoint()
    up_only = dataclasses.replace(CONFIG, policies=(Policy(name="drops", metric="latency*", direction="down"),))
    await stage.configure(up_only, Share())
    await score(stage, batch(WILD, start=len(CALM)))
    assert await stage.open_anomalies() == []
    again = actor(correlation, checkpoints)  # as Ray makes it: with the settings of old
    await score(again, batch(WILD, start=len(CALM)))
    assert await again.open_anomalies() == []
    # One that is made with other settings follows those, and knows the series.
    other = actor(correlation, checkpoints, config=dataclasses.replace(CONFIG, close_after=3))
    await score(other, batch(WILD, start=len(CALM)))
    assert len(await other.open_anomalies()) == 1


async def test_settings_that_cannot_be_kept_change_nothing() -> None:
    class Full(InMemoryCheckpoints):
        def save(self, name: str, blob: bytes) -> None:
            raise Unavailable("no space left on device")

    stage = actor(checkpoints=Full())
    await learned(stage)
    with pytest.raises(Unavailable, match="no space"):
        await stage.configure(dataclasses.replace(CONFIG, open_after=9), Share())
    await score(stage, batch(WILD, start=len(CALM)))
    assert len(await stage.open_anomalies()) == 1


async def test_an_anomaly_of_a_series_that_is_watched_no_longer_ends() -> None:
    correlation = Heard()
    stage = actor(correlation)
    running = asyncio.create_task(stage._tell())
    await learned(stage)
    await score(stage, batch(WILD, start=len(CALM)))
    await eventually(lambda: correlation.heard)
    off = dataclasses.replace(CONFIG, policies=(Policy(name="off", metric="latency*", watch=False),))
    await stage.configure(off, Share())
    await eventually(lambda: correlation.heard[-1].ended_at_ms)
    assert await stage.open_anomalies() == []
    await stage.configure(CONFIG, Share())
    await score(stage, batch(WILD, start=len(CALM) + 10))
    assert len(await stage.open_anomalies()) == 1
    await ended([running])


async def test_settings_changed_between_two_starts_keep_baselines_and_shapes_that_are_still_wanted() -> None:
    checkpoints, correlation = InMemoryCheckpoints(), Heard()
    few = dataclasses.replace(CONFIG, pattern_series=5)
    stage = actor(checkpoints=checkpoints, config=few)
    await send([stage], 1.0, range(30))
    await send([stage], 80.0, range(30, 34))
    assert len(await stage.open_anomalies()) == len(SERVICES)
    state = stage._detector._state
    shaped = {each.id for row, each in enumerate(state.series) if state.pattern_slot[row] >= 0}
    off = {SERVICES[0].service, SERVICES[1].service}
    assert {each.service for each in SERVICES[:5]} == {each.service for each in SERVICES if each.id in shaped}
    await stage.checkpoint()
    policies = (
        Policy(name="plain", service=SERVICES[0].service, pattern=False),
        Policy(name="off", service=SERVICES[1].service, watch=False, pattern=False),
    )
    again = actor(correlation, checkpoints, dataclasses.replace(few, policies=policies))
    state = again._detector._state
    seen = {each.id: state.pattern.shape.seen[state.pattern_slot[row]] for row, each in enumerate(state.series)
            if state.pattern_slot[row] >= 0}  # fmt: skip
    # Those that had shapes keep them, before others get what became free.
    assert {each: seen[each] for each in shaped if each in seen} == dict.fromkeys(
        (each.id for each in SERVICES[2:5]), 34
    )
    assert len(seen) == 5
    assert not {each.service for each in SERVICES if each.id in seen} & off
    running = asyncio.create_task(again._tell())
    await eventually(lambda: len(correlation.heard) == len(SERVICES))
    assert {each.series.service for each in correlation.heard if each.ended_at_ms} == {SERVICES[1].service}
    assert len(again._detector) == len(SERVICES)
    await ended([running])


TALKS = dataclasses.replace(CONFIG, policies=(Policy(name="talks", metric="latency*", no_data_after_s=30),))


async def test_a_series_that_falls_silent_is_told_once_and_its_return_too() -> None:
    correlation, clock = Heard(), ManualClock(T0)
    stage = actor(correlation, config=TALKS, clock=clock)
    await learned(stage)
    running = [asyncio.create_task(stage._tell()), asyncio.create_task(stage._notice_silence())]
    (silent,) = await eventually(lambda: correlation.heard)
    last_ms = T0 + 1000 * (len(CALM) - 1)
    assert (silent.part, silent.series, silent.ended_at_ms) == ("no_data", SERIES, None)
    assert silent.started_at_ms == silent.last_at_ms == last_ms
    assert clock.now_ms() > last_ms + 30_000
    later = clock.now_ms() + 60_000
    await eventually(lambda: clock.now_ms() > later)
    assert len(correlation.heard) == 1
    back = (clock.now_ms() - T0) // 1000 + 1
    await score(stage, batch([1.0], start=back))
    await eventually(lambda: len(correlation.heard) > 1)
    assert correlation.heard[1].started_at_ms == last_ms
    assert correlation.heard[1].ended_at_ms == T0 + 1000 * back
    await eventually(lambda: len(correlation.heard) > 2)  # it said no more: silent again
    assert correlation.heard[2].started_at_ms == T0 + 1000 * back
    await ended(running)


async def test_silence_while_nobody_listened_is_not_held_against_a_series() -> None:
    checkpoints, clock = InMemoryCheckpoints(), ManualClock(T0)
    stage = actor(checkpoints=checkpoints, config=TALKS, clock=clock)
    await learned(stage)
    await stage.checkpoint()
    clock = ManualClock(T0 + 86_400_000)
    again = actor(checkpoints=checkpoints, config=TALKS, clock=clock)
    assert again._detector.silences(clock.now_ms() + 29_000, again._listening_since_ms) == ()
    assert len(again._detector.silences(clock.now_ms() + 31_000, again._listening_since_ms)) == 1


async def test_a_start_waits_for_checkpoints_that_are_out_of_reach_but_not_for_ever() -> None:
    class Away(InMemoryCheckpoints):
        tries, until = 0, 3

        def names(self) -> frozenset[str]:
            self.tries += 1
            if self.tries <= self.until:
                raise Unavailable("the bucket is away")
            return super().names()

    clock, store = ManualClock(T0), Away()
    await within_reach(store, clock, 30.0)
    assert store.tries == 4
    store.tries, store.until = 0, 1000
    await within_reach(store, clock, 30.0)
    assert 25 <= store.tries <= 31


class Reluctant:
    """Detection that refuses so many times before it takes its settings."""

    def __init__(self, error: SentinelError, times: int) -> None:
        self.error, self.times, self.taken = error, times, 0

    async def configure(self, config: DetectorConfig) -> None:
        if self.times > 0:
            self.times -= 1
            raise self.error
        self.taken += 1


async def test_a_start_goes_on_only_once_detection_took_its_settings() -> None:
    later, never = Reluctant(Unavailable("restarting"), 5), Reluctant(Unavailable("restarting"), 10_000)
    await surely_configured(later, CONFIG, ManualClock(T0))
    assert later.taken == 1
    clock = ManualClock(T0)
    with pytest.raises(Unavailable, match="the door stays shut: restarting"):
        await surely_configured(never, CONFIG, clock)
    assert 60 < clock.monotonic() < 120
    wrong = Reluctant(Invalid("detection", 1, "2"), 3)
    with pytest.raises(Invalid):
        await surely_configured(wrong, CONFIG, ManualClock(T0))
    assert wrong.times == 2
