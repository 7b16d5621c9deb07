"""One pass: one sample each of different series is scored, judged and then learned, in whole columns at a time."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sentinel.detection import baseline as tier
from sentinel.detection.alarm import Bools
from sentinel.detection.columns import NEVER_MS, Baseline, Rows, Singles, put, take
from sentinel.detection.config import DetectorConfig
from sentinel.detection.judge import (
    CAUTION_FADES,
    FLAT_LEAST,
    FLAT_TIMES,
    Lessons,
    Now,
    Seen,
    Told,
    judge,
    judge_frames,
    needed_at,
)
from sentinel.detection.season import YOUNG_TABLE, moment
from sentinel.detection.state import State

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]

VALUE_CAP = 1e300  # differences of two capped values stay finite

_CHUNK = 16_384  # rows at once: the columns of a pass then stay in the processor's cache


def run(state: State, rows: Rows, at_ms: Longs, raw: Floats, config: DetectorConfig, told: Told) -> None:
    """Judge samples in their order, each series in increasing time; adds to `told`."""
    if not len(rows):
        return
    if isinstance(_compact(rows), slice):
        each_once = [(rows, at_ms, raw)]
    else:
        each_once = [(rows[at], at_ms[at], raw[at]) for at in _ranks(rows)]
    for some, times, values in each_once:
        for start in range(0, len(some), _CHUNK):
            stop = start + _CHUNK
            _chunk(state, some[start:stop], times[start:stop], values[start:stop], config, told)


def _chunk(state: State, rows: Rows, at_ms: Longs, raw: Floats, config: DetectorConfig, told: Told) -> None:
    where = _compact(rows)
    on_time = at_ms > state.baseline.last_ms[where]
    if not on_time.all():
        told.late += len(rows) - int(np.count_nonzero(on_time))
        rows, at_ms, raw = rows[on_time], at_ms[on_time], raw[on_time]
        if not len(rows):
            return
        where = _compact(rows)
    base = take(state.baseline, where)
    with np.errstate(over="ignore", invalid="ignore"):
        value = np.minimum(np.maximum(raw, -VALUE_CAP), VALUE_CAP)
        step_s = _begin(base, value, at_ms)
        now = Now(
            rows=rows,
            at_ms=at_ms,
            raw=raw,
            value=value,
            x=_in_own_units(base, value),
            step_s=step_s,
            moment=moment(at_ms),
            ended_run=base.run,
            config=config,
        )
        low, high = base.low, base.high
        _judge_and_learn(state, where, base, now, told)
        if config.service_score:
            for frames in state.services.step(where, now.x, low, high, at_ms):
                judge_frames(state, frames, config, told)
    whole = (base.seen == config.grace_samples) & (state.baseline.seen[where] != base.seen)
    put(state.baseline, where, base)
    if whole.any():
        state.measure_anew(rows[whole])


def _begin(base: Baseline, value: Floats, at_ms: Longs) -> Singles:
    """Set up the series of which this is the first sample; answers the seconds since the sample before."""
    step_ms = at_ms - base.last_ms
    first = base.last_ms == NEVER_MS
    if first.any():
        began = value[first]
        size = np.abs(began)
        base.origin[first] = began
        base.unit[first] = np.where(size < 1e-290, 1.0, size / 1024)
        base.zero[first] = -began / base.unit[first]
        step_ms[first] = 0
    again = base.seen == 0
    if again.any():
        base.since_ms[again] = at_ms[again]
    base.last_ms = at_ms
    return step_ms.astype(np.float32) * np.float32(1e-3)


def _in_own_units(base: Baseline, value: Floats) -> Singles:
    x = (value - base.origin) / base.unit
    return np.minimum(np.maximum(x, -float(tier.X_CAP)), float(tier.X_CAP)).astype(np.float32)


def _judge_and_learn(state: State, where: Rows | slice, base: Baseline, now: Now, told: Told) -> None:
    """Score one sample a row, raise and end alarms, and move `base` on."""
    least = tier.floor(base.level, base.zero)
    residual = now.x - base.level
    z = tier.distance(residual, base.spread, least)
    known, days = state.season.read(where, now.moment)
    left = now.x - known - base.daily
    seasonal = tier.trusts_season(base, days)
    proven = bool(seasonal.any())
    if proven:
        np.copyto(z, tier.distance(left, base.daily_spread, least), where=seasonal)
    seen = Seen(z, least, residual, left, known, days, seasonal if proven else None)

    same = now.x == base.last
    run = (base.run + 1) * same
    flat = run > FLAT_TIMES * np.maximum(base.longest, FLAT_LEAST)
    novelty = state.novelty(where, now.rows, now.value, base, least, now.config)
    breached = state.policies.breaches(now.rows, now.raw, now.step_s)

    over = z > base.q99
    young = bool(base.seen.min() <= tier.YOUNG)
    green = base.seen < now.config.grace_samples if young else None
    if green is not None:
        over &= ~green  # its spread is too rough to say how far is far
    tail = np.flatnonzero(over)
    needed = needed_at(state, base, tail, now)
    candidate = (base.watch >= 0) | flat
    candidate[tail] |= z[tail] >= needed
    if novelty is not None:
        candidate |= novelty.heard >= novelty.needed
    if breached is not None:
        candidate |= breached
    base.caution = 1 + (base.caution - 1) * CAUTION_FADES
    z_before = base.z
    base.run, base.z = run, z
    base.plain_error = base.plain_error + tier.ERROR_RATE * (np.abs(residual) - base.plain_error)
    base.daily_error = base.daily_error + tier.ERROR_RATE * (np.abs(left) - base.daily_error)
    lessons = None
    if candidate.any():
        lessons = judge(state, base, np.flatnonzero(candidate), seen, flat, novelty, breached, now, told)

    if len(tail):
        # Only the first of a run teaches: a leak that climbs for minutes is one event, and must not raise its own bar.
        calm = (z[tail] < needed) & (z_before[tail] <= base.q99[tail])
        if lessons is not None:
            calm &= lessons.percentile[tail]
        some = tail[calm]
        plain = needed[calm] / base.caution[some]
        base.excess[some] = tier.move_excess(base.q99[some], base.excess[some], z[some], plain)
    base.q99 = _percentile(base, over, lessons, green, young)
    base.low, base.high = np.minimum(base.low, now.x), np.maximum(base.high, now.x)
    base.longest = np.maximum(base.longest, now.ended_run * ~same)
    base.last = now.x
    _learn(state, where, base, seen, now, None if lessons is None else lessons.level, young)


def _percentile(base: Baseline, over: Bools, lessons: Lessons | None, green: Bools | None, young: bool) -> Singles:
    q99 = tier.move_percentile(base.q99, base.seen, over, young)
    if lessons is not None:
        np.copyto(q99, base.q99, where=~lessons.percentile)
    if green is not None:
        np.copyto(q99, base.q99, where=green)
    return q99


def _learn(
    state: State, where: Rows | slice, base: Baseline, seen: Seen, now: Now, learns: Bools | None, young: bool
) -> None:
    """Move both models on by the samples that teach; None for all."""
    even = np.float32(1.0) / (base.seen + np.float32(1.0)) if young else None
    clips = base.seen >= tier.CLIP_FROM if young else None
    step, spread = tier.learn(seen.residual, base.spread, seen.least, even, clips, tier.LEVEL_RATE, tier.SPREAD_RATE)
    # Until the table knows its day, what it leaves says nothing of what it will leave.
    daily_rate = tier.DAILY_SPREAD_RATE + (seen.days < YOUNG_TABLE) * tier.LEVEL_RATE
    pull, daily_spread = tier.learn(
        seen.left, base.daily_spread, seen.least, even, clips, tier.DAILY_LEVEL_RATE, daily_rate
    )
    x = now.x
    if learns is None:
        base.seen = base.seen + np.float32(1.0)
    else:
        # The rise of every morning is flagged until the table speaks, so until then it learns from what is flagged.
        still = ~learns
        done = np.zeros_like(still) if seen.seasonal is None else still & seen.seasonal
        for moved, kept, where_not in (
            (step, 0, still),
            (spread, base.spread, still),
            (pull, 0, done),
            (daily_spread, base.daily_spread, done),
        ):
            np.copyto(moved, kept, where=where_not)
        x = x.copy()
        np.copyto(x, seen.known, where=done)
        base.seen = base.seen + learns
    base.level, base.spread = base.level + step, spread
    base.daily, base.daily_spread = base.daily + pull, daily_spread
    state.season.learn(where, now.moment, x, seen.known, seen.days, now.step_s)


def _compact(rows: Rows) -> Rows | slice:
    """Consecutive rows as a slice: a sender repeats its series in the order in which they first came."""
    first = int(rows[0])
    if int(rows[-1]) - first == len(rows) - 1 and bool((np.diff(rows) == 1).all()):
        return slice(first, first + len(rows))
    return rows


def _ranks(rows: Rows) -> Iterator[Longs]:
    """Positions of the first occurrence of every row, then of the second, and so on."""
    if bool((np.diff(rows) > 0).all()):
        if len(rows):
            yield np.arange(len(rows))
        return
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    if len(starts) == len(rows):
        yield np.arange(len(rows))
        return
    lengths = np.diff(starts, append=len(rows))
    rank = np.arange(len(rows)) - np.repeat(starts, lengths)
    by_rank = order[np.argsort(rank, kind="stable")]
    yield from np.split(by_rank, np.cumsum(np.bincount(rank))[:-1])
