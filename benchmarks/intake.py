"""How much telemetry the door takes: remote-write into Sentinel, which scores it, beside Prometheus, which stores it.

Real requests (2,000 samples of distinct series, 8 labels each, snappy) over HTTP from one sender process to each in
turn, on the same machine in the same run. Reported: samples a second, and samples per CPU-second over all processes
of the receiver (from /proc), for each number of series; then where Sentinel's time goes, stage by stage, in process.

    python -m benchmarks.intake [--series 20000 200000] [--samples 2000000] [--repeat 3] [--prometheus PATH]
"""

import argparse
import contextlib
import http.client
import multiprocessing
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cramjam
import numpy as np

from benchmarks.report import machine, table, write
from sentinel.detection.config import DetectorConfig
from sentinel.detection.detector import Detector
from sentinel.telemetry.batch import unpack_all
from sentinel.telemetry.compression import decompress
from sentinel.telemetry.interning import Interner
from sentinel.telemetry.remote_write import RemoteWriteDecoder
from sentinel.telemetry.series import DEFAULT_SERVICE_LABELS

REQUEST = 2000
LABELS = ("instance", "pod", "namespace", "cluster", "region", "version", "service")
CONNECTIONS = 4
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Load:
    """Requests that are ready to be sent, in rounds of one sample a series."""

    series: int
    bodies: list[list[bytes]]

    @property
    def samples(self) -> int:
        return sum(len(each) for each in self.bodies) * REQUEST


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def series_bytes(index: int) -> bytes:
    """The labels of one series as remote-write 1.0 has them, sorted by name."""
    values = {
        "__name__": f"request_duration_mean_{index % 20}",
        "cluster": "prod-eu-1",
        "instance": f"10.{index // 65536 % 256}.{index // 256 % 256}.{index % 256}:9090",
        "namespace": f"team-{index % 37}",
        "pod": f"shop-{index % 50}-{index * 2654435761 % 2**32:08x}-{index % 977:05d}",
        "region": "eu-central-1",
        "service": f"shop-{index % 50}",
        "version": f"1.{index % 7}.{index % 13}",
    }
    return b"".join(
        _field(1, _field(1, name.encode()) + _field(2, value.encode())) for name, value in sorted(values.items())
    )


def make_load(series: int, rounds: int, start_ms: int) -> Load:
    """`rounds` samples of each series, 15 s apart, in compressed requests of 2,000 distinct series."""
    labels = [series_bytes(index) for index in range(series)]
    generator = np.random.default_rng(7)
    bodies: list[list[bytes]] = []
    for each in range(rounds):
        stamp = _varint(start_ms + each * 15_000)
        values = generator.normal(100, 5, series)
        requests = []
        for first in range(0, series, REQUEST):
            parts = []
            for index in range(first, first + REQUEST):
                sample = b"\x09" + values[index].tobytes() + b"\x10" + stamp
                parts.append(_field(1, labels[index] + _field(2, sample)))
            requests.append(bytes(cramjam.snappy.compress_raw(b"".join(parts))))
        bodies.append(requests)
    return Load(series, bodies)


