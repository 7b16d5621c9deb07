"""The double as one ASGI application: Slack's own paths, a control API under /_control, and the page."""

import asyncio
import contextlib
import importlib.resources
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

import httpx
import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sentinel.clock import Clock, SystemClock
from sentinel.errors import Invalid, NotFound, SentinelError
from sentinel.sandbox.slack import clicks
from sentinel.sandbox.slack.clicks import Clicked
from sentinel.sandbox.slack.faults import Fault, Faults
from sentinel.sandbox.slack.files import Uploads
from sentinel.sandbox.slack.web_api import WebApi
from sentinel.sandbox.slack.workspace import BOT_USER, GROUP_NAMES, Message, User, Workspace

T = TypeVar("T")
_EVENT_RETRIES = 3
Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]
_PAGE = {
    "": ("page.html", "text/html"),
    "page.css": ("page.css", "text/css"),
    "page.js": ("page.js", "text/javascript"),
}


class _Click(msgspec.Struct, forbid_unknown_fields=True):
    channel: str
    ts: str
    action_id: str
    user: str
    skew_s: int = 0


class _Submit(msgspec.Struct, forbid_unknown_fields=True):
    user: str
    values: dict[str, str] = {}


class _Say(msgspec.Struct, forbid_unknown_fields=True):
    user: str
    text: str = ""


class _Outage(msgspec.Struct, forbid_unknown_fields=True):
    down: bool


class _Order(msgspec.Struct, forbid_unknown_fields=True):
    method: str
    kind: Fault
    times: int = 1


