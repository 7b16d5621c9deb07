"""One setting means the same for calm and for wild series."""

import numpy as np
import pytest

from sentinel.detection import baseline as tier
from sentinel.detection.columns import Baseline, fresh, take
from sentinel.detection.config import DetectorConfig
from sentinel.detection.detector import Detector
from sentinel.detection.judge import samples_a_day
from sentinel.telemetry.batch import SampleBatch
from sentinel.telemetry.series import identify

SERIES = 400
ROUNDS = 4000
DAY = 1440  # samples, one a minute

DISTRIBUTIONS = {
    "Gauss": lambda chance: chance.normal(100, 5, (ROUNDS, SERIES)),
    "Laplace": lambda chance: chance.laplace(0, 3, (ROUNDS, SERIES)),
    "exponential": lambda chance: chance.exponential(2.0, (ROUNDS, SERIES)),
    "uniform": lambda chance: chance.uniform(0, 1, (ROUNDS, SERIES)),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_about_as_many_samples_a_day_pass_the_threshold_as_are_asked_for(name: str) -> None:
    asked = 1.0
    config = DetectorConfig(alarms_per_day=asked, pattern_series=0, service_score=False)
    detector = Detector(config)
    series = {each.id: each for each in (identify("m", {"n": str(number)}) for number in range(SERIES))}
    ids = np.fromiter(series, np.uint64, SERIES)
    passed = 0
    for row, values in enumerate(DISTRIBUTIONS[name](np.random.default_rng(4))):
        at_ms = np.full(SERIES, (row + 1) * 60_000)
        if row >= ROUNDS // 2:
            base = detector._state.baseline
            spoken = samples_a_day(base.seen, base.since_ms, base.last_ms)
            needed = tier.threshold(base.q99, base.excess, spoken, np.full(len(base.q99), asked, np.float32))
        detector.observe(SampleBatch(ids, at_ms, values, {} if row else series))
        if row >= ROUNDS // 2:
            passed += int((detector._state.baseline.z[:SERIES] >= needed[:SERIES]).sum())
    a_day = passed / SERIES / (ROUNDS // 2 / DAY)
    assert a_day < asked * 6
    if name != "uniform":  # which ends, and has no tail to pass
        assert a_day > asked / 6


def after(values: list[float]) -> Baseline:
    """What one series is like after these values, in its own first units, of which one is 1."""
    detector, series = Detector(DetectorConfig(pattern_series=0)), identify("m", {})
    for place, value in enumerate([1024.0, *values]):
        at_ms = np.array([60_000 * (place + 1)])
        detector.observe(SampleBatch(np.array([series.id], np.uint64), at_ms, np.array([value]), {series.id: series}))
    return take(detector._state.baseline, np.array([0]))


def test_the_first_sample_is_the_level_and_the_young_weigh_all_alike() -> None:
    base = after([1027.0, 1029.0, 1028.0])
    assert base.level[0] == pytest.approx(4.5 - 1.5, abs=1e-5), "the mean of 0, 3, 5 and 4"
    assert 1.0 < base.spread[0] < 3.0
    assert after([]).spread[0] == 0, "one sample says nothing of a spread"


def test_one_wild_value_moves_little() -> None:
    calm = [1024.0 + (-1.0) ** place for place in range(50)]
    before, wild = after(calm), after([*calm, 1e6])
    assert wild.level[0] - before.level[0] < 0.1
    assert wild.spread[0] < 1.3 * before.spread[0]


def test_the_floor_is_a_share_of_the_level_and_not_of_where_it_is_measured_from() -> None:
    base = fresh(Baseline, 2)
    base.level[:] = (0.0, 5.0)
    base.zero[:] = (-1000.0, 5.0)
    np.testing.assert_allclose(tier.floor(base.level, base.zero), [1.0 + tier.TINY, tier.TINY], rtol=1e-6)
