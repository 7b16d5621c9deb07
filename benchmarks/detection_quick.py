"""Does the detector find what people labelled, without a storm, and what does a sample cost?

    python -m benchmarks.detection_quick [--data DIR]

Replays every file of the Numenta Anomaly Benchmark (numenta/NAB, MIT) under DIR/nab with one configuration, beside
two plain methods that get the same opening and closing rule; then times the detector beside NumPy's triad.
A window is hit if an anomaly starts in it; an anomaly that starts in no window counts as outside.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from sentinel.detection.config import DetectorConfig
from sentinel.detection.detector import Detector
from sentinel.telemetry.batch import SampleBatch
from sentinel.telemetry.csv_history import History, parse_csv
from sentinel.telemetry.series import identify

RESULTS = Path(__file__).parent / "results" / "detection_quick.md"
DAY_MS = 86_400_000
CONFIG = DetectorConfig()
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Labelled:
    """One file of the benchmark and its labelled windows in milliseconds."""

    name: str
    history: History
    windows: tuple[tuple[int, int], ...]

    @property
    def days(self) -> float:
        return float(self.history.timestamps_ms[-1] - self.history.timestamps_ms[0]) / DAY_MS


def read_nab(folder: Path) -> list[Labelled]:
    """Every CSV of the benchmark that is there, with its windows."""
    windows = json.loads((folder / "labels" / "combined_windows.json").read_text())
    found = []
    for path in sorted(folder.glob("data/*/*.csv")):
        name = path.relative_to(folder / "data").as_posix()
        edges = parse_csv(
            "\n".join(f"{edge},0" for pair in windows[name] for edge in pair), name
        ).timestamps_ms.tolist()
        found.append(
            Labelled(name, parse_csv(path.read_text(), name), tuple(zip(edges[::2], edges[1::2], strict=True)))
        )
    return found


def by_sentinel(files: list[Labelled]) -> list[list[int]]:
    """Start of every anomaly, file by file, all files replayed as series of one detector."""
    series = [identify("value", {"file": each.name}) for each in files]
    lengths = [len(each.history) for each in files]
    batch = SampleBatch(
        series_ids=np.repeat(np.array([each.id for each in series], np.uint64), lengths),
        timestamps_ms=np.concatenate([each.history.timestamps_ms for each in files]),
        values=np.concatenate([each.history.values for each in files]),
        new_series={each.id: each for each in series},
    )
    starts: dict[str, set[int]] = {each.fingerprint: set() for each in series}
    for change in Detector(CONFIG).observe(batch).changes:
        starts[change.series.fingerprint].add(change.started_at_ms)
    return [sorted(starts[each.fingerprint]) for each in series]


def by_score(score: Callable[[Floats], Floats]) -> Callable[[list[Labelled]], list[list[int]]]:
    """Anomalies of a plain score under the detector's own opening and closing rule."""

    def starts(file: Labelled) -> list[int]:
        found: list[int] = []
        run = calm = 0
        is_open = False
        for position, value in enumerate(score(file.history.values)):
            run = run + 1 if value >= CONFIG.open_score else 0
            calm = calm + 1 if value < CONFIG.close_score else 0
            if is_open:
                is_open = calm < CONFIG.close_after
            elif run >= CONFIG.open_after:
                is_open = True
                found.append(int(file.history.timestamps_ms[position - run + 1]))
        return found

    return lambda files: [starts(each) for each in files]


def ewma_z(values: Floats, rate: float = 0.005) -> Floats:
    """Distance from an exponentially weighted mean in standard deviations, learned from every sample."""
    scores = np.zeros(len(values))
    mean, variance = float(values[0]), 0.0
    for position, value in enumerate(values):
        residual = float(value) - mean
        if position >= CONFIG.grace_samples and variance > 0:
            scores[position] = abs(residual) / variance**0.5
        weight = max(rate, 1 / (position + 1))
        mean += weight * residual
        variance += weight * (residual * residual - variance)
    return scores


