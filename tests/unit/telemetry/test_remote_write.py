"""Remote-write 1.0, against bodies put together field by field as Prometheus's Go code does."""

import contextlib
import struct
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.errors import Invalid
from sentinel.telemetry.decoded import Decoded
from sentinel.telemetry.remote_write import STALE_BITS, RemoteWriteDecoder, decode_remote_write_v1

NOW_MS = 1_700_000_000_000
STALE = struct.unpack("<d", struct.pack("<Q", STALE_BITS))[0]
Labels = Sequence[tuple[str, str]]
CPU: Labels = [("__name__", "cpu"), ("job", "web")]


def varint(number: int) -> bytes:
    number &= 2**64 - 1
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


def nested(field: int, payload: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(payload)) + payload


def sample(value: float, at_ms: int) -> bytes:
    # Go leaves out what equals zero.
    number = b"" if value == 0 else b"\x09" + struct.pack("<d", value)
    return nested(2, number + (b"" if at_ms == 0 else b"\x10" + varint(at_ms)))


def series(labels: Labels, *samples: tuple[float, int], more: bytes = b"") -> bytes:
    told = b"".join(nested(1, nested(1, name.encode()) + nested(2, value.encode())) for name, value in labels)
    return told + b"".join(sample(*each) for each in samples) + more


def body(*timeseries: bytes) -> bytes:
    return b"".join(nested(1, each) for each in timeseries)


def rows(decoded: Decoded) -> list[tuple[str, float, int]]:
    return [
        (decoded.keys[index][0], value, at_ms)
        for index, value, at_ms in zip(
            decoded.index.tolist(), decoded.values.tolist(), decoded.timestamps_ms.tolist(), strict=True
        )
    ]


def test_labels_name_and_samples() -> None:
    decoded = decode_remote_write_v1(body(series(CPU, (1.5, NOW_MS), (2.5, NOW_MS + 1))))
    assert decoded.present == (("cpu", (("job", "web"),)),)
    assert rows(decoded) == [("cpu", 1.5, NOW_MS), ("cpu", 2.5, NOW_MS + 1)]


def test_an_empty_body_is_an_empty_batch() -> None:
    assert len(decode_remote_write_v1(b"")) == 0


def test_stale_markers_are_counted_apart_and_other_nans_refused() -> None:
    decoded = decode_remote_write_v1(
        body(series(CPU, (STALE, NOW_MS)), series(CPU, (float("nan"), NOW_MS)), series(CPU, (float("inf"), NOW_MS)))
    )
    assert (len(decoded), decoded.stale, decoded.rejected_count) == (0, 1, 2)
    assert [(each.index, each.field) for each in decoded.rejected] == [(1, "value"), (2, "value")]


def test_histograms_and_exemplars_are_skipped_and_counted() -> None:
    decoded = decode_remote_write_v1(body(series(CPU, (1, NOW_MS), more=nested(3, b"") + nested(4, b"") * 2)))
    assert (len(decoded), decoded.skipped) == (1, 3)


@pytest.mark.parametrize(
    ("labels", "field"),
    [
        ([("job", "web")], "__name__"),
        ([("__name__", "")], "__name__"),
        ([*CPU, ("job", "again")], "labels"),
        ([*CPU, ("", "x")], "labels"),
        ([*CPU, ("a", "x" * 1025)], "labels.a"),
        ([("__name__", "m" * 257)], "metric"),
        ([*CPU, *((f"l{n}", "x") for n in range(40))], "labels"),
    ],
)
def test_a_bad_series_is_refused_alone(labels: Labels, field: str) -> None:
    decoded = decode_remote_write_v1(body(series(labels, (1, NOW_MS), (2, NOW_MS + 1)), series(CPU, (3, NOW_MS))))
    assert rows(decoded) == [("cpu", 3, NOW_MS)]
    assert decoded.rejected_count == 2
    assert [(each.index, each.field) for each in decoded.rejected] == [(0, field)]


def test_labels_that_are_not_utf8_are_refused_alone() -> None:
    bad = nested(1, nested(1, b"__name__") + nested(2, b"\xff")) + sample(1, NOW_MS)
    decoded = decode_remote_write_v1(body(bad, series(CPU, (3, NOW_MS))))
    assert (len(decoded), decoded.rejected_count) == (1, 1)
    assert decoded.rejected[0].field == "timeseries"


@pytest.mark.parametrize("at_ms", [0, 1_700_000_000, -1, NOW_MS * 1000])
def test_an_absurd_time_is_refused(at_ms: int) -> None:
    decoder = RemoteWriteDecoder()
    for _ in range(2):
        decoded = decoder.decode(body(series(CPU, (1, at_ms))))
        assert (len(decoded), decoded.rejected_count, decoded.rejected[0].field) == (0, 1, "timestamp")


@pytest.mark.parametrize("garbage", [b"\xff", b"hello", body(series(CPU, (1, NOW_MS)))[:-1]])
def test_a_body_of_another_kind_is_refused(garbage: bytes) -> None:
    with pytest.raises(Invalid, match="body"):
        decode_remote_write_v1(garbage)


NAMES = st.sampled_from(["cpu", "memory", "\x12\x10\t", "ä"])
VALUES = st.sampled_from([0.0, -0.0, 1.0, STALE, float("inf"), 3.2e-274]) | st.floats()
TIMES = st.sampled_from([NOW_MS, 0, -1, 10**12]) | st.integers(-(2**63), 2**63 - 1) | st.integers(10**12, 2 * 10**12)
SERIES = st.builds(
    lambda name, samples, more: series([("__name__", name), ("job", "web")], *samples, more=more),
    NAMES,
    st.lists(st.tuples(VALUES, TIMES), max_size=3),
    st.sampled_from(
        [b"", b"", nested(3, b"x"), nested(9, b"unknown"), sample(1, NOW_MS), nested(1, b"\x0a\x01a\x12\x01b")]
    ),
)


@given(st.lists(st.lists(SERIES | st.binary(max_size=40), max_size=6), min_size=1, max_size=4))
def test_what_a_decoder_remembers_changes_nothing(bodies: list[list[bytes]]) -> None:
    remembering = RemoteWriteDecoder(max_known=3)
    for timeseries in bodies:
        fresh, again = decode_remote_write_v1(body(*timeseries)), remembering.decode(body(*timeseries))
        assert sorted(again.present) == sorted(fresh.present)
        assert rows(again) == rows(fresh)
        assert again.rejected == fresh.rejected
        assert (again.rejected_count, again.stale, again.skipped) == (fresh.rejected_count, fresh.stale, fresh.skipped)


def test_a_known_series_goes_on_with_zero_and_other_values() -> None:
    decoder = RemoteWriteDecoder()
    decoder.decode(body(series(CPU, (1, NOW_MS))))
    assert rows(decoder.decode(body(series(CPU, (0.0, NOW_MS)), series(CPU, (7, NOW_MS + 1))))) == [
        ("cpu", 0.0, NOW_MS),
        ("cpu", 7.0, NOW_MS + 1),
    ]


@given(st.binary(max_size=120))
def test_bytes_give_samples_or_a_named_error(garbage: bytes) -> None:
    with contextlib.suppress(Invalid):
        assert np.isfinite(decode_remote_write_v1(garbage).values).all()
