"""The base tier's arithmetic, compiled: scores one sample each of many series, and learns it, block by block.

Source of the method: see `baseline`. Every series is on its own, so how samples are cut into blocks changes no result.
A block's columns are seen where they lie if its rows follow each other, and copied otherwise. Each loop writes one
array: LLVM turns such loops into vector instructions, and gives up on a loop that writes twenty. In NumPy the same
steps are some hundred passes over memory, four times as slow; one loop over whole samples is as slow as those.
"""

from collections.abc import Callable
from dataclasses import fields
from operator import attrgetter
from typing import Any, NamedTuple, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sentinel.detection import baseline as tier
from sentinel.detection.columns import Baseline, Rows, Singles
from sentinel.detection.season import DAY_MS, VISIT_RATE, WEEKDAY_MS, WEEKEND_MS, YOUNG_TABLE, place_of

Longs = NDArray[np.int64]
Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Bools = NDArray[np.bool_]

BLOCK = 256  # rows whose working columns stay in the nearest cache
VALUE_CAP = 1e300  # differences of two capped values stay finite

_ZERO, _ONE, _TWO, _FOUR, _TWENTY = (np.float32(each) for each in (0, 1, 2, 4, 20))
_CLIP, _CLIP_FROM = tier.CLIP, np.float32(tier.CLIP_FROM)
_LEVEL_RATE, _SPREAD_RATE, _ERROR_RATE = tier.LEVEL_RATE, tier.SPREAD_RATE, tier.ERROR_RATE
_DAILY_LEVEL_RATE, _DAILY_SPREAD_RATE = tier.DAILY_LEVEL_RATE, tier.DAILY_SPREAD_RATE
_FLAT_LEAST, _FLAT_TIMES, _CAUTION_FADES = tier.FLAT_LEAST, tier.FLAT_TIMES, tier.CAUTION_FADES
_TAIL, _TAIL_RATE, _LEAST_Q99, _Z_CAP = tier.TAIL, tier.TAIL_RATE, tier.LEAST_Q99, tier.Z_CAP
_X_CAP = float(tier.X_CAP)
_SECONDS = np.float32(1e-3)
_DAYS = np.float32(1000.0 / DAY_MS)
_FIRST_VISIT = np.float32(3.0)  # e-folds towards the mean within the first visit; 1 in the next, then fewer
_OVER = np.int32(2)  # a code: beyond its own 99th percentile, and nothing else

Plain = Callable[..., Any]


def _compiled(function: Plain) -> Plain:
    """Nothing but IEEE arithmetic, in the order that is written: no reassociation, so that all batches agree."""
    return cast(Plain, njit(nogil=True, error_model="numpy", cache=True)(function))


class Columns(NamedTuple):
    """`Baseline` as compiled code takes it."""

    origin: Floats
    unit: Floats
    since_ms: Longs
    last_ms: Longs
    watch: Ints
    zero: Singles
    seen: Singles
    level: Singles
    spread: Singles
    daily: Singles
    daily_spread: Singles
    plain_error: Singles
    daily_error: Singles
    low: Singles
    high: Singles
    last: Singles
    run: Singles
    longest: Singles
    q99: Singles
    excess: Singles
    caution: Singles
    z: Singles


class Work(NamedTuple):
    """What scoring finds of samples. x: the value in the units of the series. known, days: the table at their time of
    day, and how long it has been learned. residual, left: how far x is from the level, and from the table and what it
    usually leaves; bound, daily_bound: the spreads that count against them. z: distance by the model that speaks. run:
    how often x has come on end. slot_s: seconds of a slot of the table."""

    x: Singles
    residual: Singles
    bound: Singles
    left: Singles
    daily_bound: Singles
    z: Singles
    run: Singles
    step_s: Singles
    slot_s: Singles
    known: Singles
    days: Singles


