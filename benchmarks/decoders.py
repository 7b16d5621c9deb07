"""What does a sample cost in each decoder, beside a plain parse of the same bytes, and what does it cost after that?

    python -m benchmarks.decoders

2,000 series with 8 labels, one sample each, in bodies of 2,000 as Prometheus sends them; for OTLP 10 resources with 10
metrics of 20 points each. Bodies differ in values and times, and the decoder has seen the series before. Process CPU
time, best of many rounds; the plain way is what the generated classes offer: parse, then visit every label and sample.
"""

import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import msgspec
import numpy as np

from benchmarks import report
from sentinel.telemetry.decoded import Decoded
from sentinel.telemetry.interning import Interner
from sentinel.telemetry.json_samples import JsonDecoder
from sentinel.telemetry.otlp import JSON, PROTOBUF, OtlpDecoder
from sentinel.telemetry.rates import RateKeeper
from sentinel.telemetry.remote_write import RemoteWriteDecoder
from sentinel.telemetry.remote_write_v2 import RemoteWriteV2Decoder
from sentinel.telemetry.series import DEFAULT_SERVICE_LABELS
from sentinel.telemetry.wire import declare

SERIES, ROUNDS, BODIES = 2_000, 60, 5
NOW_MS = 1_700_000_000_000
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
Label = tuple[str, str]

_SAMPLE = ("double value = 1", "int64 timestamp = 2")
V1 = declare(
    "benchmarks.prw1",
    {
        "Request": ("repeated TimeSeries timeseries = 1",),
        "TimeSeries": ("repeated Label labels = 1", "repeated Sample samples = 2"),
        "Label": ("string name = 1", "string value = 2"),
        "Sample": _SAMPLE,
    },
)
V2 = declare(
    "benchmarks.prw2",
    {
        "Request": ("repeated string symbols = 4", "repeated TimeSeries timeseries = 5"),
        "TimeSeries": ("repeated uint32 labels_refs = 1", "repeated Sample samples = 2", "Metadata metadata = 5"),
        "Sample": _SAMPLE,
        "Metadata": ("int32 type = 1", "uint32 help_ref = 3"),
    },
)
_TIMES = ("fixed64 start_time_unix_nano = 2", "fixed64 time_unix_nano = 3")
OTLP = declare(
    "benchmarks.otlp",
    {
        "Request": ("repeated ResourceMetrics resource_metrics = 1",),
        "ResourceMetrics": ("Resource resource = 1", "repeated ScopeMetrics scope_metrics = 2"),
        "Resource": ("repeated KeyValue attributes = 1",),
        "ScopeMetrics": ("repeated Metric metrics = 2",),
        "Metric": ("string name = 1", "oneof NumberData gauge = 5", "oneof HistogramData histogram = 9"),
        "NumberData": ("repeated Number data_points = 1",),
        "HistogramData": ("repeated Histogram data_points = 1", "int32 aggregation_temporality = 2"),
        "KeyValue": ("string key = 1", "AnyValue value = 2"),
        "AnyValue": ("oneof string string_value = 1",),
        "Number": (*_TIMES, "oneof double as_double = 4", "repeated KeyValue attributes = 7"),
        "Histogram": (
            *_TIMES,
            "fixed64 count = 4",
            "double sum = 5",
            "repeated fixed64 bucket_counts = 6",
            "repeated double explicit_bounds = 7",
            "repeated KeyValue attributes = 9",
        ),
    },
)


def labels_of(number: int) -> list[Label]:
    """The 8 labels of a series, sorted by name."""
    return [
        ("__name__", f"http_requests_{number % 40}_total"),
        ("cluster", "prod-1"),
        ("env", "prod"),
        ("instance", f"10.0.{number // 250}.{number % 250}:9090"),
        ("job", f"service-{number % 20}"),
        ("namespace", f"namespace-{number % 10}"),
        ("pod", f"pod-{number // 40}-5d8f9"),
        ("status", str(200 + number % 5)),
    ]


