"""Histograms: their buckets in one form, and the quantile of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from sentinel.errors import Invalid

MAX_MEMBERS = 256  # of one histogram: more buckets say nothing more about a quantile
SMALLEST_SCALE, LARGEST_SCALE = -10, 20  # of exponential histograms: what the SDKs can make
QUANTILE = 0.95
MEAN, QUANTILE_ENDING = "_mean", "_p95"

Floats = NDArray[np.float64]


def quantile(share: float, bounds: Floats, counts: Floats) -> Floats:
    """The `share`-quantile of each of g histograms, float64[g], in the unit of the bounds; nan without observations.

    bounds float64[g, b]: upper bounds, ascending, the last may be +inf. counts float64[g, b]: observations up to each
    bound; one that is below its left neighbour is taken to equal it. Linear within a bucket, from 0 in the first if
    its bound is positive; beyond the last finite bound, that bound: the rules of Prometheus's histogram_quantile
    (prometheus/prometheus promql/quantile.go).
    """
    counts = np.maximum.accumulate(counts, axis=1)
    total = counts[:, -1]
    rank = share * total
    at = np.argmax(counts >= rank[:, None], axis=1)
    rows = np.arange(len(at))
    before = np.maximum(at - 1, 0)
    upper = bounds[rows, at]
    lower = np.where(at > 0, bounds[rows, before], 0.0)
    below = np.where(at > 0, counts[rows, before], 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = lower + (upper - lower) * ((rank - below) / (counts[rows, at] - below))
    first = np.where(upper <= 0, upper, inside)
    beyond = np.where(at > 0, lower, np.nan)
    found = np.where(np.isinf(upper), beyond, np.where(at == 0, first, inside))
    return np.where(total > 0, found, np.nan)


@dataclass(frozen=True, slots=True)
class Buckets:
    """Upper bounds, ascending, and how many observations lie up to each. fixed: the bounds stay as they are."""

    bounds: tuple[float, ...]
    below: tuple[float, ...]
    fixed: bool


def explicit(bounds: Sequence[float], counts: Sequence[int]) -> Buckets | None:
    """The buckets of an OpenTelemetry histogram; None if it has none. Raises Invalid if they make no sense."""
    if not counts and not bounds:
        return None
    if len(counts) != len(bounds) + 1:
        raise Invalid("bucket_counts", f"{len(counts)} counts", f"{len(bounds) + 1}, one more than explicit_bounds")
    return Buckets(_with_last(tuple(bounds)), tuple(map(float, accumulate(counts))), fixed=True)


@lru_cache(maxsize=1024)  # the points of a metric, and most metrics of a program, have the same bounds
def _with_last(bounds: tuple[float, ...]) -> tuple[float, ...]:
    if len(bounds) > MAX_MEMBERS:
        raise Invalid("explicit_bounds", f"{len(bounds)} bounds", f"at most {MAX_MEMBERS}")
    if not all(map(math.isfinite, bounds)) or any(low >= high for low, high in pairwise(bounds)):
        raise Invalid("explicit_bounds", bounds[:8], "finite numbers, each greater than the one before")
    return (*bounds, math.inf)


def exponential(
    scale: int, zero: int, zero_threshold: float, up: tuple[int, Sequence[int]], down: tuple[int, Sequence[int]]
) -> Buckets:
    """The buckets of an OpenTelemetry exponential histogram; `up` and `down` are offset and counts.

    Bucket i holds base**i < value <= base**(i+1), base = 2**(2**-scale), and mirrored for negative values.
    Raises Invalid for a scale that no SDK makes.
    """
    if not SMALLEST_SCALE <= scale <= LARGEST_SCALE:
        raise Invalid("scale", scale, f"a scale from {SMALLEST_SCALE} to {LARGEST_SCALE}")
    bounds = [np.array([max(zero_threshold, 0.0)])]
    counts = [np.array([zero], np.float64)]
    if up[1]:
        # No observation lies between the zero bucket and the lower edge of the first.
        bounds.append(_edges(scale, *up))
        counts.append(np.array([0, *up[1]], np.float64))
    if down[1]:
        bounds.insert(0, -_edges(scale, *down)[::-1])
        counts.insert(0, np.array([0, *down[1][::-1]], np.float64))
    return Buckets(
        tuple(np.concatenate(bounds).tolist()), tuple(np.cumsum(np.concatenate(counts)).tolist()), fixed=False
    )


def _edges(scale: int, offset: int, counts: Sequence[int]) -> Floats:
    with np.errstate(over="ignore"):
        edges: Floats = np.exp2(np.arange(offset, offset + len(counts) + 1) * 2.0**-scale)
    return edges
