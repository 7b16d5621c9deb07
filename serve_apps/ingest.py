"""Telemetry in: raw Starlette routes, bytes -> columns -> detection actors. 2xx means scored."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import msgspec
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from sentinel.clock import Clock
from sentinel.errors import Invalid, SentinelError, TooLarge, Unavailable, UnsupportedFormat
from sentinel.settings import Settings
from sentinel.telemetry.batch import MAX_PACKED_SAMPLES, SampleBatch, joined
from sentinel.telemetry.compression import decompress
from sentinel.telemetry.decoded import Decoded, refuse_after
from sentinel.telemetry.interning import Interner
from sentinel.telemetry.json_samples import decode_json
from sentinel.telemetry.remote_write import RemoteWriteDecoder
from serve_apps.auth import authenticate
from serve_apps.errors import response_to
from serve_apps.lanes import Lane, Scorer
from serve_apps.metrics import Meter

MAX_AHEAD_MS = 600_000  # a sender's clock may be this far ahead of ours
Handler = Callable[[Request], Awaitable[Response]]
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Tally:
    """What became of one request's samples: received = scored + the refused."""

    received: int = 0
    scored: int = 0
    refused: Counter[str] = field(default_factory=Counter)


class Intake:
    """Decoded samples -> detection actors. Soft state: which series each actor was told of, and the lanes to them."""

    def __init__(self, scorer: Scorer, interner: Interner) -> None:
        self._scorer = scorer
        self._interner = interner
        self._lanes: dict[int, Lane] = {}

    async def take(self, decoded: Decoded, tally: Tally) -> None:
        """Have every good sample scored. Raises what the first failing actor raised; sending all again is harmless."""
        split = self._interner.split(decoded)
        if split.over_limit:
            tally.refused["series_limit"] += split.over_limit
        by_actor: dict[int, list[SampleBatch]] = {}
        for partition, batch in split.batches.items():
            by_actor.setdefault(self._scorer.actor_of(partition), []).append(batch)
        parts = [(actor, part) for actor, batches in by_actor.items() for part in _parts(joined(batches))]
        results = await asyncio.gather(
            *(self._score(actor, part, tally) for actor, part in parts), return_exceptions=True
        )
        failed = next((result for result in results if isinstance(result, BaseException)), None)
        if failed is not None:
            # Labels that were on their way may not have arrived: every series of these parts is described anew.
            for partition in split.batches:
                self._interner.forget(partition)
            raise failed

    async def _score(self, actor: int, part: SampleBatch, tally: Tally) -> None:
        lane = self._lanes.setdefault(actor, Lane(self._scorer, actor))
        scored = await lane.score(part.pack())
        tally.scored += scored.scored
        tally.refused.update(scored.refused)
        if scored.unknown:
            # The actor forgot some series, as after a restart: send theirs once more, with their labels.
            again = part.only(scored.unknown)
            described = self._interner.describe(scored.unknown)
            second = await lane.score(replace(again, new_series=described).pack())
            if second.unknown:
                raise Unavailable("detection does not know series that were just described to it")
            tally.scored += second.scored
            tally.refused.update(second.refused)


def _parts(batch: SampleBatch) -> list[SampleBatch]:
    """The batch in pieces of one actor call each; the first carries the new series."""
    if len(batch) <= MAX_PACKED_SAMPLES:
        return [batch]
    return [
        SampleBatch(
            series_ids=batch.series_ids[start : start + MAX_PACKED_SAMPLES],
            timestamps_ms=batch.timestamps_ms[start : start + MAX_PACKED_SAMPLES],
            values=batch.values[start : start + MAX_PACKED_SAMPLES],
            new_series=batch.new_series if start == 0 else {},
        )
        for start in range(0, len(batch), MAX_PACKED_SAMPLES)
    ]


async def read_body(request: Request, limit: int) -> bytes:
    """The body, counted while it streams. Raises TooLarge as soon as it is over `limit` bytes."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise TooLarge(f"body: {declared} bytes, at most {limit} are taken (api.max_body_bytes)")
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise TooLarge(f"body: more than {limit} bytes, the most that is taken (api.max_body_bytes)")
        chunks.append(chunk)
    return b"".join(chunks)


def telemetry_routes(settings: Settings, intake: Intake, meter: Meter, clock: Clock) -> list[Route]:
    """The routes of `/api/v1/samples` and `/api/v1/write`."""
    remote_write_decoder = RemoteWriteDecoder(settings.detection.max_series)

    async def body_of(request: Request, default_encoding: str) -> bytes:
        authenticate(request, settings.api.keys, "ingest", clock.now_ms())
        raw = await read_body(request, settings.api.max_body_bytes)
        encoding = request.headers.get("content-encoding", default_encoding).strip().lower()
        return decompress(raw, encoding, settings.api.max_decompressed_bytes)

    async def samples(request: Request) -> Response:
        body = await body_of(request, "identity")
        decoded = decode_json(body, request.headers.get("content-type", "application/json"))
        decoded = refuse_after(decoded, clock.now_ms() + MAX_AHEAD_MS)
        tally = await _take(intake, decoded, meter, "json")
        answer = {
            "received": tally.received,
            "scored": tally.scored,
            "refused": dict(tally.refused),
            "rejected": decoded.rejected,
        }
        status = 400 if decoded.rejected_count and not tally.scored and not tally.refused else 202
        return Response(msgspec.json.encode(answer), status, media_type="application/json")

    async def remote_write(request: Request) -> Response:
        media, _, parameters = request.headers.get("content-type", "application/x-protobuf").partition(";")
        if media.strip() != "application/x-protobuf" or "v2" in parameters:
            raise UnsupportedFormat("Content-Type: expected application/x-protobuf, remote-write 1.0")
        decoded = remote_write_decoder.decode(await body_of(request, "snappy"))
        decoded = refuse_after(decoded, clock.now_ms() + MAX_AHEAD_MS)
        await _take(intake, decoded, meter, "remote_write")
        if decoded.rejected_count:
            first = decoded.rejected[0]
            refused = Invalid(first.field, first.value, first.expected)
            text = f"{decoded.rejected_count} samples were refused, the others are scored; the first: {refused}"
            return Response(text, 400, media_type="text/plain")
        return Response(status_code=204)

    return [
        Route("/api/v1/samples", _door(samples, 429), methods=["POST"]),
        Route("/api/v1/write", _door(remote_write, 503), methods=["POST"]),
    ]


async def _take(intake: Intake, decoded: Decoded, meter: Meter, source: str) -> Tally:
    tally = Tally(received=len(decoded) + decoded.rejected_count + decoded.stale)
    tally.refused.update(
        {reason: count for reason, count in (("malformed", decoded.rejected_count), ("stale", decoded.stale)) if count}
    )
    try:
        await intake.take(decoded, tally)
    except SentinelError:
        # The sender sends all of it again, so this delivery counts as refused as far as it was not scored.
        tally.refused["try_again"] += tally.received - tally.scored - tally.refused.total()
        raise
    finally:
        meter.count(source, tally.received, tally.scored, tally.refused)
    return tally


def _door(
    handler: Callable[[Request], Awaitable[Response]], overloaded: int
) -> Callable[[Request], Awaitable[Response]]:
    """The handler with this door's word for overload."""

    async def door(request: Request) -> Response:
        try:
            return await handler(request)
        except ClientDisconnect:
            return Response(status_code=499)
        except SentinelError as error:
            log.info("telemetry refused", path=request.url.path, error=type(error).__name__, reason=str(error))
            return response_to(error, overloaded=overloaded)

    return door
