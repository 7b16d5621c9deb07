"""Episodes, segments and thresholds, worked by hand; areas against slow readings of their definitions."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.scoring.events import (
    average_precision,
    episodes,
    events,
    mean_over_machines,
    oracle,
    segments,
    training_threshold,
)
from benchmarks.scoring.vus import vus_pr, window_of


def where(n: int, *spans: tuple[int, int]) -> np.ndarray:
    label = np.zeros(n, np.bool_)
    for first, last in spans:
        label[first : last + 1] = True
    return label


def spans(pair: tuple[np.ndarray, np.ndarray]) -> list[tuple[int, int]]:
    return list(zip(*(each.tolist() for each in pair), strict=True))


def test_segments_are_runs_of_true():
    assert spans(segments(where(10, (0, 1), (4, 4), (8, 9)))) == [(0, 1), (4, 4), (8, 9)]
    assert spans(segments(where(3))) == []


@pytest.mark.parametrize(
    ("join", "expected"),
    [(0, [(0, 1), (3, 3), (6, 6)]), (1, [(0, 1), (3, 3), (6, 6)]), (2, [(0, 3), (6, 6)]), (3, [(0, 6)])],
)
def test_runs_with_fewer_samples_between_them_than_join_are_one_episode(join, expected):
    assert spans(episodes(np.array([1.0, 1, 0, 1, 0, 0, 1, 0]), 1.0, join)) == expected


def test_events_worked_by_hand():
    score = where(100, (10, 12), (20, 20), (50, 50), (90, 99)).astype(float)
    label = where(100, (12, 15), (30, 35), (95, 96), (98, 98))
    result = events([score, np.zeros(100)], [label, where(100)], 1.0, join=1, per_day=100)
    # Of four alarms the first and last touch a segment; of four segments all but the second are touched.
    assert (result.precision, result.recall, result.f1) == (0.5, 0.75, 0.6)
    assert result.alarms_per_day == 2.0


def test_no_alarm_is_no_division_by_zero():
    result = events([np.zeros(10)], [where(10, (2, 3))], 1.0, join=1, per_day=10)
    assert (result.precision, result.recall, result.f1, result.alarms_per_day) == (0, 0, 0, 0)


def test_the_oracle_finds_the_threshold_that_parts_them():
    noise = np.random.default_rng(1)
    label = where(2000, (500, 520), (1500, 1500))
    score = noise.random(2000) + 2.0 * label
    result = oracle([score], [label], join=1, per_day=1000)
    assert (result.precision, result.recall) == (1, 1)
    assert 1 < result.threshold <= 3


def test_an_alarm_that_never_ends_is_not_perfect():
    label = where(1000, (500, 520))
    assert oracle([np.ones(1000)], [label], join=1, per_day=1000).f1 == 0
    endless = events([np.ones(1000)], [label], 1.0, join=1, per_day=1000)
    assert (endless.in_alarm, endless.alarms_per_day, endless.f1) == (1, 1, 0)
    assert training_threshold([np.ones(1000)], 2.0, join=1, per_day=1000) == math.inf


def test_the_training_threshold_keeps_to_the_rate_on_the_second_half_only():
    quiet = np.zeros(1000)
    quiet[[100, 200, 300]] = 9.0  # the first half does not count
    quiet[[600, 700, 800]] = 3.0, 2.0, 1.0
    assert training_threshold([quiet], 2.0, join=1, per_day=500) == 2.0
    assert training_threshold([quiet], 1.5, join=1, per_day=500) == 3.0
    assert training_threshold([quiet], 0.5, join=1, per_day=500) == math.inf


def test_average_precision_worked_by_hand():
    label = np.array([True, False, True, False])
    assert average_precision(np.array([4.0, 3, 2, 1]), label) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(np.ones(4), label) == 0.5, "ties are taken together"
    both = [label, where(4)]
    assert mean_over_machines(average_precision, [np.array([4.0, 3, 2, 1])] * 2, both) == pytest.approx(5 / 6)


def slow_vus(score: np.ndarray, label: np.ndarray, window: int) -> float:
    """TSB-AD's definition, width by width and threshold by threshold."""
    n, truth = len(score), spans(segments(label))
    ordered = np.sort(score)[::-1]
    areas = []
    for width in range(window + 1):
        half, buffered = width // 2, label.astype(float)
        for first, last in truth:
            for i in range(n):
                distance = i - last if i > last else first - i
                if 0 < distance <= half:
                    buffered[i] += math.sqrt(1 - distance / width)
        buffered = np.minimum(buffered, 1)
        reach = np.zeros(n, np.bool_)
        for first, last in truth:
            reach[max(first - half, 0) : last + half + 1] = True
        groups = spans(segments(reach))
        area = before = 0.0
        for i in np.linspace(0, n - 1, 250).astype(int):
            hit = score >= ordered[i]
            labels = np.where(label, 1.0, buffered * hit)
            found = (labels * hit).sum()
            existence = np.mean([hit[first : last + 1].any() for first, last in groups])
            recall = min(found / ((label.sum() + labels.sum()) / 2), 1) * existence
            area += (recall - before) * found / hit.sum()
            before = recall
        areas.append(area)
    return float(np.mean(areas))


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), window=st.sampled_from([0, 1, 7, 20]))
def test_vus_is_what_its_definition_says(seed, window):
    noise = np.random.default_rng(seed)
    label = where(300, (3, 9), (100, 130), (140, 140), (295, 299))
    score = np.round(noise.random(300) + 0.5 * label, 2)
    assert vus_pr(score, label, window) == pytest.approx(slow_vus(score, label, window))


def test_the_window_is_the_period_of_the_first_metric():
    assert window_of(np.sin(np.arange(5000) * 2 * np.pi / 60)) == 60
    assert window_of(np.ones(500)) == 125
    assert window_of(np.random.default_rng(1).normal(size=5000).cumsum()) in (125, *range(6, 304))
