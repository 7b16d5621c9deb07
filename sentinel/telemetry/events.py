"""Events: what happened outside, as others report it. A cloud alarm that fires, a deploy; never our own records."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import msgspec

from sentinel.clock import iso
from sentinel.errors import Invalid
from sentinel.ids import Fingerprint, fingerprint
from sentinel.telemetry.decoded import EARLIEST_MS, LATEST_MS, Rejected, key_or_fault
from sentinel.telemetry.series import UNKNOWN_SERVICE

ALERTMANAGER, CLOUDWATCH, CLOUDEVENTS, CHANGE = "alertmanager", "cloudwatch", "cloudevents", "change"
SOURCES = (ALERTMANAGER, CLOUDWATCH, CLOUDEVENTS, CHANGE)

MAX_EVENTS = 10_000  # of one body
MAX_ID = 512  # with four bytes a character it still fits an index of PostgreSQL
MAX_TITLE = 256
MAX_TEXT = 1000
MAX_AHEAD_MS = 600_000  # a sender's clock may be this far ahead of ours

Level = Literal["critical", "warning", "info"]
_LEVELS: Mapping[str, Level] = {
    **dict.fromkeys(("critical", "page", "error"), "critical"),
    "warning": "warning",
    **dict.fromkeys(("info", "none"), "info"),
}

# What msgspec raises for a body; the last two come bare, for text that is not UTF-8 and for nesting.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened outside, told by `source`; (`source`, `event_id`) is its identity.

    The identity comes from what the sender says, never from when it arrived: the same telling twice is one event.
    `fingerprint` is that of what fires (the same for its firing and its resolution), of the identity for a change.
    `ended_at_ms` is set exactly when `status` is resolved. `metric` names what an alert measures, where known.
    """

    source: str
    event_id: str
    kind: Literal["alert", "change"]
    service: str
    title: str
    labels: Mapping[str, str]
    severity: Level
    status: Literal["firing", "resolved"]
    started_at_ms: int
    ended_at_ms: int | None
    description: str
    url: str
    fingerprint: Fingerprint
    metric: str = ""
    direction: Literal["up", "down"] = "up"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedEvents:
    """The events of one body; `rejected` are the first refusals, `rejected_count` all of them."""

    events: tuple[Event, ...]
    rejected: tuple[Rejected, ...] = ()
    rejected_count: int = 0


def why(error: Exception) -> str:
    """What was wrong with a body, for people; `error` is one of UNREADABLE."""
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def level_of(severity: str) -> Level:
    """A sender's word for how bad it is, as one of ours; warning for a word nobody knows."""
    return _LEVELS.get(severity.strip().lower(), "warning")


def service_of(labels: Mapping[str, str], service_labels: Sequence[str]) -> str:
    """The value of the first of `service_labels` that is there, else `UNKNOWN_SERVICE`."""
    return next((labels[name] for name in service_labels if labels.get(name)), UNKNOWN_SERVICE)


def fingerprint_of(source: str, identity: Mapping[str, str]) -> Fingerprint:
    """The fingerprint of what `source` tells of; never that of a series, whose labels hold no `__source__`."""
    return fingerprint({**identity, "__source__": source})


def checked_labels(name: str, labels: Mapping[str, str]) -> dict[str, str]:
    """`labels` of what is called `name`, cleaned and without empty ones. Raises Invalid beyond the limits."""
    key, fault = key_or_fault(name, {line(label): line(value) for label, value in labels.items()})
    if key is None:
        assert fault is not None
        raise Invalid(*fault)
    return dict(key[1])


def checked_id(field: str, value: str) -> str:
    """`value` as part of an identity. Raises Invalid unless it is 1 to MAX_ID printable characters."""
    if not 0 < len(value) <= MAX_ID or line(value) != value:
        raise Invalid(field, value, f"1 to {MAX_ID} printable characters")
    return value


def line(text: str) -> str:
    """`text` on one line without control characters: no database or terminal has to take them."""
    if text.isprintable():
        return text.strip()
    return " ".join("".join(" " if unicodedata.category(char).startswith("C") else char for char in text).split())


def cut(text: str, limit: int = MAX_TEXT) -> str:
    """`text` on one line and at most `limit` characters."""
    cleaned = line(text)
    return cleaned if len(cleaned) <= limit else f"{cleaned[: limit - 1]}…"


def instant_ms(field: str, text: str, now_ms: int) -> int:
    """The Unix milliseconds of an ISO 8601 time with an offset.

    Raises Invalid for another text, a time outside 2000 to 2100, and one over MAX_AHEAD_MS later than `now_ms`.
    """
    expected = "an RFC 3339 time with an offset, between 2000 and 2100"
    try:
        moment = datetime.fromisoformat(text)
        at_ms = round(moment.timestamp() * 1000) if moment.tzinfo else -1
    except (ValueError, OverflowError):
        raise Invalid(field, text, expected) from None
    if not EARLIEST_MS <= at_ms < LATEST_MS:
        raise Invalid(field, text, expected)
    if at_ms > now_ms + MAX_AHEAD_MS:
        raise Invalid(field, text, f"a time not later than {iso(now_ms + MAX_AHEAD_MS)}: check the sender's clock")
    return at_ms
