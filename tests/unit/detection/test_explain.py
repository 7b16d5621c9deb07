"""Why an anomaly opened: the numbers must be those it was judged by, and the sentence must say them."""

import dataclasses
import math

import numpy as np
import pytest

from sentinel.detection import baseline as tier
from sentinel.detection.config import BurnRate, DetectorConfig, Policy
from sentinel.detection.detector import Detector
from sentinel.detection.explanation import Band, Explanation, number
from sentinel.detection.telling import SERVICE_METRIC, service_series
from sentinel.ids import Fingerprint
from sentinel.telemetry.series import identify
from tests.unit.detection.streams import START_MS, STEP_MS, batch, named, noise, replay

WEB, API = named(2)
DAY_MS = 86_400_000


def explained(detector: Detector) -> Explanation:
    (anomaly,) = detector.open_anomalies()
    found = detector.explain(anomaly.series.fingerprint)
    assert found is not None
    return found


def test_a_level_is_told_in_the_numbers_that_opened_it() -> None:
    detector = Detector(DetectorConfig(alarms_per_day=0.01))
    replay(detector, noise(200), WEB)
    (anomaly,) = replay(detector, [200, 210, 205], WEB, 200).changes
    of = detector.explain(WEB.fingerprint, anomaly)
    assert of is not None
    assert (of.part, of.direction, of.value, of.policy, of.seasonal) == ("level", "up", 210, "default", False)
    assert of.usual == pytest.approx(100, abs=3)
    assert of.spread == pytest.approx(5, rel=0.3)
    assert of.distance == pytest.approx((210 - of.usual) / of.spread)
    tail = of.excess * math.log(float(tier.TAIL) * of.samples_a_day / of.alarms_per_day)
    assert of.threshold == pytest.approx((of.percentile + tail) * of.caution)
    assert of.caution == pytest.approx(1, rel=0.05)
    assert of.samples_a_day == pytest.approx(DAY_MS / STEP_MS, rel=0.02)
    assert (of.expected_low, of.expected_high) == pytest.approx((anomaly.expected_low, anomaly.expected_high), rel=0.02)
    # What the score says in units of the threshold, the distance says too.
    assert of.score / 6 == pytest.approx(of.distance / of.threshold, rel=0.05)
    assert of.why.startswith(f"210 is {of.distance:.1f} spreads above what is usual ({number(of.usual)}); an anomaly ")
    assert f"opens at {of.threshold:.1f}: " in of.why
    assert "once in 100 days by its own past (policy default)" in of.why


def test_the_highest_sample_so_far_is_told_against_the_threshold_it_opened_at() -> None:
    detector = Detector(DetectorConfig())
    replay(detector, noise(200), WEB)
    (anomaly,) = replay(detector, [150, 160, 150], WEB, 200).changes
    first = detector.explain(WEB.fingerprint, anomaly)
    assert first is not None
    replay(detector, [155, 300, 150], WEB, 203)
    now = detector.anomaly(WEB.fingerprint)
    assert now is not None
    later = first.worse(now)
    assert (later.value, later.threshold) == (300, first.threshold)
    assert later.distance == pytest.approx(later.score / 6 * first.threshold / first.caution, rel=0.05)
    assert first.worse(anomaly) is first


def test_a_series_that_alarmed_not_long_ago_must_be_further_out_and_it_is_said_why() -> None:
    detector = Detector(DetectorConfig())
    replay(detector, noise(200), WEB)
    replay(detector, [250] * 3 + [100] * 6, WEB, 200)
    (again,) = replay(detector, [400] * 3, WEB, 209).changes
    of = detector.explain(WEB.fingerprint, again)
    assert of is not None
    assert of.caution == pytest.approx(1.5, rel=0.05)
    assert of.why.endswith("times 1.5 as it alarmed not long ago")


def test_the_model_by_time_of_day_is_named_and_its_band_follows_the_day() -> None:
    step_ms, count = 600_000, 1250
    at_ms = START_MS // DAY_MS * DAY_MS + step_ms * np.arange(count)  # a Tuesday
    day = 2 * np.pi * at_ms / DAY_MS
    values = 100 + 60 * np.sin(day) + np.random.default_rng(1).normal(0, 2, count)
    detector = Detector(DetectorConfig())
    detector.observe(batch((WEB, int(at), float(value)) for at, value in zip(at_ms, values, strict=True)))
    last = int(at_ms[-1])
    detector.observe(batch((WEB, last + step_ms * n, 500.0) for n in (1, 2, 3)))
    of, shown = explained(detector), detector.band(WEB.fingerprint)
    assert (of.part, of.seasonal) == ("season", True)
    assert "what is usual at this time of day" in of.why
    assert shown is not None
    low, high = shown[1].at(at_ms[-144:])
    assert np.mean((low <= values[-144:]) & (values[-144:] <= high)) > 0.95
    assert high.max() - high.min() > 80


def test_a_rule_is_told_by_its_limit_and_its_policy() -> None:
    rule = Policy(name="full", above=90, learned=False)
    detector = Detector(DetectorConfig(policies=(rule,)))
    replay(detector, [50] * 5 + [95] * 3, WEB)
    of = explained(detector)
    assert (of.part, of.rule, of.rule_limit) == ("rule", "above 90", 90)
    assert of.why == "95 is above 90, a rule that people set (policy full)"


