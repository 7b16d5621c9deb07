"""Faults on order: the next calls of a method fail as a real network and a real Slack fail."""

from collections.abc import Awaitable, Callable
from enum import StrEnum

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send


class Fault(StrEnum):
    """How a call fails. A lost reply and only that one is carried out first."""

    RATE_LIMITED = "429"
    SERVER_ERROR = "500"
    LOST_REPLY = "lost_reply"
    HANG = "hang"


class Faults:
    """What is still to fail, by method name; `webhook` stands for the incoming webhook."""

    def __init__(self) -> None:
        self._due: dict[str, list[Fault]] = {}
        self.down = False  # every call fails, as in an outage

    def order(self, method: str, fault: Fault, times: int) -> None:
        """Let the next `times` calls of `method` fail."""
        self._due.setdefault(method, []).extend([fault] * times)

    async def answer(self, method: str, request: Request, work: Callable[[], Awaitable[Response]]) -> Response:
        """The answer of `work`, or what the fault that is due makes of it."""
        if self.down:
            return PlainTextResponse("<html><body>Service Unavailable</body></html>", 503, media_type="text/html")
        due = self._due.get(method)
        match due.pop(0) if due else None:
            case Fault.RATE_LIMITED:
                return JSONResponse({"ok": False, "error": "ratelimited"}, 429, headers={"Retry-After": "2"})
            case Fault.SERVER_ERROR:
                return PlainTextResponse("<html><body>Server Error</body></html>", 500, media_type="text/html")
            case Fault.LOST_REPLY:
                await work()
                return _BrokenOff()
            case Fault.HANG:
                while (await request.receive())["type"] != "http.disconnect":
                    pass
                return _BrokenOff()
            case _:
                return await work()


class _BrokenOff(Response):
    """Promises more bytes than it sends, whereupon the server drops the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
