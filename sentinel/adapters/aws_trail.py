"""CloudTrail: every call with an effect bears its step's key, and can be found again by it.

The key goes into the User-Agent header, which CloudTrail records as `userAgent` (AWS CloudTrail User Guide, "CloudTrail
record contents"). A session name would do as well, but only where a role is assumed.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sentinel.ids import StepKey
from sentinel.remediation.action import Window
from sentinel.remediation.trail import Trail

if TYPE_CHECKING:
    from mypy_boto3_cloudtrail.client import CloudTrailClient
    from mypy_boto3_cloudtrail.type_defs import EventTypeDef

_MARK = "sentinel-step/"
_MOST_EVENTS = 1000  # of one operation in a minute or two; AWS answers fifty at a time, two times a second
_bearing: ContextVar[str] = ContextVar("bearing", default="")


@contextmanager
def bearing(key: StepKey) -> Iterator[None]:
    """Calls that this thread makes by a `marked` client bear the key meanwhile."""
    before = _bearing.set(key)
    try:
        yield
    finally:
        _bearing.reset(before)


def marked(client: Any) -> Any:
    """The client, whose requests say in their User-Agent which step they are of."""
    # Before that, botocore builds the header anew; it is not part of what is signed.
    client.meta.events.register("before-send", _mark)
    return client


def _mark(request: Any, **_more: object) -> None:
    if key := _bearing.get():
        request.headers["User-Agent"] = f"{_text(request.headers['User-Agent'])} {_MARK}{key}"


def _text(header: str | bytes) -> str:
    return header if isinstance(header, str) else header.decode("ascii", "replace")


def trail_of(cloudtrail: "CloudTrailClient", operation: str, key: StepKey, made: Window) -> Trail:
    """The calls of `operation` that bear `key`, and how far the record reaches. Raises as boto3 does."""
    # Events are recorded to the second.
    begins = datetime.fromtimestamp(made.from_ms // 1000, UTC)
    ends = datetime.fromtimestamp(made.until_ms // 1000, UTC) + timedelta(seconds=1)
    pages = cloudtrail.get_paginator("lookup_events").paginate(
        LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": operation}],
        StartTime=begins,
        EndTime=ends,
        PaginationConfig={"MaxItems": _MOST_EVENTS},
    )
    ours = re.compile(rf"{_MARK}{re.escape(key)}(?![\w.-])")
    calls: list[str] = []
    seen = 0
    for page in pages:
        seen += len(page["Events"])
        calls += [error for event in page["Events"] if (error := _error_of(event, ours)) is not None]
    newest = cloudtrail.lookup_events(StartTime=ends, MaxResults=1).get("Events", [])
    complete = seen < _MOST_EVENTS and newest
    return Trail(calls=tuple(calls), reaches_ms=round(newest[0]["EventTime"].timestamp() * 1000) if complete else 0)


def _error_of(event: "EventTypeDef", ours: re.Pattern[str]) -> str | None:
    """The error that the recorded call met, empty for none; None if the call is not ours."""
    record = json.loads(event.get("CloudTrailEvent") or "{}")
    if not ours.search(str(record.get("userAgent", ""))):
        return None
    return str(record.get("errorCode", ""))
