"""What holds for any samples: batching, restarts, scale, and numbers at the end of the range."""

import contextlib
import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.detection.anomaly import Anomaly
from sentinel.detection.config import DetectorConfig
from sentinel.detection.detector import Detector
from sentinel.errors import Invalid
from sentinel.telemetry.series import Series
from tests.unit.detection.streams import START_MS, STEP_MS, batch, named, noise, replay

# Short counts, so that a few dozen samples pass through every state.
QUICK = DetectorConfig(
    grace_samples=5, open_after=2, close_after=2, relearn_after=6, relearn_after_s=20, no_data_after_s=60
)
SERIES = named(3)
Row = tuple[Series, int, float]

LEVELS = st.sampled_from([0.0, 1.0, 1.01, -1.0, 5.0, 100.0, 1e6])
ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(-1, 3), LEVELS | st.floats(-1e300, 1e300)), min_size=20, max_size=150
)


def rows(drawn: list[tuple[int, int, float]]) -> list[Row]:
    """Samples of three series; a step back in time now and then makes some of them late."""
    at_ms, made = START_MS, []
    for which, steps, value in drawn:
        at_ms += steps * 1000
        made.append((SERIES[which], at_ms, value))
    return made


def observe(detector: Detector, samples: list[Row], sizes: list[int]) -> tuple[list[Anomaly], int]:
    changes: list[Anomaly] = []
    accepted = start = 0
    for size in [*sizes, len(samples)]:
        seen = detector.observe(batch(samples[start : start + size]))
        changes.extend(seen.changes)
        accepted += seen.accepted
        start += size
    return sorted(changes, key=repr), accepted


@settings(max_examples=40)
@given(ROWS, st.lists(st.integers(0, 12), max_size=30))
def test_results_do_not_depend_on_the_batches(drawn: list[tuple[int, int, float]], sizes: list[int]) -> None:
    samples = rows(drawn)
    whole, parts = Detector(QUICK), Detector(QUICK)
    assert observe(whole, samples, []) == observe(parts, samples, sizes)
    assert whole.open_anomalies() == parts.open_anomalies()
    now_ms = START_MS + 60_000
    prints = [each.fingerprint for each in SERIES]
    assert whole.health(prints, now_ms) == parts.health(prints, now_ms)


@settings(max_examples=60)
@given(ROWS, st.integers(1, 30))
def test_what_is_told_lies_between_the_first_sample_and_the_newest(
    drawn: list[tuple[int, int, float]], size: int
) -> None:
    samples, detector, newest_ms = rows(drawn), Detector(QUICK), START_MS
    for start in range(0, len(samples), size):
        part = samples[start : start + size]
        newest_ms = max(newest_ms, *(at_ms for _, at_ms, _ in part))
        for each in detector.observe(batch(part)).changes:
            ended_ms = newest_ms if each.ended_at_ms is None else each.ended_at_ms
            assert START_MS - 200_000 <= each.started_at_ms <= each.last_at_ms <= ended_ms <= newest_ms


@settings(max_examples=40)
@given(ROWS)
def test_series_do_not_touch_each_other(drawn: list[tuple[int, int, float]]) -> None:
    samples = rows(drawn)
    together, _ = observe(Detector(QUICK), samples, [])
    apart: list[Anomaly] = []
    for series in SERIES:
        apart += observe(Detector(QUICK), [row for row in samples if row[0] is series], [])[0]
    assert together == sorted(apart, key=repr)


@settings(max_examples=40)
@given(ROWS, st.integers(0, 150))
def test_a_restart_from_a_checkpoint_is_as_if_it_never_stopped(drawn: list[tuple[int, int, float]], cut: int) -> None:
    samples = rows(drawn)
    unbroken, first = Detector(QUICK), Detector(QUICK)
    before, _ = observe(first, samples[:cut], [])
    second = Detector.restore(first.checkpoint(), QUICK)
    after, _ = observe(second, samples[cut:], [])
    assert observe(unbroken, samples, [])[0] == sorted(before + after, key=repr)
    assert second.checkpoint() == unbroken.checkpoint()


