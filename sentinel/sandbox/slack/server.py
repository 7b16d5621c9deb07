"""The double as one ASGI application: Slack's own paths, a control API under /_control, and the page."""

import asyncio
import contextlib
import importlib.resources
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
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
from sentinel.sandbox.slack.web_api import WebApi
from sentinel.sandbox.slack.workspace import BOT_USER, Message, Workspace

T = TypeVar("T")
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
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._secret, self._interactivity_url = signing_secret, interactivity_url
        self._client = httpx.AsyncClient(transport=transport, trust_env=False)
        self.workspace = Workspace(self._clock)
        self.faults = Faults()
        self.clicks: list[Clicked] = []
        self._api = WebApi(self.workspace, self.faults, self._clock, token=token, webhook_key=webhook_key)
        self.webhook_path = f"/services/T000/B000/{webhook_key}"
        self.app = Starlette(
            routes=[
                Route("/api/{method}", self._api.call, methods=["GET", "POST"]),
                Route("/services/T000/B000/{key}", self._api.webhook, methods=["POST"]),
                Route("/_control/messages", self._messages),
                Route("/_control/log", self._log),
                Route("/_control/click", _answering(self._click), methods=["POST"]),
                Route("/_control/fault", _answering(self._fault), methods=["POST"]),
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
        if user not in self.workspace.users:
            raise NotFound(f"there is no user {user}")
        name = self.workspace.channels[message.channel]
        sent = clicks.payload(message, pressed, self.workspace.users[user], name, self.workspace.next_ts())
        body = clicks.form_body(sent)
        at_ms = self._clock.now_ms()
        headers = clicks.signed_headers(self._secret, body, at_ms + skew_s * 1000)
        status, text, elapsed = await clicks.deliver(self._client, self._interactivity_url, body, headers, self._clock)
        clicked = Clicked(
            user=user,
            action_id=action_id,
            channel=message.channel,
            ts=message.ts,
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
