"""Outside events in: raw Starlette routes, bytes -> events -> the store. 2xx means durably recorded."""

from collections.abc import Awaitable, Callable, Mapping

import msgspec
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from actors.alarms import ACCEPTED, DUPLICATE, Alarms
from actors.api import Events
from sentinel.clock import Clock
from sentinel.errors import Forbidden, Invalid, SentinelError, TooLarge, Unauthenticated, UnsupportedFormat
from sentinel.settings import Settings
from sentinel.telemetry.alertmanager import decode_api, decode_webhook
from sentinel.telemetry.change_events import decode_changes
from sentinel.telemetry.compression import decompress
from sentinel.telemetry.events import ALERTMANAGER, CHANGE, CLOUDEVENTS, CLOUDWATCH, DecodedEvents
from serve_apps.auth import Scope, authenticate
from serve_apps.bodies import Bodies, bounded, read_body
from serve_apps.errors import response_to
from serve_apps.metrics import Meter

MAX_SNS_BYTES = 1024 * 1024  # SNS sends 256 KiB at most; in JSON a character may take six bytes
_MOST_LETTERS = 200
_REFUSALS: Mapping[type[SentinelError], str] = {
    Invalid: "malformed",
    UnsupportedFormat: "malformed",
    TooLarge: "too_large",
    Unauthenticated: "unverified",
    Forbidden: "unverified",
}
Handler = Callable[[Request], Awaitable[Response]]
Decode = Callable[[bytes], DecodedEvents]
log = structlog.get_logger(__name__)


def event_routes(
    settings: Settings, events: Events, alarms: Alarms, meter: Meter, bodies: Bodies, clock: Clock
) -> list[Route]:
    """The routes of Alertmanager, SNS and change events, and of what became nothing."""
    api = settings.api

    def admit(request: Request, scope: Scope = "ingest") -> None:
        authenticate(request, api.keys, scope, clock.now_ms())

    async def body_of(request: Request) -> bytes:
        raw = await read_body(request, api.max_body_bytes, bodies)
        encoding = request.headers.get("content-encoding", "identity")
        return bounded(decompress(raw, encoding, api.max_decompressed_bytes))

    async def keep(request: Request, source: str, decode: Decode, status: int) -> Response:
        try:
            decoded = decode(await body_of(request))
        except SentinelError as error:
            meter.count_events(source, 1, 0, 0, {_reason(error): 1})
            raise
        return await _keep(events, meter, source, decoded, status, clock.now_ms())

    async def alertmanager(request: Request) -> Response:
        admit(request)
        now_ms = clock.now_ms()
        return await keep(request, ALERTMANAGER, lambda body: decode_webhook(body, api.service_labels, now_ms), 200)

    async def alertmanager_api(request: Request) -> Response:
        admit(request)
        now_ms = clock.now_ms()
        return await keep(request, ALERTMANAGER, lambda body: decode_api(body, api.service_labels, now_ms), 200)

    async def changes(request: Request) -> Response:
        admit(request)
        if request.method == "OPTIONS":
            return _handshake(request)
        headers = _headers(request)
        now_ms = clock.now_ms()
        cloud_event = "cloudevents" in headers.get("content-type", "").lower() or "ce-id" in headers
        source = CLOUDEVENTS if cloud_event else CHANGE
        return await keep(request, source, lambda body: decode_changes(body, headers, api.service_labels, now_ms), 202)

    async def sns(request: Request) -> Response:
        # SNS knows no bearer tokens: that the topic is on our list and signed the message is its proof of who it is.
        headers = _headers(request)
        try:
            if headers.get("x-amz-sns-rawdelivery", "").lower() == "true":
                raise Invalid("x-amz-sns-rawdelivery", "true", "raw message delivery off: it drops the signature")
            body = await read_body(request, min(MAX_SNS_BYTES, api.max_body_bytes), bodies)
            envelope = await alarms.verified(body, headers)
        except SentinelError as error:
            meter.count_events(CLOUDWATCH, 1, 0, 0, {_reason(error): 1})
            raise
        if envelope.type != "Notification":
            return _answer({"answer": await alarms.take(envelope)}, 200)
        try:
            outcome = await alarms.take(envelope)
        except SentinelError as error:
            meter.count_events(CLOUDWATCH, 1, 0, 0, {"not_an_alarm" if isinstance(error, Invalid) else "try_again": 1})
            raise
        known = outcome in (ACCEPTED, DUPLICATE)
        refused = {} if known else {outcome: 1}
        meter.count_events(CLOUDWATCH, 1, int(outcome == ACCEPTED), int(outcome == DUPLICATE), refused)
        return _answer({"answer": outcome}, 200)

    async def dead_letters(request: Request) -> Response:
        admit(request, "read")
        letters = await events.dead_letters(_MOST_LETTERS)
        return _answer({"standing": await events.event_standing(), "dead_letters": letters}, 200)

    return [
        Route("/api/v1/alerts/alertmanager", _door(alertmanager, 503), methods=["POST"]),
        Route("/api/v2/alerts", _door(alertmanager_api, 503), methods=["POST"]),
        Route("/api/v1/sns", _door(sns, 503), methods=["POST"]),
        Route("/api/v1/events", _door(changes, 429), methods=["POST", "OPTIONS"]),
        Route("/api/v1/events/dead-letters", _door(dead_letters, 503), methods=["GET"]),
    ]


