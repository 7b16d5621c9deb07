"""OpenTelemetry metrics by OTLP/HTTP: `ExportMetricsServiceRequest` in protobuf and JSON, and the answers to it.

The rules of the exchange are those of open-telemetry/opentelemetry-proto, docs/specification.md; what a data point
becomes is told in `otlp_rows`.
"""

from dataclasses import dataclass
from functools import partial

import msgspec

from sentinel.errors import UnsupportedFormat
from sentinel.telemetry.decoded import LATEST_MS, Decoded
from sentinel.telemetry.otlp_json import read_json
from sentinel.telemetry.otlp_protobuf import read_protobuf
from sentinel.telemetry.otlp_rows import Flavour, Points, Stream
from sentinel.telemetry.rows import Known
from sentinel.telemetry.wire import declare

PROTOBUF, JSON = "application/x-protobuf", "application/json"
INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNAVAILABLE = 3, 8, 14  # google.rpc.Code

_ANSWERS = declare(
    "sentinel.otlp_answers",
    {
        "Response": ("PartialSuccess partial_success = 1",),
        "PartialSuccess": ("int64 rejected_data_points = 1", "string error_message = 2"),
        "Status": ("int32 code = 1", "string message = 2"),
    },
)
_Streams = dict[tuple[bytes, str, Flavour], Stream]


@dataclass(frozen=True, slots=True)
class OtlpMetrics:
    """One body: its samples, and what became of its data points.

    points = accepted + decoded.rejected_count + decoded.stale, where stale are points without a recorded value.
    """

    decoded: Decoded
    points: int

    @property
    def accepted(self) -> int:
        """Data points that were taken, each as one sample or several."""
        return self.points - self.decoded.rejected_count - self.decoded.stale

    @property
    def message(self) -> str:
        """Empty if no point was rejected, else how many and the first reason, for `partial_success`."""
        if not self.decoded.rejected_count:
            return ""
        first = self.decoded.rejected[0]
        return (
            f"{self.decoded.rejected_count} of {self.points} data points were rejected; the first, at {first.index}: "
            f"{first.field}: got {first.value}, expected {first.expected}"
        )


class OtlpDecoder:
    """Decodes bodies, remembering up to `max_known` series; what it remembers changes only the speed."""

    def __init__(self, max_known: int = 200_000) -> None:
        self._max_known = max_known
        self._known = Known()
        # One form's bytes never name the other's series.
        self._streams: dict[str, _Streams] = {PROTOBUF: {}, JSON: {}}
        self._remembered = 0

    def decode(self, body: bytes, content_type: str, latest_ms: int = LATEST_MS - 1) -> OtlpMetrics:
        """Decode one decompressed body; a bad point, or one later than `latest_ms`, is rejected alone.

        Raises Invalid if the body is no ExportMetricsServiceRequest, TooLarge if it has more items than MAX_ITEMS,
        UnsupportedFormat for a content type other than PROTOBUF and JSON.
        """
        media_type = content_type.partition(";")[0].strip().lower()
        if media_type not in self._streams:
            raise UnsupportedFormat(f"content type {media_type[:80]!r}: expected {PROTOBUF} or {JSON}")
        if max(len(self._known), self._remembered) > self._max_known:
            self._known.clear()
            self._remembered = 0
            for streams in self._streams.values():
                streams.clear()
        self._known.begin()
        points = Points(self._known, latest_ms)
        read = read_json if media_type == JSON else read_protobuf
        read(body, points, partial(self._stream, self._streams[media_type]))
        self._remembered += points.remembered
        return OtlpMetrics(points.rows.decoded(self._known), points.count)

    def _stream(
        self, streams: _Streams, resource: bytes, metric: str, flavour: Flavour, labels: dict[str, str]
    ) -> Stream:
        stream = streams.get((resource, metric, flavour))
        if stream is None:
            stream = streams[resource, metric, flavour] = Stream(metric, labels, flavour)
            self._remembered += 1
        return stream


def encode_response(metrics: OtlpMetrics, content_type: str) -> bytes:
    """The ExportMetricsServiceResponse of a 200, in the form of the request."""
    rejected = metrics.decoded.rejected_count
    if content_type.startswith(JSON):
        partial_success = {"rejectedDataPoints": str(rejected), "errorMessage": metrics.message}
        return msgspec.json.encode({"partialSuccess": partial_success} if rejected else {})
    response = _ANSWERS["Response"]()
    if rejected:
        response.partial_success.rejected_data_points = rejected
        response.partial_success.error_message = metrics.message
    encoded: bytes = response.SerializeToString()
    return encoded


def encode_status(code: int, message: str, content_type: str) -> bytes:
    """The google.rpc.Status that an answer other than 200 carries, in the form of the request."""
    if content_type.startswith(JSON):
        return msgspec.json.encode({"code": code, "message": message})
    encoded: bytes = _ANSWERS["Status"](code=code, message=message).SerializeToString()
    return encoded
