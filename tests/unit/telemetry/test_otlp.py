"""OTLP metrics: messages made with OpenTelemetry's own classes, in protobuf and JSON."""

import contextlib
import json
import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from google.protobuf.json_format import MessageToJson
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from sentinel.errors import Invalid, TooLarge, UnsupportedFormat
from sentinel.telemetry.otlp import (
    INVALID_ARGUMENT,
    JSON,
    PROTOBUF,
    OtlpDecoder,
    OtlpMetrics,
    encode_response,
    encode_status,
)
from sentinel.telemetry.otlp_protobuf import MAX_METRIC_BYTES
from sentinel.telemetry.wire import MAX_ITEM_BYTES, MAX_ITEMS
from tests.unit.telemetry.protobuf_bytes import nested

NOW_NS = 1_700_000_000_000_000_000
MINUTE_NS = 60_000_000_000
DELTA, CUMULATIVE = 1, 2
Row = tuple[str, Mapping[str, str], float, int]


def request(*fills: Callable[[Metric], object], name: str = "m") -> ExportMetricsServiceRequest:
    """A request of one resource and a metric for each of `fills`."""
    made = ExportMetricsServiceRequest()
    resource = made.resource_metrics.add()
    attribute = resource.resource.attributes.add(key="service.name")
    attribute.value.string_value = "web"
    scope = resource.scope_metrics.add()
    for fill in fills:
        fill(scope.metrics.add(name=name))
    return made


def point(points, at_ns: int = NOW_NS, start_ns: int = 0, **fields):
    """One more data point in `points`, with an attribute."""
    added = points.add(time_unix_nano=at_ns, start_time_unix_nano=start_ns, **fields)
    added.attributes.add(key="route").value.string_value = "/a"
    return added


def gauge(value: float) -> Callable[[Metric], object]:
    return lambda metric: point(metric.gauge.data_points, as_double=value)


def total(
    value: float, temporality: int, growing: bool = True, start_ns: int = 0, at_ns: int = NOW_NS
) -> Callable[[Metric], object]:
    def fill(metric: Metric) -> None:
        metric.sum.aggregation_temporality = temporality
        metric.sum.is_monotonic = growing
        point(metric.sum.data_points, as_double=value, start_ns=start_ns, at_ns=at_ns)

    return fill


def both(made: ExportMetricsServiceRequest) -> list[OtlpMetrics]:
    """Decoded from protobuf and JSON, each by a decoder that knows nothing and by one that has seen it before."""
    found = []
    as_json = MessageToJson(made, use_integers_for_enums=True, indent=None).encode()
    for body, content_type in ((made.SerializeToString(), PROTOBUF), (as_json, f"{JSON}; charset=utf-8")):
        decoder = OtlpDecoder()
        found += [decoder.decode(body, content_type) for _ in range(2)]
    return found


def only(made: ExportMetricsServiceRequest) -> OtlpMetrics:
    """The one answer that all ways of reading give."""
    first, *others = both(made)
    for other in others:
        assert rows(other) == rows(first)
        assert counts(other) == counts(first)
        assert [each.field for each in other.decoded.rejected] == [each.field for each in first.decoded.rejected]
    return first


def rows(metrics: OtlpMetrics) -> list[Row]:
    decoded = metrics.decoded
    return [
        (decoded.keys[index][0], dict(decoded.keys[index][1]), value, at_ms)
        for index, value, at_ms in zip(
            decoded.index.tolist(), decoded.values.tolist(), decoded.timestamps_ms.tolist(), strict=True
        )
    ]


def counts(metrics: OtlpMetrics) -> tuple[int, int, int, int]:
    return metrics.points, metrics.accepted, metrics.decoded.rejected_count, metrics.decoded.stale


LABELS = {"service.name": "web", "route": "/a"}