async def _keep(
    events: Events, meter: Meter, source: str, decoded: DecodedEvents, status: int, now_ms: int
) -> Response:
    """Keep the good events, then answer; 400 only where none was good."""
    refused = {"malformed": decoded.rejected_count} if decoded.rejected_count else {}
    received = len(decoded.events) + decoded.rejected_count
    try:
        new = await events.receive(decoded.events, now_ms) if decoded.events else []
    except SentinelError:
        # The sender sends all of it again, so this delivery counts as refused.
        meter.count_events(source, received, 0, 0, {**refused, "try_again": len(decoded.events)})
        raise
    accepted = sum(new)
    meter.count_events(source, received, accepted, len(new) - accepted, refused)
    answer: dict[str, object] = {
        "received": received,
        "accepted": accepted,
        "duplicate": len(new) - accepted,
        "refused": decoded.rejected_count,
        "rejected": decoded.rejected,
    }
    if decoded.rejected_count and not decoded.events:
        first = decoded.rejected[0]
        answer["error"] = f"{first.field}: got {first.value}, expected {first.expected}"
        status = 400
    return _answer(answer, status)


def _handshake(request: Request) -> Response:
    """Whether a sender may deliver here, as the CloudEvents web hook specification 1.0.2 asks (abuse protection)."""
    origin = request.headers.get("webhook-request-origin", "")
    if not origin or len(origin) > 255 or not origin.isprintable() or not origin.isascii():
        raise Invalid("WebHook-Request-Origin", origin or None, "the name of the system that asks")
    granted = {"WebHook-Allowed-Origin": origin, "Allow": "POST, OPTIONS"}
    if "webhook-request-rate" in request.headers:
        granted["WebHook-Allowed-Rate"] = "*"  # what is too much at the moment is told by a 429
    return Response(status_code=200, headers=granted)


def _headers(request: Request) -> Mapping[str, str]:
    return {name.lower(): value for name, value in request.headers.items()}


def _answer(content: object, status: int) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


def _reason(error: SentinelError) -> str:
    return next((_REFUSALS[each] for each in type(error).__mro__ if each in _REFUSALS), "try_again")


def _door(handler: Handler, overloaded: int) -> Handler:
    """The handler with this door's word for overload."""

    async def door(request: Request) -> Response:
        try:
            return await handler(request)
        except ClientDisconnect:
            return Response(status_code=499)
        except SentinelError as error:
            log.info("event refused", path=request.url.path, error=type(error).__name__, reason=str(error))
            return response_to(error, overloaded=overloaded)

    return door
