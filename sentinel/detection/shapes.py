"""The pattern tier's arithmetic, compiled, one series after the other. Source of the method: see `pattern`."""

from operator import attrgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentinel.detection.compiled import compiled, compiled_inside
from sentinel.detection.steps import VALUE_CAP, floor

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Longs = NDArray[np.int64]

BINS = 200
BINS_A_DECADE = BINS / 12
LOWEST_DECADE = -6
FORGETS = 0.0003  # share of a series' histogram of distances that a sample forgets
BEYOND = 0.3  # e-folds of probability that a distance loses for each bin beyond the farthest ever seen
NOVELTY_CAP = 9.0
MATURE_BLOCKS, MATURE_SAMPLES = 15, 60  # distances known, and samples that they are of, before one is judged
UNIT_SAMPLES = 150  # samples whose spread is the unit of a series' distances
RANGE_AFTER = 20  # samples before leaving the known range means something
RANGE_HALF = 0.02  # leaving the range by this share of it is half as novel as leaving it altogether
RANGE_NOVELTY = 4.0
SILENCE = 115  # samples after an alarm in which no second is raised
X_CAP = 1e9
LANES = 16  # minima sought side by side
_HEAVY = 1e30  # weight at which a growing histogram is scaled back
_LEAST_SPREAD, _LEAST_SIZE = 1e-9, 1e-290
_LEAST_NEEDED = 1.0  # decades
_DAY_S = 86_400.0


class Scale(NamedTuple):
    """One resolution: means of `block` samples, patterns of `length` blocks, compared up to `lags` blocks back."""

    block: int
    length: int
    lags: int
    weight: float


class ShapeColumns(NamedTuple):
    """`Shape` as compiled code takes it."""

    seen: Longs
    origin: Floats
    unit: Floats
    total: Floats
    squares: Floats
    low: Floats
    high: Floats
    older: Floats
    oldest: Floats
    silent: Longs


class PastColumns(NamedTuple):
    """`Past` as compiled code takes it."""

    filled: Longs
    offset: Longs
    sum: Floats
    blocks: Longs
    history: Singles
    histogram: Singles
    weight: Floats
    judged: Longs
    farthest: Longs
    novelty: Floats


class Known(NamedTuple):
    """What the base tier knows of every row: see `Baseline`. policy: the place in `asked`, false alarms a day, of
    each."""

    seen: Singles
    since_ms: Longs
    level: Singles
    zero: Singles
    unit: Floats
    policy: NDArray[np.int16]
    asked: Singles


shape_columns = attrgetter(*ShapeColumns._fields)
past_columns = attrgetter(*PastColumns._fields)


@compiled_inside
def _range_novelty(s: ShapeColumns, r: int, value: float, least: float) -> float:
    """How novel it is that the value lies where none ever lay; learns the range."""
    low, high, seen = s.low[r], s.high[r], s.seen[r]
    s.low[r], s.high[r] = min(low, value), max(high, value)
    if seen < RANGE_AFTER:
        return 0.0
    share = max(value - high, low - value, 0.0) / max(high - low, least)
    # The newest of n samples is the farthest ever by chance once in n.
    return float(min(np.log10(np.float64(seen)), RANGE_NOVELTY) * share / (share + RANGE_HALF))


# Windows, and not sums of places: an index that could be below nought keeps a loop from becoming vector instructions.
@compiled_inside
def _add_squares(newest: np.float32, window: Singles, total: Singles) -> None:
    for lag in range(len(window)):
        apart = newest - window[lag]
        total[lag] += apart * apart


@compiled_inside
def _copied(values: Singles, to: Singles) -> None:
    for i in range(len(values)):
        to[i] = values[i]


@compiled_inside
def _sum(values: Singles) -> float:
    """In four strands, for each addition waits for the one before it."""
    one = two = three = four = 0.0
    whole = len(values) // 4 * 4
    for i in range(0, whole, 4):
        one += values[i]
        two += values[i + 1]
        three += values[i + 2]
        four += values[i + 3]
    for i in range(whole, len(values)):
        one += values[i]
    return one + two + (three + four)


@compiled_inside
def _keep_least(values: Singles, least: Singles) -> None:
    for i in range(len(values)):
        least[i] = values[i] if values[i] < least[i] else least[i]


@compiled_inside
def _nearest(history: Singles, length: int, lags: int, total: Singles) -> float:
    """Distance from the newest pattern to the nearest of so many earlier ones, from lag `length` on.

    Summed anew for each block: a running sum over the lags would save little for patterns so short, and would have to
    be kept in float64, for in float32 a spike leaves its rounding behind.
    """
    total[:lags] = np.float32(0)
    for b in range(length):
        _add_squares(history[b], history[length + b : length + b + lags], total)
    least = total[:LANES].copy()
    for lag in range(LANES, lags - LANES + 1, LANES):
        _keep_least(total[lag : lag + LANES], least)
    _keep_least(total[max(lags - LANES, 0) : lags], least)
    return float(np.sqrt(np.float64(least[: min(lags, LANES)].min())))


@compiled_inside
def _judge(p: PastColumns, r: int, nearest: float, block: int) -> None:
    """Turn the distance to the nearest earlier stretch into novelty, then remember it."""
    place = (np.log10(max(nearest, 10.0**LOWEST_DECADE)) - LOWEST_DECADE) * BINS_A_DECADE
    at = np.int64(min(place, np.float64(BINS - 1)))
    weight, farthest, histogram = p.weight[r], p.farthest[r], p.histogram[r]
    below, own, above = _sum(histogram[:at]), np.float64(histogram[at]), _sum(histogram[at + 1 :])
    tail = above + own / 2 + weight / 2
    if at > farthest:
        tail *= np.exp(-BEYOND * (at - farthest))
    mature = p.judged[r] >= max(MATURE_BLOCKS, round(MATURE_SAMPLES / block))
    share = tail / (below + own + above + weight)
    p.novelty[r] = min(-np.log10(share), NOVELTY_CAP) if mature else 0.0

    # Growing weights forget as decaying counts would, and touch one bin instead of all.
    histogram[at] += np.float32(weight)
    p.farthest[r] = max(farthest, at)
    p.judged[r] += 1
    weight /= (1 - FORGETS) ** block
    if weight > _HEAVY:
        for each in range(BINS):
            histogram[each] /= np.float32(_HEAVY)
        weight /= _HEAVY
    p.weight[r] = weight


