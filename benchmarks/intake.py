"""How much telemetry the door takes: remote-write into Sentinel, which scores it, beside Prometheus, which stores it.

Real requests (2,000 samples of distinct series, 8 labels each) over HTTP by eight connections to each in turn, on the
same machine in the same run. Reported: samples a second, senders running beside, and samples per CPU-second over all
processes of the receiver (from /proc), by number of series and format; where Sentinel's time goes, by process over
HTTP, and stage by stage in one process. HTTP and the transfer are what a process takes beyond its stages.

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
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.intake_load import FORMATS, Load, make_load
from benchmarks.report import machine, table, write
from sentinel.detection.config import DetectorConfig
from sentinel.detection.detector import Detector
from sentinel.telemetry.batch import unpack_all
from sentinel.telemetry.compression import decompress
from sentinel.telemetry.interning import Interner
from sentinel.telemetry.remote_write import RemoteWriteDecoder
from sentinel.telemetry.series import DEFAULT_SERVICE_LABELS

CONNECTIONS = 8
PARTS = {"haproxy": "HAProxy", "ServeReplica": "door", "ray::Detection": "detection"}
REST = "the rest"
TICK = os.sysconf("SC_CLK_TCK")


def _send(port: int, load: Load, rounds: list[list[bytes]], lane: int, result: "multiprocessing.Queue[int]") -> None:
    """Send every CONNECTIONS-th request of each round over one connection, with a sender's patience."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    again = 0
    for requests in rounds:
        for body in requests[lane::CONNECTIONS]:
            while True:
                connection.request("POST", load.path, body, load.headers)
                answer = connection.getresponse()
                text = answer.read()
                if answer.status in (429, 503):
                    again += 1
                    time.sleep(0.05)
                    continue
                if answer.status not in (200, 202, 204):
                    raise SystemExit(f"{load.path} answered {answer.status}: {text[:200]!r}")
                break
    result.put(again)


def send(port: int, load: Load, rounds: list[list[bytes]]) -> tuple[float, int]:
    """Seconds to have these rounds taken over CONNECTIONS connections, and how often "try again" was answered."""
    context = multiprocessing.get_context("fork")
    result: multiprocessing.Queue[int] = context.Queue()
    senders = [context.Process(target=_send, args=(port, load, rounds, lane, result)) for lane in range(CONNECTIONS)]
    begun = time.perf_counter()
    for sender in senders:
        sender.start()
    again = sum(result.get(timeout=900) for _ in senders)
    for sender in senders:
        sender.join()
    return time.perf_counter() - begun, again


def cpu_seconds(root: int, marker: str = "") -> Counter[str]:
    """CPU seconds by part of a process, its descendants, and every process whose command line has `marker`."""
    parents: dict[int, int] = {}
    used: dict[int, float] = {}
    commands: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            commands[int(entry.name)] = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        parents[int(entry.name)] = int(fields[1])
        used[int(entry.name)] = (int(fields[11]) + int(fields[12])) / TICK
    total: Counter[str] = Counter()
    for pid, seconds in used.items():
        ancestor, seen = pid, 0
        while ancestor not in (0, 1, root) and seen < 50:
            ancestor, seen = parents.get(ancestor, 0), seen + 1
        if ancestor == root or (marker and marker in commands.get(pid, "")):
            total[next((name for word, name in PARTS.items() if word in commands.get(pid, "")), REST)] += seconds
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
    environ |= {"SENTINEL_DETECTION_CHECKPOINT_EVERY_S": "60", "SENTINEL_API_MAX_NEW_SERIES_PER_MINUTE": "1000000"}
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


@dataclass(frozen=True)
class Run:
    """Of the rounds after the first two: the first introduces every series, the second is the first to repeat them."""

    rate: float
    cpu_ns: Mapping[str, float]  # CPU nanoseconds a sample, by part
    again: int

    @property
    def per_cpu_s(self) -> float:
        return 1e9 / sum(self.cpu_ns.values())


def measure(pid: int, port: int, load: Load, marker: str = "") -> Run:
    send(port, load, load.bodies[:2])
    samples = load.samples - 2 * load.series
    before = cpu_seconds(pid, marker)
    seconds, again = send(port, load, load.bodies[2:])
    spent = {name: used - before[name] for name, used in cpu_seconds(pid, marker).items()}
    return Run(samples / seconds, {name: each / samples * 1e9 for name, each in spent.items()}, again)


