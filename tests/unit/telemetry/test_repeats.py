"""Bodies that repeat others: whatever is remembered of them, the answer is that of a decoder that remembers nothing."""

import math
import struct
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.errors import Invalid, TooLarge
from sentinel.telemetry.decoded import Decoded
from sentinel.telemetry.remote_write import STALE_BITS, RemoteWriteDecoder, decode_remote_write_v1
from sentinel.telemetry.repeats import FULL, ZERO, Followed, Repeats, field_at
from tests.unit.telemetry.protobuf_bytes import double, nested, whole

NOW_MS = 1_760_000_000_000
STALE = struct.unpack("<d", struct.pack("<Q", STALE_BITS))[0]
EXEMPLAR = nested(3, nested(1, b""))


def labels(number: int) -> bytes:
    """Of lengths on both sides of 128, so that fields have sizes of one byte and of two."""
    named = {"__name__": f"metric_{number}", "job": "web" * (number % 50)}
    return b"".join(nested(1, nested(1, name.encode()) + nested(2, value.encode())) for name, value in named.items())


def sample(value: float, at_ms: int) -> bytes:
    return nested(2, double(1, value) + whole(2, at_ms))


def body(numbers: Sequence[int], at_ms: int, values: Sequence[float]) -> bytes:
    return b"".join(
        nested(1, labels(number) + sample(value, at_ms)) for number, value in zip(numbers, values, strict=True)
    )


def told(decoded: Decoded) -> list[object]:
    names = [decoded.keys[index] for index in decoded.index.tolist()]
    samples = list(zip(names, decoded.values.tolist(), decoded.timestamps_ms.tolist(), strict=True))
    return [samples, decoded.rejected, decoded.rejected_count, decoded.stale, decoded.skipped]


VALUES = st.sampled_from([0.0, 1.5, -2.0, 3e300, STALE, math.inf])
AT = st.sampled_from([NOW_MS, NOW_MS + 15_000, 0, 1, 5_000_000_000_000])


@st.composite
def repeated(draw: st.DrawFn) -> list[bytes]:
    """Bodies of one sender: the same series in the same order, cut anywhere, and now and then something else."""
    order = list(range(60))
    made = []
    for _ in range(draw(st.integers(3, 6))):
        first = draw(st.integers(0, 20))
        numbers = order[first : first + draw(st.integers(30, 60))]
        calm = draw(st.booleans())
        values = [1.0] * len(numbers) if calm else draw(st.lists(VALUES, min_size=len(numbers), max_size=len(numbers)))
        fields = [
            nested(1, labels(each) + sample(value, draw(AT) if each % 29 == 0 else NOW_MS))
            for each, value in zip(numbers, values, strict=True)
        ]
        for _ in range(draw(st.integers(0, 2))):
            at = draw(st.integers(0, len(fields) - 1))
            fields[at] = draw(
                st.sampled_from(
                    [
                        nested(1, labels(at) + sample(1.0, NOW_MS) + sample(2.0, NOW_MS + 1)),
                        nested(1, labels(at) + sample(1.0, NOW_MS) + EXEMPLAR),
                        nested(1, labels(at + 1000) + sample(4.0, NOW_MS)),
                        nested(3, b"metadata, as Prometheus sends it between series"),
                        nested(1, labels(at)),
                        nested(1, b"\xff" * 20),
                        b"",
                    ]
                )
            )
        made.append(b"".join(fields))
    return made


@settings(max_examples=60)
@given(repeated())
def test_what_is_remembered_changes_only_the_speed(bodies: list[bytes]) -> None:
    decoder = RemoteWriteDecoder()
    for each in bodies * 2:
        assert told(decoder.decode(each)) == told(decode_remote_write_v1(each))


@settings(max_examples=60)
@given(st.data())
def test_a_changed_byte_is_seen_wherever_it_stands(data: st.DataObject) -> None:
    whole_body = body(range(40), NOW_MS, [1.0, 0.0] * 20)
    decoder = RemoteWriteDecoder()
    for _ in range(3):
        decoder.decode(whole_body)
    at = data.draw(st.integers(0, len(whole_body) - 1))
    changed = bytearray(whole_body)
    changed[at] ^= data.draw(st.integers(1, 255))
    try:
        expected = told(decode_remote_write_v1(bytes(changed)))
    except Invalid:
        with pytest.raises(Invalid):
            decoder.decode(bytes(changed))
    else:
        assert told(decoder.decode(bytes(changed))) == expected