class Samples(NamedTuple):
    """One sample each of n different series. forced: who is a candidate in any case, bool[n], or bool[0].

    asked: false alarms a day by policy; policy: the place in it of each row of the state.
    """

    rows: Rows
    at_ms: Longs
    raw: Floats
    forced: Bools
    policy: NDArray[np.int16]
    asked: Singles
    grace: np.float32


class Lessons(NamedTuple):
    """Which candidates teach the level, the model by time of day, and the percentile with the excess: bool[n] each."""

    level: Bools
    daily: Bools
    percentile: Bools


class Told(NamedTuple):
    """What `advance` writes beside the state: the value in the units of each series, and their range before it, for
    those who ask (float32[0] for others); rows past their grace with this sample, and places of candidates."""

    x: Singles
    low: Singles
    high: Singles
    grown: Rows
    candidates: Rows


_values = attrgetter(*[each.name for each in fields(Baseline)])

_floor = _compiled(tier.floor)
_trusts_season = _compiled(tier.trusts_season)
_threshold = _compiled(tier.threshold)
_move_excess = _compiled(tier.move_excess)
_spoken = _compiled(tier.spoken)
_place_of = _compiled(place_of)


@_compiled
def _slot_s(kind: int) -> np.float32:
    return np.float32(WEEKEND_MS if kind else WEEKDAY_MS) * _SECONDS


def columns(base: Baseline) -> Columns:
    """The same arrays."""
    return Columns(*_values(base))


@_compiled
def _view(c: Columns, a: int, b: int) -> Columns:
    """Rows a to b - 1, where they lie."""
    return Columns(
        c.origin[a:b], c.unit[a:b], c.since_ms[a:b], c.last_ms[a:b], c.watch[a:b], c.zero[a:b], c.seen[a:b],
        c.level[a:b], c.spread[a:b], c.daily[a:b], c.daily_spread[a:b], c.plain_error[a:b], c.daily_error[a:b],
        c.low[a:b], c.high[a:b], c.last[a:b], c.run[a:b], c.longest[a:b], c.q99[a:b], c.excess[a:b], c.caution[a:b],
        c.z[a:b],
    )  # fmt: skip


@_compiled
def _empty(rows: int) -> Columns:
    s = np.empty((17, rows), np.float32)
    return Columns(
        np.empty(rows, np.float64), np.empty(rows, np.float64), np.empty(rows, np.int64), np.empty(rows, np.int64),
        np.empty(rows, np.int32), s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8], s[9], s[10], s[11], s[12],
        s[13], s[14], s[15], s[16],
    )  # fmt: skip


@_compiled
def _copy(to: Columns, i: int, c: Columns, r: int) -> None:
    """Row `r` of one as row `i` of the other."""
    to.origin[i], to.unit[i], to.since_ms[i], to.last_ms[i] = c.origin[r], c.unit[r], c.since_ms[r], c.last_ms[r]
    to.watch[i], to.zero[i], to.seen[i], to.level[i], to.spread[i] = (
        c.watch[r],
        c.zero[r],
        c.seen[r],
        c.level[r],
        c.spread[r],
    )
    to.daily[i], to.daily_spread[i] = c.daily[r], c.daily_spread[r]
    to.plain_error[i], to.daily_error[i] = c.plain_error[r], c.daily_error[r]
    to.low[i], to.high[i], to.last[i], to.run[i], to.longest[i] = c.low[r], c.high[r], c.last[r], c.run[r], c.longest[r]
    to.q99[i], to.excess[i], to.caution[i], to.z[i] = c.q99[r], c.excess[r], c.caution[r], c.z[r]


