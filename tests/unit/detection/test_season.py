"""A value that is usual at noon and unheard of at night."""

import numpy as np

from sentinel.detection.config import DetectorConfig
from sentinel.detection.detector import Detector
from sentinel.detection.season import WEEKDAY_SLOTS, Season, place_of
from sentinel.telemetry.batch import SampleBatch
from sentinel.telemetry.series import identify
from tests.unit.detection.streams import opened

MONDAY_MS = 1_700_438_400_000  # 2023-11-20 00:00 UTC
STEP_MS = 300_000
A_DAY = 288
WEB = identify("requests", {"service": "web"})
CONFIG = DetectorConfig(pattern_series=0)


def curve(days: int, seed: int = 1) -> np.ndarray:
    """Flat nights, and a high plateau from 9 to 17 on every day, with a sharp rise and fall."""
    day = np.where((np.arange(A_DAY) >= 108) & (np.arange(A_DAY) < 204), 900.0, 100.0)
    return np.tile(day, days) + np.random.default_rng(seed).normal(0, 10, A_DAY * days)


def feed(detector: Detector, values: np.ndarray, first: int = 0):
    at_ms = MONDAY_MS + STEP_MS * (first + np.arange(len(values)))
    ids = np.full(len(values), WEB.id, np.uint64)
    return detector.observe(SampleBatch(ids, at_ms, values, {WEB.id: WEB})).changes


def test_once_it_has_proved_itself_the_daily_rise_is_usual_and_its_absence_is_not():
    detector = Detector(CONFIG)
    feed(detector, curve(5))
    friday = curve(1, seed=2)
    assert feed(detector, friday, 4 * A_DAY) == (), "the same day again is late, and changes nothing"
    next_monday = 7 * A_DAY
    values = curve(1, seed=3)
    values[108:160] = np.random.default_rng(5).normal(100, 10, 52)  # the morning never comes
    found = opened(feed(detector, values, next_monday))
    assert [each.part for each in found] == ["season"]
    assert found[0].direction == "down"


def test_a_weekend_has_its_own_table():
    week = MONDAY_MS + 86_400_000 * np.arange(7)
    kind, slot = place_of(week)
    np.testing.assert_array_equal(kind, [0, 0, 0, 0, 0, 1, 1])
    np.testing.assert_array_equal(slot, [0, 0, 0, 0, 0, WEEKDAY_SLOTS, WEEKDAY_SLOTS])
    assert place_of(np.array(MONDAY_MS + 5 * 86_400_000 + 7_200_000)) == (1, WEEKDAY_SLOTS + 2)


def test_a_slot_is_learned_within_its_first_visit_and_slowly_after():
    detector = Detector(CONFIG)
    noon, before_noon = 24, 23

    def above_its_neighbour() -> float:
        return float((season.table[noon, 0] - season.table[before_noon, 0]) * base.unit[0])

    half_hours = [np.full(6, 900.0 if place % 48 == noon else 100.0) + 0.1 * np.arange(6) for place in range(96)]
    feed(detector, np.concatenate(half_hours[:48]))
    base, season = detector._state.baseline, detector._state.season
    assert 600 < above_its_neighbour() < 800, "most of it within the first visit"
    feed(detector, np.concatenate(half_hours[48:]), A_DAY)
    learned = above_its_neighbour()
    feed(detector, np.full(A_DAY, 100.0) + 0.1 * np.arange(A_DAY), 2 * A_DAY)
    assert 0.3 * learned < above_its_neighbour() < 0.9 * learned, "one day without it is not the end of it"


def test_growth_and_removal_keep_what_was_learned():
    season = Season(3)
    season.table[:, 1] = 7
    season.grow(8)
    assert (season.table[:, 1] == 7).all()
    other = Season(4)
    other.adopt(season, np.array([1, 2]), 2)
    assert (other.table[:, 2] == 7).all()
    assert (other.table[:, :2] == 0).all()
