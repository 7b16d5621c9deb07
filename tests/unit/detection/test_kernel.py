"""Compiled arithmetic: where samples lie in a batch, and in memory, changes no bit."""

from dataclasses import fields

import numpy as np

from sentinel.detection import frames, kernel
from sentinel.detection.alarm import Book, Scored, advance_alarms
from sentinel.detection.config import DetectorConfig
from sentinel.detection.detector import Detector
from sentinel.detection.frames_judged import judge_frames
from sentinel.detection.kernel import BLOCK
from sentinel.detection.second_look import look_again
from sentinel.detection.shapes import novelties
from sentinel.detection.warm import warm
from sentinel.telemetry.batch import SampleBatch, unpack_all
from sentinel.telemetry.series import identify

SERIES = 2 * BLOCK + 37
CONFIG = DetectorConfig(pattern_series=0, grace_samples=20)
KNOWN = {each.id: each for each in (identify("m", {"service": f"s{n % 9}", "n": str(n)}) for n in range(SERIES))}
IDS = np.fromiter(KNOWN, np.uint64, SERIES)
FRIDAY_NIGHT_MS = 1_700_870_100_000  # five minutes before the weekend, and so the table of the weekend, begins


def rounds(count: int):
    chance = np.random.default_rng(3)
    for row in range(count):
        values = chance.normal(50, 4, SERIES)
        values[chance.random(SERIES) < 0.01] += 400  # some need a second look, in most blocks
        yield np.full(SERIES, FRIDAY_NIGHT_MS + 10_000 * row) + np.arange(SERIES) % 7, values


def state_after(order_of) -> list[np.ndarray]:
    detector = Detector(CONFIG)
    for row, (at_ms, values) in enumerate(rounds(60)):
        if row == 0:
            detector.observe(SampleBatch(IDS, at_ms, values, KNOWN))
            continue
        for at in order_of(row):
            detector.observe(SampleBatch(IDS[at], at_ms[at], values[at], {}))
    base, season = detector._state.baseline, detector._state.season
    rows = [getattr(base, each.name)[:SERIES] for each in fields(base) if each.name != "watch"]
    return [*rows, season.table[:, :SERIES], season.days[:, :SERIES]]


def test_in_order_shuffled_in_parts_and_with_gaps_are_the_same_to_the_last_bit():
    in_order = state_after(lambda row: [np.arange(SERIES)])
    others = {
        "shuffled": lambda row: [np.random.default_rng(row).permutation(SERIES)],
        "in parts": lambda row: np.array_split(np.arange(SERIES), 5),
        "with gaps": lambda row: [np.arange(0, SERIES, 2), np.arange(1, SERIES, 2)],
    }
    for name, order in others.items():
        for mine, theirs in zip(in_order, state_after(order), strict=True):
            np.testing.assert_array_equal(mine, theirs, err_msg=name)


def test_late_samples_among_others_change_nothing():
    detector, other = Detector(CONFIG), Detector(CONFIG)
    for row, (at_ms, values) in enumerate(rounds(30)):
        described = {} if row else KNOWN
        other.observe(SampleBatch(IDS, at_ms, values, described))
        stale = at_ms.copy()
        stale[BLOCK : BLOCK + 10] = 1
        if row:
            seen = detector.observe(SampleBatch(IDS, stale, values, {}))
            assert seen.refused == {"late": 10}
            at = slice(BLOCK, BLOCK + 10)
            detector.observe(SampleBatch(IDS[at], at_ms[at], values[at], {}))
        else:
            detector.observe(SampleBatch(IDS, at_ms, values, described))
    assert detector.open_anomalies() == other.open_anomalies()
    np.testing.assert_array_equal(detector._state.baseline.level, other._state.baseline.level)


def test_everything_is_compiled_before_the_first_sample():
    doors = (kernel.is_good, kernel.is_rising, kernel.survey, kernel.advance, look_again, advance_alarms)
    compiled = (*doors, novelties, frames.enter, judge_frames)
    warm()
    before = [len(each.signatures) for each in compiled]
    detector = Detector(CONFIG)
    for row, (at_ms, values) in enumerate(rounds(30)):
        (packed,) = unpack_all(SampleBatch(IDS, at_ms, values, {} if row else KNOWN).pack())
        assert not packed.values.flags.writeable
        detector.observe(packed)
        crooked = np.frombuffer(b"x" + values.tobytes(), np.float64, SERIES, 1)
        assert not crooked.flags.aligned
        detector.observe(SampleBatch(IDS[::-1], at_ms[::-1] + 5_000, crooked[::-1], {}))
    hot, at_ms, values = np.ones(1, np.bool_), np.ones(1, np.int64), np.ones(1)
    a_service = Scored(at_ms, values, values, values, values, hot, hot, hot, hot, at_ms, hot)
    opened = Book().advance(np.zeros(1, np.int64), np.full(1, -1, np.int32), a_service, CONFIG)[1].opened
    assert opened.all()
    assert [len(each.signatures) for each in compiled] == before == [1] * len(compiled)
