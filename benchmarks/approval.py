"""How long a person waits: from a click to Slack's 200, and from a click to the first call to AWS.

    python -m benchmarks.approval --plans 200 [--burst [50]]

One process, without Ray's hops: the real door over HTTP, the real approval and execution stages, a journal in SQLite
(WAL, FULL), a Slack double over HTTP that is asked who clicked, and a cloud in memory that notes when it is called.
Beside it, in the same run, slack-bolt alone with its own signature check and an empty listener.

With --burst so many sandboxes (50 times what one sends) send telemetry from a process of their own to the same door,
before a real detector in the very same event loop: harder than a deployment, where detection has its own processes.

A whole running system, with Ray, Serve's proxy, correlation, rules and moto: `benchmarks.approval_system`, whose result
is approval_system.md.
"""

import argparse
import asyncio
import contextlib
import socket
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from slack_bolt.adapter.starlette.async_handler import AsyncSlackRequestHandler
from slack_bolt.async_app import AsyncAck, AsyncApp
from slack_bolt.authorization import AuthorizeResult
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from actors.approval import ApprovalActor
from actors.corrections import Corrections
from actors.execution import ExecutionActor
from actors.journal import JournalActor
from actors.proposing import Proposing
from actors.steps import StepRunner
from benchmarks.approval_burst import USUAL, Sent, burst, intake_routes
from benchmarks.report import machine, table, write
from sentinel import logs
from sentinel.adapters.in_memory_cloud import InMemoryCloud
from sentinel.adapters.preflight import CloudPreflight
from sentinel.adapters.slack_card import APPROVE, card
from sentinel.adapters.slack_signature import verify
from sentinel.adapters.slack_views import SlackViews
from sentinel.adapters.sql_journal import SqlJournalStore
from sentinel.clock import SystemClock
from sentinel.correlation.topology import topology_of
from sentinel.ids import IncidentId, StepKey, fingerprint
from sentinel.incidents import facts as f
from sentinel.incidents.nouns import SENTINEL, Alert, Card, Direction, PlanRecord, PlanState, Severity, Step, Suspect
from sentinel.remediation.approval_policy import ApprovalPolicy
from sentinel.remediation.planner import PlanPolicy
from sentinel.remediation.proof import unproven
from sentinel.remediation.runbooks import Runbook, Use
from sentinel.remediation.safety import Limits
from sentinel.remediation.sealing import seal_holds
from sentinel.sandbox.slack import SlackDouble, running
from sentinel.sandbox.slack.workspace import Message
from serve_apps.slack import slack_routes
from serve_apps.slack_people import web_client
from serve_apps.slack_quieting import SlackQuieting
from serve_apps.slack_switch import SlackSwitch

CLUSTER = "arn:aws:ecs:us-east-1:123456789012:cluster/prod"
SECRET, TOKEN, KEY = "benchmark", "benchmark", b"benchmark"
CLOCK = SystemClock()


class NotingCloud(InMemoryCloud):
    """Notes when it is first called for each service."""

    def __init__(self) -> None:
        super().__init__()
        self.called_at: dict[str, float] = {}

    def send(self, step: Step, key: StepKey) -> str:
        self.called_at.setdefault(str(step.params["service"]), CLOCK.monotonic())
        return super().send(step, key)


class NoDetectors:
    """Nothing is watched: a plan's verification is not part of what is measured."""

    async def open_anomalies(self) -> list[Any]:
        return []

    async def health(self, watched: object) -> list[Any]:
        return []


def proven(record: PlanRecord) -> str:
    """Why the record does not prove that people approved: the check that the executor makes before each step."""
    return unproven(record, lambda plan_id, verdict: "" if seal_holds(KEY, plan_id, verdict) else "no seal of ours")


def alert(service: str, now_ms: int) -> Alert:
    labels = {"service": service}
    return Alert(
        fingerprint=fingerprint(labels),
        service=service,
        metric="cpu",
        kind="cpu",
        direction=Direction.UP,
        severity=Severity.CRITICAL,
        score=12.0,
        value=1.0,
        expected_low=0.1,
        expected_high=0.2,
        labels=labels,
        started_at_ms=now_ms,
        last_at_ms=now_ms,
    )


@contextlib.asynccontextmanager
async def served(app: Starlette) -> AsyncIterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", ws="none"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await serving


def bolt_alone() -> Starlette:
    """slack-bolt as its papers show it."""

    async def authorize() -> AuthorizeResult:
        return AuthorizeResult(enterprise_id=None, team_id=None)

    app = AsyncApp(signing_secret=SECRET, authorize=authorize)

    async def listen(ack: AsyncAck) -> None:
        await ack()

    app.action(APPROVE)(listen)
    handler = AsyncSlackRequestHandler(app)

    async def endpoint(request: Request) -> Response:
        return await handler.handle(request)

    return Starlette(routes=[Route("/slack/events", endpoint, methods=["POST"])])