def test_a_gauge_is_scored_as_it_is() -> None:
    assert rows(only(request(gauge(1.5)))) == [("m", LABELS, 1.5, NOW_NS // 10**6)]


def test_an_integer_is_a_value_too() -> None:
    def fill(metric: Metric) -> None:
        point(metric.gauge.data_points, as_int=-(2**62))
        point(metric.gauge.data_points, as_int=0)

    assert [value for _, _, value, _ in rows(only(request(fill)))] == [-(2.0**62), 0.0]


def test_a_cumulative_sum_is_a_counter_if_it_only_grows() -> None:
    assert rows(only(request(total(7, CUMULATIVE))))[0][1] == {**LABELS, "__type__": "counter"}
    assert rows(only(request(total(7, CUMULATIVE, growing=False))))[0][1] == LABELS


@pytest.mark.parametrize("growing", [True, False])
def test_a_delta_sum_is_its_increase_per_second(growing: bool) -> None:
    made = request(total(30, DELTA, growing, start_ns=NOW_NS - MINUTE_NS))
    assert rows(only(made)) == [("m", LABELS, 0.5, NOW_NS // 10**6)]


@pytest.mark.parametrize(
    ("fill", "field"),
    [
        (total(1, 0), "aggregation_temporality"),
        (total(1, DELTA), "start_time_unix_nano"),
        (total(1, DELTA, start_ns=NOW_NS), "start_time_unix_nano"),
        (total(1, CUMULATIVE, at_ns=17), "timestamp"),
        (gauge(math.nan), "value"),
        (gauge(math.inf), "value"),
        (lambda metric: point(metric.gauge.data_points), "value"),
        (lambda metric: point(metric.gauge.data_points, as_int=1, at_ns=0), "timestamp"),
        (lambda metric: point(metric.summary.data_points, at_ns=17), "timestamp"),
    ],
)
def test_a_bad_point_is_rejected_alone(fill: Callable[[Metric], object], field: str) -> None:
    metrics = only(request(fill, gauge(2.0), fill))
    assert counts(metrics) == (3, 1, 2, 0)
    assert [(each.index, each.field) for each in metrics.decoded.rejected] == [(0, field), (2, field)]
    assert metrics.message.startswith("2 of 3 data points were rejected")


def test_a_known_series_refuses_bad_points_as_an_unknown_one_does() -> None:
    decoder = OtlpDecoder()
    good = request(total(1, DELTA, start_ns=NOW_NS - MINUTE_NS)).SerializeToString()
    assert decoder.decode(good, PROTOBUF).accepted == 1
    for start_ns, value, field in (
        (0, 1, "start_time_unix_nano"),
        (NOW_NS + 1, 1, "start_time_unix_nano"),
        (1, math.nan, "value"),
    ):
        bad = request(total(value, DELTA, start_ns=start_ns)).SerializeToString()
        for each in (decoder, OtlpDecoder()):
            assert [found.field for found in each.decode(bad, PROTOBUF).decoded.rejected] == [field]
    late = decoder.decode(good, PROTOBUF, latest_ms=NOW_NS // 10**6 - 1)
    assert late.decoded.rejected[0].expected.startswith("not later than")


def test_a_point_without_a_recorded_value_ends_a_series() -> None:
    def fill(metric: Metric) -> None:
        point(metric.gauge.data_points, as_double=1.0, flags=1)
        point(metric.histogram.data_points, flags=1)

    assert counts(only(request(fill, lambda metric: point(metric.gauge.data_points, flags=1)))) == (2, 0, 0, 2)


def distribution(temporality: int, start_ns: int = 0, **fields) -> Callable[[Metric], object]:
    def fill(metric: Metric) -> None:
        metric.histogram.aggregation_temporality = temporality
        told = {"count": 10, "sum": 5.0, "bucket_counts": [5, 4, 1], "explicit_bounds": [0.5, 1.0], **fields}
        point(metric.histogram.data_points, start_ns=start_ns, **told)

    return fill


def test_a_cumulative_histogram_is_what_prometheus_makes_of_it() -> None:
    found = rows(only(request(distribution(CUMULATIVE))))
    typed = {**LABELS, "__type__": "histogram"}
    assert [(name, labels, value) for name, labels, value, _ in found] == [
        ("m_count", typed, 10.0),
        ("m_sum", typed, 5.0),
        ("m_bucket", {**typed, "le": "0.5"}, 5.0),
        ("m_bucket", {**typed, "le": "1.0"}, 9.0),
        ("m_bucket", {**typed, "le": "+Inf"}, 10.0),
    ]


def test_a_delta_histogram_is_rate_mean_and_quantile_of_its_interval() -> None:
    found = rows(only(request(distribution(DELTA, start_ns=NOW_NS - 10 * 10**9))))
    assert [(name, value) for name, _, value, _ in found] == [("m_count", 1.0), ("m_mean", 0.5), ("m_p95", 1.0)]
    assert all(labels == LABELS for _, labels, _, _ in found)


def test_an_interval_without_observations_has_no_mean() -> None:
    fill = distribution(DELTA, start_ns=NOW_NS - MINUTE_NS, count=0, sum=0.0, bucket_counts=[0, 0, 0])
    metrics = only(request(fill))
    assert [(name, value) for name, _, value, _ in rows(metrics)] == [("m_count", 0.0)]
    assert metrics.accepted == 1


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"bucket_counts": [5, 5]}, "bucket_counts"),
        ({"count": 11}, "count"),
        ({"explicit_bounds": [1.0, 0.5]}, "explicit_bounds"),
        ({"explicit_bounds": [0.5, math.inf]}, "explicit_bounds"),
        ({"explicit_bounds": list(range(300)), "bucket_counts": [0] * 300 + [10]}, "explicit_bounds"),
    ],
)
def test_buckets_that_make_no_sense_are_rejected(fields: Mapping[str, object], field: str) -> None:
    metrics = only(request(distribution(CUMULATIVE, **fields)))
    assert [each.field for each in metrics.decoded.rejected] == [field]


def exponential(temporality: int, scale: int = 0, **fields) -> Callable[[Metric], object]:
    def fill(metric: Metric) -> None:
        metric.exponential_histogram.aggregation_temporality = temporality
        points = metric.exponential_histogram.data_points
        added = point(points, start_ns=NOW_NS - MINUTE_NS, count=6, sum=12.0, scale=scale, **fields)
        added.positive.offset = 0
        added.positive.bucket_counts.extend([2, 4])

    return fill


def test_an_exponential_histogram() -> None:
    cumulative = rows(only(request(exponential(CUMULATIVE))))
    assert [(name, value) for name, _, value, _ in cumulative] == [("m_count", 6.0), ("m_sum", 12.0)]
    delta = rows(only(request(exponential(DELTA))))
    # The rank is 5.7 of 6, in the bucket from 2 to 4 that holds the third to the sixth.
    assert [name for name, _, _, _ in delta] == ["m_count", "m_mean", "m_p95"]
    assert [value for _, _, value, _ in delta] == pytest.approx([0.1, 2.0, 2 + 2 * 3.7 / 4])
    assert only(request(exponential(DELTA, scale=99))).decoded.rejected[0].field == "scale"


def test_a_summary_is_count_sum_and_its_quantiles() -> None:
    def fill(metric: Metric) -> None:
        added = point(metric.summary.data_points, count=4, sum=8.0)
        added.quantile_values.add(quantile=0.5, value=1.5)
        added.quantile_values.add(quantile=0.99, value=math.nan)

    typed = {**LABELS, "__type__": "summary"}
    assert [(name, labels, value) for name, labels, value, _ in rows(only(request(fill)))] == [
        ("m_count", typed, 4.0),
        ("m_sum", typed, 8.0),
        ("m", {**LABELS, "quantile": "0.5"}, 1.5),
    ]


def test_attributes_become_labels() -> None:
    made = request(gauge(1.0))
    resource = made.resource_metrics[0].resource
    for name in ("process.pid", "telemetry.sdk.name", "route", "zone"):
        resource.attributes.add(key=name).value.string_value = "of the resource"
    added = made.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0]
    added.attributes.add(key="truth").value.bool_value = True
    added.attributes.add(key="whole").value.int_value = -(2**53) - 1
    added.attributes.add(key="real").value.double_value = 0.5
    added.attributes.add(key="list").value.array_value.values.add().string_value = "x"
    added.attributes.add(key="none")
    ((_, labels, _, _),) = rows(only(made))
    assert labels == {
        **LABELS,
        "zone": "of the resource",
        "truth": "true",
        "whole": str(-(2**53) - 1),
        "real": "0.5",
    }