def test_a_budget_that_burns_is_told() -> None:
    objective = Policy(name="slo", slo=BurnRate(objective=0.99, factor=10), learned=False)
    detector = Detector(DetectorConfig(policies=(objective,)))
    replay(detector, [0.5] * 400, WEB)
    of = explained(detector)
    assert of.rule == "burning errors over 10 times as fast as 99 % allows"
    assert of.rule_limit == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("after", "told"),
    [([], "and 62 are too many: more than four times"), ([101.0, 99.0], "times on end: more than four times")],
    ids=["while it lasts", "when it has ended in the same batch"],
)
def test_a_flat_line_is_told_by_its_length(after: list[float], told: str) -> None:
    detector = Detector(DetectorConfig(pattern_series=0))
    replay(detector, noise(300), WEB)
    (anomaly,) = replay(detector, [100.0] * 80 + after, WEB, 300).changes
    of = detector.explain(WEB.fingerprint, anomaly)
    assert of is not None
    assert of.part == "flat"
    assert of.same_for == 80
    assert told in of.why


def test_silence_is_told_by_what_the_policy_allows() -> None:
    detector = Detector(DetectorConfig(policies=(Policy(name="beats", no_data_after_s=60),)))
    replay(detector, noise(100), WEB)
    (anomaly,) = detector.silences(START_MS + 100 * STEP_MS + 120_000)
    of = detector.explain(WEB.fingerprint, anomaly)
    assert of is not None
    assert of.why.startswith("silent since 2023-11-14T22:29:50Z, and policy beats allows 60 s of silence")


def test_a_shape_never_seen_is_told_as_the_odds_of_its_past() -> None:
    of = dataclasses.replace(_plain(), part="pattern", novelty=3.0, novelty_threshold=2.5)
    assert of.why.startswith("a shape or a range never seen in its past: novelty 3.0, one in 1000 of its stretches")


def test_a_whole_service_is_told_by_the_metrics_that_moved_most() -> None:
    metrics = [identify(f"m{n}", {"service": "shop"}) for n in range(6)]
    values = np.random.default_rng(3).normal(100, 5, (1520, 6))
    values[1500:, :3] += 32
    values[1500:, 3] -= 32
    detector = Detector(DetectorConfig(pattern_series=0, alarms_per_day=1))
    for first in range(0, len(values), 40):
        chunk = enumerate(values[first : first + 40].tolist(), start=first)
        rows = ((each, START_MS + STEP_MS * n, x) for n, row in chunk for each, x in zip(metrics, row, strict=True))
        detector.observe(batch(rows))
    whole = service_series("shop").fingerprint
    assert detector.anomaly(whole) is not None
    of = detector.explain(whole)
    assert of is not None
    assert (of.metric, of.part, of.value, of.percentile) == (SERVICE_METRIC, "service", of.distance, 1.0)
    assert of.distance >= of.threshold > 1
    assert {each.metric for each in of.moved[:4]} == {"m0", "m1", "m2", "m3"}
    assert {each.metric: each.spreads < 0 for each in of.moved[:4]}["m3"]
    assert f"most: {of.moved[0].metric} " in of.why
    assert detector.band(whole) is None


def test_a_series_without_an_anomaly_is_told_as_it_is_now() -> None:
    detector = Detector(DetectorConfig())
    replay(detector, noise(200), WEB)
    before = detector.checkpoint()
    of = detector.explain(WEB.fingerprint)
    assert of is not None
    assert of.distance < of.threshold
    assert of.score < 6
    assert detector.checkpoint() == before, "asking changes nothing"
    assert detector.explain(API.fingerprint) is None
    assert detector.explain(Fingerprint("0" * 16)) is None
    assert detector.anomaly(API.fingerprint) is None


@pytest.mark.parametrize("size", [1e-300, 1e-280, 1e-30, 1e30, 1e290, 1e299], ids=str)
def test_series_of_any_size_are_told_without_a_fault(size: float) -> None:
    detector = Detector(DetectorConfig())
    replay(detector, noise(200) * size, WEB)
    replay(detector, np.array([900.0] * 4) * size, WEB, 200)
    of, shown = detector.explain(WEB.fingerprint), detector.band(WEB.fingerprint, detector.anomaly(WEB.fingerprint))
    assert of is not None
    assert all(math.isfinite(each) for each in (of.distance, of.threshold, of.caution, of.score))
    assert (of.distance > of.threshold) is (1e-290 < size < 1e299)
    assert of.why
    assert shown is not None


def test_numbers_are_those_of_people() -> None:
    told = [number(each) for each in (0.0, 0.23456, 12.5, 1001.0, 123456.7, 2.5e-9, 3e12)]
    assert told == ["0", "0.2346", "12.5", "1001", "123457", "2.5e-09", "3e+12"]


def test_a_band_of_one_number_is_the_same_at_all_times() -> None:
    band = Band(low=(1.0,), high=(2.0,))
    low, high = band.at(np.array([START_MS, START_MS + DAY_MS]))
    assert (low.tolist(), high.tolist()) == ([1.0, 1.0], [2.0, 2.0])
    assert [len(each) for each in band.at(np.empty(0, np.int64))] == [0, 0]


def _plain() -> Explanation:
    detector = Detector(DetectorConfig())
    replay(detector, noise(100), WEB)
    found = detector.explain(WEB.fingerprint)
    assert found is not None
    return found
