"""Remote-write 2.0, against bodies put together field by field, and a full parse of the same."""

import contextlib
import struct
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.errors import Invalid, TooLarge
from sentinel.telemetry.decoded import Decoded
from sentinel.telemetry.readings import Reading, reading_of
from sentinel.telemetry.remote_write_v2 import RemoteWriteV2Decoder, WrittenV2
from sentinel.telemetry.remote_write_v2_shape import Shape
from sentinel.telemetry.rows import STALE_BITS
from sentinel.telemetry.wire import MAX_ITEM_BYTES, MAX_ITEMS, DecodeError, declare
from tests.unit.telemetry.protobuf_bytes import double, nested, varint, whole

NOW_MS = 1_700_000_000_000
STALE = struct.unpack("<d", struct.pack("<Q", STALE_BITS))[0]
COUNTER, GAUGE, HISTOGRAM, GAUGE_HISTOGRAM = 1, 2, 3, 4
SYMBOLS = ["", "__name__", "cpu", "job", "web", "requests_total", "help", "ä"]
CPU, REQUESTS = (1, 2, 3, 4), (1, 5, 3, 4)


def sample(value: float, at_ms: int) -> bytes:
    return nested(2, double(1, value) + whole(2, at_ms))


def histogram(count: float, total: float, at_ms: int, hint: int = 0) -> bytes:
    number = whole(1, count) if isinstance(count, int) else double(2, count)
    return nested(3, number + double(3, total) + whole(14, hint) + whole(15, at_ms))


def metadata(kind: int, help_ref: int = 0) -> bytes:
    return nested(5, whole(1, kind) + whole(3, help_ref))


def series(refs: Sequence[int], *parts: bytes) -> bytes:
    return (nested(1, b"".join(map(varint, refs))) if refs else b"") + b"".join(parts)


def body(*timeseries: bytes, symbols: Sequence[str | bytes] = SYMBOLS) -> bytes:
    told = [each.encode() if isinstance(each, str) else each for each in symbols]
    return b"".join(nested(4, each) for each in told) + b"".join(nested(5, each) for each in timeseries)


def decode(*timeseries: bytes, symbols: Sequence[str | bytes] = SYMBOLS) -> WrittenV2:
    return RemoteWriteV2Decoder().decode(body(*timeseries, symbols=symbols))


def rows(decoded: Decoded) -> list[tuple[object, float, int]]:
    return [
        (decoded.keys[index], value, at_ms)
        for index, value, at_ms in zip(
            decoded.index.tolist(), decoded.values.tolist(), decoded.timestamps_ms.tolist(), strict=True
        )
    ]


def test_labels_samples_and_counts() -> None:
    written = decode(series(CPU, sample(1.5, NOW_MS), sample(2.5, NOW_MS + 1), nested(4, b"")))
    assert rows(written.decoded) == [
        (("cpu", (("job", "web"),)), 1.5, NOW_MS),
        (("cpu", (("job", "web"),)), 2.5, NOW_MS + 1),
    ]
    assert (written.samples, written.histograms, written.exemplars) == (2, 0, 1)


def test_an_empty_body_is_an_empty_batch() -> None:
    written = RemoteWriteV2Decoder().decode(b"")
    assert (len(written.decoded), written.samples, written.decoded.rejected_count) == (0, 0, 0)


@pytest.mark.parametrize(
    ("refs", "kind", "reading"),
    [
        (REQUESTS, COUNTER, Reading.COUNTER),
        (CPU, COUNTER, Reading.COUNTER),
        (REQUESTS, GAUGE, Reading.GAUGE),
        (REQUESTS, 0, Reading.COUNTER),
        (REQUESTS, 99, Reading.COUNTER),
        (CPU, 0, Reading.GAUGE),
        (CPU, GAUGE, Reading.GAUGE),
    ],
)
def test_the_type_comes_from_metadata_else_from_the_name(refs: Sequence[int], kind: int, reading: Reading) -> None:
    decoder = RemoteWriteV2Decoder()
    told = body(series(refs, sample(1, NOW_MS), metadata(kind, 6)))
    for _ in range(2):
        ((metric, labels),) = decoder.decode(told).decoded.keys
        assert reading_of(metric, dict(labels)) is reading


def test_a_native_histogram_is_its_count_and_sum() -> None:
    written = decode(
        series(CPU, histogram(7, 3.5, NOW_MS), metadata(HISTOGRAM)),
        series(CPU, histogram(7.5, float("nan"), NOW_MS + 1)),
        series(CPU, histogram(0, STALE, NOW_MS + 2)),
    )
    found = [(key[0], value) for key, value, _ in rows(written.decoded)]
    assert found == [("cpu_count", 7.0), ("cpu_sum", 3.5), ("cpu_count", 7.5)]
    assert {reading_of(metric, dict(labels)) for metric, labels in written.decoded.keys} == {
        Reading.COUNT,
        Reading.SUM,
    }
    assert (written.samples, written.histograms, written.decoded.stale) == (0, 3, 1)


