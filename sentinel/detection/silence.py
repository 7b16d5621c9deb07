"""Series that used to speak and no longer do: no sample comes that could tell of it, so the clock does."""

import numpy as np

from sentinel.detection.alarm import Scored
from sentinel.detection.columns import NEVER_MS, Alarm, Rows, put, take
from sentinel.detection.config import DetectorConfig
from sentinel.detection.parts import Part
from sentinel.detection.state import State
from sentinel.detection.weighing import OPEN_SCORE, SCORE_CAP


def broken(state: State) -> Rows:
    """Places of the open anomalies of silence whose series has spoken since."""
    alarm, places = state.book.alarm, state.book.opened()
    silent: Rows = places[alarm.part[places] == Part.NO_DATA]
    spoken: Rows = silent[state.baseline.last_ms[alarm.row[silent]] > alarm.started_ms[silent]]
    return spoken


def fallen(state: State, now_ms: int, listening_since_ms: int, config: DetectorConfig) -> Alarm:
    """Open an anomaly of each series without one that is silent for longer than its policy allows; answers them.

    It begins with the last word. Silence before `listening_since_ms` does not count.
    """
    count = len(state)
    limit_s = state.policies.silence_s[state.policies.place[:count]]
    last_ms = state.baseline.last_ms[:count]
    heard_ms = np.where(last_ms == NEVER_MS, now_ms, np.maximum(last_ms, listening_since_ms))
    silent_s = (now_ms - heard_ms) / 1000.0
    calm = np.ones(count, np.bool_)
    calm[state.book.alarm.row[state.book.opened()]] = False
    rows = np.flatnonzero((silent_s > limit_s) & calm)
    base = take(state.baseline, rows)
    last = base.origin + base.last.astype(np.float64) * base.unit
    yes = np.ones(len(rows), np.bool_)
    now = Scored(
        at_ms=last_ms[rows],
        value=last,
        score=np.minimum(OPEN_SCORE * silent_s[rows] / limit_s[rows], SCORE_CAP),
        low=last,
        high=last,
        up=~yes,
        hot=yes,
        unusual=yes,
        scored=yes,
        part=np.full(len(rows), int(Part.NO_DATA)),
        fast=yes,
    )
    alarm, _, watched = state.book.advance(rows, base.watch, now, config)
    alarm.started_ms = last_ms[rows]  # whatever was under way before
    put(state.book.alarm, watched.astype(np.int64), alarm)
    state.baseline.watch[rows] = watched
    return alarm
