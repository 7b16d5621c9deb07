"""The pattern tier: what came before is not new, what never came is; each series by itself and by its past alone."""

import numpy as np
import pytest

from sentinel.detection.pattern import PatternTier
from sentinel.detection.shapes import NOVELTY_CAP, SILENCE, Scale

SMALL = (Scale(block=3, length=2, lags=40, weight=1.0),)
NEVER = np.inf


def square_wave(days: int, seed: int = 3) -> np.ndarray:
    """96 samples a day: low at night, high by day, a little noise."""
    day = np.where((np.arange(96) >= 32) & (np.arange(96) < 80), 80.0, 20.0)
    return np.tile(day, days) + np.random.default_rng(seed).normal(0, 1, 96 * days)


def novelty(columns: np.ndarray, scales=SMALL, alarm: float = NEVER) -> tuple[np.ndarray, np.ndarray]:
    """Raw and heard novelty of `columns` [time, series]."""
    tier = PatternTier(columns.shape[1], scales)
    slots, level = np.arange(columns.shape[1]), np.full(columns.shape[1], alarm)
    told = [tier.step(slots, row, np.full(len(row), 1e-3), level) for row in columns]
    return np.array([each[0] for each in told]), np.array([each[1] for each in told])


def test_a_day_without_its_high_is_new_and_the_next_jump_is_not():
    values = square_wave(20)
    values[96 * 17 + 32 : 96 * 17 + 80] = 20 + np.random.default_rng(9).normal(0, 1, 48)
    raw, _ = novelty(values[:, None], (Scale(block=6, length=8, lags=300, weight=1.0),))
    usual, missing = raw[96 * 10 : 96 * 17].max(), raw[96 * 17 + 32 : 96 * 18].max()
    assert missing > 1.5
    assert missing > usual + 0.5


def test_a_value_far_outside_everything_seen_is_new_at_once():
    values = np.random.default_rng(1).normal(100, 5, 500)
    values[400:402] = 300
    raw, _ = novelty(values[:, None])
    assert raw[399] < 1.0
    assert raw[401] > 2.0


def test_a_score_knows_the_past_alone():
    values = square_wave(6)
    changed = values.copy()
    changed[300:] = 7.0
    np.testing.assert_array_equal(novelty(values[:, None])[0][:300], novelty(changed[:, None])[0][:300])


def test_together_is_as_one_by_one_in_the_same_slots():
    columns = np.stack([square_wave(4, seed) * (1 + seed) for seed in range(7)], axis=1)
    together, _ = novelty(columns)
    tier = PatternTier(7, SMALL)
    apart = np.array(
        [
            [tier.step(np.array([slot]), row[[slot]], np.full(1, 1e-3), np.full(1, NEVER))[0][0] for slot in range(7)]
            for row in columns
        ]
    )
    np.testing.assert_array_equal(together, apart)


def test_units_do_not_matter():
    values = square_wave(6)[:, None]
    np.testing.assert_array_equal(novelty(values)[0], novelty(values * 2.0**30)[0])


def test_an_alarm_is_followed_by_silence():
    values = np.random.default_rng(1).normal(100, 5, 900)
    values[400:420] = 300
    values[410 + SILENCE : 430 + SILENCE] = 900
    raw, heard = novelty(values[:, None], alarm=1.6)
    first = int(np.flatnonzero(heard[:, 0] >= 1.6)[-1])
    assert (heard[first + 1 : first + 1 + SILENCE] == 0).all()
    assert raw[first + 1 : first + 20].max() > 0


@pytest.mark.parametrize("hard", [[0.0], [1e300, -1e300, 0.0], [5e-324, 1.0], [1e-300, 1e300], [7.0, 7.0]])
def test_any_values_give_finite_novelty(hard: list[float]):
    values = np.resize(np.array(hard), 400)
    with np.errstate(over="ignore"):
        raw, _ = novelty(values[:, None])
    assert np.isfinite(raw).all()
    assert (raw <= NOVELTY_CAP).all()


def test_slots_come_and_go_without_touching_the_rest():
    columns = np.stack([square_wave(5, seed) for seed in range(3)], axis=1)
    whole = PatternTier(0, SMALL)
    slots = np.array([whole.add() for _ in range(3)])
    cut = PatternTier(0, SMALL)
    for _ in range(3):
        cut.add()
    level = np.full(3, NEVER)
    for row in columns[:200]:
        whole.step(slots, row, np.full(3, 1e-3), level)
        cut.step(slots, row, np.full(3, 1e-3), level)
    cut, before = PatternTier(0, SMALL), cut
    np.testing.assert_array_equal(cut.adopt(before, np.array([0, 2])), [0, 1])
    assert len(cut) == 2
    for row in columns[200:]:
        kept = whole.step(slots, row, np.full(3, 1e-3), level)[0][[0, 2]]
        np.testing.assert_array_equal(kept, cut.step(np.array([0, 1]), row[[0, 2]], np.full(2, 1e-3), level[:2])[0])
    assert cut.add() == 2
