"""Inflating: all encodings give the body back; bombs and damage are refused."""

import contextlib
import gzip
import tracemalloc
import zlib

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.errors import Invalid, TooLarge, UnsupportedFormat
from sentinel.telemetry.compression import ENCODINGS, decompress

LIMIT = 10_000


def compress(body: bytes, encoding: str) -> bytes:
    match encoding:
        case "gzip":
            return gzip.compress(body)
        case "zstd":
            return bytes(cramjam.zstd.compress(body))
        case "snappy":
            return bytes(cramjam.snappy.compress_raw(body))
        case _:
            return body


@given(st.binary(max_size=300), st.sampled_from(ENCODINGS))
def test_a_body_comes_back(body: bytes, encoding: str) -> None:
    assert decompress(compress(body, encoding), encoding, LIMIT) == body


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_limit_is_exact(encoding: str) -> None:
    assert len(decompress(compress(bytes(LIMIT), encoding), encoding, LIMIT)) == LIMIT
    with pytest.raises(TooLarge, match="over 10000 bytes"):
        decompress(compress(bytes(LIMIT + 1), encoding), encoding, LIMIT)


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "snappy"])
def test_a_bomb_is_refused_in_little_memory(encoding: str) -> None:
    bomb = compress(bytes(64 * 1024 * 1024), encoding)
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            decompress(bomb, encoding, LIMIT)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * 1024 * 1024  # of the 64 MiB it claims; what else the process allocates meanwhile is counted too


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "snappy"])
def test_damage_is_named(encoding: str) -> None:
    whole = compress(bytes(range(256)) * 4, encoding)
    for damaged in (b"", b"plain text", whole[:-3], whole[: len(whole) // 2]):
        with pytest.raises(Invalid, match="body"):
            decompress(damaged, encoding, LIMIT)


def test_a_snappy_length_that_lies_is_refused() -> None:
    with pytest.raises(TooLarge):
        decompress(b"\xff\xff\xff\xff\x0f", "snappy", LIMIT)


def test_gzip_is_one_member() -> None:
    with pytest.raises(Invalid, match="one complete gzip member"):
        decompress(gzip.compress(b"a") * 2, "gzip", LIMIT)
    with pytest.raises(Invalid):
        decompress(zlib.compress(b"a"), "gzip", LIMIT)


def test_names_of_encodings() -> None:
    assert decompress(b"x", "", LIMIT) == b"x"
    assert decompress(gzip.compress(b"x"), " GZIP ", LIMIT) == b"x"
    with pytest.raises(UnsupportedFormat, match="'br'"):
        decompress(b"x", "br", LIMIT)


@given(st.binary(max_size=200), st.sampled_from([*ENCODINGS, "deflate"]))
def test_bytes_give_a_body_or_a_named_error(body: bytes, encoding: str) -> None:
    with contextlib.suppress(Invalid, TooLarge, UnsupportedFormat):
        assert len(decompress(body, encoding, 100)) <= 100


@given(st.binary(min_size=1, max_size=60), st.sampled_from(["gzip", "zstd", "snappy"]), st.data())
def test_a_flipped_byte_gives_a_body_or_a_named_error(body: bytes, encoding: str, data: st.DataObject) -> None:
    damaged = bytearray(compress(body, encoding))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(Invalid, TooLarge):
        assert len(decompress(bytes(damaged), encoding, 100)) <= 100
