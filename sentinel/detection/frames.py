"""The service tier's arithmetic, compiled. Source of the method: see `services`."""

from operator import attrgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentinel.detection.columns import Rows, Singles
from sentinel.detection.compiled import compiled, compiled_inside

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]
Ints = NDArray[np.int32]
Bools = NDArray[np.bool_]

SLOW_RATE, FAST_RATE = np.float32(0.0002), np.float32(0.05)
# A spread is never taken to be less than this share of the range ever seen: a metric that hardly moves is no oracle.
SLOW_FLOOR, FAST_FLOOR = np.float32(0.01), np.float32(0.05)
SLOW_CAP, FAST_CAP = np.float32(100.0), np.float32(10.0)
TINY = np.float32(1e-9)
YOUNG = np.float32(20)  # samples of a series before its residuals count
LARGEST = 3
TAIL, TAIL_RATE = 0.01, 0.005
LEAST_Q99 = 0.05
EXCESS_RATE, EXCESS_CLIP = 0.05, 5.0
LESS_SEEN = 1 - EXCESS_CLIP / (np.e**EXCESS_CLIP - 1)  # share of an exponential tail's mean excess, seen up to the clip
GRACE_FRAMES = 60
SETTLED_FRAMES = 3 * GRACE_FRAMES  # until then the percentiles themselves move too much to be exceeded
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


class MemberColumns(NamedTuple):
    """`Member` as compiled code takes it."""

    service: Ints
    stamp: Ints
    seen: Singles
    slow: Singles
    slow_spread: Singles
    fast: Singles
    fast_spread: Singles
    slow_z: Singles
    fast_z: Singles


class GroupColumns(NamedTuple):
    """`Group` as compiled code takes it; size: its count."""

    size: Longs
    frame: Longs
    fresh: Longs
    live: Longs
    scored: Bools
    frames: Longs
    frame_ms: Longs
    since_ms: Longs
    slow_q99: Floats
    fast_q99: Floats
    excess: Floats
    score: Floats


class Round(NamedTuple):
    """What `weigh` finds of n services: residuals float32[n, width], 0 for a metric that did not come; metrics: how
    many did. slow, fast: the two scores, in spreads."""

    residuals: Singles
    metrics: Longs
    slow: Floats
    fast: Floats


member_columns = attrgetter(*MemberColumns._fields)
group_columns = attrgetter("count", *GroupColumns._fields[1:])


@compiled_inside
def _belonging(rows: Rows, service: Ints, count: Longs, least: int) -> Rows:
    """Places of the rows that are members of a service with enough of them."""
    places = np.empty(len(rows), np.int64)
    found = 0
    for i in range(len(rows)):
        slot = service[rows[i]]
        if slot >= 0 and count[slot] >= least:
            places[found] = i
            found += 1
    return places[:found]


@compiled_inside
def _begun(rows: Rows, m: MemberColumns, frame: Longs) -> Rows:
    """Services of which a series comes again before the frame was ended, each once, in order."""
    again = np.zeros(len(frame), np.bool_)
    for i in range(len(rows)):
        slot = m.service[rows[i]]
        if m.stamp[rows[i]] == frame[slot]:
            again[slot] = True
    return np.flatnonzero(again)


@compiled_inside
def _moved(
    level: np.float32, spread: np.float32, x: np.float32, seen: np.float32, rate: np.float32
) -> tuple[np.float32, np.float32]:
    """Level and spread with one more sample; a young series weighs its samples alike, and the first is the level."""
    residual = x - level
    pull = max(_ONE / (seen + _ONE), rate)
    first = seen == _ZERO
    moved = _ZERO if first else residual
    wider = np.sqrt((_ONE - pull) * (spread * spread + pull * (moved * moved)))
    return np.float32(level + (x if first else pull * residual)), np.float32(wider)


@compiled_inside
def _out(residual: np.float32, spread: np.float32, least: np.float32, cap: np.float32) -> np.float32:
    return np.float32(min(max(residual / max(spread, least, TINY), -cap), cap))


