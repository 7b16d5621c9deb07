"""OpenTelemetry metrics in protobuf.

Field numbers are those of open-telemetry/opentelemetry-proto, collector/metrics/v1 and metrics/v1. Metrics and their
points stay bytes: a bad point is then refused alone, and a gauge or sum begins with its times and value at
fixed distances, followed by attributes that were parsed the first time they came.
"""

from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Iterator
from operator import itemgetter
from typing import Any

import numpy as np

from sentinel.errors import Invalid, TooLarge
from sentinel.telemetry.histograms import explicit, exponential
from sentinel.telemetry.otlp_rows import (
    NO_RECORDED_VALUE,
    NS_PER_MS,
    Flavour,
    Point,
    Points,
    Scalar,
    Stream,
    StreamOf,
    resource_labels,
    texts,
)
from sentinel.telemetry.wire import MAX_ITEM_BYTES, DecodeError, bounded, declare

# A metric is copied a few times while it is read, unlike the body that it came in.
MAX_METRIC_BYTES = 4 * 1024 * 1024

_RESOURCE_METRICS, _SCOPE_METRICS = 1, 2  # fields of the request, and of those
_POINT = ("fixed64 start_time_unix_nano = 2", "fixed64 time_unix_nano = 3")
_MESSAGES = declare(
    "sentinel.otlp",
    {
        "Request": ("repeated ResourceMetrics resource_metrics = 1",),
        "ResourceMetrics": ("bytes resource = 1", "repeated ScopeMetrics scope_metrics = 2"),
        "Resource": ("repeated KeyValue attributes = 1",),
        "ScopeMetrics": ("repeated bytes metrics = 2",),
        "Metric": (
            "string name = 1",
            "oneof bytes gauge = 5",
            "oneof bytes sum = 7",
            "oneof bytes histogram = 9",
            "oneof bytes exponential_histogram = 10",
            "oneof bytes summary = 11",
        ),
        # Gauge, Sum, Histogram, ExponentialHistogram and Summary alike.
        "Data": ("repeated bytes data_points = 1", "int32 aggregation_temporality = 2", "bool is_monotonic = 3"),
        "KeyValue": ("string key = 1", "AnyValue value = 2"),
        # Arrays, maps and bytes are no labels, so they are not declared.
        "AnyValue": ("oneof string text = 1", "oneof bool truth = 2", "oneof int64 whole = 3", "oneof double real = 4"),
        "Number": (
            *_POINT,
            "oneof double as_double = 4",
            "repeated bytes exemplars = 5",
            "oneof sfixed64 as_int = 6",
            "repeated KeyValue attributes = 7",
            "uint32 flags = 8",
        ),
        "Histogram": (
            *_POINT,
            "fixed64 count = 4",
            "optional double sum = 5",
            "repeated fixed64 bucket_counts = 6",
            "repeated double explicit_bounds = 7",
            "repeated bytes attributes = 9",
            "uint32 flags = 10",
        ),
        "Exponential": (
            "repeated bytes attributes = 1",
            *_POINT,
            "fixed64 count = 4",
            "optional double sum = 5",
            "sint32 scale = 6",
            "fixed64 zero_count = 7",
            "Buckets positive = 8",
            "Buckets negative = 9",
            "uint32 flags = 10",
            "double zero_threshold = 14",
        ),
        "Buckets": ("sint32 offset = 1", "repeated uint64 bucket_counts = 2"),
        "Summary": (
            *_POINT,
            "fixed64 count = 4",
            "double sum = 5",
            "repeated Quantile quantile_values = 6",
            "repeated bytes attributes = 7",
            "uint32 flags = 8",
        ),
        "Quantile": ("double quantile = 1", "double value = 2"),
    },
)
_Request, _Resource, _Metric, _Data = (_MESSAGES[name] for name in ("Request", "Resource", "Metric", "Data"))
_Number, _Histogram, _Exponential = (_MESSAGES[name] for name in ("Number", "Histogram", "Exponential"))
_Summary, _KeyValue = _MESSAGES["Summary"], _MESSAGES["KeyValue"]

# The beginning of a number's point as Go, Java and C++ write it: two times and the value, each behind its tag.
_HEAD = np.dtype(
    [("start_tag", "u1"), ("start", "<u8"), ("at_tag", "u1"), ("at", "<u8"), ("value_tag", "u1"), ("value", "<u8")]
)
_START, _AT, _DOUBLE, _INT = 0x11, 0x19, 0x21, 0x31
_NO_START = bytes((_START,)) + bytes(8)  # left out where it is 0, as for most gauges