def test_a_gauge_histogram_is_no_running_total() -> None:
    written = decode(series(CPU, histogram(7, 3.5, NOW_MS, hint=3)))
    assert {reading_of(metric, dict(labels)) for metric, labels in written.decoded.keys} == {Reading.GAUGE}


@pytest.mark.parametrize(
    ("refs", "parts", "field", "lost"),
    [
        ((1, 2, 3), (sample(1, NOW_MS),), "labels_refs", 1),
        ((1, 99), (sample(1, NOW_MS), sample(2, NOW_MS)), "labels_refs", 2),
        ((3, 4), (sample(1, NOW_MS),), "__name__", 1),
        ((), (histogram(1, 1, NOW_MS),), "__name__", 1),
        ((1, 2, 3, 4, 3, 2), (sample(1, NOW_MS),), "labels", 1),
        ((1, 8), (sample(1, NOW_MS),), "labels", 1),
        (CPU, (sample(float("inf"), NOW_MS),), "value", 1),
        (CPU, (sample(1, 17),), "timestamp", 1),
        (CPU, (histogram(1, 1, 17),), "timestamp", 1),
        (CPU, (histogram(-1.0, 1, NOW_MS),), "histogram.count", 1),
        (CPU, (b"\x12\x05",), "timeseries", 1),
        (CPU, (nested(4, b"x" * MAX_ITEM_BYTES),), "timeseries", 1),
    ],
)
def test_a_bad_series_is_refused_alone(refs: Sequence[int], parts: Sequence[bytes], field: str, lost: int) -> None:
    decoder = RemoteWriteV2Decoder()
    told = body(series(refs, *parts), series(REQUESTS, sample(3, NOW_MS)), symbols=[*SYMBOLS, b"\xff"])
    for _ in range(2):
        written = decoder.decode(told)
        assert [value for _, value, _ in rows(written.decoded)] == [3]
        assert (written.samples, written.decoded.rejected_count) == (1, lost)
        assert [(each.index, each.field) for each in written.decoded.rejected][:1] == [(0, field)]


def test_a_sample_of_the_future_is_refused() -> None:
    decoder = RemoteWriteV2Decoder()
    for _ in range(2):
        written = decoder.decode(body(series(CPU, sample(1, NOW_MS + 1))), latest_ms=NOW_MS)
        assert (written.samples, written.decoded.rejected_count) == (0, 1)
        assert written.decoded.rejected[0].expected == f"not later than {NOW_MS}"


@pytest.mark.parametrize(
    "garbage", [b"\xff", b"hello", body(series(CPU))[:-1], body(series(CPU), symbols=["x"]), nested(5, b"")]
)
def test_a_body_of_another_kind_is_refused(garbage: bytes) -> None:
    with pytest.raises(Invalid, match=r"body|symbols"):
        RemoteWriteV2Decoder().decode(garbage)


def test_more_items_than_are_held_in_memory_are_refused_unparsed() -> None:
    with pytest.raises(TooLarge, match=str(MAX_ITEMS)):
        RemoteWriteV2Decoder().decode(b"\x2a\x00" * (MAX_ITEMS + 1))


def test_symbols_may_be_numbered_anew_in_each_request() -> None:
    decoder = RemoteWriteV2Decoder()
    decoder.decode(body(series(CPU, sample(1, NOW_MS)), series(REQUESTS, sample(2, NOW_MS))))
    many = ["", *(f"s{n}" for n in range(300)), *SYMBOLS[1:]]
    moved = [[300 + ref for ref in refs] for refs in (CPU, REQUESTS)]
    again = decoder.decode(body(*(series(refs, sample(3, NOW_MS)) for refs in moved), symbols=many))
    assert sorted(metric for metric, _ in again.decoded.present) == ["cpu", "requests_total"]
    swapped = ["", "__name__", "web", "job", "cpu", *SYMBOLS[5:]]
    other = decoder.decode(body(series(CPU, sample(4, NOW_MS)), symbols=swapped))
    assert other.decoded.present == (("web", (("job", "cpu"),)),)


