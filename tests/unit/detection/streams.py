"""Series and batches for the tests of detection."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from sentinel.detection.anomaly import Anomaly
from sentinel.detection.detector import Detector, Observation
from sentinel.telemetry.batch import SampleBatch
from sentinel.telemetry.series import Series, identify

START_MS = 1_700_000_000_000
STEP_MS = 10_000


def named(count: int) -> list[Series]:
    return [identify("m", {"service": "shop", "n": str(number)}) for number in range(count)]


def batch(rows: Iterable[tuple[Series, int, float]], *, described: Sequence[Series] | None = None) -> SampleBatch:
    """A batch of (series, time in ms, value); describes every series in it unless told which."""
    listed = list(rows)
    told = [series for series, _, _ in listed] if described is None else described
    return SampleBatch(
        np.array([series.id for series, _, _ in listed], np.uint64),
        np.array([at_ms for _, at_ms, _ in listed], np.int64),
        np.array([value for _, _, value in listed], np.float64),
        {series.id: series for series in told},
    )


def replay(detector: Detector, values: ArrayLike, series: Series, first: int = 0) -> Observation:
    """Feed `values`, one every STEP_MS from sample number `first`, in one batch."""
    column = np.asarray(values, np.float64)
    rows = ((series, START_MS + STEP_MS * (first + n), value) for n, value in enumerate(column.tolist()))
    return detector.observe(batch(rows))


def opened(changes: Iterable[Anomaly]) -> list[Anomaly]:
    """The first report of each anomaly."""
    first: dict[tuple[str, int], Anomaly] = {}
    for change in changes:
        first.setdefault((change.series.fingerprint, change.started_at_ms), change)
    return list(first.values())


def noise(count: int, seed: int = 1, level: float = 100.0, spread: float = 5.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(level, spread, count)
