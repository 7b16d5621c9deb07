"""One setting means the same for calm and for wild series."""

import numpy as np
import pytest

from sentinel.detection import baseline as tier
from sentinel.detection.columns import Baseline, fresh
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


def test_the_first_sample_is_the_level_and_the_young_weigh_all_alike() -> None:
    zeros, least = np.zeros(1, np.float32), np.full(1, 1e-9, np.float32)
    level, spread = zeros, zeros
    for seen, value in enumerate([3.0, 5.0, 4.0]):
        even = np.full(1, 1 / (seen + 1), np.float32)
        clips = np.zeros(1, np.bool_)
        step, spread = tier.learn(value - level, spread, least, even, clips, tier.LEVEL_RATE, tier.SPREAD_RATE)
        level = level + step
    assert level[0] == pytest.approx(4.0)
    assert 0.5 < spread[0] < 1.5


def test_one_wild_value_moves_little() -> None:
    spread, least = np.ones(1, np.float32), np.full(1, 1e-9, np.float32)
    wild = np.full(1, 1e6, np.float32)
    step, after = tier.learn(wild, spread, least, None, None, tier.LEVEL_RATE, tier.SPREAD_RATE)
    assert step[0] == pytest.approx(0.08)
    assert after[0] < 1.05


def test_the_floor_is_a_share_of_the_level_and_not_of_where_it_is_measured_from() -> None:
    base = fresh(Baseline, 2)
    base.level[:] = (0.0, 5.0)
    base.zero[:] = (-1000.0, 5.0)
    np.testing.assert_allclose(tier.floor(base.level, base.zero), [1.0 + tier.TINY, tier.TINY], rtol=1e-6)
