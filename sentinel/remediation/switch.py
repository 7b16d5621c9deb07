"""The kill switch: its history is a hash chain of its own, and its last record says whether it is on."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from sentinel.clock import iso
from sentinel.ids import IncidentId, canonical
from sentinel.incidents.audit import GENESIS, Record, seal
from sentinel.incidents.nouns import Principal

HISTORY = IncidentId("kill-switch")
STOPPED, RESUMED = "stopped", "resumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """Whether nothing may be sent, who said so last, when and why."""

    stopped: bool
    principal: Principal | None = None
    reason: str = ""
    at_ms: int = 0

    @property
    def why(self) -> str:
        """For people; empty where nothing is stopped."""
        if not self.stopped:
            return ""
        who = f" by {self.principal.name} at {iso(self.at_ms)}" if self.principal else ""
        return f"stopped{who}" + (f": {self.reason}" if self.reason else "")


def next_record(before: Sequence[Record], stopped: bool, principal: Principal, reason: str, at_ms: int) -> Record:
    """The record that turns the switch, chained to the last one."""
    last = before[-1] if before else None
    return seal(
        incident_id=HISTORY,
        seq=last.seq + 1 if last else 1,
        at_ms=at_ms,
        principal=canonical(principal).decode(),
        kind=STOPPED if stopped else RESUMED,
        body=canonical({"reason": reason}).decode(),
        prev_hash=last.hash if last else GENESIS,
    )


def state_of(last: Record | None) -> Switch:
    """What the last record says. One that this version cannot read stops everything."""
    if last is None:
        return Switch(stopped=False)
    try:
        principal = msgspec.json.decode(last.principal, type=Principal)
        reason = str(msgspec.json.decode(last.body)["reason"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return Switch(stopped=True, reason="its last record cannot be read", at_ms=last.at_ms)
    return Switch(stopped=last.kind != RESUMED, principal=principal, reason=reason, at_ms=last.at_ms)
