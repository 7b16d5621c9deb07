"""Dense per-series state: records of equally long arrays, one row a series, with what all such records can do."""

from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

NEVER_MS = np.iinfo(np.int64).min

Rows = NDArray[np.int64]
Singles = NDArray[np.float32]


@dataclass(slots=True)
class Baseline:
    """What a series is usually like; 124 bytes a series. Columns are float32 unless said.

    origin, unit (float64): x = (value - origin) / unit is what all others are told in; zero: where the value nought
    lies in it. seen: samples learned since `since_ms` (int64). level, spread: of the plain model. daily, daily_spread:
    of what the table by time of day leaves. plain_error, daily_error: mean residuals of both models, of all samples,
    flagged or not. low, high: the range ever seen. last: the newest sample, which came `run`
    times on end; longest: the longest such run that ended. q99, excess: the running 99th percentile of the distance z
    and the mean excess over it. caution: factor on the opening threshold, 1 and above, raised by each anomaly and
    fading. z: of the newest sample. quick, recent, slow: means of the newest few samples, of some twenty and of some
    five hundred; fastest: the furthest that a sample was from the first of them, in spreads, fading;
    shift_q99: the running 99th percentile of how far the second is from the third. last_ms (int64): its time, NEVER_MS
    before the first. watch (int32): the row of its alarm, -1 while nothing is unusual.
    """

    origin: NDArray[np.float64]
    unit: NDArray[np.float64]
    since_ms: NDArray[np.int64]
    last_ms: NDArray[np.int64]
    watch: NDArray[np.int32]
    zero: Singles
    seen: Singles
    level: Singles
    spread: Singles
    daily: Singles
    daily_spread: Singles
    plain_error: Singles
    daily_error: Singles
    low: Singles
    high: Singles
    last: Singles
    run: Singles
    longest: Singles
    q99: Singles
    excess: Singles
    caution: Singles
    z: Singles
    quick: Singles
    recent: Singles
    slow: Singles
    fastest: Singles
    shift_q99: Singles


@dataclass(slots=True)
class Alarm:
    """Where a series stands between normal and anomalous. Kept only for series with something unusual about them.

    row: the series. run: consecutive samples beyond the opening threshold on the side `run_up`, since `run_ms`.
    flagged: samples since `flagged_ms` without a break that were not learned. calm: consecutive samples below the
    closing threshold. part: which `Part` opened it. The rest describes the open anomaly; `told` is the score last
    reported.
    """

    row: NDArray[np.int64]
    run: NDArray[np.int64]
    run_up: NDArray[np.bool_]
    run_ms: NDArray[np.int64]
    flagged: NDArray[np.int64]
    flagged_ms: NDArray[np.int64]
    open: NDArray[np.bool_]
    calm: NDArray[np.int64]
    up: NDArray[np.bool_]
    part: NDArray[np.int64]
    started_ms: NDArray[np.int64]
    unusual_ms: NDArray[np.int64]
    peak: NDArray[np.float64]
    peak_value: NDArray[np.float64]
    peak_low: NDArray[np.float64]
    peak_high: NDArray[np.float64]
    told: NDArray[np.float64]


Record = TypeVar("Record", Baseline, Alarm)

_FRESH: dict[str, float | int] = {
    "last_ms": NEVER_MS,
    "watch": -1,
    "caution": 1.0,
    "unit": 1.0,
    "q99": 2.8,
    "excess": 0.35,
    "fastest": 3.0,
    "shift_q99": 0.5,
}


def _dtype(kind: type[Record], name: str) -> np.dtype[np.generic]:
    if name in {"open", "up", "run_up"}:
        return np.dtype("?")
    if name == "watch":
        return np.dtype("<i4")
    if kind is Baseline:
        return np.dtype("<i8" if name.endswith("_ms") else "<f8" if name in {"origin", "unit"} else "<f4")
    return np.dtype("<f8" if name in {"peak", "peak_value", "peak_low", "peak_high", "told"} else "<i8")


def fresh(kind: type[Record], rows: int) -> Record:
    """`rows` series of which nothing is known."""
    return kind(
        **{each.name: np.full(rows, _FRESH.get(each.name, 0), _dtype(kind, each.name)) for each in fields(kind)}
    )


def take(record: Record, rows: Rows | slice) -> Record:
    """These rows: a copy, or a view of a slice."""
    return type(record)(*[getattr(record, name)[rows] for name in record.__slots__])


def put(record: Record, rows: Rows | slice, values: Record) -> None:
    """Write `values` over these rows; what is still a view of them is there already."""
    for name in record.__slots__:
        old, new = getattr(record, name), getattr(values, name)
        if new.base is not old:
            old[rows] = new


def roomier(before: int, needed: int) -> int:
    """How many rows to make room for: a quarter more than before at the least, so that few growths copy little."""
    return max(needed, before + before // 4)


def grown(record: Record, rows: int) -> Record:
    """The same with room for `rows` series."""
    bigger = fresh(type(record), rows)
    for each in fields(record):
        column = getattr(record, each.name)
        getattr(bigger, each.name)[: len(column)] = column
    return bigger
