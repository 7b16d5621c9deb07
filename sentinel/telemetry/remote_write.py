"""Prometheus remote-write 1.0: `prometheus.WriteRequest` after snappy.

Field numbers are those of prometheus/prometheus, prompb/remote.proto and prompb/types.proto. The schema is
declared here rather than generated, for it differs on purpose: each series stays bytes, so that one bad
series is refused alone and a known one need not be parsed at all.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentinel.errors import Invalid, TooLarge
from sentinel.telemetry.decoded import Decoded, Fault, SeriesKey, key_or_fault
from sentinel.telemetry.readings import type_by_name, typed
from sentinel.telemetry.repeats import FULL, ZERO, Repeats, field_at, pieces
from sentinel.telemetry.rows import STALE_BITS, Known, Rows
from sentinel.telemetry.series import NAME_LABEL
from sentinel.telemetry.wire import MAX_ITEM_BYTES, MAX_ITEMS, DecodeError, bounded, declare

__all__ = ["STALE_BITS", "RemoteWriteDecoder", "decode_remote_write_v1"]

# A series of one sample ends in its Sample message: length-delimited field 2, a double in field 1 (left out by
# proto3 when 0.0) and in field 2 the time as a varint, six bytes long from 1971 to 2109. What stands before
# is the label part. The words overlap so that few comparisons do: `head` is three bytes and one of the value, `end`
# the value's last byte, the tag of the time and the time.
SAMPLE = np.dtype(
    {"names": ["head", "value", "end"], "formats": ["<u4", "<f8", "<u8"], "offsets": [0, 3, 10], "itemsize": 18}
)
SAMPLE_HEAD = bytes((0x12, 16, 0x09))
ZERO_HEAD = bytes((0x12, 7, 0x10))
_HEAD_BITS = np.uint32(0xFFFFFF)
_END_BITS, _END = np.uint64(0x8080_8080_8080_FF00), np.uint64(0x0080_8080_8080_1000)

_MESSAGES = declare(
    "sentinel.prw1",
    {
        "WriteRequest": ("repeated bytes timeseries = 1",),
        "TimeSeries": (
            "repeated Label labels = 1",
            "repeated Sample samples = 2",
            "repeated bytes exemplars = 3",
            "repeated bytes histograms = 4",
        ),
        "Label": ("string name = 1", "string value = 2"),
        "Sample": ("double value = 1", "int64 timestamp = 2"),
    },
)
_WriteRequest = _MESSAGES["WriteRequest"]
_TimeSeries = _MESSAGES["TimeSeries"]


def decode_remote_write_v1(body: bytes) -> Decoded:
    """Decode one decompressed body; a bad series or sample is rejected alone.

    Raises Invalid if the body is no WriteRequest, TooLarge if it has over MAX_ITEMS series.
    """
    return RemoteWriteDecoder().decode(body)


class RemoteWriteDecoder:
    """Decodes bodies, remembering the label bytes of up to `max_known` series so that they are parsed once.

    What it remembers changes only the speed: a known prefix was proven by a full parse to be labels and nothing
    else, and fields of protobuf are read from the left, so what follows it is the sample.
    """

    def __init__(self, max_known: int = 200_000) -> None:
        self._max_known = max_known
        self._prefixes: dict[bytes, int] = {}
        self._known = Known()
        self._repeats = Repeats()

    def decode(self, body: bytes) -> Decoded:
        """As `decode_remote_write_v1`."""
        if max(len(self._prefixes), len(self._known)) > self._max_known:
            self._prefixes.clear()
            self._known.clear()
            self._repeats.clear()
        self._known.begin()
        rows = Rows()
        followed = self._repeats.follow(body, self._sample_of)
        count = len(followed.numbers)
        if count > MAX_ITEMS:
            raise TooLarge(f"body: over {MAX_ITEMS} items")
        for place in _read_tails(followed.tails, followed.numbers, np.arange(count), rows):
            begin, end = field_at(body, int(followed.begins[place]))
            self._parse(body[begin:end], place, rows)
        for begin, end in pieces(body, followed.end):
            count += self._read(body[begin:end], count, rows)
        return rows.decoded(self._known)

    def _read(self, body: bytes, before: int, rows: Rows) -> int:
        """Read a piece of a body that follows `before` series which are read already, and answer how many it has."""
        try:
            raws: list[bytes] = list(_WriteRequest.FromString(bounded(body)).timeseries)
        except DecodeError:
            raise Invalid("body", body[:16], "a prometheus.WriteRequest of remote-write 1.0") from None
        if before + len(raws) > MAX_ITEMS:
            raise TooLarge(f"body: over {MAX_ITEMS} items")
        # Whole lists at a time, for in a loop of Python the loop itself would cost most.
        numbers = list(map(self._prefixes.get, [raw[:-FULL] for raw in raws]))
        full = np.ones(len(raws), np.bool_)
        places = np.arange(before, before + len(raws))
        slow: list[int] = []
        if None in numbers:
            slow, tails, known = self._one_by_one(raws, numbers, full)
            places = np.delete(places, slow)
            slow = [before + each for each in slow]
        else:
            tails, known = b"".join([raw[-FULL:] for raw in raws]), np.array(numbers, np.int64)
        slow += _read_tails(tails, known, places, rows)
        for place in sorted(slow):
            self._parse(raws[place - before], place, rows)
        if not slow:
            self._repeats.learn(body, np.fromiter(map(len, raws), np.int64, len(raws)), known, full)
        return len(raws)

    def _one_by_one(
        self, raws: list[bytes], numbers: list[int | None], full: NDArray[np.bool_]
    ) -> tuple[list[int], bytes, NDArray[np.int64]]:
        """Where some series are not known, or known by a sample of zero, which proto3 leaves out.

        Answers the indices of the unknown, and of the others the samples and numbers; marks in `full` whose is whole.
        """
        slow: list[int] = []
        tails: list[bytes] = []
        found: list[int] = []
        for place, (raw, known) in enumerate(zip(raws, numbers, strict=True)):
            sample = (known, raw[-FULL:]) if known is not None else self._zero_of(raw)
            if sample is None:
                slow.append(place)
                continue
            full[place] = known is not None
            found.append(sample[0])
            tails.append(sample[1])
        return slow, b"".join(tails), np.array(found, np.int64)

    def _sample_of(self, raw: bytes) -> tuple[int, bytes] | None:
        number = self._prefixes.get(raw[:-FULL])
        return self._zero_of(raw) if number is None else (number, raw[-FULL:])

    def _zero_of(self, raw: bytes) -> tuple[int, bytes] | None:
        number = self._prefixes.get(raw[:-ZERO])
        if number is None or raw[-ZERO : 3 - ZERO] != ZERO_HEAD:
            return None
        return number, SAMPLE_HEAD + bytes(8) + raw[2 - ZERO :]

    def _parse(self, raw: bytes, place: int, rows: Rows) -> None:
        if len(raw) > MAX_ITEM_BYTES:
            rows.rejections.add(place, ("timeseries", f"{len(raw)} bytes", f"at most {MAX_ITEM_BYTES}"))
            return
        try:
            series = _TimeSeries.FromString(raw)
        except DecodeError:
            rows.rejections.add(place, ("timeseries", raw[:16], "a prometheus.TimeSeries with labels in UTF-8"))
            return
        labels = [(label.name, label.value) for label in series.labels]
        samples = [(sample.value, sample.timestamp) for sample in series.samples]
        other = len(series.exemplars) + len(series.histograms)
        rows.skipped += other
        key, fault = key_of_labels(labels)
        if key is None:
            assert fault is not None
            rows.rejections.add(place, fault, max(1, len(samples)))
            return
        number = self._known.number(typed(key, type_by_name(key[0], dict(labels))))
        for value, at_ms in samples:
            rows.add(number, place, at_ms, value)
        if len(samples) == 1 and not other:
            self._remember(raw, number, len(labels))

    def _remember(self, raw: bytes, number: int, labels: int) -> None:
        size = ZERO if raw[-ZERO : 3 - ZERO] == ZERO_HEAD else FULL
        prefix = raw[:-size]
        try:
            alone = _TimeSeries.FromString(prefix)
        except DecodeError:
            return
        # As many labels as the whole series: none stands behind the prefix, so that it names the series alone.
        if not alone.samples and len(alone.labels) == labels:
            self._prefixes[prefix] = number


def key_of_labels(labels: list[tuple[str, str]]) -> tuple[SeriesKey | None, Fault | None]:
    """The key of a series whose metric is the label `__name__`, as Prometheus writes it, or why it is refused."""
    named = dict(labels)
    if len(named) != len(labels):
        return None, ("labels", sorted(name for name, _ in labels), "each name once")
    if not named.get(NAME_LABEL):
        return None, (NAME_LABEL, named.get(NAME_LABEL), "the metric's name")
    metric = named.pop(NAME_LABEL)
    return key_or_fault(metric, named)


def begins_with(head: bytes, tail: NDArray[Any]) -> NDArray[np.bool_]:
    """Which of SAMPLE[n] begin with these three bytes, bool[n]."""
    beginning: NDArray[np.bool_] = (tail["head"] & _HEAD_BITS) == np.uint32(int.from_bytes(head, "little"))
    return beginning


def read_samples(tail: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Of SAMPLE[n], which have the expected form, bool[n], and their times in ms, int64[n]."""
    end = tail["end"]
    time = np.zeros(len(end), np.uint64)
    for byte in range(6):
        time |= (end >> np.uint64(16 + byte)) & np.uint64(0x7F << 7 * byte)
    return begins_with(SAMPLE_HEAD, tail) & ((end & _END_BITS) == _END), time.view(np.int64)


def _read_tails(tails: bytes, numbers: NDArray[np.int64], places: NDArray[np.int64], rows: Rows) -> list[int]:
    """Read the samples of known series at once, and answer the places of those that are not of the expected form."""
    tail = np.frombuffer(tails, SAMPLE)
    fits, at_ms = read_samples(tail)
    if fits.all():
        rows.extend(numbers, places, at_ms, tail["value"])
        return []
    rows.extend(numbers[fits], places[fits], at_ms[fits], tail["value"][fits])
    others: list[int] = places[~fits].tolist()
    return others
