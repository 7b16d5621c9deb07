"""Does the detector find what people labelled, and how often does it cry wolf, beside other online detectors?

    python -m benchmarks.detection_quality [--data DIR] [--only nab|smd|asd] [--skip-peers]

DIR holds nab/ (numenta/NAB, MIT), smd/ (NetManAIOps/OmniAnomaly, MIT) and asd/ (zhhlee/InterFusion, MIT); what is
absent is left out. Every detector has one configuration for all files and sets, sees a sample only when it comes, and
is told no minimum, maximum or length.
Sentinel's constants were chosen on the parts of the sets that docs/detection.md
names: on those its rows are in-sample, the peers' are not. The measures are described where they are
computed, in benchmarks/scoring/.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import report
from benchmarks.scoring import ours
from benchmarks.scoring.events import (
    EventResult,
    average_precision,
    events,
    mean_over_machines,
    oracle,
    segments,
    training_threshold,
)
from benchmarks.scoring.machines import SETS, MachineFile, MachineSet, read_machines
from benchmarks.scoring.nab import PROFILES, Floats, NabFile, nab_scores, read_nab
from benchmarks.scoring.peers import Method, plain, river
from benchmarks.scoring.vus import vus_pr, window_of

DRAWS = 200
OURS = Method("**Sentinel**", ours.nab, ours.machine)
EXTENT = Method("**Sentinel**, what keeps an incident open", ours.nab, ours.extent)


def nab_table(files: Sequence[NabFile], methods: Sequence[Method]) -> str:
    """The three profiles of NAB, how sure the first is, and what it rests on."""
    rows = []
    for method in methods:
        began = time.perf_counter()
        scores = method.nab(files)
        seconds = time.perf_counter() - began
        results = nab_scores(files, scores)
        standard = results["standard"]
        rows.append(
            (
                method.name,
                *(f"{results[profile].score:.1f}" for profile in PROFILES),
                f"{_bootstrap(files, scores):.1f}",
                f"{standard.found} of {standard.windows}",
                f"{standard.fp}",
                f"{seconds / sum(map(len, files)) * 1e6:.1f}",
            )
        )
        print(rows[-1], flush=True)
    head = ("detector", "standard", "low FP", "low FN", "sd over files", "windows found", "rows outside", "µs a sample")
    return report.table(head, rows)


def _bootstrap(files: Sequence[NabFile], scores: Sequence[Floats]) -> float:
    """Standard deviation of the standard score over draws of the files with replacement."""
    generator = np.random.default_rng(7)
    drawn = []
    for _ in range(DRAWS):
        chosen = generator.integers(0, len(files), len(files))
        if any(files[each].windows for each in chosen):
            result = nab_scores([files[each] for each in chosen], [scores[each] for each in chosen])
            drawn.append(result["standard"].score)
    return float(np.std(drawn))


def machine_table(kind: MachineSet, machines: Sequence[MachineFile], methods: Sequence[Method]) -> str:
    """Coverage, and alarms at the best threshold and at the one that the training parts give."""
    rows = []
    for method in methods:
        began = time.perf_counter()
        scored = [method.machine(each.train, each.test, kind.step_ms) for each in machines]
        seconds = time.perf_counter() - began
        samples = sum(each.train.size + each.test.size for each in machines)
        cost = f"{seconds / samples * 1e6:.2f}"
        rows.append((method.name, *_judged(kind, machines, scored), cost))
        print(rows[-1], flush=True)
    head = (
        *("detector", "AUC-PR", "VUS-PR"),
        *("best F1", "P / R", "alarms a day"),
        *("F1 by training", "P / R", "alarms a day", "µs a metric's sample"),
    )
    return report.table(head, rows)


def _judged(kind: MachineSet, machines: Sequence[MachineFile], scored: Sequence[tuple[Floats, Floats]]) -> list[str]:
    train, test = [each[0] for each in scored], [each[1] for each in scored]
    labels = [each.label for each in machines]
    volumes = [
        vus_pr(score, each.label, window_of(np.concatenate((each.train[:, 0], each.test[:, 0]))))
        for each, score in zip(machines, test, strict=True)
        if each.label.any()
    ]
    best = oracle(test, labels, join=kind.join, per_day=kind.per_day)
    threshold = training_threshold(train, kind.alarms_per_day, join=kind.join, per_day=kind.per_day)
    trained = events(test, labels, threshold, join=kind.join, per_day=kind.per_day)
    return [
        f"{mean_over_machines(average_precision, test, labels):.3f}",
        f"{np.mean(volumes):.3f}",
        *_cells(best),
        *_cells(trained),
    ]


def _cells(result: EventResult) -> tuple[str, str, str]:
    return f"{result.f1:.3f}", f"{result.precision:.2f} / {result.recall:.2f}", f"{result.alarms_per_day:.2f}"


def sections(data: Path, only: str, methods: Sequence[Method]) -> list[str]:
    """One section a set that is there and asked for."""
    found = []
    if only in ("", "nab") and (data / "nab").is_dir():
        files = read_nab(data / "nab")
        windows = sum(len(each.windows) for each in files)
        title = f"## Numenta Anomaly Benchmark: {len(files)} files, {windows} windows"
        about = (
            "NAB's score as published, 0 for silence and 100 for the first row of every window and no other; the\n"
            "threshold is chosen with the labels, once a detector and profile for all files, as NAB does. `sd over\n"
            f"files` is the standard score's over {DRAWS} draws of the files with replacement."
        )
        found.append(f"{title}\n\n{about}\n\n{nab_table(files, methods)}")
    for name, kind in SETS.items():
        if only not in ("", name) or not (data / name).is_dir():
            continue
        machines = read_machines(data / name)
        days = sum(len(each.label) for each in machines) / kind.per_day
        labelled = sum(len(segments(each.label)[0]) for each in machines)
        title = f"## {name.upper()}: {len(machines)} machines, {labelled} labelled segments, {days:.0f} machine-days"
        about = (
            "Areas are means over machines. Precision and recall count alarms and labelled segments, without point\n"
            "adjustment; one threshold for all machines. `best`: chosen with the labels. `by training`: the lowest\n"
            f"that keeps to {kind.alarms_per_day:g} alarms a machine and day on the second halves of the training\n"
            "parts. 0 alarms: there is no such threshold, as where a score often stands at its highest value."
        )
        found.append(f"{title}\n\n{about}\n\n{machine_table(kind, machines, [*methods, EXTENT])}")
    return found


def main() -> None:
    here = Path(__file__).parent.parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=here.parent / "shared" / "data", help="folder of the sets")
    parser.add_argument("--only", choices=("nab", *SETS), default="", help="one set")
    parser.add_argument("--skip-peers", action="store_true", help="only Sentinel")
    options = parser.parse_args()
    methods, notes = [OURS], []
    if not options.skip_peers:
        methods += plain()
        try:
            methods += river()
        except ImportError:
            notes.append("river is not installed (`pip install -e .[bench]`), so its detectors are left out.")
    found = sections(options.data, options.only, methods)
    if not found:
        raise SystemExit(f"no data: {options.data} has none of nab/, {'/, '.join(SETS)}/ that were asked for")
    part = "_" + (options.only or "sentinel") if options.only or options.skip_peers else ""
    text = "\n\n".join((__doc__ or "", *found, *notes, f"Sentinel: `{ours.CONFIG}`", report.machine()))
    report.write(f"detection_quality{part}", "Detection, quality", text)


if __name__ == "__main__":
    main()