@_compiled
def _score(m: int, c: Columns, raw: Floats, w: Work) -> None:
    """Fill `w`, of which the table is there, for the m samples `raw`."""
    for i in range(m):
        value = min(max(raw[i], -VALUE_CAP), VALUE_CAP)
        w.x[i] = np.float32(min(max((value - c.origin[i]) / c.unit[i], -_X_CAP), _X_CAP))
    for i in range(m):
        w.residual[i] = w.x[i] - c.level[i]
    for i in range(m):
        w.bound[i] = max(c.spread[i], _floor(c.level[i], c.zero[i]))
    for i in range(m):
        w.left[i] = w.x[i] - w.known[i] - c.daily[i]
    for i in range(m):
        w.daily_bound[i] = max(c.daily_spread[i], _floor(c.level[i], c.zero[i]))
    for i in range(m):
        seasonal = _trusts_season(c.plain_error[i], c.daily_error[i], w.days[i])
        far = w.left[i] if seasonal else w.residual[i]
        w.z[i] = min(abs(far) / (w.daily_bound[i] if seasonal else w.bound[i]), _Z_CAP)
    for i in range(m):
        w.run[i] = (c.run[i] + _ONE) if w.x[i] == c.last[i] else _ZERO


@_compiled
def _codes(m: int, c: Columns, w: Work, grace: np.float32, code: Ints) -> int:
    """Mark who needs a second look: 1 an alarm to keep or one value for too long, _OVER; answers how many."""
    for i in range(m):
        code[i] = np.int32(c.watch[i] >= 0) | np.int32(w.run[i] > _FLAT_TIMES * max(c.longest[i], _FLAT_LEAST))
    for i in range(m):
        code[i] |= _OVER * np.int32((w.z[i] > c.q99[i]) & (c.seen[i] >= grace))
    found = 0
    for i in range(m):
        found += np.int32(code[i] > 0)
    return found


@_compiled
def _cut(far: np.float32, bound: np.float32, seen: np.float32) -> np.float32:
    """Huber's clipping, once there is a spread to cut by."""
    return far if seen < _CLIP_FROM else min(max(far, -_CLIP * bound), _CLIP * bound)


@_compiled
def _level(level: np.float32, cut: np.float32, seen: np.float32, rate: np.float32) -> np.float32:
    """A young series weighs its samples alike."""
    return level + max(_ONE / (seen + _ONE), rate) * cut


@_compiled
def _spread(spread: np.float32, cut: np.float32, seen: np.float32, rate: np.float32) -> np.float32:
    """The first sample is the level, and says nothing of the spread."""
    rate = max(_ONE / (seen + _ONE), rate)
    return np.sqrt((_ONE - rate) * (spread * spread) + (rate if seen > _ZERO else _ZERO) * (cut * cut))


@_compiled
def _learn(m: int, c: Columns, at_ms: Longs, grace: np.float32, w: Work) -> None:
    """Move all that a series is usually like on by the samples that `w` is of, but for the mean excess."""
    for i in range(m):
        w.step_s[i] = np.float32(at_ms[i] - c.last_ms[i]) * _SECONDS
    for i in range(m):
        c.last_ms[i] = at_ms[i]
    for i in range(m):
        c.caution[i] = _ONE + (c.caution[i] - _ONE) * _CAUTION_FADES
    for i in range(m):
        c.plain_error[i] += _ERROR_RATE * (abs(w.residual[i]) - c.plain_error[i])
    for i in range(m):
        c.daily_error[i] += _ERROR_RATE * (abs(w.left[i]) - c.daily_error[i])
    for i in range(m):
        q99, rate = c.q99[i], max(_TAIL_RATE, _FOUR / (c.seen[i] + _TWENTY))
        moved = max(q99 * ((rate if w.z[i] > q99 else _ZERO) + (_ONE - rate * _TAIL)), _LEAST_Q99)
        c.q99[i] = moved if c.seen[i] >= grace else q99
    for i in range(m):
        c.longest[i] = max(c.longest[i], _ZERO if w.run[i] > _ZERO else c.run[i])
    for i in range(m):
        c.run[i] = w.run[i]
    for i in range(m):
        c.z[i] = w.z[i]
    for i in range(m):
        cut = _cut(w.residual[i], w.bound[i], c.seen[i])
        c.level[i] = _level(c.level[i], cut, c.seen[i], _LEVEL_RATE)
    for i in range(m):
        cut = _cut(w.residual[i], w.bound[i], c.seen[i])
        c.spread[i] = _spread(c.spread[i], cut, c.seen[i], _SPREAD_RATE)
    for i in range(m):
        cut = _cut(w.left[i], w.daily_bound[i], c.seen[i])
        c.daily[i] = _level(c.daily[i], cut, c.seen[i], _DAILY_LEVEL_RATE)
    for i in range(m):
        cut = _cut(w.left[i], w.daily_bound[i], c.seen[i])
        # Until the table knows its day, what it leaves says nothing of what it will leave.
        rate = _DAILY_SPREAD_RATE + (_LEVEL_RATE if w.days[i] < YOUNG_TABLE else _ZERO)
        c.daily_spread[i] = _spread(c.daily_spread[i], cut, c.seen[i], rate)
    for i in range(m):
        c.low[i] = min(c.low[i], w.x[i])
    for i in range(m):
        c.high[i] = max(c.high[i], w.x[i])
    for i in range(m):
        c.last[i] = w.x[i]
    for i in range(m):
        c.seen[i] += _ONE
    for i in range(m):  # a slot weighs by time
        stayed = min(w.step_s[i], w.slot_s[i])
        pull = min(stayed / w.slot_s[i] * max(_FIRST_VISIT / (_ONE + _TWO * w.days[i]), VISIT_RATE), _ONE)
        w.known[i] += pull * (w.x[i] - w.known[i])
    for i in range(m):
        w.days[i] += min(w.step_s[i], w.slot_s[i]) * _DAYS


