"""What an OpenTelemetry data point means, whichever way it was written: series with labels, and samples of them.

The rules are those of opentelemetry-proto, metrics/v1/metrics.proto. What a point becomes:

- gauge, cumulative sum that may fall: a series of the metric's name, scored as it is;
- cumulative sum that only grows: the same with `__type__="counter"`, for detection to make a rate of;
- delta sum: its increase per second over the interval that the point covers;
- cumulative histogram: `<name>_count`, `<name>_sum` and, with explicit bounds, `<name>_bucket{le}`, as in Prometheus;
- delta histogram: `<name>_count` per second, `<name>_mean` and `<name>_p95` of the interval, in the metric's unit;
- summary: `<name>_count` and `<name>_sum`, and `<name>{quantile}` as it is.
"""

import math
from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

import numpy as np

from sentinel.errors import Invalid, TooLarge
from sentinel.telemetry.decoded import key_or_fault
from sentinel.telemetry.histograms import MEAN, QUANTILE, QUANTILE_ENDING, Buckets, quantile
from sentinel.telemetry.readings import BOUND_LABEL, COUNTER, HISTOGRAM, SUMMARY, typed
from sentinel.telemetry.rows import Known, Rows

MAX_POINTS = 100_000  # in one body; they are kept as bytes until all of them are read at once
NO_RECORDED_VALUE = 1  # DataPointFlags: the series has ended, as a stale marker says in Prometheus
NS_PER_MS = 1_000_000

# Attributes of a process say how it was started, not which one it is, and change with every start.
_NOT_IDENTITY = ("process.", "telemetry.")

Scalar = str | bool | int | float


class Flavour(Enum):
    """How the points of one metric are read."""

    AS_IS = "as it is"
    TOTAL = "running total"
    DELTA = "increase over an interval"
    UNKNOWN = "no temporality given"

    @classmethod
    def of(cls, form: str, temporality: int, growing: bool) -> "Flavour":
        """By the form of a metric's data, its AggregationTemporality (1 delta, 2 cumulative), and `is_monotonic`."""
        if form == "gauge":
            return cls.AS_IS
        if form == "summary":
            return cls.TOTAL
        if temporality == 1:
            return cls.DELTA
        if temporality == 2:
            return cls.AS_IS if form == "sum" and not growing else cls.TOTAL
        return cls.UNKNOWN


