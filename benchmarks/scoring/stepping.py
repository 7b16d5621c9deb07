"""What `benchmarks.detection_speed` times: Sentinel's tiers as bare steps. Re-point these when the detector changes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass

import numpy as np
from numpy.typing import NDArray

from actors.detection import DetectionActor
from sentinel.adapters.in_memory import InMemoryCheckpoints
from sentinel.clock import ManualClock
from sentinel.detection import blocks
from sentinel.detection import kernel as compiled
from sentinel.detection.anomaly import Anomaly
from sentinel.detection.config import DetectorConfig
from sentinel.detection.detector import Detector
from sentinel.detection.pattern import PatternTier
from sentinel.detection.shapes import NOVELTY_CAP
from sentinel.telemetry.batch import SampleBatch
from sentinel.telemetry.series import Series, identify

Floats = NDArray[np.float64]

STEP_MS = 60_000
START_MS = 1_700_000_000_000


@dataclass(frozen=True, slots=True)
class Stepper:
    """One tier over a fixed number of series.

    step: scores and learns one sample of every series, in order of rows, for tick 0, 1, … warm: ticks before it does
    all its work. state: its root, whose arrays are counted. touched: bytes a series that a step reads or writes.
    """

    step: Callable[[int, Floats], object]
    warm: int
    state: object
    touched: int


def described(size: int) -> dict[int, Series]:
    """`size` series by id, in the order of their rows."""
    return {each.id: each for each in (identify("latency", {"pod": str(number)}) for number in range(size))}


def base_tier(size: int) -> Stepper:
    """The detector on batches with one sample of every series, without the two tiers for chosen series."""
    config = DetectorConfig(max_series=max(size, 1), pattern_series=0, service_score=False)
    detector, series = Detector(config), described(size)
    ids = np.fromiter(series, np.uint64, size)

    def step(tick: int, values: Floats) -> object:
        at_ms = np.full(size, START_MS + tick * STEP_MS)
        return detector.observe(SampleBatch(ids, at_ms, values, {} if tick else series))

    baseline = sum(getattr(detector._state.baseline, each.name).itemsize for each in fields(detector._state.baseline))
    return Stepper(step, config.grace_samples, detector, touched=baseline + 24)


def kernel(size: int) -> Stepper:
    """The base tier's arithmetic alone: one compiled call a step, without the search for rows and the second looks."""
    whole = base_tier(size)
    state, config = whole.state._state, whole.state._config  # type: ignore[attr-defined]  # its own shell is not timed
    rows, asked = np.arange(size), state.policies.alarms_per_day
    room = compiled.Told(*np.empty((3, 0), np.float32), *np.empty((2, size), np.int64))
    none = np.zeros(0, np.bool_)

    noise = np.random.default_rng(8)
    for tick in range(whole.warm + 1):
        whole.step(tick, noise.normal(100.0, 5.0, size))

    def step(tick: int, values: Floats) -> object:
        at_ms = np.full(size, START_MS + (whole.warm + 1 + tick) * STEP_MS)
        samples = compiled.Samples(
            rows, at_ms, values, none, state.policies.place, asked, np.float32(config.grace_samples)
        )
        columns = blocks.columns(state.baseline)
        return compiled.advance(columns, state.season.table, state.season.days, samples, room)

    return Stepper(step, 3, (state.baseline, state.season), whole.touched)


def pattern_tier(size: int) -> Stepper | None:
    """The pattern tier alone, on series that were all chosen for it, from when it has half its lags to compare."""
    tier, slots = PatternTier(size), np.arange(size)
    least, alarm = np.full(size, 1e-3), np.full(size, NOVELTY_CAP + 1)

    def step(tick: int, values: Floats) -> object:
        return tier.step(slots, values, least, alarm)

    warm = max(scale.block * scale.lags for scale in tier.scales) // 2
    return Stepper(step, warm, tier, touched=array_bytes(tier) // size)


class _Deaf:
    """Correlation that is told nothing here: `DetectionActor.run`, which tells it, is not started."""

    async def submit(self, anomalies: Sequence[Anomaly]) -> None:
        raise AssertionError(f"{len(anomalies)} anomalies told")


def actor(size: int, pattern_series: int = 0) -> tuple[DetectionActor, int]:
    """A detection actor for `size` series, as Ray would hold it, and its warm-up in samples a series."""
    config = DetectorConfig(max_series=size, pattern_series=pattern_series)
    stage = DetectionActor(
        name="sentinel-detection-0",
        config=config,
        correlation=_Deaf(),
        checkpoints=InMemoryCheckpoints(),
        checkpoint_every_s=60,
        clock=ManualClock(START_MS),
    )
    return stage, config.grace_samples


def array_bytes(root: object) -> int:
    """Bytes of every NumPy array reachable from `root` through attributes, mappings and sequences, each once."""
    seen: set[int] = set()
    total, waiting = 0, [root]
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, Series):
            continue
        seen.add(id(each))
        if isinstance(each, np.ndarray):
            if isinstance(each.base, np.ndarray):
                waiting.append(each.base)
            else:
                total += each.nbytes
        elif isinstance(each, Mapping):
            waiting.extend(each.values())
        elif isinstance(each, list | tuple):
            waiting.extend(each)
        else:
            if is_dataclass(each) and not isinstance(each, type):
                waiting.extend(getattr(each, field.name) for field in fields(each))
            waiting.extend(getattr(each, "__dict__", {}).values())
    return total
