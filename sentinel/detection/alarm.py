"""From scores to anomalies: opens after a run, closes after a calm, and says when a new normal should be learned."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sentinel.detection.columns import Alarm
from sentinel.detection.config import DetectorConfig

Bools = NDArray[np.bool_]

WORSE = 2.0  # a peak this many times the one last told is news; it can happen some seven times below the score cap


@dataclass(frozen=True, slots=True)
class Scored:
    """One sample each of n different series: at_ms int64[n], value, score and the band float64[n].

    up bool[n]: value above the level. hot bool[n]: beyond the opening threshold. scored bool[n]: past its grace.
    """

    at_ms: NDArray[np.int64]
    value: NDArray[np.float64]
    score: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    up: Bools
    hot: Bools
    scored: Bools


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of n series, bool[n] each: `flagged` samples are not learned, `relearn` starts learning afresh."""

    opened: Bools
    worsened: Bools
    closed: Bools
    flagged: Bools
    relearn: Bools


def advance(
    alarm: Alarm, flagged: NDArray[np.int64], now: Scored, config: DetectorConfig
) -> tuple[Alarm, NDArray[np.int64], Verdict]:
    """The alarm state and count of flagged samples after `now`, and what happened.

    A sample of a series in its grace neither opens nor closes anything: there is no baseline to judge it by.
    """
    same_side = (alarm.run > 0) & (alarm.run_up == now.up)
    run = np.where(now.hot, np.where(same_side, alarm.run + 1, 1), np.where(now.scored, 0, alarm.run))
    run_ms = np.where(run == 1, now.at_ms, alarm.run_ms)
    run_up = np.where(now.hot, now.up, alarm.run_up)

    opened = ~alarm.open & now.hot & (run >= config.open_after)
    open_now = alarm.open | opened
    up = np.where(opened, run_up, alarm.up)
    unusual = now.scored & (now.score >= config.close_score)
    calm = np.where(opened | unusual, 0, np.where(open_now & now.scored, alarm.calm + 1, alarm.calm))
    closed = open_now & now.scored & (calm >= config.close_after)

    # The peak is sought from the first sample of a run, so that an anomaly knows its highest when it opens.
    begins = (run == 1) & now.hot & ~alarm.open
    rises = np.where(alarm.open, now.up == alarm.up, now.hot) & (now.score > alarm.peak)
    higher = begins | rises
    peak = np.where(higher, now.score, alarm.peak)
    worsened = alarm.open & ~closed & higher & (peak >= WORSE * alarm.told)

    judged = now.hot | (open_now & ~closed)
    count = np.where(now.scored, np.where(judged, flagged + 1, 0), flagged)
    flagged_ms = np.where(judged & (flagged == 0), now.at_ms, alarm.flagged_ms)
    stays = now.scored & judged & (count > config.relearn_after)
    relearn = stays & ((now.at_ms - flagged_ms).astype(np.float64) >= config.relearn_after_s * 1000)

    after = Alarm(
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
    return after, np.where(relearn, 1, count), Verdict(opened, worsened, closed, judged, relearn)
