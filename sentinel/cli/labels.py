"""Labelled windows of a history, and how alarms stand to them. No I/O."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from statistics import median

from sentinel.detection.anomaly import Anomaly
from sentinel.errors import Invalid
from sentinel.telemetry.csv_history import parse_time
from sentinel.telemetry.series import Series

_JSON_EXPECTED = '[["start", "end"], …], or {"file.csv": [["start", "end"], …]}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """One anomaly of the history `file`: when it began, when it was told, and when it ended or was last seen."""

    file: str
    series: Series
    started_ms: int
    told_ms: int
    until_ms: int
    first: Anomaly


@dataclass(frozen=True, slots=True)
class Window:
    """Something was wrong from start_ms to end_ms, in `file` or, where that is empty, in every history."""

    start_ms: int
    end_ms: int
    file: str = ""

    def touches(self, alarm: Alarm) -> bool:
        return self.file in ("", alarm.file) and alarm.started_ms <= self.end_ms and alarm.until_ms >= self.start_ms


@dataclass(frozen=True, slots=True)
class Labels:
    """The windows, and the files that were labelled, be it with none; None for every file."""

    windows: tuple[Window, ...]
    files: frozenset[str] | None = None

    def of(self, file: str) -> "Labels":
        """Those of one file."""
        if self.files is None:
            return self
        return Labels(tuple(each for each in self.windows if each.file == file), self.files & {file})


@dataclass(frozen=True, slots=True)
class Judgement:
    """How alarms stand to windows. inside + outside = the alarms of files that have labels.

    delays_ms: of each window that was found, from its start to the first alarm's telling, 0 where it stood before.
    """

    windows: int
    delays_ms: tuple[int, ...]
    inside: int
    outside: int

    @property
    def found(self) -> int:
        return len(self.delays_ms)

    @property
    def recall(self) -> float:
        return self.found / self.windows if self.windows else 0.0

    @property
    def precision(self) -> float:
        judged = self.inside + self.outside
        return self.inside / judged if judged else 0.0

    @property
    def median_delay_ms(self) -> float | None:
        return median(self.delays_ms) if self.delays_ms else None


def judge(alarms: Iterable[Alarm], labels: Labels) -> Judgement:
    """A window is found if an alarm touches it; an alarm is inside if it touches a window."""
    judged = [alarm for alarm in alarms if labels.files is None or alarm.file in labels.files]
    delays = []
    for window in labels.windows:
        told = [alarm.told_ms for alarm in judged if window.touches(alarm)]
        if told:
            delays.append(max(0, min(told) - window.start_ms))
    inside = sum(any(window.touches(alarm) for window in labels.windows) for alarm in judged)
    return Judgement(len(labels.windows), tuple(delays), inside, len(judged) - inside)


def parse_labels(text: str, name: str, files: Sequence[str]) -> Labels:
    """Windows from JSON, for all files or by file as NAB has them, or from CSV lines `start,end` for all files.

    A file is meant by any end of its path. Raises Invalid for a window that is none, or if no file is named.
    """
    if text.lstrip("\ufeff \t\r\n")[:1] in ("[", "{"):
        return _json(text, name, files)
    windows = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        row = line.strip()
        if not row or (number == 1 and row.replace(" ", "").lower() == "start,end"):
            continue
        windows.append(_window([cell.strip().strip('"') for cell in row.split(",")], f"{name} line {number}", ""))
    if not windows:
        raise Invalid(name, "no window", "lines start,end or " + _JSON_EXPECTED)
    return Labels(tuple(windows))


def _json(text: str, name: str, files: Sequence[str]) -> Labels:
    try:
        tree = json.loads(text.removeprefix("\ufeff"))
    except json.JSONDecodeError as error:
        raise Invalid(name, f"line {error.lineno}", f"JSON ({error.msg})") from None
    if isinstance(tree, list):
        return Labels(tuple(_window(pair, f"{name} window {number}", "") for number, pair in enumerate(tree, start=1)))
    windows: list[Window] = []
    meant: set[str] = set()
    for key, pairs in tree.items():
        parts = PurePath(key).parts
        for file in files:
            if not parts or PurePath(file).parts[-len(parts) :] != parts:
                continue
            meant.add(file)
            if not isinstance(pairs, list):
                raise Invalid(f"{name}, {key}", pairs, _JSON_EXPECTED)
            windows += [_window(pair, f"{name}, {key} window {number}", file) for number, pair in enumerate(pairs, 1)]
    if not meant:
        raise Invalid(name, ", ".join(tree)[:80], f"a name of one of the files, such as {files[0]}")
    return Labels(tuple(windows), frozenset(meant))


def _window(pair: object, where: str, file: str) -> Window:
    if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(edge, str | int | float) for edge in pair):
        raise Invalid(where, pair, "start and end")
    start_ms, end_ms = (
        parse_time(str(edge), f"{where}, {name}") for edge, name in zip(pair, ("start", "end"), strict=True)
    )
    if end_ms < start_ms:
        raise Invalid(where, pair, "a start that is not after its end")
    return Window(start_ms, end_ms, file)
