"""Reads an `Explanation` out of the detector's state. Pure; nothing here changes the state."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sentinel.detection import baseline as tier
from sentinel.detection.anomaly import Anomaly
from sentinel.detection.columns import NEVER_MS, Baseline, take
from sentinel.detection.config import DEFAULT, DetectorConfig, Policy
from sentinel.detection.explanation import Band, Explanation, Moved, middle, ratio
from sentinel.detection.judge import samples_a_day
from sentinel.detection.parts import Part
from sentinel.detection.season import WEEKDAY_SLOTS, WEEKEND_SLOTS, place_of
from sentinel.detection.second_look import CAUTION_CAP, CAUTION_STEP
from sentinel.detection.shapes import NOVELTY_CAP
from sentinel.detection.state import State
from sentinel.detection.weighing import OPEN_SCORE
from sentinel.telemetry.series import Series

MOST_MOVED = 5
_WEEK = np.repeat([0, 1], [WEEKDAY_SLOTS, WEEKEND_SLOTS])  # the kind of day of each slot


@dataclass(frozen=True, slots=True)
class _Usual:
    """A series by slot of the week, in its own units: what is expected, how much that varies, and by which model."""

    center: NDArray[np.float64]
    spread: NDArray[np.float64]
    seasonal: NDArray[np.bool_]


def of_series(state: State, row: int, config: DetectorConfig, anomaly: Anomaly | None) -> tuple[Explanation, Band]:
    """Why `anomaly` of the series of `row` is one, or how the series is now; with the band that was expected of it.

    Level, spread and percentile stand still while an anomaly is open, so that they are those it opened with.
    """
    base = take(state.baseline, np.array([row]))
    series, policy = state.series[row], _policy(state, row, config)
    usual = _usual(state, row, base)
    last_ms = 0 if int(base.last_ms[0]) == NEVER_MS else int(base.last_ms[0])
    slot = int(place_of(np.array(anomaly.last_at_ms if anomaly else last_ms))[1])
    center, spread = float(usual.center[slot]), float(usual.spread[slot])
    per_day = state.policies.alarms_per_day[state.policies.place[[row]]]
    spoken = samples_a_day(base.seen, base.since_ms, base.last_ms)
    usually = float(tier.threshold(base.q99, base.excess, spoken, per_day)[0])
    if anomaly is None:
        value = float(base.origin[0] + base.last[0].astype(np.float64) * base.unit[0])
        caution, distance = float(base.caution[0]), float(base.z[0])
        score = OPEN_SCORE * distance / usually
    else:
        value, score = anomaly.value, anomaly.score
        # Opening raised the caution already; what the anomaly was held against is the one before.
        caution = max(float(base.caution[0]) / float(CAUTION_STEP), 1.0)
        center = middle(anomaly.expected_low, anomaly.expected_high)
        distance = min(ratio(abs(value - center), spread), float(tier.Z_CAP))
    part = Part[anomaly.part.upper()] if anomaly else Part.SEASON if usual.seasonal[slot] else Part.LEVEL
    novelty, needed = _novelty(state, row, base, float(per_day[0]))
    if part is Part.PATTERN and needed is not None:
        novelty = min(score / OPEN_SCORE * needed, NOVELTY_CAP)
    threshold, percentile = usually * caution, float(base.q99[0])
    if part in (Part.CHANGE, Part.SHIFT) and anomaly is not None:  # these have a threshold of their own, in the band
        spread = float(_usual(state, row, base, plain=True).spread[slot])
        distance = ratio(abs(value - center), spread)
        threshold = caution * ratio(anomaly.expected_high - center, spread)
        percentile = float(base.shift_q99[0]) if part is Part.SHIFT else threshold / caution
    limit, run = float(tier.FLAT_TIMES) * max(float(base.longest[0]), float(tier.FLAT_LEAST)), float(base.run[0])
    if part is Part.FLAT and run <= limit:  # the run has ended and is the longest now; the one before is forgotten
        run, limit = float(base.longest[0]), 0.0
    rule, rule_limit = _rule(policy, value, breached=part is Part.RULE)
    explanation = Explanation(
        fingerprint=series.fingerprint,
        service=series.service,
        metric=series.metric,
        part=part.label,
        direction=anomaly.direction if anomaly else "up" if value >= center else "down",
        value=value,
        score=score,
        usual=center,
        spread=spread,
        distance=distance,
        threshold=threshold,
        expected_low=center - threshold * spread,
        expected_high=center + threshold * spread,
        percentile=percentile,
        excess=float(base.excess[0]),
        caution=caution,
        samples_a_day=float(spoken[0]),
        alarms_per_day=float(per_day[0]),
        policy=policy.name,
        seasonal=bool(usual.seasonal[slot]),
        same_for=round(run) + 1,
        same_threshold=round(limit) + 2 if limit else 0,
        novelty=novelty,
        novelty_threshold=needed,
        rule=rule,
        rule_limit=rule_limit,
        silent_s=policy.no_data_after_s,
        last_at_ms=last_ms,
    )
    # Without an anomaly the band is drawn to tell what is usual, and caution after an alarm is not.
    return explanation, _band(usual, usually * (caution if anomaly else 1.0))


def of_service(state: State, series: Series, slot: int, config: DetectorConfig, anomaly: Anomaly | None) -> Explanation:
    """Why the metrics of a service are unusual together, or how they are now; `slot` is the service's."""
    group = state.services.group
    lasted_ms = max(int(group.frame_ms[slot] - group.since_ms[slot]), 1)
    spoken = max(int(group.frames[slot]), 1) * 86_400_000.0 / lasted_ms
    odds = max(0.02 * spoken / config.alarms_per_day, float(np.e))
    usually = 1 + float(group.excess[slot]) * float(np.log(odds))
    now = anomaly.value if anomaly else float(group.score[slot])
    threshold = anomaly.expected_high if anomaly else usually * float(state.service_caution[slot])
    return Explanation(
        fingerprint=series.fingerprint,
        service=series.service,
        metric=series.metric,
        part=Part.SERVICE.label,
        direction="up",
        value=now,
        score=anomaly.score if anomaly else OPEN_SCORE * now / threshold,
        usual=0.0,
        spread=1.0,
        distance=now,
        threshold=threshold,
        expected_low=0.0,
        expected_high=threshold,
        percentile=1.0,
        excess=float(group.excess[slot]),
        caution=min(max(threshold / usually, 1.0), float(CAUTION_CAP)),
        samples_a_day=spoken,
        alarms_per_day=config.alarms_per_day,
        policy=DEFAULT.name,
        last_at_ms=int(group.frame_ms[slot]),
        moved=_moved(state, slot),
    )


