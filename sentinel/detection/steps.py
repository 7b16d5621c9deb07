"""The base tier's arithmetic over one block of rows, compiled. Source of the method: see `baseline`.

Each loop writes few arrays, and each function holds one loop: LLVM turns such into vector instructions; with longer
loops the whole came out slower. It gives up where an array is read on one side of a condition only, on `min` of
what is overwritten, and on float32 of int64: so both sides are read first, minima are NumPy's, and times are cut to
int32. In NumPy the same steps are some hundred passes over memory, several times as slow; so is one scalar loop.
"""

import numpy as np

from sentinel.detection import baseline as tier
from sentinel.detection.blocks import Columns, Floats, Ints, Longs, Work
from sentinel.detection.compiled import compiled, compiled_inside
from sentinel.detection.season import DAY_MS, VISIT_RATE, YOUNG_TABLE

VALUE_CAP = 1e300  # differences of two capped values stay finite

_ZERO, _ONE, _TWO, _FOUR, _TWENTY = (np.float32(each) for each in (0, 1, 2, 4, 20))
_CLIP, _CLIP_FROM = tier.CLIP, np.float32(tier.CLIP_FROM)
_LEVEL_RATE, _SPREAD_RATE, _ERROR_RATE = tier.LEVEL_RATE, tier.SPREAD_RATE, tier.ERROR_RATE
_DAILY_LEVEL_RATE, _DAILY_SPREAD_RATE = tier.DAILY_LEVEL_RATE, tier.DAILY_SPREAD_RATE
_FLAT_LEAST, _FLAT_TIMES, _CAUTION_FADES = tier.FLAT_LEAST, tier.FLAT_TIMES, tier.CAUTION_FADES
_TAIL, _TAIL_RATE, _LEAST_Q99, _Z_CAP = tier.TAIL, tier.TAIL_RATE, tier.LEAST_Q99, tier.Z_CAP
_X_CAP = float(tier.X_CAP)
_QUICK_RATE, _RECENT_RATE, _SLOW_RATE = tier.QUICK_RATE, tier.RECENT_RATE, tier.SLOW_RATE
_SHIFT_FROM_MS, _YOUNG_FADES, _FASTER = np.int32(tier.SHIFT_FROM_MS), tier.YOUNG_FADES, tier.FASTER
_LONG_MS, _UNCUT = 1 << 30, np.float32(np.inf)
_FASTEST_FADES, _FASTEST_GROWS, _LEAST_FASTEST = tier.FASTEST_FADES, tier.FASTEST_GROWS, tier.LEAST_FASTEST
_SECONDS = _THOUSANDTH = np.float32(1e-3)
_DAYS = np.float32(1000.0 / DAY_MS)
_FIRST_VISIT = np.float32(3.0)  # e-folds towards the mean within the first visit; 1 in the next, then fewer
OVER = np.int32(2)  # a code: beyond a 99th percentile of its own, and nothing else

floor = compiled(tier.floor)
trusts_season = compiled(tier.trusts_season)
_threshold = compiled(tier.threshold)
_spoken = compiled(tier.spoken)
_remembered = compiled(tier.remembered)
move_excess = compiled(tier.move_excess)


@compiled_inside
def _lasted_ms(from_ms: int, to_ms: int) -> np.int32:
    """At most twelve days: more than is asked about."""
    return np.int32(min(max(to_ms - from_ms, 0), _LONG_MS))


@compiled_inside
def _by_level(m: int, c: Columns, raw: Floats, w: Work) -> None:
    for i in range(m):
        value = min(max(raw[i], -VALUE_CAP), VALUE_CAP)
        w.x[i] = np.float32(min(max((value - c.origin[i]) / c.unit[i], -_X_CAP), _X_CAP))
        w.residual[i] = w.x[i] - c.level[i]
        w.bound[i] = max(c.spread[i], floor(c.level[i], c.zero[i]))


@compiled_inside
def _by_time_of_day(m: int, c: Columns, w: Work) -> None:
    for i in range(m):
        w.left[i] = w.x[i] - w.known[i] - c.daily[i]
        w.daily_bound[i] = max(c.daily_spread[i], floor(c.level[i], c.zero[i]))
        left, residual, daily_bound, bound = w.left[i], w.residual[i], w.daily_bound[i], w.bound[i]
        seasonal = trusts_season(c.plain_error[i], c.daily_error[i], w.days[i])
        w.z[i] = min(abs(left if seasonal else residual) / (daily_bound if seasonal else bound), _Z_CAP)


