"""Behind the doors: counters become rates, series have a limit, and every sample is counted once whatever fails."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpx
import pytest
import pytest_asyncio
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE

from actors.detection import Scored
from sentinel.clock import Clock, ManualClock
from sentinel.errors import Overloaded
from sentinel.settings import Api, Detection, Settings
from sentinel.settings_detection import SeriesMatch
from serve_apps import lanes
from tests.serve.door_rig import JSON, METRICS, NOW, PROTOBUF, SAMPLES, SMALL, V2, WRITE, Detectors, Door, v1, v2

COUNTER = 1  # Metadata.MetricType of remote-write 2.0
FEW = Settings(detection=Detection(partitions=8, actors=2, max_series=5))


@pytest_asyncio.fixture
async def door() -> AsyncIterator[Door]:
    made = Door()
    yield made
    await made.conserved()
    await made.http.aclose()


@pytest_asyncio.fixture
async def few() -> AsyncIterator[Door]:
    """A door that watches five series at most."""
    made = Door(FEW)
    yield made
    await made.conserved()
    await made.http.aclose()


def series(numbers: Iterable[int], at_ms: int = NOW, **labels: str) -> bytes:
    """A sample of each of these series of one service, as our JSON."""
    row = {"labels": {"service": "web", **labels}, "timestamp": at_ms, "value": 1.0}
    return json.dumps([{"metric": f"m{n}", **row} for n in numbers]).encode()


def summed(total: float, at_ms: int) -> bytes:
    """A cumulative OTLP sum."""
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="requests")
    metric.sum.is_monotonic, metric.sum.aggregation_temporality = True, AGGREGATION_TEMPORALITY_CUMULATIVE
    metric.sum.data_points.add(
        time_unix_nano=at_ms * 1_000_000, start_time_unix_nano=(NOW - 1000) * 1_000_000, as_double=total
    )
    return request.SerializeToString()


async def total(door: Door, by: str, value: float, at_ms: int) -> httpx.Response:
    """One value of a running total, by one of the formats that know such."""
    if by == "otlp":
        return await door.post(METRICS, summed(value, at_ms), PROTOBUF)
    rows = [("requests_total" if by == "1.0" else "requests", {"service": "web"}, value, at_ms)]
    if by == "1.0":
        return await door.post(WRITE, v1(rows), PROTOBUF)
    return await door.post(WRITE, v2(rows, COUNTER), V2)


@pytest.mark.parametrize("by", ["1.0", "2.0", "otlp"])
async def test_a_running_total_is_scored_as_its_rate(door: Door, by: str) -> None:
    value, at_ms = 1_000_000.0, NOW
    for tick in range(60):
        value = 5.0 if tick == 40 else value + 100.0 + tick % 3  # the process restarts at 40
        at_ms += 1000
        assert (await total(door, by, value, at_ms)).is_success
    source = {"1.0": "remote_write", "2.0": "remote_write_2", "otlp": "otlp"}[by]
    assert await door.counts(source) == {"received": 60, "scored": 58, "held": 2}
    assert door.detectors.heard == [], "neither the climb nor the restart is unusual"
    for _ in range(5):
        value, at_ms = value + 1000.0, at_ms + 1000
        await total(door, by, value, at_ms)
    (anomaly,) = await door.detectors.open_anomalies()
    assert (anomaly.value, anomaly.direction) == (1000.0, "up")


# --- limits -----------------------------------------------------------------------------------------------------


async def test_series_past_the_limit_are_refused_and_those_before_it_go_on(few: Door) -> None:
    assert (await few.post(SAMPLES, series(range(4)), JSON)).json()["scored"] == 4
    answer = await few.post(SAMPLES, series(range(8), NOW + 1), JSON)
    assert (answer.status_code, answer.json()["scored"], answer.json()["refused"]) == (202, 5, {"series_limit": 3})
    assert [each["field"] for each in answer.json()["rejected"]] == ["series"]
    flood = await few.post(SAMPLES, series(range(100, 5100)), JSON)
    assert (flood.status_code, flood.json()["refused"]) == (400, {"series_limit": 5000})
    after = await few.post(SAMPLES, series(range(5), NOW + 2), JSON)
    assert (after.json()["scored"], after.json()["refused"]) == (5, {})


async def test_a_prometheus_hears_that_its_series_are_too_many(few: Door) -> None:
    rows = [(f"m{n}", {"service": "web"}, 1.0, NOW) for n in range(7)]
    first = await few.post(WRITE, v1(rows), PROTOBUF)
    assert first.status_code == 400, "a 204 would say that all were taken"
    assert first.text.endswith("series: got 2 samples of new series, expected no more series than detection.max_series")
    second = await few.post(WRITE, v2([(*row[:3], NOW + 1) for row in rows]), V2)
    assert (second.status_code, second.headers["x-prometheus-remote-write-samples-written"]) == (400, "5")


async def test_an_otlp_sender_hears_that_its_series_are_too_many(few: Door) -> None:
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    for n in range(7):
        metrics.add(name=f"m{n}").gauge.data_points.add(time_unix_nano=NOW * 1_000_000, as_double=1.0)
    answer = await few.post(METRICS, request.SerializeToString(), PROTOBUF)
    assert answer.status_code == 200
    assert ExportMetricsServiceResponse.FromString(answer.content).partial_success.rejected_data_points == 2


async def test_too_many_samples_of_one_series_are_refused_and_the_first_are_scored(few: Door) -> None:
    row = {"metric": "cpu", "labels": {"service": "web"}, "value": 1.0}
    body = json.dumps([{**row, "timestamp": NOW - 10_000 + n} for n in range(1010)] + [{**row, "timestamp": NOW}])
    answer = await few.post(SAMPLES, body.encode(), JSON)
    assert (answer.status_code, answer.json()["scored"]) == (202, 1000)
    assert answer.json()["refused"] == {"too_many_samples": 11}
    assert answer.json()["rejected"][0]["expected"] == "no more in a body than api.max_samples_per_series"
    rows = [("m", {"service": "web"}, 1.0, NOW - 10_000 + n) for n in range(1001)]
    assert (await few.post(WRITE, v1(rows), PROTOBUF)).text.startswith("1 samples were refused, the others are scored")
    second = await few.post(WRITE, v2([(*row[:3], row[3] + 5000) for row in rows]), V2)
    assert (second.status_code, second.headers["x-prometheus-remote-write-samples-written"]) == (400, "1000")


async def test_new_series_past_the_minutes_share_are_refused_and_the_known_go_on() -> None:
    clock = ManualClock(NOW)
    door = Door(Settings(api=Api(max_new_series_per_minute=2), detection=SMALL.detection), clock=clock)
    assert (await door.post(SAMPLES, series(range(9)), JSON)).json()["scored"] == 9, "a new door knows none"
    clock.advance(300_000)
    answer = await door.post(SAMPLES, series(range(20), NOW + 300_000), JSON)
    assert (answer.json()["scored"], answer.json()["refused"]) == (11, {"series_rate": 9})
    assert answer.json()["rejected"][0]["expected"] == "no more new series than api.max_new_series_per_minute"
    await door.conserved()
    await door.http.aclose()


async def test_what_the_settings_do_not_watch_is_ignored_and_never_refused() -> None:
    ignore = (SeriesMatch(metric="m[5-9]"), SeriesMatch(labels={"service": "test-*"}))
    door = Door(Settings(detection=Detection(partitions=8, actors=2, ignore=ignore)))
    answer = await door.post(SAMPLES, series(range(10)), JSON)
    assert (answer.status_code, answer.json()["scored"], answer.json()["ignored"]) == (202, 5, 5)
    assert (answer.json()["refused"], answer.json()["rejected"]) == ({}, [])
    assert (await door.post(SAMPLES, series(range(3), service="test-1"), JSON)).json()["ignored"] == 3
    rows = [(f"m{n}", {"service": "web"}, 1.0, NOW + 1) for n in range(10)]
    assert (await door.post(WRITE, v1(rows), PROTOBUF)).status_code == 204
    written = (await door.post(WRITE, v2([(*row[:3], NOW + 2) for row in rows]), V2)).headers
    assert written["x-prometheus-remote-write-samples-written"] == "10", "it would send them again for ever"
    assert await door.counts("json") == {"received": 13, "scored": 5, "ignored": 8}
    await door.conserved()
    await door.http.aclose()


@pytest.mark.parametrize(
    ("labels", "metric", "field"),
    [
        ({f"l{n}": "x" for n in range(41)}, "m", "labels"),
        ({"l" * 129: "x"}, "m", "labels"),
        ({"l": "x" * 1025}, "m", "labels.l"),
        ({"l": "x"}, "m" * 257, "metric"),
        ({"__name__": "x"}, "m", "labels.__name__"),
    ],
)
async def test_a_series_with_too_much_to_say_is_refused_alone(
    door: Door, labels: dict[str, str], metric: str, field: str
) -> None:
    good = {"metric": "cpu", "labels": {"service": "web"}, "timestamp": NOW, "value": 1.0}
    answer = await door.post(SAMPLES, json.dumps([good, {**good, "metric": metric, "labels": labels}]).encode(), JSON)
    assert (answer.status_code, answer.json()["scored"], answer.json()["refused"]) == (202, 1, {"malformed": 1})
    assert answer.json()["rejected"][0]["field"] == field


# --- what fails on the way --------------------------------------------------------------------------------------


class Half(Detectors):
    """One of the two actors is full."""

    full = True

    async def score(self, actor: int, packed: bytes) -> list[Scored]:
        if actor == 1 and self.full:
            raise Overloaded("actor 1 is full")
        return await super().score(actor, packed)


async def test_one_full_actor_does_not_make_the_other_count_twice() -> None:
    door = Door(detectors=Half)
    assert isinstance(door.detectors, Half)
    services: list[dict[str, Any]] = [
        {"metric": "cpu", "labels": {"service": f"s{n}"}, "timestamp": NOW, "value": 1.0} for n in range(40)
    ]
    body = json.dumps(services).encode()
    assert (await door.post(SAMPLES, body, JSON)).status_code == 429
    first = await door.counts("json")
    assert first["scored"] + first["try_again"] == first["received"] == 40
    assert 0 < first["scored"] < 40
    door.detectors.full = False
    again = await door.post(SAMPLES, body, JSON)
    assert (again.json()["scored"], again.json()["refused"]) == (first["try_again"], {"late": first["scored"]})
    await door.conserved()


class Held(Detectors):
    """One of the two actors does not answer for now."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        super().__init__(settings, clock)
        self.answers = asyncio.Event()

    async def score(self, actor: int, packed: bytes) -> list[Scored]:
        if actor == 1:
            await self.answers.wait()
        return await super().score(actor, packed)


