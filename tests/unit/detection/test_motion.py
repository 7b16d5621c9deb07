"""Speed and shift: what a series does that its distance from the level does not show."""

import numpy as np
import pytest

from sentinel.detection.anomaly import Anomaly
from sentinel.detection.config import DetectorConfig, Policy
from sentinel.detection.detector import Detector
from sentinel.telemetry.series import identify
from tests.unit.detection.streams import START_MS, batch, noise, opened

WEB = identify("latency_ms", {"service": "web"})
MINUTE_MS = 60_000
CONFIG = DetectorConfig(pattern_series=0, service_score=False)


def minutes(values: np.ndarray, config: DetectorConfig = CONFIG, *, cut: int = 1_000) -> tuple[Detector, list[Anomaly]]:
    """A detector that was told a value a minute, in batches of `cut`, and what it told."""
    detector, told = Detector(config), []
    for first in range(0, len(values), cut):
        part = values[first : first + cut].tolist()
        rows = ((WEB, START_MS + MINUTE_MS * (first + n), value) for n, value in enumerate(part))
        told += detector.observe(batch(rows)).changes
    return detector, told


def place(at_ms: int) -> int:
    return (at_ms - START_MS) // MINUTE_MS


def swinging(count: int) -> np.ndarray:
    """Twenty times its noise up and down each hour."""
    return noise(count, spread=1.0) + 20 * np.sin(2 * np.pi * np.arange(count) / 60)


@pytest.mark.parametrize(("step", "at", "direction"), [(-15.0, 8_010, "down"), (15.0, 8_040, "up")])
def test_a_step_that_stays_within_the_swing_is_told_by_its_speed(step: float, at: int, direction: str) -> None:
    values = swinging(8_100)
    values[at:] += step
    _, told = minutes(values[: at + 6])
    (found,) = opened(told)
    assert (found.part, found.direction) == ("change", direction)
    assert found.started_at_ms <= found.last_at_ms, "it was seen when it opened"
    assert place(found.started_at_ms) in (at, at + 1)
    assert values[:at].min() < values[at : at + 3].min() < values[at : at + 3].max() < values[:at].max()


def test_an_outlier_is_no_speed_and_neither_is_the_way_back() -> None:
    values = noise(3_000)
    values[[1_000, 1_500, 2_000]] += 1_000
    assert minutes(values)[1] == []


def test_the_end_of_an_anomaly_is_told_as_nothing_else() -> None:
    values = noise(6_000)
    values[3_000:3_060] += 100
    _, told = minutes(values)
    assert [(each.part, each.direction) for each in opened(told)] == [("level", "up")]
    (end,) = (place(each.ended_at_ms) for each in told if each.ended_at_ms is not None)
    assert end == 3_064


def test_the_same_move_once_more_is_fast_no_longer() -> None:
    values = swinging(12_000)
    for at in (8_070, 9_030, 10_050):
        values[at : at + 185] -= 14
    changes = [each for each in opened(minutes(values)[1]) if each.part == "change"]
    assert [place(each.started_at_ms) // 10 * 10 for each in changes] == [8_070]


def test_a_lasting_shift_of_less_than_the_noise_is_told_as_one() -> None:
    values = noise(4_000, spread=5.0)
    values[3_000:] += 7
    detector, told = minutes(values[:3_100])
    (found,) = opened(told)
    assert (found.part, found.direction) == ("shift", "up")
    assert 3_000 <= place(found.started_at_ms) <= 3_040
    assert 102 < found.value < 107
    assert found.expected_low < 100 < found.expected_high < found.value
    of = detector.explain(WEB.fingerprint, found)
    assert of is not None
    assert of.threshold * of.spread == pytest.approx(found.expected_high - of.usual)
    assert of.distance * of.spread == pytest.approx(found.value - of.usual)
    assert of.why.startswith(f"the mean of its newest samples, {found.value:.4g}, is {of.distance:.2f} spreads above")
    shown = detector.band(WEB.fingerprint, found)
    assert shown is not None
    low, high = shown[1].at(np.array([found.last_at_ms]))
    assert (low[0], high[0]) == pytest.approx((100 - 4.5 * 5, 100 + 4.5 * 5), abs=6)


def test_a_shift_that_is_taken_back_ends() -> None:
    values = noise(4_000, spread=5.0)
    values[3_000:3_060] += 7
    _, told = minutes(values)
    (end,) = (place(each.ended_at_ms) for each in told if each.ended_at_ms is not None)
    assert 3_060 < end < 3_120


def test_a_shift_that_stays_is_the_new_normal_after_a_while() -> None:
    values = noise(6_000, spread=5.0)
    values[3_000:] += 7
    detector, told = minutes(values)
    assert detector.open_anomalies() == ()
    assert [each.part for each in opened(told)] == ["shift"]


def test_no_shift_is_told_before_a_series_has_seen_a_whole_day() -> None:
    values = noise(1_700, spread=5.0)
    values[1_500:] += 7
    assert minutes(values)[1] == []


def test_a_shift_to_the_side_that_does_not_matter_is_none() -> None:
    values = noise(3_100, spread=5.0)
    values[3_000:] += 7
    config = DetectorConfig(pattern_series=0, service_score=False, policies=(Policy(name="d", direction="down"),))
    assert minutes(values, config)[1] == []


def test_batches_change_nothing() -> None:
    values = noise(3_400, spread=5.0)
    values[3_000:3_050] += 7
    values[3_200:] += np.where(np.arange(200) < 80, -9, 0)
    (whole, told), (cut, told_cut) = minutes(values, cut=len(values)), minutes(values, cut=7)
    assert told
    assert told == told_cut
    assert whole.checkpoint() == cut.checkpoint()
