"""Curves of anomalies: what they hold, when they end, and that they never take more than they may."""

import dataclasses

import numpy as np
import pytest

from sentinel.detection import curves as module
from sentinel.detection.anomaly import Anomaly
from sentinel.detection.config import DetectorConfig
from sentinel.detection.curves import BEFORE, MOST_ANOMALIES, MOST_POINTS, Curve, Curves, thinned
from sentinel.detection.detector import Detector
from sentinel.detection.explanation import Band, Explanation
from sentinel.telemetry.batch import SampleBatch
from sentinel.telemetry.series import Series
from tests.unit.detection.streams import START_MS, STEP_MS, batch, named, noise, replay

WEB, API = named(2)
BAND = Band(low=(0.0,), high=(10.0,))
BATCH_BYTES = 600


def explanation() -> Explanation:
    detector = Detector(DetectorConfig())
    replay(detector, noise(100), WEB)
    found = detector.explain(WEB.fingerprint)
    assert found is not None
    return found


WHY = explanation()


def anomaly(start: int, series: Series = WEB, end: int | None = None) -> Anomaly:
    return Anomaly(
        series=series,
        direction="up",
        score=8.0,
        value=50.0,
        expected_low=0.0,
        expected_high=10.0,
        started_at_ms=START_MS + STEP_MS * start,
        last_at_ms=START_MS + STEP_MS * (start + 1),
        ended_at_ms=None if end is None else START_MS + STEP_MS * end,
    )


def samples(first: int, count: int, series: Series = WEB) -> SampleBatch:
    return batch((series, START_MS + STEP_MS * n, float(n)) for n in range(first, first + count))


def curve(curves: Curves, of: Anomaly) -> Curve:
    found = curves.find(of.series.fingerprint, of.started_at_ms, of.started_at_ms)
    assert found is not None
    (only,) = found.curves
    return only


def follow(curves: Curves, of: Anomaly) -> None:
    curves.follow(of, WHY, [(of.series, BAND)])


def test_a_curve_begins_before_the_anomaly_and_grows_until_it_is_over() -> None:
    curves, open_ = Curves(1_000_000), anomaly(50)
    curves.keep(samples(0, 52))
    curves.keep(samples(0, 52, API))
    follow(curves, open_)
    assert curve(curves, open_).values.tolist() == list(range(52))
    curves.keep(samples(52, 10))
    assert curve(curves, open_).values.tolist() == list(range(62))
    curves.keep(samples(62, 10))
    assert curves.told(anomaly(50, end=65))
    curves.keep(samples(72, 10))
    ended = curve(curves, open_)
    assert ended.values.tolist() == list(range(66))
    assert (set(ended.low), set(ended.high)) == ({0.0}, {10.0})
    curves.keep(samples(82, 10))
    assert len(curve(curves, open_).values) == 66


def test_a_curve_has_no_more_than_so_many_samples_before_the_anomaly() -> None:
    curves, late = Curves(1_000_000), anomaly(BEFORE + 100)
    curves.keep(samples(0, BEFORE + 110))
    follow(curves, late)
    assert curve(curves, late).values.tolist() == list(range(100, BEFORE + 110))


def test_what_the_detector_refused_is_not_in_the_curve() -> None:
    curves, open_ = Curves(1_000_000), anomaly(5)
    curves.keep(samples(0, 6))
    curves.keep(samples(2, 3))  # late
    follow(curves, open_)
    curve(curves, open_)
    curves.keep(samples(4, 4))  # two of them repeated
    curves.keep(batch([(WEB, START_MS + STEP_MS * 9, float("nan"))]))
    assert curve(curves, open_).values.tolist() == list(range(8))


@pytest.mark.parametrize("size", [1, 7, 100], ids=lambda size: f"batches of {size}")
def test_samples_never_take_more_than_they_may_and_what_is_followed_is_not_lost(size: int) -> None:
    most = 4 * (BATCH_BYTES + 24 * size)
    curves, open_ = Curves(most), anomaly(2 * size)
    for first in range(0, 3 * size, size):
        curves.keep(samples(first, size))
    follow(curves, open_)
    for first in range(3 * size, 60 * size, size):
        curves.keep(samples(first, size))
        assert curves.held_bytes <= most
        curves.keep(samples(first, size, API))
        assert curves.held_bytes <= most
    found = curve(curves, open_)
    assert found.at_ms[-1] == START_MS + STEP_MS * (60 * size - 1)
    assert set(range(2 * size, 60 * size)) <= set(found.values.tolist()) or len(found.values) > MOST_POINTS / 2


