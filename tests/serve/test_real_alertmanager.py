"""Debian's Alertmanager with Sentinel as its webhook: a fault becomes an incident, and its end ends it."""

import asyncio
import contextlib
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest_asyncio
import uvicorn
from starlette.applications import Starlette

from actors.alarms import Alarms
from actors.correlation import CorrelationActor
from actors.journal import JournalActor
from actors.outside import OutsideEvents
from sentinel.adapters.in_memory import InMemoryIncidentMemory, InMemoryJournalStore
from sentinel.adapters.in_memory_events import InMemoryEventStore
from sentinel.adapters.sns import SnsTopics
from sentinel.clock import SystemClock, iso
from sentinel.incidents.nouns import Incident, IncidentState
from sentinel.settings import Settings
from serve_apps.bodies import Bodies
from serve_apps.events import event_routes
from serve_apps.metrics import Meter
from tests.actors.rig import POLICY, SHOP, Book, ended
from tests.contract.postgres import missing

CONFIG = """
route: {{receiver: sentinel, group_by: [alertname], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}
receivers:
  - name: sentinel
    webhook_configs: [{{url: "{url}/api/v1/alerts/alertmanager"}}]
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def until(look: Callable[[], Awaitable[Any]], looks: int = 300) -> Any:
    for _ in range(looks):
        if found := await look():
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"never came true: {look}")


@pytest_asyncio.fixture
async def journal() -> AsyncIterator[tuple[JournalActor, str]]:
    """A journal with the door of outside events before it, and the loops that give them their place behind it."""
    clock = SystemClock()
    made = JournalActor(InMemoryJournalStore(), InMemoryEventStore())
    correlation = CorrelationActor(
        journal=made,
        detectors=Book(),
        memory=InMemoryIncidentMemory(),
        topology=SHOP,
        policy=replace(POLICY, group_wait_s=0.2, resolve_after_s=0.5),
        clock=clock,
        events=made,
    )
    outside = OutsideEvents(journal=made, events=made, room=correlation, clock=clock)
    alarms = Alarms(topics=SnsTopics(()), events=made, service_labels=(), clock=clock)
    app = Starlette(routes=event_routes(Settings(), made, alarms, Meter(), Bodies(), clock))
    server = uvicorn.Server(uvicorn.Config(app, port=free_port(), log_level="warning", lifespan="off"))
    loops = [asyncio.create_task(each) for each in (correlation.run(), outside.run(), server.serve())]
    yield made, f"http://127.0.0.1:{server.config.port}"
    server.should_exit = True
    await loops.pop()
    await ended(loops)


@pytest_asyncio.fixture
async def alertmanager(journal: tuple[JournalActor, str], tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Alertmanager's own API."""
    binary = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if not binary:
        missing("Alertmanager (Debian's package prometheus-alertmanager)")
    (tmp_path / "config.yml").write_text(CONFIG.format(url=journal[1]))
    listen = f"127.0.0.1:{free_port()}"
    arguments = [f"--config.file={tmp_path}/config.yml", f"--storage.path={tmp_path}/data", "--cluster.listen-address="]
    with (tmp_path / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            binary, *arguments, f"--web.listen-address={listen}", stdout=log, stderr=log
        )
    async with httpx.AsyncClient(base_url=f"http://{listen}", trust_env=False) as client:

        async def ready() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return (await client.get("/-/ready")).status_code == 200
            return False

        try:
            await until(ready)
            yield client
        finally:
            process.terminate()
            await asyncio.wait_for(process.wait(), 10)


async def test_a_fault_that_alertmanager_reports_is_an_incident_until_it_says_otherwise(
    journal: tuple[JournalActor, str], alertmanager: httpx.AsyncClient
) -> None:
    labels = {"alertname": "HighErrorRate", "service": "checkout", "severity": "page"}
    alert = {"labels": labels, "annotations": {"summary": "One in ten fails"}, "startsAt": iso(SystemClock().now_ms())}
    (await alertmanager.post("/api/v2/alerts", json=[alert])).raise_for_status()
    (incident,) = await until(journal[0].incidents)
    assert (incident.title, incident.severity) == ("checkout: HighErrorRate", "critical")
    assert incident.alerts[0].note == "One in ten fails"

    alert["endsAt"] = iso(SystemClock().now_ms())
    (await alertmanager.post("/api/v2/alerts", json=[alert])).raise_for_status()

    async def resolved() -> list[Incident]:
        return await journal[0].incidents(IncidentState.RESOLVED)

    (incident,) = await until(resolved)
    assert not incident.alerts[0].open
    assert (await journal[0].event_standing())["alertmanager"].pending == 0