def test_labels_past_the_limits_reject_the_point() -> None:
    made = request(gauge(1.0), gauge(2.0))
    first = made.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0]
    first.attributes.add(key="long").value.string_value = "x" * 1025
    assert [each.field for each in only(made).decoded.rejected] == ["labels.long"]


def test_an_empty_request_is_a_success() -> None:
    for metrics in both(ExportMetricsServiceRequest()):
        assert counts(metrics) == (0, 0, 0, 0)
        assert metrics.message == ""
        assert encode_response(metrics, PROTOBUF) == b""
        assert json.loads(encode_response(metrics, JSON)) == {}


def test_answers_read_back_with_opentelemetrys_classes() -> None:
    metrics = only(request(gauge(math.nan), gauge(1.0)))
    answer = ExportMetricsServiceResponse.FromString(encode_response(metrics, PROTOBUF))
    assert answer.partial_success.rejected_data_points == 1
    assert "value: got nan" in answer.partial_success.error_message
    told = json.loads(encode_response(metrics, JSON))["partialSuccess"]
    assert told == {"rejectedDataPoints": "1", "errorMessage": metrics.message}
    status = Status.FromString(encode_status(INVALID_ARGUMENT, "no", PROTOBUF))
    assert (status.code, status.message) == (3, "no")
    assert json.loads(encode_status(INVALID_ARGUMENT, "no", JSON)) == {"code": 3, "message": "no"}


