"""Alerts and incidents of a small shop, with what a test does not care about filled in."""

from collections.abc import Mapping

from sentinel.correlation.topology import topology_of
from sentinel.ids import IncidentId, fingerprint
from sentinel.incidents.nouns import Alert, Direction, Incident, IncidentState, PlanRecord, Severity

T0 = 1_700_000_000_000  # 22:13:20 UTC
METRICS = {"latency": "request_latency_ms", "cpu": "cpu_usage", "errors": "errors", "traffic": "rps", "memory": "mem"}

# web -> checkout -> payments -> db; web -> search
SHOP = topology_of({"web": ("checkout", "search"), "checkout": ("payments",), "payments": ("db",)})
NO_TOPOLOGY = topology_of({})


def alert(
    service: str,
    kind: str = "latency",
    direction: str = "up",
    *,
    score: float = 30.0,
    severity: Severity = Severity.WARNING,
    started_s: float = 0,
    last_s: float | None = None,
    ended: bool = False,
    labels: Mapping[str, str] | None = None,
) -> Alert:
    """An alert that started `started_s` after T0 and was last seen at `last_s`, closed then if `ended`."""
    metric = METRICS.get(kind, kind)
    labels = {"service": service, **(labels or {})}
    last_ms = T0 + round((started_s if last_s is None else last_s) * 1000)
    return Alert(
        fingerprint=fingerprint({**labels, "__name__": metric}),
        service=service,
        metric=metric,
        kind=kind,
        direction=Direction(direction),
        severity=severity,
        score=score,
        value=1.0,
        expected_low=0.0,
        expected_high=0.5,
        labels=labels,
        started_at_ms=T0 + round(started_s * 1000),
        last_at_ms=last_ms,
        ended_at_ms=last_ms if ended else None,
    )


def incident(
    name: str,
    *alerts: Alert,
    state: IncidentState = IncidentState.OPEN,
    resolved_s: float | None = None,
    plans: tuple[PlanRecord, ...] = (),
) -> Incident:
    """An incident of these alerts, opened at T0."""
    return Incident(
        id=IncidentId(name),
        state=state,
        seq=1,
        title=name,
        severity=Severity.WARNING,
        services=tuple(dict.fromkeys(each.service for each in alerts)),
        alerts=alerts,
        suspects=(),
        similar=(),
        reason="",
        memory_note="",
        previous_id=None,
        opened_at_ms=T0,
        updated_at_ms=T0,
        resolved_at_ms=None if resolved_s is None else T0 + round(resolved_s * 1000),
        plans=plans,
    )


CPU_FAULT = (alert("payments", "cpu", score=40), alert("checkout", score=20), alert("web", score=10))
