"""The whole door in one process: the built application before real stages on ports in memory, without Ray.

As a program it serves that door on a free port of loopback, so that a test can measure what a request costs in memory.
"""

import asyncio
import re
import socket
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

import cramjam
import httpx
import uvicorn

from actors.detection import DetectionActor, Scored
from actors.journal import JournalActor
from actors.wiring import curve_png
from sentinel import logs
from sentinel.adapters.in_memory import InMemoryCheckpoints, InMemoryJournalStore
from sentinel.adapters.in_memory_events import InMemoryEventStore
from sentinel.adapters.in_memory_silences import InMemorySilenceStore
from sentinel.clock import Clock, ManualClock, SystemClock
from sentinel.detection.anomaly import Anomaly
from sentinel.detection.curves import Explained
from sentinel.errors import SentinelError
from sentinel.ids import Fingerprint
from sentinel.settings import Detection, Settings
from sentinel.telemetry.series import partition_of
from serve_apps.api import Backend
from serve_apps.app import Behind, build_door
from serve_apps.explaining import Explaining
from tests.actors.rig import Rig
from tests.unit.telemetry.protobuf_bytes import double, nested, varint, whole

NOW = 1_700_000_000_000
SAMPLES, WRITE, METRICS = "/api/v1/samples", "/api/v1/write", "/v1/metrics"
EVENTS, WEBHOOK, ALERTS, SNS = "/api/v1/events", "/api/v1/alerts/alertmanager", "/api/v2/alerts", "/api/v1/sns"
DOORS = (SAMPLES, WRITE, METRICS, EVENTS, WEBHOOK, ALERTS, SNS)
TELEMETRY = (SAMPLES, WRITE, METRICS)
JSON, NDJSON, PROTOBUF = "application/json", "application/x-ndjson", "application/x-protobuf"
V2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"
SOURCES = ("json", "remote_write", "remote_write_2", "otlp")
SMALL = Settings(detection=Detection(partitions=8, actors=2, grace_samples=10))

Rows = Iterable[tuple[str, Mapping[str, str], float, int]]  # metric, labels, value, Unix milliseconds


class Detectors:
    """The detection actors of these settings as one, in this process."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self.heard: list[Anomaly] = []
        self.fails: SentinelError | None = None
        self.calls = 0
        self.restart()

    def restart(self) -> None:
        """All actors come back without a checkpoint: they know no series."""
        self.actors = [
            DetectionActor(
                name=f"detection-{index}",
                config=self._settings.detection.detector,
                correlation=self,
                checkpoints=InMemoryCheckpoints(),
                checkpoint_every_s=10,
                clock=self._clock,
                curve_bytes=self._settings.detection.curve_bytes,
            )
            for index in range(self._settings.detection.actors)
        ]

    def actor_of(self, partition: int) -> int:
        return partition % len(self.actors)

    async def score(self, actor: int, packed: bytes) -> list[Scored]:
        self.calls += 1
        if self.fails:
            raise self.fails
        return await self.actors[actor].score(packed)

    async def explain(self, service: str, fingerprint: Fingerprint, from_ms: int, to_ms: int) -> Explained | None:
        if self.fails:
            raise self.fails
        actor = self.actor_of(partition_of(service, self._settings.detection.partitions))
        return await self.actors[actor].explain(fingerprint, from_ms, to_ms)

    async def ping(self) -> str:
        return "detection"

    async def submit(self, anomalies: Sequence[Anomaly]) -> None:
        self.heard.extend(anomalies)

    async def open_anomalies(self) -> list[Anomaly]:
        found = [await actor.open_anomalies() for actor in self.actors]
        return [anomaly for each in found for anomaly in each]


class Door:
    """The application, its parts, and a client that calls from `client`."""

    def __init__(
        self,
        settings: Settings = SMALL,
        *,
        client: str = "127.0.0.1",
        clock: Clock | None = None,
        detectors: type[Detectors] = Detectors,
        approval: Any = None,
    ) -> None:
        self.rig = Rig()
        self.clock = clock or ManualClock(NOW)
        self.detectors = detectors(settings, self.clock)
        self.journal = self.rig.journal = JournalActor(
            InMemoryJournalStore(), InMemoryEventStore(), silences=InMemorySilenceStore()
        )
        self.correlation = self.rig.correlation(silences=self.journal)
        self.app = build_door(settings, self._behind(approval or self.rig.approval(cards=False)))
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app, client=(client, 40_000)), base_url="http://door"
        )

    def _behind(self, approval: Any) -> Behind:
        async def notes() -> list[str]:
            return ["a door for tests"]

        pings = {"journal": self.journal.ping, "detection": self.detectors.ping}
        backend = Backend(journal=self.journal, approval=approval, pings=pings, notes=notes)
        return Behind(
            backend=backend,
            correlation=self.correlation,
            silences=self.journal,
            events=self.journal,
            scorer=self.detectors,
            explaining=Explaining(self.detectors, curve_png),
            clock=self.clock,
        )

    async def post(
        self, path: str, body: bytes | AsyncIterator[bytes], content_type: str = "", encoding: str = "", **more: str
    ) -> httpx.Response:
        """POST with these headers, an empty one left out; `more` are others, with _ for -."""
        headers = {"content-type": content_type, "content-encoding": encoding}
        headers |= {name.replace("_", "-"): value for name, value in more.items()}
        return await self.http.post(path, content=body, headers={name: each for name, each in headers.items() if each})

    async def counts(self, source: str) -> dict[str, int]:
        """What /metrics says of one source's samples, without what is zero: received, scored, held, and reasons."""
        text = (await self.http.get("/metrics")).text
        found = re.findall(
            rf'^sentinel_samples_(\w+)_total{{(?:reason="(\w+)",)?source="{source}"}} (\S+)$', text, re.M
        )
        return {reason or name: int(float(count)) for name, reason, count in found if float(count)}

    async def conserved(self) -> None:
        """No sample of any source got lost between its door and its end."""
        for source in SOURCES:
            counts = await self.counts(source)
            assert counts.pop("received", 0) == sum(counts.values()), f"the counts of {source} add up"


