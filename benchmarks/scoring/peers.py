"""Detectors to be compared with: plain ones in NumPy, and river's (online-ml/river, BSD-3).

Each has one configuration and is online: a sample is scored from those before it, and then learned. A machine's score
is the highest of its metrics' unless the method takes all metrics at once.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.scoring.nab import Floats, NabFile

Columns = Callable[[Floats], Floats]
_WARM = 20


@dataclass(frozen=True, slots=True)
class Method:
    """A detector under its name: scores by row for NAB files, and for one machine's training and test part."""

    name: str
    nab: Callable[[Sequence[NabFile]], list[Floats]]
    machine: Callable[[Floats, Floats, int], tuple[Floats, Floats]]


def by_columns(name: str, score: Columns) -> Method:
    """A method from a score of columns: float64[n, m] -> float64[n, m], or float64[n, 1] for all columns at once."""

    def nab(files: Sequence[NabFile]) -> list[Floats]:
        return [score(file.values[:, None])[:, 0] for file in files]

    def machine(train: Floats, test: Floats, step_ms: int) -> tuple[Floats, Floats]:
        del step_ms  # none of them reads the time
        whole = score(np.concatenate((train, test))).max(axis=1)
        return whole[: len(train)], whole[len(train) :]

    return Method(name, nab, machine)


def ewma_z(values: Floats, rate: float = 0.003) -> Floats:
    """Distance from the exponentially weighted mean in standard deviations, these at least 2 % of the range so far."""
    scores = np.zeros(values.shape)
    mean, variance = values[0].copy(), np.zeros(values.shape[1])
    least, most = values[0].copy(), values[0].copy()
    for row, value in enumerate(values):
        residual = value - mean
        if row >= _WARM:
            spread = np.maximum(np.sqrt(variance), 0.02 * (most - least))
            np.divide(np.abs(residual), spread, out=scores[row], where=spread > 0)
        weight = max(rate, 1 / (row + 1))
        mean += weight * residual
        variance += weight * ((1 - weight) * residual * residual - variance)
        np.minimum(least, value, out=least)
        np.maximum(most, value, out=most)
    return scores


def median_mad(values: Floats, window: int = 2000, every: int = 50) -> Floats:
    """Distance from the median of the last `window` samples in scaled median absolute deviations.

    Both are renewed each `every` samples; the deviation is at least 2 % of the window's range.
    """
    scores = np.zeros(values.shape)
    for start in range(every, len(values), every):
        past = values[max(0, start - window) : start]
        median = np.median(past, axis=0)
        spread = np.maximum(1.4826 * np.median(np.abs(past - median), axis=0), 0.02 * np.ptp(past, axis=0))
        now = slice(start, start + every)
        np.divide(np.abs(values[now] - median), spread, out=scores[now], where=spread > 0)
    return scores


def by_training(name: str, *, fast: bool) -> Method:
    """The mean of a machine's three largest slow EWMA z, divided by its 99th percentile over the training part.

    fast: or, where that is more, the mean of all fast z, likewise divided. It is told where the training part ends;
    ours is not. On one metric it is the slow z alone.
    """

    def machine(train: Floats, test: Floats, step_ms: int) -> tuple[Floats, Floats]:
        del step_ms  # it does not read the time
        whole = np.concatenate((train, test))
        slow = np.minimum(ewma_z(whole, 0.0002), 50.0)
        score = _over(np.sort(slow, axis=1)[:, -3:].mean(axis=1), len(train))
        if fast:
            score = np.maximum(score, _over(np.minimum(ewma_z(whole, 0.05), 10.0).mean(axis=1), len(train)))
        return score[: len(train)], score[len(train) :]

    return Method(name, by_columns(name, lambda values: ewma_z(values, 0.0002)).nab, machine)


def _over(score: Floats, train: int) -> Floats:
    usual = float(np.quantile(score[:train], 0.99))
    return score / usual if usual > 0 else score


def random_score(seed: int) -> Columns:
    """Uniform noise: what a measure gives for nothing."""
    generator = np.random.default_rng(seed)
    return lambda values: generator.random((len(values), 1))


def plain() -> list[Method]:
    """The peers that need nothing but NumPy."""
    return [
        by_columns("EWMA z, rate .003", ewma_z),
        by_columns("rolling median/MAD, 2,000 samples", median_mad),
        by_training("three largest slow EWMA z by training", fast=False),
        by_training("the same or all fast EWMA z", fast=True),
        by_columns("random, one seed", random_score(7)),
    ]


def river() -> list[Method]:
    """River's detectors; ImportError if it is not installed."""
    from river import anomaly, compose, preprocessing  # noqa: PLC0415 - an optional peer

    def trees() -> Any:
        return compose.Pipeline(
            preprocessing.MinMaxScaler(), anomaly.HalfSpaceTrees(n_trees=25, height=8, window_size=250, seed=7)
        )

    def univariate(make: Callable[[], Any]) -> Columns:
        def score(values: Floats) -> Floats:
            out = np.zeros(values.shape)
            for column in range(values.shape[1]):
                model = make()
                for row, value in enumerate(values[:, column].tolist()):
                    out[row, column] = model.score_one(None, value)
                    model.learn_one(None, value)
            return np.where(np.isfinite(out), out, 0.0)

        return score

    def joint(values: Floats) -> Floats:
        model, names = trees(), [str(column) for column in range(values.shape[1])]
        out = np.zeros((len(values), 1))
        for row, value in enumerate(values.tolist()):
            sample = dict(zip(names, value, strict=True))
            told = model.score_one(sample)
            out[row] = told if math.isfinite(told) else 0.0
            model.learn_one(sample)
        return out

    return [
        by_columns("river GaussianScorer", univariate(anomaly.GaussianScorer)),
        by_columns("river StandardAbsoluteDeviation", univariate(anomaly.StandardAbsoluteDeviation)),
        by_columns("river HalfSpaceTrees, 25 trees", joint),
    ]
