"""From the scores of whole services to their alarms, and what a pass tells."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sentinel.detection import baseline as tier
from sentinel.detection.alarm import Scored, Verdict
from sentinel.detection.columns import Alarm, Singles
from sentinel.detection.config import DetectorConfig
from sentinel.detection.parts import Part
from sentinel.detection.second_look import CAUTION_CAP, CAUTION_STEP
from sentinel.detection.services import Frames
from sentinel.detection.state import State
from sentinel.detection.weighing import CLOSE_SHARE, OPEN_SCORE, SCORE_CAP

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]


@dataclass(slots=True)
class Told:
    """What a pass says: alarms that opened or worsened, those that closed at `ended_ms`, and late samples."""

    late: int = 0
    series: list[tuple[Alarm, Verdict, Longs]] = field(default_factory=list)
    services: list[tuple[Alarm, Verdict, Longs]] = field(default_factory=list)


def judge_frames(state: State, frames: Frames, config: DetectorConfig, told: Told) -> None:
    """Open, keep and end the anomalies of whole services."""
    odds = np.maximum(0.02 * frames.samples_a_day / config.alarms_per_day, np.e)
    needed = (1 + frames.excess * np.log(odds)) * state.service_caution[frames.slots]
    strength = np.where(frames.grown, frames.score / needed, 0.0)
    watch = state.service_watch[frames.slots]
    state.service_caution[frames.slots] = 1 + (state.service_caution[frames.slots] - 1) * float(tier.CAUTION_FADES)
    at = np.flatnonzero((strength >= 1) | (watch >= 0))
    if not len(at):
        return
    slots = frames.slots[at]
    zeros = np.zeros(len(at))
    judged = Scored(
        at_ms=frames.at_ms[at],
        value=frames.score[at],
        score=np.minimum(OPEN_SCORE * strength[at], SCORE_CAP),
        low=zeros,
        high=needed[at],
        up=np.ones(len(at), np.bool_),
        hot=strength[at] >= 1,
        unusual=(strength[at] >= CLOSE_SHARE) | (frames.moved[at] >= 1),
        scored=frames.grown[at],
        part=np.full(len(at), int(Part.SERVICE)),
        fast=np.zeros(len(at), np.bool_),
    )
    alarm, verdict, places = state.service_book.advance(slots, watch[at], judged, config)
    state.service_watch[slots] = places
    opened = slots[verdict.opened]
    state.service_caution[opened] = np.minimum(state.service_caution[opened] * float(CAUTION_STEP), float(CAUTION_CAP))
    told.services.append((alarm, verdict, judged.at_ms))


def samples_a_day(seen: Singles, since_ms: Longs, at_ms: Longs) -> Singles:
    """How often a series speaks, as the kernel reckons with it."""
    return tier.spoken(seen, since_ms, at_ms).astype(np.float32)
