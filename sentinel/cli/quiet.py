"""`sentinel silence`: what people do not want to be told of, until when, and why."""

import re
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sentinel.cli.client import Client
from sentinel.clock import Clock, iso
from sentinel.errors import Invalid

_MATCHER = re.compile(r"^(?P<name>[^=!]+)(?P<sign>!?=)(?P<value>.*)$")
_TAKES_HOLD = "it takes hold of incidents that open while it holds"
_UNITS = {"m": 60, "h": 3600, "d": 86_400}


def body_of(matchers: Sequence[str], start: str, lasts: str, comment: str, clock: Clock) -> dict[str, Any]:
    """What the API takes. Raises Invalid for a matcher without `=` or `!=`, or a time that is none."""
    now_ms = clock.now_ms()
    starts_at_ms = now_ms + 1000 * _seconds("start", start) if start else None
    ends_at_ms = (starts_at_ms or now_ms) + 1000 * _seconds("for", lasts)
    body = {"matchers": [_matcher(each) for each in matchers], "ends_at": iso(ends_at_ms), "comment": comment}
    return body | ({"starts_at": iso(starts_at_ms)} if starts_at_ms else {})


def add(client: Client, console: Console, body: dict[str, Any]) -> None:
    """Keep it, and say its id and what it does not take hold of."""
    view = client.post("/api/v1/silences", body)
    console.print(f"{view['silence']['id']} holds from {view['starts_at'][:19]} until {view['ends_at'][:19]}")
    told = ", ".join(view["still_told"])
    console.print(_TAKES_HOLD + (f"; people are still told of what is open already: {told}" if told else ""))


def preview(client: Client, console: Console, body: dict[str, Any]) -> None:
    """What it matches of what is open, and what it would do to the like of it."""
    muted = client.post("/api/v1/silences/preview", body)["muted"]
    for each in muted:
        how = (
            "its like would be kept quiet" if each["whole"] else "matched in part, so of its like people would be told"
        )
        now = "it is open already, so people are still told" if each["still_told"] else "it is quiet already"
        alerts = escape(", ".join(each["alerts"]))
        console.print(f"{each['incident_id']} {escape(each['title'])}: {how}; {now}; {alerts}")
    console.print(_TAKES_HOLD if muted else f"{_TAKES_HOLD}; it matches none that is open now")


def listing(client: Client, console: Console) -> None:
    """A line a silence."""
    found = client.get("/api/v1/silences")["silences"]
    if not found:
        console.print("no silences")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("silence", "holds", "until", "what", "by", "why", "kept quiet"):
        table.add_column(column, overflow="fold")
    for view in found:
        one = view["silence"]
        ended = f" (ended by {one['ended_by']})" if one["ended_by"] else ""
        table.add_row(
            one["id"],
            "yes" if view["active"] else "no",
            view["ends_at"][:19] + escape(ended),
            escape(", ".join(f"{m['name']}{'=' if m['equal'] else '!='}{m['value']}" for m in one["matchers"])),
            escape(one["author"]),
            escape(one["comment"]),
            str(view["suppressed"]),
        )
    console.print(table)


def end(client: Client, console: Console, silence_id: str) -> None:
    """End it now."""
    view = client.post(f"/api/v1/silences/{silence_id}/end", {})
    console.print(f"{silence_id} is over; it kept {view['suppressed']} incidents quiet")


def _matcher(text: str) -> dict[str, Any]:
    found = _MATCHER.match(text)
    if not found:
        raise Invalid("matcher", text, "NAME=VALUE or NAME!=VALUE, such as service=payments or env!=prod")
    return {"name": found["name"].strip(), "value": found["value"], "equal": found["sign"] == "="}


def _seconds(field: str, text: str) -> int:
    if not (text[:-1].isdigit() and text[-1:] in _UNITS):
        raise Invalid(field, text, "a number of minutes, hours or days, such as 30m, 2h or 1d")
    return int(text[:-1]) * _UNITS[text[-1]]
