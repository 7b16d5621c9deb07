"""From scores to anomalies: opens after a run, closes after a calm, and says when a new normal should be learned."""

from operator import attrgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentinel.detection.columns import Alarm, fresh, grown, put, take
from sentinel.detection.compiled import compiled, compiled_inside
from sentinel.detection.config import DetectorConfig

Bools = NDArray[np.bool_]

_FIRST_ROWS = 16

WORSE = 2.0  # a peak this many times the one last told is news; it can happen some seven times below the score cap


class Scored(NamedTuple):
    """One sample each of n different series: at_ms int64[n], value, score and the band float64[n].

    up bool[n]: value above the level. hot bool[n]: beyond the opening threshold. unusual bool[n]: beyond the closing
    one. scored bool[n]: past its grace. part int64[n]: which part of the score spoke. fast bool[n]: opens at once.
    """

    at_ms: NDArray[np.int64]
    value: NDArray[np.float64]
    score: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    up: Bools
    hot: Bools
    unusual: Bools
    scored: Bools
    part: NDArray[np.int64]
    fast: Bools


class Verdict(NamedTuple):
    """What became of n series, bool[n] each: `flagged` samples are not learned, `relearn` starts learning afresh."""

    opened: Bools
    worsened: Bools
    closed: Bools
    flagged: Bools
    relearn: Bools


class Rules(NamedTuple):
    """Samples after which an alarm opens, and closes; samples and milliseconds after which it is the new normal."""

    open_after: int
    close_after: int
    relearn_after: int
    relearn_after_ms: float


class Alarms(NamedTuple):
    """`Alarm` as compiled code takes it."""

    row: NDArray[np.int64]
    run: NDArray[np.int64]
    run_up: Bools
    run_ms: NDArray[np.int64]
    flagged: NDArray[np.int64]
    flagged_ms: NDArray[np.int64]
    open: Bools
    calm: NDArray[np.int64]
    up: Bools
    part: NDArray[np.int64]
    started_ms: NDArray[np.int64]
    unusual_ms: NDArray[np.int64]
    peak: NDArray[np.float64]
    peak_value: NDArray[np.float64]
    peak_low: NDArray[np.float64]
    peak_high: NDArray[np.float64]
    told: NDArray[np.float64]


_columns = attrgetter(*Alarms._fields)


@compiled
def advance_alarms(a: Alarms, at: NDArray[np.int64], now: Scored, rules: Rules) -> Verdict:
    """Move the alarms at these places on by `now`, and say what happened.

    A sample of a series in its grace neither opens nor closes anything: there is no baseline to judge it by.
    """
    n = len(at)
    opened, worsened, closed = np.empty(n, np.bool_), np.empty(n, np.bool_), np.empty(n, np.bool_)
    flagged, relearn = np.empty(n, np.bool_), np.empty(n, np.bool_)
    for k in range(n):
        i, at_ms, hot, scored, was_open = at[k], now.at_ms[k], now.hot[k], now.scored[k], a.open[at[k]]
        if hot:
            a.run[i] = a.run[i] + 1 if a.run[i] > 0 and a.run_up[i] == now.up[k] else 1
            a.run_up[i] = now.up[k]
        elif scored:
            a.run[i] = 0
        if a.run[i] == 1:
            a.run_ms[i] = at_ms

        opened[k] = not was_open and hot and (now.fast[k] or a.run[i] >= rules.open_after)
        is_open = was_open or opened[k]
        if opened[k]:
            a.up[i], a.part[i], a.started_ms[i] = a.run_up[i], now.part[k], a.run_ms[i]
        # What opens is unusual, whether or not it would have kept an anomaly open: a speed does not.
        if opened[k] or (scored and now.unusual[k]):
            a.calm[i], a.unusual_ms[i] = 0, at_ms
        elif is_open and scored:
            a.calm[i] += 1
        closed[k] = is_open and scored and a.calm[i] >= rules.close_after
        a.open[i] = is_open and not closed[k]
        if closed[k]:
            a.calm[i] = 0

        # The peak is sought from the first sample of a run, so that an anomaly knows its highest when it opens.
        begins = a.run[i] == 1 and hot and not was_open
        rises = (now.up[k] == a.up[i] if was_open else hot) and now.score[k] > a.peak[i]
        worsened[k] = was_open and not closed[k] and rises and now.score[k] >= WORSE * a.told[i]
        if begins or rises:
            a.peak[i], a.peak_value[i] = now.score[k], now.value[k]
            a.peak_low[i], a.peak_high[i] = now.low[k], now.high[k]
        if opened[k] or worsened[k]:
            a.told[i] = a.peak[i]

        flagged[k] = hot or a.open[i]
        if flagged[k] and a.flagged[i] == 0:
            a.flagged_ms[i] = at_ms
        if scored:
            a.flagged[i] = a.flagged[i] + 1 if flagged[k] else 0
        lasted = scored and flagged[k] and a.flagged[i] > rules.relearn_after
        relearn[k] = lasted and at_ms - a.flagged_ms[i] >= rules.relearn_after_ms
        if relearn[k]:
            a.flagged[i], a.flagged_ms[i], a.run[i] = 1, at_ms, 0
    return Verdict(opened, worsened, closed, flagged, relearn)


