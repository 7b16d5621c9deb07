"""Public sets of injected faults, read into one shape: what was normal, what followed the fault, and its true cause.

PetShop (amazon-science/petshop-root-cause-analysis, data CC-BY-4.0): folders with `noissue/metrics.csv` and
`*/issue_*`. Nezha (IntelligentDDS/Nezha, MIT): folders of one day with `*fault_list.json` and `metric/`. Whatever
parts are under the data folder are read, by the same rules.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sentinel.telemetry.kinds import kind_of
from sentinel.telemetry.series import Series, identify

Floats = NDArray[np.float64]
PETSHOP_BEFORE = 1  # 5-minute samples of an issue that are surely from before it: the first
NEZHA_WINDOW = 3  # minutes that are judged together, from the first whole minute after the injection
NEZHA_BEFORE = 3
NEZHA_FAULT_MINUTES = 6  # an injection lasts some 3 minutes; these around it are no part of normal


@dataclass(frozen=True)
class Case:
    """One injected fault: curves float64[samples, series] of normal, of just before and of the fault."""

    group: str
    name: str
    fault: str
    root: str
    at_ms: int
    step_ms: int
    series: tuple[Series, ...]
    normal: Floats
    before: Floats
    window: Floats
    calls: Mapping[str, tuple[str, ...]]

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(kind_of(each.metric) for each in self.series)


def petshop(data: Path) -> Iterator[Case]:
    """Every issue that has a normal part and a graph beside it."""
    for folder in sorted(path.parent.parent for path in data.glob("petshop/*/noissue/metrics.csv")):
        calls = _petshop_graph(folder / "graph.csv")
        normal_keys, _, normal = _petshop_table(folder / "noissue" / "metrics.csv")
        column = {key: number for number, key in enumerate(normal_keys)}
        for path in sorted(folder.glob("*/issue_*/metrics.csv")):
            told = json.loads((path.parent / "target.json").read_text(encoding="utf-8"))
            keys, times, values = _petshop_table(path)
            if len(times) <= PETSHOP_BEFORE:
                continue
            kept = [number for number, key in enumerate(keys) if key in column]
            yield Case(
                group=f"PetShop {folder.name}",
                name=f"{path.parent.parent.name}/{path.parent.name}",
                fault=told["target"]["metric"],
                root=told["root_cause"]["node"],
                at_ms=int(times[PETSHOP_BEFORE] * 1000),
                step_ms=300_000,
                series=tuple(
                    identify(f"{metric}_{statistic}".lower(), {"service": node})
                    for node, metric, statistic in (keys[number] for number in kept)
                ),
                normal=normal[:, [column[keys[number]] for number in kept]],
                before=values[:PETSHOP_BEFORE, kept],
                window=values[PETSHOP_BEFORE:, kept],
                calls=calls,
            )


def nezha(data: Path) -> Iterator[Case]:
    """Every fault of every day. Normal is the day without the minutes of its faults."""
    for path in sorted(data.glob("nezha/*/*fault_list.json")):
        series, minutes, values, calls = _nezha_day(path.parent / "metric")
        faults = _nezha_faults(path)
        busy = np.zeros(len(minutes), dtype=bool)
        for at, _, _ in faults:
            busy |= (minutes >= at - 1) & (minutes < at + NEZHA_FAULT_MINUTES)
        for at, pod, fault in faults:
            first = int(np.searchsorted(minutes, at + 1))
            window = values[first : first + NEZHA_WINDOW]
            if not len(window):
                continue
            service = _service(pod)
            yield Case(
                group=f"Nezha {path.parent.name}",
                name=f"{service} {fault} {at % 1440 // 60:02d}:{at % 60:02d}",
                fault=fault,
                root=service,
                at_ms=int(minutes[first]) * 60_000,
                step_ms=60_000,
                series=series,
                normal=values[~busy],
                before=values[max(first - 1 - NEZHA_BEFORE, 0) : max(first - 1, 1)],
                window=window,
                calls=calls,
            )


def _petshop_table(path: Path) -> tuple[list[tuple[str, str, str]], Floats, Floats]:
    with path.open(newline="", encoding="utf-8") as file:
        nodes, metrics, statistics, _, *rows = csv.reader(file)
    table = _numbers(rows)
    return list(zip(nodes[1:], metrics[1:], statistics[1:], strict=True)), table[:, 0], table[:, 1:]


def _petshop_graph(path: Path) -> Mapping[str, tuple[str, ...]]:
    with path.open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    return {
        row[0]: tuple(node for node, mark in zip(head[1:], row[1:], strict=True) if mark and float(mark))
        for row in rows
    }


def _nezha_day(folder: Path) -> tuple[tuple[Series, ...], NDArray[np.int64], Floats, Mapping[str, tuple[str, ...]]]:
    columns: list[tuple[Series, Mapping[int, float]]] = []
    for path in sorted(folder.glob("*_metric.csv")):
        head, rows = _rows(path)
        service = _service(path.name.removesuffix("_metric.csv"))
        if "PodName" not in head:
            continue
        columns += _columns(head, rows, {"service": service}, head.index("PodName") + 1)
    for path in sorted(folder.glob("front_service*.csv")):
        head, rows = _rows(path)
        if "ServiceName" not in head:
            continue
        columns += _columns(head, rows, {"service": _entry(folder)}, head.index("ServiceName") + 1)
    for path in sorted((*folder.glob("source_*.csv"), *folder.glob("destination_*.csv"))):
        head, rows = _rows(path)
        side = path.name.partition("_")[0]
        for number, name in enumerate(head[2:], start=2):
            caller, _, callee = name.partition("_")
            series = identify(f"{side}_latency", {"service": caller, "destination_service": callee})
            columns.append((series, _by_minute(rows, number)))
    minutes = np.array(sorted({minute for _, values in columns for minute in values}), dtype=np.int64)
    table = np.full((len(minutes), len(columns)), np.nan)
    row_of = {int(minute): number for number, minute in enumerate(minutes)}
    for number, (_, values) in enumerate(columns):
        for minute, value in values.items():
            table[row_of[minute], number] = value
    return tuple(series for series, _ in columns), minutes, table, _nezha_calls(folder / "dependency.csv")


def _entry(folder: Path) -> str:
    """The service that nobody calls, whose users `front_service.csv` speaks of."""
    calls = _nezha_calls(folder / "dependency.csv")
    called = {callee for callees in calls.values() for callee in callees}
    outermost = [caller for caller in calls if caller not in called and calls[caller]]
    return max(outermost, key=lambda caller: (len(calls[caller]), caller), default="frontend")


def _columns(
    head: Sequence[str], rows: Sequence[Sequence[str]], labels: Mapping[str, str], first: int
) -> Iterator[tuple[Series, Mapping[int, float]]]:
    for number, name in enumerate(head[first:], start=first):
        if not name.startswith("Node"):  # the machine's, shared by all services on it
            yield identify(name, labels), _by_minute(rows, number)


def _rows(path: Path) -> tuple[list[str], list[list[str]]]:
    with path.open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    return head, rows


def _by_minute(rows: Sequence[Sequence[str]], column: int) -> Mapping[int, float]:
    found = {}
    for row in rows:
        value = _number(row[column]) if len(row) > column else np.nan
        if np.isfinite(value):
            found[_minute_of(row)] = value
    return found


def _minute_of(row: Sequence[str]) -> int:
    # The first column where it is a time, for the numbers in the second are 200,000,000 s off for one service.
    try:
        return _minute(row[0][:19])
    except ValueError:
        return int(float(row[1])) // 60


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan  # "N/A" and the like


def _minute(text: str) -> int:
    return int(datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()) // 60


def _nezha_faults(path: Path) -> list[tuple[int, str, str]]:
    hours = json.loads(path.read_text(encoding="utf-8"))
    return sorted(
        (_minute(fault["inject_time"]), fault["inject_pod"], fault["inject_type"])
        for faults in hours.values()
        for fault in faults
    )


def _nezha_calls(path: Path) -> Mapping[str, tuple[str, ...]]:
    if not path.exists():
        return {}
    _, rows = _rows(path)
    calls: dict[str, list[str]] = {}
    for caller, callee, *_ in rows:
        if not callee[:1].isdigit():  # an address is a machine
            calls.setdefault(caller, []).append(callee)
    return {caller: tuple(callees) for caller, callees in calls.items()}


def _service(pod: str) -> str:
    """`cartservice-579f59597d-wc2lz` -> `cartservice`: without the hashes of the replica set and the pod."""
    parts = pod.split("-")
    return "-".join(parts[:-2]) if len(parts) > 2 else parts[0]


def _numbers(rows: Sequence[Sequence[str]]) -> Floats:
    return np.array([[_number(cell) for cell in row] for row in rows if row and row[0]])