def test_json_takes_integers_as_numbers_and_ignores_what_it_does_not_know() -> None:
    body = json.dumps(
        {
            "resourceMetrics": [
                {
                    "schemaUrl": "x",
                    "resource": None,
                    "scopeMetrics": [
                        {
                            "scope": {"name": "x"},
                            "metrics": [
                                {
                                    "name": "m",
                                    "unit": "s",
                                    "sum": {
                                        "aggregationTemporality": 2,
                                        "isMonotonic": True,
                                        "dataPoints": [
                                            {
                                                "timeUnixNano": NOW_NS,
                                                "asInt": "7",
                                                "exemplars": [{"traceId": "5b8efff798038103d269b633813fc60c"}],
                                            },
                                            {"timeUnixNano": "soon", "asInt": 7},
                                            {"timeUnixNano": NOW_NS, "asInt": 10**400},
                                            17,
                                        ],
                                    },
                                }
                            ],
                        }
                    ],
                }
            ]
        }
    ).encode()
    metrics = OtlpDecoder().decode(body, JSON)
    assert rows(metrics) == [("m", {"__type__": "counter"}, 7.0, NOW_NS // 10**6)]
    assert counts(metrics) == (4, 1, 3, 0)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"\xff", PROTOBUF),
        (b"hello", PROTOBUF),
        (b"\x0a\x03\x0a\x01\xff", PROTOBUF),
        (b"[]", JSON),
        (b'{"resourceMetrics": 3}', JSON),
        (b"\xff", JSON),
        (b'{"resourceMetrics":[{"resource":' + b"[" * 5000, JSON),
    ],
)
def test_a_body_of_another_kind_is_refused(body: bytes, content_type: str) -> None:
    with pytest.raises(Invalid, match="body"):
        OtlpDecoder().decode(body, content_type)


def test_another_content_type_is_refused() -> None:
    with pytest.raises(UnsupportedFormat, match="text/plain"):
        OtlpDecoder().decode(b"", "text/plain")


