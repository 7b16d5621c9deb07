"""Rankers to stand beside: BARO's scorer, N-sigma and PageRank, on the same curves, with the same credit for calls."""

from collections.abc import Callable, Mapping

import numpy as np

from benchmarks.fault_sets import Case, Floats
from sentinel.correlation.topology import edge_of

_DAMPING = 0.85
_ROUNDS = 100


def baro(case: Case) -> list[str]:
    """Services by BARO's RobustScorer (phamquiluan/baro): the largest |x - median| / IQR in the window."""
    low, middle, high = np.nanquantile(case.normal, (0.25, 0.5, 0.75), axis=0)
    return _best(case, np.nanmax(np.abs(case.window - middle), axis=0) / _unless_zero(high - low))


def n_sigma(case: Case) -> list[str]:
    """Services by the largest |x - mean| / standard deviation in the window."""
    mean, deviation = np.nanmean(case.normal, axis=0), np.nanstd(case.normal, axis=0)
    return _best(case, np.nanmax(np.abs(case.window - mean), axis=0) / _unless_zero(deviation))


def page_rank(case: Case) -> list[str]:
    """Services by a walk along the calls that prefers callees which deviate, started where deviation is."""
    mean, deviation = np.nanmean(case.normal, axis=0), np.nanstd(case.normal, axis=0)
    scores = _by_service(case, np.nanmax(np.abs(case.window - mean), axis=0) / _unless_zero(deviation))
    names = sorted({*scores, *case.calls, *(callee for callees in case.calls.values() for callee in callees)})
    index = {name: number for number, name in enumerate(names)}
    weight = np.log1p(np.array([scores.get(name, 0.0) for name in names]))
    start = weight / (weight.sum() or 1.0)
    moves = np.zeros((len(names), len(names)))
    for caller, callees in case.calls.items():
        for callee in callees:
            moves[index[caller], index[callee]] = weight[index[callee]] + 1e-3
    totals = moves.sum(axis=1, keepdims=True)
    moves = np.where(totals > 0, moves / np.where(totals > 0, totals, 1.0), start)
    rank = start
    for _ in range(_ROUNDS):
        rank = _DAMPING * rank @ moves + (1 - _DAMPING) * start
    return [names[number] for number in np.argsort(-rank, kind="stable") if names[number] in scores]


RIVALS: Mapping[str, Callable[[Case], list[str]]] = {
    "BARO's scorer": baro,
    "N-sigma": n_sigma,
    "PageRank": page_rank,
}


def _best(case: Case, scores: Floats) -> list[str]:
    by_service = _by_service(case, scores)
    return sorted(by_service, key=lambda service: (-by_service[service], service))


def _by_service(case: Case, scores: Floats) -> dict[str, float]:
    found: dict[str, float] = {}
    for series, score in zip(case.series, scores, strict=True):
        call = edge_of(series.service, series.labels)
        service = call.callee if call else series.service
        if np.isfinite(score):
            found[service] = max(found.get(service, 0.0), float(score))
    return found


def _unless_zero(spread: Floats) -> Floats:
    return np.where(spread > 0, spread, 1e-9)
