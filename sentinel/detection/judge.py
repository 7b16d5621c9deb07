"""From scores to alarms: which samples are unusual, for what reason, and who may learn from them."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sentinel.detection import baseline as tier
from sentinel.detection.alarm import Bools, Scored, Verdict
from sentinel.detection.blocks import Columns, Work
from sentinel.detection.columns import Alarm, Rows, Singles
from sentinel.detection.config import DetectorConfig
from sentinel.detection.kernel import Lessons
from sentinel.detection.parts import Part
from sentinel.detection.services import Frames
from sentinel.detection.state import Novelty, State
from sentinel.detection.weighing import CLOSE_SHARE, OPEN_SCORE, SCORE_CAP, Weighed, weigh

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]

# A series that has just cried wolf must be further out to be believed again: each anomaly raises its opening
# threshold by half, which comes back halfway every 1400 samples.
CAUTION_STEP, CAUTION_CAP = np.float32(1.5), np.float32(8.0)
_NO_NOVELTY, _NO_BREACH = np.empty((3, 0)), np.empty(0, np.bool_)


@dataclass(slots=True)
class Told:
    """What a pass says: alarms that opened or worsened, those that closed at `ended_ms`, and late samples."""

    late: int = 0
    series: list[tuple[Alarm, Verdict, Longs]] = field(default_factory=list)
    services: list[tuple[Alarm, Verdict, Longs]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The samples of n candidates, one each of different series, and what the tiers say of them.

    raw: the value. scored: what the kernel found of it. novelty: of the shape, None where no series has that tier.
    breached: beyond a rule of people, None where there is none.
    """

    rows: Rows
    at_ms: Longs
    raw: Floats
    scored: Work
    novelty: Novelty | None
    breached: Bools | None
    config: DetectorConfig


def judge(state: State, here: Columns, seen: Seen, told: Told) -> Lessons:
    """Open, keep and end alarms of the candidates, whose state is `here`, and say who may learn from their samples.

    A hot sample that opens nothing moves the percentile, for what comes often is usual; what is open teaches neither
    it nor the mean excess, or the second sample of an anomaly would be judged by its first. The rise of every morning
    is flagged until the table by time of day speaks, so until then that learns from what is flagged.
    """
    rows = seen.rows
    judged, seasonal = _weighed(state, here, seen)
    lessons = Lessons(*np.ones((4, len(rows)), np.bool_))
    watched = np.flatnonzero(judged.hot | (here.watch >= 0))
    if len(watched):
        chosen = _picked(judged, watched)
        alarm, verdict, places = state.book.advance(rows[watched], here.watch[watched], chosen, seen.config)
        here.watch[watched] = places
        afresh = watched[verdict.relearn]
        here.seen[afresh], here.q99[afresh], here.excess[afresh] = 0, tier.FIRST_Q99, tier.FIRST_EXCESS
        here.fastest[afresh], here.shift_q99[afresh] = tier.FIRST_FASTEST, tier.FIRST_SHIFT_Q99
        lessons.level[watched] = ~verdict.flagged | verdict.relearn | ~chosen.scored
        lessons.daily[watched] = lessons.level[watched] | ~seasonal[watched]
        lessons.percentile[watched] = ~alarm.open
        lessons.recent[watched] = lessons.level[watched] | (alarm.open & (alarm.part == int(Part.SHIFT)))
        faster = verdict.opened & (alarm.part == int(Part.CHANGE))
        at = watched[faster]
        half = (alarm.peak_high - alarm.peak_low)[faster] / 2 / here.unit[at] / seen.scored.bound[at]
        moved_by = half * here.caution[at] * alarm.peak[faster] / OPEN_SCORE
        here.fastest[at] = np.maximum(here.fastest[at], moved_by)  # it is known from now on
        opened = watched[verdict.opened]
        here.caution[opened] = np.minimum(here.caution[opened] * CAUTION_STEP, CAUTION_CAP)
        state.hush(rows[watched[alarm.open]])
        told.series.append((alarm, verdict, seen.at_ms[watched]))
    return lessons


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


def _weighed(state: State, here: Columns, seen: Seen) -> tuple[Scored, Bools]:
    rows, policies, news, breached = seen.rows, state.policies, seen.novelty, seen.breached
    place = policies.place[rows]
    samples = Weighed(
        at_ms=seen.at_ms,
        raw=seen.raw,
        asked=policies.alarms_per_day[place],
        learned=policies.learned[place],
        side=policies.side[place],
        is_open=state.book.is_open(here.watch),
        opened_by=state.book.opened_by(here.watch),
        novelty=_NO_NOVELTY if news is None else np.stack((news.raw, news.heard, news.needed)),
        breached=_NO_BREACH if breached is None else breached,
        breach_up=_NO_BREACH if breached is None else policies.breach_up(rows, seen.raw),
    )
    scored, seasonal = weigh(here, seen.scored, samples, np.float32(seen.config.grace_samples))
    return scored, seasonal


def samples_a_day(seen: Singles, since_ms: Longs, at_ms: Longs) -> Singles:
    """How often a series speaks, as the kernel reckons with it."""
    return tier.spoken(seen, since_ms, at_ms).astype(np.float32)


def _picked(scored: Scored, at: Longs) -> Scored:
    return Scored._make(column[at] for column in scored)
