"""Slack's Web API and incoming webhook, as far as Sentinel needs them and as strict as Slack.

Answers and error codes from docs.slack.dev/reference/methods: a refusal is HTTP 200 with "ok": false.
"""

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from sentinel.clock import Clock
from sentinel.sandbox.slack import files, validation
from sentinel.sandbox.slack.faults import Faults
from sentinel.sandbox.slack.workspace import (
    BOT,
    BOT_NAME,
    BOT_USER,
    TEAM,
    TEAM_NAME,
    Blocks,
    Modal,
    Workspace,
    as_json,
)

Args = Mapping[str, Any]
Answer = dict[str, Any]
Work = Callable[[], Awaitable[Response]]


class Refused(Exception):
    """An `ok: false` answer with its code."""

    def __init__(self, code: str, messages: list[str] | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.messages = messages or []


class Pace:
    """About one message every so many seconds, after a short burst; 0 seconds for no limit."""

    BURST = 3

    def __init__(self, clock: Clock, seconds_a_message: float) -> None:
        self._clock, self._seconds = clock, seconds_a_message
        self._free_at = 0.0

    def wait_s(self) -> int:
        """Take a turn and answer 0, or answer after how many whole seconds there is one."""
        now = self._clock.monotonic()
        ahead = self._free_at - now
        if self._seconds and ahead > self._seconds * (self.BURST - 1):
            return max(1, math.ceil(ahead - self._seconds * (self.BURST - 1)))
        self._free_at = max(self._free_at, now) + self._seconds
        return 0


class WebApi:
    """The methods over one workspace. `log` has every call in order; a token is never in it."""

    def __init__(
        self,
        workspace: Workspace,
        faults: Faults,
        clock: Clock,
        *,
        token: str,
        webhook_key: str,
        seconds_a_message: float = 0.0,
    ) -> None:
        self._workspace, self._faults, self._clock = workspace, faults, clock
        self._token, self._webhook_key = token, webhook_key
        self._pace = Pace(clock, seconds_a_message)
        self.log: list[dict[str, Any]] = []
        self._methods: Mapping[str, Callable[[Args], Answer]] = {
            "auth.test": self._auth_test,
            "chat.postMessage": self._post,
            "chat.update": self._update,
            "chat.postEphemeral": self._whisper,
            "conversations.history": self._history,
            "chat.delete": self._delete,
            "conversations.replies": self._replies,
            "users.info": self._user,
            "usergroups.users.list": self._group,
            "views.open": self._open,
            "views.publish": self._publish,
            "files.getUploadURLExternal": self._file_place,
            "files.completeUploadExternal": self._file_shown,
        }

    async def call(self, request: Request) -> Response:
        """One call of /api/{method}."""
        method = request.path_params["method"]
        body = await request.body()

        async def work() -> Response:
            if method == "chat.postMessage" and (wait_s := self._pace.wait_s()):
                refused = {"ok": False, "error": "ratelimited"}
                return JSONResponse(refused, 429, headers={"Retry-After": str(wait_s)})
            return JSONResponse(self._answer(method, request, body))

        return await self._logged(method, request, body, work)

    async def webhook(self, request: Request) -> Response:
        """One post to /services/T000/B000/{key}: plain text, and the status says whether it worked."""
        body = await request.body()

        async def work() -> Response:
            if request.path_params["key"] != self._webhook_key:
                return PlainTextResponse("no_service", 404)
            try:
                text, blocks = _content(_arguments(request, body, payload_field="payload"))
            except Refused as refused:
                unread = refused.code in ("invalid_json", "json_not_object")
                return PlainTextResponse("invalid_payload" if unread else refused.code, 400)
            self._workspace.post(next(iter(self._workspace.channels)), text, blocks, by_webhook=True)
            return PlainTextResponse("ok")

        return await self._logged("webhook", request, body, work)

    async def _logged(self, method: str, request: Request, body: bytes, work: Work) -> Response:
        try:
            arguments = {name: value for name, value in _arguments(request, body).items() if name != "token"}
        except Refused:
            arguments = {}
        entry = {"method": method, "at_ms": self._clock.now_ms(), "arguments": arguments}
        self.log.append(entry)
        response: Response = await self._faults.answer(method, request, work)
        entry["status"] = response.status_code
        if response.body:
            entry["answer"] = bytes(response.body).decode()[:2000]
        return response

    def _answer(self, method: str, request: Request, body: bytes) -> Answer:
        try:
            arguments = _arguments(request, body)
            self._authenticate(request, arguments)
            run = self._methods.get(method)
            if run is None:
                raise Refused("unknown_method")
            return {"ok": True, **run({**arguments, "_base": str(request.base_url)})}
        except Refused as refused:
            answer: Answer = {"ok": False, "error": refused.code}
            if refused.messages:
                answer["response_metadata"] = {"messages": [f"[ERROR] {each}" for each in refused.messages]}
            return answer

    def _authenticate(self, request: Request, arguments: Args) -> None:
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        given = bearer if scheme.lower() == "bearer" else arguments.get("token", "")
        if not given:
            raise Refused("not_authed")
        if given != self._token:
            raise Refused("invalid_auth")

    def _auth_test(self, arguments: Args) -> Answer:
        return {
            "url": "https://acme.slack.com/",
            "team": TEAM_NAME,
            "team_id": TEAM,
            "user": BOT_NAME,
            "user_id": BOT_USER,
            "bot_id": BOT,
        }

    def _post(self, arguments: Args) -> Answer:
        channel = self._channel(arguments)
        thread_ts = arguments.get("thread_ts")
        if thread_ts and self._workspace.message(channel, str(thread_ts)) is None:
            raise Refused("thread_not_found")
        message = self._workspace.post(channel, *_content(arguments), thread_ts=str(thread_ts) if thread_ts else None)
        message.metadata = arguments.get("metadata") or {}
        return {"channel": channel, "ts": message.ts, "message": as_json(message)}

    def _update(self, arguments: Args) -> Answer:
        channel = self._channel(arguments)
        message = self._workspace.message(channel, str(arguments.get("ts", "")))
        if message is None:
            raise Refused("message_not_found")
        if message.by_webhook:
            raise Refused("cant_update_message")
        self._workspace.edit(message, *_content(arguments))
        return {"channel": channel, "ts": message.ts, "text": message.text, "message": as_json(message)}

    def _whisper(self, arguments: Args) -> Answer:
        channel = self._channel(arguments)
        user = str(arguments.get("user", ""))
        if user not in self._workspace.users:
            raise Refused("user_not_in_channel")
        return {"message_ts": self._workspace.whisper(channel, user, *_content(arguments)).ts}

    def _history(self, arguments: Args) -> Answer:
        channel = str(arguments.get("channel", ""))
        if channel not in self._workspace.channels:  # the one method that takes no name
            raise Refused("channel_not_found")
        limit, oldest = int(arguments.get("limit", 100)), float(arguments.get("oldest") or 0)
        with_metadata = str(arguments.get("include_all_metadata", "")).lower() in ("1", "true")
        newest_first = [
            {**as_json(each), **({"metadata": each.metadata} if with_metadata and each.metadata else {})}
            for each in reversed(self._workspace.messages)
            if each.channel == channel and not each.thread_ts and float(each.ts) > oldest
        ]
        return {"messages": newest_first[:limit], "has_more": len(newest_first) > limit}

    def _user(self, arguments: Args) -> Answer:
        user = self._workspace.users.get(str(arguments.get("user", "")))
        if user is None:
            raise Refused("user_not_found")
        profile = {"real_name": user.real_name, "display_name": user.name}
        return {"user": {**asdict(user), "is_ultra_restricted": False, "profile": profile}}

    def _delete(self, arguments: Args) -> Answer:
        channel = self._channel(arguments)
        message = self._workspace.message(channel, str(arguments.get("ts", "")))
        if message is None:
            raise Refused("message_not_found")
        self._workspace.messages.remove(message)
        self._workspace.version += 1
        return {"channel": channel, "ts": message.ts}

    def _replies(self, arguments: Args) -> Answer:
        channel = self._channel(arguments)
        message = self._workspace.message(channel, str(arguments.get("ts", "")))
        if message is None:
            raise Refused("thread_not_found")
        return {"messages": [as_json(each) for each in (message, *self._workspace.replies(message))]}

    def _group(self, arguments: Args) -> Answer:
        group = self._workspace.groups.get(str(arguments.get("usergroup", "")))
        if group is None:
            raise Refused("no_such_subteam")
        return {"users": list(group)}

    def _open(self, arguments: Args) -> Answer:
        view = _view(arguments, "modal")
        trigger = str(arguments.get("trigger_id", ""))
        user = self._workspace.use_trigger(trigger)
        if user is None:
            raise Refused(self._workspace.why_not(trigger))
        modal = Modal(id=f"V{self._workspace.next_ts().replace('.', '')}", user=user, view=view)
        self._workspace.modals[user] = modal
        return {"view": {**view, "id": modal.id}}

    def _publish(self, arguments: Args) -> Answer:
        user = str(arguments.get("user_id", ""))
        if user not in self._workspace.users:
            raise Refused("user_not_found")
        self._workspace.homes[user] = _view(arguments, "home")
        self._workspace.version += 1
        return {"view": dict(self._workspace.homes[user])}

    def _file_place(self, arguments: Args) -> Answer:
        made = files.begin(self._workspace, str(arguments.get("filename", "")), str(arguments.get("length", "")))
        if isinstance(made, str):
            raise Refused(made)
        return {"upload_url": f"{arguments['_base']}upload/{made.id}", "file_id": made.id}

    def _file_shown(self, arguments: Args) -> Answer:
        channel = self._channel({"channel": arguments.get("channel_id", "")})
        thread_ts = arguments.get("thread_ts")
        shown = files.complete(self._workspace, str(arguments.get("files", "")), channel, thread_ts)
        if isinstance(shown, str):
            raise Refused(shown)
        return {"files": [{"id": each.id, "title": each.title} for each in shown]}

    def _channel(self, arguments: Args) -> str:
        channel = self._workspace.channel(str(arguments.get("channel", "")))
        if channel is None:
            raise Refused("channel_not_found")
        return channel


def _arguments(request: Request, body: bytes, payload_field: str = "") -> dict[str, Any]:
    """The arguments of query and body, form or JSON. Raises Refused."""
    arguments: dict[str, Any] = dict(request.query_params)
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind == "application/json":
        return {**arguments, **_object(body)}
    form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    if payload_field:
        return {**arguments, **_object(form.get(payload_field, "").encode())}
    return {**arguments, **form}


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Refused("invalid_json") from None
    if not isinstance(value, dict):
        raise Refused("json_not_object")
    return value


def _view(arguments: Args, kind: str) -> Mapping[str, Any]:
    """The view of a call, within Slack's limits. Raises Refused."""
    view = arguments.get("view")
    if isinstance(view, str):
        view = _object(view.encode())
    if not isinstance(view, dict) or view.get("type") != kind:
        raise Refused("invalid_arguments", [f"view must be a {kind}"])
    if found := validation.view_problems(view):
        raise Refused("invalid_arguments", found)
    return view


def _content(arguments: Args) -> tuple[str, Blocks]:
    """Text and blocks of a message. Raises Refused with Slack's code for what is wrong with them."""
    text = str(arguments.get("text") or "")
    blocks = arguments.get("blocks") or []
    if isinstance(blocks, str):
        try:
            blocks = msgspec.json.decode(blocks)
        except msgspec.DecodeError:
            raise Refused("invalid_blocks", ["not JSON [json-pointer:/blocks]"]) from None
    if found := validation.problems(blocks):
        raise Refused("invalid_blocks", found)
    if validation.total_text(blocks) > validation.MAX_TOTAL_TEXT:
        raise Refused("msg_blocks_too_long")
    if not text and not blocks:
        raise Refused("no_text")
    if validation.width(text) > validation.MAX_MESSAGE_TEXT:
        raise Refused("msg_too_long")
    return text, blocks
