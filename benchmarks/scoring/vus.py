"""VUS-PR: the volume under the precision-recall surface of labels with buffers of every width up to a window.

Source: Paparrizos et al., "Volume Under the Surface" (VLDB 2022), in the form of TSB-AD's RangeAUC_volume_opt (Liu &
Paparrizos 2024), whose 250 thresholds, buffers of sqrt(1 - distance / width) for half a width on either side, existence
factor and mean of label masses it keeps. The window is TSB-AD's rule too: the lag of the highest local maximum of the
autocorrelation of the machine's first metric, 125 where it is under 6 or over 303 (its find_length_rank).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.signal import argrelextrema

from benchmarks.scoring.events import segments

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Spans = list[tuple[int, int]]

_THRESHOLDS = 250
_DEFAULT_WINDOW = 125
_BASE, _LAGS, _ROWS = 3, 400, 20_000


def window_of(values: Floats) -> int:
    """The widest buffer for a machine whose first metric, training part first, is `values`."""
    centred = values[:_ROWS] - values[:_ROWS].mean()
    if not centred.any():
        return _DEFAULT_WINDOW
    size = 1 << (2 * len(centred) - 1).bit_length()
    power = np.abs(np.fft.rfft(centred, size)) ** 2
    correlation = np.fft.irfft(power, size)[_BASE : _LAGS + 1]
    peaks = argrelextrema(correlation, np.greater)[0]
    if not len(peaks):
        return _DEFAULT_WINDOW
    best = int(peaks[np.argmax(correlation[peaks])])
    return best + _BASE if 3 <= best <= 300 else _DEFAULT_WINDOW


def vus_pr(score: Floats, label: Bools, window: int) -> float:
    """Mean over buffer widths 0..window of the area under precision and recall with existence. Labels must occur."""
    first, last = segments(label)
    spans = list(zip(first.tolist(), last.tolist(), strict=True))
    at = np.linspace(0, len(score) - 1, _THRESHOLDS).astype(np.int64)
    thresholds = np.sort(score)[::-1][at]
    # The first threshold at which a sample is detected; detected stays detected, so that masses are running sums.
    rank = np.searchsorted(-thresholds, -score, "left")
    detected = np.cumsum(np.bincount(rank, minlength=_THRESHOLDS)[:_THRESHOLDS])
    areas = [_area(rank, detected, label, spans, width) for width in range(window + 1)]
    return float(np.mean(areas))


def _area(rank: Ints, detected: Ints, label: Bools, spans: Spans, width: int) -> float:
    buffered = _buffered(label, spans, width)
    near = np.flatnonzero(buffered)
    found = np.cumsum(np.bincount(rank[near], buffered[near], _THRESHOLDS)[:_THRESHOLDS])
    inside = np.flatnonzero(label)
    found_inside = np.cumsum(np.bincount(rank[inside], minlength=_THRESHOLDS)[:_THRESHOLDS])
    merged = _merged(len(label), spans, width)
    earliest = np.array([rank[start : end + 1].min() for start, end in merged])
    exist = np.cumsum(np.bincount(earliest, minlength=_THRESHOLDS)[:_THRESHOLDS]) / len(merged)
    positives = len(inside)
    # A buffer's mass counts as positive only where it is detected; the mean with the bare labels keeps it moderate.
    mass = (positives + (positives + found - found_inside)) / 2
    recall = np.minimum(found / mass, 1.0) * exist
    return float(np.dot(np.diff(recall, prepend=0.0), found / detected))


def _buffered(label: Bools, spans: Spans, width: int) -> Floats:
    """Labels as 1, falling to sqrt(1/2) over half a width on either side of each span, at most 1."""
    out = label.astype(np.float64)
    half, n = width // 2, len(label)
    if half:
        slope = np.sqrt(1.0 - np.arange(1, half + 1) / width)
        for start, end in spans:
            right = min(end + half, n - 1) - end
            out[end + 1 : end + 1 + right] += slope[:right]
            left = start - max(start - half, 0)
            out[start - left : start] += slope[:left][::-1]
    return np.minimum(out, 1.0)


def _merged(n: int, spans: Spans, width: int) -> Spans:
    """Spans with their buffers, one where they meet."""
    half = width // 2
    out: Spans = []
    for start, end in spans:
        left, right = max(start - half, 0), min(end + half, n - 1)
        if out and left <= out[-1][1]:
            out[-1] = (out[-1][0], right)
        else:
            out.append((left, right))
    return out
