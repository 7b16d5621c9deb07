"""The arithmetic of score and learning, against NumPy's own mean and deviation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.detection import score as scoring
from tests.unit.detection.streams import noise


def learned(values: np.ndarray) -> tuple[float, float]:
    level, spread = np.zeros(1), np.zeros(1)
    for seen, value in enumerate(values):
        unit = scoring.scale(level, spread)
        level, spread = scoring.learn(np.array([value]), np.array([seen]), level, spread, unit)
    return float(level[0]), float(spread[0])


def test_a_young_series_weighs_its_samples_alike() -> None:
    values = noise(10)
    level, spread = learned(values)
    assert level == pytest.approx(values.mean())
    residuals = [values[n] - values[:n].mean() for n in range(1, 10)]
    assert spread == pytest.approx(np.sqrt(np.square(residuals).sum() / 10))


def test_level_and_spread_of_noise_are_found() -> None:
    level, spread = learned(noise(5000, level=100, spread=5))
    assert level == pytest.approx(100, abs=2)
    assert spread == pytest.approx(5, rel=0.15)


def test_one_wild_value_moves_little() -> None:
    calm, wild = noise(500), noise(500)
    wild[400] = 1e300
    (level, spread), (after_level, after_spread) = learned(calm), learned(wild)
    assert abs(after_level - level) < 0.2 * spread
    assert after_spread == pytest.approx(spread, rel=0.1)


def test_a_daily_curve_is_followed() -> None:
    day = 100 + 30 * np.sin(2 * np.pi * np.arange(8640) / 8640)
    values = day + noise(8640, level=0, spread=3)
    level, spread = np.zeros(1), np.zeros(1)
    highest = 0.0
    for seen, value in enumerate(values):
        unit = scoring.scale(level, spread)
        if seen > 60:
            highest = max(highest, float(scoring.score(np.array([value]), level, unit)[0]))
        level, spread = scoring.learn(np.array([value]), np.array([seen]), level, spread, unit)
    assert highest < 6


@given(st.floats(-1e300, 1e300), st.floats(-1e300, 1e300), st.floats(0, 1e300))
def test_scores_and_state_stay_finite(value: float, level: float, spread: float) -> None:
    at, unit = np.array([level]), scoring.scale(np.array([level]), np.array([spread]))
    score = scoring.score(np.array([value]), at, unit)
    assert 0 <= score[0] <= scoring.SCORE_CAP
    for seen in (0, 5, 100):
        after = scoring.learn(np.array([value]), np.array([seen]), at, np.array([spread]), unit)
        assert np.isfinite(after).all()


def test_the_floor_is_a_share_of_the_level() -> None:
    unit = scoring.scale(np.array([0.0, 200.0, -200.0, 200.0]), np.array([0.0, 0.0, 0.0, 7.0]))
    assert unit.tolist() == [scoring.ABSOLUTE_FLOOR, 0.2, 0.2, 7.0]