@_compiled
def _empty_work(rows: int) -> Work:
    s = np.empty((11, rows), np.float32)
    return Work(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8], s[9], s[10])


@_compiled
def _needed(c: Columns, i: int, at_ms: int, asked: np.float32) -> np.float32:
    """The distance at which a sample of row i is unusual, were it not cautious."""
    spoken = np.float32(_spoken(c.seen[i], c.since_ms[i], at_ms))
    return np.float32(_threshold(c.q99[i], c.excess[i], spoken, asked))


@_compiled
def _is_together(rows: Rows, at_ms: Longs) -> bool:
    """Whether the rows follow each other, at times of one slot."""
    apart = 0
    for i in range(1, len(rows)):
        apart += np.int64(rows[i] - rows[i - 1] != 1)
    first, last = at_ms[0], at_ms[0]
    for i in range(1, len(at_ms)):
        first, last = min(first, at_ms[i]), max(last, at_ms[i])
    return bool(apart == 0 and first // WEEKDAY_MS == last // WEEKDAY_MS)


@_compiled
def _gather(c: Columns, table: Singles, days: Singles, rows: Rows, at_ms: Longs, to: Columns, w: Work) -> None:
    for i in range(len(rows)):
        r = rows[i]
        _copy(to, i, c, r)
        kind, slot = _place_of(at_ms[i])
        w.known[i], w.days[i], w.slot_s[i] = table[slot, r], days[kind, r], _slot_s(kind)


@_compiled
def _scatter(c: Columns, table: Singles, days: Singles, r: int, at_ms: int, here: Columns, w: Work, i: int) -> None:
    _copy(c, r, here, i)
    kind, slot = _place_of(at_ms)
    table[slot, r], days[kind, r] = w.known[i], w.days[i]


@_compiled
def advance(c: Columns, table: Singles, days: Singles, s: Samples, told: Told) -> tuple[int, int]:
    """Score all samples, and learn those that need no second look. Every series must have had its beginning set.

    Answers how many entries of `told.grown` and of `told.candidates` were written; of candidates nothing is learned.
    """
    copies, scratch, code = _empty(BLOCK), _empty_work(BLOCK), np.empty(BLOCK, np.int32)
    grown = candidates = 0
    for a in range(0, len(s.rows), BLOCK):
        rows, at_ms, raw = s.rows[a : a + BLOCK], s.at_ms[a : a + BLOCK], s.raw[a : a + BLOCK]
        m, first = len(rows), rows[0]
        here, w = copies, scratch
        in_place = _is_together(rows, at_ms)
        if in_place:
            here = _view(c, first, first + m)
            kind, slot = _place_of(at_ms[0])
            w = Work(
                w.x, w.residual, w.bound, w.left, w.daily_bound, w.z, w.run, w.step_s, w.slot_s,
                table[slot, first : first + m], days[kind, first : first + m],
            )  # fmt: skip
            w.slot_s[:] = _slot_s(kind)
        else:
            _gather(c, table, days, rows, at_ms, here, w)
        _score(m, here, raw, w)
        found = _codes(m, here, w, s.grace, code)
        for i in range(min(m, max(len(s.forced) - a, 0))):
            code[i] |= s.forced[a + i]
            found += s.forced[a + i]
        looked = candidates
        if found:
            for i in range(m):
                if code[i] == _OVER:
                    needed = _needed(here, i, at_ms[i], s.asked[s.policy[rows[i]]])
                    if w.z[i] < needed * here.caution[i]:
                        code[i] = 0
                        # Only the first of a run teaches: a leak that climbs is one event, and must not raise its bar.
                        if here.z[i] <= here.q99[i]:
                            here.excess[i] = _move_excess(here.q99[i], here.excess[i], w.z[i], needed)
                if code[i]:
                    told.candidates[candidates] = a + i
                    candidates += 1
        if len(told.x):
            told.x[a : a + m] = w.x[:m]
            told.low[a : a + m] = here.low[:m]
            told.high[a : a + m] = here.high[:m]
        if in_place and candidates > looked:
            in_place = False
            for i in range(m):
                _copy(copies, i, here, i)
            scratch.known[:m], scratch.days[:m] = w.known, w.days
            here, w = copies, scratch
        _learn(m, here, at_ms, s.grace, w)
        if not in_place:
            for i in range(m):
                if not code[i]:
                    _scatter(c, table, days, rows[i], at_ms[i], here, w, i)
        here_grown = 0
        for i in range(m):
            here_grown += np.int32(here.seen[i] == s.grace)
        if here_grown:
            for i in range(m):
                if here.seen[i] == s.grace and not (found and code[i]):
                    told.grown[grown] = rows[i]
                    grown += 1
    return grown, candidates


@_compiled
def look(c: Columns, table: Singles, days: Singles, rows: Rows, at_ms: Longs, raw: Floats) -> tuple[Columns, Work]:
    """Copies of the state of these rows, and what scoring finds of their samples. Learns nothing."""
    here, w = _empty(len(rows)), _empty_work(len(rows))
    _gather(c, table, days, rows, at_ms, here, w)
    _score(len(rows), here, raw, w)
    return here, w


@_compiled
def learn(c: Columns, table: Singles, days: Singles, s: Samples, here: Columns, w: Work, lessons: Lessons) -> None:
    """Learn the samples that `look` told of, as far as they teach, and write the state of their rows back."""
    m = len(s.rows)
    level, spread, seen = here.level.copy(), here.spread.copy(), here.seen.copy()
    daily, daily_spread, known, q99 = here.daily.copy(), here.daily_spread.copy(), w.known.copy(), here.q99.copy()
    for i in range(m):
        if lessons.percentile[i] and seen[i] >= s.grace and w.z[i] > q99[i] and here.z[i] <= q99[i]:
            needed = _needed(here, i, s.at_ms[i], s.asked[s.policy[s.rows[i]]])
            if w.z[i] < needed * here.caution[i]:
                here.excess[i] = _move_excess(q99[i], here.excess[i], w.z[i], needed)
    _learn(m, here, s.at_ms, s.grace, w)
    for i in range(m):
        if not lessons.level[i]:
            here.level[i], here.spread[i], here.seen[i] = level[i], spread[i], seen[i]
        if not lessons.daily[i]:
            here.daily[i], here.daily_spread[i], w.known[i] = daily[i], daily_spread[i], known[i]
        if not lessons.percentile[i]:
            here.q99[i] = q99[i]
        _scatter(c, table, days, s.rows[i], s.at_ms[i], here, w, i)
