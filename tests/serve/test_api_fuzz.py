"""Whatever is sent, no answer is a fault of ours: the API by its own OpenAPI document, and bytes at every door."""

import asyncio
import gzip
import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import cramjam
import pytest
import schemathesis
from google.protobuf.json_format import MessageToJson
from hypothesis import given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import positive_data_acceptance

from sentinel.incidents import facts as f
from sentinel.settings import Api, ApiKey, Settings
from tests.serve.door_rig import (
    ALERTS,
    DOORS,
    EVENTS,
    JSON,
    METRICS,
    NDJSON,
    NOW,
    PROTOBUF,
    SAMPLES,
    SNS,
    V2,
    WEBHOOK,
    WRITE,
    Door,
    snappy,
    v1,
    v2,
)
from tests.serve.test_hostile_payloads import PLAN, ROW
from tests.serve.test_ingest_doors import otlp, zstd
from tests.unit.incidents.make import opened, plan

BATCH = "application/cloudevents-batch+json"
TOKEN = "token-of-a-fuzzer"
KEY = ApiKey(name="fuzzer", sha256=hashlib.sha256(TOKEN.encode()).hexdigest(), scopes=("admin",))
ASKED = {
    "generation": {"max-examples": 120, "deterministic": True, "mode": "all"},
    "auth": {"openapi": {"HTTPBearer": {"bearer": TOKEN}}},
    # A time that is past, or a matcher of everything, is well-formed and refused.
    "operations": [
        {
            "include-path": path,
            "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", "400", "401", "403", "404", "5xx"]}},
        }
        for path in ("/api/v1/silences", "/api/v1/silences/preview")
    ],
}


@schemathesis.serializer(NDJSON)  # type: ignore[untyped-decorator]
def lines(_context: Any, value: Any) -> bytes:
    return b"\n".join(json.dumps(each).encode() for each in (value if isinstance(value, list) else [value]))


def documented() -> Any:
    """The document of a door behind which an incident waits for a decision."""
    door, waiting = Door(Settings(api=Api(keys=(KEY,)))), plan()
    asked = (f.PlanProposed(plan=waiting), f.ApprovalRequested(plan_id=waiting.plan_id, asked="by API"))
    asyncio.run(door.rig.tell(opened(), *asked))
    document = schemathesis.openapi.from_asgi("/openapi.json", door.app, config=schemathesis.Config.from_dict(ASKED))
    # Formats of bytes, for which there are tests of their own: it cannot write them, nor sign what SNS signs.
    return document.exclude(path=[WRITE, METRICS, SNS])


@documented().parametrize()  # type: ignore[untyped-decorator]
def test_the_api_answers_as_its_document_says(case: Any) -> None:
    # What is a good alert or sample no schema says, so what fits the document of those doors may be refused.
    excluded = [positive_data_acceptance] if case.operation.path in DOORS else []
    case.call_and_validate(excluded_checks=excluded)


# --- any bytes at all -------------------------------------------------------------------------------------------

ALERT = {"labels": {"alertname": "A"}, "status": "firing", "startsAt": "2023-11-14T22:10:00Z"}
CHANGE = {"service": "web", "title": "deployed", "id": "1", "at": "2023-11-14T22:10:00Z"}
GOOD = [
    (SAMPLES, JSON, json.dumps([ROW, {**ROW, "metric": "mem"}]).encode()),
    (SAMPLES, NDJSON, b"\n".join([json.dumps(ROW).encode()] * 2)),
    (WRITE, PROTOBUF, v1([("cpu_total", {"service": "web"}, 1.0, NOW), ("mem", {"job": "x"}, 0.0, NOW)])),
    (WRITE, V2, v2([("cpu_total", {"service": "web"}, 1.0, NOW), ("mem", {"job": "x"}, 0.0, NOW)])),
    (METRICS, PROTOBUF, otlp(1.5, 2.5).SerializeToString()),
    (METRICS, JSON, MessageToJson(otlp(1.5, 2.5), indent=None).encode()),
    (WEBHOOK, JSON, json.dumps({"version": "4", "alerts": [ALERT]}).encode()),
    (ALERTS, JSON, json.dumps([ALERT]).encode()),
    (EVENTS, JSON, json.dumps([CHANGE]).encode()),
    (EVENTS, BATCH, json.dumps([{"specversion": "1.0", "id": "1", "source": "s", "type": "t"}]).encode()),
    (SNS, "text/plain", json.dumps({"Type": "Notification", "MessageId": "1", "TopicArn": "a"}).encode()),
    (PLAN, JSON, json.dumps({"digest": "0" * 64, "reason": "x"}).encode()),
]
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": gzip.compress,
    "zstd": zstd,
    "snappy": snappy,
}
EDITS = st.lists(st.tuples(st.floats(0, 1), st.sampled_from("rdi"), st.binary(min_size=1, max_size=4)), max_size=6)


