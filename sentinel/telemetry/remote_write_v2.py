"""Prometheus remote-write 2.0: `io.prometheus.write.v2.Request` after snappy.

Field numbers are those of prometheus/prometheus, prompb/io/prometheus/write/v2/types.proto; the rules are those of
docs/specs/prw/remote_write_spec_2_0.md. Labels are references into a table of symbols that each request brings along,
so the bytes of a series mean nothing beyond their request. What is remembered from one request to the next is
therefore the symbols, numbered, and each series as the numbers of its symbols.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentinel.errors import Invalid
from sentinel.telemetry.decoded import LATEST_MS, Decoded, Fault, SeriesKey
from sentinel.telemetry.readings import HISTOGRAM, type_by_name, typed
from sentinel.telemetry.remote_write import key_of_labels
from sentinel.telemetry.remote_write_v2_shape import Shape
from sentinel.telemetry.rows import STALE_BITS, Known, Rows
from sentinel.telemetry.wire import MAX_ITEM_BYTES, DecodeError, bounded, declare

MAX_SYMBOLS = 400_000
# Metadata.MetricType by number; what is not told is read from the metric's name.
_TYPES = ("", "counter", "gauge", HISTOGRAM, "gaugehistogram", "summary", "info", "stateset")
_GAUGE_HISTOGRAM = 3  # Histogram.ResetHint

_MESSAGES = declare(
    "sentinel.prw2",
    {
        "Request": ("repeated bytes symbols = 4", "repeated bytes timeseries = 5"),
        "TimeSeries": (
            "repeated uint32 labels_refs = 1",
            "repeated Sample samples = 2",
            "repeated Histogram histograms = 3",
            "repeated bytes exemplars = 4",
            "Metadata metadata = 5",
        ),
        "Sample": ("double value = 1", "int64 timestamp = 2"),
        "Metadata": ("int32 type = 1",),
        "Histogram": (
            "oneof uint64 count_int = 1",
            "oneof double count_float = 2",
            "double sum = 3",
            "int32 reset_hint = 14",
            "int64 timestamp = 15",
        ),
    },
)
_Request = _MESSAGES["Request"]
_TimeSeries = _MESSAGES["TimeSeries"]


@dataclass(frozen=True, slots=True)
class WrittenV2:
    """One body: its samples to score, and how many of each kind were taken, for the `…-Written` headers.

    A native histogram is scored as two series, `<name>_count` and `<name>_sum`. Exemplars are taken and not scored
    (`decoded.skipped`). Sent = samples + histograms + decoded.rejected_count, where a series that cannot be read, or
    holds nothing, counts as one; stale markers are among the samples and histograms, for they were understood.
    """

    decoded: Decoded
    samples: int
    histograms: int
    exemplars: int


class RemoteWriteV2Decoder:
    """Decodes bodies, remembering up to `max_known` series; what it remembers changes only the speed."""

    def __init__(self, max_known: int = 200_000, max_symbols: int = MAX_SYMBOLS) -> None:
        self._max_known = max_known
        self._max_symbols = max_symbols
        self._known = Known()
        self._symbols: dict[bytes, int] = {}
        self._series: dict[bytes, int] = {}  # numbers of symbols and last of the type, each uint32 -> known number

    def decode(self, body: bytes, latest_ms: int = LATEST_MS - 1) -> WrittenV2:
        """Decode one decompressed body; a bad series or sample, or one later than `latest_ms`, is rejected alone.

        Raises Invalid if the body is no Request, TooLarge if it has over MAX_ITEMS symbols and series.
        """
        try:
            request = _Request.FromString(bounded(body))
        except DecodeError:
            raise Invalid("body", body[:16], "an io.prometheus.write.v2.Request") from None
        raws: list[bytes] = list(request.timeseries)
        symbols: list[bytes] = list(request.symbols)
        if raws and symbols[:1] != [b""]:
            raise Invalid("symbols", symbols[:1], "an empty text in the first place")
        if max(len(self._known), len(self._series)) > self._max_known or len(self._symbols) > self._max_symbols:
            self._known.clear()
            self._symbols.clear()
            self._series.clear()
        self._known.begin()
        taken = _Taken(symbols, Rows(latest_ms))
        for place in self._fast(raws, taken) if raws else ():
            self._parse(raws[place], place, taken)
        return taken.written(self._known)

    def _fast(self, raws: list[bytes], taken: "_Taken") -> list[int]:
        """Take known series of one sample by columns, and answer the places of all others."""
        shape = Shape(raws)
        refs, counts = shape.refs(len(taken.symbols))
        ends = np.cumsum(counts + 1)
        names = np.empty(ends[-1], np.uint32)
        names[ends - 1] = shape.kind
        of_symbol = np.ones(len(names), np.bool_)
        of_symbol[ends - 1] = False
        names[of_symbol] = self._numbered(refs, taken.symbols)
        blob, known = names.tobytes(), self._series.get
        cuts = [0, *(4 * ends).tolist()]
        # A series that is not of the shape was given no references, and nothing is known by a type alone.
        numbers = np.array([known(blob[begin:end], -1) for begin, end in pairwise(cuts)], np.int64)
        at = np.flatnonzero(numbers >= 0)
        taken.rows.extend(numbers[at], at, shape.at_ms[at], shape.values[at])
        taken.samples += len(at)
        slow: list[int] = np.flatnonzero(numbers < 0).tolist()
        return slow

    def _numbered(self, refs: NDArray[np.int64], symbols: list[bytes]) -> NDArray[np.uint32]:
        used = np.zeros(len(symbols), np.bool_)
        used[refs] = True
        numbers = np.zeros(len(symbols), np.uint32)
        at = np.flatnonzero(used)
        numbers[at] = self._numbers([symbols[each] for each in at.tolist()])
        return numbers[refs]

    def _numbers(self, symbols: list[bytes]) -> list[int]:
        table = self._symbols
        return [table.setdefault(symbol, len(table)) for symbol in symbols]

    def _parse(self, raw: bytes, place: int, taken: "_Taken") -> None:
        if len(raw) > MAX_ITEM_BYTES:
            taken.rows.rejections.add(place, ("timeseries", f"{len(raw)} bytes", f"at most {MAX_ITEM_BYTES}"))
            return
        try:
            series = _TimeSeries.FromString(raw)
        except DecodeError:
            taken.rows.rejections.add(place, ("timeseries", raw[:16], "an io.prometheus.write.v2.TimeSeries"))
            return
        taken.rows.skipped += len(series.exemplars)
        refs: list[int] = list(series.labels_refs)
        key, fault = _key(refs, taken.symbols)
        if key is None:
            assert fault is not None
            taken.rows.rejections.add(place, fault, max(1, len(series.samples) + len(series.histograms)))
            return
        kind = series.metadata.type if 0 < series.metadata.type < len(_TYPES) else 0
        told = _TYPES[kind] or type_by_name(key[0], dict(key[1]))
        if series.samples:
            number = self._known.number(typed(key, told))
            for sample in series.samples:
                taken.rows.add(number, place, sample.timestamp, sample.value)
            taken.samples += len(series.samples)
            name = [*self._numbers([taken.symbols[ref] for ref in refs]), kind]
            self._series[np.array(name, np.uint32).tobytes()] = number
        for histogram in series.histograms:
            self._histogram(key, histogram, place, taken)

    def _histogram(self, key: SeriesKey, histogram: Any, place: int, taken: "_Taken") -> None:
        """Its count and sum as two series; buckets are not read."""
        if np.float64(histogram.sum).view(np.uint64) == STALE_BITS:
            taken.histograms += 1
            taken.rows.stale += 1
            return
        count = float(histogram.count_float if histogram.WhichOneof("choice") == "count_float" else histogram.count_int)
        if not (math.isfinite(count) and count >= 0):
            taken.rows.rejections.add(place, ("histogram.count", count, "a finite number from 0 on"))
            return
        fault = taken.rows.untimely(histogram.timestamp)
        if fault is not None:
            taken.rows.rejections.add(place, fault)
            return
        taken.histograms += 1
        metric, labels = key
        kind = "gauge" if histogram.reset_hint == _GAUGE_HISTOGRAM else HISTOGRAM
        for ending, value in (("_count", count), ("_sum", histogram.sum)):
            # Observations that were no numbers make the sum none, which says nothing against the count.
            if math.isfinite(value):
                number = self._known.number(typed((metric + ending, labels), kind))
                taken.rows.add(number, place, histogram.timestamp, value)


def _key(refs: list[int], symbols: list[bytes]) -> tuple[SeriesKey | None, Fault | None]:
    if len(refs) % 2:
        return None, ("labels_refs", f"{len(refs)} references", "pairs of name and value")
    beyond = next((ref for ref in refs if ref >= len(symbols)), None)
    if beyond is not None:
        return None, ("labels_refs", beyond, f"a reference to one of {len(symbols)} symbols")
    try:
        texts = [symbols[ref].decode() for ref in refs]
    except UnicodeDecodeError:
        return None, ("labels", [symbols[ref][:16] for ref in refs[:8]], "labels in UTF-8")
    return key_of_labels(list(zip(texts[::2], texts[1::2], strict=True)))


class _Taken:
    """What one body has given so far."""

    def __init__(self, symbols: list[bytes], rows: Rows) -> None:
        self.symbols = symbols
        self.rows = rows
        self.samples = 0
        self.histograms = 0

    def written(self, known: Known) -> WrittenV2:
        before = self.rows.rejections.count
        decoded = self.rows.decoded(known)
        # Rows refuses single samples only now, by value and time; histograms were judged when they were read.
        return WrittenV2(
            decoded=decoded,
            samples=self.samples - (decoded.rejected_count - before),
            histograms=self.histograms,
            exemplars=decoded.skipped,
        )
