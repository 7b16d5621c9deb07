"""From scores to alarms: which samples are unusual, for what reason, and who may learn from them."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sentinel.detection import baseline as tier
from sentinel.detection.alarm import Bools, Scored, Verdict
from sentinel.detection.blocks import Work
from sentinel.detection.columns import Alarm, Baseline, Rows, Singles
from sentinel.detection.config import DetectorConfig
from sentinel.detection.kernel import Lessons
from sentinel.detection.motion import shift, speed
from sentinel.detection.parts import Part
from sentinel.detection.services import Frames
from sentinel.detection.state import Novelty, State

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]

OPEN_SCORE = 6.0  # an anomaly opens where its score passes this, whatever part of the score speaks
CLOSE_SHARE = 0.5  # and ends below this share of its threshold
SCORE_CAP = 1000.0
# A series that has just cried wolf must be further out to be believed again: each anomaly raises its opening
# threshold by half, which comes back halfway every 1400 samples.
CAUTION_STEP, CAUTION_CAP = np.float32(1.5), np.float32(8.0)


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


def judge(state: State, base: Baseline, seen: Seen, told: Told) -> Lessons:
    """Open, keep and end alarms of the candidates, whose state is `base`, and say who may learn from their samples.

    A hot sample that opens nothing moves the percentile, for what comes often is usual; what is open teaches neither
    it nor the mean excess, or the second sample of an anomaly would be judged by its first. The rise of every morning
    is flagged until the table by time of day speaks, so until then that learns from what is flagged.
    """
    rows = seen.rows
    judged, seasonal = _weighed(state, base, seen)
    lessons = Lessons(*np.ones((4, len(rows)), np.bool_))
    watched = np.flatnonzero(judged.hot | (base.watch >= 0))
    if len(watched):
        chosen = _picked(judged, watched)
        alarm, verdict, places = state.book.advance(rows[watched], base.watch[watched], chosen, seen.config)
        base.watch[watched] = places
        afresh = watched[verdict.relearn]
        base.seen[afresh], base.q99[afresh], base.excess[afresh] = 0, tier.FIRST_Q99, tier.FIRST_EXCESS
        base.fastest[afresh], base.shift_q99[afresh] = tier.FIRST_FASTEST, tier.FIRST_SHIFT_Q99
        lessons.level[watched] = ~verdict.flagged | verdict.relearn | ~chosen.scored
        lessons.daily[watched] = lessons.level[watched] | ~seasonal[watched]
        lessons.percentile[watched] = ~alarm.open
        lessons.recent[watched] = lessons.level[watched] | (alarm.open & (alarm.part == int(Part.SHIFT)))
        faster = verdict.opened & (alarm.part == int(Part.CHANGE))
        at = watched[faster]
        half = (alarm.peak_high - alarm.peak_low)[faster] / 2 / base.unit[at] / seen.scored.bound[at]
        moved_by = half * base.caution[at] * alarm.peak[faster] / OPEN_SCORE
        base.fastest[at] = np.maximum(base.fastest[at], moved_by)  # it is known from now on
        opened = watched[verdict.opened]
        base.caution[opened] = np.minimum(base.caution[opened] * CAUTION_STEP, CAUTION_CAP)
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


def _weighed(state: State, base: Baseline, seen: Seen) -> tuple[Scored, Bools]:
    """What every part says of each sample, the strongest of them, and where the model by time of day speaks."""
    rows, work, policy = seen.rows, seen.scored, state.policies.of(seen.rows)
    spoken = samples_a_day(base.seen, base.since_ms, seen.at_ms)
    usually = tier.threshold(base.q99, base.excess, spoken, policy.alarms_per_day)
    scored = base.seen >= seen.config.grace_samples
    seasonal = tier.trusts_season(base.plain_error, base.daily_error, work.days)
    center = np.where(seasonal, work.known + base.daily, base.level)
    spread = np.maximum(np.where(seasonal, base.daily_spread, base.spread), tier.floor(base.level, base.zero))
    part = np.where(seasonal, int(Part.SEASON), int(Part.LEVEL))
    up = work.x > center
    sided = policy.sided(up) & scored
    strength: Floats = (work.z / (usually * base.caution) * sided).astype(np.float64)
    stays: Floats = strength * base.caution  # caution makes opening harder, and what is open no shorter
    x, half, beyond = work.x, usually * spread, usually / base.q99
    opened, by_shift = state.book.is_open(base.watch), state.book.spoke(base.watch, Part.SHIFT)
    grew = ~seasonal & (seen.at_ms - base.since_ms >= tier.SHIFT_FROM_MS)
    recorded = tier.threshold(base.q99, base.excess, tier.remembered(base.seen), np.ones_like(base.seen))
    for each in (
        speed(base, work, usually / recorded, opened),
        shift(base, work, beyond, grew, by_shift),
    ):
        speaks = each.strength(policy, base.caution) * scored
        by = (strength < 1) & (speaks > strength)  # what is far from its level is told as that
        part[by] = int(each.part)
        strength, stays = np.where(by, speaks, strength), np.maximum(stays, speaks * base.caution * each.holds)
        x, center, up = np.where(by, each.x, x), np.where(by, each.usual, center), np.where(by, each.up, up)
        half = np.where(by, each.needed * work.bound, half)
    limit = tier.FLAT_TIMES * np.maximum(base.longest, tier.FLAT_LEAST)
    stuck = (work.run > limit) & scored & policy.learned & (base.spread > tier.floor(base.level, base.zero))
    flat = (work.run / limit * stuck).astype(np.float64)
    others: list[tuple[Part, Floats, Floats]] = [(Part.FLAT, flat, flat)]
    if seen.novelty is not None:
        news, by_pattern = seen.novelty, state.book.spoke(base.watch, Part.PATTERN)
        heard, raw = news.heard / news.needed, news.raw / news.needed
        others.append((Part.PATTERN, np.where(sided, heard, 0.0), np.where(sided & by_pattern, raw, 0.0)))
    if seen.breached is not None:
        breached = seen.breached.astype(np.float64)
        others.append((Part.RULE, breached, breached))
    for name, speaks, holds in others:
        part[speaks > strength] = int(name)
        strength, stays = np.maximum(strength, speaks), np.maximum(stays, holds)
    if seen.breached is not None:
        up = np.where(seen.breached, state.policies.breach_up(rows, seen.raw), up)
        scored = scored | seen.breached
    judged = Scored(
        at_ms=seen.at_ms,
        value=np.where(part == int(Part.SHIFT), base.origin + x.astype(np.float64) * base.unit, seen.raw),
        score=np.minimum(OPEN_SCORE * np.maximum(strength, stays), SCORE_CAP),
        # What is expected is the same however cautious the series has become.
        low=base.origin + (center - half.astype(np.float64)) * base.unit,
        high=base.origin + (center + half.astype(np.float64)) * base.unit,
        up=up,
        hot=strength >= 1,
        unusual=stays >= CLOSE_SHARE,
        scored=scored,
        part=part,
        fast=part == int(Part.PATTERN),
    )
    return judged, seasonal


def samples_a_day(seen: Singles, since_ms: Longs, at_ms: Longs) -> Singles:
    """How often a series speaks, as the kernel reckons with it."""
    return tier.spoken(seen, since_ms, at_ms).astype(np.float32)


def _picked(scored: Scored, at: Longs) -> Scored:
    return Scored(**{name: getattr(scored, name)[at] for name in Scored.__slots__})
