"""One table: our errors -> HTTP. A handler raises; nothing else in serve_apps picks a status for a failure."""

from collections.abc import Mapping
from typing import Any

import structlog
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import compile_path

from sentinel import errors

STATUS: dict[type[errors.SentinelError], int] = {
    errors.Invalid: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.IllegalTransition: 409,
    errors.TooLarge: 413,
    errors.UnsupportedFormat: 415,
    errors.Overloaded: 503,
    errors.Unavailable: 503,
    errors.OutcomeUnknown: 503,
    errors.SentinelError: 503,
}
_UNAVAILABLE_RETRY_S = 2
_MOST_SHOWN = 200
MEANINGS = {
    400: "The request is wrong; `error` names the field, the value and what was expected",
    401: "No bearer token, or one that is not known or has expired",
    403: "The key lacks the scope",
    404: "No such thing",
    409: "The state moved on: read it again, then decide anew",
    413: "The body is too large, or has too much in it",
    415: "No format or packing that is taken here",
    429: "Too much at the moment: come again after Retry-After",
    503: "A part that is needed does not answer or is full: come again after Retry-After",
}
log = structlog.get_logger(__name__)


class Problem(BaseModel):
    """The body of every answer that is no success. `next_step`: retry, do_not_retry or ask_people."""

    error: str
    next_step: errors.NextStep
    field: str | None = None
    expected: str | None = None


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of these failures."""
    return {status: {"model": Problem, "description": MEANINGS[status]} for status in statuses}


def status_of(error: errors.SentinelError) -> int:
    """The HTTP status for `error`: that of its nearest class in the table."""
    return next(STATUS[each] for each in type(error).__mro__ if each in STATUS)


def response_to(error: errors.SentinelError, *, overloaded: int = 503) -> Response:
    """The answer to a failed request. `overloaded` is what this door's senders take as "try again"."""
    status = status_of(error)
    headers: dict[str, str] = {}
    if isinstance(error, errors.Overloaded):
        status = overloaded
        headers["Retry-After"] = str(error.retry_after_s)
    elif status == 503:
        headers["Retry-After"] = str(_UNAVAILABLE_RETRY_S)
    elif status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    told = Problem(error=str(error), next_step=error.next_step)
    if isinstance(error, errors.Invalid):
        told.field, told.expected = error.field, error.expected
    return _answer(told, status, headers)


async def handle(request: Request, error: Exception) -> Response:
    """Starlette's exception handler for every SentinelError."""
    assert isinstance(error, errors.SentinelError)
    log.info("request refused", path=request.url.path, status=status_of(error), error=type(error).__name__)
    return response_to(error)


async def handle_unforeseen(request: Request, error: Exception) -> Response:
    """Our fault: the trace goes to the log, and the sender is told to come again."""
    log.error("request failed", path=request.url.path, exc_info=error)
    return response_to(errors.Unavailable("Sentinel failed on this request; it was logged"))


async def explain(request: Request, error: Exception) -> Response:
    """A request that does not fit its schema: one line that names field, value and what was expected."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    # A key that nobody knows is part of the place, and is whatever the sender wrote.
    where = _printable(".".join(str(part) for part in first["loc"]))
    expected = f"{first['msg'][0].lower()}{first['msg'][1:]}"
    return response_to(errors.Invalid(where, first.get("input"), _printable(expected)))


async def handle_http(request: Request, error: Exception) -> Response:
    """What the framework refuses by itself, as no such path or a body that is no JSON, in the form of our errors."""
    assert isinstance(error, HTTPException)
    told = Problem(error=error.detail, next_step=errors.NextStep.DO_NOT_RETRY)
    headers = error.headers
    if error.status_code == 405:
        # The router names the methods of the first route of this path; the others have theirs.
        routes = iter_route_contexts(request.app.routes)
        found = (route for route in routes if compile_path(route.path or "")[0].match(request.url.path))
        allowed = {method for route in found for method in route.methods or ()}
        headers = {**(headers or {}), "Allow": ", ".join(sorted(allowed))}
    return _answer(told, error.status_code, headers)


def _printable(text: str) -> str:
    shown = text if text.isprintable() else repr(text)[1:-1]
    return shown if len(shown) <= _MOST_SHOWN else shown[: _MOST_SHOWN - 3] + "..."


def _answer(told: Problem, status: int, headers: Mapping[str, str] | None) -> Response:
    return JSONResponse(told.model_dump(mode="json", exclude_none=True), status, headers)
