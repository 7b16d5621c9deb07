"""What a pass does with its candidates: they are judged, their alarms moved on, and what they teach is learned.

One call of compiled code: candidates are one or two of thousands, and going back to NumPy between the steps cost more
than scoring all the others.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentinel.detection import baseline as tier
from sentinel.detection.alarm import Alarms, Bools, Rules, Scored, Verdict, advance_alarms, is_quiet
from sentinel.detection.blocks import Columns, Floats, Longs, Work
from sentinel.detection.columns import Rows, Singles
from sentinel.detection.compiled import compiled, compiled_inside
from sentinel.detection.kernel import Lessons, Samples, learn, look
from sentinel.detection.parts import Part
from sentinel.detection.weighing import OPEN_SCORE, Weighed, weigh

# A series that has just cried wolf must be further out to be believed again: each anomaly raises its opening
# threshold by half, which comes back halfway every 1400 samples.
CAUTION_STEP, CAUTION_CAP = np.float32(1.5), np.float32(8.0)

_CHANGE, _SHIFT = int(Part.CHANGE), int(Part.SHIFT)
_FIRST_Q99, _FIRST_EXCESS = np.float32(tier.FIRST_Q99), np.float32(tier.FIRST_EXCESS)
_FIRST_FASTEST, _FIRST_SHIFT_Q99 = np.float32(tier.FIRST_FASTEST), np.float32(tier.FIRST_SHIFT_Q99)


class Evidence(NamedTuple):
    """What is known of n candidates beside their series' own past. at: their places in the samples of the pass.

    novelty: of the shape, float64[3, n], what is told, what is heard and what is needed; [3, 0] where no series has
    that tier. breached, breach_up: beyond a rule of people, and above it; bool[0] where there is none. By policy,
    learned: judged by what was learned; side int8: 1 if only a rise matters, -1 a fall, 0 both.
    """

    at: Rows
    novelty: Floats
    breached: Bools
    breach_up: Bools
    learned: Bools
    side: NDArray[np.int8]


class Looked(NamedTuple):
    """What a second look found. short: places for alarms that are lacking; if any, nothing was done.

    grown: rows whose grace ended. open: rows with an open anomaly. alarms, verdict, at_ms: those that opened, worsened
    or closed, as they were left.
    """

    short: int
    grown: Rows
    open: Rows
    alarms: Alarms
    verdict: Verdict
    at_ms: Longs


@compiled_inside
def _alarms_at(a: Alarms, at: Longs) -> Alarms:
    return Alarms(
        a.row[at], a.run[at], a.run_up[at], a.run_ms[at], a.flagged[at], a.flagged_ms[at], a.open[at], a.calm[at],
        a.up[at], a.part[at], a.started_ms[at], a.unusual_ms[at], a.peak[at], a.peak_value[at], a.peak_low[at],
        a.peak_high[at], a.told[at],
    )  # fmt: skip


@compiled_inside
def _forget(a: Alarms, i: int) -> None:
    a.row[i] = -1
    a.run[i], a.run_up[i], a.run_ms[i], a.flagged[i], a.flagged_ms[i], a.open[i] = 0, False, 0, 0, 0, False
    a.calm[i], a.up[i], a.part[i], a.started_ms[i], a.unusual_ms[i] = 0, False, 0, 0, 0
    a.peak[i], a.peak_value[i], a.peak_low[i], a.peak_high[i], a.told[i] = 0.0, 0.0, 0.0, 0.0, 0.0


@compiled_inside
def _scored_at(s: Scored, at: Longs) -> Scored:
    return Scored(
        s.at_ms[at], s.value[at], s.score[at], s.low[at], s.high[at], s.up[at], s.hot[at], s.unusual[at],
        s.scored[at], s.part[at], s.fast[at],
    )  # fmt: skip


@compiled_inside
def _verdict_at(v: Verdict, at: Longs) -> Verdict:
    return Verdict(v.opened[at], v.worsened[at], v.closed[at], v.flagged[at], v.relearn[at])


@compiled_inside
def _placed(a: Alarms, rows: Rows, watch: NDArray[np.int32]) -> tuple[int, Longs]:
    """Places of the alarms of these rows, those without one at the first that are free; how many there are too few."""
    places = watch.astype(np.int64)
    free = 0
    for k in range(len(places)):
        if places[k] < 0:
            while free < len(a.row) and a.row[free] >= 0:
                free += 1
            if free == len(a.row):
                return int((places[k:] < 0).sum()), places
            places[k] = free
            free += 1
    for k in range(len(places)):
        a.row[places[k]] = rows[k]
    return 0, places


@compiled_inside
def _judged_by(
    at_ms: Longs, raw: Floats, rows: Rows, watch: NDArray[np.int32], s: Samples, e: Evidence, a: Alarms
) -> Weighed:
    place = s.policy[rows]
    is_open, opened_by = np.zeros(len(rows), np.bool_), np.full(len(rows), -1, np.int64)
    for k in range(len(rows)):
        if watch[k] >= 0:
            is_open[k], opened_by[k] = a.open[watch[k]], a.part[watch[k]]
    return Weighed(
        at_ms, raw, s.asked[place], e.learned[place], e.side[place], is_open, opened_by, e.novelty, e.breached,
        e.breach_up,
    )  # fmt: skip


@compiled_inside
def _lessons(
    watched: Longs, here: Columns, w: Work, seasonal: Bools, scored: Bools, alarm: Alarms, verdict: Verdict
) -> Lessons:
    """Who may learn from the samples; and what an anomaly that opens, or is the new normal, changes of its series.

    A hot sample that opens nothing moves the percentile, for what comes often is usual; what is open teaches neither
    it nor the mean excess, or the second sample of an anomaly would be judged by its first. The rise of every morning
    is flagged until the table by time of day speaks, so until then that learns from what is flagged.
    """
    m = len(seasonal)
    level, daily = np.ones(m, np.bool_), np.ones(m, np.bool_)
    percentile, recent = np.ones(m, np.bool_), np.ones(m, np.bool_)
    for k in range(len(watched)):
        i = watched[k]
        if verdict.relearn[k]:
            here.seen[i], here.q99[i], here.excess[i] = np.float32(0), _FIRST_Q99, _FIRST_EXCESS
            here.fastest[i], here.shift_q99[i] = _FIRST_FASTEST, _FIRST_SHIFT_Q99
        level[i] = not verdict.flagged[k] or verdict.relearn[k] or not scored[k]
        daily[i] = level[i] or not seasonal[i]
        percentile[i] = not alarm.open[k]
        recent[i] = level[i] or (alarm.open[k] and alarm.part[k] == _SHIFT)
        if verdict.opened[k]:
            if alarm.part[k] == _CHANGE:  # a speed that is known from now on
                half = (alarm.peak_high[k] - alarm.peak_low[k]) / 2 / here.unit[i] / w.bound[i]
                moved_by = half * here.caution[i] * alarm.peak[k] / OPEN_SCORE
                here.fastest[i] = np.float32(max(np.float64(here.fastest[i]), moved_by))
            here.caution[i] = min(here.caution[i] * CAUTION_STEP, CAUTION_CAP)
    return Lessons(level, daily, percentile, recent)


@compiled
def look_again(c: Columns, table: Singles, days: Singles, s: Samples, e: Evidence, a: Alarms, rules: Rules) -> Looked:
    """Open, keep and end the alarms of the candidates among the samples `s`, and learn what may be learned of them."""
    rows, at_ms, raw = s.rows[e.at], s.at_ms[e.at], s.raw[e.at]
    here, w = look(c, table, days, rows, at_ms, raw)
    judged, seasonal = weigh(here, w, _judged_by(at_ms, raw, rows, here.watch, s, e, a), s.grace)
    watched = np.flatnonzero(judged.hot | (here.watch >= 0))
    chosen = _scored_at(judged, watched)
    short, places = _placed(a, rows[watched], here.watch[watched])
    if short:
        none = np.zeros(0, np.int64)
        return Looked(
            short, none, none, _alarms_at(a, none), advance_alarms(a, none, _scored_at(judged, none), rules), none
        )
    verdict = advance_alarms(a, places, chosen, rules)
    alarm = _alarms_at(a, places)
    for k in range(len(watched)):
        calm = is_quiet(alarm.open[k], alarm.run[k], alarm.flagged[k])
        here.watch[watched[k]] = np.int32(-1 if calm else places[k])
        if calm:
            _forget(a, places[k])
    lessons = _lessons(watched, here, w, seasonal, chosen.scored, alarm, verdict)
    learn(
        c, table, days, Samples(rows, at_ms, raw, np.zeros(0, np.bool_), s.policy, s.asked, s.grace), here, w, lessons
    )
    news = np.flatnonzero(verdict.opened | verdict.worsened | verdict.closed)
    grown = rows[(here.seen == s.grace) & lessons.level]
    return Looked(
        0, grown, alarm.row[alarm.open], _alarms_at(alarm, news), _verdict_at(verdict, news), chosen.at_ms[news]
    )
