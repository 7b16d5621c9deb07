"""From scores to anomalies: opens after a run, closes after a calm, and says when a new normal should be learned."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentinel.detection.columns import Alarm, fresh, grown, put, take
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


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of n series, bool[n] each: `flagged` samples are not learned, `relearn` starts learning afresh."""

    opened: Bools
    worsened: Bools
    closed: Bools
    flagged: Bools
    relearn: Bools


def advance(alarm: Alarm, now: Scored, config: DetectorConfig) -> tuple[Alarm, Verdict]:
    """The alarm state after `now`, and what happened.

    A sample of a series in its grace neither opens nor closes anything: there is no baseline to judge it by.
    """
    same_side = (alarm.run > 0) & (alarm.run_up == now.up)
    run = np.where(now.hot, np.where(same_side, alarm.run + 1, 1), np.where(now.scored, 0, alarm.run))
    run_ms = np.where(run == 1, now.at_ms, alarm.run_ms)
    run_up = np.where(now.hot, now.up, alarm.run_up)

    opened = ~alarm.open & now.hot & (now.fast | (run >= config.open_after))
    open_now = alarm.open | opened
    up = np.where(opened, run_up, alarm.up)
    unusual = now.scored & now.unusual
    calm = np.where(opened | unusual, 0, np.where(open_now & now.scored, alarm.calm + 1, alarm.calm))
    closed = open_now & now.scored & (calm >= config.close_after)

    # The peak is sought from the first sample of a run, so that an anomaly knows its highest when it opens.
    begins = (run == 1) & now.hot & ~alarm.open
    rises = np.where(alarm.open, now.up == alarm.up, now.hot) & (now.score > alarm.peak)
    higher = begins | rises
    peak = np.where(higher, now.score, alarm.peak)
    worsened = alarm.open & ~closed & higher & (peak >= WORSE * alarm.told)

    judged = now.hot | (open_now & ~closed)
    count = np.where(now.scored, np.where(judged, alarm.flagged + 1, 0), alarm.flagged)
    flagged_ms = np.where(judged & (alarm.flagged == 0), now.at_ms, alarm.flagged_ms)
    stays = now.scored & judged & (count > config.relearn_after)
    relearn = stays & ((now.at_ms - flagged_ms).astype(np.float64) >= config.relearn_after_s * 1000)

    after = Alarm(
        row=alarm.row,
        flagged=np.where(relearn, 1, count),
        part=np.where(opened, now.part, alarm.part),
        run=np.where(relearn, 0, run),
        run_up=run_up,
        run_ms=run_ms,
        flagged_ms=np.where(relearn, now.at_ms, flagged_ms),
        open=open_now & ~closed,
        calm=np.where(closed, 0, calm),
        up=up,
        started_ms=np.where(opened, run_ms, alarm.started_ms),
        unusual_ms=np.where(unusual, now.at_ms, alarm.unusual_ms),
        peak=peak,
        peak_value=np.where(higher, now.value, alarm.peak_value),
        peak_low=np.where(higher, now.low, alarm.peak_low),
        peak_high=np.where(higher, now.high, alarm.peak_high),
        told=np.where(opened | worsened, peak, alarm.told),
    )
    return after, Verdict(opened, worsened, closed, judged, relearn)


def quiet(alarm: Alarm) -> Bools:
    """Where nothing is left to remember."""
    calm: Bools = ~alarm.open & (alarm.run == 0) & (alarm.flagged == 0)
    return calm


class Book:
    """The alarms of series, or of services, with something unusual about them; the rest take no room."""

    def __init__(self) -> None:
        self.alarm = _unused(_FIRST_ROWS)

    def advance(
        self, rows: NDArray[np.int64], places: NDArray[np.int32], now: Scored, config: DetectorConfig
    ) -> tuple[Alarm, Verdict, NDArray[np.int32]]:
        """The alarms of `rows` after `now`, what happened, and their places hence; -1 for those that are calm again."""
        at = self._placed(rows, places)
        alarm, verdict = advance(take(self.alarm, at), now, config)
        put(self.alarm, at, alarm)
        calm = quiet(alarm)
        if calm.any():
            put(self.alarm, at[calm], _unused(int(calm.sum())))
        return alarm, verdict, np.where(calm, np.int32(-1), at.astype(np.int32))

    def opened_by(self, places: NDArray[np.int32]) -> NDArray[np.int64]:
        """Which part opened the alarm, -1 where there is none; `places`: likewise."""
        part: NDArray[np.int64] = np.where(places >= 0, self.alarm.part[places], -1)
        return part

    def is_open(self, places: NDArray[np.int32]) -> Bools:
        """Where there is an open alarm; `places`: -1 where there is none."""
        found: Bools = (places >= 0) & self.alarm.open[places]
        return found

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
                before = len(self.alarm.row)
                self.alarm = grown(self.alarm, before + max(_FIRST_ROWS, before, len(missing)))
                self.alarm.row[before:] = -1
                free = np.flatnonzero(self.alarm.row < 0)
            found[missing] = free[: len(missing)]
            self.alarm.row[found[missing]] = rows[missing]
        return found


def _unused(places: int) -> Alarm:
    alarm = fresh(Alarm, places)
    alarm.row[:] = -1
    return alarm