async def test_a_full_lane_is_refused_while_the_parts_of_other_actors_are_scored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lanes, "MAX_WAITING_BYTES", 1)
    door = Door(detectors=Held)
    assert isinstance(door.detectors, Held)

    def body(at_ms: int) -> bytes:
        row = {"metric": "cpu", "timestamp": at_ms, "value": 1.0}
        return json.dumps([{**row, "labels": {"service": f"s{n}"}} for n in range(40)]).encode()

    taken = []
    for at_ms in (NOW, NOW + 1):  # one under way, one that waits
        taken.append(asyncio.create_task(door.post(SAMPLES, body(at_ms), JSON)))
        await asyncio.sleep(0.05)
    refused = await door.post(SAMPLES, body(NOW + 2), JSON)
    assert refused.status_code == 429
    counts = await door.counts("json")
    assert counts["scored"] + counts["try_again"] == counts["received"] == 40
    assert 0 < counts["scored"] < 40, "what was for the other actor was scored"
    door.detectors.answers.set()
    assert [answer.json()["scored"] for answer in await asyncio.gather(*taken)] == [40, 40]
    again = await door.post(SAMPLES, body(NOW + 2), JSON)
    assert (again.json()["scored"], again.json()["refused"]) == (counts["try_again"], {"late": counts["scored"]})
    await door.conserved()
    await door.http.aclose()


async def test_many_requests_at_once_share_calls_and_are_answered_one_by_one(door: Door) -> None:
    bodies = [series(range(n % 3 + 1), NOW + 10 * n, host=str(n)) for n in range(60)]
    answers = await asyncio.gather(*(door.post(SAMPLES, body, JSON) for body in bodies))
    assert [answer.json()["scored"] for answer in answers] == [n % 3 + 1 for n in range(60)]
    assert door.detectors.calls < 60


async def test_a_restart_in_the_middle_of_a_crowd_loses_nothing(door: Door) -> None:
    async def restart() -> None:
        door.detectors.restart()

    for round_ in range(5):
        at_ms = NOW + 1000 * round_
        posts = asyncio.gather(*(door.post(SAMPLES, series(range(20), at_ms, host=str(n)), JSON) for n in range(10)))
        answers, _ = await asyncio.gather(posts, restart())
        assert {answer.status_code for answer in answers} == {202}
    assert await door.counts("json") == {"received": 1000, "scored": 1000}
