"""POST /slack/events: Slack's buttons, modals, slash command and events.

The signature is checked over the raw body before anything is parsed; bolt then routes and acknowledges.
A verdict is handed over after the acknowledgement, for Slack waits three seconds only, and what came of
it goes to the one who clicked. `response_url` is never used: it would have us call an address a request names.
"""

import asyncio
import hashlib
import logging
import re
from collections.abc import Callable, Mapping

import msgspec
import structlog
from slack_bolt.adapter.starlette.async_handler import to_starlette_response
from slack_bolt.async_app import AsyncAck, AsyncApp, AsyncBoltContext, AsyncBoltRequest
from slack_bolt.authorization import AuthorizeResult
from slack_sdk.web.async_client import AsyncWebClient
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sentinel.clock import Clock
from sentinel.errors import Invalid, OutcomeUnknown, SentinelError, TooLarge, Unavailable
from sentinel.incidents.nouns import Principal
from sentinel.remediation.approval import Provenance
from serve_apps.errors import response_to
from serve_apps.slack_desk import Decisions, Incidents, ReadingDesk, Views
from serve_apps.slack_payloads import (
    HomeOpened,
    Interaction,
    Person,
    Pressed,
    Submitted,
    Typed,
    parse,
    printable,
)
from serve_apps.slack_people import SLACK_FAILS, failure, look_up, principal_of, tell_thread, whisper
from serve_apps.slack_quieting import SlackQuieting
from serve_apps.slack_switch import SlackSwitch

APPROVE, REJECT = "sentinel_approve", "sentinel_reject"  # the card's action ids
_FORMS = (REJECT, "sentinel_narrow", "sentinel_unlike", "sentinel_silence")  # those that open a modal
MAX_BODY = 1024 * 1024
_DECIDE_WITHIN_S = 60.0
_OURS = re.compile(r"sentinel_[a-z]+")

# Lower-case headers, raw body, now in milliseconds; raises Unauthenticated.
Verify = Callable[[Mapping[str, str], bytes, int], None]

log = structlog.get_logger(__name__)


def refusal(person: Person, team_id: str) -> str:
    """Why this person may not decide here, as far as the request itself tells; empty if they may."""
    if team_id and person.team != team_id:
        return "not decided: this is not the Slack workspace that decides here"
    if person.user_team != person.team:
        return "not decided: only members of this workspace may decide"
    if person.is_bot:
        return "not decided: a bot may not decide"
    return ""


def slack_routes(
    *,
    verify: Verify,
    decisions: Decisions,
    incidents: Incidents,
    views: Views,
    switch: SlackSwitch,
    quieting: SlackQuieting,
    clock: Clock,
    client: AsyncWebClient | None = None,
    team_id: str = "",
) -> list[Route]:
    """The door for Slack. Without a `client` (a bot token) nobody is looked up, told or shown anything."""
    desk = ReadingDesk(decisions, incidents, views, switch, client)
    door = _Door(verify, decisions, desk, quieting, clock, client, team_id)
    return [Route("/slack/events", door.events, methods=["POST"])]


