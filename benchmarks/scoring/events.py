"""Alarms against labelled segments, without point adjustment.

An episode is a run of samples at or above the threshold; runs with fewer than `join` samples between them are one.
Recall is the share of labelled segments that an episode touches, precision the share of episodes that touch a segment.
An alarm that never ends touches every segment: where more than MOST_IN_ALARM of all samples lie in episodes, nothing
counts as found.
Point adjustment (a segment counts whole once one of its points is found) is left out on purpose: with it a random
score reaches the published state of the art (Kim et al., "Towards a Rigorous Evaluation of Time-series Anomaly
Detection", AAAI 2022).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

MOST_IN_ALARM = 0.2  # several times the share that is labelled in the sets used here
_RANKS_PER_E = 100  # thresholds tried are the scores of ranks 1, 2, … growing by 1 % a step


@dataclass(frozen=True, slots=True)
class EventResult:
    """What one threshold comes to over all machines.

    alarms_per_day: episodes a machine and day. in_alarm: share of all samples that lie in episodes.
    """

    threshold: float
    precision: float
    recall: float
    f1: float
    alarms_per_day: float
    in_alarm: float


def segments(label: Bools) -> tuple[Ints, Ints]:
    """First and last sample of every run of True."""
    edges = np.diff(label.astype(np.int8), prepend=0, append=0)
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1


def episodes(score: Floats, threshold: float, join: int) -> tuple[Ints, Ints]:
    """First and last sample of every episode."""
    first, last = segments(score >= threshold)
    if len(first) < 2:
        return first, last
    apart = first[1:] - last[:-1] > max(join, 1)  # this many less one lie between
    return first[np.append(True, apart)], last[np.append(apart, True)]


def touching(first: Ints, last: Ints, other_first: Ints, other_last: Ints) -> Bools:
    """Which of the spans overlap one of the others; both are sorted and disjoint."""
    if not len(other_first):
        return np.zeros(len(first), np.bool_)
    begun = np.searchsorted(other_first, last, "right")  # others that begin before this one ends
    ended = np.searchsorted(other_last, first, "left")  # others that end before this one begins
    return np.asarray(begun > ended)


def events(
    scores: Sequence[Floats], labels: Sequence[Bools], threshold: float, *, join: int, per_day: float
) -> EventResult:
    """Recall, precision and alarm rate of one threshold for all machines. `per_day`: samples of a machine-day."""
    alarms = hits = found = labelled = samples = lasting = 0
    for score, label in zip(scores, labels, strict=True):
        spans, truth = episodes(score, threshold, join), segments(label)
        alarms += len(spans[0])
        hits += int(touching(*spans, *truth).sum())
        found += int(touching(*truth, *spans).sum())
        labelled += len(truth[0])
        samples += len(score)
        lasting += int((spans[1] - spans[0] + 1).sum())
    if lasting > MOST_IN_ALARM * samples:
        hits = found = 0
    precision = hits / alarms if alarms else 0.0
    recall = found / labelled if labelled else 0.0
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    return EventResult(threshold, precision, recall, f1, alarms * per_day / samples, lasting / samples)


def oracle(scores: Sequence[Floats], labels: Sequence[Bools], *, join: int, per_day: float) -> EventResult:
    """The best F1 of all thresholds tried, chosen with the labels: a bound, not what anybody gets."""
    tried = (events(scores, labels, each, join=join, per_day=per_day) for each in (np.inf, *_thresholds(scores)))
    return max(tried, key=lambda result: result.f1)


def training_threshold(train: Sequence[Floats], alarms_per_day: float, *, join: int, per_day: float) -> float:
    """The lowest threshold that keeps to `alarms_per_day` on the second halves of the training parts.

    It keeps to it there together with every higher one tried; infinite if none does, as where the score often stands
    at its highest value.
    """
    halves = [each[len(each) // 2 :] for each in train]
    unlabelled = [np.zeros(len(each), np.bool_) for each in halves]
    lowest = np.inf
    for threshold in _thresholds(halves):
        result = events(halves, unlabelled, threshold, join=join, per_day=per_day)
        if result.alarms_per_day > alarms_per_day or result.in_alarm > MOST_IN_ALARM:
            break
        lowest = threshold
    return float(lowest)


def average_precision(score: Floats, label: Bools) -> float:
    """Area under the precision-recall curve by steps: mean precision at the labelled samples, ties taken together."""
    order = np.argsort(-score, kind="stable")
    ordered = score[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    hits = np.cumsum(label[order])[last]
    gained = np.diff(hits, prepend=0)
    return float((gained * hits / (last + 1)).sum() / label.sum())


def mean_over_machines(
    measure: Callable[[Floats, Bools], float], scores: Sequence[Floats], labels: Sequence[Bools]
) -> float:
    """The mean of `measure` over machines with at least one label."""
    return float(np.mean([measure(s, label) for s, label in zip(scores, labels, strict=True) if label.any()]))


def _thresholds(scores: Sequence[Floats]) -> Iterator[float]:
    """Scores to try, falling, each once."""
    ordered = np.sort(np.concatenate(scores))[::-1]
    growing = np.exp(np.arange(0, np.log(len(ordered)), 1 / _RANKS_PER_E)).astype(np.int64)
    ranks = np.unique(np.concatenate((growing, [len(ordered)]))) - 1
    return iter(np.unique(ordered[ranks])[::-1].tolist())
