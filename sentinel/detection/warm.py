"""Compile the arithmetic before it is needed: under a minute, once an installation."""

import numpy as np

from sentinel.detection.config import DetectorConfig, Policy
from sentinel.detection.detector import Detector
from sentinel.detection.services import LEAST_MEMBERS
from sentinel.telemetry.batch import SampleBatch
from sentinel.telemetry.series import identify


def warm() -> None:
    """Have all that `Detector.observe` runs compiled, or loaded from where it is kept."""
    detector = Detector(DetectorConfig(policies=(Policy(name="breached", above=0.0),)))
    series = [identify(f"warm_{number}", {"service": "warm"}) for number in range(LEAST_MEMBERS)]
    ids, described = np.array([each.id for each in series], np.uint64), {each.id: each for each in series}
    for at_ms in range(60_000, 240_000, 60_000):  # three rounds: the second ends the first, the third is judged whole
        detector.observe(SampleBatch(ids, np.full(len(ids), at_ms), np.ones(len(ids)), described))
    detector.silences(240_000)  # moves alarms on from Python, as those of whole services are


if __name__ == "__main__":
    warm()
