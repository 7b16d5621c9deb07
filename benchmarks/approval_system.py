"""How long a person waits in a whole running system: from a click to Slack's 200, and to the first call to AWS.

    python -m benchmarks.approval_system --clicks 60 --rush 20

Everything as `sentinel demo` starts it: Ray's actors, Serve's proxy, correlation, rules, a journal in SQLite; the
shop, the Slack double and moto behind the AWS double in processes of their own, each reached over HTTP. Alerts come
by Alertmanager's webhook, each becomes an incident with a plan and a card, and its Approve is pressed: one press a
second, then so many at once; first with the telemetry of one shop, then with that of 50 more.

The clock of a press begins before its request is sent. The first call to AWS is UpdateService for that press's own
service, as it reached the AWS double; the target was looked at twice before, once to approve and once to act.
"""

import argparse
import asyncio
import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence

import boto3
import httpx
import msgspec
import numpy as np

from benchmarks.approval_burst import USUAL, Sent, burst
from benchmarks.report import machine, table, write
from sentinel import logs
from sentinel.adapters.slack_card import APPROVE
from sentinel.cli.sandbox import Sandbox, sandbox
from sentinel.cli.system import system
from sentinel.clock import SystemClock, iso
from sentinel.sandbox.aws_double import ACCESS_KEY_ID, CLUSTER, SECRET_ACCESS_KEY
from sentinel.sandbox.slack.clicks import button, form_body, payload, signed_headers
from sentinel.sandbox.slack.workspace import USERS, Message
from sentinel.settings import RunbookEntry, Settings
from sentinel.telemetry.events import instant_ms

CLOCK = SystemClock()
# Before the target is looked at to approve; before the executor claims the plan; after its own look, before the intent.
STAGES = {
    "… to the approval stage": "verdict_given",
    "… to the executor": "execution_started",
    "… to its record of what it will do": "step_started",
}
TIMES = 50
_ANN = next(user for user in USERS if user.id == "U0ANN")
_CARD_WITHIN_S = 6.0  # a card takes three messages, and Slack one a second
_RESOLVED_AFTER_MS = 5_000
_CALL_WITHIN_S = 60.0


