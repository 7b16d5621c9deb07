"""One sample each of many series through the base tier: what needs no second look is learned at once, block by block.

Every series is on its own, so how samples are cut into blocks changes no result. A block's columns are seen where they
lie if its rows follow each other, and are copied otherwise.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentinel.detection.blocks import (
    Columns,
    Floats,
    Longs,
    Work,
    copy,
    empty,
    empty_work,
    gather,
    is_together,
    scatter,
    scatter_all,
    table_view,
    view,
)
from sentinel.detection.columns import Rows, Singles
from sentinel.detection.compiled import compiled, compiled_inside
from sentinel.detection.steps import OVER, codes, is_hot, marked, move_excess, needed_of, score, teach, unmarked

Bools = NDArray[np.bool_]

BLOCK = 2048  # rows whose working columns stay in the second cache; cutting and passing those takes 2.5 us a block


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
    """Which candidates teach the level, the model by time of day, the percentiles with the excess, and the mean of the
    newest samples: bool[n] each."""

    level: Bools
    daily: Bools
    percentile: Bools
    recent: Bools


class Told(NamedTuple):
    """What `advance` writes beside the state: the value in the units of each series, and their range before it, for
    those who ask (float32[0] for others); rows past their grace with this sample, and places of candidates."""

    x: Singles
    low: Singles
    high: Singles
    grown: Rows
    candidates: Rows


@compiled
def is_good(rows: Rows, raw: Floats) -> bool:
    """Whether every row is known, and every value finite."""
    bad = 0
    for i in range(len(rows)):
        bad += int(rows[i] < 0) | int(not np.isfinite(raw[i]))
    return bad == 0


@compiled
def is_rising(rows: Rows) -> bool:
    """Whether each row comes after the one before it, as where a sender repeats its series in their order."""
    falls = 0
    for i in range(1, len(rows)):
        falls += int(rows[i] <= rows[i - 1])
    return falls == 0


@compiled
def survey(rows: Rows, at_ms: Longs, last_ms: Longs, seen: Singles) -> tuple[int, int]:
    """How many of these samples are late, and how many are the first of a series, or of its learning afresh."""
    late = new = 0
    for i in range(len(rows)):
        late += int(at_ms[i] <= last_ms[rows[i]])
        new += int(seen[rows[i]] == 0)
    return late, new


@compiled
def advance(c: Columns, table: Singles, days: Singles, s: Samples, told: Told) -> tuple[int, int]:
    """Score all samples, and learn those that need no second look. Every series must have had its beginning set.

    Answers how many entries of `told.grown` and of `told.candidates` were written; of candidates nothing is learned.
    """
    most = min(len(s.rows), BLOCK)
    copies, scratch, code, at = empty(most), empty_work(most), np.empty(most, np.int32), np.empty(most, np.int32)
    table_copies, needed = np.empty((2, most), np.float32), np.empty(most, np.float32)
    grown = candidates = 0
    for a in range(0, len(s.rows), BLOCK):
        rows, at_ms, raw = s.rows[a : a + BLOCK], s.at_ms[a : a + BLOCK], s.raw[a : a + BLOCK]
        m, first = len(rows), rows[0]
        here, w = copies, scratch
        in_place = is_together(rows, at_ms)
        if in_place:
            here = view(c, first, first + m)
            w = table_view(w, table, days, at_ms[0], first, first + m)
        else:
            gather(c, table, days, rows, at_ms, here, w)
        score(m, here, raw, w)
        codes(m, here, at_ms, w, s.grace, code)
        for i in range(min(m, max(len(s.forced) - a, 0))):
            code[i] |= s.forced[a + i]
        looked, n = candidates, marked(m, code, at)
        for k in range(n):  # apart from what is decided by it, so that the waits for memory fall together
            i = at[k]
            needed[k] = needed_of(here, i, at_ms[i], s.asked[s.policy[rows[i]]])
        for k in range(n):
            i = at[k]
            if code[i] == OVER and not is_hot(here, w, i, at_ms[i], needed[k] * here.caution[i]):
                code[i] = 0
                # Only the first of a run teaches: a leak that climbs is one event, and must not raise its bar.
                if w.z[i] > here.q99[i] and here.z[i] <= here.q99[i]:
                    here.excess[i] = move_excess(here.q99[i], here.excess[i], w.z[i], needed[k])
            else:
                told.candidates[candidates] = a + i
                candidates += 1
        if len(told.x):
            told.x[a : a + m] = w.x[:m]
            told.low[a : a + m] = here.low[:m]
            told.high[a : a + m] = here.high[:m]
        if in_place:
            for k in range(looked, candidates):
                i = told.candidates[k] - a
                copy(copies, k - looked, here, i)
                table_copies[0, k - looked], table_copies[1, k - looked] = w.known[i], w.days[i]
        teach(m, here, at_ms, s.grace, w)
        if in_place:  # what needs a second look has learned nothing yet
            for k in range(looked, candidates):
                i = told.candidates[k] - a
                copy(here, i, copies, k - looked)
                w.known[i], w.days[i] = table_copies[0, k - looked], table_copies[1, k - looked]
        else:
            scatter_all(c, table, days, rows, at_ms, here, w, at[: unmarked(m, code, at)])
        here_grown = 0
        for i in range(m):
            here_grown += int(here.seen[i] == s.grace)
        if here_grown:
            for i in range(m):
                if here.seen[i] == s.grace and not code[i]:
                    told.grown[grown] = rows[i]
                    grown += 1
    return grown, candidates


@compiled_inside
def look(c: Columns, table: Singles, days: Singles, rows: Rows, at_ms: Longs, raw: Floats) -> tuple[Columns, Work]:
    """Copies of the state of these rows, and what scoring finds of their samples. Learns nothing."""
    here, w = empty(len(rows)), empty_work(len(rows))
    gather(c, table, days, rows, at_ms, here, w)
    score(len(rows), here, raw, w)
    return here, w


@compiled_inside
def learn(c: Columns, table: Singles, days: Singles, s: Samples, here: Columns, w: Work, lessons: Lessons) -> None:
    """Learn the samples that `look` told of, as far as they teach, and write the state of their rows back."""
    m = len(s.rows)
    level, spread, seen = here.level.copy(), here.spread.copy(), here.seen.copy()
    daily, daily_spread, known, q99 = here.daily.copy(), here.daily_spread.copy(), w.known.copy(), here.q99.copy()
    quick, recent, slow = here.quick.copy(), here.recent.copy(), here.slow.copy()
    fastest, shift_q99 = here.fastest.copy(), here.shift_q99.copy()
    for i in range(m):
        if seen[i] == 0:  # learns afresh from here on
            here.since_ms[i] = s.at_ms[i]
        if lessons.percentile[i] and seen[i] >= s.grace and w.z[i] > q99[i] and here.z[i] <= q99[i]:
            needed = needed_of(here, i, s.at_ms[i], s.asked[s.policy[s.rows[i]]])
            if w.z[i] < needed * here.caution[i]:
                here.excess[i] = move_excess(q99[i], here.excess[i], w.z[i], needed)
    teach(m, here, s.at_ms, s.grace, w)
    for i in range(m):
        if not lessons.level[i]:
            here.level[i], here.spread[i], here.seen[i] = level[i], spread[i], seen[i]
            # The table may learn a rise that is flagged each morning. What follows quickly may not: in a fault it would
            # prove the model by time of day right, and call the end of it wrong.
            here.daily[i] = daily[i]
            here.quick[i], here.slow[i], here.fastest[i] = quick[i], slow[i], fastest[i]
        if not lessons.daily[i]:
            here.daily_spread[i], w.known[i] = daily_spread[i], known[i]
        if not lessons.percentile[i]:
            here.q99[i], here.shift_q99[i] = q99[i], shift_q99[i]
            here.quick[i] = w.x[i]  # an anomaly is open, and its end, however far the way, is no news
        if not lessons.recent[i]:
            here.recent[i] = recent[i]
        scatter(c, table, days, s.rows[i], s.at_ms[i], here, w, i)
