"""Rows of the state as compiled code takes them: where they lie, or copied together and back."""

from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentinel.detection.columns import Baseline, Rows, Singles
from sentinel.detection.compiled import compiled, compiled_inside
from sentinel.detection.season import WEEKDAY_MS, WEEKEND_MS, place_of

Longs = NDArray[np.int64]
Floats = NDArray[np.float64]
Ints = NDArray[np.int32]


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
    quick: Singles
    recent: Singles
    slow: Singles
    fastest: Singles
    shift_q99: Singles


class Work(NamedTuple):
    """What scoring finds of samples. x: the value in the units of the series. known, days: the table at their time of
    day, and how long it has been learned. residual, left: how far x is from the level, and from the table and what it
    usually leaves; bound, daily_bound: the spreads that count against them. z: distance by the model that speaks;
    change, shift: of x from the newest samples, and of these from the older ones, in spreads. run: how often x has come
    on end. alike: the share of one sample of all; limit, daily_limit: how far one is taken to be at most. slot_s:
    seconds of a slot of the table, and stayed_s: those of them since the sample before."""

    x: Singles
    residual: Singles
    bound: Singles
    left: Singles
    daily_bound: Singles
    z: Singles
    change: Singles
    shift: Singles
    run: Singles
    alike: Singles
    limit: Singles
    daily_limit: Singles
    stayed_s: Singles
    slot_s: Singles
    known: Singles
    days: Singles


_values = attrgetter(*Columns._fields)
_place_of = compiled(place_of)


def columns(base: Baseline) -> Columns:
    """The same arrays."""
    return Columns(*_values(base))


@compiled_inside
def _slot_s(kind: int) -> np.float32:
    return np.float32((WEEKEND_MS if kind else WEEKDAY_MS) / 1000)


@compiled_inside
def view(c: Columns, a: int, b: int) -> Columns:
    """Rows a to b - 1, where they lie."""
    return Columns(
        c.origin[a:b], c.unit[a:b], c.since_ms[a:b], c.last_ms[a:b], c.watch[a:b], c.zero[a:b], c.seen[a:b],
        c.level[a:b], c.spread[a:b], c.daily[a:b], c.daily_spread[a:b], c.plain_error[a:b], c.daily_error[a:b],
        c.low[a:b], c.high[a:b], c.last[a:b], c.run[a:b], c.longest[a:b], c.q99[a:b], c.excess[a:b], c.caution[a:b],
        c.z[a:b], c.quick[a:b], c.recent[a:b], c.slow[a:b], c.fastest[a:b], c.shift_q99[a:b],
    )  # fmt: skip


@compiled_inside
def empty(rows: int) -> Columns:
    s = np.empty((22, rows), np.float32)
    return Columns(
        np.empty(rows, np.float64), np.empty(rows, np.float64), np.empty(rows, np.int64), np.empty(rows, np.int64),
        np.empty(rows, np.int32), s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8], s[9], s[10], s[11], s[12],
        s[13], s[14], s[15], s[16], s[17], s[18], s[19], s[20], s[21],
    )  # fmt: skip


@compiled_inside
def empty_work(rows: int) -> Work:
    s = np.empty((16, rows), np.float32)
    return Work(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8], s[9], s[10], s[11], s[12], s[13], s[14], s[15])


@compiled_inside
def copy(to: Columns, i: int, c: Columns, r: int) -> None:
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
    to.quick[i], to.recent[i], to.slow[i] = c.quick[r], c.recent[r], c.slow[r]
    to.fastest[i], to.shift_q99[i] = c.fastest[r], c.shift_q99[r]


