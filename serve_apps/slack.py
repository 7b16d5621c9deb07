"""POST /slack/events: Slack's buttons become verdicts.

The signature is checked over the raw body before anything is parsed; bolt then routes and acknowledges.
The verdict is handed over after the acknowledgement, for Slack waits three seconds only, and what came of
it goes to the one who clicked. `response_url` is never used: it would have us call an address a request names.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol
from urllib.parse import parse_qsl

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
from sentinel.ids import incident_of_plan
from sentinel.incidents.nouns import Principal
from serve_apps.errors import response_to
from serve_apps.slack_people import SLACK_FAILS, failure, look_up, web_client

APPROVE, REJECT = "sentinel_approve", "sentinel_reject"  # the card's action ids
MAX_BODY = 1024 * 1024
_FORM = "application/x-www-form-urlencoded"
_DECIDE_WITHIN_S = 60.0

# Lower-case headers, raw body, now in milliseconds; raises Unauthenticated.
Verify = Callable[[Mapping[str, str], bytes, int], None]

log = structlog.get_logger(__name__)


class Decisions(Protocol):
    """Who takes verdicts: the approval actor, behind its handle."""

    def decide(
        self,
        plan_id: str,
        digest: str,
        decision: Literal["approve", "reject"],
        principal: Principal,
        reason: str,
        evidence: str,
    ) -> Awaitable[str]:
        """Answer, in a line for people, what came of a verdict. Raises SentinelError with a line as well."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Click:
    """One press of a button, as Slack vouches for it."""

    plan_id: str
    digest: str
    decision: Literal["approve", "reject"]
    user: str
    user_name: str
    user_team: str
    is_bot: bool
    team: str
    channel: str
    message_ts: str
    signed_at: str


_Id = Annotated[str, msgspec.Meta(pattern=r"^[A-Z0-9]{2,32}$")]
_Ts = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,12}\.[0-9]{1,9}$")]


class _User(msgspec.Struct):
    id: _Id
    name: str = ""
    team_id: _Id | None = None
    is_bot: bool = False


class _Named(msgspec.Struct):
    id: _Id


class _Container(msgspec.Struct):
    message_ts: _Ts


class _Action(msgspec.Struct):
    action_id: Literal["sentinel_approve", "sentinel_reject"]
    value: str


class _Payload(msgspec.Struct):
    type: Literal["block_actions"]
    user: _User
    channel: _Named
    container: _Container
    actions: Annotated[list[_Action], msgspec.Meta(min_length=1, max_length=1)]
    team: _Named | None = None


class _Value(msgspec.Struct, forbid_unknown_fields=True):
    plan: Annotated[str, msgspec.Meta(max_length=200)]
    digest: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class _Challenge(msgspec.Struct):
    type: Literal["url_verification"]
    challenge: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]


def parse(headers: Mapping[str, str], body: bytes) -> tuple[Click | None, dict[str, object]]:
    """The click in a request (None for Slack's own checks: url_verification, ssl_check) and what bolt need see of it.

    Raises Invalid for anything else.
    """
    kind = headers.get("content-type", "").split(";", maxsplit=1)[0].strip().lower()
    try:
        text = body.decode()
        fields = parse_qsl(text, keep_blank_values=True, max_num_fields=20) if kind == _FORM else []
    except ValueError:
        raise Invalid("body", "(not shown)", "UTF-8, and few fields in a form") from None
    if kind == "application/json":
        challenge: _Challenge = _decode(text, _Challenge, "body")
        return None, {"type": challenge.type, "challenge": challenge.challenge}
    if kind != _FORM:
        raise Invalid("content-type", kind[:100], f"{_FORM} or application/json")
    payloads = [value for name, value in fields if name == "payload"]
    if not payloads and ("ssl_check", "1") in fields:
        return None, {"ssl_check": "1"}
    if len(payloads) != 1:
        raise Invalid("body", f"{len(payloads)} fields named payload", "one field named payload")
    payload: _Payload = _decode(payloads[0], _Payload, "payload")
    click = _click(payload, headers.get("x-slack-request-timestamp", ""))
    return click, {"type": payload.type, "actions": [{"action_id": payload.actions[0].action_id}]}


def refusal(click: Click, team_id: str) -> str:
    """Why the one who clicked may not decide here, as far as the request itself tells; empty if they may."""
    if team_id and click.team != team_id:
        return "not decided: this is not the Slack workspace that decides here"
    if click.user_team != click.team:
        return "not decided: only members of this workspace may decide"
    if click.is_bot:
        return "not decided: a bot may not decide"
    return ""


def slack_routes(
    *, verify: Verify, decisions: Decisions, clock: Clock, api_url: str, bot_token: str = "", team_id: str = ""
) -> list[Route]:
    """The door for Slack. Without a `bot_token` nobody is looked up, and nobody is told what came of a click."""
    door = _Door(verify, decisions, clock, web_client(bot_token, api_url) if bot_token else None, team_id)
    return [Route("/slack/events", door.events, methods=["POST"])]