def test_more_items_than_are_held_in_memory_are_refused() -> None:
    with pytest.raises(TooLarge):
        OtlpDecoder().decode(b"\x0a\x00" * (MAX_ITEMS + 1), PROTOBUF)
    with pytest.raises(TooLarge):
        OtlpDecoder().decode(nested(1, nested(2, b"\x12\x00" * MAX_ITEMS)), PROTOBUF)
    with pytest.raises(TooLarge):
        OtlpDecoder().decode(nested(1, nested(2, nested(2, nested(5, b"\x0a\x00" * (MAX_ITEMS + 1))))), PROTOBUF)
    with pytest.raises(TooLarge, match="metric"):
        OtlpDecoder().decode(nested(1, nested(2, nested(2, bytes(MAX_METRIC_BYTES + 1)))), PROTOBUF)
    with pytest.raises(TooLarge):
        OtlpDecoder().decode(b'{"resourceMetrics":[' + b"{}," * 1_000_000 + b"{}]}", JSON)
    made = request(gauge(1.0))
    made.resource_metrics[0].resource.attributes[0].value.string_value = "x" * MAX_ITEM_BYTES
    with pytest.raises(TooLarge, match="resource"):
        OtlpDecoder().decode(made.SerializeToString(), PROTOBUF)


NUMBERS = st.sampled_from([0.0, 1.0, math.nan, math.inf]) | st.floats()
TIMES = st.sampled_from([0, 17, NOW_NS - MINUTE_NS, NOW_NS, 2**64 - 1])
FILLS = st.one_of(
    st.builds(gauge, NUMBERS),
    st.builds(total, NUMBERS, st.integers(0, 3), st.booleans(), TIMES, TIMES),
    st.builds(distribution, st.integers(0, 3), TIMES, sum=NUMBERS),
    st.builds(exponential, st.integers(0, 3), st.integers(-12, 22), zero_count=st.integers(0, 1)),
    st.just(lambda metric: None),
)


@given(st.lists(st.lists(FILLS, max_size=5), min_size=1, max_size=3), st.sampled_from([PROTOBUF, JSON]))
def test_what_a_decoder_remembers_changes_nothing(
    bodies: list[list[Callable[[Metric], object]]], content_type: str
) -> None:
    remembering = OtlpDecoder(max_known=4)
    for fills in bodies:
        made = request(*fills)
        body = (
            made.SerializeToString()
            if content_type == PROTOBUF
            else MessageToJson(made, use_integers_for_enums=True).encode()
        )
        fresh = OtlpDecoder().decode(body, content_type)
        again = remembering.decode(body, content_type)
        assert rows(again) == rows(fresh)
        assert again.decoded.rejected == fresh.decoded.rejected
        assert counts(again) == counts(fresh)
        sent = sum(
            len(getattr(metric, metric.WhichOneof("data")).data_points)
            for metric in made.resource_metrics[0].scope_metrics[0].metrics
            if metric.WhichOneof("data")
        )
        assert fresh.points == sent == fresh.accepted + fresh.decoded.rejected_count + fresh.decoded.stale


@given(st.lists(FILLS, min_size=1, max_size=4), st.data(), st.sampled_from([PROTOBUF, JSON]))
def test_damaged_bodies_give_samples_or_a_named_error(
    fills: list[Callable[[Metric], object]], data: st.DataObject, content_type: str
) -> None:
    made = request(*fills)
    body = bytearray(
        made.SerializeToString() if content_type == PROTOBUF else MessageToJson(made, indent=None).encode()
    )
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Invalid):
        metrics = OtlpDecoder().decode(bytes(body), content_type)
        assert np.isfinite(metrics.decoded.values).all()
        assert 0 <= metrics.accepted <= metrics.points


@given(st.binary(max_size=120), st.sampled_from([PROTOBUF, JSON]))
def test_bytes_give_samples_or_a_named_error(garbage: bytes, content_type: str) -> None:
    with contextlib.suppress(Invalid):
        assert np.isfinite(OtlpDecoder().decode(garbage, content_type).decoded.values).all()
