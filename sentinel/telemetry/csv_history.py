"""History of series as CSV, `timestamp,value` a line: the form of the Numenta Anomaly Benchmark; and with labels."""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sentinel.errors import Invalid
from sentinel.telemetry.decoded import EARLIEST_MS, LATEST_MS

if TYPE_CHECKING:
    import _csv  # where typeshed keeps the type of csv.reader(…)

_HEADER = "timestamp,value"
_REQUIRED = ("timestamp", "value")
_MISSING = ("", "nan", "null", "none")
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
        stamps.append(parse_time(cells[0], f"{where}, timestamp"))
        values.append(_value(cells[1], where))
    return History(np.array(stamps, np.int64), np.array(values, np.float64))


Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class LabelledHistory:
    """Histories by their labels, each in order of time; `missing` rows had no value, or NaN, and were left out."""

    histories: Mapping[Labels, History]
    missing: int


def parse_labelled_csv(text: str, name: str = "csv") -> LabelledHistory:
    """Read `text` with a header that names `timestamp` and `value`; every other column is a label of the series.

    Without a header it has these two columns alone. Raises Invalid for the first line that is wrong otherwise.
    """
    rows = csv.reader(text.removeprefix("\ufeff").splitlines(), skipinitialspace=True)
    try:
        return _labelled(rows, name)
    except csv.Error as error:
        raise Invalid(f"{name} line {rows.line_num}", str(error), "CSV") from None


def _labelled(rows: "_csv.Reader", name: str) -> LabelledHistory:
    header = ["timestamp", "value"]
    found: dict[Labels, tuple[list[int], list[float]]] = {}
    missing = 0
    for cells in rows:
        where = f"{name} line {rows.line_num}"
        row = [cell.strip() for cell in cells]
        if not any(row):
            continue
        if rows.line_num == 1 and "timestamp" in (lower := [cell.lower() for cell in row]):
            header = [cell if cell.lower() not in _REQUIRED else cell.lower() for cell in row]
            if lower.count("value") != 1 or len(set(header)) != len(header):
                raise Invalid(where, ",".join(row), "one column timestamp, one column value, and labels")
            continue
        if len(row) != len(header):
            raise Invalid(where, ",".join(row), ",".join(header))
        named = dict(zip(header, row, strict=True))
        if named["value"].lower() in _MISSING:
            missing += 1
            continue
        labels = tuple((column, cell) for column, cell in named.items() if column not in _REQUIRED and cell)
        stamps, values = found.setdefault(labels, ([], []))
        stamps.append(parse_time(named["timestamp"], f"{where}, timestamp"))
        values.append(_value(named["value"], where))
    return LabelledHistory(
        {
            labels: in_order(np.array(stamps, np.int64), np.array(values, np.float64))
            for labels, (stamps, values) in found.items()
        },
        missing,
    )


def in_order(timestamps_ms: NDArray[np.int64], values: NDArray[np.float64]) -> History:
    """The samples by time; those of one time stay as they were."""
    order = np.argsort(timestamps_ms, kind="stable")
    return History(timestamps_ms[order], values[order])


def _value(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise Invalid(f"{where}, value", text, "a finite number")
    return value


def parse_time(text: str, where: str) -> int:
    """Milliseconds of a time as text; one without an offset is UTC. Raises Invalid that names `where`."""
    try:
        ms = _milliseconds(text)
    except (ValueError, OverflowError):
        raise Invalid(where, text, _TIME_EXPECTED) from None
    if not EARLIEST_MS <= ms < LATEST_MS:
        raise Invalid(where, text, _TIME_EXPECTED)
    return ms


def _milliseconds(text: str) -> int:
    try:
        number = float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return round(aware.timestamp() * 1000)
    return round(number if number >= 1e11 else number * 1000)
