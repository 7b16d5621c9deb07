"""The doors of telemetry: every format and packing, the status codes of DESIGN's table, and counts that add up."""

import gzip
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import cramjam
import httpx
import pytest
import pytest_asyncio
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from sentinel.errors import Overloaded, SentinelError, Unavailable
from sentinel.telemetry.otlp import INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNAVAILABLE
from tests.serve.door_rig import JSON, METRICS, NDJSON, NOW, PROTOBUF, SAMPLES, V2, WRITE, Door, snappy, v1, v2

CPU = {"metric": "cpu", "labels": {"service": "web"}, "timestamp": NOW, "value": 1.5}
ROW = ("cpu", {"service": "web"}, 1.5, NOW)
WRITTEN = "x-prometheus-remote-write-{}-written"


def zstd(body: bytes) -> bytes:
    return bytes(cramjam.zstd.compress(body))


def samples(count: int, **changes: Any) -> bytes:
    """`count` samples of as many series."""
    return json.dumps([{**CPU, "metric": f"cpu_{n}", **changes} for n in range(count)]).encode()


def otlp(*values: float, at_ms: int = NOW) -> ExportMetricsServiceRequest:
    """A gauge with a point for each value, of different series."""
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "web"
    metric = resource.scope_metrics.add().metrics.add(name="cpu")
    for n, value in enumerate(values):
        point = metric.gauge.data_points.add(time_unix_nano=at_ms * 1_000_000, as_double=value)
        point.attributes.add(key="core").value.string_value = str(n)
    return request


def otlp_json(*values: float) -> dict[str, Any]:
    points = [
        {
            "timeUnixNano": str(NOW * 1_000_000),
            "asDouble": value,
            "attributes": [{"key": "core", "value": {"intValue": n}}],
        }
        for n, value in enumerate(values)
    ]
    return {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "cpu", "gauge": {"dataPoints": points}}]}]}]}


@pytest_asyncio.fixture
async def door() -> AsyncIterator[Door]:
    made = Door()
    yield made
    await made.conserved()
    await made.http.aclose()


# --- our JSON ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [lambda body: body, gzip.compress, zstd, snappy], ids=["", "gzip", "zstd", "snappy"])
@pytest.mark.parametrize("content_type", [JSON, NDJSON, "application/json; charset=utf-8"])
async def test_samples_in_every_form_and_packing(
    door: Door, request: pytest.FixtureRequest, content_type: str, pack: Callable[[bytes], bytes]
) -> None:
    body = b"\n".join(json.dumps(each).encode() for each in json.loads(samples(3))) if "nd" in content_type else None
    encoding = request.node.callspec.id.rpartition("-")[2] if pack(b"x") != b"x" else ""
    answer = await door.post(SAMPLES, pack(body or samples(3)), content_type, encoding)
    assert answer.status_code == 202, answer.text
    assert answer.json() == {"received": 3, "scored": 3, "held": 0, "ignored": 0, "refused": {}, "rejected": []}
    assert await door.counts("json") == {"received": 3, "scored": 3}


async def test_one_bad_sample_does_not_sink_the_rest(door: Door) -> None:
    answer = await door.post(SAMPLES, json.dumps([CPU, {**CPU, "value": "much"}]).encode(), JSON)
    assert answer.status_code == 202
    assert (answer.json()["scored"], answer.json()["refused"]) == (1, {"malformed": 1})
    assert answer.json()["rejected"][0]["field"] == "value"


async def test_only_bad_samples_are_a_400(door: Door) -> None:
    answer = await door.post(SAMPLES, samples(2, timestamp="noon"), JSON)
    assert answer.status_code == 400
    assert answer.json()["refused"] == {"malformed": 2}


async def test_an_empty_array_is_taken(door: Door) -> None:
    assert (await door.post(SAMPLES, b"[]", JSON)).status_code == 202


async def test_samples_that_come_again_are_late_and_harm_nothing(door: Door) -> None:
    await door.post(SAMPLES, samples(3), JSON)
    again = await door.post(SAMPLES, samples(3), JSON)
    assert again.status_code == 202
    assert (again.json()["scored"], again.json()["refused"]) == (0, {"late": 3})


