"""Alertmanager's webhook and its client API, as Prometheus speaks it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.errors import Invalid
from sentinel.telemetry.alertmanager import decode_api, decode_webhook
from sentinel.telemetry.events import MAX_EVENTS, DecodedEvents, Event

NOW = 1_700_000_000_000  # 2023-11-14T22:13:20Z
STARTED = "2023-11-14T22:10:00.123456789Z"
STARTED_MS = 1_699_999_800_123
ZERO = "0001-01-01T00:00:00Z"
LABELS = {"alertname": "HighErrorRate", "service": "payments", "severity": "critical"}


def alert(**changes: Any) -> dict[str, Any]:
    """An alert as Alertmanager 0.28 sends it."""
    return {
        "status": "firing",
        "labels": LABELS,
        "annotations": {"summary": "Payments fails one request in ten"},
        "startsAt": STARTED,
        "endsAt": ZERO,
        "generatorURL": "http://prometheus:9090/graph?g0.expr=up",
        "fingerprint": "b9f2d83c77b3d6f2",
        **changes,
    }


def webhook(*alerts: Any, **changes: Any) -> bytes:
    return json.dumps(
        {
            "version": "4",
            "groupKey": '{}:{alertname="HighErrorRate"}',
            "truncatedAlerts": 0,
            "status": "firing",
            "receiver": "sentinel",
            "groupLabels": {"alertname": "HighErrorRate"},
            "commonLabels": {},
            "commonAnnotations": {},
            "externalURL": "http://alertmanager:9093",
            "notification_reason": "a field of a later version",
            "alerts": alerts,
            **changes,
        }
    ).encode()


def decoded(*alerts: Any) -> DecodedEvents:
    return decode_webhook(webhook(*alerts), ("service", "job"), NOW)


def one(**changes: Any) -> Event:
    (event,) = decoded(alert(**changes)).events
    return event


def posted(**changes: Any) -> Event:
    """One alert as Prometheus posts it to the client API, which has neither status nor fingerprint."""
    given = {name: value for name, value in alert(**changes).items() if name not in ("status", "fingerprint")}
    (event,) = decode_api(json.dumps([given]).encode(), ("service",), NOW).events
    return event


def test_a_firing_alert_is_an_event() -> None:
    event = one()
    assert (event.source, event.kind, event.status) == ("alertmanager", "alert", "firing")
    assert (event.service, event.title, event.severity) == ("payments", "HighErrorRate", "critical")
    assert (event.started_at_ms, event.ended_at_ms) == (STARTED_MS, None)
    assert event.description == "Payments fails one request in ten"
    assert event.labels == LABELS


def test_a_resolved_alert_has_its_end() -> None:
    event = one(status="resolved", endsAt="2023-11-14T22:12:00Z")
    assert (event.status, event.ended_at_ms) == ("resolved", NOW - 80_000)
    assert event.fingerprint == one().fingerprint
    assert event.event_id != one().event_id


def test_an_end_before_the_beginning_is_the_beginning() -> None:
    assert one(status="resolved", endsAt="2023-11-14T22:00:00Z").ended_at_ms == STARTED_MS


def test_a_resolved_alert_without_an_end_ends_now() -> None:
    assert one(status="resolved").ended_at_ms == NOW


def test_the_identity_is_that_of_labels_status_and_start() -> None:
    same = one(annotations={}, generatorURL="", endsAt="2023-11-14T23:00:00Z", fingerprint="0000000000000000")
    assert same.event_id == one().event_id
    others = [
        one(startsAt="2023-11-14T22:10:01Z"),
        one(labels={**LABELS, "instance": "a"}),
        one(status="resolved", endsAt="2023-11-14T22:12:00Z"),
    ]
    assert len({one().event_id, *(other.event_id for other in others)}) == 4


def test_a_resolution_repeated_with_a_later_end_is_the_same() -> None:
    first = one(status="resolved", endsAt="2023-11-14T22:11:00Z")
    assert first.event_id == one(status="resolved", endsAt="2023-11-14T22:12:00Z").event_id


def test_one_alert_at_both_doors_is_one() -> None:
    assert posted().event_id == one().event_id
    assert posted() == one()


@pytest.mark.parametrize(
    ("ends_at", "status"),
    [
        ("2023-11-14T22:13:20Z", "resolved"),
        ("2023-11-14T22:13:21Z", "firing"),
        ("2023-11-15T10:00:00Z", "firing"),
        (ZERO, "firing"),
        ("", "firing"),
    ],
)
def test_an_alert_of_the_client_api_is_resolved_when_its_end_has_come(ends_at: str, status: str) -> None:
    assert posted(endsAt=ends_at).status == status


def test_the_setting_says_which_label_names_the_service() -> None:
    labels = {"alertname": "A", "job": "shop", "team": "web"}
    assert one(labels=labels).service == "shop"
    assert one(labels={"alertname": "A"}).service == "unknown"
    (event,) = decode_webhook(webhook(alert(labels=labels)), ("team", "job"), NOW).events
    assert event.service == "web"


@pytest.mark.parametrize(
    ("severity", "level"),
    [
        ("critical", "critical"),
        ("page", "critical"),
        ("Error", "critical"),
        ("warning", "warning"),
        ("info", "info"),
        ("none", "info"),
        ("whatever", "warning"),
        ("", "warning"),
    ],
)
def test_severities(severity: str, level: str) -> None:
    assert one(labels={**LABELS, "severity": severity}).severity == level


def test_texts_are_cleaned_and_cut() -> None:
    event = one(labels={**LABELS, "note": "a\u0000b\u202ec\nd"}, annotations={"summary": "x\n" * 2000})
    assert event.labels["note"] == "a b c d"
    assert len(event.description) == 1000
    assert event.description.isprintable()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"labels": {}}, "labels"),
        ({"labels": {"alertname": 5}}, "alert"),
        ({"labels": None}, "alert"),
        ({"status": "suppressed"}, "status"),
        ({"startsAt": "yesterday"}, "startsAt"),
        ({"startsAt": "2023-11-14T22:10:00"}, "startsAt"),
        ({"startsAt": "1999-01-01T00:00:00Z"}, "startsAt"),
        ({"startsAt": "2023-11-14T23:10:00Z"}, "startsAt"),
        ({"labels": {f"label{n}": "x" for n in range(41)}}, "labels"),
        ({"labels": {"alertname": "A", "x": "y" * 1025}}, "labels.x"),
        ({"labels": {"alertname": "A", "__name__": "up"}}, "labels.__name__"),
    ],
)
def test_one_bad_alert_does_not_sink_the_others(changes: dict[str, Any], field: str) -> None:
    found = decoded(alert(), alert(**changes), alert(labels={**LABELS, "instance": "b"}))
    assert [event.title for event in found.events] == ["HighErrorRate"] * 2
    assert found.rejected_count == 1
    assert (found.rejected[0].index, found.rejected[0].field) == (1, field)


def test_what_is_no_alert_is_rejected_alone() -> None:
    found = decoded(alert(), 5, "x", None, [])
    assert (len(found.events), found.rejected_count) == (1, 4)


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b"nonsense", b'{"alerts": 5}', b"\xff\xfe", webhook(version="3"), b"[" * 100_000, b'{"alerts"'],
)
def test_what_is_no_webhook_is_invalid(body: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        decode_webhook(body, ("service",), NOW)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("body", [b"", b"{}", b'{"alerts": []}', b"5", b"\xff"])
def test_what_is_no_array_is_invalid(body: bytes) -> None:
    with pytest.raises(Invalid):
        decode_api(body, ("service",), NOW)


def test_more_alerts_than_the_limit_are_refused_whole() -> None:
    with pytest.raises(Invalid, match=f"at most {MAX_EVENTS}"):
        decode_api(b"[" + b"{}," * MAX_EVENTS + b"{}]", ("service",), NOW)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_bytes_are_decoded_or_invalid(body: bytes) -> None:
    for decode in (decode_webhook, decode_api):
        try:
            found = decode(body, ("service",), NOW)
        except Invalid:
            continue
        assert isinstance(found, DecodedEvents)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(alert())), _JSON))
def test_any_alert_is_taken_or_rejected(changes: dict[str, Any]) -> None:
    found = decoded(alert(**changes))
    assert len(found.events) + found.rejected_count == 1
