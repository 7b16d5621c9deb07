"""Sentinel's own detector as the benchmarks see it: scores by sample, one configuration for all files and sets.

Both functions replay samples in order and look at nothing ahead: no minimum, maximum or length of a file.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.scoring.nab import NabFile
from sentinel.detection.config import DetectorConfig
from sentinel.detection.detector import Detector
from sentinel.telemetry.batch import SampleBatch
from sentinel.telemetry.series import Series, identify

Floats = NDArray[np.float64]

CONFIG = DetectorConfig()


def nab(files: Sequence[NabFile]) -> list[Floats]:
    """The score of every row of every file, each file a series of its own detector."""
    return [_replay(Detector(CONFIG), file.timestamps_ms, file.values[:, None])[:, 0] for file in files]


def machine(train: Floats, test: Floats, step_ms: int) -> tuple[Floats, Floats]:
    """The scores of one machine over both parts, float64[t] and float64[n]; the test part follows the training part.

    train: float64[t, metrics]; test: float64[n, metrics]. step_ms: between samples.
    """
    values = np.concatenate((train, test))
    score = _replay(Detector(CONFIG), (np.arange(len(values)) + 1) * step_ms, values).max(axis=1)
    return score[: len(train)], score[len(train) :]


def _replay(detector: Detector, at_ms: NDArray[np.int64], values: Floats) -> Floats:
    """The score of every sample, float64[n, series]; 0 for one that is late."""
    series: dict[int, Series] = {
        each.id: each for each in (identify("m", {"n": str(number)}) for number in range(values.shape[1]))
    }
    ids = np.fromiter(series, np.uint64, len(series))
    scores = np.zeros(values.shape)
    for row, (now_ms, sample) in enumerate(zip(at_ms, values, strict=True)):
        seen = detector.observe(SampleBatch(ids, np.full(len(ids), now_ms), sample, {} if row else series))
        if seen.accepted:
            # The detector tells of anomalies only; the scores behind them are not part of what it promises.
            scores[row] = detector._state.baseline.last_score[: len(ids)]
    return scores