async def test_a_sample_from_the_far_future_is_refused(door: Door) -> None:
    answer = await door.post(SAMPLES, json.dumps([CPU, {**CPU, "timestamp": NOW + 660_000}]).encode(), JSON)
    assert (answer.status_code, answer.json()["refused"]) == (202, {"malformed": 1})
    assert answer.json()["rejected"][0]["field"] == "timestamp"


# --- remote-write -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content_type", ["", PROTOBUF, f"{PROTOBUF};proto=prometheus.WriteRequest", PROTOBUF.upper()])
async def test_remote_write_1(door: Door, content_type: str) -> None:
    answer = await door.post(WRITE, v1([ROW]), content_type, "snappy", x_prometheus_remote_write_version="0.1.0")
    assert (answer.status_code, answer.content) == (204, b"")
    assert WRITTEN.format("samples") not in answer.headers, "a 1.0 sender is answered as one"
    assert await door.counts("remote_write") == {"received": 1, "scored": 1}


async def test_remote_write_2_tells_what_was_written(door: Door) -> None:
    answer = await door.post(WRITE, v2([ROW, ("up", {"job": "web"}, 1.0, NOW)]), V2, "snappy")
    assert (answer.status_code, answer.content) == (204, b"")
    assert [answer.headers[WRITTEN.format(kind)] for kind in ("samples", "histograms", "exemplars")] == ["2", "0", "0"]
    assert await door.counts("remote_write_2") == {"received": 2, "scored": 2}


@pytest.mark.parametrize(("pack", "content_type"), [(v1, PROTOBUF), (v2, V2)])
async def test_a_partial_write_is_a_400_that_scores_the_rest(
    door: Door, pack: Callable[[Any], bytes], content_type: str
) -> None:
    answer = await door.post(WRITE, pack([ROW, ("nan", {"service": "web"}, float("nan"), NOW)]), content_type)
    assert answer.status_code == 400
    assert answer.text.startswith("1 samples were refused, the others are scored; the first: value: got nan")
    if content_type == V2:
        assert answer.headers[WRITTEN.format("samples")] == "1"
    source = "remote_write_2" if content_type == V2 else "remote_write"
    assert await door.counts(source) == {"received": 2, "scored": 1, "malformed": 1}


async def test_what_a_2_0_sender_is_refused_says_that_nothing_was_written(door: Door) -> None:
    answers = [await door.post(WRITE, b"\xff", V2, "snappy"), await door.post(WRITE, b"", V2, "br")]
    door.detectors.fails = Overloaded("full", 3)
    answers.append(await door.post(WRITE, v2([ROW]), V2, "snappy"))
    assert [answer.status_code for answer in answers] == [400, 415, 503]
    assert {answer.headers[WRITTEN.format("samples")] for answer in answers} == {"0"}


@pytest.mark.parametrize(
    ("content_type", "encoding"),
    [
        ("application/json", "snappy"),
        ("text/plain", "snappy"),
        (f"{PROTOBUF};proto=io.prometheus.write.v3.Request", "snappy"),
        (PROTOBUF, "br"),
        (PROTOBUF, "gzip, snappy"),
    ],
)
async def test_remote_write_answers_415_to_what_it_does_not_speak(door: Door, content_type: str, encoding: str) -> None:
    answer = await door.post(WRITE, v1([ROW]), content_type, encoding)
    assert answer.status_code == 415
    assert "expected" in answer.json()["error"]


# --- OTLP -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["", "gzip"])
async def test_otlp_in_protobuf(door: Door, encoding: str) -> None:
    body = otlp(1.5, 2.5).SerializeToString()
    answer = await door.post(METRICS, gzip.compress(body) if encoding else body, PROTOBUF, encoding)
    assert (answer.status_code, answer.headers["content-type"]) == (200, PROTOBUF)
    assert not ExportMetricsServiceResponse.FromString(answer.content).HasField("partial_success")
    assert await door.counts("otlp") == {"received": 2, "scored": 2}


async def test_otlp_in_json(door: Door) -> None:
    answer = await door.post(METRICS, json.dumps(otlp_json(1.5, 2.5)).encode(), JSON)
    assert (answer.status_code, answer.headers["content-type"], answer.json()) == (200, JSON, {})
    assert await door.counts("otlp") == {"received": 2, "scored": 2}


