"""Telemetry in: raw Starlette routes, bytes -> columns -> detection actors. 2xx means scored, or held for a rate."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import msgspec
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from sentinel.clock import Clock
from sentinel.errors import Overloaded, SentinelError, UnsupportedFormat
from sentinel.settings import Settings
from sentinel.telemetry import otlp
from sentinel.telemetry.admission import SERIES_RATE, TOO_MANY_SAMPLES
from sentinel.telemetry.compression import decompress
from sentinel.telemetry.decoded import Decoded, Rejected, refuse_after
from sentinel.telemetry.json_samples import JsonDecoder
from sentinel.telemetry.rates import SERIES_LIMIT
from sentinel.telemetry.remote_write import RemoteWriteDecoder
from sentinel.telemetry.remote_write_v2 import RemoteWriteV2Decoder
from serve_apps.auth import authenticate
from serve_apps.bodies import Bodies, bounded, read_body
from serve_apps.errors import response_to, status_of
from serve_apps.intake import Intake, Tally

MAX_AHEAD_MS = 600_000  # a sender's clock may be this far ahead of ours
REMOTE_WRITE = "application/x-protobuf"
V1, V2 = "prometheus.WriteRequest", "io.prometheus.write.v2.Request"
_WRITTEN = "X-Prometheus-Remote-Write-{}-Written"
_UNAUTHENTICATED, _PERMISSION_DENIED = 16, 7  # google.rpc.Code
_CODES = {
    401: _UNAUTHENTICATED,
    403: _PERMISSION_DENIED,
    429: otlp.RESOURCE_EXHAUSTED,
    503: otlp.UNAVAILABLE,
}
# Samples that are good, and past a limit: field, what was given, what was expected.
_PAST = {
    SERIES_LIMIT: ("series", "samples of new series", "no more series than detection.max_series"),
    SERIES_RATE: ("series", "samples of new series", "no more new series than api.max_new_series_per_minute"),
    TOO_MANY_SAMPLES: ("series", "samples more of one series", "no more in a body than api.max_samples_per_series"),
}

Handler = Callable[[Request], Awaitable[Response]]
log = structlog.get_logger(__name__)


class Telemetry:
    """The doors for telemetry, one method a format. Soft state: the decoders' memory of series seen before."""

    def __init__(self, settings: Settings, intake: Intake, bodies: Bodies, clock: Clock) -> None:
        self._settings = settings
        self._intake = intake
        self._bodies = bodies
        self._clock = clock
        known = settings.detection.max_series
        self._json = JsonDecoder(known)
        self._v1, self._v2, self._otlp = RemoteWriteDecoder(known), RemoteWriteV2Decoder(known), otlp.OtlpDecoder(known)

    def routes(self) -> list[Route]:
        """What a sender posts to, with this door's word for overload."""
        return [
            Route("/api/v1/samples", _answering(self.samples, 429), methods=["POST"]),
            Route("/api/v1/write", _answering(self.remote_write, 503), methods=["POST"]),
            Route("/v1/metrics", self.metrics, methods=["POST"]),
        ]

    async def samples(self, request: Request) -> Response:
        """Our own JSON: an array, or NDJSON."""
        self._admit(request)
        content_type = request.headers.get("content-type", "application/json")
        decoded = self._json.decode(bounded(await self._body(request, "identity")), content_type)
        decoded = refuse_after(decoded, self._latest_ms())
        tally = await self._intake.take(decoded, "json")
        decoded = _less_refused(decoded, tally)
        answer = {
            "received": tally.received,
            "scored": tally.scored,
            "held": tally.held,
            "ignored": tally.ignored,
            "refused": +tally.refused,
            "rejected": decoded.rejected,
        }
        # A request without one good sample is a mistake of the sender, not a delivery.
        status = 400 if decoded.rejected_count == tally.received > 0 else 202
        return Response(msgspec.json.encode(answer), status, media_type="application/json")

    async def remote_write(self, request: Request) -> Response:
        """Prometheus remote-write 1.0 and 2.0, told apart by the `proto` of the content type."""
        self._admit(request)
        if _proto(request.headers.get("content-type", REMOTE_WRITE)) == V2:
            return await self._remote_write_2(request)
        decoded = refuse_after(self._v1.decode(await self._body(request, "snappy")), self._latest_ms())
        tally = await self._intake.take(decoded, "remote_write")
        return _written(_less_refused(decoded, tally), {})

    async def _remote_write_2(self, request: Request) -> Response:
        """The `…-Written` headers are on every answer, for a sender takes one without them for a 1.0 receiver."""
        counts = dict.fromkeys(("Samples", "Histograms", "Exemplars"), 0)
        try:
            written = self._v2.decode(await self._body(request, "snappy"), self._latest_ms())
            tally = await self._intake.take(written.decoded, "remote_write_2")
        except SentinelError as error:
            _log_refusal(request, error)
            answer = response_to(error)
        else:
            taken = max(written.samples - sum(tally.refused[reason] for reason in _PAST), 0)
            counts = {"Samples": taken, "Histograms": written.histograms, "Exemplars": written.exemplars}
            answer = _written(_less_refused(written.decoded, tally), {})
        answer.headers.update({_WRITTEN.format(name): str(count) for name, count in counts.items()})
        return answer

    async def metrics(self, request: Request) -> Response:
        """OTLP/HTTP. Every answer is in the form of the request, a refusal as google.rpc.Status."""
        content_type = request.headers.get("content-type", otlp.PROTOBUF).partition(";")[0].strip().lower()
        form = otlp.JSON if content_type == otlp.JSON else otlp.PROTOBUF
        try:
            self._admit(request)
            metrics = self._otlp.decode(await self._body(request, "identity"), content_type, self._latest_ms())
            tally = await self._intake.take(metrics.decoded, "otlp")
        except ClientDisconnect:
            return Response(status_code=499)
        except SentinelError as error:
            _log_refusal(request, error)
            status = 429 if isinstance(error, Overloaded) else status_of(error)
            code = _CODES.get(status, otlp.INVALID_ARGUMENT)
            told = response_to(error).headers
            headers = {name: told[name] for name in ("retry-after", "www-authenticate") if name in told}
            return Response(otlp.encode_status(code, str(error), form), status, headers, form)
        metrics = replace(metrics, decoded=_less_refused(metrics.decoded, tally))
        return Response(otlp.encode_response(metrics, form), 200, media_type=form)

    def _admit(self, request: Request) -> None:
        # Before anything of the request is looked at: a stranger learns nothing but that he is one.
        authenticate(request, self._settings.api.keys, "ingest", self._clock.now_ms())

    async def _body(self, request: Request, default_encoding: str) -> bytes:
        """The body as it was before it was packed; best not held by a name while its samples wait to be scored."""
        api = self._settings.api
        raw = await read_body(request, api.max_body_bytes, self._bodies)
        encoding = request.headers.get("content-encoding", default_encoding).strip().lower()
        return decompress(raw, encoding, api.max_decompressed_bytes)

    def _latest_ms(self) -> int:
        return self._clock.now_ms() + MAX_AHEAD_MS