def _send(port: int, path: str, rounds: list[list[bytes]], lane: int, lanes: int, result: "multiprocessing.Queue[int]"):
    """Send every `lanes`-th request of each round over one connection, with a sender's patience."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    headers = {
        "Content-Encoding": "snappy",
        "Content-Type": "application/x-protobuf",
        "X-Prometheus-Remote-Write-Version": "0.1.0",
    }
    again = 0
    for requests in rounds:
        for body in requests[lane::lanes]:
            while True:
                connection.request("POST", path, body, headers)
                answer = connection.getresponse()
                text = answer.read()
                if answer.status == 503:
                    again += 1
                    time.sleep(0.05)
                    continue
                if answer.status not in (200, 204):
                    raise SystemExit(f"{path} answered {answer.status}: {text[:200]!r}")
                break
    result.put(again)


def send(port: int, path: str, rounds: list[list[bytes]]) -> tuple[float, int]:
    """Seconds to have all rounds taken over CONNECTIONS connections, and how often 503 was answered."""
    context = multiprocessing.get_context("fork")
    result: multiprocessing.Queue[int] = context.Queue()
    senders = [
        context.Process(target=_send, args=(port, path, rounds, lane, CONNECTIONS, result))
        for lane in range(CONNECTIONS)
    ]
    begun = time.perf_counter()
    for sender in senders:
        sender.start()
    again = sum(result.get(timeout=900) for _ in senders)
    for sender in senders:
        sender.join()
    return time.perf_counter() - begun, again


def cpu_seconds(root: int, marker: str = "") -> float:
    """CPU seconds of a process, all its descendants, and every process whose command line has `marker`."""
    parents: dict[int, int] = {}
    used: dict[int, float] = {}
    marked: set[int] = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        pid = int(entry.name)
        parents[pid] = int(fields[1])
        used[pid] = (int(fields[11]) + int(fields[12])) / TICK
        if marker and marker in command:
            marked.add(pid)
    total = 0.0
    for pid, seconds in used.items():
        ancestor, seen = pid, 0
        while ancestor not in (0, 1, root) and seen < 50:
            ancestor, seen = parents.get(ancestor, 0), seen + 1
        if ancestor == root or pid in marked:
            total += seconds
    return total


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, path: str, within_s: float = 120) -> None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        time.sleep(0.3)
    raise SystemExit(f"nothing answers on port {port}")


@contextlib.contextmanager
def running(command: list[str], folder: Path, port: int, ready: str, environ: dict[str, str]) -> Iterator[int]:
    with (folder / "log").open("w") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output, env={**os.environ, **environ})
        try:
            wait_for(port, ready)
            yield process.pid
        finally:
            process.terminate()
            process.wait(60)


@contextlib.contextmanager
def sentinel(folder: Path) -> Iterator[tuple[int, int]]:
    port = free_port()
    environ = {"SENTINEL_API_PORT": str(port), "SENTINEL_DETECTION_MAX_SERIES": "1000000"}
    environ |= {"SENTINEL_DETECTION_CHECKPOINT_EVERY_S": "60"}
    command = [sys.executable, "-m", "sentinel", "up"]
    with running(command, folder, port, "/health/ready", environ) as pid:
        yield pid, port


@contextlib.contextmanager
def prometheus(binary: str, folder: Path) -> Iterator[tuple[int, int]]:
    port = free_port()
    (folder / "prometheus.yml").write_text("global: {}\n")
    command = [binary, "--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{port}"]
    command += ["--storage.tsdb.path=data", "--web.enable-remote-write-receiver"]
    with running(command, folder, port, "/-/ready", {}) as pid:
        yield pid, port


def measure(pid: int, port: int, path: str, load: Load, marker: str = "") -> tuple[float, float, int]:
    """Samples a second and per CPU-second of the rounds after the first, which introduces every series."""
    send(port, path, load.bodies[:1])
    samples = load.samples - load.series
    before = cpu_seconds(pid, marker)
    seconds, again = send(port, path, load.bodies[1:])
    return samples / seconds, samples / (cpu_seconds(pid, marker) - before), again


def stages(load: Load) -> list[tuple[str, str, str]]:
    """Nanoseconds a sample of each stage in one process, over the rounds after the first."""
    decoder, interner = RemoteWriteDecoder(1_000_000), Interner(DEFAULT_SERVICE_LABELS, 64, 1_000_000, 1)
    detector = Detector(DetectorConfig(max_series=1_000_000))
    spent: dict[str, float] = {}

    def timed(name: str, call: Callable[[], object]) -> object:
        begun = time.process_time()
        answer = call()
        spent[name] = spent.get(name, 0.0) + time.process_time() - begun
        return answer

    for each, requests in enumerate(load.bodies):
        if each == 1:
            spent.clear()
        for body in requests:
            raw = timed("decompress", lambda body=body: decompress(body, "snappy", 1 << 26))
            decoded = timed("decode", lambda raw=raw: decoder.decode(raw))
            split = timed("intern and partition", lambda decoded=decoded: interner.split(decoded))
            packed = timed("pack", lambda split=split: split.batches[0].pack())
            batches = timed("unpack", lambda packed=packed: unpack_all(packed))
            for batch in batches:
                timed("score and learn", lambda batch=batch: detector.observe(batch))
    samples = load.samples - load.series
    total = sum(spent.values())
    rows = [(name, f"{seconds / samples * 1e9:.0f}", f"{seconds / total:.0%}") for name, seconds in spent.items()]
    return [*rows, ("together", f"{total / samples * 1e9:.0f}", "")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--samples", type=int, default=2_000_000, help="samples to send for each number of series")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--prometheus", default=shutil.which("prometheus") or "")
    parser.add_argument("--data", help="not used: this benchmark makes its own load")
    options = parser.parse_args()
    rows = []
    for series in options.series:
        rounds = max(2, options.samples // series + 1)
        results: dict[str, list[tuple[float, float, int]]] = {"Sentinel": [], "Prometheus": []}
        # Both in turn, several times: these machines are noisy, and a ratio of neighbours is not.
        for turn in range(options.repeat):
            load = make_load(series, rounds, int(time.time() * 1000) - rounds * 15_000)
            with tempfile.TemporaryDirectory() as folder, sentinel(Path(folder)) as (pid, port):
                results["Sentinel"].append(measure(pid, port, "/api/v1/write", load, f"-{port}/haproxy.cfg"))
            if options.prometheus:
                with (
                    tempfile.TemporaryDirectory() as folder,
                    prometheus(options.prometheus, Path(folder)) as (pid, port),
                ):
                    results["Prometheus"].append(measure(pid, port, "/api/v1/write", load))
            print(series, turn, {name: [tuple(map(int, each)) for each in got] for name, got in results.items()})
        medians = {
            name: [statistics.median(each[column] for each in got) for column in range(3)]
            for name, got in results.items()
            if got
        }
        theirs = medians.get("Prometheus")
        for name, (rate, per_cpu, again) in medians.items():
            ratio = f"{per_cpu / theirs[1]:.1f}" if theirs else "-"
            rows.append((f"{series:,}", name, f"{rate:,.0f}", f"{per_cpu:,.0f}", ratio, f"{again:.0f}"))
    text = table(("series", "receiver", "samples/s", "samples/CPU-s", "x Prometheus", "503s"), rows)
    if not options.prometheus:
        text += "\n\nPrometheus is not installed here (Debian: apt-get install prometheus), so there is no ratio."
    load = make_load(
        options.series[0], max(2, options.samples // options.series[0] // 2), int(time.time() * 1000) - 10**8
    )
    text += "\n\n" + table(("stage, in one process", "ns a sample", "share"), stages(load))
    write("intake", __doc__ or "", f"{text}\n\n{machine()}")


if __name__ == "__main__":
    main()
