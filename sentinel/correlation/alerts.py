"""Anomaly -> alert: what kind of thing it is, which way it harms, and how much it weighs."""

import math
import re
from collections.abc import Mapping

from sentinel.clock import iso
from sentinel.correlation.topology import edge_of
from sentinel.detection.anomaly import Anomaly, Condition, SeriesHealth
from sentinel.detection.parts import SAYS, Part
from sentinel.incidents.nouns import Alert, Change, Direction, Severity
from sentinel.telemetry.events import Event
from sentinel.telemetry.kinds import AVAILABILITY, CPU, DISK, ERRORS, LATENCY, MEMORY, OTHER, TRAFFIC, kind_of

CRITICAL_SCORE = 20.0  # spreads; the detector opens at 6 by default, so this is far beyond a near miss
EVIDENCE_CAP = 5.0
SILENT = SAYS[Part.NO_DATA]  # the note of an alert on a series that no longer speaks

# (kind, which way its pressure went) -> severity, and severity from CRITICAL_SCORE. What is not here is
# information only: faster, calmer and emptier than usual harms nobody, and more traffic that does harm
# shows in latency or errors. Symptoms that users feel can be critical; saturation alone warns, and so does a
# processor or a door that is idle all of a sudden, for the work has gone somewhere else or nowhere.
SEVERITY: Mapping[tuple[str, Direction], tuple[Severity, Severity]] = {
    (ERRORS, Direction.UP): (Severity.WARNING, Severity.CRITICAL),
    (LATENCY, Direction.UP): (Severity.WARNING, Severity.CRITICAL),
    (AVAILABILITY, Direction.DOWN): (Severity.CRITICAL, Severity.CRITICAL),
    (TRAFFIC, Direction.DOWN): (Severity.WARNING, Severity.WARNING),
    (CPU, Direction.UP): (Severity.WARNING, Severity.WARNING),
    (CPU, Direction.DOWN): (Severity.WARNING, Severity.WARNING),
    (MEMORY, Direction.UP): (Severity.WARNING, Severity.WARNING),
    (DISK, Direction.UP): (Severity.WARNING, Severity.WARNING),
    (OTHER, Direction.UP): (Severity.WARNING, Severity.WARNING),
    (OTHER, Direction.DOWN): (Severity.WARNING, Severity.WARNING),
}

# Metrics that count the opposite of their kind: what is left instead of what is used, the sick instead of the well.
_LEFT_OVER = re.compile(r"free|avail|idle|remaining")
_OPPOSITE: Mapping[str, re.Pattern[str]] = {
    CPU: _LEFT_OVER,
    MEMORY: _LEFT_OVER,
    DISK: _LEFT_OVER,
    AVAILABILITY: re.compile(r"un_?healthy|un_?avail|not_?ready"),
}

# The evidence of an alert that people wrote and another system raised: it has no spreads, and its severity is what
# its authors said of it. Between them lie the scores at which a detector opens and calls an alert critical.
OUTSIDE_SCORE: Mapping[Severity, float] = {Severity.INFO: 3.0, Severity.WARNING: 10.0, Severity.CRITICAL: 30.0}

# What a caller measures of a call speaks of the one called.
_OF_THE_CALLEE = frozenset({LATENCY, ERRORS, AVAILABILITY})
_CLIENT_SIDE = re.compile(r"client|outbound|upstream")


def alert_of(anomaly: Anomaly) -> Alert:
    """The alert that `anomaly` is: one fingerprint over one span, with its kind and severity."""
    series = anomaly.series
    kind, direction = kind_of(series.metric), Direction(anomaly.direction)
    silent = anomaly.part == Part.NO_DATA.label
    severity = severity_of(kind, series.metric, direction, anomaly.score)
    if silent:
        # Whatever it measured, it is the one who measured that is missed. Silence proves no outage, so it only warns.
        kind, direction, severity = AVAILABILITY, Direction.DOWN, Severity.WARNING
    return Alert(
        fingerprint=series.fingerprint,
        service=series.service,
        metric=series.metric,
        kind=kind,
        direction=direction,
        severity=severity,
        score=anomaly.score,
        value=anomaly.value,
        expected_low=anomaly.expected_low,
        expected_high=anomaly.expected_high,
        labels=series.labels,
        started_at_ms=anomaly.started_at_ms,
        last_at_ms=anomaly.last_at_ms,
        ended_at_ms=anomaly.ended_at_ms,
        note=SILENT if silent else "",
    )


