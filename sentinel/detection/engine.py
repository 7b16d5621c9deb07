"""One pass: one sample each of different series is scored, judged and then learned, all series at a time."""

from collections.abc import Iterator
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from sentinel.detection import blocks, kernel
from sentinel.detection.alarm import rules_of
from sentinel.detection.columns import NEVER_MS, Alarm, Rows
from sentinel.detection.config import DetectorConfig
from sentinel.detection.judge import Told, judge_services
from sentinel.detection.second_look import Evidence, look_again
from sentinel.detection.state import Novelty, State
from sentinel.detection.steps import VALUE_CAP

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]
Bools = NDArray[np.bool_]
Number = TypeVar("Number", np.int64, np.float64)

_NONE, _NO_NOVELTY = np.zeros(0, np.bool_), np.empty((3, 0))
_FORM: tuple[Literal["C", "A", "W"], ...] = ("C", "A", "W")


def formed(column: NDArray[Number]) -> NDArray[Number]:
    """The column as compiled code takes it: if it is read-only or lies crooked, all would be compiled once more."""
    return np.require(column, requirements=_FORM)


def run(state: State, rows: Rows, at_ms: Longs, raw: Floats, config: DetectorConfig, told: Told) -> None:
    """Judge samples in their order, each series in increasing time; adds to `told`. Arrays must be `formed`."""
    if not len(rows):
        return
    with np.errstate(over="ignore", invalid="ignore"):  # values near the end of float64's range
        if kernel.is_rising(rows):
            _pass(state, rows, at_ms, raw, config, told)
        else:
            for at in _ranks(rows):
                _pass(state, rows[at], at_ms[at], raw[at], config, told)


def _pass(state: State, rows: Rows, at_ms: Longs, raw: Floats, config: DetectorConfig, told: Told) -> None:
    base = state.baseline
    late, new = kernel.survey(rows, at_ms, base.last_ms, base.seen)
    if late:
        told.late += late
        on_time = at_ms > base.last_ms[rows]
        rows, at_ms, raw = rows[on_time], at_ms[on_time], raw[on_time]
        if not len(rows):
            return
    breached = state.policies.breaches(rows, raw, at_ms, base.last_ms)
    if new:
        _begin(state, rows, at_ms, raw)
    novelty = state.novelty(rows, at_ms, raw, config)
    columns, season = blocks.columns(state.baseline), state.season
    samples = kernel.Samples(
        rows=rows,
        at_ms=at_ms,
        raw=raw,
        forced=_forced(novelty, breached),
        policy=state.policies.place,
        asked=state.policies.alarms_per_day,
        grace=np.float32(config.grace_samples),
    )
    found = _room(len(rows), config.service_score)
    grown_count, candidate_count = kernel.advance(columns, season.table, season.days, samples, found)
    grown, candidates = found.grown[:grown_count], found.candidates[:candidate_count]
    if candidate_count:
        more = _second_look(state, columns, candidates, samples, novelty, breached, config, told)
        grown = np.concatenate((grown, more))
    if config.service_score:
        judge_services(state, rows, found, at_ms, config, told)
    if len(grown):
        state.measure_anew(grown)


def _second_look(
    state: State,
    columns: blocks.Columns,
    at: Rows,
    samples: kernel.Samples,
    novelty: Novelty | None,
    breached: Bools | None,
    config: DetectorConfig,
    told: Told,
) -> Rows:
    """Judge the candidates, and learn what they teach; answers the rows whose grace ended with it."""
    policies, table, days = state.policies, state.season.table, state.season.days
    breached = _NONE if breached is None else breached[at]
    evidence = Evidence(
        at=at,
        novelty=_NO_NOVELTY if novelty is None else np.stack((novelty.raw[at], novelty.heard[at], novelty.needed[at])),
        breached=breached,
        breach_up=policies.breach_up(samples.rows[at], samples.raw[at]) if len(breached) else _NONE,
        learned=policies.learned,
        side=policies.side,
    )
    looked = look_again(columns, table, days, samples, evidence, state.book.columns(), rules_of(config))
    if looked.short:
        state.book.make_places(looked.short)
        looked = look_again(columns, table, days, samples, evidence, state.book.columns(), rules_of(config))
    if len(looked.open):
        state.hush(looked.open)
    if len(looked.at_ms):
        told.series.append((Alarm(*looked.alarms), looked.verdict, looked.at_ms))
    grown: Rows = looked.grown
    return grown


def _begin(state: State, rows: Rows, at_ms: Longs, raw: Floats) -> None:
    """Set up the series that learn from the first, or from afresh."""
    base = state.baseline
    again = base.seen[rows] == 0
    base.since_ms[rows[again]] = at_ms[again]
    first = base.last_ms[rows] == NEVER_MS
    began = np.minimum(np.maximum(raw[first], -VALUE_CAP), VALUE_CAP)
    size = np.abs(began)
    unit = np.where(size < 1e-290, 1.0, size / 1024)
    new = rows[first]
    base.origin[new], base.unit[new], base.zero[new] = began, unit, -began / unit
    base.last_ms[new] = at_ms[first]


def _forced(novelty: Novelty | None, breached: Bools | None) -> Bools:
    if novelty is None:
        return _NONE if breached is None else breached
    heard: Bools = novelty.heard >= novelty.needed
    return heard if breached is None else heard | breached


def _room(samples: int, for_services: bool) -> kernel.Told:
    values = np.empty((3, samples if for_services else 0), np.float32)
    places = np.empty((2, samples), np.int64)
    return kernel.Told(*values, *places)


def _ranks(rows: Rows) -> Iterator[Longs]:
    """Positions of the first occurrence of every row, then of the second, and so on, each in the order of rows."""
    first = int(rows.min())
    # Sorted by digits where there are few, which takes a fifth of the time.
    short = int(rows.max()) - first <= np.iinfo(np.uint16).max
    order = np.argsort((rows - first).astype(np.uint16) if short else rows, kind="stable")
    ordered = rows[order]
    if kernel.is_rising(ordered):
        yield order
        return
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    lengths = np.diff(starts, append=len(rows))
    rank = np.arange(len(rows)) - np.repeat(starts, lengths)
    by_rank = order[np.argsort(rank, kind="stable")]
    yield from np.split(by_rank, np.cumsum(np.bincount(rank))[:-1])
