"""The life of an anomaly, what is refused, and what the detector says of a series' health."""

import dataclasses

import numpy as np
import pytest

from sentinel.detection.anomaly import Condition
from sentinel.detection.config import DetectorConfig
from sentinel.detection.detector import Detector, Refusal
from sentinel.detection.weighing import OPEN_SCORE
from sentinel.errors import Invalid
from sentinel.ids import Fingerprint
from tests.unit.detection.streams import START_MS, STEP_MS, batch, named, noise, opened, replay

CONFIG = DetectorConfig()
(WEB,) = named(1)


def warm(config: DetectorConfig = CONFIG, count: int = 200) -> Detector:
    detector = Detector(config)
    assert replay(detector, noise(count), WEB).changes == ()
    return detector


def test_an_anomaly_opens_on_a_run_and_starts_where_the_run_did() -> None:
    detector = warm()
    assert replay(detector, [200, 210], WEB, 200).changes == ()
    (anomaly,) = replay(detector, [205], WEB, 202).changes
    assert anomaly.direction == "up"
    assert anomaly.value == 210
    assert anomaly.started_at_ms == START_MS + 200 * STEP_MS
    assert anomaly.last_at_ms == START_MS + 202 * STEP_MS
    assert anomaly.ended_at_ms is None
    assert 10 < anomaly.score < 40
    assert 50 < anomaly.expected_low < 100 < anomaly.expected_high < 150
    assert detector.open_anomalies() == (anomaly,)


def test_a_fall_is_an_anomaly_too() -> None:
    (anomaly,) = replay(warm(), [20, 10, 20], WEB, 200).changes
    assert (anomaly.direction, anomaly.value) == ("down", 10)
    assert anomaly.value < anomaly.expected_low


def test_short_bursts_and_swings_open_nothing() -> None:
    detector = warm()
    assert replay(detector, [300, 300, 100, 300, 300, 100], WEB, 200).changes == ()
    assert replay(detector, [300, 10] * 3, WEB, 206).changes == ()


def test_an_anomaly_closes_after_a_calm_and_not_before() -> None:
    detector = warm()
    replay(detector, [200, 200, 200], WEB, 200)
    assert replay(detector, [100] * 4, WEB, 203).changes == ()
    assert replay(detector, [200], WEB, 207).changes == ()
    assert replay(detector, [100] * 4, WEB, 208).changes == ()
    (closed,) = replay(detector, [100], WEB, 212).changes
    assert closed.started_at_ms == START_MS + 200 * STEP_MS
    assert closed.last_at_ms == START_MS + 207 * STEP_MS
    assert closed.ended_at_ms == START_MS + 212 * STEP_MS
    assert detector.open_anomalies() == ()


def test_a_value_between_the_thresholds_keeps_an_anomaly_open() -> None:
    detector = warm()
    (anomaly,) = replay(detector, [200] * 3, WEB, 200).changes
    level = (anomaly.expected_low + anomaly.expected_high) / 2
    band = anomaly.expected_high - level
    assert replay(detector, [level + 0.7 * band] * 20, WEB, 203).changes == ()
    assert len(detector.open_anomalies()) == 1


def test_worse_is_told_only_when_it_doubles() -> None:
    detector = warm()
    (first,) = replay(detector, [160] * 3, WEB, 200).changes
    assert replay(detector, [165, 170], WEB, 203).changes == ()
    (worse,) = replay(detector, [270, 271, 272], WEB, 205).changes
    assert worse.started_at_ms == first.started_at_ms
    assert worse.score >= 2 * first.score
    reports = replay(detector, [10.0**n for n in range(3, 200)], WEB, 208).changes
    assert len(reports) <= 7


def test_what_is_flagged_is_not_learned() -> None:
    one, other = warm(), warm()
    replay(one, [200] * 50 + [100] * 5, WEB, 200)
    replay(other, [900] * 50 + [100] * 5, WEB, 200)
    ((at_one,), (at_other,)) = (d.health([WEB.fingerprint], START_MS + 254 * STEP_MS) for d in (one, other))
    assert at_one.last_score == at_other.last_score < 1