def test_a_batch_larger_than_the_room_is_not_kept() -> None:
    curves = Curves(1000)
    curves.keep(samples(0, 100))
    assert curves.held_bytes == 0


def test_without_room_there_is_a_reason_and_no_curve() -> None:
    curves, open_ = Curves(0), anomaly(1)
    curves.keep(samples(0, 5))
    follow(curves, open_)
    found = curves.find(WEB.fingerprint, 0, 2**60)
    assert curves.held_bytes == 0
    assert found is not None
    assert (found.explanation, found.curves) == (WHY, ())


def test_only_the_newest_anomalies_are_kept() -> None:
    curves = Curves(1_000_000)
    every = [anomaly(n) for n in range(MOST_ANOMALIES + 3)]
    for each in every:
        follow(curves, each)
    assert len(curves) == MOST_ANOMALIES
    assert curves.told(every[3])
    assert not curves.told(every[2])
    assert curves.find(WEB.fingerprint, every[0].started_at_ms, every[2].started_at_ms) is None


def test_the_newest_anomaly_of_the_span_is_found() -> None:
    curves, first, second = Curves(1_000_000), anomaly(5, end=10), anomaly(20)
    for each in (first, second):
        follow(curves, each)
    found = curves.find(WEB.fingerprint, first.started_at_ms, second.last_at_ms)
    assert found is not None
    assert found.anomaly == second
    assert curves.find(WEB.fingerprint, second.last_at_ms, 2**60) is None
    assert curves.find(API.fingerprint, 0, 2**60) is None


def test_what_is_worse_is_told_and_the_threshold_stays() -> None:
    curves, open_ = Curves(1_000_000), anomaly(5)
    follow(curves, open_)
    curves.told(dataclasses.replace(open_, value=90.0, score=20.0))
    found = curves.find(WEB.fingerprint, 0, 2**60)
    assert found is not None
    assert (found.explanation.value, found.explanation.threshold) == (90.0, WHY.threshold)


def test_a_long_anomaly_keeps_its_shape_in_bounded_room() -> None:
    curves, open_ = Curves(10_000_000), anomaly(10)
    curves.keep(samples(0, 11))
    follow(curves, open_)
    values = np.ones(5 * MOST_POINTS)
    values[1234] = 99.0
    times = START_MS + STEP_MS * np.arange(11, 11 + len(values))
    curves.keep(SampleBatch(np.full(len(values), WEB.id, np.uint64), times, values))
    found = curve(curves, open_)
    assert MOST_POINTS / 2 <= len(found.values) <= MOST_POINTS
    assert 99.0 in found.values
    assert (np.diff(found.at_ms) > 0).all()


def test_of_two_samples_the_one_that_stands_out_is_kept() -> None:
    at_ms, values = thinned(np.arange(5), np.array([5.0, 9.0, -3.0, 5.0, 5.5]), np.full(5, 5.0))
    assert (at_ms.tolist(), values.tolist()) == ([1, 2, 4], [9.0, -3.0, 5.5])


def test_ids_whose_low_bits_are_alike_are_told_apart() -> None:
    twin = dataclasses.replace(WEB, fingerprint=type(WEB.fingerprint)(f"{WEB.id ^ (1 << 40):016x}"))
    curves, open_ = Curves(1_000_000), anomaly(3)
    curves.keep(batch((each, START_MS + STEP_MS * n, float(n)) for n in range(5) for each in (twin, WEB)))
    follow(curves, open_)
    assert curve(curves, open_).values.tolist() == list(range(5))


def test_samples_are_looked_through_once_a_quarter_of_the_room_and_only_for_somebody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[int] = []
    extend = module._extend

    def counted(batches: list[SampleBatch], followed: list[object]) -> None:
        looked.append(len(batches) if followed else 0)
        extend(batches, followed)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_extend", counted)
    room = 40 * (BATCH_BYTES + 24 * 10)
    curves = Curves(room)
    for n in range(100):
        curves.keep(samples(10 * n, 10, API))
    assert sum(looked) == 0
    follow(curves, anomaly(1000))
    for n in range(100, 200):
        curves.keep(samples(10 * n, 10, API))
    assert sum(looked) <= 40 + 100