def _usual(state: State, row: int, base: Baseline, *, plain: bool = False) -> _Usual:
    least = tier.floor(base.level, base.zero)
    trusted = np.asarray(tier.trusts_season(base.plain_error, base.daily_error, state.season.days[:, row]))[_WEEK]
    seasonal = trusted & (not plain)
    center = np.where(seasonal, state.season.table[:, row] + base.daily, base.level).astype(np.float64)
    spread = np.maximum(np.where(seasonal, base.daily_spread, base.spread), least).astype(np.float64)
    with np.errstate(over="ignore"):
        return _Usual(base.origin + center * base.unit, spread * base.unit, seasonal)


def _band(usual: _Usual, threshold: float) -> Band:
    slots = slice(None) if usual.seasonal.any() else slice(0, 1)
    with np.errstate(over="ignore", invalid="ignore"):
        center, half = usual.center[slots], threshold * usual.spread[slots]
        return Band(low=tuple((center - half).tolist()), high=tuple((center + half).tolist()))


def _policy(state: State, row: int, config: DetectorConfig) -> Policy:
    return (*config.policies, DEFAULT)[int(state.policies.place[row])]


def _novelty(state: State, row: int, base: Baseline, per_day: float) -> tuple[float | None, float | None]:
    """Novelty of the last two samples, and the one at which an alarm is raised; None without the pattern tier."""
    slot = int(state.pattern_slot[row])
    if slot < 0:
        return None, None
    shape = state.pattern.shape
    lasted_s = max(int(base.last_ms[0] - base.since_ms[0]), 1) / 1000.0
    a_day = max(float(base.seen[0]), 1.0) * 86_400.0 / lasted_s / state.pattern.scales[0].block
    needed = float(np.log10(max(a_day / per_day, 10.0)))
    return float(shape.older[slot] + shape.oldest[slot]) / 2, needed


def _rule(policy: Policy, value: float, *, breached: bool) -> tuple[str, float | None]:
    if policy.above is not None and value > policy.above:
        return f"above {policy.above:g}", policy.above
    if policy.below is not None and value < policy.below:
        return f"below {policy.below:g}", policy.below
    if policy.slo is not None and breached:
        burns = f"burning errors over {policy.slo.factor:g} times as fast as {policy.slo.objective * 100:g} % allows"
        return burns, policy.slo.limit
    return "", None


def _moved(state: State, slot: int) -> tuple[Moved, ...]:
    """The metrics furthest out in the frame that was judged last."""
    services = state.services
    rows = services.members[slot, : int(services.group.count[slot])]
    out = services.member.slow_z[rows]
    order = np.argsort(-np.abs(out), kind="stable")[:MOST_MOVED]
    found = [(state.series[row], float(z)) for row, z in zip(rows[order].tolist(), out[order].tolist(), strict=True)]
    return tuple(
        Moved(fingerprint=series.fingerprint, metric=series.metric, labels=series.labels, spreads=z)
        for series, z in found
        if z
    )
