"""Change events: deploys and other changes that people and pipelines make, as CloudEvents or in a plain form.

Sources: CloudEvents core specification 1.0.2, its JSON event format and its HTTP protocol binding. The plain form is
`{"service", "title", "at", "id", "description", "url"}`, of which only the first two are needed, or an array of them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import msgspec

from sentinel.errors import Invalid, UnsupportedFormat
from sentinel.ids import content_digest
from sentinel.telemetry.decoded import Rejections
from sentinel.telemetry.events import (
    CHANGE,
    CLOUDEVENTS,
    MAX_EVENTS,
    MAX_TITLE,
    UNREADABLE,
    DecodedEvents,
    Event,
    checked_id,
    checked_labels,
    cut,
    fingerprint_of,
    instant_ms,
    line,
    service_of,
    why,
)
from sentinel.telemetry.series import UNKNOWN_SERVICE

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
PLAIN = "application/json"
_PREFIX = "ce-"


class _CloudEvent(msgspec.Struct):
    id: str
    source: str
    type: str
    specversion: str
    time: str | None = None
    subject: str | None = None
    data: Any = None


class _Plain(msgspec.Struct):
    service: str
    title: str
    at: str = ""
    id: str = ""
    description: str = ""
    url: str = ""


_items = msgspec.json.Decoder(list[msgspec.Raw])


def decode_changes(
    body: bytes, headers: Mapping[str, str], service_labels: Sequence[str], now_ms: int
) -> DecodedEvents:
    """The changes in `body`, in the form that `headers` (names in lower case) tell.

    Raises Invalid if the body is not of that form, UnsupportedFormat for a content type that is none of them. One bad
    event of several is rejected alone.
    """
    media_type = headers.get("content-type", PLAIN).partition(";")[0].strip().lower()
    if media_type == BATCH:
        return _each(_array(body), lambda item: _structured(item, service_labels, now_ms))
    if media_type == STRUCTURED:
        return _each([body], lambda item: _structured(item, service_labels, now_ms))
    if f"{_PREFIX}id" in headers:
        # Binary mode: the content type is that of the data, whatever it is.
        return _each([body], lambda item: _binary(item, media_type, headers, service_labels, now_ms))
    if media_type == PLAIN:
        items = _array(body) if body.lstrip()[:1] == b"[" else [body]
        return _each(items, lambda item: _plain(item, now_ms))
    raise UnsupportedFormat(f"content type {media_type[:80]!r}: expected {STRUCTURED}, {BATCH} or {PLAIN}")


def _array(body: bytes) -> list[bytes]:
    try:
        items = _items.decode(body)
    except UNREADABLE as error:
        raise Invalid("body", body[:40], f"a JSON array of events ({why(error)})") from None
    if len(items) > MAX_EVENTS:
        raise Invalid("body", f"{len(items)} events", f"at most {MAX_EVENTS} in one body")
    return [bytes(item) for item in items]


def _each(items: Sequence[bytes], decode: Callable[[bytes], Event]) -> DecodedEvents:
    events: list[Event] = []
    rejections = Rejections()
    for index, item in enumerate(items):
        try:
            events.append(decode(item))
        except UNREADABLE as error:
            rejections.add(index, ("event", item[:60], f"a change event ({why(error)})"))
        except Invalid as error:
            rejections.add(index, (error.field, error.value, error.expected))
    return DecodedEvents(events=tuple(events), rejected=rejections.first(), rejected_count=rejections.count)


def _structured(item: bytes, service_labels: Sequence[str], now_ms: int) -> Event:
    event = msgspec.json.decode(item, type=_CloudEvent)
    attributes = msgspec.json.decode(item, type=dict[str, Any])
    known = _CloudEvent.__struct_fields__
    extensions = {name: value for name, value in attributes.items() if isinstance(value, str) and name not in known}
    return _cloud_event(event, extensions, service_labels, now_ms)


def _binary(
    item: bytes, media_type: str, headers: Mapping[str, str], service_labels: Sequence[str], now_ms: int
) -> Event:
    given = {name.removeprefix(_PREFIX): unquote(value) for name, value in headers.items() if name.startswith(_PREFIX)}
    data = None
    if item and (media_type == PLAIN or media_type.endswith("+json")):
        data = msgspec.json.decode(item)
    event = msgspec.convert({**given, "data": data}, _CloudEvent)
    extensions = {name: value for name, value in given.items() if name not in _CloudEvent.__struct_fields__}
    return _cloud_event(event, extensions, service_labels, now_ms)


def _cloud_event(
    event: _CloudEvent, extensions: Mapping[str, str], service_labels: Sequence[str], now_ms: int
) -> Event:
    if not event.specversion.startswith("1."):
        raise Invalid("specversion", event.specversion, "1.0")
    source, event_id = checked_id("source", event.source), checked_id("id", event.id)
    data = {name: value for name, value in event.data.items() if value} if isinstance(event.data, dict) else {}
    texts = {name: value for name, value in data.items() if isinstance(value, str)}
    # Of the data only what names the service: payloads are large, and may hold what is nobody's business.
    naming = {name: texts[name] for name in ("service", *service_labels) if name in texts}
    service = service_of({**extensions, **naming}, ("service", *service_labels))
    if service == UNKNOWN_SERVICE:
        service = event.subject or ""
    return _change(
        CLOUDEVENTS,
        content_digest([source, event_id]),
        service=service,
        title=texts.get("title") or texts.get("message") or event.type,
        at=event.time or texts.get("at") or "",
        description=texts.get("description", ""),
        url=texts.get("url", ""),
        labels={"ce_source": source, "ce_type": event.type},
        now_ms=now_ms,
    )


def _plain(item: bytes, now_ms: int) -> Event:
    found = msgspec.json.decode(item, type=_Plain)
    # Without an id and a time two tellings of one change cannot be known as one: then the minute decides.
    when = found.at or str(now_ms // 60_000)
    event_id = checked_id("id", found.id) if found.id else content_digest([found.service, found.title, when])
    return _change(
        CHANGE,
        event_id,
        service=found.service,
        title=found.title,
        at=found.at,
        description=found.description,
        url=found.url,
        labels={},
        now_ms=now_ms,
    )


def _change(
    source: str,
    event_id: str,
    *,
    service: str,
    title: str,
    at: str,
    description: str,
    url: str,
    labels: Mapping[str, str],
    now_ms: int,
) -> Event:
    if not line(title):
        raise Invalid("title", title, "what changed, in a few words")
    if not line(service):
        raise Invalid("service", service, "the service that changed")
    title = cut(title, MAX_TITLE)
    checked = checked_labels(title, {**labels, "service": service})
    return Event(
        source=source,
        event_id=event_id,
        kind="change",
        service=checked.pop("service"),
        title=title,
        labels=checked,
        severity="info",
        status="firing",
        started_at_ms=instant_ms("at", at, now_ms) if at else now_ms,
        ended_at_ms=None,
        description=cut(description),
        url=cut(url),
        fingerprint=fingerprint_of(source, {"id": event_id}),
    )
