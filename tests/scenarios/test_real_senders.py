"""Senders that people run, before a running `sentinel up`: a fault seen through each of them becomes an incident."""

import contextlib
import math
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from sentinel.cli.client import Client
from sentinel.clock import SystemClock, iso
from sentinel.sandbox.faults import Fault, FaultKind
from sentinel.sandbox.shop import AT_REST, Shop
from tests.chaos.running import end, environ, waited
from tests.contract.postgres import missing
from tests.scenarios.ray_head import free_ports

LEARNED = 25  # samples of each series before a fault: the grace and some more
QUICK = {
    "SENTINEL_DETECTION_GRACE_SAMPLES": "15",
    "SENTINEL_CORRELATION_GROUP_WAIT_S": "1",
    "SENTINEL_CORRELATION_RESOLVE_AFTER_S": "2",
    "SENTINEL_QDRANT_ENABLED": "false",
}
PROMETHEUS = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - {{job_name: shop, static_configs: [{{targets: ["{target}"]}}]}}
remote_write:
  - {{url: "{url}/api/v1/write", queue_config: {{batch_send_deadline: 1s, min_backoff: 100ms}}}}
"""
ALERTMANAGER = """
route: {{receiver: sentinel, group_by: [alertname], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}
receivers:
  - {{name: sentinel, webhook_configs: [{{url: "{url}/api/v1/alerts/alertmanager"}}]}}
"""


@dataclass(frozen=True, slots=True)
class Up:
    """A `sentinel up` that is ready."""

    url: str
    pid: int
    client: Client

    def counts(self, source: str) -> dict[str, int]:
        """What /metrics says of the samples of one source: received, scored, held, and the reasons of refusals."""
        counts: dict[str, int] = {}
        for line in httpx.get(f"{self.url}/metrics", timeout=20, trust_env=False).text.splitlines():
            name, _, value = line.rpartition(" ")
            if name.startswith("sentinel_samples_") and f'source="{source}"' in name:
                reason = name.partition('reason="')[2].partition('"')[0]
                counts[reason or name.split("_")[2]] = int(float(value))
        return counts

    def incident(self, service: str, metric: str, since_ms: int = 0) -> dict[str, Any] | None:
        """The incident of `service` with an alert of `metric` that began after `since_ms`, if there is one."""
        for incident in self.client.get("/api/v1/incidents", service=service)["incidents"]:
            if any(each["metric"] == metric and each["started_at_ms"] >= since_ms for each in incident["alerts"]):
                found: dict[str, Any] = incident
                return found
        return None


@contextlib.contextmanager
def up(directory: Path, **settings: str) -> Iterator[Up]:
    """`sentinel up` as a user starts it, with files in `directory`, until the end of the block."""
    [port] = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    with (directory / "said").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "sentinel", "up"],
            cwd=directory,
            env={**environ(port), **QUICK, **settings},
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    client = Client(url, timeout_s=20)
    try:
        waited(lambda: client.ready() or (False if process.poll() is not None else None), 120, "the system is up")
        if process.poll() is not None:
            pytest.fail(f"sentinel up ended: {(directory / 'said').read_text(errors='replace')[-3000:]}")
        yield Up(url, process.pid, client)
    finally:
        client._http.close()
        end(process)


@pytest.fixture(scope="module")
def sentinel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("up")) as running:
        yield running


@contextlib.contextmanager
def program(package: str, directory: Path, *arguments: str, ready: str) -> Iterator[None]:
    """A program of a Debian package, from the answer at `ready` to the end of the block."""
    names = {"prometheus": ("prometheus",), "prometheus-alertmanager": ("prometheus-alertmanager", "alertmanager")}
    binary = next(filter(None, map(shutil.which, names[package])), None)
    if not binary:
        missing(f"Debian's package {package}")
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([binary, *arguments], cwd=directory, stdout=log, stderr=log)

    def answers() -> bool | None:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(ready, timeout=2, trust_env=False).status_code == 200 or None
        return None

    try:
        waited(answers, 30, f"{package}: {(directory / 'log').read_text(errors='replace')[-500:]}")
        yield
    finally:
        process.terminate()
        process.wait(20)


# --- Prometheus, which scrapes the shop and writes on -----------------------------------------------------------


class Exporter:
    """The sandbox's shop for a scraper: its metrics as gauges, and the failed payments as a running total."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._shop = Shop()
        self._failed, self._last_ms = 1_000_000.0, self._clock.now_ms()
        self.faults: list[Fault] = []

    def page(self) -> str:
        """One scrape in Prometheus' text format."""
        now_ms = self._clock.now_ms()
        rate = 40.0 if self.faults else 4.0 + 0.1 * math.sin(now_ms / 700)
        self._failed += rate * (now_ms - self._last_ms) / 1000
        self._last_ms = now_ms
        samples = self._shop.tick(now_ms, AT_REST, self.faults)
        lines = [f'failed_payments_total{{service="payments"}} {self._failed}']
        for metric in sorted({each["metric"] for each in samples}):
            lines.append(f"# TYPE {metric} gauge")
            of_metric = [each for each in samples if each["metric"] == metric]
            lines += [f'{metric}{{service="{each["labels"]["service"]}"}} {each["value"]}' for each in of_metric]
        return "\n".join(["# TYPE failed_payments_total counter", *lines, ""])


@contextlib.contextmanager
def served(page: Callable[[], str]) -> Iterator[str]:
    """`page` at every path of a free port; answers host and port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = page().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.timeout(240)
def test_a_fault_that_prometheus_scrapes_is_an_incident(sentinel: Up, tmp_path: Path) -> None:
    exporter = Exporter()
    [port] = free_ports(1)
    listen = f"127.0.0.1:{port}"
    with served(exporter.page) as target:
        (tmp_path / "prometheus.yml").write_text(PROMETHEUS.format(url=sentinel.url, target=target))
        options = ("--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={listen}")
        with program("prometheus", tmp_path, *options, ready=f"http://{listen}/-/ready"):
            series = exporter.page().count("\n") - exporter.page().count("# TYPE")
            waited(lambda: scored(sentinel, "remote_write", series), 90, "a baseline")
            began_ms = SystemClock().now_ms()
            exporter.faults.append(
                Fault(kind=FaultKind.TRAFFIC_SURGE, service="payments", since_ms=began_ms, incarnation="")
            )
            for metric in ("cpu_utilization", "failed_payments_total"):
                found = waited(partial(sentinel.incident, "payments", metric, began_ms - 1000), 60, metric)
            (rate,) = [each for each in found["alerts"] if each["metric"] == "failed_payments_total"]
            assert rate["value"] == pytest.approx(40, rel=0.2), "the rate was judged, not the total"
            assert rate["direction"] == "up"
    conserved(sentinel, "remote_write")


def scored(sentinel: Up, source: str, series: int) -> bool | None:
    return sentinel.counts(source).get("scored", 0) >= LEARNED * series or None


def conserved(sentinel: Up, source: str) -> None:
    """Every sample that reached the door is accounted for."""
    counts = sentinel.counts(source)
    assert counts.pop("received") == sum(counts.values())
    assert counts["scored"] > 0


# --- the OpenTelemetry SDK --------------------------------------------------------------------------------------


@contextlib.contextmanager
def meters(url: str, every_ms: int) -> Iterator[Callable[[], None]]:
    """A service that exports by OTLP/HTTP: its queue's depth, and its failed charges; what is yielded breaks it."""
    broken = threading.Event()
    charges = 0.0

    def depth(_: CallbackOptions) -> Iterator[Observation]:
        yield Observation((400.0 if broken.is_set() else 20.0) + math.sin(SystemClock().monotonic() * 3))

    def failed(_: CallbackOptions) -> Iterator[Observation]:
        nonlocal charges
        charges += 50 if broken.is_set() else 5
        yield Observation(charges)

    plain = requests.Session()
    plain.trust_env = False  # a proxy of the environment must not come between
    exporter = OTLPMetricExporter(endpoint=f"{url}/v1/metrics", session=plain, timeout=10)
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=every_ms)
    provider = MeterProvider([reader], Resource.create({"service.name": "billing"}), shutdown_on_exit=False)
    meter = provider.get_meter("billing")
    meter.create_observable_gauge("queue.depth", [depth])
    meter.create_observable_counter("charges.failed", [failed])
    try:
        yield broken.set
    finally:
        provider.shutdown()
        plain.close()