VALUES = st.sampled_from([0.0, -0.0, 1.0, STALE, float("inf"), 3.2e-274]) | st.floats()
TIMES = st.sampled_from([NOW_MS, 0, -1, 10**12]) | st.integers(-(2**63), 2**63 - 1) | st.integers(10**12, 2 * 10**12)
REFS = st.sampled_from([CPU, REQUESTS, (1, 2, 3), (1, 7), (1, 130), (), (1, 2, 3, 4, 3, 4)])
PARTS = st.one_of(
    st.builds(sample, VALUES, TIMES),
    st.builds(sample, VALUES, TIMES),
    st.builds(histogram, st.integers(0, 9) | st.floats(), VALUES, TIMES),
    st.builds(metadata, st.integers(0, 9), st.integers(0, 300)),
    st.sampled_from([b"", nested(4, b"x"), nested(9, b"unknown"), whole(6, NOW_MS), b"\x2a\x01\x08", b"\x30"]),
)
SERIES = st.builds(series, REFS, PARTS, PARTS, PARTS)
USUAL = st.builds(
    lambda refs, value, kind, created: series(refs, sample(value, NOW_MS), metadata(kind, 6), whole(6, created)),
    st.sampled_from([CPU, REQUESTS]),
    VALUES,
    st.integers(0, 9),
    st.sampled_from([0, NOW_MS]),
)
PLAIN = declare(
    "tests.prw2",
    {
        "Request": ("repeated bytes timeseries = 5",),
        "TimeSeries": (
            "repeated uint32 labels_refs = 1",
            "repeated Sample samples = 2",
            "repeated Histogram histograms = 3",
            "Metadata metadata = 5",
        ),
        "Sample": ("double value = 1", "int64 timestamp = 2"),
        "Histogram": ("double sum = 3", "int64 timestamp = 15"),
        "Metadata": ("int32 type = 1",),
    },
)


@given(st.lists(st.lists(USUAL | SERIES | st.binary(max_size=40), max_size=6), min_size=1, max_size=4))
def test_what_a_decoder_remembers_changes_nothing(bodies: list[list[bytes]]) -> None:
    remembering = RemoteWriteV2Decoder(max_known=3)
    for timeseries in bodies:
        fresh, again = decode(*timeseries), remembering.decode(body(*timeseries))
        assert rows(again.decoded) == rows(fresh.decoded)
        assert again.decoded.rejected == fresh.decoded.rejected
        assert (again.decoded.rejected_count, again.decoded.stale) == (
            fresh.decoded.rejected_count,
            fresh.decoded.stale,
        )
        assert (again.samples, again.histograms, again.exemplars) == (fresh.samples, fresh.histograms, fresh.exemplars)


@given(st.lists(USUAL | SERIES, max_size=6))
def test_every_sample_and_histogram_is_counted_once(timeseries: list[bytes]) -> None:
    decoder = RemoteWriteV2Decoder()
    sent = 0
    for raw in PLAIN["Request"].FromString(body(*timeseries)).timeseries:
        try:
            plain = PLAIN["TimeSeries"].FromString(raw)
        except DecodeError:
            sent += 1
            continue
        full = decode(raw).decoded.rejected_count
        items = len(plain.samples) + len(plain.histograms)
        sent += items or full  # what holds nothing may count as one refusal, for its labels
    for _ in range(2):
        written = decoder.decode(body(*timeseries))
        assert written.samples + written.histograms + written.decoded.rejected_count == sent


@given(st.binary(max_size=120) | st.builds(body, st.binary(max_size=80)))
def test_bytes_give_samples_or_a_named_error(garbage: bytes) -> None:
    with contextlib.suppress(Invalid):
        assert np.isfinite(RemoteWriteV2Decoder().decode(garbage).decoded.values).all()


@pytest.mark.parametrize("refs", [CPU, [200, 300] * 40, [20_000, 3]])
@pytest.mark.parametrize("value", [0.0, 1.5])
@pytest.mark.parametrize("tail", [b"", metadata(GAUGE, 300), whole(6, NOW_MS), metadata(0) + whole(6, NOW_MS)])
def test_what_senders_write_is_read_by_columns(refs: Sequence[int], value: float, tail: bytes) -> None:
    shape = Shape([series(refs, sample(value, NOW_MS), tail)] * 3)
    found, counts = shape.refs(symbols=30_000)
    assert found.tolist() == [*refs] * 3
    assert counts.tolist() == [len(refs)] * 3
    assert (shape.plain.all(), shape.values.tolist(), shape.at_ms.tolist()) == (True, [value] * 3, [NOW_MS] * 3)
    assert set(shape.kind.tolist()) == {GAUGE if tail == metadata(GAUGE, 300) else 0}


def test_a_zero_value_is_read_from_its_shorter_form() -> None:
    decoder = RemoteWriteV2Decoder()
    for value in (1.0, 0.0, -0.0, 2.0):
        decoded = decoder.decode(body(series(CPU, sample(value, NOW_MS), metadata(GAUGE)))).decoded
        assert decoded.values.tolist() == [value]
