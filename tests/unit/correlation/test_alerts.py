import pytest

from sentinel.correlation.alerts import SILENT, alert_of, evidence, harmful, severity_of, state, subject
from sentinel.detection.anomaly import Anomaly
from sentinel.incidents.nouns import Direction, Severity
from sentinel.telemetry.kinds import KINDS
from sentinel.telemetry.series import identify
from tests.unit.correlation.make import T0, alert

UP, DOWN = Direction.UP, Direction.DOWN


def test_an_alert_says_what_its_anomaly_says():
    series = identify("checkout_latency_ms", {"service": "checkout", "pod": "a"})
    anomaly = Anomaly(
        series=series,
        direction="up",
        score=25.5,
        value=900.0,
        expected_low=10.0,
        expected_high=200.0,
        started_at_ms=T0,
        last_at_ms=T0 + 5_000,
        ended_at_ms=T0 + 9_000,
    )
    found = alert_of(anomaly)
    assert (found.fingerprint, found.service, found.metric) == (series.fingerprint, "checkout", "checkout_latency_ms")
    assert (found.kind, found.direction, found.severity) == ("latency", UP, Severity.CRITICAL)
    assert (found.score, found.value, found.expected_low, found.expected_high) == (25.5, 900.0, 10.0, 200.0)
    assert (found.started_at_ms, found.last_at_ms, found.ended_at_ms) == (T0, T0 + 5_000, T0 + 9_000)
    assert found.labels == {"service": "checkout", "pod": "a"}


@pytest.mark.parametrize(
    ("rule", "kind", "metric", "direction", "score", "expected"),
    [
        ("rising errors warn", "errors", "errors", UP, 10, Severity.WARNING),
        ("many errors are critical", "errors", "errors", UP, 20, Severity.CRITICAL),
        ("rising latency warns", "latency", "latency_ms", UP, 19.9, Severity.WARNING),
        ("much latency is critical", "latency", "latency_ms", UP, 200, Severity.CRITICAL),
        ("faster is good news", "latency", "latency_ms", DOWN, 200, Severity.INFO),
        ("fewer errors are good news", "errors", "errors", DOWN, 200, Severity.INFO),
        ("saturation warns, but users feel it elsewhere", "cpu", "cpu_usage", UP, 500, Severity.WARNING),
        ("a cpu that is idle all of a sudden warns", "cpu", "cpu_usage", DOWN, 500, Severity.WARNING),
        ("an idle cpu that is no longer idle is a busy one", "cpu", "cpu_idle", DOWN, 10, Severity.WARNING),
        ("memory that frees up is good news", "memory", "mem_free", UP, 10, Severity.INFO),
        ("a disk running out warns", "disk", "filesystem_avail_bytes", DOWN, 10, Severity.WARNING),
        ("lost traffic warns", "traffic", "rps", DOWN, 10, Severity.WARNING),
        ("more traffic alone harms nobody", "traffic", "rps", UP, 100, Severity.INFO),
        ("being away is critical at any score", "availability", "up", DOWN, 8, Severity.CRITICAL),
        ("being back is not", "availability", "up", UP, 80, Severity.INFO),
        ("sick hosts are missing ones", "availability", "UnHealthyHostCount", UP, 8, Severity.CRITICAL),
        ("the unknown warns whichever way it goes", "other", "queue_depth", DOWN, 8, Severity.WARNING),
    ],
)
def test_severity(rule: str, kind: str, metric: str, direction: Direction, score: float, expected: Severity):
    assert severity_of(kind, metric, direction, score) is expected, rule


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_harms_in_at_least_one_direction(kind: str):
    assert any(severity_of(kind, "", direction, 50) is not Severity.INFO for direction in Direction)


def test_information_alone_is_not_harmful():
    assert not harmful(alert("payments", severity=Severity.INFO))
    assert harmful(alert("payments", severity=Severity.WARNING))


def test_evidence_grows_slowly_and_not_for_ever():
    weak, strong, absurd = (evidence(alert("payments", score=score)) for score in (8, 100, 1e12))
    assert 0 < weak < strong < absurd == 5.0
    assert evidence(alert("payments", score=float("inf"))) == 5.0


def test_a_slow_call_speaks_of_the_one_called():
    assert subject(alert("checkout", "latency", labels={"peer.service": "payments"})) == "payments"
    assert subject(alert("checkout", "cpu", labels={"peer.service": "payments"})) == "checkout"
    assert subject(alert("checkout", "latency")) == "checkout"


def test_states_are_told_in_words():
    assert state(alert("payments", "cpu")) == "cpu high"
    assert state(alert("payments", "traffic", "down")) == "traffic low"
    assert state(alert("payments", "other")) == "other high"


@pytest.mark.parametrize("metric", ["latency_seconds", "requests_total", "queue_depth"])
def test_silence_warns_whatever_was_measured(metric: str):
    silent = Anomaly(
        series=identify(metric, {"service": "checkout"}),
        direction="down",
        score=50.0,
        value=1.0,
        expected_low=1.0,
        expected_high=1.0,
        started_at_ms=T0,
        last_at_ms=T0,
        ended_at_ms=None,
        part="no_data",
    )
    found = alert_of(silent)
    assert (found.kind, found.severity, found.note) == ("availability", Severity.WARNING, SILENT)
    assert harmful(found)
    assert state(found) == f"{metric} silent"
