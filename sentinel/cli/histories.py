"""Recorded history as `sentinel backtest` and `sentinel tune` take it: CSV and Parquet files into series in columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentinel.errors import Invalid, UnsupportedFormat
from sentinel.telemetry.csv_history import History, LabelledHistory, in_order, parse_labelled_csv, parse_time
from sentinel.telemetry.decoded import EARLIEST_MS, LATEST_MS
from sentinel.telemetry.series import Series, identify

_PARQUET_NEEDS = "reading Parquet needs pyarrow: pip install 'sentinel-aiops[parquet]'"


@dataclass(frozen=True, slots=True)
class Recorded:
    """One series of one file, named as the user named it, in order of time."""

    file: str
    series: Series
    history: History


@dataclass(frozen=True, slots=True)
class Recording:
    """All series of all files; `missing` rows had no value and were left out."""

    recorded: tuple[Recorded, ...]
    missing: int


def read(files: Sequence[Path], service: str = "") -> Recording:
    """Read every file. Columns `timestamp` and `value`; others are labels, of which `metric` names the metric.

    `service` is whom the samples speak for where a file does not say. Without labels a file is one series, named
    after it. Raises Invalid for a file that cannot be read, has no samples, or repeats a series of another file.
    """
    recorded: dict[int, Recorded] = {}
    missing = 0
    for path in files:
        read_file = _parquet if path.suffix.lower() in (".parquet", ".pq") else _csv
        found = read_file(path)
        missing += found.missing
        if not found.histories:
            raise Invalid(str(path), "no samples", "at least one row with a value")
        for labels, history in found.histories.items():
            series = _series(path, dict(labels), service)
            if series.id in recorded:
                expected = f"another series than {recorded[series.id].file} has"
                raise Invalid(str(path), dict(series.labels), expected)
            recorded[series.id] = Recorded(path.as_posix(), series, history)
    return Recording(tuple(recorded.values()), missing)


def _series(path: Path, labels: Mapping[str, str], service: str) -> Series:
    named = {"service": service, **labels} if service else dict(labels)
    metric = named.pop("metric", "") or named.pop("__name__", "") or path.stem
    if not labels:
        named["file"] = path.as_posix()  # two files of one name are two series
    return identify(metric, named)


def _csv(path: Path) -> LabelledHistory:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid("file", str(path), f"a readable CSV or Parquet file ({_short(error)})") from None
    return parse_labelled_csv(text, path.name)


def _parquet(path: Path) -> LabelledHistory:
    try:
        import pyarrow  # noqa: PLC0415 - an optional extra
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError:
        raise UnsupportedFormat(f"{path}: {_PARQUET_NEEDS}") from None
    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise Invalid("file", str(path), f"a readable Parquet file ({_short(error)})") from None
    names = [name for name in table.column_names if not name.startswith("__index_level_")]
    if names.count("timestamp") != 1 or names.count("value") != 1 or len(set(names)) != len(names):
        raise Invalid(str(path), ", ".join(names), "one column timestamp, one column value, and labels")
    values = _numbers(table.column("value"), path)
    present = np.isfinite(values)
    if np.isinf(values).any():
        raise Invalid(f"{path.name} row {int(np.isinf(values).argmax()) + 1}, value", "infinite", "a finite number")
    table, values = table.filter(pyarrow.array(present)), values[present]
    at_ms = _times(table.column("timestamp"), path)
    columns = [name for name in names if name not in ("timestamp", "value")]
    texts = [[str(cell) if cell is not None else "" for cell in table.column(name).to_pylist()] for name in columns]
    rows: dict[tuple[str, ...], list[int]] = {}
    for row, cells in enumerate(zip(*texts, strict=True) if texts else [()] * len(values)):
        rows.setdefault(cells, []).append(row)
    histories = {
        tuple((name, cell) for name, cell in zip(columns, cells, strict=True) if cell): in_order(at_ms[at], values[at])
        for cells, at in rows.items()
    }
    return LabelledHistory(histories, int((~present).sum()))


def _numbers(column: Any, path: Path) -> NDArray[np.float64]:
    """A Parquet column as float64, NaN where it has no value."""
    import pyarrow  # noqa: PLC0415 - an optional extra

    try:
        return np.asarray(column.cast(pyarrow.float64()).to_numpy(), np.float64)
    except (pyarrow.ArrowException, ValueError) as error:
        raise Invalid(f"{path.name}, value", str(column.type), f"numbers ({_short(error)})") from None


def _times(column: Any, path: Path) -> NDArray[np.int64]:
    """A Parquet column of timestamps, numbers or texts in milliseconds."""
    import pyarrow  # noqa: PLC0415 - an optional extra

    where = f"{path.name}, timestamp"
    if column.null_count:
        raise Invalid(where, "an empty cell", "a time in every row that has a value")
    kind = column.type
    if pyarrow.types.is_timestamp(kind) or pyarrow.types.is_date(kind):
        at_ms = column.cast(pyarrow.timestamp("ms"), safe=False).cast(pyarrow.int64()).to_numpy()
    elif pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind):
        number = column.cast(pyarrow.float64()).to_numpy()
        at_ms = np.where(number >= 1e11, number, number * 1000).round()
    else:
        at_ms = np.array([parse_time(str(text), where) for text in column.to_pylist()], np.int64)
    off = ~((at_ms >= EARLIEST_MS) & (at_ms < LATEST_MS))
    if off.any():
        raise Invalid(where, column[int(off.argmax())].as_py(), "times, Unix seconds or milliseconds, 2000 to 2100")
    return np.asarray(at_ms, np.int64)


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:120]
