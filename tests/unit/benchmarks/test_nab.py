"""The NAB score: its ends, windows worked by hand, and a slow reading of the published rule."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.scoring.nab import PROFILES, NabFile, nab_scores, probation, scaled_sigmoid
from sentinel.errors import Invalid

MINUTE = 60_000


def file(rows: int = 100, windows: tuple[tuple[int, int], ...] = ((40, 59),), name: str = "a") -> NabFile:
    at_ms = np.arange(rows) * MINUTE
    return NabFile(name, at_ms, np.zeros(rows), tuple((left * MINUTE, right * MINUTE) for left, right in windows))


def marked(rows: int, *at: int) -> np.ndarray:
    score = np.zeros(rows)
    score[list(at)] = 1.0
    return score


def sigmoid(x: float) -> float:
    return 2 / (1 + math.exp(5 * x)) - 1


def test_nothing_is_0_and_the_first_row_of_every_window_is_100():
    files = [file(), file(windows=((30, 39), (70, 89)), name="b")]
    nothing = nab_scores(files, [np.full(100, 0.5)] * 2)
    perfect = nab_scores(files, [marked(100, 40), marked(100, 30, 70)])
    assert set(nothing) == set(PROFILES)
    for profile in PROFILES:
        assert nothing[profile].score == 0
        assert nothing[profile].threshold == math.inf
        assert perfect[profile].score == pytest.approx(100)
        assert (perfect[profile].tp, perfect[profile].fp, perfect[profile].found) == (3, 0, 3)
        assert perfect[profile].fn == 20 + 10 + 20 - 3


def test_a_window_worked_by_hand():
    # Found at row 49 of 40..59, position -(59 - 49 + 1) / 20; a false alarm 10 rows behind, at 10 / 19; one before.
    result = nab_scores([file()], [marked(100, 20, 49, 69)], threshold=1.0)
    earned = sigmoid(-11 / 20) / sigmoid(-1)
    lost = sigmoid(10 / 19) - 1.0
    assert result["standard"].score == pytest.approx(100 * (earned + 0.11 * lost + 1) / 2)
    assert result["reward_low_FP_rate"].score == pytest.approx(100 * (earned + 0.22 * lost + 1) / 2)
    assert result["reward_low_FN_rate"].score == pytest.approx(100 * (earned + 0.11 * lost + 2) / 3)
    assert (result["standard"].tp, result["standard"].fp, result["standard"].fn) == (1, 2, 19)


def test_only_the_earliest_row_of_a_window_counts():
    late_first = np.zeros(100)
    late_first[[55, 45]] = 2.0, 1.0
    both = nab_scores([file()], [late_first], threshold=1.0)["standard"]
    early = nab_scores([file()], [marked(100, 45)], threshold=1.0)["standard"]
    assert both.score == pytest.approx(early.score)
    assert (both.tp, both.found) == (2, 1)


def test_the_head_of_a_file_does_not_count():
    assert (probation(100), probation(22_695)) == (15, 750)
    alone = nab_scores([file()], [marked(100, 40)])["standard"]
    early = nab_scores([file()], [marked(100, 0, 14, 40)])["standard"]
    assert early == alone
    assert nab_scores([file()], [marked(100, 15, 40)], threshold=1.0)["standard"].fp == 1


def test_a_fixed_threshold_is_not_optimised():
    score = np.linspace(0, 1, 100)
    assert nab_scores([file()], [score], threshold=2.0)["standard"].score == 0
    everything = nab_scores([file()], [score], threshold=0.0)["standard"]
    assert (everything.tp, everything.fn, everything.fp) == (20, 0, 65)


def test_bad_input_is_named():
    with pytest.raises(Invalid, match="one array a file"):
        nab_scores([file()], [])
    with pytest.raises(Invalid, match="without NaN"):
        nab_scores([file()], [np.full(100, np.nan)])
    with pytest.raises(Invalid, match="labelled window"):
        nab_scores([file(windows=())], [np.zeros(100)])
    with pytest.raises(Invalid, match="times of rows"):
        nab_scores([NabFile("a", np.arange(3) * MINUTE, np.zeros(3), ((1, 2),))], [np.zeros(3)])


def slow(files: list[NabFile], scores: list[np.ndarray], threshold: float, fp: float, fn: float) -> float:
    """The rule in words, row by row, at one threshold."""
    raw, windows = 0.0, 0
    for each, score in zip(files, scores, strict=True):
        best: dict[int, float] = {}
        for row, value in enumerate(score):
            edges = [(left // MINUTE, right // MINUTE) for left, right in each.windows]
            inside = next((n for n, (left, right) in enumerate(edges) if left <= row <= right), None)
            if value < threshold or row < probation(len(score)):
                continue
            if inside is not None:
                left, right = edges[inside]
                worth = sigmoid(-(right - row + 1) / (right - left + 1)) / sigmoid(-1)
                best[inside] = max(best.get(inside, 0.0), worth)
                continue
            before = [(left, right) for left, right in edges if right < row]
            position = 3.0 if not before else (row - before[-1][1]) / (before[-1][1] - before[-1][0])
            raw += fp * (-1.0 if position >= 3 else sigmoid(position))
        windows += len(each.windows)
        raw += sum(best.values()) - fn * (len(each.windows) - len(best))
    return 100 * (raw + fn * windows) / (windows + fn * windows)


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), levels=st.sampled_from([2, 5, 1000]))
def test_the_sweep_finds_what_trying_every_threshold_finds(seed, levels):
    noise = np.random.default_rng(seed)
    files = [file(60, ((20, 29), (33, 36))), file(80, ((50, 69),), "b")]
    scores = [noise.integers(0, levels, len(each)) / levels for each in files]
    thresholds = [math.inf, *np.unique(np.concatenate(scores))]
    for profile, result in nab_scores(files, scores).items():
        weights = PROFILES[profile]
        best = max(slow(files, scores, each, weights.fp, weights.fn) for each in thresholds)
        assert result.score == pytest.approx(best)
        assert slow(files, scores, result.threshold, weights.fp, weights.fn) == pytest.approx(best)


def test_the_sigmoid_has_the_published_values():
    assert scaled_sigmoid(np.array([-1.0, -0.5, 0.0, 1.0, 3.0, 1e9])) == pytest.approx(
        [0.98661, 0.84828, 0.0, -0.98661, -1.0, -1.0], abs=5e-6
    )
