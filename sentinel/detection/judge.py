"""From the scores of whole services to their alarms, and what a pass tells."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sentinel.detection import baseline, kernel
from sentinel.detection.alarm import Scored, Verdict
from sentinel.detection.columns import Alarm, Rows, Singles
from sentinel.detection.config import DetectorConfig
from sentinel.detection.frames_judged import Judged
from sentinel.detection.parts import Part
from sentinel.detection.second_look import CAUTION_CAP, CAUTION_STEP
from sentinel.detection.state import State
from sentinel.detection.weighing import CLOSE_SHARE, OPEN_SCORE, SCORE_CAP

Longs = NDArray[np.int64]


@dataclass(slots=True)
class Told:
    """What a pass says: alarms that opened or worsened, those that closed at `ended_ms`, and late samples."""

    late: int = 0
    series: list[tuple[Alarm, Verdict, Longs]] = field(default_factory=list)
    services: list[tuple[Alarm, Verdict, Longs]] = field(default_factory=list)


def judge_services(
    state: State, rows: Rows, values: kernel.Told, at_ms: Longs, config: DetectorConfig, told: Told
) -> None:
    """Learn one sample each of different series, and open, keep and end the anomalies of whole services."""
    caution, watch = state.service_caution, state.service_watch
    for found in state.services.step(
        rows, values.x, values.low, values.high, at_ms, caution, watch, config.alarms_per_day
    ):
        if len(found.slots):
            _move_alarms(state, found, config, told)


def _move_alarms(state: State, found: Judged, config: DetectorConfig, told: Told) -> None:
    slots, hot = found.slots, found.strength >= 1
    now = Scored(
        at_ms=found.at_ms,
        value=found.score,
        score=np.minimum(OPEN_SCORE * found.strength, SCORE_CAP),
        low=np.zeros(len(slots)),
        high=found.needed,
        up=np.ones(len(slots), np.bool_),
        hot=hot,
        unusual=(found.strength >= CLOSE_SHARE) | (found.moved >= 1),
        scored=found.grown,
        part=np.full(len(slots), int(Part.SERVICE)),
        fast=np.zeros(len(slots), np.bool_),
    )
    alarm, verdict, places = state.service_book.advance(slots, state.service_watch[slots], now, config)
    state.service_watch[slots] = places
    opened = slots[verdict.opened]
    state.service_caution[opened] = np.minimum(state.service_caution[opened] * float(CAUTION_STEP), float(CAUTION_CAP))
    told.services.append((alarm, verdict, now.at_ms))


def samples_a_day(seen: Singles, since_ms: Longs, at_ms: Longs) -> Singles:
    """How often a series speaks, as the kernel reckons with it."""
    return baseline.spoken(seen, since_ms, at_ms).astype(np.float32)