async def test_an_empty_otlp_request_is_a_success(door: Door) -> None:
    assert (await door.post(METRICS, b"", PROTOBUF)).status_code == 200
    assert (await door.post(METRICS, b"{}", JSON)).status_code == 200


async def test_otlp_tells_a_partial_success(door: Door) -> None:
    answer = await door.post(METRICS, otlp(1.5, float("inf")).SerializeToString(), PROTOBUF)
    told = ExportMetricsServiceResponse.FromString(answer.content).partial_success
    assert (answer.status_code, told.rejected_data_points) == (200, 1)
    assert told.error_message.startswith("1 of 2 data points were rejected; the first, at 1: value: got inf")
    assert await door.counts("otlp") == {"received": 2, "scored": 1, "malformed": 1}


@pytest.mark.parametrize(
    ("content_type", "encoding", "status"),
    [(PROTOBUF, "", 400), (JSON, "", 400), ("text/plain", "", 415), (PROTOBUF, "br", 415), (JSON, "gzip", 400)],
)
async def test_what_otlp_refuses_is_a_status_in_the_form_of_the_request(
    door: Door, content_type: str, encoding: str, status: int
) -> None:
    answer = await door.post(METRICS, b"\xff\xfe", content_type, encoding)
    assert answer.status_code == status
    told = answer.json() if content_type == JSON else Status.FromString(answer.content)
    code, message = (told["code"], told["message"]) if isinstance(told, dict) else (told.code, told.message)
    assert code == INVALID_ARGUMENT
    assert "expected" in message


# --- overload, our own faults, restarts -------------------------------------------------------------------------


async def sent(door: Door) -> list[httpx.Response]:
    """The same sample by every door."""
    return [
        await door.post(SAMPLES, samples(1), JSON),
        await door.post(WRITE, v1([ROW]), PROTOBUF),
        await door.post(WRITE, v2([ROW]), V2),
        await door.post(METRICS, otlp(1.5).SerializeToString(), PROTOBUF),
    ]


async def test_overload_is_told_in_each_senders_own_words(door: Door) -> None:
    door.detectors.fails = Overloaded("full", 7)
    answers = await sent(door)
    # Prometheus drops what a 429 refuses, and comes again after a 503; the others come again after both.
    assert [answer.status_code for answer in answers] == [429, 503, 503, 429]
    assert {answer.headers["retry-after"] for answer in answers} == {"7"}
    assert Status.FromString(answers[-1].content).code == RESOURCE_EXHAUSTED
    assert await door.counts("json") == {"received": 1, "try_again": 1}


@pytest.mark.parametrize("error", [Unavailable("away"), SentinelError("something new")])
async def test_our_faults_are_503_and_never_500(door: Door, error: SentinelError) -> None:
    door.detectors.fails = error
    answers = await sent(door)
    # An OTLP sender drops what a 500 refuses.
    assert {answer.status_code for answer in answers} == {503}
    assert all(answer.headers["retry-after"] for answer in answers)
    assert Status.FromString(answers[-1].content).code == UNAVAILABLE


async def test_what_was_refused_for_now_is_scored_when_it_comes_again(door: Door) -> None:
    door.detectors.fails = Overloaded("full")
    await sent(door)
    door.detectors.fails = None
    assert [answer.status_code for answer in await sent(door)] == [202, 204, 204, 200]
    for source in ("json", "remote_write", "otlp"):
        assert await door.counts(source) == {"received": 2, "scored": 1, "try_again": 1}
    # One series, and the sample of it that 1.0 brought.
    assert await door.counts("remote_write_2") == {"received": 2, "late": 1, "try_again": 1}


async def test_detectors_that_forgot_everything_are_told_again_and_nothing_is_lost(door: Door) -> None:
    for each in range(3):
        door.detectors.restart()
        answer = await door.post(SAMPLES, samples(50, timestamp=NOW + each), JSON)
        assert (answer.status_code, answer.json()["scored"]) == (202, 50)
    assert await door.counts("json") == {"received": 150, "scored": 150}