def quiet(is_open: Bools, run: NDArray[np.int64], flagged: NDArray[np.int64]) -> Bools:
    """Where nothing is left to remember."""
    calm: Bools = (is_open == 0) & (run == 0) & (flagged == 0)
    return calm


is_quiet = compiled_inside(quiet)


def rules_of(config: DetectorConfig) -> Rules:
    """As they are set."""
    return Rules(config.open_after, config.close_after, config.relearn_after, float(config.relearn_after_s * 1000))


class Book:
    """The alarms of series, or of services, with something unusual about them; the rest take no room."""

    def __init__(self) -> None:
        self.alarm = _unused(_FIRST_ROWS)

    def advance(
        self, rows: NDArray[np.int64], places: NDArray[np.int32], now: Scored, config: DetectorConfig
    ) -> tuple[Alarm, Verdict, NDArray[np.int32]]:
        """The alarms of `rows` after `now`, what happened, and their places hence; -1 for those that are calm again."""
        at = self._placed(rows, places)
        verdict: Verdict = advance_alarms(self.columns(), at, now, rules_of(config))
        alarm = take(self.alarm, at)
        calm = quiet(alarm.open, alarm.run, alarm.flagged)
        if calm.any():
            put(self.alarm, at[calm], _unused(int(calm.sum())))
        return alarm, verdict, np.where(calm, np.int32(-1), at.astype(np.int32))

    def columns(self) -> Alarms:
        """The same arrays as compiled code takes them, until places are made."""
        return Alarms(*_columns(self.alarm))

    def make_places(self, missing: int) -> None:
        """Make free places for so many alarms more, and some to spare."""
        before = len(self.alarm.row)
        self.alarm = grown(self.alarm, before + max(_FIRST_ROWS, before, missing))
        self.alarm.row[before:] = -1

    def opened(self) -> NDArray[np.int64]:
        """Places of the anomalies that are open now."""
        return np.flatnonzero(self.alarm.open & (self.alarm.row >= 0))

    def settle(self, watch: NDArray[np.int32]) -> NDArray[np.int32]:
        """Order the alarms by row, with one place to spare; `watch`: the place of each row, which is answered anew."""
        rows = np.flatnonzero(watch >= 0)
        # Never without a place: -1, which is that of a calm series, must name one.
        self.alarm = grown(take(self.alarm, watch[rows].astype(np.int64)), len(rows) + 1)
        self.alarm.row[-1] = -1
        settled = np.full_like(watch, -1)
        settled[rows] = np.arange(len(rows))
        return settled

    def adopt(self, other: "Book", places: NDArray[np.int32], rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """Take the alarms at `places` of another over, of what is here `rows`, and answer their places; -1 stays -1."""
        found = np.full(len(places), -1, np.int32)
        watched = np.flatnonzero(places >= 0)
        alarm = take(other.alarm, places[watched].astype(np.int64))
        alarm.row = rows[watched]
        at = self._placed(rows[watched], np.full(len(watched), -1, np.int32))
        put(self.alarm, at, alarm)
        found[watched] = at
        return found

    def drop(self, places: NDArray[np.int64]) -> None:
        """Forget the alarms at these places."""
        put(self.alarm, places, _unused(len(places)))

    def _placed(self, rows: NDArray[np.int64], places: NDArray[np.int32]) -> NDArray[np.int64]:
        missing = np.flatnonzero(places < 0)
        found = places.astype(np.int64)
        if len(missing):
            free = np.flatnonzero(self.alarm.row < 0)
            if len(free) < len(missing):
                self.make_places(len(missing))
                free = np.flatnonzero(self.alarm.row < 0)
            found[missing] = free[: len(missing)]
            self.alarm.row[found[missing]] = rows[missing]
        return found


def _unused(places: int) -> Alarm:
    alarm = fresh(Alarm, places)
    alarm.row[:] = -1
    return alarm
