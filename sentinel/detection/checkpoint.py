"""The whole state of a detector as bytes: versioned, checksummed, and given back to the last bit."""

import zlib
from array import array
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import msgspec
import numpy as np

from sentinel.detection.config import DetectorConfig
from sentinel.detection.state import State
from sentinel.errors import Invalid
from sentinel.ids import Fingerprint
from sentinel.telemetry.series import Series
from sentinel.telemetry.series_index import SeriesIndex

VERSION = 3  # raise it whenever a column is added or means something else
_MAGIC = b"SDET"
_HEADER = len(_MAGIC) + 2 + 4


class _Checkpoint(msgspec.Struct):
    series: list[tuple[str, str, str, dict[str, str]]]
    services: dict[str, int]
    columns: dict[str, tuple[str, tuple[int, ...], bytes]]


class _Encoded(msgspec.Struct):
    series: msgspec.Raw
    services: dict[str, int]
    columns: dict[str, tuple[str, tuple[int, ...], bytes]]


def _listed(encoded: list[bytes]) -> msgspec.Raw:
    return msgspec.Raw(b"\xdd" + len(encoded).to_bytes(4, "big") + b"".join(encoded))  # MessagePack's array 32


def dump(state: State) -> bytes:
    """All that `load` needs; the same state in the same bytes, however its samples came in batches."""
    state.baseline.watch[: len(state)] = state.book.settle(state.baseline.watch[: len(state)])
    state.service_watch[:] = state.service_book.settle(state.service_watch)
    # One by one, for encoding many at once would hold other threads up all the while.
    encode = msgspec.msgpack.Encoder().encode
    body = encode(
        _Encoded(
            series=_listed([encode((s.fingerprint, s.metric, s.service, dict(s.labels))) for s in state.series]),
            services=state.services.slots,
            columns={name: (array.dtype.str, array.shape, array.tobytes()) for name, array in _columns(state)},
        )
    )
    return _MAGIC + VERSION.to_bytes(2, "little") + zlib.crc32(body).to_bytes(4, "little") + body


def load(checkpoint: bytes, config: DetectorConfig) -> State:
    """The state that `dump` wrote. Raises Invalid if it is damaged or of another version."""
    if checkpoint[: len(_MAGIC)] != _MAGIC or len(checkpoint) < _HEADER:
        raise Invalid("checkpoint", checkpoint[:4], "a detector checkpoint")
    version = int.from_bytes(checkpoint[4:6], "little")
    if version != VERSION:
        raise Invalid("checkpoint.version", version, str(VERSION))
    body = checkpoint[_HEADER:]
    if zlib.crc32(body) != int.from_bytes(checkpoint[6:_HEADER], "little"):
        raise Invalid("checkpoint", f"{len(checkpoint)} bytes", "bytes that match their checksum")
    try:
        read = msgspec.msgpack.decode(body, type=_Checkpoint)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid("checkpoint", f"{len(checkpoint)} bytes", f"a whole checkpoint ({error})") from None
    state = State(config)
    state.series = [Series(Fingerprint(text), metric, service, labels) for text, metric, service, labels in read.series]
    state.index = SeriesIndex(each.id for each in state.series)
    for row, each in enumerate(state.series):
        state.rows_of.setdefault(each.service, array("q")).append(row)
    state.services.slots = read.services
    holders = dict(_holders(state))
    for name, (dtype, shape, blob) in read.columns.items():
        owner, _, attribute = name.partition(".")
        if owner not in holders or not hasattr(holders[owner], attribute):
            raise Invalid("checkpoint.columns", name, f"a column of version {VERSION}")
        try:
            column = np.frombuffer(blob, np.dtype(dtype)).reshape(shape).copy()
        except (TypeError, ValueError) as error:
            raise Invalid(f"checkpoint.{name}", dtype, f"an array of {shape} ({error})") from None
        setattr(holders[owner], attribute, column)
    state.pattern.used = len(state.pattern.shape.seen)
    state.configure(config)
    return state


def _holders(state: State) -> Iterator[tuple[str, Any]]:
    yield "baseline", state.baseline
    yield "season", state.season
    yield "member", state.services.member
    yield "group", state.services.group
    yield "services", state.services
    yield "movement", state.services.movements
    yield "shape", state.pattern.shape
    for place, past in enumerate(state.pattern.pasts):
        yield f"past{place}", past
    yield "policies", state.policies
    yield "alarm", state.book.alarm
    yield "service_alarm", state.service_book.alarm
    yield "state", state


def _columns(state: State) -> Iterator[tuple[str, Any]]:
    """Every array without its spare room: what is written depends on what was seen, not on when room was made."""
    count, slots, used = len(state), len(state.services.slots), len(state.pattern)
    cuts = {"baseline": count, "member": count, "group": slots, "shape": used}
    plain: dict[str, tuple[str, ...]] = {
        "movement": ("rounds", "covariance", "inverse", "frames", "recent", "q99", "level"),
        "season": ("table", "days"),
        "services": ("members",),
        "policies": ("burned",),
    }
    plain["state"] = ("pattern_slot", "service_watch", "service_caution")
    for owner, holder in _holders(state):
        for name in plain.get(owner) or [each.name for each in fields(holder)]:
            array = getattr(holder, name)
            if owner in {"season", "policies"}:
                array = array[..., :count]
            elif owner == "services" or name in {"service_watch", "service_caution"}:
                array = array[:slots]
            elif name == "pattern_slot":
                array = array[:count]
            else:
                array = array[: used if owner.startswith("past") else cuts.get(owner, len(array))]
            yield f"{owner}.{name}", array