@compiled_inside
def _take_in(
    rows: Rows, x: Singles, low: Singles, high: Singles, at_ms: Longs, m: MemberColumns, g: GroupColumns
) -> Rows:
    """Learn one sample each of different series; answers the services whose frame is whole with it, in order."""
    touched = np.zeros(len(g.size), np.bool_)
    for i in range(len(rows)):
        r = rows[i]
        slot, seen, width = m.service[r], m.seen[r], high[i] - low[i]
        slow_z = _out(x[i] - m.slow[r], m.slow_spread[r], SLOW_FLOOR * width, SLOW_CAP)
        fast_z = _out(x[i] - m.fast[r], m.fast_spread[r], FAST_FLOOR * width, FAST_CAP)
        m.slow_z[r], m.fast_z[r] = (slow_z, fast_z) if seen >= YOUNG else (_ZERO, _ZERO)
        m.slow[r], m.slow_spread[r] = _moved(m.slow[r], m.slow_spread[r], x[i], seen, SLOW_RATE)
        m.fast[r], m.fast_spread[r] = _moved(m.fast[r], m.fast_spread[r], x[i], seen, FAST_RATE)
        m.seen[r] = seen + _ONE
        m.stamp[r] = np.int32(g.frame[slot])
        g.fresh[slot] += 1
        g.frame_ms[slot] = max(g.frame_ms[slot], at_ms[i])
        touched[slot] = True
    whole = np.zeros(len(g.size), np.bool_)
    for slot in range(len(touched)):
        whole[slot] = touched[slot] and g.fresh[slot] >= g.live[slot] and not g.scored[slot]
    return np.flatnonzero(whole)


@compiled
def enter(
    rows: Rows, x: Singles, low: Singles, high: Singles, at_ms: Longs, m: MemberColumns, g: GroupColumns, least: int
) -> tuple[Rows, Rows]:
    """Learn one sample each of different series, of services with so many members at the least.

    Answers (late, whole). late: services whose frame ends though it was never whole, to be judged first: if there is
    any, nothing was done. whole: those whose frame is whole now.
    """
    places = _belonging(rows, m.service, g.size, least)
    rows = rows[places]
    again = _begun(rows, m, g.frame)
    late = again[~g.scored[again] & (g.fresh[again] > 0)]
    if len(late):
        return late, late[:0]
    for slot in again:
        g.live[slot] = g.fresh[slot]
        g.frame[slot] += 1
        g.fresh[slot] = 0
        g.scored[slot] = False
    return late, _take_in(rows, x[places], low[places], high[places], at_ms[places], m, g)


@compiled_inside
def weigh(slots: Rows, members: Ints, m: MemberColumns, frame: Longs) -> Round:
    """The samples of these services' frames together."""
    width = members.shape[1]
    residuals = np.zeros((len(slots), width), np.float32)
    metrics, slow, fast = np.zeros(len(slots), np.int64), np.zeros(len(slots)), np.zeros(len(slots))
    for k in range(len(slots)):
        first = second = third = _ZERO  # the largest, from the smallest of them on
        total = 0.0
        for j in range(width):
            r = members[slots[k], j]
            if r < 0 or m.stamp[r] != frame[slots[k]]:
                continue
            residuals[k, j] = m.slow_z[r]
            metrics[k] += 1
            total += abs(m.fast_z[r])
            out = abs(m.slow_z[r])
            if out > third:
                first, second, third = second, third, out
            elif out > second:
                first, second = second, out
            elif out > first:
                first = out
        slow[k] = (np.float64(first) + np.float64(second) + np.float64(third)) / LARGEST
        fast[k] = total / max(metrics[k], 1)
    return Round(residuals, metrics, slow, fast)


@compiled_inside
def settle(slots: Rows, seen: Round, g: GroupColumns) -> tuple[Floats, Floats, Bools, Floats]:
    """Judge these frames against their past and learn them; answers score, excess, whether grown, and frames a day."""
    n = len(slots)
    scores, excesses, grown, a_day = np.empty(n), np.empty(n), np.empty(n, np.bool_), np.empty(n)
    for k in range(n):
        s = slots[k]
        frames, at_ms, slow, fast = g.frames[s], g.frame_ms[s], seen.slow[k], seen.fast[k]
        if frames == 0:
            g.since_ms[s] = at_ms
        score = max(slow / g.slow_q99[s], fast / g.fast_q99[s])
        g.score[s] = scores[k] = score
        excess = excesses[k] = g.excess[s]
        grown[k] = frames >= GRACE_FRAMES
        a_day[k] = max(frames, 1) * (86_400_000.0 / max(at_ms - g.since_ms[s], 1))
        rate = max(TAIL_RATE, 2 / (frames / 10 + 2))
        g.slow_q99[s] = max(g.slow_q99[s] * (1 + rate * ((1.0 if slow > g.slow_q99[s] else 0.0) - TAIL)), LEAST_Q99)
        g.fast_q99[s] = max(g.fast_q99[s] * (1 + rate * ((1.0 if fast > g.fast_q99[s] else 0.0) - TAIL)), LEAST_Q99)
        # What is far beyond is an anomaly, or will be: it must not raise the bar for the frames that follow it.
        if 1 < score < 1 + EXCESS_CLIP * excess and frames >= SETTLED_FRAMES:
            g.excess[s] = excess + EXCESS_RATE * ((score - 1) / LESS_SEEN - excess)
        g.frames[s] = frames + 1
        g.scored[s] = True
    return scores, excesses, grown, a_day
