"""How the numbers of a series are read before they are scored: as they are, or as running totals.

The type travels as the label `__type__`, as Prometheus itself carries it (proposal PROM-39, type and unit as labels):
whoever knows a series knows its reading, and no second channel can disagree. A series without the label is scored as
it is, so a sender of plain numbers need not know about it, and one of our own JSON may set it.
"""

import math
from collections.abc import Mapping
from enum import IntEnum

from sentinel.telemetry.decoded import SeriesKey

TYPE_LABEL = "__type__"
BOUND_LABEL = "le"
COUNTER, HISTOGRAM, SUMMARY = "counter", "histogram", "summary"
_TOTALS = frozenset({COUNTER, HISTOGRAM, SUMMARY})


class Reading(IntEnum):
    """GAUGE: scored as it is. COUNTER: a running total, scored as its increase per second.

    SUM and COUNT: counters of a histogram or summary, which also make its mean. BUCKET: a counter of a histogram's
    observations up to the bound in `le`; it is not scored, but makes quantiles.
    """

    GAUGE = 0
    COUNTER = 1
    SUM = 2
    COUNT = 3
    BUCKET = 4


def reading_of(metric: str, labels: Mapping[str, str]) -> Reading:
    """How the series is read, by its `__type__`, and by the ending of its name where a type has several series."""
    kind = labels.get(TYPE_LABEL)
    if kind not in _TOTALS:
        return Reading.GAUGE
    if metric.endswith("_bucket") and kind != SUMMARY and bound_of(labels) is not None:
        return Reading.BUCKET
    if metric.endswith("_sum"):
        return Reading.SUM
    if metric.endswith("_count"):
        return Reading.COUNT
    return Reading.COUNTER if kind == COUNTER else Reading.GAUGE


def family_of(metric: str, reading: Reading) -> str:
    """The metric without the ending that tells SUM, COUNT and BUCKET apart."""
    return metric.rpartition("_")[0] if reading >= Reading.SUM else metric


def bound_of(labels: Mapping[str, str]) -> float | None:
    """The upper bound of a bucket, +inf for the last; None if `le` is absent or no bound."""
    try:
        bound = float(labels.get(BOUND_LABEL, ""))
    except ValueError:
        return None
    return None if math.isnan(bound) or bound == -math.inf else bound


def type_by_name(metric: str, labels: Mapping[str, str]) -> str:
    """The type where the sender told none: a counter by Prometheus's naming, else empty.

    A gauge that is called `…_count` is taken for a counter, too: a sender to whom that matters gives the type.
    """
    if metric.endswith(("_total", "_sum", "_count")):
        return COUNTER
    return HISTOGRAM if metric.endswith("_bucket") and bound_of(labels) is not None else ""


def typed(key: SeriesKey, kind: str) -> SeriesKey:
    """`key` with its type as a label where that changes the reading; a type that the sender's labels give stays."""
    metric, labels = key
    if not kind or any(name == TYPE_LABEL for name, _ in labels):
        return key
    told = tuple(sorted((*labels, (TYPE_LABEL, kind))))
    return key if reading_of(metric, dict(told)) is Reading.GAUGE else (metric, told)
