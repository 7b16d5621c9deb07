"""The score of the Numenta Anomaly Benchmark, as published.

Sources: Lavin & Ahmad, "Evaluating Real-time Anomaly Detection Algorithms - the Numenta Anomaly Benchmark" (ICMLA
2015), and where the paper leaves room, what numenta/NAB's sweeper does: rows before min(15 % of the file, 750) do not
count; a window earns the scaled sigmoid of its earliest detected row, 1 at its first row; every detected row outside
costs, the less the closer it follows a window; a missed window costs `fn`. One threshold for the whole corpus is
chosen per detector and profile, with the labels, for the best sum. 0 is a detector that says nothing, 100 one that
says exactly the first row of each window.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from sentinel.errors import Invalid
from sentinel.telemetry.csv_history import parse_csv

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PROBATION_SHARE = 0.15
PROBATION_ROWS = 750
_FAR = 3.0  # window lengths behind a window from which a false alarm costs the whole


@dataclass(frozen=True, slots=True)
class Weights:
    """What a found window earns, a false alarm and a missed window cost."""

    tp: float
    fp: float
    fn: float


PROFILES: Mapping[str, Weights] = MappingProxyType(
    {
        "standard": Weights(tp=1.0, fp=0.11, fn=1.0),
        "reward_low_FP_rate": Weights(tp=1.0, fp=0.22, fn=1.0),
        "reward_low_FN_rate": Weights(tp=1.0, fp=0.11, fn=2.0),
    }
)


@dataclass(frozen=True, slots=True)
class NabFile:
    """One file of the corpus. timestamps_ms: int64[n]; values: float64[n]; windows: (first, last) row times in ms."""

    name: str
    timestamps_ms: Ints
    values: Floats
    windows: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True)
class NabResult:
    """One profile: the normalised score, the threshold it was reached at (rows at or above it are detections), and
    NAB's counts of rows: tp detected in windows, fp detected outside, fn undetected in windows. found: of `windows`.
    """

    score: float
    threshold: float
    tp: int
    fp: int
    fn: int
    found: int
    windows: int


def read_nab(folder: Path) -> list[NabFile]:
    """Every `data/<category>/*.csv` that is there, with its windows from `labels/combined_windows.json`."""
    windows = json.loads((folder / "labels" / "combined_windows.json").read_text(encoding="utf-8"))
    found = []
    for path in sorted(folder.glob("data/*/*.csv")):
        name = path.relative_to(folder / "data").as_posix()
        if name not in windows:
            raise Invalid("combined_windows.json", name, "windows, be it none, for every file")
        history = parse_csv(path.read_text(encoding="utf-8"), name)
        edges = parse_csv("\n".join(f"{edge},0" for pair in windows[name] for edge in pair), name)
        times = edges.timestamps_ms.tolist()
        pairs = tuple(zip(times[::2], times[1::2], strict=True))
        found.append(NabFile(name, history.timestamps_ms, history.values, pairs))
    return found


def probation(rows: int) -> int:
    """How many rows at the head of a file of `rows` do not count."""
    return min(int(PROBATION_SHARE * rows), PROBATION_ROWS)


def scaled_sigmoid(position: Floats) -> Floats:
    """2 / (1 + exp(5 x)) - 1, and -1 from three window lengths behind; x = -1 is a window's left edge."""
    return np.where(position >= _FAR, -1.0, 2.0 / (1.0 + np.exp(5.0 * np.minimum(position, _FAR))) - 1.0)


_MAX_TP = float(scaled_sigmoid(np.array([-1.0]))[0])


def nab_scores(
    files: Sequence[NabFile], scores: Sequence[Floats], threshold: float | None = None
) -> dict[str, NabResult]:
    """The result for each profile of `scores`, float64[n] a file, the higher the more unusual.

    With `threshold` none is optimised: what a detector with a fixed threshold comes to. Raises Invalid if a score is
    missing or NaN, or if no file has a window.
    """
    sweep = _sweep(files, scores)
    results = {}
    for profile, weights in PROFILES.items():
        raw = weights.tp * sweep.earned + weights.fp * sweep.lost - weights.fn * (sweep.windows - sweep.found)
        # The highest of equal thresholds; thresholds fall from infinity, at which nothing is detected.
        at = int(np.argmax(raw))
        if threshold is not None:
            at = int(np.searchsorted(-sweep.thresholds, -threshold, "right")) - 1
        nothing = -weights.fn * sweep.windows
        results[profile] = NabResult(
            score=float(100.0 * (raw[at] - nothing) / (weights.tp * sweep.windows - nothing)),
            threshold=float(sweep.thresholds[at]),
            tp=int(sweep.inside[at]),
            fp=int(sweep.outside[at]),
            fn=int(sweep.inside[-1] - sweep.inside[at]),
            found=int(sweep.found[at]),
            windows=sweep.windows,
        )
    return results


