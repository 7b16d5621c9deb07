"""What the cloud's own record of calls says of a call of which nobody knows whether it was made.

The record of AWS is CloudTrail. It is late: "typically within an average of about 5 minutes", and not always in order
(AWS CloudTrail User Guide, "How CloudTrail works"). So a call that it holds was made, and one that it does not hold is
only taken for never made after a long wait, and when newer events have come.
"""

from dataclasses import dataclass

from sentinel.clock import iso
from sentinel.remediation.action import Settled, Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """What the record holds: of each call that bears the step's key, the error it met, empty if it was taken.

    `reaches_ms`: the time of the newest event of any kind, 0 if there is none or if not all could be read.
    """

    calls: tuple[str, ...] = ()
    reaches_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What follows from a trail, and why. `settled` is None as long as it is worth asking again."""

    settled: Settled | None
    reason: str


def read(trail: Trail, made: Window, now_ms: int, patience_ms: int) -> Reading:
    """What `trail`, asked at `now_ms`, says of a call that was made in the window `made` or never."""
    if "" in trail.calls:
        return Reading(settled=Settled.DONE, reason="CloudTrail has the call")
    waited = now_ms >= made.until_ms + patience_ms
    within = f"{patience_ms // 1000} s"
    if not waited:
        return Reading(settled=None, reason=f"CloudTrail does not have the call yet, and is asked for {within}")
    if trail.reaches_ms <= made.until_ms:
        why = f"CloudTrail has no such call after {within}, and nothing newer either"
        return Reading(settled=Settled.UNKNOWN, reason=why)
    if trail.calls:
        return Reading(settled=Settled.NEVER_DONE, reason=f"AWS refused the call ({trail.calls[-1]}), says CloudTrail")
    reaches = iso(trail.reaches_ms)
    return Reading(settled=Settled.NEVER_DONE, reason=f"CloudTrail reaches to {reaches} and has no such call")
