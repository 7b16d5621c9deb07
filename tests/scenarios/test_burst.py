"""Fifty times the normal rate: the excess is refused for now, memory stays bounded, and people are still answered."""

import contextlib
import http.client
import re
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cramjam
import httpx
import numpy as np
import pytest

from sentinel.clock import Clock, SystemClock
from tests.chaos.running import descendants, waited
from tests.scenarios.test_real_senders import Up, up
from tests.unit.telemetry.protobuf_bytes import nested

NORMAL_PER_S = 1_000
BURST_S = 15.0
CONNECTIONS = 24
SERIES, EACH = 50, 1000  # of one request of the burst; as many as wait at once do not fit before the detectors
MOST_MB = 300
ANSWERED_WITHIN_S = 3.0
PLAN = "/api/v1/plans/inc-20231114-1a2b3c4d-1.p1/approve"
HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
# One sample of a series in remote-write 1.0: a double and a time, of which six bytes are told apart.
SAMPLE = np.dtype([("head", "3u1"), ("value", "<f8"), ("tag", "u1"), ("time", "6u1")])


class Sender:
    """One connection with series of its own, whose every sample is later than the one before."""

    def __init__(self, url: str, name: str, start_ms: int) -> None:
        self._http = http.client.HTTPConnection(url.rpartition("/")[2], timeout=60)
        self._name = name
        self._next_ms = start_ms
        self._values = np.random.default_rng(7)
        self.answers: Counter[int] = Counter()
        self.offered = self.accepted = 0

    def send(self, series: int, each: int) -> int:
        """One request of `each` samples of so many series; its status."""
        body = self._body(series, each)
        self._http.request("POST", "/api/v1/write", body, HEADERS)
        answer = self._http.getresponse()
        answer.read()
        self.offered += series * each
        self.accepted += series * each if answer.status == 204 else 0
        self.answers[answer.status] += 1
        if answer.status == 503:
            assert int(answer.headers["Retry-After"]) >= 1
        return answer.status

    def close(self) -> None:
        self._http.close()

    def _body(self, series: int, each: int) -> bytes:
        at_ms = self._next_ms + np.arange(each, dtype=np.uint64)
        self._next_ms += each
        told = []
        for number in range(series):
            samples = np.zeros(each, SAMPLE)
            samples["head"], samples["tag"] = (0x12, 16, 0x09), 0x10
            samples["value"] = self._values.normal(100, 5, each)
            for place in range(6):
                samples["time"][:, place] = (at_ms >> np.uint64(7 * place)) & np.uint64(0x7F) | np.uint64(0x80)
            samples["time"][:, 5] &= 0x7F
            labels = {"__name__": "load", "sender": self._name, "series": str(number), "service": f"s{number % 7}"}
            named = b"".join(nested(1, nested(1, k.encode()) + nested(2, v.encode())) for k, v in labels.items())
            told.append(nested(1, named + samples.tobytes()))
        return bytes(cramjam.snappy.compress_raw(b"".join(told)))


class Person:
    """Somebody who approves a plan that is not there, and looks at the list, over and over."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._http = httpx.Client(base_url=url, timeout=30, trust_env=False)
        self._clock = clock
        self.took_s: list[float] = []
        self.answers: Counter[int] = Counter()

    def act(self) -> None:
        for method, path in (
            ("POST", "/api/v1/plans/inc-20231114-1a2b3c4d-1.p1/approve"),
            ("GET", "/api/v1/incidents"),
        ):
            before = self._clock.monotonic()
            answer = self._http.request(method, path, json={"digest": "0" * 64} if method == "POST" else None)
            self.took_s.append(self._clock.monotonic() - before)
            self.answers[answer.status_code] += 1

    def close(self) -> None:
        self._http.close()


@pytest.fixture(scope="module")
def sentinel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("burst")) as running:
        yield running


def replica(sentinel: Up) -> int:
    """The process id of the door."""
    for pid in descendants(sentinel.pid):
        with contextlib.suppress(OSError):
            if b"ServeReplica" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
    raise AssertionError("no process is a replica of the door")


def held_mb(pid: int, name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.M)
    assert found
    return int(found[1]) / 1024


@contextlib.contextmanager
def together(*works: threading.Thread) -> Iterator[None]:
    """Threads that run for the length of the block."""
    for work in works:
        work.start()
    try:
        yield
    finally:
        for work in works:
            work.join(60)


@pytest.mark.timeout(240)
def test_a_burst_costs_the_excess_and_nobody_else(sentinel: Up) -> None:
    clock, over = SystemClock(), threading.Event()
    start_ms = clock.now_ms() - 3_600_000
    steady = Sender(sentinel.url, "steady", start_ms)
    for _ in range(3):
        assert steady.send(50, NORMAL_PER_S // 50) == 204
        over.wait(1)
    door = replica(sentinel)
    Path(f"/proc/{door}/clear_refs").write_text("5")  # the most it held is now what it holds
    before_mb = held_mb(door, "VmRSS")
    crowd = [Sender(sentinel.url, f"burst-{n}", start_ms) for n in range(CONNECTIONS)]
    person = Person(sentinel.url, clock)

    def burst(sender: Sender) -> None:
        while not over.is_set():
            if sender.send(SERIES, EACH) != 204:
                over.wait(0.3)

    def people() -> None:
        while not over.is_set():
            person.act()
            over.wait(0.1)

    works = [threading.Thread(target=burst, args=(each,)) for each in crowd]
    with together(*works, threading.Thread(target=people)):
        over.wait(BURST_S)
        over.set()
    grown_mb = held_mb(door, "VmHWM") - before_mb
    answers = sum((each.answers for each in crowd), Counter())
    offered, accepted = (sum(getattr(each, name) for each in crowd) for name in ("offered", "accepted"))

    assert offered >= 50 * NORMAL_PER_S * BURST_S
    assert set(answers) == {204, 503}, "the excess is refused for now, and nothing else happens"
    assert grown_mb < MOST_MB
    assert len(person.took_s) >= 20
    assert float(np.quantile(person.took_s, 0.99)) < ANSWERED_WITHIN_S
    assert set(person.answers) == {200, 404}

    waited(lambda: steady.send(50, NORMAL_PER_S // 50) == 204 or None, 15, "the normal rate is taken again")
    counts = sentinel.counts("remote_write")
    assert counts["received"] == counts["scored"] + counts["held"] + counts["ignored"] + counts.get("try_again", 0)
    assert set(counts) <= {"received", "scored", "held", "ignored", "try_again"}, "nothing else was refused"
    assert counts["scored"] >= accepted + steady.accepted
    for sender in (steady, *crowd):
        sender.close()
    person.close()
