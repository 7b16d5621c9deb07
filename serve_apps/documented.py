"""What OpenAPI says of the doors that are raw routes: FastAPI, which writes the rest of it, does not see them."""

from collections.abc import Mapping, Sequence
from typing import Any

from serve_apps.errors import MEANINGS

_PROBLEM = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_ANY: dict[str, Any] = {"application/json": {"schema": {}}}
_JSON, _PROTOBUF, _NDJSON = "application/json", "application/x-protobuf", "application/x-ndjson"
_SAMPLE = {
    "metric": "http_requests",
    "labels": {"service": "web"},
    "timestamp": "2026-11-25T12:00:00Z",
    "value": 12.5,
}


def _door(
    summary: str,
    tag: str,
    takes: Sequence[str],
    success: int,
    answer: Mapping[str, Any] | None,
    refusals: Sequence[int],
    refused: Mapping[str, Any] = _PROBLEM,
    example: object = None,
) -> dict[str, Any]:
    bodies: dict[str, Any] = {}
    for media_type in takes:
        binary = media_type.startswith(_PROTOBUF)
        bodies[media_type] = {"schema": {"type": "string", "format": "binary"} if binary else {}}
        if media_type == _JSON and example is not None:
            bodies[media_type]["example"] = example
    taken: dict[str, Any] = {"description": "Taken; what of it was refused is told in the answer"}
    if answer:
        taken["content"] = answer
    responses: dict[str, Any] = {str(success): taken}
    for status in refusals:
        responses[str(status)] = {"description": MEANINGS[status], "content": refused}
    if refused is _PROBLEM:
        # Where nothing of a body was good, it is told item by item.
        responses["400"]["content"] = _ANY
    return {
        "post": {
            "summary": summary,
            "tags": [tag],
            "requestBody": {"required": True, "content": bodies},
            "responses": responses,
            "security": [{"HTTPBearer": []}],
        }
    }


_USUAL = (400, 401, 403, 413, 415)
_OTLP: Mapping[str, Any] = {media_type: {"schema": {}} for media_type in (_PROTOBUF, _JSON)}
_TEXT_TOO = {**_PROBLEM, "text/plain": {"schema": {"type": "string"}}}
_ALERT = {"labels": {"alertname": "HighErrorRate", "service": "web"}, "startsAt": "2026-11-25T12:00:00Z"}

PATHS: Mapping[str, Mapping[str, Any]] = {
    "/api/v1/write": _door(
        "Prometheus remote-write 1.0 and 2.0, in snappy's block form",
        "telemetry",
        (_PROTOBUF, f"{_PROTOBUF};proto=io.prometheus.write.v2.Request"),
        204,
        None,
        (*_USUAL, 503),
        _TEXT_TOO,
    ),
    "/v1/metrics": _door(
        "OTLP/HTTP metrics; a refusal is a google.rpc.Status in the form of the request",
        "telemetry",
        (_PROTOBUF, _JSON),
        200,
        _OTLP,
        (*_USUAL, 429, 503),
        _OTLP,
        {"resourceMetrics": []},
    ),
    "/api/v1/samples": _door(
        "Samples as a JSON array or as lines of JSON; plain, gzip, zstd or snappy",
        "telemetry",
        (_JSON, _NDJSON),
        202,
        _ANY,
        (*_USUAL, 429, 503),
        example=[_SAMPLE],
    ),
    "/api/v1/alerts/alertmanager": _door(
        "Alertmanager's webhook, version 4",
        "alerts",
        (_JSON,),
        200,
        _ANY,
        (*_USUAL, 503),
        example={"version": "4", "alerts": [{**_ALERT, "status": "firing"}]},
    ),
    "/api/v2/alerts": _door(
        "Alerts as Prometheus posts them to Alertmanager",
        "alerts",
        (_JSON,),
        200,
        _ANY,
        (*_USUAL, 503),
        example=[_ALERT],
    ),
    "/api/v1/sns": _door(
        "Amazon SNS: CloudWatch alarms, by the signature of a topic that is allowed",
        "alerts",
        ("text/plain",),
        200,
        _ANY,
        (*_USUAL, 503),
    ),
    "/api/v1/events": _door(
        "Deploys and other changes, as CloudEvents or in a plain form",
        "events",
        (_JSON, "application/cloudevents+json", "application/cloudevents-batch+json"),
        202,
        _ANY,
        (*_USUAL, 429, 503),
        example={"service": "web", "title": "deployed 1.2.3"},
    ),
}
