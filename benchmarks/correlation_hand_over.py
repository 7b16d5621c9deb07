"""The detector's part in the benchmark of correlation: curves in, alerts out."""

from collections.abc import Sequence

import numpy as np

from benchmarks.fault_sets import Case
from sentinel.correlation import evidence, suspects
from sentinel.correlation.alerts import severity_of
from sentinel.correlation.topology import Topology, edge_of, topology_of
from sentinel.incidents.nouns import Alert, Direction

WHISPER = 0.25  # spreads: everything that speaks at all; what the ranking could use if it were told all
OPENS = 6.0  # spreads: `detection.open_score`, what the detector tells
BAND = 3.0


def handed_over(case: Case, least: float) -> list[Alert]:
    """The alerts that a detector with this threshold would hand over at once."""
    seen = evidence.read(case.normal, case.before, case.window, case.kinds)
    told = []
    for number, (series, kind) in enumerate(zip(case.series, case.kinds, strict=True)):
        level, change = seen.level[number], seen.change[number]
        if not np.isfinite(level) or abs(level) < WHISPER:
            continue
        if not np.isfinite(change):
            # Nothing was measured before: a series that appears is itself the change.
            change = level
        direction = Direction.UP if level > 0 else Direction.DOWN
        band = BAND * seen.spread[number]
        alert = Alert(
            fingerprint=series.fingerprint,
            service=series.service,
            metric=series.metric,
            kind=kind,
            direction=direction,
            severity=severity_of(kind, series.metric, direction, float(abs(level))),
            score=float(abs(level)),
            value=float(seen.value[number]),
            expected_low=float(seen.usual[number] - band),
            expected_high=float(seen.usual[number] + band),
            labels=series.labels,
            started_at_ms=case.at_ms,
            last_at_ms=case.at_ms,
            change=float(max(change * np.sign(level), 0.0)),
        )
        if suspects.evidence(alert) >= np.log1p(least):
            told.append(alert)
    return told


def topology(case: Case) -> Topology:
    """The calls of the case: its graph, and what the labels of its own series tell."""
    return topology_of(case.calls, [edge for each in case.series if (edge := edge_of(each.service, each.labels))])


def groups(those: Sequence) -> list[tuple[str, list]]:
    names = dict.fromkeys(each.group for each in those)
    return [(name, [each for each in those if each.group == name]) for name in names]
