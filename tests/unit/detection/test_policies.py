"""Policies: which series is whose, what people set beside what is learned, and settings that drift."""

import numpy as np
import pytest

from sentinel.detection.anomaly import Anomaly, Condition
from sentinel.detection.config import BurnRate, DetectorConfig, Policy
from sentinel.detection.detector import Detector
from sentinel.errors import Invalid
from sentinel.telemetry.series import Series, identify
from tests.unit.detection.streams import START_MS, STEP_MS, noise, opened, replay

LATENCY = identify("latency", {"service": "web", "route": "/pay"})
UPTIME = identify("availability", {"service": "web"})


def anomalies(policy: Policy, values: object, series: Series = LATENCY) -> list[Anomaly]:
    detector = Detector(DetectorConfig(policies=(policy,), pattern_series=0))
    return opened(replay(detector, np.concatenate((noise(200), np.asarray(values, float))), series).changes)


def test_the_first_policy_that_matches_is_the_series_own():
    config = DetectorConfig(
        policies=(
            Policy(name="pay", metric="lat*", labels={"route": "/pay*"}),
            Policy(name="web", service="web"),
        )
    )
    assert config.policy_of(LATENCY) == 0
    assert config.policy_of(UPTIME) == 1
    assert config.policy_of(identify("latency", {"service": "db"})) == 2


def test_only_the_side_that_matters_is_told():
    up = [Policy(name="up", direction="up"), Policy(name="down", direction="down")]
    assert [len(anomalies(each, [250] * 4)) for each in up] == [1, 0]
    assert [len(anomalies(each, [5] * 4)) for each in up] == [0, 1]


def test_a_static_threshold_works_beside_and_instead_of_what_is_learned():
    beside = anomalies(Policy(name="slow", above=112.0), [115.0] * 4)
    assert [each.part for each in beside] == ["rule"]
    alone = Policy(name="slow", above=400.0, learned=False)
    assert anomalies(alone, [250.0] * 4) == []
    (found,) = anomalies(alone, [450.0] * 4)
    assert (found.part, found.direction) == ("rule", "up")
    (low,) = anomalies(Policy(name="few", below=10.0, learned=False), [3.0] * 4)
    assert low.direction == "down"


def test_a_static_threshold_needs_no_grace():
    detector = Detector(DetectorConfig(policies=(Policy(name="full", above=95.0, learned=False),)))
    assert len(opened(replay(detector, [99.0] * 5, LATENCY).changes)) == 1


def test_a_burn_rate_needs_both_windows():
    slo = Policy(name="slo", slo=BurnRate(objective=0.99, factor=10, long_s=600, short_s=60), learned=False)
    detector = Detector(DetectorConfig(policies=(slo,)))
    errors = identify("error_ratio", {"service": "web"})
    assert replay(detector, [0.001] * 120, errors).changes == ()
    assert replay(detector, [0.5] * 3, errors, 120).changes == (), "a short burst burns little of the hour"
    (found,) = opened(replay(detector, [0.5] * 60, errors, 123).changes)
    assert found.part == "rule"
    calm = replay(detector, [0.001] * 60, errors, 183).changes
    assert calm[-1].ended_at_ms is not None, "the short window ends it long before the long one would"


def test_fewer_alarms_a_day_need_more_to_open():
    quiet, loud = Policy(name="quiet", alarms_per_day=1e-6), Policy(name="loud", alarms_per_day=1.0)
    bump = [138.0] * 4
    assert [len(anomalies(each, bump)) for each in (quiet, loud)] == [0, 1]


def test_other_settings_score_anew_and_forget_nothing():
    detector = Detector(DetectorConfig(pattern_series=0))
    replay(detector, noise(300), LATENCY)
    detector.configure(DetectorConfig(pattern_series=1, policies=(Policy(name="slow", above=112.0),)))
    (found,) = opened(replay(detector, [115.0] * 4, LATENCY, 300).changes)
    assert found.part == "rule"
    assert 95 < (found.expected_low + found.expected_high) / 2 < 105, "the level was known"
    detector.configure(DetectorConfig(policies=(Policy(name="calm", alarms_per_day=1e-9),)))
    assert len(detector.open_anomalies()) == 1


def test_a_series_that_used_to_speak_and_is_silent():
    policy = Policy(name="alive", no_data_after_s=60)
    detector = Detector(DetectorConfig(policies=(policy,)))
    replay(detector, noise(100), LATENCY)
    last_ms = START_MS + 99 * STEP_MS
    assert detector.silences(last_ms + 60_000) == ()
    (silent,) = detector.silences(last_ms + 61_000)
    assert (silent.part, silent.series, silent.ended_at_ms) == ("no_data", LATENCY, None)
    assert detector.silences(last_ms + 99_000) == (), "one silence is told once"
    assert detector.health([LATENCY.fingerprint], last_ms + 61_000)[0].condition == Condition.ANOMALOUS
    back = replay(detector, noise(6, seed=5), LATENCY, 110).changes
    assert [each.ended_at_ms is not None for each in back] == [True]


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Policy(name="p", alarms_per_day=0), "alarms_per_day"),
        (lambda: Policy(name="p", above=float("inf")), "above"),
        (lambda: Policy(name="p", above=1, below=2), "below"),
        (lambda: Policy(name="p", learned=False), "learned"),
        (lambda: Policy(name="p", no_data_after_s=-1), "no_data_after_s"),
        (lambda: Policy(name="p", watch=False, no_data_after_s=60), r"p\].no_data_after_s: .*watch: false"),
        (lambda: BurnRate(objective=1.0), "objective"),
        (lambda: BurnRate(objective=0.9, factor=14.4), "factor"),
        (lambda: BurnRate(objective=0.999, long_s=60, short_s=300), "short_s"),
        (lambda: DetectorConfig(policies=(Policy(name="p"), Policy(name="p"))), "policies"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(make, field: str):
    with pytest.raises(Invalid, match=field):
        make()
