"""Prometheus remote-write 1.0: `prometheus.WriteRequest` after snappy.

Field numbers are those of prometheus/prometheus, prompb/remote.proto and prompb/types.proto. The schema is
declared here rather than generated, for it differs on purpose: each series stays bytes, so that one bad
series is refused alone and a known one need not be parsed at all.
"""

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory
from numpy.typing import NDArray

from sentinel.errors import Invalid
from sentinel.telemetry.decoded import (
    EARLIEST_MS,
    LATEST_MS,
    TIMESTAMP_EXPECTED,
    Decoded,
    Fault,
    Rejections,
    SeriesKey,
    key_or_fault,
)
from sentinel.telemetry.series import NAME_LABEL

STALE_BITS = 0x7FF0000000000002  # prometheus/prometheus model/value: the NaN that ends a series

_Field = descriptor_pb2.FieldDescriptorProto

# A series of one sample ends in its Sample message: length-delimited field 2, a double in field 1 (left out by
# proto3 when 0.0) and in field 2 the time as a varint, six bytes long from 1971 to 2109. What stands before
# is the label part.
_TAIL = np.dtype([("head", "u1", 3), ("value", "<f8"), ("tag", "u1"), ("time", "u1", 6)])
_HEAD = bytes((0x12, 16, 0x09))
_ZERO_HEAD = bytes((0x12, 7, 0x10))
_TIME_TAG = 0x10


def _schema() -> dict[str, type[message.Message]]:
    layout: dict[str, tuple[tuple[str, int, int, str], ...]] = {
        "WriteRequest": (("timeseries", 1, _Field.TYPE_BYTES, ""),),
        "TimeSeries": (
            ("labels", 1, _Field.TYPE_MESSAGE, "Label"),
            ("samples", 2, _Field.TYPE_MESSAGE, "Sample"),
            ("exemplars", 3, _Field.TYPE_BYTES, ""),
            ("histograms", 4, _Field.TYPE_BYTES, ""),
        ),
        "Label": (("name", 1, _Field.TYPE_STRING, ""), ("value", 2, _Field.TYPE_STRING, "")),
        "Sample": (("value", 1, _Field.TYPE_DOUBLE, ""), ("timestamp", 2, _Field.TYPE_INT64, "")),
    }
    file = descriptor_pb2.FileDescriptorProto(name="remote_write_v1.proto", package="sentinel.prw1", syntax="proto3")
    for name, fields in layout.items():
        declared = file.message_type.add(name=name)
        for field_name, number, kind, of in fields:
            repeated = name in ("WriteRequest", "TimeSeries")
            added = declared.field.add(name=field_name, number=number, type=kind)
            added.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            if of:
                added.type_name = f".sentinel.prw1.{of}"
    # A pool of our own: the default one belongs to the process, and a second Prometheus schema in it would clash.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"sentinel.prw1.{name}")) for name in layout
    }


_MESSAGES = _schema()
_WriteRequest = _MESSAGES["WriteRequest"]
_TimeSeries = _MESSAGES["TimeSeries"]


def decode_remote_write_v1(body: bytes) -> Decoded:
    """Decode one decompressed body; a bad series or sample is rejected alone.

    Raises Invalid if the body is no WriteRequest.
    """
    return RemoteWriteDecoder().decode(body)


class RemoteWriteDecoder:
    """Decodes bodies, remembering the label bytes of up to `max_known` series so that they are parsed once.

    What it remembers changes only the speed: a known prefix was proven by a full parse to be labels and nothing
    else, and fields of protobuf are read from the left, so what follows it is the sample.
    """

    def __init__(self, max_known: int = 200_000) -> None:
        self._max_known = max_known
        self._known: dict[bytes, SeriesKey] = {}

    def decode(self, body: bytes) -> Decoded:
        """As `decode_remote_write_v1`."""
        try:
            raws: list[bytes] = list(_WriteRequest.FromString(body).timeseries)  # type: ignore[attr-defined]
        except message.DecodeError:
            raise Invalid("body", body[:16], "a prometheus.WriteRequest of remote-write 1.0") from None
        rows = _Rows()
        slow: list[int] = []
        tails: list[bytes] = []
        places: list[int] = []
        for place, raw in enumerate(raws):
            key = self._known.get(raw[:-18])
            if key is not None:
                tail = raw[-18:]
            else:
                key = self._known.get(raw[:-9])
                if key is None or raw[-9:-6] != _ZERO_HEAD:
                    slow.append(place)
                    continue
                tail = _HEAD + bytes(8) + raw[-7:]
            tails.append(tail)
            places.append(place)
            rows.fast_keys.append(rows.intern(key))
        slow.extend(rows.add_tails(tails, places))
        for place in sorted(slow):
            self._parse(raws[place], place, rows)
        return rows.decoded()

    def _parse(self, raw: bytes, place: int, rows: "_Rows") -> None:
        try:
            series = _TimeSeries.FromString(raw)
        except message.DecodeError:
            rows.rejections.add(place, ("timeseries", raw[:16], "a prometheus.TimeSeries with labels in UTF-8"))
            return
        labels = [(label.name, label.value) for label in series.labels]  # type: ignore[attr-defined]
        samples = [(sample.value, sample.timestamp) for sample in series.samples]  # type: ignore[attr-defined]
        other = len(series.exemplars) + len(series.histograms)  # type: ignore[attr-defined]
        rows.skipped += other
        key, fault = _key(labels)
        if key is None:
            assert fault is not None
            rows.rejections.add(place, fault, max(1, len(samples)))
            return
        position = rows.intern(key)
        for value, at_ms in samples:
            rows.add(position, place, at_ms, value)
        if len(samples) == 1 and not other:
            self._remember(raw, key, len(labels))

    def _remember(self, raw: bytes, key: SeriesKey, labels: int) -> None:
        size = 9 if raw[-9:-6] == _ZERO_HEAD else 18
        prefix = raw[:-size]
        try:
            alone = _TimeSeries.FromString(prefix)
        except message.DecodeError:
            return
        # As many labels as the whole series: none stands behind the prefix, so that it names the series alone.
        if alone.samples or len(alone.labels) != labels:  # type: ignore[attr-defined]
            return
        if len(self._known) >= self._max_known:
            self._known.clear()
        self._known[prefix] = key


