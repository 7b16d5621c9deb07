"""Hostile input at every door: bombs, floods, broken bodies and odd numbers end in a 4xx, in bounded memory."""

import asyncio
import gzip
import json
import os
import struct
import zlib
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from sentinel.errors import Overloaded
from sentinel.telemetry.rows import STALE_BITS
from serve_apps.bodies import Bodies, read_body
from tests.serve.door_rig import (
    ALERTS,
    DOORS,
    EVENTS,
    JSON,
    METRICS,
    NOW,
    PROTOBUF,
    SAMPLES,
    SMALL,
    V2,
    WEBHOOK,
    WRITE,
    Door,
    snappy,
    v1,
    v2,
)
from tests.serve.test_ingest_doors import otlp, zstd
from tests.unit.telemetry.protobuf_bytes import varint

MB = 1024 * 1024
PLAN = "/api/v1/plans/inc-20231114-1a2b3c4d-1.p1/approve"
ROW = {"metric": "cpu", "labels": {"service": "web"}, "timestamp": NOW, "value": 1.5}


@pytest_asyncio.fixture
async def door() -> AsyncIterator[Door]:
    made = Door()
    yield made
    await made.conserved()
    await made.http.aclose()


# --- T17: bodies without an end ---------------------------------------------------------------------------------


@pytest.mark.parametrize("declared", [{}, {"content-length": str(1024 * MB)}, {"content-length": "9" * 5000}])
@pytest.mark.parametrize("path", [*DOORS, PLAN])
async def test_a_body_that_is_too_large_is_not_read_to_its_end(door: Door, path: str, declared: dict[str, str]) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while read < 1024 * MB:
            read += 65536
            yield bytes(65536)

    answer = await door.http.post(path, content=endless(), headers={"content-type": JSON, **declared})
    expected = 415 if path == WRITE else 413  # it is asked what it is before it is read
    assert answer.status_code == expected
    assert read <= (0 if declared or path == WRITE else SMALL.api.max_body_bytes + 65536)


@pytest.mark.parametrize("length", ["\u00b2", "-1", "1e9", "0x10", "", "12, 12", " "])
async def test_a_length_that_is_no_number_is_not_believed(door: Door, length: str) -> None:
    headers = [(b"content-type", JSON.encode()), (b"content-length", length.encode("latin-1"))]
    assert (await door.http.post(SAMPLES, content=json.dumps([ROW]).encode(), headers=headers)).status_code == 202


async def test_bodies_that_come_in_at_once_are_bounded_together() -> None:
    bodies = Bodies(100)

    def request(size: int, then: asyncio.Event) -> Request:
        async def receive() -> dict[str, object]:
            if not then.is_set():
                then.set()
                return {"type": "http.request", "body": bytes(size), "more_body": True}
            await asyncio.sleep(0.01)
            return {"type": "http.request", "body": b"", "more_body": False}

        return Request({"type": "http", "headers": []}, receive)

    first = asyncio.create_task(read_body(request(60, asyncio.Event()), 1000, bodies))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await read_body(request(60, asyncio.Event()), 1000, bodies)
    assert len(await first) == 60
    assert len(await read_body(request(100, asyncio.Event()), 1000, bodies)) == 100, "what was read makes room"


# --- T18, T19: bombs --------------------------------------------------------------------------------------------


def zeros(packer: "zlib._Compress", megabytes: int) -> bytes:
    return b"".join(packer.compress(bytes(MB)) for _ in range(megabytes)) + packer.flush()


def zstd_zeros(megabytes: int) -> bytes:
    """A frame of run-length blocks of 128 KiB zeros each: four bytes that stand for so many."""
    frame = bytes.fromhex("28b52ffd0058")  # a window of 2 MiB, no size told
    block = (1 << 1 | 128 * 1024 << 3).to_bytes(3, "little") + b"\0"
    last = (1 | 1 << 1 | 128 * 1024 << 3).to_bytes(3, "little") + b"\0"
    return frame + block * (megabytes * 8 - 1) + last