def test_a_level_that_stays_becomes_normal_but_not_soon() -> None:
    config = dataclasses.replace(CONFIG, relearn_after=30, relearn_after_s=600)
    detector = warm(config)
    moved = noise(400, seed=2, level=200)
    changes = replay(detector, moved, WEB, 200).changes
    assert len(opened(changes)) == 1
    closing = changes[-1]
    assert closing.ended_at_ms is not None
    # 600 s are 60 samples; then a whole grace passes before the series is judged, and called well, again.
    assert (closing.ended_at_ms - closing.started_at_ms) // STEP_MS == pytest.approx(60 + 60 + 5, abs=3)
    assert replay(detector, noise(100, seed=3, level=200), WEB, 600).changes == ()
    assert len(replay(detector, [300] * 3, WEB, 700).changes) == 1


def test_a_new_normal_counts_its_samples_from_when_it_began() -> None:
    detector = warm(dataclasses.replace(CONFIG, relearn_after=30, relearn_after_s=600))
    replay(detector, noise(400, seed=2, level=200), WEB, 200)
    base = detector._state.baseline
    began = (int(base.since_ms[0]) - START_MS) // STEP_MS
    assert 250 < began < 270
    assert 600 - began - 10 <= base.seen[0] <= 600 - began, "a few are flagged, and not learned"


def test_relearning_waits_for_both_the_samples_and_the_time() -> None:
    slow = warm(dataclasses.replace(CONFIG, relearn_after=30, relearn_after_s=1e6))
    replay(slow, noise(400, seed=2, level=200), WEB, 200)
    assert len(slow.open_anomalies()) == 1
    many = warm(dataclasses.replace(CONFIG, relearn_after=1000, relearn_after_s=0))
    replay(many, noise(400, seed=2, level=200), WEB, 200)
    assert len(many.open_anomalies()) == 1


def test_a_series_that_cried_wolf_must_be_further_out() -> None:
    detector = warm()
    burst = [145] * 3 + [100] * 7
    assert [bool(replay(detector, burst, WEB, 200 + 10 * n).changes) for n in range(4)] == [True, True, False, False]
    assert len(replay(detector, [600] * 3, WEB, 240).changes) == 1


def test_nothing_is_judged_in_its_grace() -> None:
    detector = Detector(CONFIG)
    assert replay(detector, [1, 1000] * 29 + [1], WEB).changes == ()
    (health,) = detector.health([WEB.fingerprint], START_MS + 58 * STEP_MS)
    assert (health.condition, health.last_score) == (Condition.NO_DATA, 0.0)


@pytest.mark.parametrize("level", [0.0, 1e-6, 95.0, -3.0, 1e12])
def test_a_constant_series_is_calm_and_a_step_of_it_is_seen(level: float) -> None:
    detector = Detector(CONFIG)
    assert replay(detector, [level] * 100, WEB).changes == ()
    assert replay(detector, [level * 1.005] * 3, WEB, 100).changes == ()
    assert len(replay(detector, [level * 1.2 + 1e-5] * 3, WEB, 103).changes) == 1


def test_late_and_repeated_samples_are_refused_and_harmless() -> None:
    detector, twin = warm(), warm()
    seen = replay(detector, [500, 500, 500], WEB, 50)
    assert (seen.accepted, seen.refused, seen.changes) == (0, {Refusal.LATE: 3}, ())
    again = detector.observe(batch([(WEB, START_MS + 200 * STEP_MS, 1.0)] * 3))
    assert (again.accepted, again.refused) == (1, {Refusal.LATE: 2})
    twin.observe(batch([(WEB, START_MS + 200 * STEP_MS, 1.0)]))
    assert detector.checkpoint() == twin.checkpoint()