def snappy(body: bytes) -> bytes:
    """`body` in snappy's block form, as remote-write sends it."""
    return bytes(cramjam.snappy.compress_raw(body))


def v1(rows: Rows) -> bytes:
    """A remote-write 1.0 request, packed, of one series for each row."""
    return snappy(b"".join(nested(1, _v1_series(*row)) for row in rows))


def _v1_series(metric: str, labels: Mapping[str, str], value: float, at_ms: int) -> bytes:
    named = sorted({"__name__": metric, **labels}.items())
    told = b"".join(nested(1, nested(1, name.encode()) + nested(2, text.encode())) for name, text in named)
    return told + nested(2, double(1, value) + whole(2, at_ms))


def v2(rows: Rows, kind: int = 0) -> bytes:
    """A remote-write 2.0 request, packed, of one series of that type for each row."""
    symbols: dict[str, int] = {"": 0}
    series = []
    for metric, labels, value, at_ms in rows:
        named = sorted({"__name__": metric, **labels}.items())
        refs = [symbols.setdefault(text, len(symbols)) for pair in named for text in pair]
        sample = nested(2, double(1, value) + whole(2, at_ms))
        series.append(nested(1, b"".join(map(varint, refs))) + sample + nested(5, whole(1, kind)))
    told = b"".join(nested(4, text.encode()) for text in symbols)
    return snappy(told + b"".join(nested(5, each) for each in series))


def main() -> None:
    """Serve a door that watches so many series on a free port of loopback, and say which, until SIGTERM."""
    logs.set_up("error")
    settings = Settings(detection=Detection(max_series=int(sys.argv[1])))
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(Door(settings, clock=SystemClock()).app, log_level="error", access_log=False)
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    asyncio.run(uvicorn.Server(config).serve([listening]))


if __name__ == "__main__":
    main()


class _Given:
    def __init__(self, answers: Mapping[str, Any]) -> None:
        self._answers = answers

    def get(self, path: str, **_: object) -> Any:
        return self._answers[path]

    def post(self, path: str, _body: object) -> Any:
        return self._answers[path]


def given(answers: Mapping[str, Any]) -> Any:
    """The client of a command with what a door answered, by path: a command blocks, so it cannot ask a door itself."""
    return _Given(answers)
