"""Change events as CloudEvents in three modes, and in the plain form."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.errors import Invalid, UnsupportedFormat
from sentinel.telemetry.change_events import BATCH, PLAIN, STRUCTURED, decode_changes
from sentinel.telemetry.events import DecodedEvents, Event

NOW = 1_700_000_000_000
LABELS = ("service", "service.name")
CLOUD_EVENT = {
    "specversion": "1.0",
    "id": "run-42",
    "source": "https://ci.example/shop",
    "type": "com.example.deploy",
    "subject": "payments",
    "time": "2023-11-14T22:10:00Z",
    "data": {"title": "deployed v42", "url": "https://ci.example/run/42", "secret": "hunter2"},
}
BINARY = {
    "content-type": "application/json",
    "ce-specversion": "1.0",
    "ce-id": "run-42",
    "ce-source": "https://ci.example/shop",
    "ce-type": "com.example.deploy",
    "ce-subject": "payments",
    "ce-time": "2023-11-14T22:10:00Z",
}


def decode(body: Any, content_type: str = PLAIN, **headers: str) -> DecodedEvents:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return decode_changes(raw, {"content-type": content_type, **headers}, LABELS, NOW)


def one(body: Any, content_type: str = PLAIN) -> Event:
    found = decode(body, content_type)
    assert found.rejected == ()
    (event,) = found.events
    return event


def test_a_cloud_event_in_structured_mode() -> None:
    event = one(CLOUD_EVENT, f"{STRUCTURED}; charset=utf-8")
    assert (event.source, event.kind, event.service, event.title) == (
        "cloudevents",
        "change",
        "payments",
        "deployed v42",
    )
    assert (event.started_at_ms, event.ended_at_ms) == (NOW - 200_000, None)
    assert event.labels == {"ce_source": "https://ci.example/shop", "ce_type": "com.example.deploy"}
    assert "hunter2" not in repr(event)


def test_binary_mode_is_the_same_event() -> None:
    found = decode_changes(json.dumps(CLOUD_EVENT["data"]).encode(), BINARY, LABELS, NOW)
    assert found.events == (one(CLOUD_EVENT, STRUCTURED),)


def test_binary_mode_takes_data_of_any_type() -> None:
    headers = {**BINARY, "content-type": "application/octet-stream"}
    (event,) = decode_changes(b"\x00\xff", headers, LABELS, NOW).events
    assert event.title == "com.example.deploy"
    percent = {**BINARY, "ce-subject": "caf%C3%A9"}
    (event,) = decode_changes(b"", percent, LABELS, NOW).events
    assert event.service == "café"


def test_a_batch_keeps_the_good_ones() -> None:
    found = decode([CLOUD_EVENT, {**CLOUD_EVENT, "id": ""}, 5, {**CLOUD_EVENT, "id": "b"}], BATCH)
    assert len(found.events) == 2
    assert [each.index for each in found.rejected] == [1, 2]


def test_source_and_id_are_the_identity() -> None:
    first = one(CLOUD_EVENT, STRUCTURED)
    assert one({**CLOUD_EVENT, "type": "x", "time": "2023-11-14T22:00:00Z"}, STRUCTURED).event_id == first.event_id
    for other in ({"id": "run-43"}, {"source": "https://ci.example/other"}):
        assert one({**CLOUD_EVENT, **other}, STRUCTURED).event_id != first.event_id
    moved = {**CLOUD_EVENT, "source": "https://ci.example/sh", "id": "oprun-42"}
    assert one(moved, STRUCTURED).event_id != first.event_id


@pytest.mark.parametrize(
    ("changes", "service"),
    [
        ({}, "payments"),
        ({"service": "cart"}, "cart"),
        ({"data": {"service": "web"}}, "web"),
        ({"data": {"service.name": "api"}}, "api"),
        ({"service": "cart", "data": {"service": "web"}}, "web"),
        ({"data": {"service": 5}}, "payments"),
        ({"data": "text"}, "payments"),
    ],
)
def test_what_names_the_service(changes: dict[str, Any], service: str) -> None:
    assert one({**CLOUD_EVENT, **changes}, STRUCTURED).service == service


def test_the_plain_form() -> None:
    event = one({"service": "payments", "title": "flag checkout-v2 on", "at": "2023-11-14T22:10:00+00:00"})
    assert (event.source, event.service, event.title) == ("change", "payments", "flag checkout-v2 on")
    assert event.started_at_ms == NOW - 200_000


def test_plain_changes_are_the_same_by_content_or_by_id() -> None:
    change = {"service": "payments", "title": "deploy"}
    assert one(change).event_id == one(change).event_id
    assert one({**change, "at": "2023-11-14T22:10:00Z"}).event_id != one(change).event_id
    assert one({**change, "id": "7"}).event_id == one({**change, "id": "7", "title": "x"}).event_id == "7"


def test_an_array_of_plain_changes() -> None:
    found = decode([{"service": "a", "title": "b"}, {"service": "", "title": "b"}, {"service": "a", "title": " "}])
    assert len(found.events) == 1
    assert [each.field for each in found.rejected] == ["service", "title"]


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "", "application/x-www-form-urlencoded"])
def test_another_content_type_is_unsupported(content_type: str) -> None:
    with pytest.raises(UnsupportedFormat):
        decode(CLOUD_EVENT, content_type)


@pytest.mark.parametrize(
    "changes",
    [
        {"specversion": "0.3"},
        {"id": 5},
        {"id": "x" * 513},
        {"source": "a\nb"},
        {"time": "noon"},
        {"time": "2023-11-14T23:10:00Z"},
        {"subject": None},
        {"type": None},
    ],
)
def test_a_bad_cloud_event_is_rejected(changes: dict[str, Any]) -> None:
    found = decode({**CLOUD_EVENT, **changes}, STRUCTURED)
    assert (found.events, found.rejected_count) == ((), 1)


@pytest.mark.parametrize("body", [b"[", b"[5", b"[" * 50_000])
def test_a_broken_array_is_invalid(body: bytes) -> None:
    for content_type in (PLAIN, BATCH):
        with pytest.raises(Invalid):
            decode(body, content_type)


@given(st.binary(max_size=100), st.sampled_from((PLAIN, STRUCTURED, BATCH)))
def test_bytes_are_decoded_or_invalid(body: bytes, content_type: str) -> None:
    try:
        found = decode(body, content_type)
    except Invalid:
        return
    assert isinstance(found, DecodedEvents)


@given(st.dictionaries(st.sampled_from(sorted(BINARY)[:-1]), st.text(max_size=20)))
def test_binary_headers_of_any_content_are_taken_or_rejected(changes: dict[str, str]) -> None:
    found = decode_changes(b"{}", {**BINARY, **changes, "ce-id": "1"}, LABELS, NOW)
    assert len(found.events) + found.rejected_count == 1