class SlackDouble:
    """A Slack of one workspace. `app` is the ASGI application; what happened can be read off directly.

    `transport` carries clicks to `interactivity_url`; tests give the door's ASGI transport.
    """

    def __init__(
        self,
        *,
        signing_secret: str,
        token: str,
        interactivity_url: str = "",
        webhook_key: str = "sandbox",
        clock: Clock | None = None,
        seconds_a_message: float = 0.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._secret, self._interactivity_url = signing_secret, interactivity_url
        self._client = httpx.AsyncClient(transport=transport, trust_env=False)
        self.workspace = Workspace(self._clock)
        self.faults = Faults()
        self.clicks: list[Clicked] = []
        self._api = WebApi(
            self.workspace,
            self.faults,
            self._clock,
            token=token,
            webhook_key=webhook_key,
            seconds_a_message=seconds_a_message,
        )
        uploads = Uploads(self.workspace)
        self.webhook_path = f"/services/T000/B000/{webhook_key}"
        self.app = Starlette(
            routes=[
                Route("/api/{method}", self._api.call, methods=["GET", "POST"]),
                Route("/services/T000/B000/{key}", self._api.webhook, methods=["POST"]),
                Route("/upload/{file}", uploads.take, methods=["POST"]),
                Route("/_control/files/{file}", uploads.show),
                Route("/_control/messages", self._messages),
                Route("/_control/log", self._log),
                Route("/_control/click", _answering(self._click), methods=["POST"]),
                Route("/_control/fault", _answering(self._fault), methods=["POST"]),
                Route("/_control/outage", _answering(self._outage), methods=["POST"]),
                Route("/_control/submit", _answering(self._submit), methods=["POST"]),
                Route("/_control/close", _answering(self._close), methods=["POST"]),
                Route("/_control/command", _answering(self._command), methods=["POST"]),
                Route("/_control/home", _answering(self._home), methods=["POST"]),
                *(Route(f"/{path}", _file(name, kind)) for path, (name, kind) in _PAGE.items()),
            ]
        )

    @property
    def messages(self) -> list[Message]:
        """Every message, oldest first."""
        return self.workspace.messages

    @property
    def log(self) -> list[dict[str, Any]]:
        """Every call of the Web API and the webhook, oldest first: method, arguments, status, answer."""
        return self._api.log

    async def click(self, message: Message, action_id: str, user: str, *, skew_s: int = 0) -> Clicked:
        """Press a button as `user`, with a clock `skew_s` ahead. Raises NotFound for what is not there."""
        pressed = clicks.button(message, action_id)
        if pressed is None:
            raise NotFound(f"the message has no button {action_id} any more")
        who, name = self._user(user), self.workspace.channels[message.channel]
        trigger = self.workspace.trigger(user)
        sent = clicks.payload(message, pressed, who, name, self.workspace.next_ts(), trigger)
        body = clicks.form_body(sent)
        return await self._deliver(
            body, user=user, action_id=action_id, channel=message.channel, ts=message.ts, skew_s=skew_s
        )

    async def submit(self, user: str, **values: str) -> Clicked:
        """Submit the modal that stands open before `user`; `values` by action id. Raises NotFound if none does."""
        modal = self.workspace.modals.pop(user, None)
        if modal is None:
            raise NotFound(f"no modal stands open before {user}")
        body = clicks.form_body(clicks.submission(modal, self._user(user), values))
        return await self._deliver(body, user=user, action_id=str(modal.view["callback_id"]))

    async def command(self, user: str, text: str) -> Clicked:
        """Type `/sentinel text` as `user`; what the app answers is shown to them alone."""
        channel, name = next(iter(self.workspace.channels.items()))
        body = clicks.command_body(text, self._user(user), channel, name, self.workspace.trigger(user))
        clicked = await self._deliver(body, user=user, action_id="/sentinel", channel=channel)
        if clicked.status == 200 and clicked.answer:
            answer = msgspec.json.decode(clicked.answer)
            self.workspace.whisper(channel, user, str(answer.get("text", "")), answer.get("blocks") or [])
        return clicked

    async def open_home(self, user: str) -> Clicked:
        """Look at the app's own page as `user`: an event, which Slack sends up to three times more until it is taken.

        Slack waits a minute and five before the last two; the double does not.
        """
        body = clicks.home_body(self._user(user), self.workspace.next_ts(), self._clock.now_ms())
        for number in range(1 + _EVENT_RETRIES):
            retry = {"x-slack-retry-num": str(number), "x-slack-retry-reason": "http_error"} if number else {}
            clicked = await self._deliver(
                body, user=user, action_id="app_home_opened", content_type="application/json", more=retry
            )
            if clicked.status is not None and clicked.status < 300:
                break
        return clicked

    def _user(self, user: str) -> User:
        if user not in self.workspace.users:
            raise NotFound(f"there is no user {user}")
        return self.workspace.users[user]

    async def _deliver(
        self,
        body: bytes,
        *,
        user: str,
        action_id: str,
        channel: str = "",
        ts: str = "",
        skew_s: int = 0,
        content_type: str = "",
        more: Mapping[str, str] | None = None,
    ) -> Clicked:
        at_ms = self._clock.now_ms()
        signed = clicks.signed_headers(self._secret, body, at_ms + skew_s * 1000, content_type)
        headers = {**signed, **(more or {})}
        status, text, elapsed = await clicks.deliver(self._client, self._interactivity_url, body, headers, self._clock)
        clicked = Clicked(
            user=user,
            action_id=action_id,
            channel=channel,
            ts=ts,
            at_ms=at_ms,
            status=status,
            answer=text,
            elapsed_ms=elapsed,
        )
        self.clicks.append(clicked)
        self.workspace.version += 1
        return clicked

    async def aclose(self) -> None:
        """Close the client that carries clicks."""
        await self._client.aclose()

    async def _messages(self, request: Request) -> Response:
        workspace = self.workspace
        if request.query_params.get("since") == str(workspace.version):
            return Response(status_code=204)
        people = [asdict(user) for user in workspace.users.values() if user.id != BOT_USER]
        return JSONResponse(
            {
                "version": workspace.version,
                "channels": workspace.channels,
                "users": people,
                "messages": [asdict(message) for message in workspace.messages],
                "whispers": [asdict(whisper) for whisper in workspace.whispers],
                "modals": {user: dict(modal.view) for user, modal in workspace.modals.items()},
                "homes": workspace.homes,
                "groups": workspace.groups,
                "group_names": GROUP_NAMES,
                "clicks": [asdict(clicked) for clicked in self.clicks],
            }
        )

    async def _log(self, request: Request) -> Response:
        return JSONResponse(self.log)

    async def _click(self, request: Request) -> Response:
        wanted = _decode(await request.body(), _Click)
        message = self.workspace.message(wanted.channel, wanted.ts)
        if message is None:
            raise NotFound(f"there is no message {wanted.ts} in {wanted.channel}")
        return JSONResponse(asdict(await self.click(message, wanted.action_id, wanted.user, skew_s=wanted.skew_s)))

    async def _submit(self, request: Request) -> Response:
        wanted = _decode(await request.body(), _Submit)
        return JSONResponse(asdict(await self.submit(wanted.user, **wanted.values)))

    async def _close(self, request: Request) -> Response:
        wanted = _decode(await request.body(), _Say)
        self.workspace.modals.pop(wanted.user, None)
        self.workspace.version += 1
        return JSONResponse({"ok": True})

    async def _command(self, request: Request) -> Response:
        wanted = _decode(await request.body(), _Say)
        return JSONResponse(asdict(await self.command(wanted.user, wanted.text)))

    async def _home(self, request: Request) -> Response:
        wanted = _decode(await request.body(), _Say)
        return JSONResponse(asdict(await self.open_home(wanted.user)))

    async def _outage(self, request: Request) -> Response:
        self.faults.down = _decode(await request.body(), _Outage).down
        return JSONResponse({"down": self.faults.down})

    async def _fault(self, request: Request) -> Response:
        order = _decode(await request.body(), _Order)
        self.faults.order(order.method, order.kind, order.times)
        return JSONResponse({"ok": True})


@contextlib.asynccontextmanager
async def running(double: SlackDouble, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve the double on a real socket while the block runs; answers its base URL without a slash."""
    config = uvicorn.Config(double.app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1, ws="none")
    server = uvicorn.Server(config)
    # The socket listens before the server has started, so that nobody need wait for it.
    with socket.create_server((host, port)) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://{host}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving
            await double.aclose()


def _decode(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise Invalid("body", body[:100], str(error)) from None


def _answering(endpoint: Endpoint) -> Endpoint:
    """The endpoint with our own errors as one-line JSON."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except SentinelError as error:
            return JSONResponse({"error": str(error)}, 404 if isinstance(error, NotFound) else 400)

    return answer


def _file(name: str, kind: str) -> Endpoint:
    async def serve(request: Request) -> Response:
        text = importlib.resources.files("sentinel.sandbox.slack").joinpath(name).read_text("utf-8")
        # The page runs no script but its own file: what it shows was written by others.
        policy = "default-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
        return Response(text, media_type=kind, headers={"Content-Security-Policy": policy, "Cache-Control": "no-store"})

    return serve
