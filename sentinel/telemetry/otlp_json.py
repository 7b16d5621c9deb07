"""OpenTelemetry metrics in JSON: keys in lowerCamelCase, 64-bit integers as numbers or text, unknown fields ignored."""

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec

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

# Each takes far more memory than the two characters it may be written in; ordinary bodies have some 50 characters to
# an object and 30 to a comma.
MAX_OBJECTS, MAX_COMMAS = 400_000, 1_000_000

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_NONE, _EMPTY = msgspec.Raw(b"[]"), msgspec.Raw(b"{}")


class _Any(msgspec.Struct, rename="camel"):
    # Arrays, maps and bytes are no labels, so they are not declared.
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: int | str | None = None
    double_value: float | str | None = None


class _Attribute(msgspec.Struct):
    key: str
    value: _Any | None = None


class _Resource(msgspec.Struct):
    attributes: list[_Attribute] = []


class _Data(msgspec.Struct, rename="camel"):
    data_points: msgspec.Raw = _NONE
    aggregation_temporality: int = 0
    is_monotonic: bool = False


class _Metric(msgspec.Struct, rename="camel"):
    name: str = ""
    gauge: _Data | None = None
    sum: _Data | None = None
    histogram: _Data | None = None
    exponential_histogram: _Data | None = None
    summary: _Data | None = None


class _ScopeMetrics(msgspec.Struct):
    metrics: list[_Metric] = []


class _ResourceMetrics(msgspec.Struct, rename="camel"):
    resource: msgspec.Raw = _EMPTY
    scope_metrics: list[_ScopeMetrics] = []


class _Request(msgspec.Struct, rename="camel"):
    resource_metrics: list[_ResourceMetrics] = []


class _Point(msgspec.Struct, rename="camel"):
    attributes: msgspec.Raw = _NONE
    start_time_unix_nano: _Count = 0
    time_unix_nano: _Count = 0
    flags: _Count = 0


class _Number(_Point):
    as_double: float | None = None
    as_int: _Whole | None = None


class _Histogram(_Point):
    count: _Count = 0
    sum: float | None = None
    bucket_counts: list[_Count] = []
    explicit_bounds: list[float] = []


class _Buckets(msgspec.Struct, rename="camel", frozen=True):
    offset: Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)] = 0
    bucket_counts: list[_Count] = []


class _Exponential(_Point):
    count: _Count = 0
    sum: float | None = None
    scale: int = 0
    zero_count: _Count = 0
    zero_threshold: float = 0.0
    positive: _Buckets = _Buckets()
    negative: _Buckets = _Buckets()


class _Quantile(msgspec.Struct):
    quantile: float = 0.0
    value: float = 0.0


class _Summary(_Point):
    count: _Count = 0
    sum: float = 0.0
    quantile_values: list[_Quantile] = []


# msgspec raises the last two bare: for text that is not UTF-8, and for nesting.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_request = msgspec.json.Decoder(_Request, strict=False)
_resource = msgspec.json.Decoder(_Resource | None)
_attributes = msgspec.json.Decoder(list[_Attribute])
# mypy takes no list of a class that is only known at run time for a type.
# Not strict: a 64-bit integer may come as text, and so may NaN and Infinity.
_FORMS: dict[str, type[_Point]] = {
    "gauge": _Number,
    "sum": _Number,
    "histogram": _Histogram,
    "exponential_histogram": _Exponential,
    "summary": _Summary,
}
_one = {form: msgspec.json.Decoder(kind, strict=False) for form, kind in _FORMS.items()}
_many = {form: msgspec.json.Decoder(list[kind], strict=False) for form, kind in _FORMS.items()}  # type: ignore[valid-type]
_raws = msgspec.json.Decoder(list[msgspec.Raw])


