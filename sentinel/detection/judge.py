"""From scores to alarms: which samples are unusual, for what reason, and who may learn from them."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sentinel.detection import baseline as tier
from sentinel.detection.alarm import Bools, Scored, Verdict
from sentinel.detection.columns import Alarm, Baseline, Rows, Singles, take
from sentinel.detection.config import DetectorConfig
from sentinel.detection.parts import Part
from sentinel.detection.season import Moment
from sentinel.detection.services import Frames
from sentinel.detection.state import Novelty, State

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]

OPEN_SCORE = 6.0  # an anomaly opens where its score passes this, whatever part of the score speaks
CLOSE_SHARE = 0.5  # and ends below this share of its threshold
SCORE_CAP = 1000.0
# A series that has just cried wolf must be further out to be believed again: each anomaly raises its opening
# threshold by half, which comes back halfway every 1400 samples.
CAUTION_STEP, CAUTION_CAP, CAUTION_FADES = np.float32(1.5), np.float32(8.0), np.float32(0.9995)

FLAT_LEAST = np.float32(15.0)  # a run this long of one value is nothing in a series that moves
FLAT_TIMES = np.float32(4.0)  # as long as the longest run before
_DAY_S = 86_400.0


@dataclass(slots=True)
class Told:
    """What a pass says: alarms that opened or worsened, those that closed at `ended_ms`, and late samples."""

    late: int = 0
    series: list[tuple[Alarm, Verdict, Longs]] = field(default_factory=list)
    services: list[tuple[Alarm, Verdict, Longs]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """The samples of a pass: one each of n series. x: the value in the series' own units. step_s: since the one before.

    raw: the value; value: the same, capped. ended_run: how often the value before had come on end.
    """

    rows: Rows
    at_ms: Longs
    raw: Floats
    value: Floats
    x: Singles
    step_s: Singles
    moment: Moment
    ended_run: Singles
    config: DetectorConfig


@dataclass(frozen=True, slots=True)
class Seen:
    """What the models say of the samples: distance z, least spread, residuals of both models, the table by time of day
    and its age, and where it speaks (None: nowhere)."""

    z: Singles
    least: Singles
    residual: Singles
    left: Singles
    known: Singles
    days: Singles
    seasonal: Bools | None


@dataclass(frozen=True, slots=True)
class Lessons:
    """Which samples teach the level and which the percentile, bool[n] each.

    A hot sample that opens nothing moves the percentile, for what comes often is usual; the mean excess learns from
    none of them, or the second sample of an anomaly would be judged by its first.
    """

    level: Bools
    percentile: Bools


def needed_at(state: State, base: Baseline, at: Longs, now: Now) -> Singles:
    """Distance in spreads at which the samples `at` are unusual, each for its own series."""
    per_day = state.policies.alarms_per_day[state.policies.place[now.rows[at]]]
    spoken = samples_a_day(base.seen[at], base.since_ms[at], now.at_ms[at])
    return tier.threshold(base.q99[at], base.excess[at], spoken, per_day) * base.caution[at]


def judge(
    state: State,
    base: Baseline,
    at: Longs,
    seen: Seen,
    flat: Bools,
    novelty: Novelty | None,
    breached: Bools | None,
    now: Now,
    told: Told,
) -> Lessons:
    """Open, keep and end alarms of the candidates `at`, and say who may learn from their samples."""
    some, x, least = take(base, at), now.x[at], seen.least[at]
    rows = now.rows[at]
    scored = some.seen >= now.config.grace_samples
    center, spread = some.level, some.spread
    part = np.full(len(at), int(Part.LEVEL))
    if seen.seasonal is not None:
        seasonal = seen.seasonal[at]
        center = np.where(seasonal, seen.known[at] + some.daily, center)
        spread = np.where(seasonal, some.daily_spread, spread)
        part[seasonal] = int(Part.SEASON)
    policy = state.policies.of(rows)
    needed = needed_at(state, base, at, now)
    up = x > center
    fits = scored & policy.learned & ((policy.side == 0) | ((policy.side > 0) == up))
    strength: Floats = (some.z / needed * fits).astype(np.float64)
    stays: Floats = strength * some.caution  # caution makes opening harder, and what is open no shorter
    limit = FLAT_TIMES * np.maximum(some.longest, FLAT_LEAST)
    stuck = flat[at] & scored & policy.learned & (some.spread > tier.floor(some.level, some.zero))
    by_pattern = state.book.spoke(some.watch, Part.PATTERN)
    for name, speaks, holds in (
        (Part.FLAT, some.run / limit * stuck, some.run / limit * stuck),
        (Part.PATTERN, None, None)
        if novelty is None
        else (
            Part.PATTERN,
            novelty.heard[at] / novelty.needed[at] * fits,
            novelty.raw[at] / novelty.needed[at] * (fits & by_pattern),
        ),
        (Part.RULE, None, None) if breached is None else (Part.RULE, breached[at] * 1.0, breached[at] * 1.0),
    ):
        if speaks is not None and holds is not None:
            part[speaks > strength] = int(name)
            strength = np.maximum(strength, speaks)
            stays = np.maximum(stays, holds)
    if breached is not None:
        up = np.where(breached[at], state.policies.breach_up(rows, now.raw[at]), up)
        scored = scored | breached[at]
    # What is expected is the same however cautious the series has become.
    band = (needed / some.caution * np.maximum(spread, least)).astype(np.float64)
    judged = Scored(
        at_ms=now.at_ms[at],
        value=now.raw[at],
        score=np.minimum(OPEN_SCORE * np.maximum(strength, stays), SCORE_CAP),
        low=some.origin + (center - band) * some.unit,
        high=some.origin + (center + band) * some.unit,
        up=up,
        hot=strength >= 1,
        unusual=stays >= CLOSE_SHARE,
        scored=scored,
        part=part,
        fast=part == int(Part.PATTERN),
    )
    lessons = Lessons(np.ones(len(now.x), np.bool_), np.ones(len(now.x), np.bool_))
    watched = np.flatnonzero(judged.hot | (some.watch >= 0))
    if len(watched):
        mine = at[watched]
        chosen = _picked(judged, watched)
        alarm, verdict, places = state.book.advance(rows[watched], some.watch[watched], chosen, now.config)
        base.watch[mine] = places
        afresh = mine[verdict.relearn]
        base.seen[afresh], base.q99[afresh], base.excess[afresh] = 0, tier.FIRST_Q99, tier.FIRST_EXCESS
        lessons.level[mine] = ~verdict.flagged | verdict.relearn | ~chosen.scored
        lessons.percentile[mine] = ~alarm.open
        opened = mine[verdict.opened]
        base.caution[opened] = np.minimum(base.caution[opened] * CAUTION_STEP, CAUTION_CAP)
        state.hush(rows[watched[alarm.open]])
        told.series.append((alarm, verdict, now.at_ms[mine]))
    return lessons


def judge_frames(state: State, frames: Frames, config: DetectorConfig, told: Told) -> None:
    """Open, keep and end the anomalies of whole services."""
    odds = np.maximum(0.02 * frames.samples_a_day / config.alarms_per_day, np.e)
    needed = (1 + frames.excess * np.log(odds)) * state.service_caution[frames.slots]
    strength = np.where(frames.grown, frames.score / needed, 0.0)
    watch = state.service_watch[frames.slots]
    state.service_caution[frames.slots] = 1 + (state.service_caution[frames.slots] - 1) * float(CAUTION_FADES)
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
    """How often a series speaks, by its own count since it began to learn."""
    lasted_s = np.maximum(at_ms - since_ms, 1) / 1000.0
    spoken: Singles = (np.maximum(seen, 1) * (_DAY_S / lasted_s)).astype(np.float32)
    return spoken


def _picked(scored: Scored, at: Longs) -> Scored:
    return Scored(**{name: getattr(scored, name)[at] for name in Scored.__slots__})
