"""How unusual a value is for its series, and what the series learns from it: pure functions over arrays.

The method is an exponentially weighted level and spread with Huber's clipping: what is learned of a sample is cut
at CLIP spreads, so that one wild value moves neither much. The level is quick, so that a daily curve is followed;
the spread is slow, so that a calm hour does not make the series touchy. Every array is float64[n] unless said.

Invariance: scaling or shifting a series leaves its scores as they are, as long as its spread is above the floor.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Chosen once over the NAB, SMD and ASD files together, as a compromise: neighbouring values change little.
LEVEL_RATE = 0.02
SPREAD_RATE = 0.005
CLIP = 4.0

# A constant series has no spread of its own. A change of less than open_score * RELATIVE_FLOOR of its level (0.6 %
# by default) then wakes nobody; without it the last digit of a counter would. ABSOLUTE_FLOOR only keeps zero from
# dividing.
RELATIVE_FLOOR = 1e-3
ABSOLUTE_FLOOR = 1e-9

CLIP_FROM = 10  # before this many samples the spread is too rough to cut by
VALUE_CAP = 1e300  # differences of two capped values stay finite
SCORE_CAP = 1000.0  # beyond it "how many spreads" says nothing more


def scale(level: Floats, spread: Floats) -> Floats:
    """The spread by which a series is judged: its own, and never below the floor."""
    return np.maximum(spread, np.maximum(np.abs(level) * RELATIVE_FLOOR, ABSOLUTE_FLOOR))


def score(value: Floats, level: Floats, unit: Floats) -> Floats:
    """Distance of `value` from `level` in `unit`s, 0 to SCORE_CAP."""
    with np.errstate(over="ignore"):
        return np.minimum(np.abs(value - level) / unit, SCORE_CAP)


def learn(value: Floats, seen: Ints, level: Floats, spread: Floats, unit: Floats) -> tuple[Floats, Floats]:
    """Level and spread after one more sample; `seen` int64[n] counts those before it.

    A young series weighs all its samples alike (1/n), until the constant rates are slower than that.
    """
    residual = value - level
    bound = CLIP * unit
    residual = np.where(seen >= CLIP_FROM, np.clip(residual, -bound, bound), residual)
    even = 1.0 / (seen + 1.0)
    level_rate = np.maximum(even, LEVEL_RATE)
    spread_rate = np.maximum(even, SPREAD_RATE)
    # hypot, for the square of a large residual would overflow.
    learned = np.hypot(np.sqrt(1.0 - spread_rate) * spread, np.sqrt(spread_rate) * residual)
    first = seen == 0
    return np.where(first, value, level + level_rate * residual), np.where(first, 0.0, learned)
