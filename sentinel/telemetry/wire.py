"""Protobuf without generated code: schemas declared where they are used, in a pool of their own.

A decoder declares only the fields it reads, and those it wants to see unparsed as `bytes`; protobuf carries the rest
along as unknown fields. What is declared stays compatible with the public schema, because field numbers and wire
types are all that travels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from sentinel.errors import TooLarge

__all__ = ["MAX_ITEMS", "MAX_ITEM_BYTES", "DecodeError", "bounded", "declare"]

MAX_ITEMS = 200_000  # series, points and the like in one body
MAX_ITEM_BYTES = 65_536  # of one of them, where it is parsed as a whole

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _Field.TYPE_BOOL,
    "bytes": _Field.TYPE_BYTES,
    "double": _Field.TYPE_DOUBLE,
    "fixed64": _Field.TYPE_FIXED64,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "sfixed64": _Field.TYPE_SFIXED64,
    "sint32": _Field.TYPE_SINT32,
    "string": _Field.TYPE_STRING,
    "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64,
}


def bounded(message: bytes, inside: Sequence[int] = (), most: int = MAX_ITEMS) -> bytes:
    """`message`, to be parsed into a list of its items. Raises TooLarge if it has over `most` of them.

    Items are its fields, those of every message in its field `inside[0]`, those in field `inside[1]` of these, and so
    on. An empty one is two bytes on the wire and some fifty in memory, so a limit on bytes does not bound memory.
    """
    # No field takes less than two bytes, so an ordinary body is not walked at all.
    if len(message) > 2 * most and _left(message, 0, len(message), inside, most) < 0:
        raise TooLarge(f"body: over {most} items")
    return message


def _left(message: bytes, at: int, end: int, inside: Sequence[int], most: int) -> int:
    """How many of `most` fields are left after those from `at` to `end`; below 0 as soon as there are none."""
    while at < end and most >= 0:
        tag, at = _varint(message, at)
        begin = at
        match tag & 7:
            case 0:
                _, at = _varint(message, at)
            case 1:
                at += 8
            case 2:
                size, begin = _varint(message, at)
                at = begin + size
            case 5:
                at += 4
            case _:
                return most  # no message at all, or one with groups: for the parser to say
        most -= 1
        if inside and tag == inside[0] << 3 | 2:
            most = _left(message, begin, min(at, end), inside[1:], most)
    return most


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """The number that stands at `at`, and where it ends; a number cut off ends with the message."""
    number = 0
    for place, byte in enumerate(message[at : at + 10]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, at + place + 1
    return number, len(message)


def declare(package: str, layout: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The message classes of `layout`: message -> fields, each written `[repeated|optional|oneof] TYPE NAME = NUMBER`.

    The syntax is proto3. All `oneof` fields of a message belong to the same one.
    """
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for name, fields in layout.items():
        declared = file.message_type.add(name=name)
        if any(field.startswith("oneof ") for field in fields):
            declared.oneof_decl.add(name="choice")
        for field in fields:
            _add(declared, field, package)
    # A pool of our own: the default one belongs to the process, and a second schema of one package in it would clash.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in layout}


def _add(declared: descriptor_pb2.DescriptorProto, field: str, package: str) -> None:
    *rule, kind, name, _, number = field.split()
    added = declared.field.add(name=name, number=int(number), label=_Field.LABEL_OPTIONAL)
    if kind in _SCALARS:
        added.type = _SCALARS[kind]
    else:
        added.type, added.type_name = _Field.TYPE_MESSAGE, f".{package}.{kind}"
    if rule == ["repeated"]:
        added.label = _Field.LABEL_REPEATED
    elif rule == ["oneof"]:
        added.oneof_index = 0
    elif rule == ["optional"]:
        # How proto3 spells presence: a oneof of one field, behind the true ones.
        added.proto3_optional, added.oneof_index = True, len(declared.oneof_decl)
        declared.oneof_decl.add(name=f"_{name}")
