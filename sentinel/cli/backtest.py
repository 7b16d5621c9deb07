"""`sentinel backtest`: the detector over recorded history, and what it would have cried."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sentinel.cli.histories import Recorded, Recording, read
from sentinel.cli.labels import Alarm, Judgement, Labels, judge, parse_labels
from sentinel.clock import iso
from sentinel.detection.anomaly import Anomaly
from sentinel.detection.config import DetectorConfig
from sentinel.detection.detector import Detector
from sentinel.errors import Invalid
from sentinel.telemetry.batch import SampleBatch

DAY_MS = 86_400_000
SHOWN_SERIES = 40
_BATCH = 200_000


@dataclass(frozen=True, slots=True)
class Replayed:
    """The alarms of a history in order of telling, and the samples that the detector refused, by reason."""

    alarms: tuple[Alarm, ...]
    refused: Mapping[str, int]


def replay(recorded: Sequence[Recorded], config: DetectorConfig) -> Replayed:
    """Run one detector over all series together, in order of time, as live samples would come."""
    detector = Detector(replace(config, max_series=max(config.max_series, len(recorded))))
    files = {each.series.fingerprint: each.file for each in recorded}
    refused: Counter[str] = Counter()
    standing: dict[str, Alarm] = {}
    over: list[Alarm] = []
    for batch in _batches(recorded):
        seen = detector.observe(batch)
        refused.update({str(reason): count for reason, count in seen.refused.items()})
        for change in seen.changes:
            name = change.series.fingerprint
            alarm = standing.pop(name) if name in standing else _told(files[name], change)
            alarm = replace(alarm, until_ms=change.ended_at_ms or change.last_at_ms)
            if change.ended_at_ms is None:
                standing[name] = alarm
            else:
                over.append(alarm)
    for change in detector.open_anomalies():
        name = change.series.fingerprint
        standing[name] = replace(standing.get(name) or _told(files[name], change), until_ms=change.last_at_ms)
    alarms = sorted([*over, *standing.values()], key=lambda alarm: (alarm.told_ms, alarm.series.fingerprint))
    return Replayed(tuple(alarms), dict(refused))


def _told(file: str, change: Anomaly) -> Alarm:
    return Alarm(
        file=file,
        series=change.series,
        started_ms=change.started_at_ms,
        told_ms=change.last_at_ms,
        until_ms=change.last_at_ms,
        first=change,
    )


def _batches(recorded: Sequence[Recorded]) -> Iterator[SampleBatch]:
    """All samples in order of time, _BATCH at a time; the first batch describes every series."""
    ids = np.repeat(
        np.array([each.series.id for each in recorded], np.uint64), [len(each.history) for each in recorded]
    )
    at_ms = np.concatenate([each.history.timestamps_ms for each in recorded])
    values = np.concatenate([each.history.values for each in recorded])
    order = np.argsort(at_ms, kind="stable")
    described = {each.series.id: each.series for each in recorded}
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        yield SampleBatch(ids[rows], at_ms[rows], values[rows], {} if start else described)


def days(recorded: Sequence[Recorded]) -> float:
    """Days from the first to the last sample of a series, the mean of all, which need not lie at the same time.

    Alarms divided by it are the alarms a day of all series, were they watched together.
    """
    spans = [each.history.timestamps_ms[-1] - each.history.timestamps_ms[0] for each in recorded]
    return max(float(np.mean(spans)), 60_000.0) / DAY_MS


def within(labels: Labels, recorded: Sequence[Recorded]) -> Labels:
    """The windows in which a history that they speak of has a sample; no alarm can touch another."""

    def covered(file: str, start_ms: int, end_ms: int) -> bool:
        return any(
            np.searchsorted(each.history.timestamps_ms, start_ms, "left")
            < np.searchsorted(each.history.timestamps_ms, end_ms, "right")
            for each in recorded
            if file in ("", each.file)
        )

    return replace(
        labels, windows=tuple(each for each in labels.windows if covered(each.file, each.start_ms, each.end_ms))
    )


def load(
    console: Console, files: Sequence[Path], labels: Path | None, service: str, config: DetectorConfig
) -> tuple[Recording, Labels | None]:
    """The history and its labels, with a word on what cannot be judged."""
    recording = read(files, service)
    if recording.missing:
        console.print(f"{recording.missing} rows without a value left out")
    short = [each for each in recording.recorded if len(each.history) <= config.grace_samples]
    if len(short) == len(recording.recorded):
        longest = max(len(each.history) for each in short)
        raise Invalid("history", f"{longest} samples at most", f"more than the grace of {config.grace_samples} samples")
    if short:
        console.print(
            f"{len(short)} series are never scored: they end within the grace of {config.grace_samples} samples"
        )
    if labels is None:
        return recording, None
    try:
        text = labels.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid("labels", str(labels), f"a readable JSON or CSV file ({error})") from None
    told = parse_labels(text, labels.name, [each.file for each in recording.recorded])
    known = within(told, recording.recorded)
    if len(known.windows) < len(told.windows):
        console.print(f"{len(told.windows) - len(known.windows)} labelled windows have no sample and do not count")
    return recording, known


def run(
    console: Console, files: Sequence[Path], config: DetectorConfig, *, labels: Path | None, service: str, listing: bool
) -> None:
    """Replay the files and print alarms a day, by series and in all, and with labels what they were worth."""
    recording, known = load(console, files, labels, service, config)
    with console.status("replaying …"):
        replayed = replay(recording.recorded, config)
    console.print(_table(recording.recorded, replayed.alarms, known))
    for reason, count in sorted(replayed.refused.items()):
        console.print(f"{count} samples refused: {reason}")
    if known is not None:
        console.print(worth(judge(replayed.alarms, known)))
    if listing:
        for alarm in replayed.alarms:
            console.print(_line(alarm))


def worth(judged: Judgement) -> str:
    """One line on recall, precision and delay."""
    if not judged.windows:
        return f"no labelled window; {judged.outside} alarms outside"
    delay = "" if judged.median_delay_ms is None else f", told {_span(judged.median_delay_ms)} after its start (median)"
    return (
        f"{judged.found} of {judged.windows} labelled windows found (recall {judged.recall:.2f}){delay}; "
        f"{judged.inside} of {judged.inside + judged.outside} alarms inside one (precision {judged.precision:.2f})"
    )


def _table(recorded: Sequence[Recorded], alarms: Sequence[Alarm], labels: Labels | None) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("series", "days", "samples", "alarms", "a day", "in alarm"):
        table.add_column(column, justify="left" if column == "series" else "right", overflow="fold")
    if labels is not None:
        for column in ("windows", "found", "outside", "delay"):
            table.add_column(column, justify="right")
    by_series: dict[str, list[Alarm]] = {each.series.fingerprint: [] for each in recorded}
    for alarm in alarms:
        by_series[alarm.series.fingerprint].append(alarm)
    ordered = sorted(recorded, key=lambda each: -len(by_series[each.series.fingerprint]) / days([each]))
    for each in ordered[:SHOWN_SERIES]:
        own = by_series[each.series.fingerprint]
        table.add_row(escape(name_of(each)), *_cells([each], own, labels and labels.of(each.file)))
    rest = ordered[SHOWN_SERIES:]
    if rest:
        others = [alarm for each in rest for alarm in by_series[each.series.fingerprint]]
        table.add_row(f"{len(rest)} more series", *_cells(rest, others, None))
    table.add_row("[bold]all[/bold]", *_cells(recorded, alarms, labels))
    return table


def _cells(recorded: Sequence[Recorded], alarms: Sequence[Alarm], labels: Labels | None) -> list[str]:
    lasting = sum(alarm.until_ms - alarm.started_ms for alarm in alarms) / DAY_MS
    cells = [
        f"{days(recorded):.1f}",
        f"{sum(len(each.history) for each in recorded):,}",
        f"{len(alarms)}",
        f"{len(alarms) / days(recorded):.2f}",
        f"{lasting / len(recorded) / days(recorded):.1%}",
    ]
    if labels is None:
        return cells
    judged = judge(alarms, labels)
    delay = "" if judged.median_delay_ms is None else _span(judged.median_delay_ms)
    return [*cells, f"{judged.windows}", f"{judged.found}", f"{judged.outside}", delay]


def name_of(each: Recorded) -> str:
    """A series as people know it."""
    labels = {name: value for name, value in each.series.labels.items() if name not in ("file", "service")}
    told = ", ".join(f"{name}={value}" for name, value in labels.items())
    where = f"{each.series.service}/" if each.series.labels.get("service") else ""
    return f"{where}{each.series.metric}" + (f"{{{told}}}" if told else "")


def _line(alarm: Alarm) -> str:
    first = alarm.first
    return (
        f"  {iso(alarm.started_ms)[:19]} … {iso(alarm.until_ms)[:19]}  {escape(alarm.series.metric)} {first.direction} "
        f"to {first.value:.4g}, expected {first.expected_low:.4g} to {first.expected_high:.4g}; "
        f"told {_span(alarm.told_ms - alarm.started_ms)} after it began"
    )


def _span(ms: float) -> str:
    """Milliseconds for people."""
    minutes = ms / 60_000
    if minutes < 1:
        return f"{ms / 1000:.0f} s"
    if minutes < 120:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h" if minutes < 2880 else f"{minutes / 1440:.1f} d"
