"""One table: our errors -> HTTP. A handler raises; nothing else in serve_apps picks a status for a failure."""

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

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
    errors.SentinelError: 500,
}
_UNAVAILABLE_RETRY_S = 2
log = structlog.get_logger(__name__)


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
    body: dict[str, object] = {"error": str(error), "next_step": str(error.next_step)}
    if isinstance(error, errors.Invalid):
        body["field"], body["expected"] = error.field, error.expected
    return JSONResponse(body, status, headers)


async def handle(request: Request, error: Exception) -> Response:
    """Starlette's exception handler for every SentinelError."""
    assert isinstance(error, errors.SentinelError)
    log.info("request refused", path=request.url.path, status=status_of(error), error=type(error).__name__)
    return response_to(error)


async def handle_unforeseen(request: Request, error: Exception) -> Response:
    """Our fault: the trace goes to the log, and the sender is told to come again."""
    log.error("request failed", path=request.url.path, exc_info=error)
    return response_to(errors.Unavailable("Sentinel failed on this request; it was logged"))
