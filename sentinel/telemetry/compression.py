"""Inflating request bodies in bounded memory: a body that would exceed the limit is refused before it is held."""

import zlib

import cramjam
import numpy as np

from sentinel.errors import Invalid, TooLarge, UnsupportedFormat

ENCODINGS = ("identity", "gzip", "zstd", "snappy")
_PIECE = 1024 * 1024
_GZIP_ONLY = 31  # zlib's window bits: 15, and 16 for the gzip header
_ZSTD_OUT_OF_ROOM = "failed to write whole buffer"  # cramjam has one exception for both; the text is pinned by a test


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """`body` inflated from `encoding` (`identity`, `gzip`, `zstd`, or `snappy` in its block form).

    Raises TooLarge if the result is, or declares to be, over `limit` bytes; Invalid if the body is damaged;
    UnsupportedFormat for another encoding.
    """
    match encoding.strip().lower():
        case "" | "identity":
            return _within(body, limit)
        case "gzip" | "x-gzip":
            return _gzip(body, limit)
        case "zstd":
            return _zstd(body, limit)
        case "snappy":
            return _snappy(body, limit)
        case other:
            raise UnsupportedFormat(f"content encoding {other[:40]!r}: expected one of {', '.join(ENCODINGS)}")


def _within(body: bytes, limit: int) -> bytes:
    if len(body) > limit:
        raise _too_large(limit)
    return body


def _gzip(body: bytes, limit: int) -> bytes:
    stream = zlib.decompressobj(_GZIP_ONLY)
    # In pieces: at once, zlib would hold a bomb's first `limit` bytes twice before it could be told by its size.
    inflated, rest = bytearray(), body
    try:
        while not stream.eof:
            piece = stream.decompress(rest, min(_PIECE, limit - len(inflated) + 1))
            rest = stream.unconsumed_tail
            if len(inflated) + len(piece) > limit:
                raise _too_large(limit)
            if not piece and not rest:
                break
            inflated += piece
    except zlib.error:
        raise Invalid("body", body[:16], "gzip data") from None
    # One member only: a chain of empty members costs the reader far more than it costs the sender.
    if not stream.eof or stream.unused_data:
        raise Invalid("body", f"{len(body)} bytes", "one complete gzip member")
    return bytes(inflated)


def _zstd(body: bytes, limit: int) -> bytes:
    # Untouched pages of `room` cost nothing, so the limit may be generous; a declared size need not be trusted.
    room = np.empty(limit + 1, np.uint8)
    try:
        size = cramjam.zstd.decompress_into(body, room.data)
    except cramjam.DecompressionError as error:
        if _ZSTD_OUT_OF_ROOM in str(error):
            raise _too_large(limit) from None
        raise Invalid("body", body[:16], "zstd data") from None
    if size > limit:
        raise _too_large(limit)
    return room[:size].tobytes()


def _snappy(body: bytes, limit: int) -> bytes:
    try:
        if cramjam.snappy.decompress_raw_len(body) > limit:
            raise _too_large(limit)
        return bytes(cramjam.snappy.decompress_raw(body))
    except cramjam.DecompressionError:
        raise Invalid("body", body[:16], "snappy data in block form") from None


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"body: over {limit} bytes when decompressed")
