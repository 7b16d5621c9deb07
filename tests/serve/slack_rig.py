"""The Slack door on the double: what the tests of the door stand on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import httpx
import msgspec
import pytest_asyncio
from starlette.applications import Starlette

from actors.api import Journal as JournalPort
from sentinel.adapters import slack_card
from sentinel.adapters.slack_signature import verify
from sentinel.adapters.slack_views import SlackViews
from sentinel.clock import ManualClock
from sentinel.correlation.silences import Silence
from sentinel.errors import Forbidden, Unavailable
from sentinel.incidents.audit import Record
from sentinel.incidents.nouns import Incident, Principal
from sentinel.remediation.approval import Provenance
from sentinel.remediation.approval_policy import ApprovalPolicy
from sentinel.remediation.switch import Switch, next_record, state_of
from sentinel.sandbox.slack import SlackDouble, running
from sentinel.sandbox.slack.clicks import payload, signed_headers
from sentinel.sandbox.slack.workspace import Message
from serve_apps.slack import slack_routes
from serve_apps.slack_people import web_client
from serve_apps.slack_quieting import SlackQuieting
from serve_apps.slack_switch import SlackSwitch

SECRET = "signing-secret-for-tests"
TOKEN = "xoxb-token-for-tests"
PLAN, DIGEST = "inc-20231114-1a2b3c4d-1.p1", "3f9ac1d2" * 8
MAC = "ab" * 32
VALUE = msgspec.json.encode({"plan": PLAN, "digest": DIGEST, "mac": MAC}).decode()


@dataclass
class Decisions:
    """Answers as the approval stage does: the first verdict on a plan counts."""

    calls: list[tuple[str, str, str, Principal, str]] = field(default_factory=list)
    came: list[Provenance] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    others: list[tuple[object, ...]] = field(default_factory=list)
    fails_with: Exception | None = None
    passing: list[Exception] = field(default_factory=list)  # raised by the next calls, one each
    hold: asyncio.Event | None = None

    async def decide(
        self,
        plan_id: str,
        digest: str,
        decision: Literal["approve", "reject"],
        principal: Principal,
        reason: str,
        came: Provenance,
    ) -> str:
        if self.hold:
            await self.hold.wait()
        if self.passing:
            raise self.passing.pop(0)
        self.calls.append((plan_id, digest, decision, principal, came.evidence))
        self.came.append(came)
        self.reasons.append(reason)
        if self.fails_with:
            raise self.fails_with
        first = self.calls[0]
        said = f"{'approved' if first[2] == 'approve' else 'rejected'} by {first[3].name}"
        return said if len(self.calls) == 1 else f"already decided: {said}"

    async def narrow(
        self, plan_id: str, digest: str, index: int, name: str, value: int, principal: Principal, came: Provenance
    ) -> str:
        self.others.append(("narrow", plan_id, digest, index, name, value, principal.id, came.audience))
        return f"narrowed by {principal.name}"

    async def withdraw(
        self, plan_id: str, digest: str, verb: str, principal: Principal, reason: str, came: Provenance | None = None
    ) -> str:
        self.others.append((verb, plan_id, digest, principal.id, came.mac if came else None))
        return f"{verb} by {principal.name}"

    async def acknowledge(
        self, incident_id: str, principal: Principal, reason: str, came: Provenance | None = None
    ) -> str:
        self.others.append(("acknowledge", incident_id, principal.id, came.mac if came else None))
        return f"acknowledged by {principal.name}"

    async def prove(self, incident_id: str, principal: Principal, came: Provenance) -> None:
        if came.mac != MAC:
            raise Forbidden("this button was not made by Sentinel")

    async def not_duplicate(
        self, incident_id: str, fingerprints: Sequence[str], principal: Principal, reason: str
    ) -> str:
        if self.passing:
            raise self.passing.pop(0)
        self.others.append(("not_duplicate", incident_id, tuple(fingerprints), principal.id, reason))
        return f"{len(fingerprints)} alerts went"

    async def offer(self, plan_id: str, audience: str) -> str:
        self.others.append(("offer", plan_id, audience))
        return MAC


@dataclass
class Incidents:
    """A journal of what a test puts into it."""

    known: list[Incident] = field(default_factory=list)

    async def incident(self, incident_id: str) -> Incident | None:
        return next((each for each in self.known if each.id == incident_id), None)

    async def incidents(self, *_filters: object, limit: int = 50, **_more: object) -> list[Incident]:
        return self.known[:limit]


@dataclass
class Journal:
    """The kill switch as the journal keeps it: a chain of records."""

    turns: list[Record] = field(default_factory=list)
    slow: bool = False
    silences: dict[str, Silence] = field(default_factory=dict)
    passing: list[Exception] = field(default_factory=list)  # raised after the next silences were kept

    async def kill_switch(self) -> Switch:
        return state_of(self.turns[-1] if self.turns else None)

    async def turn_kill_switch(self, stopped: bool, principal: Principal, reason: str, at_ms: int) -> Switch:
        if self.slow:
            raise TimeoutError
        self.turns.append(next_record(self.turns, stopped, principal, reason, at_ms))
        return await self.kill_switch()

    async def add_silence(self, silence: Silence) -> Silence:
        self.silences[silence.id] = silence
        if self.passing:
            raise self.passing.pop(0)
        return silence


@dataclass
class Directory:
    """User groups of the workspace; one that is not here cannot be read."""

    groups: dict[str, frozenset[str]] = field(default_factory=dict)

    async def members(self, group: str) -> frozenset[str]:
        if group not in self.groups:
            raise Unavailable("Slack is away")
        return self.groups[group]


@dataclass
class Rig:
    """The door, the double that clicks on it, and what came of it."""

    double: SlackDouble
    decisions: Decisions
    clock: ManualClock
    http: httpx.AsyncClient
    message: Message
    incidents: Incidents
    journal: Journal
    directory: Directory

    async def send(self, body: bytes, headers: dict[str, str]) -> httpx.Response:
        return await self.http.post("/slack/events", content=body, headers=headers)

    async def send_signed(self, body: bytes, content_type: str = "", skew_s: int = 0) -> httpx.Response:
        return await self.send(body, signed_headers(SECRET, body, self.clock.now_ms() + skew_s * 1000, content_type))

    def body(self, **changes: Any) -> dict[str, Any]:
        """The payload of Ann's press on Approve, with changes at its top."""
        pressed = self.message.blocks[0]["elements"][0]
        ann = self.double.workspace.users["U0ANN"]
        return {**payload(self.message, pressed, ann, "sentinel", self.double.workspace.next_ts()), **changes}

    async def notes(self, count: int = 1) -> list[tuple[str, str]]:
        """Whom the door told what, once there are `count` notes."""
        await until(lambda: len(self.double.workspace.whispers) >= count)
        return [(note.user, note.text) for note in self.double.workspace.whispers]


