"""History of one series as CSV, `timestamp,value` a line: the form of the Numenta Anomaly Benchmark."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from sentinel.errors import Invalid
from sentinel.telemetry.decoded import EARLIEST_MS, LATEST_MS

_HEADER = "timestamp,value"
_TIME_EXPECTED = "2014-02-14 14:30:00, ISO 8601 or Unix seconds or milliseconds, between 2000 and 2100"


@dataclass(frozen=True, slots=True)
class History:
    """Columns of equal length n, in the order of the file. timestamps_ms: int64[n]; values: float64[n], finite."""

    timestamps_ms: NDArray[np.int64]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.values)


def parse_csv(text: str, name: str = "csv") -> History:
    """Read `text`; a header `timestamp,value` is optional, and a time without an offset is UTC.

    Raises Invalid for the first bad line, as `<name> line <number>`: a file is a whole, and half a history
    would be a wrong baseline.
    """
    stamps: list[int] = []
    values: list[float] = []
    for number, line in enumerate(text.splitlines(), start=1):
        row = line.strip().removeprefix("\ufeff")
        if not row or (number == 1 and row.replace(" ", "").lower() == _HEADER):
            continue
        where = f"{name} line {number}"
        cells = [cell.strip().strip('"') for cell in row.split(",")]
        if len(cells) != 2:
            raise Invalid(where, row, _HEADER)
        stamps.append(_time(cells[0], where))
        values.append(_value(cells[1], where))
    return History(np.array(stamps, np.int64), np.array(values, np.float64))


def _value(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise Invalid(f"{where}, value", text, "a finite number")
    return value


def _time(text: str, where: str) -> int:
    try:
        ms = _milliseconds(text)
    except (ValueError, OverflowError):
        raise Invalid(f"{where}, timestamp", text, _TIME_EXPECTED) from None
    if not EARLIEST_MS <= ms < LATEST_MS:
        raise Invalid(f"{where}, timestamp", text, _TIME_EXPECTED)
    return ms


def _milliseconds(text: str) -> int:
    try:
        number = float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return round(aware.timestamp() * 1000)
    return round(number if number >= 1e11 else number * 1000)