class Bench:
    """Presses Approve on cards of services that nobody else has, and notes when what happened."""

    def __init__(self, world: Sandbox, url: str) -> None:
        self.at, self.url = world.addresses, url
        secret = world.settings.slack.signing_secret
        assert secret is not None
        self._secret = secret.get_secret_value()
        self.http = httpx.AsyncClient(timeout=60, trust_env=False, limits=httpx.Limits(max_connections=64))
        self.pressed_ms: dict[str, int] = {}
        self.acked: dict[str, float] = {}
        self._resolved: set[str] = set()

    async def alerts(self, services: Sequence[str], status: str) -> None:
        """Tell of an alert of each service, by Alertmanager's webhook."""
        sent = [
            {
                "status": status,
                "labels": {"alertname": "HighErrorRate", "service": service, "severity": "page"},
                "startsAt": iso(CLOCK.now_ms() - 1000),
                **({"endsAt": iso(CLOCK.now_ms())} if status == "resolved" else {}),
            }
            for service in services
        ]
        answer = await self.http.post(f"{self.url}/api/v1/alerts/alertmanager", json={"version": "4", "alerts": sent})
        answer.raise_for_status()

    async def cards(self, services: Sequence[str]) -> Mapping[str, Message]:
        """The card of each service, once every one of them has its Approve."""
        deadline = CLOCK.monotonic() + 60 + _CARD_WITHIN_S * len(services)
        while True:
            shown = (await self.http.get(f"{self.at.slack_url}/_control/messages")).json()["messages"]
            found: dict[str, Message] = {}
            for each in shown:
                message = Message(channel=each["channel"], ts=each["ts"], text=each["text"], blocks=each["blocks"])
                if not each["thread_ts"] and button(message, APPROVE):
                    found[each["text"].split(": ")[1]] = message
            if set(services) <= set(found):
                return found
            if CLOCK.monotonic() > deadline:
                raise SystemExit(f"only {len(found)} of {len(services)} cards could be approved in time")
            await asyncio.sleep(1)

    async def press(self, service: str, message: Message) -> None:
        """Ann's press on Approve, as Slack sends it."""
        pressed = button(message, APPROVE)
        assert pressed is not None
        now_ms = CLOCK.now_ms()
        body = form_body(payload(message, pressed, _ANN, "sentinel", f"{now_ms / 1000:.6f}"))
        headers = signed_headers(self._secret, body, now_ms)
        self.pressed_ms[service], began = CLOCK.now_ms(), CLOCK.monotonic()
        answer = await self.http.post(f"{self.url}/slack/events", content=body, headers=headers)
        self.acked[service] = (CLOCK.monotonic() - began) * 1000
        assert answer.status_code == 200, answer.text

    async def resolve_when_done(self) -> None:
        """What was pressed a while ago is mended: its plan has done its work and need not be undone."""
        while True:
            due = [
                service
                for service, at_ms in self.pressed_ms.items()
                if service not in self._resolved and CLOCK.now_ms() - at_ms > _RESOLVED_AFTER_MS
            ]
            if due:
                await self.alerts(due, "resolved")
                self._resolved.update(due)
            await asyncio.sleep(1)

    async def stages(self, service: str, message: Message) -> list[float]:
        """Milliseconds from the press to the time of each entry of STAGES, as its writer's clock told."""
        pressed = button(message, APPROVE)
        assert pressed is not None
        plan = msgspec.json.decode(pressed["value"])["plan"]
        answer = await self.http.get(f"{self.url}/api/v1/incidents/{plan.rpartition('.')[0]}")
        at_ms = {entry["kind"]: instant_ms("at", entry["at"], CLOCK.now_ms()) for entry in answer.json()["timeline"]}
        return [float(at_ms[kind] - self.pressed_ms[service]) for kind in STAGES.values()]

    async def called(self, services: Sequence[str]) -> list[float]:
        """Milliseconds from the press of each to its call to AWS, once all are made."""
        deadline = CLOCK.monotonic() + _CALL_WITHIN_S
        while True:
            calls = (await self.http.get(f"{self.at.control_url}/")).json()["aws_calls"]
            first: dict[str, int] = {}
            for call in calls:
                if call["operation"] == "UpdateService":
                    first.setdefault(call["targets"][0].rpartition("/")[2], call["at_ms"])
            missing = [service for service in services if service not in first]
            if not missing:
                return [float(first[service] - self.pressed_ms[service]) for service in services]
            if CLOCK.monotonic() > deadline:
                raise SystemExit(f"no call to AWS came for {len(missing)} of {len(services)}: {missing[:5]}")
            await asyncio.sleep(1)


def estate(settings: Settings, services: Sequence[str]) -> None:
    """An ECS service of two tasks for each."""
    session = boto3.session.Session(ACCESS_KEY_ID, SECRET_ACCESS_KEY, region_name=settings.executor.aws_region)
    ecs = session.client("ecs", endpoint_url=settings.executor.aws_endpoint_url)
    ecs.register_task_definition(
        family="pressed", containerDefinitions=[{"name": "pressed", "image": "pressed", "memory": 256}]
    )
    for service in services:
        ecs.create_service(cluster=CLUSTER, serviceName=service, taskDefinition="pressed", desiredCount=2)
    ecs.close()


def with_services(settings: Settings, services: Sequence[str]) -> Settings:
    """The settings of `sentinel demo` with a runbook for these services, which nothing else touches."""
    (cluster,) = settings.executor.aws_ecs_cluster_whitelist
    params = {"cluster": cluster, "service": "{service}", "desired_count": 4}
    entry = RunbookEntry.model_validate(
        {
            "name": "scale-out-pressed",
            "match": {"service": "pressed-*"},
            "steps": [{"action": "ecs.scale_service", "params": params}],
            "verify_within_s": 300,
        }
    )
    correlation, approval = settings.correlation, settings.approval
    topology = {**correlation.topology, **dict.fromkeys(services, ())}
    return settings.model_copy(
        update={
            "runbooks": (*settings.runbooks, entry),
            "correlation": correlation.model_copy(update={"topology": topology}),
            "approval": approval.model_copy(update={"expires_after_s": 3600.0, "remind_every_s": 0.0}),
        }
    )