def edited(body: bytes, edits: list[tuple[float, str, bytes]]) -> bytes:
    """`body` with bytes replaced, dropped and put in, each at a place from 0 to 1."""
    for place, how, new in edits:
        at = int(place * len(body))
        body = body[:at] + (b"" if how == "d" else new) + body[at + (0 if how == "i" else len(new)) :]
    return body


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[tuple[Door, asyncio.Runner]]:
    """One door for all examples: what an earlier one left behind may be what a later one trips over."""
    with asyncio.Runner() as runner:
        door = Door()
        yield door, runner
        runner.run(door.conserved())
        runner.run(door.http.aclose())


def taken(fuzzed: tuple[Door, asyncio.Runner], path: str, content_type: str, encoding: str, body: bytes) -> None:
    door, runner = fuzzed
    answer = runner.run(door.post(path, body, content_type, encoding))
    assert answer.status_code < 500, answer.text


@pytest.mark.parametrize(("path", "content_type", "good"), GOOD, ids=[f"{path} {kind}" for path, kind, _ in GOOD])
@given(inside=EDITS, outside=EDITS, encoding=st.sampled_from(sorted(PACKERS)))
@settings(max_examples=80)
def test_a_good_body_with_bytes_changed(
    fuzzed: tuple[Door, asyncio.Runner],
    path: str,
    content_type: str,
    good: bytes,
    inside: list[tuple[float, str, bytes]],
    outside: list[tuple[float, str, bytes]],
    encoding: str,
) -> None:
    if path == WRITE:
        good, encoding = bytes(cramjam.snappy.decompress_raw(good)), "snappy"
    taken(fuzzed, path, content_type, encoding, edited(PACKERS[encoding](edited(good, inside)), outside))


@given(
    path=st.sampled_from([*DOORS, PLAN]),
    content_type=st.sampled_from([JSON, NDJSON, PROTOBUF, V2, BATCH, "text/plain", ""]),
    encoding=st.sampled_from(["", "gzip", "zstd", "snappy", "br", "gzip, gzip"]),
    body=st.binary(max_size=300),
)
@settings(max_examples=400)
def test_any_bytes_at_any_door(
    fuzzed: tuple[Door, asyncio.Runner], path: str, content_type: str, encoding: str, body: bytes
) -> None:
    taken(fuzzed, path, content_type, encoding, body)


# --- odd paths and headers --------------------------------------------------------------------------------------

ODD_PATHS = (
    *("/", "//", "/api", "/api/v1/samples/", "//api/v1/samples", "/api/v1/samples/../incidents", "/api/v1/%73amples"),
    *("/api/v1/incidents/%00", "/api/v1/incidents/%ff%fe", "/api/v1/incidents/%2e%2e%2f", "/api/v1/incidents/\u00e4"),
    *("/api/v1/incidents/" + "a" * 20_000, "/api/v1/incidents?limit=" + "9" * 5000, "/api/v1/incidents?limit=-1"),
    *("/api/v1/incidents?cursor=%00", "/api/v1/incidents?state=%F0%9F%92%A5", "/api/v1/incidents?service=%00%ff"),
    *("/api/v1/plans/%0a.p1/approve", "/api/v1/plans/x.p%C2%B2/approve", "/api/v1/plans/x.p" + "1" * 5000 + "/approve"),
    *("/metrics?name[]=x", "/openapi.json?x", "/health/ready/", "/.env", "/api/v1/audit?limit=x"),
)
HEADERS = ("content-type", "content-encoding", "ce-id", "ce-time", "x-amz-sns-message-type", "authorization", "accept")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "BREW"])
@pytest.mark.parametrize("path", ODD_PATHS, ids=lambda path: path[:40])
def test_odd_paths_and_methods(fuzzed: tuple[Door, asyncio.Runner], method: str, path: str) -> None:
    door, runner = fuzzed
    answer = runner.run(door.http.request(method, path, content=b"{}" if method == "POST" else b""))
    assert answer.status_code < 500, answer.text


@given(
    path=st.sampled_from([*DOORS, PLAN]),
    headers=st.lists(st.tuples(st.sampled_from(HEADERS), st.binary(max_size=40)), max_size=4),
)
@settings(max_examples=200)
def test_any_headers(fuzzed: tuple[Door, asyncio.Runner], path: str, headers: list[tuple[str, bytes]]) -> None:
    door, runner = fuzzed
    given = [(name.encode(), value) for name, value in headers]
    answer = runner.run(door.http.post(path, content=b"{}", headers=given))
    assert answer.status_code < 500, answer.text