def median_mad(values: Floats, window: int = 288) -> Floats:
    """Distance from the median of the last `window` samples in scaled median absolute deviations."""
    padded = np.concatenate((np.full(window, np.nan), values[:-1]))
    past = sliding_window_view(padded, window)
    scores = np.zeros(len(values))
    warm = np.arange(CONFIG.grace_samples, len(values))
    median = np.nanmedian(past[warm], axis=1)
    mad = 1.4826 * np.nanmedian(np.abs(past[warm] - median[:, None]), axis=1)
    floor = np.maximum(1e-9, 1e-3 * np.abs(median))
    scores[warm] = np.abs(values[warm] - median) / np.maximum(mad, floor)
    return scores


def quality(files: list[Labelled]) -> list[str]:
    """The table of windows hit and anomalies outside."""
    methods = {"Sentinel": by_sentinel, "EWMA z": by_score(ewma_z), "median/MAD": by_score(median_mad)}
    found = {name: method(files) for name, method in methods.items()}
    lines = [
        "| file | windows | " + " | ".join(f"{name}: hit | outside | a day" for name in methods) + " |",
        "|---" * (2 + 3 * len(methods)) + "|",
    ]
    totals = {name: [0, 0] for name in methods}
    for position, file in enumerate(files):
        cells = [file.name, str(len(file.windows))]
        for name in methods:
            hit, outside = judge(file, found[name][position])
            totals[name][0] += hit
            totals[name][1] += outside
            cells += [str(hit), str(outside), f"{outside / file.days:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    days = sum(file.days for file in files)
    cells = ["**all**", str(sum(len(file.windows) for file in files))]
    for hit, outside in totals.values():
        cells += [f"**{hit}**", f"**{outside}**", f"**{outside / days:.3f}**"]
    return [*lines, "| " + " | ".join(cells) + " |"]


def judge(file: Labelled, starts: list[int]) -> tuple[int, int]:
    """Windows hit, and anomalies that start in none."""
    hit = sum(any(first <= start <= last for start in starts) for first, last in file.windows)
    outside = sum(not any(first <= start <= last for first, last in file.windows) for start in starts)
    return hit, outside


def speed() -> list[str]:
    """The table of nanoseconds a sample; each batch holds one sample of every series."""
    lines = ["| series | ns a sample | triad, ns an element |", "|---|---|---|"]
    noise = np.random.default_rng(7)
    for size in (100, 1_000, 10_000, 100_000):
        series = {each.id: each for each in (identify("m", {"n": str(number)}) for number in range(size))}
        ids = np.fromiter(series, np.uint64, size)
        detector = Detector(CONFIG)
        rounds = max(5, min(200, 400_000 // size))
        columns = noise.normal(100, 5, (CONFIG.grace_samples + rounds, size))
        taken: list[float] = []
        for tick, values in enumerate(columns):
            batch = SampleBatch(ids, np.full(size, 1_000 * (tick + 1)), values, series if tick == 0 else {})
            began = time.perf_counter()
            detector.observe(batch)
            taken.append(time.perf_counter() - began)
        after_grace = float(np.median(taken[CONFIG.grace_samples :])) / size * 1e9
        lines.append(f"| {size:,} | {after_grace:.0f} | {triad(size):.2f} |")
    return lines


def triad(size: int) -> float:
    """Nanoseconds an element of a = b + s * c in float64, in place: what this machine's memory allows."""
    a, b, c = np.zeros(size), np.ones(size), np.full(size, 2.0)
    taken = []
    for _ in range(max(5, 2_000_000 // size)):
        began = time.perf_counter()
        np.multiply(c, 3.0, out=a)
        np.add(a, b, out=a)
        taken.append(time.perf_counter() - began)
    return float(np.median(taken)) / size * 1e9


def main() -> None:
    here = Path(__file__).parent.parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=here.parent / "shared" / "data")
    folder = parser.parse_args().data / "nab"
    lines = ["# Detection, quick", "", f"`{CONFIG}`", ""]
    if folder.is_dir():
        lines += ["## Numenta Anomaly Benchmark (numenta/NAB, MIT), one configuration for all files", ""]
        lines += quality(read_nab(folder))
    else:
        lines += [f"No NAB data under --data ({folder.name}/ is absent): the quality table is left out."]
    lines += ["", "## Speed, one core", "", *speed()]
    print("\n".join(lines))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