@dataclass(slots=True)
class Stream:
    """One metric of one resource, and the series of it by what their points' attributes were written as.

    single: the series of a gauge or sum. several: those of a histogram or summary, in the order of its values.
    """

    metric: str
    resource: Mapping[str, str]
    flavour: Flavour
    single: dict[Hashable, int] = field(default_factory=dict)
    several: dict[Hashable, "array[int]"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Point:
    """What every data point has. Times in Unix nanoseconds, 0 for none.

    attributes: as they were written, None if that does not tell the series; labels: reads them.
    """

    place: int
    attributes: Hashable
    labels: Callable[[], dict[str, str]]
    start_ns: int
    at_ns: int


StreamOf = Callable[[bytes, str, Flavour, dict[str, str]], Stream]  # resource as written, metric, flavour, its labels


def texts(attributes: Iterable[tuple[str, Scalar | None]]) -> dict[str, str]:
    """Attributes as labels: truth values as JSON writes them; arrays, maps and bytes, given as None, are left out."""
    return {
        name: ("true" if value else "false") if isinstance(value, bool) else str(value)
        for name, value in attributes
        if value is not None
    }


def resource_labels(attributes: Iterable[tuple[str, Scalar | None]]) -> dict[str, str]:
    """The labels that every series of a resource carries: those that say which one it is."""
    return {name: value for name, value in texts(attributes).items() if not name.startswith(_NOT_IDENTITY)}


class Points:
    """The data points of one body, each counted once: count = accepted + rejected + stale."""

    def __init__(self, known: Known, latest_ms: int) -> None:
        self.rows = Rows(latest_ms)
        self.count = 0
        self.remembered = 0
        self._known = known

    def places(self, more: int) -> int:
        """The place in the body of the first of `more` points, from 0. Raises TooLarge if that is over MAX_POINTS."""
        first = self.count
        self.count += more
        if self.count > MAX_POINTS:
            raise TooLarge(f"body: over {MAX_POINTS} data points")
        return first

    def refuse(self, place: int, error: Invalid) -> None:
        """Count a point that is not taken."""
        self.rows.rejections.add(place, (error.field, error.value, error.expected))

    def number(self, stream: Stream, point: Point, value: float | None) -> int:
        """Take a point of a gauge or sum, and answer the number of its series. Raises Invalid if it is refused.

        A value that is no finite number is found out by `rows`, for all ways of reading alike.
        """
        self._check(stream, point)
        if value is None:
            raise Invalid("value", None, "as_double or as_int")
        series = stream.single.get(point.attributes)
        if series is None:
            series = self._series(stream, point.labels(), "", COUNTER if stream.flavour is Flavour.TOTAL else "")
            if point.attributes is not None:
                stream.single[point.attributes] = series
                self.remembered += 1
        if stream.flavour is Flavour.DELTA:
            value = float(value) / (point.at_ns - point.start_ns) * 1e9
        self.rows.add(series, point.place, point.at_ns // NS_PER_MS, value)
        return series

    def histogram(self, stream: Stream, point: Point, count: int, total: float | None, buckets: Buckets | None) -> None:
        """Take a point of a histogram; `total` is its sum, if it has one. Raises Invalid if it is refused."""
        self._check(stream, point)
        if buckets is not None and buckets.below[-1] != float(count):
            raise Invalid("count", count, f"{buckets.below[-1]:.0f}, the sum of the buckets")
        if stream.flavour is Flavour.DELTA:
            self._several(
                stream, point, _Made(("_count", MEAN, QUANTILE_ENDING)), _of_interval(point, count, total, buckets)
            )
            return
        values = (float(count), math.nan if total is None else total)
        if buckets is None or not buckets.fixed:
            self._several(stream, point, _Made(("_count", "_sum"), HISTOGRAM), values)
        else:
            made = _Made(("_count", "_sum"), HISTOGRAM, "_bucket", BOUND_LABEL, buckets.bounds)
            self._several(stream, point, made, (*values, *buckets.below))

    def summary(
        self, stream: Stream, point: Point, count: int, total: float, quantiles: Sequence[tuple[float, float]]
    ) -> None:
        """Take a point of a summary; `quantiles` are pairs of quantile and value. Raises Invalid if it is refused."""
        self._check(stream, point)
        made = _Made(("_count", "_sum"), SUMMARY, "", "quantile", tuple(share for share, _ in quantiles))
        self._several(stream, point, made, (float(count), total, *(value for _, value in quantiles)))

    def _check(self, stream: Stream, point: Point) -> None:
        if stream.flavour is Flavour.UNKNOWN:
            raise Invalid("aggregation_temporality", 0, "1 (delta) or 2 (cumulative)")
        if stream.flavour is Flavour.DELTA and not 0 < point.start_ns < point.at_ns:
            expected = f"the begin of a delta's interval, before {point.at_ns}"
            raise Invalid("start_time_unix_nano", point.start_ns, expected)
        fault = self.rows.untimely(point.at_ns // NS_PER_MS)
        if fault is not None:
            raise Invalid(*fault)

    def _series(self, stream: Stream, labels: Mapping[str, str], ending: str, kind: str) -> int:
        """The number of a series of `stream`. A point's attribute stands over the resource's of the same name."""
        key, fault = key_or_fault(stream.metric + ending, {**stream.resource, **labels})
        if key is None:
            assert fault is not None
            raise Invalid(*fault)
        return self._known.number(typed(key, kind), one_of_several=bool(ending))

    def _several(self, stream: Stream, point: Point, made: "_Made", values: Sequence[float]) -> None:
        """All samples of a point or none; without those that are no numbers, as a quantile of no observations."""
        named = (point.attributes, made)
        series = stream.several.get(named)
        if series is None:
            told = made.names(point.labels())
            series = array("q", [self._series(stream, labels, ending, made.kind) for ending, labels in told])
            stream.several[named] = series
            self.remembered += 1
        if not all(map(math.isfinite, values)):
            real = [position for position, value in enumerate(values) if math.isfinite(value)]
            series, values = array("q", [series[each] for each in real]), [values[each] for each in real]
        self.rows.add_several(series, point.place, point.at_ns // NS_PER_MS, values)


class _Made(NamedTuple):
    """The series that one kind of point is made into, in the order of its values: `endings`, then one a `mark`."""

    endings: tuple[str, ...]
    kind: str = ""
    marked_ending: str = ""
    label: str = ""
    marks: tuple[float, ...] = ()

    def names(self, labels: Mapping[str, str]) -> Iterator[tuple[str, Mapping[str, str]]]:
        """The ending of the metric's name, and the labels, of each."""
        yield from ((ending, labels) for ending in self.endings)
        for mark in self.marks:
            yield self.marked_ending, {**labels, self.label: "+Inf" if math.isinf(mark) else repr(mark)}


def _of_interval(point: Point, count: int, total: float | None, buckets: Buckets | None) -> tuple[float, float, float]:
    """Observations per second, their mean and quantile; nan for what an interval does not tell."""
    mean = middle = math.nan
    if count and total is not None:
        mean = total / count
    if count and buckets is not None:
        middle = float(quantile(QUANTILE, np.array([buckets.bounds]), np.array([buckets.below]))[0])
    return count / (point.at_ns - point.start_ns) * 1e9, mean, middle