class _Door:
    """Holds nothing but what it was given and the clicks under way."""

    def __init__(
        self, verify: Verify, decisions: Decisions, clock: Clock, client: AsyncWebClient | None, team_id: str
    ) -> None:
        self._verify, self._decisions, self._clock = verify, decisions, clock
        self._client, self._team_id = client, team_id
        self._under_way: set[asyncio.Task[None]] = set()
        self._bolt = self._build_bolt()

    async def events(self, request: Request) -> Response:
        """Authenticate, understand, acknowledge."""
        try:
            body = await _limited_body(request)
            headers = _joined_headers(request)
            self._verify(headers, body, self._clock.now_ms())
            click, seen_by_bolt = parse(headers, body)
        except SentinelError as error:
            log.warning("slack request refused", error=str(error), size=request.headers.get("content-length"))
            return response_to(error)
        # Bolt gets what was understood, written anew: its own reading of odd JSON ends in a 500, and it
        # heeds headers that the signature does not cover.
        to_bolt = AsyncBoltRequest(
            body=msgspec.json.encode(seen_by_bolt).decode(),
            headers={"content-type": "application/json"},
            context={"click": click},
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
        app.action(APPROVE)(self._on_click)
        app.action(REJECT)(self._on_click)
        return app

    async def _on_click(self, ack: AsyncAck, context: AsyncBoltContext) -> None:
        await ack()
        # A task of our own: bolt's listener runs in one that nothing refers to, and where it raises soon after
        # the acknowledgement, bolt forgets that and answers Slack with a 404 after three seconds.
        task = asyncio.create_task(self._settle(context["click"]))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _settle(self, click: Click) -> None:
        try:
            line = await self._decide(click)
        except Exception:
            # Nobody above is left to tell: the click was acknowledged.
            log.exception("slack click failed", plan_id=click.plan_id, user=click.user)
            line = "Sentinel failed on this click, and it may not have counted: look at the card"
        log.info("slack click", plan_id=click.plan_id, decision=click.decision, user=click.user, outcome=line)
        await self._tell(click, line)

    async def _decide(self, click: Click) -> str:
        refused = refusal(click, self._team_id)
        if refused:
            return refused
        name = click.user_name
        if self._client:
            refused, real_name = await look_up(self._client, click.user, click.team)
            if refused:
                return refused
            name = _printable(real_name) or name
        principal = Principal(id=f"slack:{click.team}/{click.user}", name=name or click.user, via="slack")
        evidence = (
            f"Slack v0 signature of timestamp {click.signed_at}, team {click.team}, user {click.user}, "
            f"channel {click.channel}, message {click.message_ts}"
        )
        deadline = self._clock.monotonic() + _DECIDE_WITHIN_S
        while True:
            try:
                return await self._decisions.decide(
                    click.plan_id, click.digest, click.decision, principal, "", evidence
                )
            except (Unavailable, OutcomeUnknown) as error:
                # Slack was told 200 and will not send the click again. Deciding twice is harmless, forgetting is not.
                if self._clock.monotonic() >= deadline:
                    return f"not decided, click again: {error}"
                log.warning("verdict waits", plan_id=click.plan_id, error=str(error))
                await self._clock.sleep(1.0)
            except SentinelError as error:
                return f"not decided: {error}"

    async def _tell(self, click: Click, line: str) -> None:
        if self._client is None:
            return
        block = {"type": "section", "text": {"type": "plain_text", "text": line[:1500], "emoji": False}}
        text = line[:1500].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        try:
            await self._client.chat_postEphemeral(
                channel=click.channel, user=click.user, text=text, blocks=[block], parse="none", link_names=False
            )
        except SLACK_FAILS as error:
            log.warning("clicker not told", plan_id=click.plan_id, user=click.user, error=failure(error))


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


def _decode(text: str, kind: type[Any], field: str) -> Any:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        # The error names the place and what was expected there; the text itself has tokens in it.
        raise Invalid(field, "(not shown)", f"Slack's JSON: {error}") from None


def _click(payload: _Payload, signed_at: str) -> Click:
    action = payload.actions[0]
    value: _Value = _decode(action.value, _Value, "payload.actions[0].value")
    incident_of_plan(value.plan)
    team = payload.team.id if payload.team else payload.user.team_id
    if team is None:
        raise Invalid("payload.team", "nothing", "the workspace of the click")
    return Click(
        plan_id=value.plan,
        digest=value.digest,
        decision="approve" if action.action_id == APPROVE else "reject",
        user=payload.user.id,
        user_name=_printable(payload.user.name),
        user_team=payload.user.team_id or team,
        is_bot=payload.user.is_bot or payload.user.id == "USLACKBOT",
        team=team,
        channel=payload.channel.id,
        message_ts=payload.container.message_ts,
        signed_at=signed_at,
    )


def _printable(name: str) -> str:
    return "".join(char for char in name if char.isprintable()).strip()[:80]
