"""Compile the arithmetic before it is needed: some ten seconds, once an installation."""

import numpy as np

from sentinel.detection.config import DetectorConfig, Policy
from sentinel.detection.detector import Detector
from sentinel.telemetry.batch import SampleBatch
from sentinel.telemetry.series import identify


def warm() -> None:
    """Have all that `Detector.observe` runs compiled, or loaded from where it is kept."""
    detector = Detector(DetectorConfig(policies=(Policy(name="breached", above=0.0),)))
    series = identify("warm", {})
    ids, described = np.array([series.id], np.uint64), {series.id: series}
    detector.observe(SampleBatch(ids, np.array([60_000]), np.array([1.0]), described))


if __name__ == "__main__":
    warm()