@compiled_inside
def _by_motion(m: int, c: Columns, w: Work) -> None:
    for i in range(m):
        w.change[i] = min(abs(w.x[i] - c.quick[i]) / w.bound[i], _Z_CAP)
        w.shift[i] = min(abs(c.recent[i] - c.slow[i]) / w.bound[i], _Z_CAP)
        w.run[i] = (c.run[i] + _ONE) if w.x[i] == c.last[i] else _ZERO


@compiled_inside
def score(m: int, c: Columns, raw: Floats, w: Work) -> None:
    """Fill `w`, of which the table is there, for the m samples `raw`."""
    _by_level(m, c, raw, w)
    _by_time_of_day(m, c, w)
    _by_motion(m, c, w)


@compiled_inside
def codes(m: int, c: Columns, at_ms: Longs, w: Work, grace: np.float32, code: Ints) -> None:
    """Mark who needs a second look: 1 an alarm to keep or one value for too long, OVER."""
    for i in range(m):
        code[i] = np.int32(c.watch[i] >= 0) | np.int32(w.run[i] > _FLAT_TIMES * max(c.longest[i], _FLAT_LEAST))
        over = (w.z[i] > c.q99[i]) | (w.change[i] >= _FASTER * c.fastest[i])
        code[i] |= OVER * np.int32(over & (c.seen[i] >= grace))
        grew = _lasted_ms(c.since_ms[i], at_ms[i]) >= _SHIFT_FROM_MS
        code[i] |= OVER * np.int32((w.shift[i] > c.shift_q99[i]) & grew)


@compiled_inside
def marked(m: int, code: Ints, at: Ints) -> int:
    """Places that are marked, written to `at`; answers how many."""
    n = 0
    for i in range(m):
        at[n] = i  # written again if it is not one: no branch to be guessed wrong
        n += int(code[i] != 0)
    return n


@compiled_inside
def unmarked(m: int, code: Ints, at: Ints) -> int:
    """The same for those that are not."""
    n = 0
    for i in range(m):
        at[n] = i
        n += int(code[i] == 0)
    return n


@compiled_inside
def _cut(far: np.float32, limit: np.float32) -> np.float32:
    return min(max(far, -limit), limit)


@compiled_inside
def _spread(spread: np.float32, cut: np.float32, seen: np.float32, rate: np.float32) -> np.float32:
    """The first sample is the level, and says nothing of the spread."""
    return np.float32(np.sqrt((_ONE - rate) * (spread * spread) + (rate if seen > _ZERO else _ZERO) * (cut * cut)))


@compiled_inside
def _percentile(q99: np.float32, far: np.float32, seen: np.float32, grace: np.float32) -> np.float32:
    """A running 99th percentile after one more distance; a young one moves fast."""
    rate = max(_TAIL_RATE, _FOUR / (seen + _TWENTY))
    rate = rate if seen >= grace else _ZERO
    return max(q99 * ((rate if far > q99 else _ZERO) + (_ONE - rate * _TAIL)), _LEAST_Q99)


@compiled_inside
def _teach_tails(m: int, c: Columns, grace: np.float32, w: Work) -> None:
    for i in range(m):
        c.q99[i] = _percentile(c.q99[i], w.z[i], c.seen[i], grace)
        fastest, least = c.fastest[i], _LEAST_FASTEST * max(floor(c.level[i], c.zero[i]) / w.bound[i], _THOUSANDTH)
        fades = min(_FASTEST_FADES, _ONE - _YOUNG_FADES / (c.seen[i] + _ONE))
        # The second sample's is told in least spreads, which change with where the zero lies.
        change = w.change[i] * np.float32(c.spread[i] > _ZERO)
        c.fastest[i] = max(fastest * fades, min(change, fastest * _FASTEST_GROWS), least)
        c.shift_q99[i] = _percentile(c.shift_q99[i], w.shift[i], c.seen[i], grace)


@compiled_inside
def _weigh(m: int, c: Columns, w: Work) -> None:
    for i in range(m):
        w.alike[i] = _ONE / (c.seen[i] + _ONE)  # a young series weighs its samples alike
        # Huber's clipping, once there is a spread to cut by.
        w.limit[i] = _UNCUT if c.seen[i] < _CLIP_FROM else _CLIP * w.bound[i]
        w.daily_limit[i] = _UNCUT if c.seen[i] < _CLIP_FROM else _CLIP * w.daily_bound[i]


@compiled_inside
def _teach_motion(m: int, c: Columns, w: Work) -> None:
    for i in range(m):
        c.quick[i] += max(w.alike[i], _QUICK_RATE) * _cut(w.x[i] - c.quick[i], w.limit[i])
        c.recent[i] += max(w.alike[i], _RECENT_RATE) * _cut(w.x[i] - c.recent[i], w.limit[i])
        c.slow[i] += max(w.alike[i], _SLOW_RATE) * _cut(w.x[i] - c.slow[i], w.limit[i])


