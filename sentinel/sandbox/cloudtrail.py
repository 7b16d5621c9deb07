"""CloudTrail of the sandbox: what was called, by whom, and how AWS answered; told some time after, as on AWS.

Pure: calls and times in, replies out. Shapes are those of the service model that botocore carries.
"""

import json
from collections import deque
from dataclasses import dataclass
from typing import Any

from sentinel.clock import iso
from sentinel.sandbox.truth import Call

_MOST = 50  # events in one answer
_KEPT = 20_000  # AWS keeps 90 days


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    id: str
    at_ms: int
    operation: str
    user_agent: str
    error: str


class CloudTrail:
    """Keeps every call and answers LookupEvents with those older than `delay_ms`, newest first."""

    def __init__(self, delay_ms: int) -> None:
        self._delay_ms = delay_ms
        self._events: deque[_Event] = deque(maxlen=_KEPT)
        self._noted = 0

    def note(self, call: Call, user_agent: str, error: str, now_ms: int) -> None:
        """A call that was made, with the code of the error it met, or an empty text."""
        self._noted += 1
        event_id = f"{self._noted:032x}"
        self._events.append(
            _Event(id=event_id, at_ms=now_ms, operation=call.operation, user_agent=user_agent, error=error)
        )

    def answer(self, call: Call, now_ms: int) -> bytes | None:
        """The body of the answer; None if the call is no LookupEvents."""
        if call.operation != "LookupEvents":
            return None
        wanted = {each["AttributeKey"]: each["AttributeValue"] for each in call.params.get("LookupAttributes", [])}
        begins, ends = float(call.params.get("StartTime", 0)), float(call.params.get("EndTime", now_ms / 1000))
        found = [
            _shown(event)
            for event in reversed(self._events)
            if event.at_ms <= now_ms - self._delay_ms
            # Events are recorded to the second.
            and begins <= event.at_ms // 1000 <= ends
            and wanted.get("EventName", event.operation) == event.operation
        ]
        begin = int(call.params.get("NextToken", 0))
        end = begin + min(_MOST, int(call.params.get("MaxResults", _MOST)))
        more = {"NextToken": str(end)} if end < len(found) else {}
        return json.dumps({"Events": found[begin:end], **more}).encode()


def _shown(event: _Event) -> dict[str, Any]:
    record = {
        "eventID": event.id,
        "eventName": event.operation,
        "eventTime": iso(event.at_ms // 1000 * 1000),
        "userAgent": event.user_agent,
        **({"errorCode": event.error} if event.error else {}),
    }
    return {
        "EventId": event.id,
        "EventName": event.operation,
        "EventTime": event.at_ms // 1000,
        "CloudTrailEvent": json.dumps(record),
    }