GZIP_BOMB = zeros(zlib.compressobj(9, wbits=31), 256)
BOMBS = {
    "snappy: 4 GiB claimed in seven bytes": ("snappy", varint(2**32 - 1) + b"\0\0", 413),
    "snappy: 40 MB of zeros": ("snappy", snappy(bytes(40 * MB)), 413),
    "snappy: a length over 64 bits": ("snappy", b"\xff" * 10 + b"\x01", 400),
    "snappy: cut off": ("snappy", snappy(os.urandom(10_000))[:-9], 400),
    "snappy: framed": ("snappy", bytes.fromhex("ff060000734e61507059"), 400),
    "gzip: 256 MB of zeros": ("gzip", GZIP_BOMB, 413),
    "gzip: in gzip": ("gzip", gzip.compress(GZIP_BOMB), 400),
    "gzip: cut off": ("gzip", gzip.compress(os.urandom(10_000))[:-9], 400),
    "gzip: a thousand members": ("gzip", gzip.compress(b"[]") * 1000, 400),
    "gzip: not at all": ("gzip", b"[]", 400),
    "zstd: 1 GiB of zeros": ("zstd", zstd_zeros(1024), 413),
    "zstd: 2**63 bytes claimed": ("zstd", bytes.fromhex("28b52ffde0") + (2**63).to_bytes(8, "little"), 400),
    "zstd: a window of 2**41": ("zstd", bytes.fromhex("28b52ffd00f8010000"), 400),
    "zstd: cut off": ("zstd", zstd(os.urandom(10_000))[:-9], 400),
    "stacked": ("gzip, gzip", gzip.compress(gzip.compress(b"[]")), 415),
    "deflate": ("deflate", zlib.compress(b"[]"), 415),
    "a name without an end": ("g" * 5000, b"[]", 415),
}
TYPES = {SAMPLES: JSON, WRITE: PROTOBUF, METRICS: JSON, EVENTS: JSON, WEBHOOK: JSON, ALERTS: JSON}


@pytest.mark.parametrize("path", TYPES)
@pytest.mark.parametrize("bomb", BOMBS)
async def test_a_bomb_is_refused(door: Door, path: str, bomb: str) -> None:
    encoding, body, expected = BOMBS[bomb]
    answer = await door.post(path, body, TYPES[path], encoding)
    # Zeros are no JSON and no protobuf either, where a refusal by size would come first.
    assert answer.status_code == expected, answer.text


# --- what it costs: a door in a process of its own, measured by the kernel --------------------------------------


# --- T20, T21: JSON ---------------------------------------------------------------------------------------------

NUMBERS = {
    "1e-999": 202,  # smaller than any number is zero
    **dict.fromkeys(("NaN", "Infinity", "1e999", "-1e999", "1" * 5000, "0" * 20, "+1", ".5", "0x10", "1."), 400),
}
DEEP = (b"[" * 60_000, b'{"a":' * 12_000, b"[" * 30_000 + b"]" * 30_000, b'[{"labels":' + b"[" * 5000)
BROKEN = (
    b"",
    b"{",
    b"null",
    b"true",
    b'"text"',
    b"\xff\xfe",
    b"[1,2",
    b"\xef\xbb\xbf[]",
    b"[]x",
    b"[\x00]",
    b'["\\ud800"]',
)


@pytest.mark.parametrize("path", [path for path in DOORS if path != WRITE] + [PLAN])
@pytest.mark.parametrize("body", [*DEEP, *BROKEN], ids=lambda body: repr(body[:12]))
async def test_json_that_is_deep_or_broken_is_a_400(door: Door, path: str, body: bytes) -> None:
    assert (await door.post(path, body, JSON)).status_code == 400


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number[:12])
async def test_numbers_that_are_none(door: Door, number: str) -> None:
    body = json.dumps([ROW]).replace("1.5", number).encode()
    assert (await door.post(SAMPLES, body, JSON)).status_code == NUMBERS[number]


@pytest.mark.parametrize("body", [b'{"digest":"%s"}', b'{"digest":"%s","reason":"\\u0000"}', b'{"\\ud800":"%s"}'])
async def test_odd_texts_in_a_decision_are_no_fault_of_ours(door: Door, body: bytes) -> None:
    answer = await door.post(PLAN, body % (b"0" * 64), JSON)
    assert answer.status_code in (400, 404)
    assert answer.json()["error"]


async def test_of_keys_that_come_twice_the_last_counts_everywhere_and_is_what_people_see() -> None:
    seen: list[str] = []

    class Approval:
        async def decide(self, plan_id: str, digest: str, *_: object) -> str:
            seen.append(digest)
            return "done"

    door = Door(approval=Approval())
    await door.post(PLAN, b'{"digest":"%s","digest":"%s"}' % (b"0" * 64, b"1" * 64), JSON)
    assert seen == ["1" * 64]
    body = b'[{"metric":"a","metric":"b","timestamp":1700000000000,"value":1,"labels":{"l":"1","l":"2"}}]'
    assert (await door.post(SAMPLES, body, JSON)).status_code == 202
    (known,) = [each for actor in door.detectors.actors for each in actor._detector.series()]
    assert (known.metric, known.labels) == ("b", {"l": "2"})