@compiled_inside
def _teach_level(m: int, c: Columns, w: Work) -> None:
    for i in range(m):
        cut = _cut(w.residual[i], w.limit[i])
        c.level[i] += max(w.alike[i], _LEVEL_RATE) * cut
        c.spread[i] = _spread(c.spread[i], cut, c.seen[i], max(w.alike[i], _SPREAD_RATE))


@compiled_inside
def _teach_daily(m: int, c: Columns, w: Work) -> None:
    for i in range(m):
        cut = _cut(w.left[i], w.daily_limit[i])
        c.daily[i] += max(w.alike[i], _DAILY_LEVEL_RATE) * cut
        # Until the table knows its day, what it leaves says nothing of what it will leave.
        rate = _DAILY_SPREAD_RATE + (_LEVEL_RATE if w.days[i] < YOUNG_TABLE else _ZERO)
        c.daily_spread[i] = _spread(c.daily_spread[i], cut, c.seen[i], max(w.alike[i], rate))


@compiled_inside
def _teach_table(m: int, c: Columns, at_ms: Longs, w: Work) -> None:
    for i in range(m):  # a slot weighs by time
        w.stayed_s[i] = min(np.float32(_lasted_ms(c.last_ms[i], at_ms[i])) * _SECONDS, w.slot_s[i])
        share = w.stayed_s[i] / w.slot_s[i]
        pull = min(share * max(_FIRST_VISIT / (_ONE + _TWO * w.days[i]), VISIT_RATE), _ONE)
        w.known[i] += pull * (w.x[i] - w.known[i])
        w.days[i] += w.stayed_s[i] * _DAYS


@compiled_inside
def _teach_errors(m: int, c: Columns, w: Work) -> None:
    for i in range(m):
        c.caution[i] = _ONE + (c.caution[i] - _ONE) * _CAUTION_FADES
        c.plain_error[i] += _ERROR_RATE * (abs(w.residual[i]) - c.plain_error[i])
        c.daily_error[i] += _ERROR_RATE * (abs(w.left[i]) - c.daily_error[i])


@compiled_inside
def _teach_range(m: int, c: Columns, w: Work) -> None:
    for i in range(m):
        c.longest[i] = max(c.longest[i], _ZERO if w.run[i] > _ZERO else c.run[i])
        c.low[i] = np.minimum(c.low[i], w.x[i])
        c.high[i] = np.maximum(c.high[i], w.x[i])


@compiled_inside
def _remember(m: int, c: Columns, at_ms: Longs, w: Work) -> None:
    for i in range(m):
        c.last_ms[i] = at_ms[i]
        c.run[i] = w.run[i]
        c.z[i] = w.z[i]
        c.last[i] = w.x[i]
        c.seen[i] += _ONE


@compiled_inside
def teach(m: int, c: Columns, at_ms: Longs, grace: np.float32, w: Work) -> None:
    """Move all that a series is usually like on by the samples that `w` is of, but for the mean excess."""
    _teach_errors(m, c, w)
    _teach_tails(m, c, grace, w)
    _weigh(m, c, w)
    _teach_motion(m, c, w)
    _teach_level(m, c, w)
    _teach_daily(m, c, w)
    _teach_table(m, c, at_ms, w)
    _teach_range(m, c, w)
    _remember(m, c, at_ms, w)


@compiled_inside
def needed_of(c: Columns, i: int, at_ms: int, asked: np.float32) -> np.float32:
    """The distance at which a sample of row i is unusual, were it not cautious."""
    spoken = np.float32(_spoken(c.seen[i], c.since_ms[i], at_ms))
    return np.float32(_threshold(c.q99[i], c.excess[i], spoken, asked))


@compiled_inside
def record_of(c: Columns, i: int) -> np.float32:
    """The distance that row i has passed once in what its record of speed is of."""
    return np.float32(_threshold(c.q99[i], c.excess[i], _remembered(c.seen[i]), _ONE))


@compiled_inside
def is_hot(c: Columns, w: Work, i: int, at_ms: int, needed: np.float32) -> bool:
    """Whether row i is unusual by its distance, its speed or its shift, the first of which must reach `needed`."""
    if w.z[i] >= needed:
        return True
    least = _FASTER * c.fastest[i]
    if w.change[i] >= least and w.change[i] >= least * needed / record_of(c, i):
        return True
    return bool(
        w.shift[i] * c.q99[i] >= c.shift_q99[i] * needed
        and _lasted_ms(c.since_ms[i], at_ms) >= _SHIFT_FROM_MS
        and not trusts_season(c.plain_error[i], c.daily_error[i], w.days[i])
    )