def _key(labels: list[tuple[str, str]]) -> tuple[SeriesKey | None, Fault | None]:
    named = dict(labels)
    if len(named) != len(labels):
        return None, ("labels", sorted(name for name, _ in labels), "each name once")
    if not named.get(NAME_LABEL):
        return None, (NAME_LABEL, named.get(NAME_LABEL), "the metric's name")
    metric = named.pop(NAME_LABEL)
    return key_or_fault(metric, named)


class _Rows:
    """Columns under construction; `decoded` puts them back into the order of the body."""

    def __init__(self) -> None:
        self.rejections = Rejections()
        self.skipped = 0
        self.fast_keys: list[int] = []
        self._keys: dict[SeriesKey, int] = {}
        self._fast: tuple[NDArray[np.int64], ...] | None = None
        self._fast_values = np.empty(0, np.float64)
        self._slow: list[tuple[int, int, int]] = []
        self._slow_values: list[float] = []

    def intern(self, key: SeriesKey) -> int:
        return self._keys.setdefault(key, len(self._keys))

    def add(self, position: int, place: int, at_ms: int, value: float) -> None:
        self._slow.append((position, place, at_ms))
        self._slow_values.append(value)

    def add_tails(self, tails: list[bytes], places: list[int]) -> list[int]:
        """Read 18-byte tails at once, and answer the places of those that are not of the expected form."""
        tail = np.frombuffer(b"".join(tails), _TAIL)
        at = np.array(places, np.int64)
        time = tail["time"]
        fits = (
            (tail["head"] == np.frombuffer(_HEAD, np.uint8)).all(axis=1)
            & (tail["tag"] == _TIME_TAG)
            & (time[:, :5] >= 0x80).all(axis=1)
            & (time[:, 5] < 0x80)
        )
        at_ms = ((time & 0x7F).astype(np.int64) << (7 * np.arange(6))).sum(axis=1)
        position = np.array(self.fast_keys, np.int64)
        self._fast = (position[fits], at[fits], at_ms[fits])
        self._fast_values = tail["value"][fits]
        return [int(place) for place in at[~fits]]

    def decoded(self) -> Decoded:
        slow = np.array(self._slow, np.int64).reshape(-1, 3).T
        assert self._fast is not None
        index, place, at_ms = (np.concatenate(pair) for pair in zip(self._fast, slow, strict=True))
        values = np.concatenate((self._fast_values, np.array(self._slow_values, np.float64)))
        # Samples of one series must keep their order in the body, whichever way each was read.
        order = np.argsort(place, kind="stable")
        index, place, at_ms, values = index[order], place[order], at_ms[order], values[order]
        stale = values.view(np.uint64) == STALE_BITS
        unreal = ~np.isfinite(values) & ~stale
        absurd = ((at_ms < EARLIEST_MS) | (at_ms >= LATEST_MS)) & ~stale & ~unreal
        for position in np.flatnonzero(unreal):
            self.rejections.add(int(place[position]), ("value", float(values[position]), "a finite number"))
        for position in np.flatnonzero(absurd):
            self.rejections.add(int(place[position]), ("timestamp", int(at_ms[position]), TIMESTAMP_EXPECTED))
        keep = ~(stale | unreal | absurd)
        return Decoded(
            tuple(self._keys),
            index[keep],
            at_ms[keep],
            values[keep],
            rejected=self.rejections.first(),
            rejected_count=self.rejections.count,
            stale=int(stale.sum()),
            skipped=self.skipped,
        )