# --- T23: numbers as bits ---------------------------------------------------------------------------------------

BITS = st.one_of(
    st.integers(0, 2**64 - 1),
    st.sampled_from([STALE_BITS, 0x7FF0000000000001, 0x7FF8000000000000, 0x7FF0000000000000, 0xFFF0000000000000]),
    st.sampled_from([1 << 63, 1, 0x000FFFFFFFFFFFFF, 0x7FEFFFFFFFFFFFFF, 0xFFEFFFFFFFFFFFFF]),
)


@given(bits=st.lists(BITS, min_size=1, max_size=20))
@settings(max_examples=60)
def test_every_pattern_of_bits_is_a_number_a_stale_marker_or_refused(bits: list[int]) -> None:
    async def check() -> None:
        door = Door()
        values = [struct.unpack("<d", struct.pack("<Q", each))[0] for each in bits]
        finite, stale = int(np.isfinite(values).sum()), bits.count(STALE_BITS)
        refused = len(bits) - finite - stale
        rows = [(f"m{n}", {"service": "s"}, value, NOW) for n, value in enumerate(values)]
        for pack, content_type, source in ((v1, PROTOBUF, "remote_write"), (v2, V2, "remote_write_2")):
            answer = await door.post(WRITE, pack([(*row[:3], NOW + len(source)) for row in rows]), content_type)
            assert answer.status_code == (400 if refused else 204)
            counts = await door.counts(source)
            assert (counts.get("scored", 0), counts.get("stale", 0)) == (finite, stale)
            assert counts.get("malformed", 0) == refused
        answer = await door.post(METRICS, otlp(*values, at_ms=NOW + 1).SerializeToString(), PROTOBUF)
        assert answer.status_code == 200
        assert (await door.counts("otlp")).get("scored", 0) == finite
        baselines = [actor._detector._state.baseline for actor in door.detectors.actors]
        assert all(np.isfinite(base.level).all() and np.isfinite(base.spread).all() for base in baselines)
        await door.conserved()

    asyncio.run(check())


# --- T24, T25: order and repetition -----------------------------------------------------------------------------

TICKS = 40
STREAM = [
    (f"m{n}", {"service": f"s{n % 3}"}, 100.0 + (tick * 7 + n) % 5 + (500.0 if n == 4 and tick >= 30 else 0.0), tick)
    for tick in range(TICKS)
    for n in range(6)
]


def scored(requests: list[list[tuple[str, dict[str, str], float, int]]]) -> list[tuple[str, int, float]]:
    """What is found unusual when the stream comes as these requests, each of them three times."""
    return asyncio.run(_scored(requests))


async def _scored(requests: list[list[tuple[str, dict[str, str], float, int]]]) -> list[tuple[str, int, float]]:
    door = Door()
    for rows in requests:
        for _ in range(3):
            told = v1([(metric, labels, value, NOW + 1000 * tick) for metric, labels, value, tick in rows])
            assert (await door.post(WRITE, told)).status_code == 204
    await door.conserved()
    counts = await door.counts("remote_write")
    assert (counts["scored"], counts["late"]) == (len(STREAM), 2 * len(STREAM))
    return [(each.series.metric, each.started_at_ms, each.score) for each in await door.detectors.open_anomalies()]


@pytest.fixture(scope="module")
def in_order() -> list[tuple[str, int, float]]:
    return scored([STREAM])


@given(data=st.data())
@settings(max_examples=20)
def test_whatever_order_the_series_come_in_and_however_often_the_same_is_found(
    in_order: list[tuple[str, int, float]], data: st.DataObject
) -> None:
    by_series = [STREAM[n::6] for n in range(6)]
    turns = data.draw(st.permutations([n for n in range(6) for _ in range(TICKS)]))
    rest = [list(rows) for rows in by_series]
    mixed = [rest[n].pop(0) for n in turns]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(mixed)), max_size=8)))
    requests = [mixed[a:b] for a, b in zip([0, *cuts], [*cuts, len(mixed)], strict=True) if a < b]
    assert scored(requests) == in_order
    assert [(metric, at_ms) for metric, at_ms, _ in in_order] == [("m4", NOW + 30_000)]