async def measure(
    plans: int, at_once: int, folder: Path, times: int, sent: list[Sent]
) -> tuple[list[float], list[float], list[float]]:
    """Milliseconds to the 200, to the first call, and to the 200 of bolt alone, for each plan."""
    cloud, journal = NotingCloud(), JournalActor(SqlJournalStore(f"sqlite:///{folder / f'{at_once}.db'}"))
    uses = (Use(action="ecs.scale_service", params={"cluster": CLUSTER, "service": "{service}", "desired_count": 4}),)
    limits = Limits(ecs_clusters=frozenset({CLUSTER}))
    proposing = Proposing(
        journal=journal,
        runbooks=[Runbook(name="scale-out", uses=uses)],
        limits=limits,
        plan_policy=PlanPolicy(approvals_required=1, expires_after_ms=900_000, dry_run=False),
        policy=ApprovalPolicy(),
        preflight=CloudPreflight(cloud, region="us-east-1", whoami=lambda: "123456789012"),
        directory=None,
        key=KEY,
        clock=CLOCK,
    )
    stage = ApprovalActor(journal=journal, cards=None, proposing=proposing, key=KEY, clock=CLOCK)
    executor = ExecutionActor(
        journal=journal,
        detectors=NoDetectors(),
        runner=StepRunner(cloud, CLOCK, effect_within_s=20, poll_s=0.5),
        limits=limits,
        prove=proven,
        clock=CLOCK,
        owner="benchmark",
        start_within_ms=600_000,
        poll_s=0.5,
        takeover_s=60,
        trail_within_s=900,
    )
    app = Starlette()
    double = SlackDouble(signing_secret=SECRET, token=TOKEN)
    async with running(double) as slack_url, served(app) as url, served(bolt_alone()) as bolt_url:
        app.router.routes += slack_routes(
            verify=lambda headers, body, now_ms: verify(headers, body, (SECRET,), now_ms),
            decisions=stage,
            incidents=journal,
            views=SlackViews(),
            switch=SlackSwitch(journal=journal, policy=ApprovalPolicy(), directory=None, clock=CLOCK),
            quieting=SlackQuieting(
                approval=stage,
                correlation=Corrections(journal, lambda: topology_of({}), CLOCK),
                incidents=journal,
                silenced=journal,
            ),
            clock=CLOCK,
            client=web_client(TOKEN, f"{slack_url}/api/"),
        )
        app.router.routes += intake_routes(CLOCK)
        messages = [await asked(n, journal, stage, cloud, double) for n in range(plans)]
        following = asyncio.create_task(executor.run())
        turn, acked, first, alone = asyncio.Semaphore(at_once), list[float](), list[float](), list[float]()

        async def press(number: int, message: Message) -> None:
            async with turn:
                double._interactivity_url = f"{bolt_url}/slack/events"
                alone.append(await timed(double, message))
                double._interactivity_url = f"{url}/slack/events"
                began = CLOCK.monotonic()
                acked.append(await timed(double, message))
                while f"service-{number}" not in cloud.called_at:  # noqa: ASYNC110 the cloud is called from a thread
                    await asyncio.sleep(0.002)
                first.append((cloud.called_at[f"service-{number}"] - began) * 1000)

        async with burst(url, times, sent):
            await asyncio.gather(*(press(number, message) for number, message in enumerate(messages)))
        following.cancel()
    return acked, first, alone


async def timed(double: SlackDouble, message: Message) -> float:
    began = CLOCK.monotonic()
    clicked = await double.click(message, APPROVE, "U0ANN")
    assert clicked.status == 200, clicked
    return (CLOCK.monotonic() - began) * 1000


async def asked(
    number: int, journal: JournalActor, stage: ApprovalActor, cloud: InMemoryCloud, double: SlackDouble
) -> Message:
    """A plan that waits, and its card in the chat."""
    service, now_ms = f"service-{number}", CLOCK.now_ms()
    cloud.add_service(CLUSTER, service, 2)
    incident_id = IncidentId(f"inc-20261125-00000000-{number}")
    opened = f.IncidentOpened(
        title=f"{service}: cpu high",
        severity=Severity.CRITICAL,
        alerts=(alert(service, now_ms),),
        suspects=(Suspect(service=service, score=1.0, reasons=()),),
        similar=(),
        reason="",
    )
    incident = await journal.append(incident_id, 0, [opened], SENTINEL, now_ms)
    while incident.live_plan is None or incident.live_plan.state is not PlanState.AWAITING_APPROVAL:
        await stage.settle(incident)
        found = await journal.incident(incident_id)
        assert found is not None
        incident = found
    blocks, text = card(incident, key=KEY)
    message = double.workspace.post("C0SENTINEL", text, blocks)
    posted = f.CardPosted(card=Card(channel="C0SENTINEL", ts=message.ts))
    await journal.append(incident_id, incident.seq, [posted], SENTINEL, now_ms)
    return message


def row(name: str, at_once: int, milliseconds: Sequence[float]) -> list[str]:
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return [name, str(at_once), str(len(milliseconds)), f"{p50:.1f}", f"{p99:.1f}", f"{max(milliseconds):.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plans", type=int, default=200)
    parser.add_argument("--burst", type=int, nargs="?", const=50, default=0, metavar="TIMES")
    options = parser.parse_args()
    plans, times = options.plans, options.burst
    logs.set_up("error")
    rows, sent = [], list[Sent]()
    with tempfile.TemporaryDirectory() as folder:
        for at_once in (1, 20):
            acked, first, alone = asyncio.run(measure(plans, at_once, Path(folder), times, sent))
            rows += [
                row("slack-bolt alone: click to 200", at_once, alone),
                row("click to 200", at_once, acked),
                row("click to the first call to AWS", at_once, first),
            ]
    title, _, about = (__doc__ or "").partition("\n")
    head = ["what", "clicks at once", "clicks", "p50 ms", "p99 ms", "max ms"]
    text = f"{about.strip()}\n\n{machine()}\n\n{table(head, rows)}"
    if times:
        told = [
            [
                f"{each.offered / each.seconds:.0f}",
                *(f"{count}" for count in (each.accepted, each.again, each.refused)),
                *(f"{count}" for count in (each.dropped, each.waiting, each.unaccounted)),
            ]
            for each in sent
        ]
        names = ["offered/s", "accepted", "try again", "refused", "dropped", "waiting", "unaccounted"]
        text += f"\n\nUsual: {USUAL} samples/s, of one sandbox. Sent meanwhile, {times} times that:\n\n"
        text += table(names, told)
    write("approval_burst" if times else "approval", title, text)


if __name__ == "__main__":
    main()