@compiled_inside
def _end_block(p: PastColumns, r: int, scale: Scale, spread: float, total: Singles) -> None:
    history = p.history[r]
    _copied(history[:-1], total)
    _copied(total[: len(history) - 1], history[1:])
    history[0] = np.float32(p.sum[r] / (scale.block - p.offset[r]))
    p.offset[r], p.filled[r], p.sum[r] = 0, 0, 0.0
    p.blocks[r] += 1
    known = p.blocks[r] - 2 * scale.length + 1  # lags whose stretch lies wholly in what was seen
    if known > 0:
        lags = min(known, scale.lags - scale.length + 1)
        _judge(p, r, _nearest(history, scale.length, lags, total) / spread, scale.block)


@compiled_inside
def _end_blocks(
    rows: Longs, x: Floats, spread: Floats, now: Floats, p: PastColumns, scale: Scale, total: Singles
) -> None:
    for i in range(len(rows)):
        r = rows[i]
        p.sum[r] += x[i]
        p.filled[r] += 1
        if p.filled[r] >= scale.block:
            _end_block(p, r, scale, spread[i], total)
        now[i] = max(now[i], scale.weight * p.novelty[r])


@compiled
def advance_shapes(
    rows: Longs,
    values: Floats,
    least: Floats,
    alarm: Floats,
    s: ShapeColumns,
    pasts: tuple[PastColumns, ...],
    scales: tuple[Scale, ...],
) -> tuple[Floats, Floats]:
    """Score one sample each of different series, then learn it: novelty as it is, and as it is heard."""
    n = len(rows)
    x, spread, now = np.empty(n), np.empty(n), np.empty(n)
    for i in range(n):
        r, value, seen = rows[i], values[i], s.seen[rows[i]]
        if seen == 0:
            s.origin[r] = s.low[r] = s.high[r] = value
            s.unit[r] = 1.0 if abs(value) < _LEAST_SIZE else abs(value) / 1024
        x[i] = min(max((value - s.origin[r]) / s.unit[r], -X_CAP), X_CAP)
        now[i] = _range_novelty(s, r, value, least[i])
        if seen < UNIT_SAMPLES:
            s.total[r] += x[i]
            s.squares[r] += x[i] * x[i]
        counted = min(seen + 1, UNIT_SAMPLES)
        mean = s.total[r] / counted
        spread[i] = max(np.sqrt(max(s.squares[r] / counted - mean * mean, 0.0)), _LEAST_SPREAD)
        s.seen[r] = seen + 1
    longest = 0
    for past in pasts:
        longest = max(longest, past.history.shape[1])
    total = np.empty(longest, np.float32)
    for k in range(len(scales)):  # outermost: taking columns out of a tuple costs more than a sample
        _end_blocks(rows, x, spread, now, pasts[k], scales[k], total)
    novelty, heard = np.empty(n), np.empty(n)
    for i in range(n):
        r, older, oldest = rows[i], s.older[rows[i]], s.oldest[rows[i]]
        s.older[r], s.oldest[r] = now[i], older
        # The mean of the two largest of the last three: one sample alone is no pattern.
        novelty[i] = (oldest + older + now[i] - min(oldest, older, now[i])) / 2
        heard[i] = 0.0 if s.silent[r] > 0 else novelty[i]
        s.silent[r] = SILENCE if heard[i] >= alarm[i] else max(s.silent[r] - 1, 0)
    return novelty, heard


@compiled
def novelties(
    rows: Longs,
    at_ms: Longs,
    raw: Floats,
    slot: NDArray[np.int32],
    known: Known,
    grace: int,
    s: ShapeColumns,
    pasts: tuple[PastColumns, ...],
    scales: tuple[Scale, ...],
) -> tuple[int, Floats]:
    """How many of these rows have a slot in this tier, and of each row what is told, what is heard, and what raises an
    alarm, float64[3, n]. Learns the samples."""
    shaped = np.flatnonzero(slot[rows] >= 0)
    n = len(shaped)
    slots, values, least, needed = np.empty(n, np.int64), np.empty(n), np.empty(n), np.empty(n)
    for k in range(n):
        i = shaped[k]
        r = rows[i]
        lasted_s = max(at_ms[i] - known.since_ms[r], 1) / 1000.0
        judged_a_day = max(known.seen[r], np.float32(1)) * _DAY_S / lasted_s / scales[0].block
        needed[k] = max(np.log10(judged_a_day / known.asked[known.policy[r]]), _LEAST_NEEDED)
        slots[k], values[k] = slot[r], min(max(raw[i], -VALUE_CAP), VALUE_CAP)
        least[k] = np.float64(floor(known.level[r], known.zero[r])) * known.unit[r]
    told, heard = advance_shapes(slots, values, least, needed, s, pasts, scales)
    found = np.zeros((3, len(rows)))
    found[2] = 1.0
    for k in range(n):
        i = shaped[k]
        found[2, i] = needed[k]
        if known.seen[rows[i]] >= grace:
            found[0, i], found[1, i] = told[k], heard[k]
    return n, found