async def measure(world: Sandbox, url: str, services: Sequence[str], rush: int) -> tuple[list[list[str]], list[Sent]]:
    """The rows of the table, and what the burst's sender counted."""
    bench, rows, sent = Bench(world, url), list[list[str]](), list[Sent]()
    await bench.alerts(services, "firing")
    cards = await bench.cards(services)
    resolving = asyncio.create_task(bench.resolve_when_done())
    half = len(services) // 2
    for name, times, chosen in (("quiet", 0, services[:half]), (f"{TIMES} shops more", TIMES, services[half:])):
        alone, together = chosen[: half - rush], chosen[half - rush :]
        async with burst(url, times, sent):
            for service in alone:
                begun = CLOCK.monotonic()
                await bench.press(service, cards[service])
                await asyncio.sleep(max(0.0, begun + 1 - CLOCK.monotonic()))
            await asyncio.gather(*(bench.press(service, cards[service]) for service in together))
            for at_once, part in (("1 a second", alone), (f"{rush} at once", together)):
                if part:
                    called = await bench.called(part)
                    rows.append(row("click to 200", name, at_once, [bench.acked[each] for each in part]))
                    rows.append(row("click to the first call to AWS", name, at_once, called))
                    stages = await asyncio.gather(*(bench.stages(each, cards[each]) for each in part))
                    for place, stage in enumerate(STAGES):
                        rows.append(row(stage, name, at_once, [each[place] for each in stages]))
    resolving.cancel()
    await bench.http.aclose()
    return rows, sent


def row(what: str, telemetry: str, clicks: str, milliseconds: Sequence[float]) -> list[str]:
    p50, p99 = np.percentile(milliseconds, [50, 99])
    most = max(milliseconds)
    return [what, telemetry, clicks, str(len(milliseconds)), f"{p50:.0f}", f"{p99:.0f}", f"{most:.0f}"]


@contextlib.contextmanager
def elsewhere() -> Iterator[None]:
    """A directory of its own: the sandbox keeps its files below the working directory."""
    with tempfile.TemporaryDirectory(prefix="sentinel-") as folder, contextlib.chdir(folder):
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clicks", type=int, default=60, help="presses one a second, quiet and again under the burst")
    parser.add_argument("--rush", type=int, default=20, help="presses at once after those")
    parser.add_argument("--port", type=int, default=8300)
    options = parser.parse_args()
    logs.set_up("error")
    services = [f"pressed-{number:03}" for number in range(2 * (options.clicks + options.rush))]
    environ = {**os.environ, "SENTINEL_API_PORT": str(options.port)}
    with elsewhere(), sandbox(environ, 1.0) as world:
        settings = with_services(world.settings, services)
        estate(settings, services)
        with system(settings, print) as running:
            rows, sent = asyncio.run(measure(world, running.url, services, options.rush))
    title, _, about = (__doc__ or "").partition("\n")
    head = ["what", "telemetry", "clicks", "of them", "p50 ms", "p99 ms", "max ms"]
    (burst_of,) = sent
    told = (
        f"The burst: {burst_of.offered / burst_of.seconds:.0f} samples/s offered ({USUAL} are one shop's), "
        f"{burst_of.accepted} accepted, {burst_of.again} asked to come again, {burst_of.refused} refused, "
        f"{burst_of.dropped} dropped, {burst_of.waiting} waiting, {burst_of.unaccounted} unaccounted."
    )
    write("approval_system", title, f"{about.strip()}\n\n{machine()}\n\n{table(head, rows)}\n\n{told}")


if __name__ == "__main__":
    main()