def stages(load: Load) -> list[tuple[str, str, str]]:
    """Nanoseconds a sample of each stage in one process, over the rounds after the first two."""
    decoder, interner = RemoteWriteDecoder(1_000_000), Interner(DEFAULT_SERVICE_LABELS, 64, 1_000_000, 1)
    detector = Detector(DetectorConfig(max_series=1_000_000))
    spent: dict[str, float] = {}

    def timed(name: str, call: Callable[[], object]) -> object:
        begun = time.process_time()
        answer = call()
        spent[name] = spent.get(name, 0.0) + time.process_time() - begun
        return answer

    for each, requests in enumerate(load.bodies):
        if each == 2:
            spent.clear()
        for body in requests:
            raw = timed("decompress", lambda body=body: decompress(body, "snappy", 1 << 26))
            decoded = timed("decode", lambda raw=raw: decoder.decode(raw))
            split = timed("intern and partition", lambda decoded=decoded: interner.split(decoded))
            packed = timed("pack", lambda split=split: split.batches[0].pack())
            batches = timed("unpack", lambda packed=packed: unpack_all(packed))
            for batch in batches:
                timed("score and learn", lambda batch=batch: detector.observe(batch))
    samples = load.samples - 2 * load.series
    total = sum(spent.values())
    rows = [(name, f"{seconds / samples * 1e9:.0f}", f"{seconds / total:.0%}") for name, seconds in spent.items()]
    return [*rows, ("together", f"{total / samples * 1e9:.0f}", "")]


def sentinel_run(series: int, rounds: int, form: str) -> Run:
    load = make_load(series, rounds, int(time.time() * 1000) - rounds * 15_000, form)
    with tempfile.TemporaryDirectory() as folder, sentinel(Path(folder)) as (pid, port):
        return measure(pid, port, load, f"-{port}/haproxy.cfg")


def prometheus_run(binary: str, series: int, rounds: int) -> Run:
    load = make_load(series, rounds, int(time.time() * 1000) - rounds * 15_000)
    with tempfile.TemporaryDirectory() as folder, prometheus(binary, Path(folder)) as (pid, port):
        return measure(pid, port, load)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--samples", type=int, default=2_000_000, help="samples to send for each number of series")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--prometheus", default=shutil.which("prometheus") or "")
    parser.add_argument("--data", help="not used: this benchmark makes its own load")
    options = parser.parse_args()
    rows, parts = [], []
    for series in options.series:
        rounds = max(4, options.samples // series + 2)
        runs: dict[tuple[str, str], list[Run]] = {}
        # All in turn, several times: these machines are noisy, and a ratio of neighbours is not.
        for turn in range(options.repeat):
            for form in FORMATS if series == options.series[0] else ("remote-write 1.0",):
                # The slow formats need no two million samples.
                few = rounds if form.startswith("remote-write") else max(4, rounds // 4)
                runs.setdefault(("Sentinel", form), []).append(sentinel_run(series, few, form))
                if options.prometheus and form == "remote-write 1.0":
                    runs.setdefault(("Prometheus", form), []).append(prometheus_run(options.prometheus, series, rounds))
            print(series, turn, {name: [int(run.per_cpu_s) for run in some] for name, some in runs.items()}, flush=True)
        theirs = runs.get(("Prometheus", "remote-write 1.0"))
        for (name, form), some in runs.items():
            rate, per_cpu_s, again = (
                statistics.median(getattr(run, what) for run in some) for what in ("rate", "per_cpu_s", "again")
            )
            ratio = f"{per_cpu_s / statistics.median(run.per_cpu_s for run in theirs):.1f}" if theirs else "-"
            rows.append((f"{series:,}", name, form, f"{rate:,.0f}", f"{per_cpu_s:,.0f}", ratio, f"{again:.0f}"))
            if name == "Sentinel":
                spent = [statistics.median(run.cpu_ns.get(part, 0) for run in some) for part in (*PARTS.values(), REST)]
                parts.append((f"{series:,}", form, *(f"{each:.0f}" for each in spent)))
    text = table(("series", "receiver", "format", "samples/s", "samples/CPU-s", "x Prometheus", "try again"), rows)
    if not options.prometheus:
        text += "\n\nPrometheus is not installed here (Debian: apt-get install prometheus), so there is no ratio."
    text += "\n\nNanoseconds of CPU a sample by process of Sentinel:\n\n"
    text += table(("series", "format", *PARTS.values(), REST), parts)
    rounds = max(4, options.samples // options.series[0] // 4)
    load = make_load(options.series[0], rounds, int(time.time() * 1000) - 10**8)
    text += "\n\n" + table(("stage of remote-write 1.0, in one process", "ns a sample", "share"), stages(load))
    write("intake", __doc__ or "", f"{text}\n\n{machine()}")


if __name__ == "__main__":
    main()