class _Door:
    """Holds nothing but what it was given and the clicks under way."""

    def __init__(
        self,
        verify: Verify,
        decisions: Decisions,
        desk: ReadingDesk,
        quieting: SlackQuieting,
        clock: Clock,
        client: AsyncWebClient | None,
        team_id: str,
    ) -> None:
        self._verify, self._decisions, self._desk, self._clock = verify, decisions, desk, clock
        self._quieting, self._client, self._team_id = quieting, client, team_id
        self._under_way: set[asyncio.Task[None]] = set()
        self._bolt = self._build_bolt()

    async def events(self, request: Request) -> Response:
        """Authenticate, understand, acknowledge."""
        try:
            body = await _limited_body(request)
            headers = _joined_headers(request)
            self._verify(headers, body, self._clock.now_ms())
            interaction, seen_by_bolt = parse(headers, body)
        except SentinelError as error:
            log.warning("slack request refused", error=str(error), size=request.headers.get("content-length"))
            return response_to(error)
        # Bolt gets what was understood, written anew: its own reading of odd JSON ends in a 500, and it
        # heeds headers that the signature does not cover.
        to_bolt = AsyncBoltRequest(
            body=msgspec.json.encode(seen_by_bolt).decode(),
            headers={"content-type": "application/json"},
            context={"interaction": interaction, "signed": _signed(headers)},
        )
        return to_starlette_response(await self._bolt.async_dispatch(to_bolt))

    def _build_bolt(self) -> AsyncApp:
        async def authorize() -> AuthorizeResult:
            # The signature was the authentication; this keeps bolt from asking slack.com about a token.
            return AuthorizeResult(enterprise_id=None, team_id=None)

        # Below ERROR, bolt logs whole request bodies.
        quiet = logging.getLogger("serve_apps.slack.bolt")
        quiet.setLevel(logging.ERROR)
        app = AsyncApp(
            name="sentinel",
            logger=quiet,
            signing_secret="",  # else bolt reads the environment for one
            request_verification_enabled=False,
            authorize=authorize,
        )
        app.action(_OURS)(self._acknowledged)
        app.view(_OURS)(self._acknowledged)
        app.event("app_home_opened")(self._acknowledged)
        app.command("/sentinel")(self._on_command)
        return app

    async def _acknowledged(self, ack: AsyncAck, context: AsyncBoltContext) -> None:
        await ack()
        # A task of our own: bolt's listener runs in one that nothing refers to, and where it raises soon after
        # the acknowledgement, bolt forgets that and answers Slack with a 404 after three seconds.
        task = asyncio.create_task(self._settle(context["interaction"], context["signed"]))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _on_command(self, ack: AsyncAck, context: AsyncBoltContext) -> None:
        typed: Typed = context["interaction"]
        barred = refusal(typed.person, self._team_id)
        blocks, text = ([], barred) if barred else await self._desk.answer(typed, int(context["signed"][0]) * 1000)
        log.info("slack command", words=typed.words[:1], user=typed.person.user)
        await ack(response_type="ephemeral", text=text, blocks=blocks)

    async def _settle(self, interaction: Interaction, signed: tuple[str, str]) -> None:
        if isinstance(interaction, HomeOpened):
            if not refusal(interaction.person, self._team_id):
                await self._desk.publish_home(interaction.person)
            return
        if not isinstance(interaction, Pressed | Submitted):
            return
        person, about = interaction.person, interaction.about
        try:
            line = await self._act(interaction, signed)
        except Exception:
            # Nobody above is left to tell: the click was acknowledged.
            log.exception("slack click failed", plan_id=about.plan, user=person.user)
            line = "Sentinel failed on this click, and it may not have counted: look at the card"
        log.info("slack click", plan_id=about.plan, action=interaction.action, user=person.user, outcome=line)
        if line and self._client:
            await whisper(self._client, about.channel, person.user, line)

    async def _act(self, interaction: Pressed | Submitted, signed: tuple[str, str]) -> str:
        """What came of a click, in a line for the one who clicked; empty where a modal says enough."""
        person = interaction.person
        refused = refusal(person, self._team_id)
        if refused:
            return refused
        if isinstance(interaction, Pressed) and self._client and interaction.action in _FORMS:
            # First of all, for what opens a modal is good for three seconds.
            return await self._opened(interaction)
        name = person.name
        if self._client:
            refused, real_name = await look_up(self._client, person.user, person.team)
            if refused:
                return refused
            name = printable(real_name)[:80] or name
        principal = principal_of(person, name)
        came = _provenance(interaction, signed)
        now_ms, deadline = self._clock.now_ms(), self._clock.monotonic() + _DECIDE_WITHIN_S
        while True:
            try:
                return await self._told(interaction, principal, came, now_ms)
            except (Unavailable, OutcomeUnknown) as error:
                # Slack was told 200 and will not send the click again. Deciding twice is harmless, forgetting is not.
                if self._clock.monotonic() >= deadline:
                    return f"not decided, click again: {error}"
                log.warning("verdict waits", plan_id=interaction.about.plan, error=str(error))
                await self._clock.sleep(1.0)
            except SentinelError as error:
                return f"not decided: {error}"

    async def _told(self, interaction: Pressed | Submitted, principal: Principal, came: Provenance, now_ms: int) -> str:
        about, decisions = interaction.about, self._decisions
        said, choice = (interaction.value, interaction.choice) if isinstance(interaction, Submitted) else ("", "")
        match interaction.action:
            case "sentinel_approve":
                return await decisions.decide(about.plan, about.digest, "approve", principal, "", came)
            case "sentinel_reject":
                reason = printable(said)
                return await decisions.decide(about.plan, about.digest, "reject", principal, reason, came)
            case "sentinel_narrow":
                if not re.fullmatch(r"[0-9]{1,9}", said):
                    raise Invalid(about.name or "value", printable(said), "a whole number")
                return await decisions.narrow(
                    about.plan, about.digest, about.index, about.name, int(said), principal, came
                )
            case "sentinel_cancel":
                return await decisions.withdraw(about.plan, about.digest, "cancel", principal, "", came)
            case "sentinel_abort":
                return await decisions.withdraw(about.plan, about.digest, "abort", principal, "", came)
            case "sentinel_acknowledge":
                return await decisions.acknowledge(about.incident, principal, "", came)
            case "sentinel_unlike":
                return await self._quieting.not_same(about.incident, choice, printable(said), principal, came)
            case "sentinel_silence":
                comment = printable(said)
                line = await self._quieting.silence(about.incident, choice, comment, principal, came, now_ms)
                if self._client and about.ts:
                    await tell_thread(self._client, about.channel, about.ts, line)
                return line

    async def _opened(self, pressed: Pressed) -> str:
        """Have Slack show the modal that a button opens; answers why not where that failed."""
        try:
            view = await self._desk.modal(pressed)
            assert self._client is not None  # the caller saw to it
            await self._client.views_open(trigger_id=pressed.trigger, view=view)
        except SentinelError as error:
            return f"not decided: {error}"
        except SLACK_FAILS as error:
            return f"not decided: Slack could not show the form ({failure(error)}); click again"
        return ""


def _provenance(interaction: Pressed | Submitted, signed: tuple[str, str]) -> Provenance:
    about, person = interaction.about, interaction.person
    at, request = signed
    evidence = f"Slack v0 signature of timestamp {at}, team {person.team}, user {person.user}"
    if about.ts:
        evidence += f", channel {about.channel}, message {about.ts}"
    return Provenance(
        method="Slack button" if isinstance(interaction, Pressed) else "Slack modal",
        evidence=evidence,
        request=request,
        audience=about.audience,
        channel=about.channel,
        ts=about.ts,
        mac=about.mac,
    )


def _signed(headers: Mapping[str, str]) -> tuple[str, str]:
    """The timestamp of a verified request, and an id that no other has; the signature itself is kept nowhere."""
    signature = headers.get("x-slack-signature", "")
    return headers.get("x-slack-request-timestamp", ""), hashlib.sha256(signature.encode()).hexdigest()


async def _limited_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise TooLarge(f"body: more than {MAX_BODY} bytes")
    return bytes(body)


def _joined_headers(request: Request) -> dict[str, str]:
    """Header values by name; one that came twice is joined by a comma, so that no reader sees only one of them."""
    return {name: ", ".join(request.headers.getlist(name)) for name in request.headers}
