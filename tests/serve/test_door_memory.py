"""Hostile bodies, and large good ones, at a door in a process of its own: each costs little memory."""

import contextlib
import gzip
import re
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from sentinel.clock import SystemClock
from tests.scenarios.ray_head import ROOT
from tests.serve.door_rig import (
    ALERTS,
    EVENTS,
    JSON,
    METRICS,
    NDJSON,
    PROTOBUF,
    SAMPLES,
    SNS,
    V2,
    WEBHOOK,
    WRITE,
    snappy,
    v1,
)
from tests.serve.test_hostile_payloads import GZIP_BOMB, MB, ROW, zstd_zeros
from tests.unit.telemetry.protobuf_bytes import nested, varint
from tests.unit.telemetry.test_remote_write import series

MOST_MB = 64


@dataclass(frozen=True, slots=True)
class Process:
    """A door that listens, with room for 2,000 series."""

    port: int
    pid: int
    http: httpx.Client

    def grown_mb(self, send: Callable[[], None]) -> float:
        """By how much the process grew at most while `send` ran, in megabytes."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")  # the most it held is now what it holds
        before = self._megabytes("VmRSS")
        send()
        return self._megabytes("VmHWM") - before

    def _megabytes(self, name: str) -> float:
        found = re.search(rf"^{name}:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text(), re.M)
        assert found
        return int(found[1]) / 1024


@contextlib.contextmanager
def started() -> Iterator[Process]:
    command = [sys.executable, "-m", "tests.serve.door_rig", "2000"]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        port = int(running.stdout.readline())
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            now = SystemClock().now_ms()
            for _ in range(3):  # what the first request of each kind loads is no cost of the next
                client.post(SAMPLES, json=[{**ROW, "timestamp": now}])
                client.post(WRITE, content=v1([("cpu", {"service": "web"}, 1.0, now)]))
            yield Process(port, running.pid, client)
    finally:
        running.terminate()
        running.wait(20)
        if running.stdout:
            running.stdout.close()


@pytest.fixture(scope="module")
def process() -> Iterator[Process]:
    with started() as made:
        yield made


@pytest.fixture
def empty() -> Iterator[Process]:
    """One with room for series still."""
    with started() as made:
        yield made


def many(item: bytes, count: int, opens: bytes = b"[", closes: bytes = b"]") -> bytes:
    return gzip.compress(opens + b",".join([item] * count) + closes, 1)


# name: path, content type, encoding, body, status. Each stays within the limits on bytes before and after inflating.
COSTLY: dict[str, Callable[[], tuple[str, str, str, bytes, int]]] = {
    "gzip bomb": lambda: (SAMPLES, JSON, "gzip", GZIP_BOMB, 413),
    "zstd bomb": lambda: (SAMPLES, JSON, "zstd", zstd_zeros(1024), 413),
    "snappy bomb": lambda: (WRITE, PROTOBUF, "snappy", snappy(bytes(40 * MB)), 413),
    "snappy claim": lambda: (WRITE, PROTOBUF, "snappy", varint(2**32 - 1) + b"\0\0", 413),
    "many tiny samples": lambda: (
        *(SAMPLES, JSON, "gzip"),
        many(b'{"metric":"m","timestamp":1,"value":1}', 500_000),
        413,
    ),
    "many numbers": lambda: (SAMPLES, JSON, "gzip", many(b"0", 9_500_000), 413),
    "many lines": lambda: (SAMPLES, NDJSON, "gzip", gzip.compress(b"0\n" * 9_500_000, 1), 413),
    "as many numbers as pass": lambda: (SAMPLES, JSON, "gzip", many(b"0", 500_000), 400),
    "as many lines as pass": lambda: (SAMPLES, NDJSON, "gzip", gzip.compress(b"0\n" * 500_000, 1), 400),
    "many labels": lambda: (
        *(SAMPLES, JSON, "gzip"),
        many(b'"l":""', 2_700_000, b'[{"metric":"m","timestamp":1,"value":1,"labels":{', b"}}]"),
        413,
    ),
    "deep": lambda: (SAMPLES, JSON, "gzip", gzip.compress(b"[" * 19_000_000, 1), 400),
    "many series of nothing": lambda: (WRITE, PROTOBUF, "snappy", snappy(b"\x0a\0" * 9_500_000), 413),
    "many symbols of nothing": lambda: (WRITE, V2, "snappy", snappy(b"\x22\0" * 9_500_000), 413),
    "many resources of nothing": lambda: (METRICS, PROTOBUF, "gzip", gzip.compress(b"\x0a\0" * 9_500_000, 1), 413),
    "many objects": lambda: (
        *(METRICS, JSON, "gzip"),
        many(b"{}", 6_300_000, b'{"resourceMetrics":[', b"]}"),
        413,
    ),
    "many alerts": lambda: (ALERTS, JSON, "gzip", many(b"{}", 6_300_000), 413),
    "a webhook of many alerts": lambda: (WEBHOOK, JSON, "gzip", many(b"{}", 6_300_000, b'{"alerts":[', b"]}"), 413),
    "many events": lambda: (EVENTS, "application/cloudevents-batch+json", "gzip", many(b"{}", 6_300_000), 413),
    "an SNS message of many things": lambda: (SNS, "text/plain", "", b"[" + b"{}," * 300_000 + b"{}]", 400),
}


def flood(count: int, labels: int) -> bytes:
    """Remote-write 1.0 of as many new series with as many labels each."""
    now = SystemClock().now_ms()
    named = [(f"label_{number}", f"ROUND-{number}") for number in range(labels)]
    one = nested(1, series([("__name__", "flood"), *named], (1.0, now)))
    return snappy(b"".join(one.replace(b"ROUND", b"%05d" % number) for number in range(count)))


def point(at_ms: int, n: int) -> bytes:
    """A number of OTLP with one attribute."""
    head = b"\x19" + struct.pack("<Q", at_ms * 10**6) + b"\x21" + struct.pack("<d", n)
    return head + nested(7, nested(1, b"n") + nested(2, nested(1, b"%d" % (n % 10))))


def points(count: int) -> bytes:
    """OTLP of as many samples of ten series."""
    now = SystemClock().now_ms()
    metrics = []
    for first in range(0, count, 2000):
        each = range(first, min(first + 2000, count))
        told = b"".join(nested(1, point(now - n, n)) for n in each)
        metrics.append(nested(2, nested(1, b"m") + nested(5, told)))
    return gzip.compress(nested(1, nested(2, b"".join(metrics))), 1)


# What is large and good: as much as is taken of each, and a little more.
COSTLY |= {
    "as many new series as pass": lambda: (WRITE, PROTOBUF, "snappy", flood(12_000, 8), 400),
    "more new series": lambda: (WRITE, PROTOBUF, "snappy", flood(60_000, 8), 413),
    "as many samples of few series as pass": lambda: (METRICS, PROTOBUF, "gzip", points(100_000), 200),
    "more samples of few series": lambda: (METRICS, PROTOBUF, "gzip", points(200_000), 413),
}


@pytest.mark.parametrize("name", COSTLY)
def test_a_hostile_body_costs_little_memory(process: Process, name: str) -> None:
    path, content_type, encoding, body, status = COSTLY[name]()
    headers = {"content-type": content_type, "content-encoding": encoding or "identity"}
    answers = []
    grown = process.grown_mb(lambda: answers.append(process.http.post(path, content=body, headers=headers)))
    assert answers[0].status_code == status, answers[0].text[:300]
    assert grown < MOST_MB


@pytest.mark.parametrize("declared", [False, True])
def test_a_gigabyte_on_the_wire_costs_little_memory(process: Process, declared: bool) -> None:
    head = f"POST {SAMPLES} HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\n"
    head += f"Content-Length: {1024 * MB}\r\n\r\n" if declared else "Transfer-Encoding: chunked\r\n\r\n"
    chunk = bytes(MB) if declared else b"100000\r\n" + bytes(MB) + b"\r\n"
    told = b""

    def send() -> None:
        nonlocal told
        with socket.create_connection(("127.0.0.1", process.port), 20) as wire:
            wire.sendall(head.encode())
            for _ in range(1024):
                if select.select([wire], [], [], 0)[0]:
                    break
                wire.sendall(chunk)
            told = wire.recv(1000)

    assert process.grown_mb(send) < MOST_MB
    assert told.startswith(b"HTTP/1.1 413 ")


def test_a_million_new_series_leave_those_that_are_watched_unharmed(empty: Process) -> None:
    now = SystemClock().now_ms()
    watched = [("watched", {"service": "web", "n": str(n)}, 1.0, now) for n in range(1000)]
    assert empty.http.post(WRITE, content=v1(watched)).status_code == 204
    flood = b"".join(nested(1, series([("__name__", "flood"), ("n", f"ROUND{n}")], (1.0, now))) for n in range(20_000))
    statuses: set[int] = set()

    def send() -> None:
        for number in range(50):
            body = snappy(flood.replace(b"ROUND", b"%05d" % number))
            statuses.add(empty.http.post(WRITE, content=body).status_code)

    assert empty.grown_mb(send) < MOST_MB
    assert statuses == {400}, "the sender hears of it"
    later = [(*row[:3], now + 1) for row in watched]
    assert empty.http.post(WRITE, content=v1(later)).status_code == 204