def read_protobuf(body: bytes, points: Points, stream_of: StreamOf) -> None:
    """Give `points` every data point of an ExportMetricsServiceRequest.

    Raises Invalid if the body is none, TooLarge if a part of it has more items than MAX_ITEMS.
    """
    fast = _Fast()
    try:
        for within in _Request.FromString(bounded(body, inside=(_RESOURCE_METRICS, _SCOPE_METRICS))).resource_metrics:
            if len(within.resource) > MAX_ITEM_BYTES:
                raise TooLarge(f"resource: {len(within.resource)} bytes, at most {MAX_ITEM_BYTES} are taken")
            labels = resource_labels(_pairs(_Resource.FromString(within.resource).attributes))
            for scope in within.scope_metrics:
                for raw in scope.metrics:
                    _read_metric(raw, within.resource, labels, points, stream_of, fast)
    except DecodeError:
        raise Invalid("body", body[:16], "an ExportMetricsServiceRequest") from None
    for place, raw, stream in fast.finish(points):
        _take("number", raw, stream, place, points)


def _read_metric(
    raw: bytes, resource: bytes, labels: dict[str, str], points: Points, stream_of: StreamOf, fast: "_Fast"
) -> None:
    if len(raw) > MAX_METRIC_BYTES:
        raise TooLarge(f"metric: {len(raw)} bytes, at most {MAX_METRIC_BYTES} are taken")
    metric = _Metric.FromString(raw)
    form = metric.WhichOneof("choice")
    if form is None:
        return
    data = _Data.FromString(bounded(getattr(metric, form)))
    stream = stream_of(resource, metric.name, Flavour.of(form, data.aggregation_temporality, data.is_monotonic), labels)
    if form in ("gauge", "sum"):
        fast.add(list(data.data_points), stream, points)
        return
    for place, point in enumerate(data.data_points, start=points.places(len(data.data_points))):
        _take(form, point, stream, place, points)


