"""The detection stage tells people why: what it keeps of samples and anomalies, and what is lost with it."""

import numpy as np

from actors.detection import DetectionActor
from sentinel.adapters.in_memory import InMemoryCheckpoints
from sentinel.clock import ManualClock
from sentinel.detection.config import DetectorConfig
from sentinel.detection.curves import MOST_ANOMALIES, Explained
from sentinel.telemetry.batch import SampleBatch
from sentinel.telemetry.series import Series, identify
from tests.actors.test_detection import Heard
from tests.unit.incidents.make import T0

CONFIG = DetectorConfig(grace_samples=20, open_after=2, close_after=2, pattern_series=0, service_score=False)
GAUGE = identify("latency_seconds", {"service": "checkout"})
COUNTER = identify("requests_total", {"service": "checkout", "__type__": "counter"})
ALL_TIME = (0, 2**60)
NOISE = np.random.default_rng(5).normal(100, 5, 100)


def actor(checkpoints: InMemoryCheckpoints | None = None, curve_bytes: int = 1_000_000) -> DetectionActor:
    return DetectionActor(
        name="sentinel-detection-0",
        config=CONFIG,
        correlation=Heard(),
        checkpoints=checkpoints or InMemoryCheckpoints(),
        checkpoint_every_s=10,
        clock=ManualClock(T0),
        curve_bytes=curve_bytes,
    )


async def send(stage: DetectionActor, series: list[Series], values: np.ndarray, first: int = 0) -> None:
    """One sample a second of every series, described each time."""
    count = len(values)
    batch = SampleBatch(
        np.tile(np.array([each.id for each in series], np.uint64), count),
        np.repeat(T0 + 1000 * np.arange(first, first + count, dtype=np.int64), len(series)),
        np.repeat(values, len(series)),
        {each.id: each for each in series},
    )
    await stage.score(batch.pack())


async def explained(stage: DetectionActor, series: Series) -> Explained:
    found = await stage.explain(series.fingerprint, *ALL_TIME)
    assert found is not None
    return found


async def test_an_anomaly_is_explained_while_it_lasts_and_after() -> None:
    stage = actor()
    await send(stage, [GAUGE], NOISE)
    assert await stage.explain(GAUGE.fingerprint, *ALL_TIME) is None
    await send(stage, [GAUGE], np.array([300.0, 310.0, 305.0]), 100)
    first = await explained(stage, GAUGE)
    assert (first.explanation.value, len(first.curves[0].values)) == (310.0, 103)
    await send(stage, [GAUGE], np.array([400.0]), 103)
    worse = await explained(stage, GAUGE)
    assert (worse.explanation.value, worse.explanation.threshold) == (400.0, first.explanation.threshold)
    await send(stage, [GAUGE], NOISE, 104)
    over = await explained(stage, GAUGE)
    assert over.anomaly.ended_at_ms == T0 + 105_000
    assert over.curves[0].at_ms[-1] == over.anomaly.ended_at_ms
    assert over.explanation == worse.explanation
    assert await stage.explain(GAUGE.fingerprint, 0, T0) is None


async def test_what_opened_and_ended_in_one_call_is_explained_too() -> None:
    stage = actor()
    await send(stage, [GAUGE], np.concatenate((NOISE, [300.0, 310.0, 305.0], NOISE)))
    found = await explained(stage, GAUGE)
    assert found.anomaly.ended_at_ms == T0 + 104_000
    assert found.explanation.value == 310.0
    assert found.explanation.distance > found.explanation.threshold


async def test_the_curve_of_a_counter_is_that_of_its_rate() -> None:
    stage = actor()
    total = np.cumsum(np.concatenate((NOISE, [900.0] * 4)))
    await send(stage, [COUNTER], total)
    (curve,) = (await explained(stage, COUNTER)).curves
    assert np.allclose(curve.values, [*NOISE[1:], *[900.0] * 4])


async def test_the_newest_anomalies_are_explained_where_many_open_at_once() -> None:
    stage = actor()
    many = [identify(f"m{n:03}", {"service": "checkout"}) for n in range(MOST_ANOMALIES + 10)]
    await send(stage, many, np.concatenate((NOISE, [300.0, 310.0])))
    assert len(await stage.open_anomalies()) == len(many)
    known = [await stage.explain(each.fingerprint, *ALL_TIME) is not None for each in many]
    assert sum(known) == MOST_ANOMALIES


async def test_an_anomaly_that_was_open_before_a_restart_has_its_reason_and_its_curve_from_there() -> None:
    kept = InMemoryCheckpoints()
    before = actor(kept)
    await send(before, [GAUGE], np.concatenate((NOISE, [300.0, 310.0])))
    told = await explained(before, GAUGE)
    await before.checkpoint()
    after = actor(kept)
    found = await explained(after, GAUGE)
    assert (found.explanation, found.curves) == (told.explanation, ())
    await send(after, [GAUGE], np.array([320.0]), 102)
    assert (await explained(after, GAUGE)).curves[0].values.tolist() == [320.0]


async def test_without_room_for_samples_there_is_still_a_reason() -> None:
    stage = actor(curve_bytes=0)
    await send(stage, [GAUGE], np.concatenate((NOISE, [300.0, 310.0])))
    found = await explained(stage, GAUGE)
    assert found.explanation.why.startswith("310 is ")
    assert found.curves == ()


async def test_samples_kept_for_curves_change_no_score() -> None:
    values = np.concatenate((NOISE, [300.0, 310.0], NOISE))
    stages = [actor(curve_bytes=room) for room in (0, 2000, 1_000_000)]
    for stage in stages:
        for first in range(0, len(values), 7):
            await send(stage, [GAUGE, COUNTER], values[first : first + 7], first)
    one, *others = [stage._detector.checkpoint() for stage in stages]
    assert all(each == one for each in others)