def _proto(content_type: str) -> str:
    """The message that a remote-write content type names; one without a `proto` is 1.0. Raises UnsupportedFormat."""
    media, *parameters = (part.strip() for part in content_type.split(";"))
    named = dict(parameter.partition("=")[::2] for parameter in parameters)
    proto = named.get("proto", V1).strip('"')
    if media.lower() != REMOTE_WRITE or proto not in (V1, V2):
        raise UnsupportedFormat(f"Content-Type: got {content_type[:120]!r}, expected {REMOTE_WRITE};proto={V1} or {V2}")
    return proto


def _less_refused(decoded: Decoded, tally: Tally) -> Decoded:
    """`decoded` with the samples past a limit of this door among the rejected: nobody scored them."""
    past = [(tally.refused[reason], *told) for reason, told in _PAST.items() if tally.refused[reason]]
    reasons = [Rejected(-1, field, f"{count} {what}", expected) for count, field, what, expected in past]
    more = sum(count for count, *_ in past)
    return replace(decoded, rejected=(*decoded.rejected, *reasons), rejected_count=decoded.rejected_count + more)


def _written(decoded: Decoded, headers: dict[str, str]) -> Response:
    """204; or 400 with a count and the first reason where samples were refused, for the others are scored."""
    if not decoded.rejected_count:
        return Response(status_code=204, headers=headers)
    first = decoded.rejected[0]
    reason = f"{first.field}: got {first.value}, expected {first.expected}"
    text = f"{decoded.rejected_count} samples were refused, the others are scored; the first: {reason}"
    return Response(text, 400, headers, "text/plain")


def _answering(handler: Handler, overloaded: int) -> Handler:
    """The handler with our errors as answers; `overloaded` is the status that its senders take as "try again"."""

    async def door(request: Request) -> Response:
        try:
            return await handler(request)
        except ClientDisconnect:
            return Response(status_code=499)
        except SentinelError as error:
            _log_refusal(request, error)
            return response_to(error, overloaded=overloaded)

    return door


def _log_refusal(request: Request, error: SentinelError) -> None:
    log.info("telemetry refused", path=request.url.path, error=type(error).__name__, reason=str(error))
