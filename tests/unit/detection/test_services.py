"""The service tier: a fault that shows in several metrics at once, and in none of them alone."""

import numpy as np

from sentinel.detection.config import DetectorConfig
from sentinel.detection.detector import Detector
from sentinel.detection.telling import SERVICE_METRIC, service_series
from sentinel.telemetry.series import Series, identify
from tests.unit.detection.streams import START_MS, STEP_MS, batch, opened

CONFIG = DetectorConfig(pattern_series=0)


def members(count: int, service: str = "web") -> list[Series]:
    return [identify(f"m{number}", {"service": service}) for number in range(count)]


def rounds(series: list[Series], values: np.ndarray, first: int = 0) -> list[tuple[Series, int, float]]:
    """One sample of each series a round; values [rounds, series]."""
    return [
        (each, START_MS + (first + row) * STEP_MS, float(value))
        for row, line in enumerate(values)
        for each, value in zip(series, line, strict=True)
    ]


def usual(series: int, count: int = 1500, seed: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 5, (count, series))


def shifted(series: int, count: int = 12, seed: int = 4) -> np.ndarray:
    """Every metric five spreads off: too little for any of them."""
    return np.random.default_rng(seed).normal(125, 5, (count, series))


def test_what_no_metric_shows_alone_they_show_together():
    series = members(8)
    detector = Detector(CONFIG)
    assert detector.observe(batch(rounds(series, usual(8)))).changes == ()
    found = opened(detector.observe(batch(rounds(series, shifted(8), 1500))).changes)
    assert [(each.series.metric, each.part) for each in found] == [(SERVICE_METRIC, "service")]
    assert found[0].series == service_series("web")
    health = detector.health([service_series("web").fingerprint], START_MS + 1512 * STEP_MS)[0]
    assert health.condition == "anomalous"
    after = detector.observe(batch(rounds(series, usual(8, 100, seed=7), 1512))).changes
    assert [each.ended_at_ms is not None for each in after] == [True]


def test_three_series_are_no_service():
    series = members(3)
    detector = Detector(CONFIG)
    detector.observe(batch(rounds(series, usual(3))))
    assert detector.observe(batch(rounds(series, shifted(3), 1500))).changes == ()


def test_services_do_not_touch_each_other():
    one, other = members(6, "one"), members(6, "other")
    detector = Detector(CONFIG)
    calm = usual(12)
    detector.observe(batch(rounds(one + other, calm)))
    both = np.concatenate((shifted(6), usual(6, 12, seed=8)), axis=1)
    found = opened(detector.observe(batch(rounds(one + other, both, 1500))).changes)
    assert {each.series.service for each in found} == {"one"}


def test_a_round_is_judged_when_it_is_whole_or_the_next_begins():
    series = members(6)
    whole, missing = Detector(CONFIG), Detector(CONFIG)
    for each in (whole, missing):
        each.observe(batch(rounds(series, usual(6))))
    bad = shifted(6)
    found = opened(whole.observe(batch(rounds(series, bad, 1500))).changes)
    # Without its last metric no round is whole, so each is judged one round late; the fault is found all the same.
    late = opened(missing.observe(batch(rounds(series[:5], bad[:, :5], 1500))).changes)
    assert [each.series.metric for each in found] == [each.series.metric for each in late] == [SERVICE_METRIC]


def test_batches_do_not_matter_while_rounds_come_in_order():
    series = members(6)
    samples = rounds(series, np.concatenate((usual(6, 200), shifted(6), usual(6, 30, seed=9))))
    whole, parts = Detector(CONFIG), Detector(CONFIG)
    together = list(whole.observe(batch(samples)).changes)
    apart = []
    for start in range(0, len(samples), 41):
        apart += parts.observe(batch(samples[start : start + 41])).changes
    assert sorted(together, key=repr) == sorted(apart, key=repr)
    restored = Detector.restore(parts.checkpoint(), CONFIG)
    more = batch(rounds(series, shifted(6, seed=11), 300))
    assert restored.observe(more).changes == parts.observe(more).changes


def test_it_can_be_turned_off():
    series = members(8)
    detector = Detector(DetectorConfig(pattern_series=0, service_score=False))
    detector.observe(batch(rounds(series, usual(8))))
    assert detector.observe(batch(rounds(series, shifted(8), 1500))).changes == ()