def split(raw: bytes) -> tuple[bytes, bytes]:
    tail = raw[-FULL:] if raw[-FULL : 3 - FULL] == b"\x12\x10\x09" else b"\x12\x10\x09" + bytes(8) + raw[2 - ZERO :]
    return raw[: -FULL if raw[-FULL : 3 - FULL] == b"\x12\x10\x09" else -ZERO], tail


class Reader:
    """Repeats with the numbers a decoder would give."""

    def __init__(self) -> None:
        self.repeats = Repeats()
        self.numbers: dict[bytes, int] = {}
        self.looked_up = 0

    def lookup(self, raw: bytes) -> tuple[int, bytes] | None:
        self.looked_up += 1
        prefix, tail = split(raw)
        number = self.numbers.get(prefix)
        return None if number is None else (number, tail)

    def follow(self, sent: bytes) -> Followed:
        return self.repeats.follow(sent, self.lookup)

    def learn(self, sent: bytes) -> None:
        raws, at = [], 0
        while at < len(sent):
            begin, at = field_at(sent, at)
            raws.append(sent[begin:at])
        numbers = [self.numbers.setdefault(split(raw)[0], len(self.numbers)) for raw in raws]
        full = np.array([raw[-FULL : 3 - FULL] == b"\x12\x10\x09" for raw in raws])
        self.repeats.learn(sent, np.array([len(raw) for raw in raws]), np.array(numbers, np.int64), full)


def test_the_same_series_again_are_read_with_one_look_at_a_series() -> None:
    reader = Reader()
    reader.learn(body(range(100), NOW_MS, [1.0] * 100))
    again = body(range(100), NOW_MS + 15_000, [float(n) for n in range(1, 101)])
    found = reader.follow(again)
    assert (found.end, reader.looked_up) == (len(again), 1)
    assert found.numbers.tolist() == list(range(100))
    assert [struct.unpack("<d", found.tails[18 * n + 3 : 18 * n + 11])[0] for n in range(100)] == list(range(1, 101))
    assert [field_at(again, at)[0] > at for at in found.begins.tolist()] == [True] * 100


def test_series_cut_elsewhere_are_read_across_two_bodies_that_were_kept() -> None:
    reader = Reader()
    reader.learn(body(range(100), NOW_MS, [1.0] * 100))
    reader.learn(body(range(100, 200), NOW_MS, [1.0] * 100))
    cut = body(range(60, 160), NOW_MS + 15_000, [2.0] * 100)
    assert reader.follow(cut).numbers.tolist() == list(range(60, 160))
    assert reader.looked_up == 2


def test_a_value_that_became_zero_costs_one_more_look() -> None:
    reader = Reader()
    reader.learn(body(range(100), NOW_MS, [1.0] * 100))
    values = [1.0] * 100
    values[50] = 0.0
    sent = body(range(100), NOW_MS + 15_000, values)
    found = reader.follow(sent)
    assert (found.end, reader.looked_up) == (len(sent), 2)
    without = sample(0.0, NOW_MS + 15_000)
    assert found.tails[18 * 50 : 18 * 51] == b"\x12\x10\x09" + bytes(8) + without[2:]


def test_a_sender_without_an_order_is_soon_left_to_the_plain_way() -> None:
    reader = Reader()
    reader.learn(body(range(200), NOW_MS, [1.0] * 200))
    backwards = body(range(199, -1, -1), NOW_MS + 15_000, [1.0] * 200)
    assert 0 < reader.follow(backwards).end < len(backwards) / 4


def test_memory_stays_bounded_when_the_order_never_repeats() -> None:
    reader = Reader()
    random = np.random.default_rng(5)
    for _ in range(1500):
        reader.learn(body(random.permutation(300)[:40].tolist(), NOW_MS, [1.0] * 40))
    kept = reader.repeats._kept.values()
    assert sum(2 * len(each.body) for each in kept) == reader.repeats._bytes
    assert len(kept) < 300, "each body that is kept has a series that no later one told of"


def test_a_body_that_repeats_too_often_is_refused_like_any_other_of_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentinel.telemetry.remote_write.MAX_ITEMS", 150)
    decoder, sent = RemoteWriteDecoder(), body(range(100), NOW_MS, [1.0] * 100)
    for _ in range(3):
        assert len(decoder.decode(sent)) == 100
    with pytest.raises(TooLarge):
        decoder.decode(sent * 2)
