"""How strongly curves speak: each series against its own normal, as a level and as a change, in spreads.

The detector hands over a level only, for what it learns follows the series. Whoever has the curve of a series and a
normal that may be old - a replay, a benchmark - gets from here the same numbers and the change beside them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sentinel.errors import Invalid
from sentinel.telemetry.kinds import AVAILABILITY, CPU, ERRORS, LATENCY, MEMORY, TRAFFIC

Floats = NDArray[np.float64]

# The least spread of a series, as a share of its usual value: below it a difference harms nobody.
FLOOR: Mapping[str, float] = {LATENCY: 0.05, CPU: 0.05, TRAFFIC: 0.10, MEMORY: 0.02, AVAILABILITY: 0.005, ERRORS: 0.05}
_FLOOR = 0.05
_LEAST = 10  # samples of normal, below which nothing is said
_MEAN_UP_TO = 4  # a short window has no median to speak of
_TO_SIGMA = 1.349  # interquartile range of a normal distribution, in standard deviations
_MAD_TO_SIGMA = 1.4826
_TAIL = 0.95
_TAIL_TO_SIGMA = 1.645


@dataclass(frozen=True, slots=True)
class Readings:
    """m series at one time, float64[m] each.

    usual: the median of normal. spread: robust, in units of the series. value: of the window. level, change: signed
    distances from `usual` and from just before, in spreads. All are NaN where there is too little to compare.
    """

    usual: Floats
    spread: Floats
    value: Floats
    level: Floats
    change: Floats


def read(normal: Floats, before: Floats, window: Floats, kinds: Sequence[str]) -> Readings:
    """Compare `window` float64[w, m] with `normal` [n, m] and `before` [b, m]; NaN is a missing sample.

    The value of a window is its median, or its mean where it has up to 4 samples, and never its maximum: one spike
    is no fault. The spread is the largest of IQR/1.349, the scaled MAD and a floor by kind. A change is measured in
    the larger of that spread and the usual size of a change over the same distance in time. Raises Invalid for
    shapes that do not fit.
    """
    m = len(kinds)
    for name, array in (("normal", normal), ("before", before), ("window", window)):
        if array.ndim != 2 or array.shape[1] != m:
            raise Invalid(name, array.shape, f"a table with {m} columns, one a series")
    enough = np.isfinite(normal).sum(axis=0) >= _LEAST
    normal = np.where(enough, normal, 0.0)
    least, low, usual, high, most = np.nanquantile(normal, (1 - _TAIL, 0.25, 0.5, 0.75, _TAIL), axis=0)
    tail = np.maximum(most - usual, usual - least) / _TAIL_TO_SIGMA
    mad = np.nanmedian(np.abs(normal - usual), axis=0)
    floor = np.array([FLOOR.get(kind, _FLOOR) for kind in kinds]) * np.abs(usual)
    spread = np.maximum.reduce([(high - low) / _TO_SIGMA, mad * _MAD_TO_SIGMA, tail, floor, np.full(m, 1e-9)])
    value, earlier = _value(window), _value(before)
    lag = max((len(before) + len(window)) // 2, 1)
    moves = np.abs(normal[lag:] - normal[:-lag])
    known = np.isfinite(moves).sum(axis=0) >= _LEAST
    usual_move = np.nanmedian(np.where(known, moves, 0.0), axis=0) * _MAD_TO_SIGMA
    nothing = np.where(enough, 0.0, np.nan)
    return Readings(
        usual=usual + nothing,
        spread=spread + nothing,
        value=value,
        level=(value - usual) / spread + nothing,
        change=(value - earlier) / np.maximum(spread, usual_move) + nothing,
    )


def _value(window: Floats) -> Floats:
    """Mean or median by length; NaN for a series without a sample in it."""
    present = np.isfinite(window)
    any_of = present.any(axis=0)
    filled = np.where(any_of, window, 0.0)
    of = np.nanmean if len(window) <= _MEAN_UP_TO else np.nanmedian
    return np.asarray(np.where(any_of, of(filled, axis=0), np.nan), dtype=np.float64)