def read_json(body: bytes, points: Points, stream_of: StreamOf) -> None:
    """Give `points` every data point of an ExportMetricsServiceRequest in JSON.

    Raises Invalid if the body is none, TooLarge if it has over MAX_OBJECTS objects or MAX_COMMAS items.
    """
    if body.count(b"{") > MAX_OBJECTS or body.count(b",") > MAX_COMMAS:
        raise TooLarge(f"body: over {MAX_OBJECTS} objects or {MAX_COMMAS} items; send fewer points at a time")
    try:
        for within in _request.decode(body).resource_metrics:
            written = bytes(within.resource)
            labels = resource_labels(_pairs((_resource.decode(written) or _Resource()).attributes))
            for scope in within.scope_metrics:
                for metric in scope.metrics:
                    _read_metric(metric, written, labels, points, stream_of)
    except _UNREADABLE as error:
        raise Invalid("body", body[:40], f"an ExportMetricsServiceRequest in JSON ({_reason(error)})") from None


def _read_metric(metric: _Metric, resource: bytes, labels: dict[str, str], points: Points, stream_of: StreamOf) -> None:
    form = next((name for name in _FORMS if getattr(metric, name) is not None), None)
    if form is None:
        return
    data: _Data = getattr(metric, form)
    flavour = Flavour.of(form, data.aggregation_temporality, data.is_monotonic)
    stream = stream_of(resource, metric.name, flavour, labels)
    for place, read in _decoded(form, data.data_points, points):
        try:
            if read.flags & NO_RECORDED_VALUE:
                points.rows.stale += 1
            else:
                _take(read, place, stream, points)
        except _UNREADABLE as error:
            points.refuse(place, _unreadable(form, read.attributes, error))
        except Invalid as error:
            points.refuse(place, error)


def _decoded(form: str, raw: msgspec.Raw, points: Points) -> Iterator[tuple[int, Any]]:
    """The points that can be read, with their places; the others are refused one by one."""
    try:
        whole = _many[form].decode(raw)
    except _UNREADABLE:
        pass
    else:
        yield from enumerate(whole, start=points.places(len(whole)))
        return
    parts = _raws.decode(raw)
    for place, part in enumerate(parts, start=points.places(len(parts))):
        try:
            yield place, _one[form].decode(part)
        except _UNREADABLE as error:
            points.refuse(place, _unreadable(form, part, error))


def _unreadable(form: str, raw: msgspec.Raw, error: Exception) -> Invalid:
    return Invalid("data_point", bytes(raw)[:60], f"a point of a {form} ({_reason(error)})")


def _take(read: Any, place: int, stream: Stream, points: Points) -> None:
    written = bytes(read.attributes)
    if isinstance(read, _Number) and stream.flavour in (Flavour.AS_IS, Flavour.TOTAL):
        number, value = stream.single.get(written), read.as_double if read.as_int is None else read.as_int
        if number is not None and value is not None:
            points.rows.add(number, place, read.time_unix_nano // NS_PER_MS, value)
            return
    point = Point(
        place,
        written,
        lambda: texts(_pairs(_attributes.decode(written))),
        read.start_time_unix_nano,
        read.time_unix_nano,
    )
    match read:
        case _Number():
            points.number(stream, point, read.as_double if read.as_int is None else read.as_int)
        case _Histogram():
            buckets = explicit(read.explicit_bounds, read.bucket_counts)
            points.histogram(stream, point, read.count, read.sum, buckets)
        case _Exponential():
            up, down = ((side.offset, side.bucket_counts) for side in (read.positive, read.negative))
            wide = exponential(read.scale, read.zero_count, read.zero_threshold, up, down)
            points.histogram(stream, point, read.count, read.sum, wide)
        case _Summary():
            quantiles = [(each.quantile, each.value) for each in read.quantile_values]
            points.summary(stream, point, read.count, read.sum, quantiles)


def _pairs(attributes: list[_Attribute]) -> Iterator[tuple[str, Scalar | None]]:
    for each in attributes:
        value = each.value or _Any()
        given = (value.string_value, value.bool_value, value.int_value, value.double_value)
        yield each.key, next((scalar for scalar in given if scalar is not None), None)


def _reason(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)