@dataclass(frozen=True, slots=True)
class _Sweep:
    """By threshold, falling: what is earned in windows and lost outside (unweighted), rows and windows detected."""

    thresholds: Floats
    earned: Floats
    lost: Floats
    inside: Ints
    outside: Ints
    found: Ints
    windows: int


def _sweep(files: Sequence[NabFile], scores: Sequence[Floats]) -> _Sweep:
    if len(files) != len(scores):
        raise Invalid("scores", len(scores), f"one array a file, {len(files)}")
    gains, owners, kept = [], [], []
    windows = 0
    for file, score in zip(files, scores, strict=True):
        if score.shape != file.values.shape or np.isnan(score).any():
            raise Invalid(f"score of {file.name}", score.shape, f"{len(file)} numbers without NaN")
        gain, owner = _rows(file)
        first = probation(len(file))
        gain, owner = gain[first:], owner[first:]
        counted, owner_of_file = np.unique(owner[owner >= 0], return_inverse=True)
        owner = owner.copy()
        owner[owner >= 0] = owner_of_file + windows  # a window that lies wholly in the probation does not count
        windows += len(counted)
        gains.append(gain)
        owners.append(owner)
        kept.append(score[first:])
    if not windows:
        raise Invalid("windows", 0, "a corpus with at least one labelled window")
    score, gain, owner = np.concatenate(kept), np.concatenate(gains), np.concatenate(owners)
    order = np.argsort(-score, kind="stable")
    score, gain, owner = score[order], gain[order], owner[order]
    inside = owner >= 0
    rise, is_first = _rises(gain[inside], owner[inside])
    earned, found = np.zeros(len(score)), np.zeros(len(score), np.bool_)
    earned[inside], found[inside] = rise, is_first
    last = np.flatnonzero(np.append(score[1:] != score[:-1], True))  # rows of one score are detected together

    def total(each: Floats) -> Floats:
        return np.concatenate(([0.0], np.cumsum(each)[last]))

    def count(each: NDArray[np.bool_]) -> Ints:
        return np.concatenate((np.zeros(1, np.int64), np.cumsum(each, dtype=np.int64)[last]))

    return _Sweep(
        thresholds=np.concatenate(([np.inf], score[last])),
        earned=total(earned),
        lost=total(np.where(inside, 0.0, gain)),
        inside=count(inside),
        outside=count(~inside),
        found=count(found),
        windows=windows,
    )


def _rows(file: NabFile) -> tuple[Floats, Ints]:
    """What detecting each row is worth, and the window it lies in, -1 for none."""
    gain, owner = np.full(len(file), -1.0), np.full(len(file), -1, np.int64)
    index = np.arange(len(file))
    for number, (left_ms, right_ms) in enumerate(sorted(file.windows)):
        left, right = (_row(file, edge) for edge in (left_ms, right_ms))
        width = right - left + 1
        inside, after = slice(left, right + 1), slice(right + 1, None)
        gain[inside] = scaled_sigmoid((index[inside] - right - 1) / width) / _MAX_TP
        owner[inside] = number
        gain[after] = scaled_sigmoid((index[after] - right) / max(width - 1, 1))
    return gain, owner


def _row(file: NabFile, at_ms: int) -> int:
    rows = np.flatnonzero(file.timestamps_ms == at_ms)
    if not len(rows):
        raise Invalid(f"window of {file.name}", at_ms, "edges that are times of rows")
    return int(rows[0])


def _rises(gain: Floats, owner: Ints) -> tuple[Floats, NDArray[np.bool_]]:
    """How much each row, in order of detection, raises the best gain of its window so far; whether it is the first."""
    order = np.argsort(owner, kind="stable")
    by_window, gain = owner[order], gain[order]
    is_first = np.append(True, by_window[1:] != by_window[:-1])
    offset = 2.0 * by_window  # gains are within 0 and 1, so the best of one window never reaches the next
    best = np.maximum.accumulate(gain + offset) - offset
    rise = np.where(is_first, gain, best - np.concatenate(([0.0], best[:-1])))
    back_rise, back_first = np.empty_like(rise), np.empty_like(is_first)
    back_rise[order], back_first[order] = rise, is_first
    return back_rise, back_first