def alert_of_event(event: Event) -> Alert:
    """The alert that an outside event of the kind `alert` tells of.

    Its last sighting is the sender's own time, not that of arrival: an end that arrives late is still after it.
    """
    severity = Severity(event.severity)
    kind = kind_of(event.metric)
    kind = kind_of(event.title) if kind == OTHER else kind
    direction = Direction(event.direction)
    # People alert on what is available when it is not; elsewhere the operator, where one is known, says which way.
    if kind == AVAILABILITY and _pressure(kind, event.title, direction) is Direction.UP:
        direction = Direction.DOWN if direction is Direction.UP else Direction.UP
    return Alert(
        fingerprint=event.fingerprint,
        service=event.service,
        metric=event.title,
        kind=kind,
        direction=direction,
        severity=severity,
        score=OUTSIDE_SCORE[severity],
        value=None,
        expected_low=None,
        expected_high=None,
        labels=event.labels,
        started_at_ms=event.started_at_ms,
        last_at_ms=max(event.started_at_ms, event.ended_at_ms or 0),
        ended_at_ms=event.ended_at_ms,
        origin=event.source,
        note=event.description,
    )


def change_of(event: Event) -> Change:
    """The change that an outside event of the kind `change` tells of."""
    source = event.labels.get("ce_source", event.source)
    return Change(at_ms=event.started_at_ms, service=event.service, title=event.title, source=source)


def word_of(alert: Alert) -> SeriesHealth:
    """How an alert of another system is: as that system last said, for no detector knows.

    One that nobody ends stays anomalous, so a plan is never verified by silence.
    """
    return SeriesHealth(
        fingerprint=alert.fingerprint,
        condition=Condition.ANOMALOUS if alert.open else Condition.NORMAL,
        last_at_ms=alert.last_at_ms if alert.open else alert.ended_at_ms,
        last_score=alert.score if alert.open else 0.0,
    )


def severity_of(kind: str, metric: str, direction: Direction, score: float) -> Severity:
    """What the table `SEVERITY` says; `score` is in spreads."""
    ordinary, strong = SEVERITY.get((kind, _pressure(kind, metric, direction)), (Severity.INFO, Severity.INFO))
    return strong if score >= CRITICAL_SCORE else ordinary


def harmful(alert: Alert) -> bool:
    """Whether the alert alone is worth an incident; information only is kept as context of one."""
    return alert.severity is not Severity.INFO


def pressure(alert: Alert) -> Direction:
    """The direction in the sense of the kind: less free memory is memory going up."""
    return _pressure(alert.kind, alert.metric, alert.direction)


def _pressure(kind: str, metric: str, direction: Direction) -> Direction:
    opposite = _OPPOSITE.get(kind)
    if opposite is None or not opposite.search(metric.lower()):
        return direction
    return Direction.DOWN if direction is Direction.UP else Direction.UP


def evidence(alert: Alert) -> float:
    """log1p of the alert's strength, 0 to EVIDENCE_CAP.

    The strength is the score, or the geometric mean of score and change where the change is known: a series that has
    long been where it is, or is on its way back, speaks less. Uncapped, a series that never moves scores without
    limit at its first change and wins every comparison.
    """
    strength = max(alert.score, 0.0)
    if alert.change is not None:
        strength = math.sqrt(strength * max(alert.change, 0.0))
    return min(math.log1p(strength), EVIDENCE_CAP)


def subject(alert: Alert) -> str:
    """The service the alert speaks of: for latency, errors and availability of a call, the one called."""
    if alert.kind not in _OF_THE_CALLEE:
        return alert.service
    call = edge_of(alert.service, alert.labels)
    return call.callee if call else alert.service


def outgoing(alert: Alert) -> bool:
    """Whether the alert is of calls that its service makes, to whom is not said: no evidence against the service."""
    return (
        alert.kind in _OF_THE_CALLEE
        and bool(_CLIENT_SIDE.search(alert.metric.lower()))
        and edge_of(alert.service, alert.labels) is None
    )


def measure(alert: Alert) -> str:
    """What is measured, for people: the kind, or the metric's own name where the kind says nothing."""
    return alert.metric if alert.kind == OTHER else alert.kind


def state(alert: Alert) -> str:
    """`cpu high`, `traffic low`, `requests_total silent`; an alert of another system has its own name."""
    if alert.from_outside:
        return alert.metric
    if alert.note == SILENT:
        return f"{alert.metric} silent"
    return f"{measure(alert)} {'high' if pressure(alert) is Direction.UP else 'low'}"


def time_of_day(at_ms: int) -> str:
    """`12:03:05 UTC`."""
    return f"{iso(at_ms)[11:19]} UTC"
