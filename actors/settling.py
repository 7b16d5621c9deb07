"""What is found of a step that has no outcome: its resource tells, or the cloud's own record of calls."""

from dataclasses import dataclass

from actors.steps import StepRunner
from sentinel.clock import Clock
from sentinel.errors import Forbidden, Invalid, Unavailable
from sentinel.ids import StepKey
from sentinel.incidents.nouns import Step, StepRecord, StepState
from sentinel.remediation.actions import Idempotency, Settled, Values, Window, action_named
from sentinel.remediation.trail import Reading, Trail, read

_SKEW_MS = 60_000  # what the clock of an intent may be ahead of the cloud's
_LOOKS = 30  # in the whole of the wait; AWS takes two lookups a second of an account in a region


def window(step: StepRecord, takeover_s: float) -> Window:
    """When the calls of a step in flight may have been made: from its first intent until the last one is fenced."""
    last_ms = step.intent_at_ms or 0
    first_ms = step.started_at_ms if step.state is StepState.STARTED and step.started_at_ms else last_ms
    return Window(from_ms=first_ms - _SKEW_MS, until_ms=last_ms + round(takeover_s * 1000))


@dataclass(frozen=True, slots=True)
class _Last:
    since: float
    asked_at: float
    reading: Reading


class Settling:
    """Soft state: since when the record is asked for each step, and what it said last. `within_s` 0: it is never asked.

    The wait is counted by this process's own monotonic clock from the first look on: the wall clock may jump, ahead to
    an end of the wait before the record is complete, or back to no end. A take-over only lengthens it.
    """

    def __init__(self, runner: StepRunner, clock: Clock, within_s: float) -> None:
        self._runner = runner
        self._clock = clock
        self._within_s = within_s
        self._last: dict[StepKey, _Last] = {}

    async def found(self, step: Step, key: StepKey, previous: Values, now: Values, made: Window) -> Reading:
        """What is known of the call of `step` that was made in the window `made` or never; `now` is seen after it.

        What is done at most once is never NOT_DONE, which would let it be sent again.
        """
        action = action_named(step.action)
        settled = action.settle(step, previous, now, made)
        if action.idempotency is not Idempotency.AT_MOST_ONCE:
            return Reading(settled=settled, reason="")
        if settled is Settled.UNKNOWN:
            return await self._recorded(step, key, made)
        return Reading(settled=Settled.NEVER_DONE if settled is Settled.NOT_DONE else settled, reason="")

    async def _recorded(self, step: Step, key: StepKey, made: Window) -> Reading:
        """What the record says; the same as before, where it was asked a moment ago."""
        if not self._within_s:
            return Reading(settled=Settled.UNKNOWN, reason="executor.cloudtrail_within_s is 0: CloudTrail is not asked")
        at, last = self._clock.monotonic(), self._last.get(key)
        if last and at - last.asked_at < self._within_s / _LOOKS:
            return last.reading
        since = last.since if last else at
        reading = await self._asked(step, key, made, made.until_ms + round((at - since) * 1000))
        self._last[key] = _Last(since, at, reading)
        if reading.settled is not None:
            del self._last[key]
        return reading

    async def _asked(self, step: Step, key: StepKey, made: Window, now_ms: int) -> Reading:
        patience_ms = round(self._within_s * 1000)
        try:
            trail = await self._runner.trail(step, key, made)
        except (Forbidden, Invalid) as error:
            return Reading(settled=Settled.UNKNOWN, reason=str(error))
        except Unavailable as error:
            nothing = read(Trail(), made, now_ms, patience_ms)
            return Reading(settled=nothing.settled, reason=str(error))
        return read(trail, made, now_ms, patience_ms)
