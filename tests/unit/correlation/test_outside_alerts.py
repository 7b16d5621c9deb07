"""Alerts that other systems raised, and changes that people made, in correlation."""

from dataclasses import replace

import pytest

from sentinel.correlation.alerts import alert_of_event, change_of, harmful, pressure, state, word_of
from sentinel.correlation.grouping import bursts
from sentinel.correlation.recall import title_of
from sentinel.correlation.signature import token_of
from sentinel.correlation.suspects import change_window, rank
from sentinel.detection.anomaly import Condition
from sentinel.ids import Fingerprint
from sentinel.incidents.nouns import Alert, Change, Direction, Severity, merge
from sentinel.telemetry.events import Event
from tests.unit.correlation.make import NO_TOPOLOGY, T0, alert

EVENT = Event(
    source="alertmanager",
    event_id="1/firing/2",
    kind="alert",
    service="payments",
    title="HighErrorRate",
    labels={"alertname": "HighErrorRate", "service": "payments"},
    severity="critical",
    status="firing",
    started_at_ms=T0,
    ended_at_ms=None,
    description="one in ten fails",
    url="",
    fingerprint=Fingerprint("0123456789abcdef"),
    metric="HighErrorRate",
)


def outside(title: str = "HighErrorRate", metric: str = "", direction: str = "up", severity: str = "warning") -> Alert:
    changed = {"title": title, "metric": metric or title, "direction": direction, "severity": severity}
    return alert_of_event(replace(EVENT, **changed))  # type: ignore[arg-type]


def test_an_event_is_an_alert_without_values() -> None:
    found = alert_of_event(EVENT)
    assert (found.origin, found.from_outside, found.open) == ("alertmanager", True, True)
    assert (found.value, found.expected_low, found.expected_high) == (None, None, None)
    assert (found.kind, found.severity, found.metric) == ("errors", Severity.CRITICAL, "HighErrorRate")
    assert (found.started_at_ms, found.last_at_ms, found.note) == (T0, T0, "one in ten fails")


def test_a_resolved_event_has_an_end() -> None:
    found = alert_of_event(replace(EVENT, status="resolved", ended_at_ms=T0 + 5))
    assert (found.open, found.ended_at_ms, found.last_at_ms) == (False, T0 + 5, T0 + 5)
    assert not merge(alert_of_event(EVENT), found).open


def test_severity_is_evidence() -> None:
    info, warning, critical = (outside(severity=each) for each in ("info", "warning", "critical"))
    assert info.score < warning.score < critical.score
    assert not harmful(info)
    assert harmful(warning)


@pytest.mark.parametrize(
    ("title", "metric", "direction"),
    [
        ("PodNotReady", "", "up"),
        ("hosts", "UnHealthyHostCount", "up"),
        ("hosts", "HealthyHostCount", "down"),
        ("TargetUnavailable", "", "up"),
        ("AvailabilityBudget", "", "up"),
    ],
)
def test_what_is_alerted_of_availability_is_its_lack(title: str, metric: str, direction: str) -> None:
    found = outside(title, metric, direction)
    assert found.kind == "availability"
    assert pressure(found) is Direction.DOWN


def test_the_kind_comes_from_the_metric_before_the_name() -> None:
    assert outside("payments-alarm-1", "CPUUtilization").kind == "cpu"
    assert outside("payments-latency", "Custom").kind == "latency"
    assert outside("Strange").kind == "other"


def test_people_read_its_own_name() -> None:
    found = outside("CertificateExpires")
    assert state(found) == "CertificateExpires"
    (suspect,) = rank([found], NO_TOPOLOGY)
    assert suspect.reasons[0].startswith("CertificateExpires of payments fires in alertmanager since 22:13:20")
    assert title_of([found], [suspect]) == "payments: CertificateExpires"


def test_two_of_no_kind_are_not_alike_for_that() -> None:
    assert token_of(outside("CertificateExpires")) != token_of(outside("DiskWillFill"))
    assert token_of(outside("PaymentsLatency")) == token_of(alert("payments", "latency"))


def test_its_system_has_the_last_word() -> None:
    found = outside()
    assert word_of(found).condition is Condition.ANOMALOUS
    assert word_of(replace(found, ended_at_ms=T0 + 7)).condition is Condition.NORMAL
    assert word_of(replace(found, ended_at_ms=T0 + 7)).last_at_ms == T0 + 7


def test_a_change_shortly_before_is_a_reason() -> None:
    change = Change(at_ms=T0 - 180_000, service="payments", title="deployed v42", source="ci")
    alerts = [alert("payments", "errors", score=20), alert("checkout", "errors", score=21)]
    assert [suspect.service for suspect in rank(alerts, NO_TOPOLOGY)] == ["checkout", "payments"]
    first, _ = rank(alerts, NO_TOPOLOGY, [change])
    assert first.service == "payments"
    assert first.reasons[0] == "deployed v42, 3 min before (ci)"


def test_a_change_does_not_beat_clear_evidence() -> None:
    change = Change(at_ms=T0 - 1000, service="payments", title="deployed v42", source="ci")
    alerts = [alert("payments", "errors", score=7), alert("checkout", "errors", score=60)]
    first, second = rank(alerts, NO_TOPOLOGY, [change])
    assert first.service == "checkout"
    assert second.reasons[0] == "deployed v42, less than a minute before (ci)"


def test_the_window_of_changes_is_half_an_hour_before_the_first_alert() -> None:
    call = alert("web", "latency", started_s=9, labels={"peer.service": "search"})
    services, from_ms, to_ms = change_window([alert("checkout", started_s=5), call])
    assert services == ("checkout", "search", "web")
    assert (to_ms, to_ms - from_ms) == (T0 + 5000, 1_800_000)


def test_a_change_says_who_told_of_it() -> None:
    event = replace(EVENT, kind="change", source="cloudevents", labels={"ce_source": "argo"}, title="deploy")
    assert change_of(event) == Change(at_ms=T0, service="payments", title="deploy", source="argo")
    assert change_of(replace(event, labels={})).source == "cloudevents"


def test_bursts_are_parted_by_silence() -> None:
    first, second, late = alert("a", started_s=0, last_s=10), alert("b", started_s=300), alert("c", started_s=700)
    assert bursts([late, second, first], 300) == [[first, second], [late]]
