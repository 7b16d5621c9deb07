"""What does each part of the base tier find, and how often does it speak where nothing was wrong?

    python -m benchmarks.detection_parts [--data DIR]

Every metric of the training parts of SMD's machines (DIR/smd/, NetManAIOps/OmniAnomaly, MIT), which hold no labelled
fault, as a series of its own: a sample a minute for some 20 days. First table: anomalies after the second day, by the
part that opened them; nobody asked for these, though not all need be wrong. Second table: once more, the level of every
series that varies is raised at one moment of the last week, drawn by seed, and stays raised by so many standard
deviations of the day before; found is what has an anomaly upwards within two hours. The same for generated series that
swing by 20 deviations of their noise each hour, raised by a few deviations of the noise. The default policy; service
and pattern tiers are off, for detection_quality judges them. Some constants were chosen on
these SMD files (docs/detection.md).
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.scoring.machines import read_machines
from sentinel.detection.anomaly import Anomaly
from sentinel.detection.config import DetectorConfig
from sentinel.detection.detector import Detector
from sentinel.telemetry.batch import SampleBatch
from sentinel.telemetry.series import identify

Floats = NDArray[np.float64]

START_MS = 1_700_000_000_000
MINUTE_MS, DAY = 60_000, 1440
WITHIN = 120  # samples in which an injected step must be found
STEPS = (1.0, 2.0, 4.0, 8.0)
CONFIG = DetectorConfig(service_score=False, pattern_series=0)


def replay(values: Floats) -> list[tuple[int, int, Anomaly]]:
    """Sample, series and anomaly of everything that opens; `values` float64[samples, series]."""
    series = [identify("m", {"service": "s", "n": str(place)}) for place in range(values.shape[1])]
    place_of = {each.fingerprint: place for place, each in enumerate(series)}
    ids = np.array([each.id for each in series], np.uint64)
    new = {each.id: each for each in series}
    detector, opened = Detector(CONFIG), []
    known: set[tuple[str, int]] = set()
    for at, row in enumerate(values):
        times = np.full(len(row), START_MS + at * MINUTE_MS)
        for each in detector.observe(SampleBatch(ids, times, row, new if at == 0 else {})).changes:
            name = each.series.fingerprint, each.started_at_ms
            if each.ended_at_ms is None and name not in known:
                known.add(name)
                opened.append((at, place_of[each.series.fingerprint], each))
    return opened


def raised(values: Floats, spreads: float, unit: Floats | None = None) -> tuple[Floats, NDArray[np.int64], Floats]:
    """The same with a lasting step in each series, when it came, and of what size (0 for one that does not vary)."""
    at = np.random.default_rng(11).integers(len(values) - 7 * DAY, len(values) - DAY, values.shape[1])
    with_step, sizes = values.copy(), np.zeros(values.shape[1])
    for place, moment in enumerate(at):
        sizes[place] = values[moment - DAY : moment, place].std() if unit is None else unit[place]
        with_step[moment:, place] += spreads * sizes[place]
    return with_step, at, sizes


def swings(count: int, days: int) -> tuple[Floats, Floats]:
    """Series that swing by 20 standard deviations of their noise each hour, with phases of their own; and the noise."""
    random = np.random.default_rng(5)
    time = np.arange(days * DAY)[:, None]
    noise = random.uniform(0.5, 2.0, count)
    swing = 20 * noise * np.sin(2 * np.pi * (time / 60 + random.uniform(0, 1, count)))
    return 500 + swing + noise * random.standard_normal((len(time), count)), noise


def judged(name: str, values: Floats, unit: Floats | None) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Rows of both tables for one set."""
    days = values.shape[1] * (len(values) / DAY - 2)
    told: Counter[str] = Counter(each.part for at, _, each in replay(values) if at >= 2 * DAY)
    unasked = [(name, part, f"{count}", f"{count / days:.4f}") for part, count in told.most_common()]
    unasked.append((name, "all", f"{told.total()}", f"{told.total() / days:.4f}"))
    found = []
    for spreads in STEPS:
        with_step, moments, sizes = raised(values, spreads, unit)
        first: dict[int, tuple[int, str]] = {}
        for at, place, each in replay(with_step):
            if 0 <= at - moments[place] <= WITHIN and each.direction == "up":
                first.setdefault(place, (at - int(moments[place]), each.part))
        asked = int(np.count_nonzero(sizes))
        parts = Counter(part for place, (_, part) in first.items() if sizes[place])
        delay = np.median([late for late, _ in first.values()]) if first else float("nan")
        by = ", ".join(f"{part} {count}" for part, count in parts.most_common())
        found.append((name, f"{spreads:g}", f"{parts.total()} of {asked}", f"{delay:.0f}", by))
    return unasked, found


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    options = parser.parse_args(given)
    sets: list[tuple[str, Floats, Floats | None]] = [("hourly swings", *swings(100, 14))]
    if (options.data / "smd").is_dir():
        machines = [each.train for each in read_machines(options.data / "smd")]
        length = min(len(each) for each in machines)
        sets.insert(0, ("SMD, training parts", np.hstack([each[:length] for each in machines]), None))
    unasked, found = [], []
    for name, values, unit in sets:
        rows = judged(name, values, unit)
        unasked += rows[0]
        found += rows[1]
        print(*rows, sep="\n", flush=True)
    text = "\n\n".join(
        (
            __doc__ or "",
            report.table(("set", "opened by", "anomalies", "a series and day"), unasked),
            report.table(("set", "step", "found", "median minutes", "by"), found),
            f"`{CONFIG}`",
            report.machine(),
        )
    )
    report.write("detection_parts", "Detection, part by part", text)


if __name__ == "__main__":
    main()