async def until(happened: Callable[[], bool]) -> None:
    """Wait for what a task of the door does after its answer."""
    async with asyncio.timeout(5):
        while not happened():  # noqa: ASYNC110 - nothing signals what other people come to see
            await asyncio.sleep(0.005)


def buttons(value: str = VALUE) -> list[dict[str, Any]]:
    texts = {
        slack_card.APPROVE: "Approve",
        slack_card.REJECT: "Reject",
        slack_card.NARROW: "Edit",
        slack_card.CANCEL: "Cancel",
        slack_card.ABORT: "Abort",
    }
    elements = [
        {"type": "button", "action_id": action, "text": {"type": "plain_text", "text": text}, "value": value}
        for action, text in texts.items()
    ]
    return [{"type": "actions", "elements": elements}]


def check(headers: Mapping[str, str], body: bytes, now_ms: int) -> None:
    verify(headers, body, (SECRET,), now_ms)


@contextlib.asynccontextmanager
async def standing(
    *, with_bot: bool, policy: ApprovalPolicy | None = None, admins: frozenset[str] = frozenset()
) -> AsyncIterator[Rig]:
    """The door and the double; without a bot token Slack's Web API is not served, for nobody calls it."""
    clock, decisions, app, incidents = ManualClock(), Decisions(), Starlette(), Incidents()
    journal, directory = Journal(), Directory()
    transport = httpx.ASGITransport(app)
    double = SlackDouble(
        signing_secret=SECRET,
        token=TOKEN,
        interactivity_url="http://sentinel/slack/events",
        clock=clock,
        transport=transport,
    )
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://sentinel"))
        if with_bot:
            url = await stack.enter_async_context(running(double))
        else:
            url = "http://127.0.0.1:9"
            stack.push_async_callback(double.aclose)
        app.router.routes += slack_routes(
            verify=check,
            decisions=decisions,
            incidents=incidents,
            views=SlackViews(),
            switch=SlackSwitch(
                journal=cast(JournalPort, journal),
                policy=policy or ApprovalPolicy(),
                directory=directory,
                clock=clock,
                admins=admins,
            ),
            quieting=SlackQuieting(approval=decisions, correlation=decisions, incidents=incidents, silenced=journal),
            clock=clock,
            client=web_client(TOKEN, f"{url}/api/") if with_bot else None,
            team_id="T0ACME",
        )
        message = double.workspace.post("C0SENTINEL", "", buttons())
        yield Rig(double, decisions, clock, http, message, incidents, journal, directory)


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    async with standing(with_bot=True) as made:
        yield made


@pytest_asyncio.fixture
async def silent() -> AsyncIterator[Rig]:
    async with standing(with_bot=False) as made:
        yield made