def v1_body(at_ms: int, values: Sequence[float], begins_anywhere: bool = False) -> bytes:
    request = V1["Request"]()
    for number in np.roll(np.arange(len(values)), at_ms // 1000 if begins_anywhere else 0).tolist():
        series = request.timeseries.add()
        for name, label in labels_of(number):
            series.labels.add(name=name, value=label)
        series.samples.add(value=values[number], timestamp=at_ms)
    return bytes(request.SerializeToString())


def v2_body(at_ms: int, values: Sequence[float]) -> bytes:
    request, symbols = V2["Request"](), {"": 0}
    # As when batches begin anywhere in a scrape: the same symbol has another number in each request.
    for number in np.roll(np.arange(len(values)), at_ms // 1000).tolist():
        series = request.timeseries.add()
        for text in (text for label in labels_of(number) for text in label):
            series.labels_refs.append(symbols.setdefault(text, len(symbols)))
        series.samples.add(value=values[number], timestamp=at_ms)
        series.metadata.type = 1
        series.metadata.help_ref = symbols.setdefault(f"Requests of kind {number % 40}.", len(symbols))
    request.symbols.extend(symbols)
    return bytes(request.SerializeToString())


def otlp_request(at_ms: int, values: Sequence[float], histograms: bool) -> Any:
    request = OTLP["Request"]()
    left = iter(values)
    for service in range(10):
        within = request.resource_metrics.add()
        for key, text in (("service.name", f"service-{service}"), ("k8s.namespace.name", "prod")):
            within.resource.attributes.add(key=key).value.string_value = text
        scope = within.scope_metrics.add()
        for number in range(10):
            metric = scope.metrics.add(name=f"http.server.metric.{number}")
            data = metric.histogram if histograms else metric.gauge
            if histograms:
                data.aggregation_temporality = 2
            for place in range(20):
                point = data.data_points.add(
                    start_time_unix_nano=(at_ms - 60_000) * 10**6, time_unix_nano=at_ms * 10**6
                )
                for key, text in (("http.route", f"/api/{place}"), ("method", "GET"), ("status", "200")):
                    point.attributes.add(key=key).value.string_value = text
                value = next(left)
                if histograms:
                    counts = [int(value * share) for share in range(len(BOUNDS) + 1)]
                    point.explicit_bounds.extend(BOUNDS)
                    point.bucket_counts.extend(counts)
                    point.count, point.sum = sum(counts), value
                else:
                    point.as_double = value
    return request


def otlp_json(at_ms: int, values: Sequence[float]) -> bytes:
    from google.protobuf.json_format import MessageToJson  # noqa: PLC0415 - only to make bodies

    return MessageToJson(otlp_request(at_ms, values, False), use_integers_for_enums=True, indent=None).encode()


def ndjson_body(at_ms: int, values: Sequence[float]) -> bytes:
    rows = (
        {"metric": told.pop("__name__"), "labels": told, "timestamp": at_ms, "value": value}
        for told, value in ((dict(labels_of(number)), value) for number, value in enumerate(values))
    )
    return b"\n".join(map(msgspec.json.encode, rows))


def visit_v1(body: bytes) -> Iterator[object]:
    for series in V1["Request"].FromString(body).timeseries:
        yield [(label.name, label.value) for label in series.labels]
        yield [(sample.value, sample.timestamp) for sample in series.samples]


def visit_v2(body: bytes) -> Iterator[object]:
    request = V2["Request"].FromString(body)
    symbols = list(request.symbols)
    for series in request.timeseries:
        yield [symbols[ref] for ref in series.labels_refs]
        yield [(sample.value, sample.timestamp) for sample in series.samples]


def visit_otlp(body: bytes) -> Iterator[object]:
    for within in OTLP["Request"].FromString(body).resource_metrics:
        for scope in within.scope_metrics:
            for metric in scope.metrics:
                for point in getattr(metric, metric.WhichOneof("choice")).data_points:
                    yield (
                        metric.name,
                        point.time_unix_nano,
                        [(each.key, each.value.string_value) for each in point.attributes],
                    )
                    yield list(point.bucket_counts) if hasattr(point, "bucket_counts") else point.as_double


def visit_otlp_json(body: bytes) -> Iterator[object]:
    for within in json.loads(body)["resourceMetrics"]:
        for scope in within["scopeMetrics"]:
            for metric in scope["metrics"]:
                for point in metric["gauge"]["dataPoints"]:
                    yield int(point["timeUnixNano"]), point["asDouble"]
                    yield [(each["key"], each["value"]["stringValue"]) for each in point["attributes"]]


def visit_ndjson(body: bytes) -> Iterator[object]:
    for line in body.split(b"\n"):
        row = json.loads(line)
        yield row["metric"], row["timestamp"], row["value"], list(row["labels"].items())


def drain(visit: Callable[[bytes], Iterator[object]], body: bytes) -> None:
    """Visit all of `body`."""
    deque(visit(body), maxlen=0)


def best(act: Callable[[bytes], object], bodies: Sequence[bytes]) -> float:
    """Nanoseconds of process CPU for one body, the least of all rounds."""
    least = float("inf")
    for _ in range(ROUNDS):
        for body in bodies:
            began = time.process_time_ns()
            act(body)
            least = min(least, time.process_time_ns() - began)
    return least


def after_decoding(decoded: Sequence[Decoded]) -> list[tuple[str, float]]:
    """Nanoseconds a sample of what follows a decoder, for bodies of counters."""
    interner = Interner(DEFAULT_SERVICE_LABELS, partitions=64, max_series=1_000_000)
    keeper = RateKeeper(max_series=1_000_000)
    interning = rating = float("inf")
    for round_ in range(ROUNDS):
        for place, each in enumerate(decoded):
            tick = len(decoded) * round_ + place
            at_ms = np.full(len(each), NOW_MS + 15_000 * tick)
            moved = Decoded(each.keys, each.index, at_ms, each.values + 1e6 * tick)
            began = time.process_time_ns()
            split = interner.split(moved)
            interning = min(interning, time.process_time_ns() - began)
            began = time.process_time_ns()
            for batch in split.batches.values():
                assert not keeper.apply(batch).refused
            rating = min(rating, time.process_time_ns() - began)
    return [("interning and partition", interning / SERIES), ("rates of counters", rating / SERIES)]


def main() -> None:
    noise = np.random.default_rng(7)
    ticks = [(NOW_MS + 15_000 * tick, noise.uniform(1, 100, SERIES).tolist()) for tick in range(BODIES)]
    v1, v2, otlp = RemoteWriteDecoder(), RemoteWriteV2Decoder(), OtlpDecoder()
    json_metrics, ours_json = "application/x-ndjson", JsonDecoder()
    made: list[
        tuple[str, Callable[[int, list[float]], bytes], Callable[[bytes], Any], Callable[[bytes], Iterator[object]]]
    ] = [
        ("remote-write 1.0", v1_body, v1.decode, visit_v1),
        (
            "remote-write 1.0, begun elsewhere each time",
            partial(v1_body, begins_anywhere=True),
            RemoteWriteDecoder().decode,
            visit_v1,
        ),
        ("remote-write 2.0", v2_body, lambda body: v2.decode(body).decoded, visit_v2),
        (
            "OTLP protobuf, gauges",
            lambda at_ms, values: bytes(otlp_request(at_ms, values, False).SerializeToString()),
            lambda body: otlp.decode(body, PROTOBUF).decoded,
            visit_otlp,
        ),
        (
            "OTLP protobuf, histograms of 11 buckets",
            lambda at_ms, values: bytes(otlp_request(at_ms, values, True).SerializeToString()),
            lambda body: otlp.decode(body, PROTOBUF).decoded,
            visit_otlp,
        ),
        ("OTLP JSON, gauges", otlp_json, lambda body: otlp.decode(body, JSON).decoded, visit_otlp_json),
        ("our NDJSON", ndjson_body, lambda body: ours_json.decode(body, json_metrics), visit_ndjson),
    ]
    rows = []
    for name, body_of, decode, visit in made:
        bodies = [body_of(at_ms, values) for at_ms, values in ticks]
        decoded = decode(bodies[0])
        assert not decoded.rejected_count
        ours = best(decode, bodies)
        plain = best(partial(drain, visit), bodies[:1])
        rows.append(
            (
                name,
                f"{len(bodies[0]) / SERIES:.0f}",
                f"{len(decoded):,}",
                f"{ours / SERIES:.0f}",
                f"{SERIES / ours * 1e3:.2f}",
                f"{len(decoded) / ours * 1e3:.2f}",
                f"{plain / SERIES:.0f}",
                f"{SERIES / plain * 1e3:.2f}",
                f"{plain / ours:.1f}",
            )
        )
    head = (
        "body of 2,000",
        "bytes each",
        "samples",
        "ns each",
        "M/s a core",
        "M samples/s",
        "plain, ns",
        "plain, M/s",
        "times faster",
    )
    following = [
        (name, f"{cost:.0f}")
        for name, cost in after_decoding([v1.decode(v1_body(at_ms, values)) for at_ms, values in ticks])
    ]
    report.write(
        "decoders",
        "Decoders",
        f"{__doc__}\n{report.machine()}\n\n{report.table(head, rows)}\n\n"
        "`each` is a sample, or an OTLP data point; `samples` are those it makes. A plain visit of a histogram copies\n"
        "its counts, while the decoder makes 13 samples of it. After the decoder, for bodies of counters in 20\n"
        f"services, so batches of about 100:\n\n{report.table(('step', 'ns a sample'), following)}",
    )


if __name__ == "__main__":
    main()