@compiled_inside
def is_together(rows: Rows, at_ms: Longs) -> bool:
    """Whether the rows follow each other, at times of one slot."""
    apart = 0
    for i in range(1, len(rows)):
        apart += int(rows[i] - rows[i - 1] != 1)
    first, last = at_ms[0], at_ms[0]
    for i in range(1, len(at_ms)):
        first, last = min(first, at_ms[i]), max(last, at_ms[i])
    return bool(apart == 0 and first // WEEKDAY_MS == last // WEEKDAY_MS)


@compiled_inside
def _picked(column: NDArray[Any], rows: Rows, to: NDArray[Any]) -> None:
    for i in range(len(rows)):
        to[i] = column[rows[i]]


@compiled_inside
def _put_back(column: NDArray[Any], rows: Rows, values: NDArray[Any], at: Ints) -> None:
    for i in at:
        column[rows[i]] = values[i]


@compiled_inside
def gather(c: Columns, table: Singles, days: Singles, rows: Rows, at_ms: Longs, to: Columns, w: Work) -> None:
    # Column by column: to hand all of them to a function for each row takes longer than to copy the row.
    _picked(c.origin, rows, to.origin)
    _picked(c.unit, rows, to.unit)
    _picked(c.since_ms, rows, to.since_ms)
    _picked(c.last_ms, rows, to.last_ms)
    _picked(c.watch, rows, to.watch)
    _picked(c.zero, rows, to.zero)
    _picked(c.seen, rows, to.seen)
    _picked(c.level, rows, to.level)
    _picked(c.spread, rows, to.spread)
    _picked(c.daily, rows, to.daily)
    _picked(c.daily_spread, rows, to.daily_spread)
    _picked(c.plain_error, rows, to.plain_error)
    _picked(c.daily_error, rows, to.daily_error)
    _picked(c.low, rows, to.low)
    _picked(c.high, rows, to.high)
    _picked(c.last, rows, to.last)
    _picked(c.run, rows, to.run)
    _picked(c.longest, rows, to.longest)
    _picked(c.q99, rows, to.q99)
    _picked(c.excess, rows, to.excess)
    _picked(c.caution, rows, to.caution)
    _picked(c.z, rows, to.z)
    _picked(c.quick, rows, to.quick)
    _picked(c.recent, rows, to.recent)
    _picked(c.slow, rows, to.slow)
    _picked(c.fastest, rows, to.fastest)
    _picked(c.shift_q99, rows, to.shift_q99)
    for i in range(len(rows)):
        kind, slot = _place_of(at_ms[i])
        w.known[i], w.days[i], w.slot_s[i] = table[slot, rows[i]], days[kind, rows[i]], _slot_s(kind)


@compiled_inside
def scatter_all(
    c: Columns, table: Singles, days: Singles, rows: Rows, at_ms: Longs, here: Columns, w: Work, at: Ints
) -> None:
    """Write the rows at the places `at` back."""
    _put_back(c.origin, rows, here.origin, at)
    _put_back(c.unit, rows, here.unit, at)
    _put_back(c.since_ms, rows, here.since_ms, at)
    _put_back(c.last_ms, rows, here.last_ms, at)
    _put_back(c.watch, rows, here.watch, at)
    _put_back(c.zero, rows, here.zero, at)
    _put_back(c.seen, rows, here.seen, at)
    _put_back(c.level, rows, here.level, at)
    _put_back(c.spread, rows, here.spread, at)
    _put_back(c.daily, rows, here.daily, at)
    _put_back(c.daily_spread, rows, here.daily_spread, at)
    _put_back(c.plain_error, rows, here.plain_error, at)
    _put_back(c.daily_error, rows, here.daily_error, at)
    _put_back(c.low, rows, here.low, at)
    _put_back(c.high, rows, here.high, at)
    _put_back(c.last, rows, here.last, at)
    _put_back(c.run, rows, here.run, at)
    _put_back(c.longest, rows, here.longest, at)
    _put_back(c.q99, rows, here.q99, at)
    _put_back(c.excess, rows, here.excess, at)
    _put_back(c.caution, rows, here.caution, at)
    _put_back(c.z, rows, here.z, at)
    _put_back(c.quick, rows, here.quick, at)
    _put_back(c.recent, rows, here.recent, at)
    _put_back(c.slow, rows, here.slow, at)
    _put_back(c.fastest, rows, here.fastest, at)
    _put_back(c.shift_q99, rows, here.shift_q99, at)
    for i in at:
        kind, slot = _place_of(at_ms[i])
        table[slot, rows[i]], days[kind, rows[i]] = w.known[i], w.days[i]


@compiled_inside
def scatter(c: Columns, table: Singles, days: Singles, r: int, at_ms: int, here: Columns, w: Work, i: int) -> None:
    copy(c, r, here, i)
    kind, slot = _place_of(at_ms)
    table[slot, r], days[kind, r] = w.known[i], w.days[i]


@compiled_inside
def table_view(w: Work, table: Singles, days: Singles, at_ms: int, a: int, b: int) -> Work:
    """The same with the table by time of day of rows a to b - 1, where it lies."""
    kind, slot = _place_of(at_ms)
    w.slot_s[:] = _slot_s(kind)
    return Work(
        w.x, w.residual, w.bound, w.left, w.daily_bound, w.z, w.change, w.shift, w.run, w.alike, w.limit,
        w.daily_limit, w.stayed_s, w.slot_s, table[slot, a:b], days[kind, a:b],
    )  # fmt: skip