class _Fast:
    """Points of gauges and sums whose attributes are known, read all at once at the end."""

    def __init__(self) -> None:
        self._heads: list[bytes] = []
        self._tails: list[bytes] = []
        self._numbers: list[int] = []
        self._places: list[int] = []
        self._streams: list[Stream] = []
        self._begins: list[int] = []  # where in the lists above the points of each stream begin
        self._slow: list[tuple[int, bytes, Stream]] = []

    def add(self, raws: list[bytes], stream: Stream, points: Points) -> None:
        first = points.places(len(raws))
        self._streams.append(stream)
        self._begins.append(len(self._heads))
        # Points of one metric are written alike; one that is not will not fit, and is parsed.
        size, before = (27, b"") if raws and raws[0][:1] == b"\x11" else (18, _NO_START)
        tails = [raw[size:] for raw in raws]
        numbers = list(map(stream.single.get, tails))
        if None not in numbers and min(map(len, raws), default=size) >= size:
            self._heads += [before + raw[:size] for raw in raws]
            self._tails += tails
            self._numbers += numbers  # type: ignore[arg-type]  # no None among them, as just seen
            self._places += range(first, points.count)
            return
        for place, (raw, tail, number) in enumerate(zip(raws, tails, numbers, strict=True), start=first):
            if number is None or len(raw) < size:
                self._slow.append((place, raw, stream))
                continue
            self._heads.append(before + raw[:size])
            self._tails.append(tail)
            self._numbers.append(number)
            self._places.append(place)

    def finish(self, points: Points) -> list[tuple[int, bytes, Stream]]:
        """Give `points` what is of the expected form, and answer the others with their places."""
        head = np.frombuffer(b"".join(self._heads), _HEAD)
        start, at, bits = head["start"], head["at"], head["value"]
        deltas = [stream.flavour is Flavour.DELTA for stream in self._streams]
        begins = np.array([*self._begins, len(head)], np.int64)
        delta = np.repeat(np.array(deltas, np.bool_), begins[1:] - begins[:-1])
        whole = head["value_tag"] == _INT
        fits = (head["start_tag"] == _START) & (head["at_tag"] == _AT) & (whole | (head["value_tag"] == _DOUBLE))
        fits &= ~delta | ((start > 0) & (start < at))
        values = np.where(whole, bits.view(np.int64).astype(np.float64), bits.view(np.float64))
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            values = np.where(delta, values / (at - start).astype(np.float64) * 1e9, values)
        places = np.array(self._places, np.int64)
        numbers = np.array(self._numbers, np.int64)
        at_ms = (at // np.uint64(NS_PER_MS)).astype(np.int64)
        points.rows.extend(numbers[fits], places[fits], at_ms[fits], values[fits])
        for position in np.flatnonzero(~fits).tolist():
            raw = self._heads[position].removeprefix(_NO_START) + self._tails[position]
            stream = self._streams[bisect_right(self._begins, position) - 1]
            self._slow.append((self._places[position], raw, stream))
        return sorted(self._slow, key=itemgetter(0))


def _take(form: str, raw: bytes, stream: Stream, place: int, points: Points) -> None:
    """Take one data point by a full parse."""
    try:
        if len(raw) > MAX_ITEM_BYTES:
            raise Invalid("data_point", f"{len(raw)} bytes", f"at most {MAX_ITEM_BYTES}")
        _READ[form](raw, stream, place, points)
    except DecodeError:
        points.refuse(place, Invalid("data_point", raw[:16], f"a point of a {form}"))
    except Invalid as error:
        points.refuse(place, error)


def _point(
    read: Any, place: int, attributes: Hashable, pairs: Callable[[], Iterator[tuple[str, Scalar | None]]]
) -> Point:
    return Point(place, attributes, lambda: texts(pairs()), read.start_time_unix_nano, read.time_unix_nano)


def _take_number(raw: bytes, stream: Stream, place: int, points: Points) -> None:
    read = _Number.FromString(raw)
    if read.flags & NO_RECORDED_VALUE:
        points.rows.stale += 1
        return
    tail = _tail(raw)
    written = tail if _holds_only(tail, len(read.attributes)) else None
    point = _point(read, place, written, lambda: _pairs(read.attributes))
    choice = read.WhichOneof("choice")
    points.number(stream, point, None if choice is None else getattr(read, choice))


def _tail(raw: bytes) -> bytes:
    """What follows the head, if `raw` has one."""
    return raw[27:] if raw[:1] == b"\x11" else raw[18:]


def _holds_only(tail: bytes, attributes: int) -> bool:
    """Whether `tail` is all the attributes of its point and nothing else, so that before it stands the head alone."""
    try:
        alone = _Number.FromString(tail)
    except DecodeError:
        return False
    more = alone.start_time_unix_nano or alone.time_unix_nano or alone.flags or alone.exemplars
    return not more and alone.WhichOneof("choice") is None and len(alone.attributes) == attributes


def _take_histogram(raw: bytes, stream: Stream, place: int, points: Points) -> None:
    read = _Histogram.FromString(raw)
    if read.flags & NO_RECORDED_VALUE:
        points.rows.stale += 1
        return
    buckets = explicit(list(read.explicit_bounds), list(read.bucket_counts))
    points.histogram(stream, _of_bytes(read, place), read.count, read.sum if read.HasField("sum") else None, buckets)


def _take_exponential(raw: bytes, stream: Stream, place: int, points: Points) -> None:
    read = _Exponential.FromString(raw)
    if read.flags & NO_RECORDED_VALUE:
        points.rows.stale += 1
        return
    up, down = ((side.offset, list(side.bucket_counts)) for side in (read.positive, read.negative))
    buckets = exponential(read.scale, read.zero_count, read.zero_threshold, up, down)
    points.histogram(stream, _of_bytes(read, place), read.count, read.sum if read.HasField("sum") else None, buckets)


def _take_summary(raw: bytes, stream: Stream, place: int, points: Points) -> None:
    read = _Summary.FromString(raw)
    if read.flags & NO_RECORDED_VALUE:
        points.rows.stale += 1
        return
    quantiles = [(each.quantile, each.value) for each in read.quantile_values]
    points.summary(stream, _of_bytes(read, place), read.count, read.sum, quantiles)


def _of_bytes(read: Any, place: int) -> Point:
    """The point of a message whose attributes were left unparsed."""
    written = tuple(read.attributes)
    return _point(read, place, written, lambda: _pairs(map(_KeyValue.FromString, written)))


def _pairs(attributes: Iterable[Any]) -> Iterator[tuple[str, Scalar | None]]:
    for each in attributes:
        choice = each.value.WhichOneof("choice")
        yield each.key, None if choice is None else getattr(each.value, choice)


_READ = {
    "number": _take_number,
    "histogram": _take_histogram,
    "exponential_histogram": _take_exponential,
    "summary": _take_summary,
}