def test_series_nobody_described_are_asked_for() -> None:
    one, two = named(2)
    detector = Detector(CONFIG)
    seen = detector.observe(batch([(one, 1, 1.0), (two, 1, 1.0), (two, 2, 1.0)], described=[one]))
    assert (seen.accepted, seen.refused, seen.unknown) == (1, {Refusal.UNKNOWN_SERIES: 2}, (two.id,))
    assert detector.observe(batch([(two, 1, 1.0)])).accepted == 1
    assert detector.observe(batch([(two, 2, 1.0)], described=[])).accepted == 1


def test_past_the_limit_new_series_are_refused_and_known_ones_go_on() -> None:
    one, two = named(2)
    detector = Detector(dataclasses.replace(CONFIG, max_series=1))
    seen = detector.observe(batch([(one, 1, 1.0), (two, 1, 1.0), (one, 2, 1.0)]))
    assert (seen.accepted, seen.refused, seen.unknown) == (2, {Refusal.SERIES_LIMIT: 1}, ())
    assert len(detector) == 1


def test_values_that_are_no_numbers_are_refused() -> None:
    seen = Detector(CONFIG).observe(batch([(WEB, 1, np.nan), (WEB, 2, np.inf), (WEB, 3, 1.0)]))
    assert (seen.accepted, seen.refused) == (1, {Refusal.NOT_FINITE: 2})


def test_an_empty_batch_is_nothing() -> None:
    seen = Detector(CONFIG).observe(batch([]))
    assert (seen.accepted, dict(seen.refused), seen.changes, seen.unknown) == (0, {}, (), ())


def test_health() -> None:
    detector = warm()
    last_ms = START_MS + 199 * STEP_MS
    unknown = Fingerprint("0" * 16)
    (well, none) = detector.health([WEB.fingerprint, unknown], last_ms)
    assert (well.condition, well.last_at_ms) == (Condition.NORMAL, last_ms)
    assert (none.fingerprint, none.condition, none.last_at_ms) == (unknown, Condition.NO_DATA, None)
    silence_ms = round(CONFIG.no_data_after_s * 1000)
    assert detector.health([WEB.fingerprint], last_ms + silence_ms)[0].condition == Condition.NORMAL
    assert detector.health([WEB.fingerprint], last_ms + silence_ms + 1)[0].condition == Condition.NO_DATA
    replay(detector, [300] * 3, WEB, 200)
    (ill,) = detector.health([WEB.fingerprint], last_ms)
    assert ill.condition == Condition.ANOMALOUS
    assert ill.last_score > OPEN_SCORE


def test_silent_series_are_retired_and_the_rest_are_unharmed() -> None:
    quiet, loud, ill = named(3)
    detector, twin = Detector(CONFIG), Detector(CONFIG)
    replay(detector, noise(100), quiet)
    replay(detector, [*noise(97), 900, 900, 900], ill)
    for each in (detector, twin):
        replay(each, noise(100, seed=4), loud, 100)
    before_ms = START_MS + 100 * STEP_MS
    assert detector.retire(before_ms) == 1
    assert detector.retire(before_ms) == 0
    assert len(detector) == 2
    assert detector.health([quiet.fingerprint], before_ms)[0].last_at_ms is None
    assert [anomaly.series for anomaly in detector.open_anomalies()] == [ill]
    assert replay(detector, [500] * 3, loud, 200).changes == replay(twin, [500] * 3, loud, 200).changes
    assert replay(detector, noise(3), quiet, 300).accepted == 3


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"grace_samples": 1}, "grace_samples"),
        ({"open_after": 0}, "open_after"),
        ({"alarms_per_day": 0.0}, "alarms_per_day"),
        ({"pattern_series": -1}, "pattern_series"),
        ({"no_data_after_s": 0.0}, "no_data_after_s"),
        ({"alarms_per_day": float("nan")}, "alarms_per_day"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(change: dict[str, float], field: str) -> None:
    with pytest.raises(Invalid, match=field):
        DetectorConfig(**change)  # type: ignore[arg-type]
