"""Dense per-series state: records of equally long arrays, one row a series, with what all such records can do."""

from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sentinel.errors import Invalid

NEVER_MS = np.iinfo(np.int64).min

Rows = NDArray[np.int64]


@dataclass(slots=True)
class Baseline:
    """What a series is usually like. seen: samples learned. last_ms: its newest sample, NEVER_MS before the first.

    caution: factor on the opening threshold, 1 and above, raised by each anomaly and fading.
    """

    seen: NDArray[np.int64]
    level: NDArray[np.float64]
    spread: NDArray[np.float64]
    last_ms: NDArray[np.int64]
    last_score: NDArray[np.float64]
    caution: NDArray[np.float64]
    flagged: NDArray[np.int64]


@dataclass(slots=True)
class Alarm:
    """Where a series stands between normal and anomalous; all zero while nothing is unusual.

    run: consecutive samples beyond the opening threshold on the side `run_up`, since `run_ms`. flagged_ms: since when
    samples are flagged without a break. calm: consecutive samples below the closing threshold. The rest describes
    the open anomaly; `told` is the score last reported.
    """

    run: NDArray[np.int64]
    run_up: NDArray[np.bool_]
    run_ms: NDArray[np.int64]
    flagged_ms: NDArray[np.int64]
    open: NDArray[np.bool_]
    calm: NDArray[np.int64]
    up: NDArray[np.bool_]
    started_ms: NDArray[np.int64]
    unusual_ms: NDArray[np.int64]
    peak: NDArray[np.float64]
    peak_value: NDArray[np.float64]
    peak_low: NDArray[np.float64]
    peak_high: NDArray[np.float64]
    told: NDArray[np.float64]


Record = TypeVar("Record", Baseline, Alarm)

_FRESH: dict[str, float | int] = {"last_ms": NEVER_MS, "caution": 1.0}
_DTYPES = {"seen": "<i8", "flagged": "<i8", "run": "<i8", "calm": "<i8", "run_up": "?", "open": "?", "up": "?"}


def _dtype(name: str) -> np.dtype[np.generic]:
    return np.dtype(_DTYPES.get(name, "<i8" if name.endswith("_ms") else "<f8"))


def fresh(kind: type[Record], rows: int) -> Record:
    """`rows` series of which nothing is known."""
    return kind(**{each.name: np.full(rows, _FRESH.get(each.name, 0), _dtype(each.name)) for each in fields(kind)})


def take(record: Record, rows: Rows) -> Record:
    """A copy of these rows."""
    return type(record)(**{each.name: getattr(record, each.name)[rows] for each in fields(record)})


def put(record: Record, rows: Rows, values: Record) -> None:
    """Write `values` over these rows."""
    for each in fields(record):
        getattr(record, each.name)[rows] = getattr(values, each.name)


def grown(record: Record, rows: int) -> Record:
    """The same with room for `rows` series."""
    bigger = fresh(type(record), rows)
    for each in fields(record):
        column = getattr(record, each.name)
        getattr(bigger, each.name)[: len(column)] = column
    return bigger


def dump(record: Baseline | Alarm, rows: int) -> dict[str, bytes]:
    """The first `rows` rows as bytes by column, little-endian."""
    return {each.name: getattr(record, each.name)[:rows].tobytes() for each in fields(record)}


def load(kind: type[Record], columns: dict[str, bytes], rows: int) -> Record:
    """What `dump` wrote. Raises Invalid if a column is missing, unknown, of another length or not finite."""
    names = [each.name for each in fields(kind)]
    if sorted(columns) != sorted(names):
        raise Invalid("checkpoint.columns", sorted(columns), ", ".join(sorted(names)))
    arrays = {}
    for name in names:
        dtype = _dtype(name)
        if len(columns[name]) != rows * dtype.itemsize:
            raise Invalid(f"checkpoint.{name}", len(columns[name]), f"{rows * dtype.itemsize} bytes")
        arrays[name] = np.frombuffer(columns[name], dtype).copy()
        if dtype.kind == "f" and not np.isfinite(arrays[name]).all():
            raise Invalid(f"checkpoint.{name}", "not finite", "finite numbers")
    return kind(**arrays)