@pytest.mark.timeout(240)
def test_a_fault_that_the_opentelemetry_sdk_exports_is_an_incident(sentinel: Up) -> None:
    with meters(sentinel.url, 400) as breaks:
        waited(lambda: scored(sentinel, "otlp", 2), 60, "a baseline")
        began_ms = SystemClock().now_ms()
        breaks()
        for metric in ("queue.depth", "charges.failed"):
            found = waited(partial(sentinel.incident, "billing", metric, began_ms - 1000), 60, metric)
    assert found["services"] == ["billing"]
    conserved(sentinel, "otlp")


# --- Alertmanager -----------------------------------------------------------------------------------------------


@pytest.mark.timeout(180)
def test_an_alert_of_alertmanager_is_an_incident_until_it_ends(sentinel: Up, tmp_path: Path) -> None:
    [port] = free_ports(1)
    listen = f"127.0.0.1:{port}"
    (tmp_path / "config.yml").write_text(ALERTMANAGER.format(url=sentinel.url))
    options = ["--config.file=config.yml", "--storage.path=data", "--cluster.listen-address="]
    options.append(f"--web.listen-address={listen}")
    with program("prometheus-alertmanager", tmp_path, *options, ready=f"http://{listen}/-/ready"):
        labels = {"alertname": "HighErrorRate", "service": "ledger", "severity": "page"}
        alert = {"labels": labels, "startsAt": iso(SystemClock().now_ms())}

        def post() -> None:
            answer = httpx.post(f"http://{listen}/api/v2/alerts", json=[alert], timeout=10, trust_env=False)
            answer.raise_for_status()

        post()
        found = waited(lambda: sentinel.incident("ledger", "HighErrorRate"), 30, "the incident")
        assert (found["severity"], found["alerts"][0]["origin"]) == ("critical", "alertmanager")
        alert["endsAt"] = iso(SystemClock().now_ms())
        post()

        def ended() -> bool | None:
            incident = sentinel.client.get(f"/api/v1/incidents/{found['id']}")["incident"]
            return incident["alerts"][0]["ended_at_ms"] is not None or None

        waited(ended, 30, "the end of the alert")
