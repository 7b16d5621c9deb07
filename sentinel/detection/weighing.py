"""What every part of the score says of samples that need a second look, the strongest of them, and what was expected.

Compiled, one sample after the other: candidates are few, and in NumPy each of some seventy operations costs more than
all their arithmetic.

Speed and shift are two looks at a series beside its distance from the level. Speed is held against the fastest move in
memory, for fast moves are few and come in bursts; shift against its own 99th percentile. How far beyond it must go
follows from the tail of the distance. Source of the method: see `baseline`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentinel.detection import baseline as tier
from sentinel.detection.alarm import Scored
from sentinel.detection.blocks import Columns, Floats, Longs, Work
from sentinel.detection.columns import Singles
from sentinel.detection.compiled import compiled_inside
from sentinel.detection.parts import Part
from sentinel.detection.steps import floor, needed_of, record_of, trusts_season

Bools = NDArray[np.bool_]

OPEN_SCORE = 6.0  # an anomaly opens where its score passes this, whatever part of the score speaks
CLOSE_SHARE = 0.5  # and ends below this share of its threshold
SCORE_CAP = 1000.0

_ONE = np.float32(1)
_FASTER, _SHIFT_FROM_MS = tier.FASTER, tier.SHIFT_FROM_MS
_FLAT_LEAST, _FLAT_TIMES = tier.FLAT_LEAST, tier.FLAT_TIMES
_LEVEL, _SEASON, _FLAT, _PATTERN = int(Part.LEVEL), int(Part.SEASON), int(Part.FLAT), int(Part.PATTERN)
_RULE, _CHANGE, _SHIFT = int(Part.RULE), int(Part.CHANGE), int(Part.SHIFT)


class Weighed(NamedTuple):
    """Samples of n candidates, and what is known of these beside their state.

    asked: false alarms a day by policy; learned bool[n]: judged by what was learned; side int8[n]: 1 if only a rise
    matters, -1 a fall, 0 both. is_open bool[n]: has an open anomaly; opened_by int64[n]: the part that opened it, -1 if
    none did. novelty: of the shape, float64[3, n], what is told, what is heard and what is needed; [3, 0] where no
    series has that tier. breached, breach_up: beyond a rule of people, and above it; bool[0] where there is none.
    """

    at_ms: Longs
    raw: Floats
    asked: Singles
    learned: Bools
    side: NDArray[np.int8]
    is_open: Bools
    opened_by: Longs
    novelty: NDArray[np.float64]
    breached: Bools
    breach_up: Bools


@compiled_inside
def _matters(samples: Weighed, i: int, up: bool) -> bool:
    """Whether a move up, or down, is judged by what was learned, and matters."""
    return bool(samples.learned[i] and (samples.side[i] == 0 or (samples.side[i] > 0) == up))


@compiled_inside
def weigh(c: Columns, w: Work, samples: Weighed, grace: np.float32) -> tuple[Scored, Bools]:
    """What is to be said of each sample, and where the model by time of day speaks. Learns nothing."""
    n = len(samples.at_ms)
    value, score, low, high = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    up, hot, unusual = np.empty(n, np.bool_), np.empty(n, np.bool_), np.empty(n, np.bool_)
    scored, part, fast = np.empty(n, np.bool_), np.empty(n, np.int64), np.empty(n, np.bool_)
    seasonal = np.empty(n, np.bool_)
    for i in range(n):
        needed, caution, bound = needed_of(c, i, samples.at_ms[i], samples.asked[i]), c.caution[i], w.bound[i]
        scored[i] = c.seen[i] >= grace
        seasonal[i] = trusts_season(c.plain_error[i], c.daily_error[i], w.days[i])
        part[i] = _SEASON if seasonal[i] else _LEVEL
        x, center = w.x[i], w.known[i] + c.daily[i] if seasonal[i] else c.level[i]
        up[i], half = x > center, needed * (w.daily_bound[i] if seasonal[i] else bound)
        sided = scored[i] and _matters(samples, i, up[i])
        strength = np.float64(w.z[i] / (needed * caution)) if sided else 0.0
        stays = strength * caution  # caution makes opening harder, and what is open no shorter

        # What is far from its level is told as that. What is open is not asked for its speed: its end is as fast as its
        # beginning.
        if strength < 1 and not samples.is_open[i] and scored[i] and _matters(samples, i, x > c.quick[i]):
            far = _FASTER * max(needed / record_of(c, i), _ONE) * c.fastest[i]
            speaks = np.float64(w.change[i] / (far * caution))
            if speaks > strength:
                part[i], strength, center, up[i], half = _CHANGE, speaks, c.quick[i], x > c.quick[i], far * bound
        grew = not seasonal[i] and samples.at_ms[i] - c.since_ms[i] >= _SHIFT_FROM_MS
        if grew and scored[i] and _matters(samples, i, c.recent[i] > c.slow[i]):
            far = needed / c.q99[i] * c.shift_q99[i]
            speaks = np.float64(w.shift[i] / (far * caution))
            if samples.opened_by[i] == _SHIFT:  # of others it would tell long after their end
                stays = max(stays, speaks * caution)
            if strength < 1 and speaks > strength:
                part[i], strength, x, center = _SHIFT, speaks, c.recent[i], c.slow[i]
                up[i], half = x > center, far * bound

        limit = _FLAT_TIMES * max(c.longest[i], _FLAT_LEAST)
        stuck = w.run[i] > limit and scored[i] and samples.learned[i] and c.spread[i] > floor(c.level[i], c.zero[i])
        if stuck:
            flat = np.float64(w.run[i] / limit)
            part[i], strength, stays = _FLAT if flat > strength else part[i], max(strength, flat), max(stays, flat)
        if samples.novelty.shape[1] and sided:
            told, heard, enough = samples.novelty[0, i], samples.novelty[1, i], samples.novelty[2, i]
            part[i], strength = _PATTERN if heard / enough > strength else part[i], max(strength, heard / enough)
            if samples.opened_by[i] == _PATTERN:
                stays = max(stays, told / enough)
        if len(samples.breached) and samples.breached[i]:
            part[i], strength, stays = _RULE if strength < 1 else part[i], max(strength, 1.0), max(stays, 1.0)
            up[i], scored[i] = samples.breach_up[i], True

        value[i] = c.origin[i] + np.float64(x) * c.unit[i] if part[i] == _SHIFT else samples.raw[i]
        score[i] = min(OPEN_SCORE * max(strength, stays), SCORE_CAP)
        # What is expected is the same however cautious the series has become.
        low[i] = c.origin[i] + (np.float64(center) - np.float64(half)) * c.unit[i]
        high[i] = c.origin[i] + (np.float64(center) + np.float64(half)) * c.unit[i]
        hot[i], unusual[i], fast[i] = strength >= 1, stays >= CLOSE_SHARE, part[i] == _PATTERN
    return Scored(samples.at_ms, value, score, low, high, up, hot, unusual, scored, part, fast), seasonal
