"""Protobuf put together by hand, as Go's generated code does: ascending fields, and nothing for what equals zero."""

import struct


def varint(number: int) -> bytes:
    number &= 2**64 - 1
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


def nested(field: int, payload: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(payload)) + payload


def whole(field: int, number: int) -> bytes:
    return b"" if number == 0 else varint(field << 3) + varint(number)


def double(field: int, number: float) -> bytes:
    packed = struct.pack("<d", number)
    return b"" if packed == bytes(8) else varint(field << 3 | 1) + packed