@given(st.lists(st.sampled_from([1e300, -1e300, 1.7e308, -1.7e308, 0.0, 5e-324, 1.0]) | st.floats(allow_nan=False)))
def test_no_value_puts_a_nan_into_the_state(values: list[float]) -> None:
    detector = Detector(QUICK)
    replay(detector, values, SERIES[0])
    restored = Detector.restore(detector.checkpoint(), QUICK)  # refuses state that is not finite
    for anomaly in restored.open_anomalies():
        numbers = (anomaly.score, anomaly.value, anomaly.expected_low, anomaly.expected_high)
        assert np.isfinite(numbers).all()
        assert not anomaly.expected_low <= anomaly.value <= anomaly.expected_high


@given(st.integers(0, 1000), st.integers(-20, 20), st.sampled_from([0.0, 30.0, 500.0]))
def test_scores_do_not_change_with_the_unit(seed: int, power: int, jump: float) -> None:
    values = np.concatenate((noise(80, seed), [100.0 + jump] * 6, noise(10, seed + 1)))
    plain, scaled = Detector(QUICK), Detector(QUICK)
    a = replay(plain, values, SERIES[0]).changes
    b = replay(scaled, values * 2.0**power, SERIES[0]).changes
    assert [(c.score, c.started_at_ms, c.ended_at_ms) for c in a] == [
        (c.score, c.started_at_ms, c.ended_at_ms) for c in b
    ]


@given(st.integers(0, 1000), st.floats(-500, 500), st.booleans())
def test_scores_do_not_change_with_the_zero_nor_upside_down(seed: int, shift: float, turned: bool) -> None:
    values = np.concatenate((noise(80, seed), [160.0] * 6, noise(10, seed + 1)))
    moved = -(values + shift) if turned else values + shift
    a = replay(Detector(QUICK), values, SERIES[0]).changes
    b = replay(Detector(QUICK), moved, SERIES[0]).changes
    assert [(c.started_at_ms, c.ended_at_ms) for c in a] == [(c.started_at_ms, c.ended_at_ms) for c in b]
    assert [c.score for c in a] == pytest.approx([c.score for c in b], rel=1e-6)
    assert all((one.direction == other.direction) != turned for one, other in zip(a, b, strict=True))


def test_many_series_grow_the_state_and_each_keeps_its_own() -> None:
    series = named(300)
    detector = Detector(dataclasses.replace(QUICK, max_series=300))
    for tick in range(20):
        order = series if tick % 2 else series[::-1]
        detector.observe(batch((each, START_MS + tick * STEP_MS, float(each.id % 97)) for each in order))
    late = [each for each in series if each.id % 97 > 50]
    changes = [
        change
        for tick in (20, 21)
        for change in detector.observe(batch((each, START_MS + tick * STEP_MS, 1.0) for each in late)).changes
    ]
    assert {change.series.fingerprint for change in changes} == {each.fingerprint for each in late}
    for change in changes:
        assert change.expected_low < change.series.id % 97 < change.expected_high


@given(st.binary(max_size=60), st.integers(0, 5000), st.integers(0, 255))
def test_a_damaged_checkpoint_is_refused(garbage: bytes, place: int, byte: int) -> None:
    detector = Detector(QUICK)
    replay(detector, noise(20), SERIES[0])
    whole = detector.checkpoint()
    for damaged in (garbage, whole[: place % len(whole)], whole + b"x", b"SDET" + garbage):
        with pytest.raises(Invalid, match="checkpoint"):
            Detector.restore(damaged, QUICK)
    flipped = bytearray(whole)
    flipped[place % len(whole)] = byte
    with contextlib.suppress(Invalid):
        assert len(Detector.restore(bytes(flipped), QUICK)) == 1


def test_a_checkpoint_of_another_version_is_refused() -> None:
    whole = Detector(QUICK).checkpoint()
    other = whole[:4] + b"\x01" + whole[5:]
    with pytest.raises(Invalid, match=r"checkpoint.version: got 1, expected 3"):
        Detector.restore(other, QUICK)
