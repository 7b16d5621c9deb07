"""Alertmanager: the webhook of version 4, and the array that Prometheus posts to Alertmanager's own API.

Sources: Alertmanager docs/configuration.md (`<webhook_config>`), template/template.go, and api/v2/openapi.yaml.
Unknown fields are ignored, for newer versions add some. One bad alert does not sink the others.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from sentinel.errors import Invalid
from sentinel.telemetry.decoded import Rejections
from sentinel.telemetry.events import (
    ALERTMANAGER,
    MAX_EVENTS,
    MAX_TITLE,
    UNREADABLE,
    DecodedEvents,
    Event,
    checked_labels,
    cut,
    fingerprint_of,
    instant_ms,
    level_of,
    service_of,
    why,
)

UNNAMED = "alert"
_ZERO_TIME = "0001-01-01T00:00:00"  # Go's, for a time that is not set


class _Webhook(msgspec.Struct):
    alerts: list[msgspec.Raw]
    version: str = "4"


class _Alert(msgspec.Struct, rename="camel"):
    labels: dict[str, str]
    annotations: dict[str, str] | None = None  # null is how Go writes a map that was never made
    status: str = ""
    starts_at: str = ""
    ends_at: str = ""
    generator_url: str = msgspec.field(name="generatorURL", default="")


_webhook = msgspec.json.Decoder(_Webhook)
_array = msgspec.json.Decoder(list[msgspec.Raw])
_alert = msgspec.json.Decoder(_Alert)
_Status = Literal["firing", "resolved"]


def decode_webhook(body: bytes, service_labels: Sequence[str], now_ms: int) -> DecodedEvents:
    """The alerts of a webhook. Raises Invalid if the body is no such message."""
    try:
        message = _webhook.decode(body)
    except UNREADABLE as error:
        raise Invalid("body", body[:40], f"an Alertmanager webhook, version 4 ({why(error)})") from None
    if message.version != "4":
        raise Invalid("version", message.version, '"4", the only version of the webhook')

    def status(alert: _Alert) -> _Status:
        match alert.status:
            case "firing" | "resolved" as told:
                return told
            case other:
                raise Invalid("status", other, "firing or resolved")

    return _decode(message.alerts, status, service_labels, now_ms)


def decode_api(body: bytes, service_labels: Sequence[str], now_ms: int) -> DecodedEvents:
    """The alerts that Prometheus posts to `/api/v2/alerts`; one whose end has come is resolved.

    Raises Invalid if the body is no array.
    """
    try:
        items = _array.decode(body)
    except UNREADABLE as error:
        raise Invalid("body", body[:40], f"a JSON array of alerts ({why(error)})") from None

    def status(alert: _Alert) -> _Status:
        if not _is_set(alert.ends_at):
            return "firing"
        # Of a firing alert Prometheus says when it would end without another word: that lies ahead of any clock.
        return "resolved" if instant_ms("endsAt", alert.ends_at, 2 * now_ms) <= now_ms else "firing"

    return _decode(items, status, service_labels, now_ms)


def _decode(
    items: Sequence[msgspec.Raw], status: Callable[[_Alert], _Status], service_labels: Sequence[str], now_ms: int
) -> DecodedEvents:
    if len(items) > MAX_EVENTS:
        raise Invalid("alerts", f"{len(items)} alerts", f"at most {MAX_EVENTS} in one body")
    events: list[Event] = []
    rejections = Rejections()
    for index, item in enumerate(items):
        try:
            alert = _alert.decode(item)
            events.append(_event(alert, status(alert), service_labels, now_ms))
        except UNREADABLE as error:
            rejections.add(index, ("alert", bytes(item)[:60], f"an alert ({why(error)})"))
        except Invalid as error:
            rejections.add(index, (error.field, error.value, error.expected))
    return DecodedEvents(events=tuple(events), rejected=rejections.first(), rejected_count=rejections.count)


def _event(alert: _Alert, status: _Status, service_labels: Sequence[str], now_ms: int) -> Event:
    name = cut(alert.labels.get("alertname", ""), MAX_TITLE) or UNNAMED
    if not alert.labels:
        raise Invalid("labels", alert.labels, "at least one label")
    labels = checked_labels(name, alert.labels)
    started_ms = instant_ms("startsAt", alert.starts_at, now_ms) if _is_set(alert.starts_at) else now_ms
    ended_ms = None
    if status == "resolved":
        ended_ms = instant_ms("endsAt", alert.ends_at, now_ms) if _is_set(alert.ends_at) else now_ms
        ended_ms = max(started_ms, ended_ms)
    # Ours, not the `fingerprint` of the webhook, which the array lacks: an alert told at both doors is one.
    identity = fingerprint_of(ALERTMANAGER, labels)
    notes = alert.annotations or {}
    return Event(
        source=ALERTMANAGER,
        # Not the end: Prometheus repeats a resolution for a quarter of an hour, and a repetition is no news.
        event_id=f"{identity}/{status}/{started_ms}",
        kind="alert",
        service=service_of(labels, service_labels),
        title=name,
        labels=labels,
        severity=level_of(labels.get("severity", "")),
        status=status,
        started_at_ms=started_ms,
        ended_at_ms=ended_ms,
        description=cut(notes.get("summary") or notes.get("description") or notes.get("message") or ""),
        url=cut(alert.generator_url),
        fingerprint=identity,
        metric=name,
    )


def _is_set(stamp: str) -> bool:
    return bool(stamp) and not stamp.startswith(_ZERO_TIME)
