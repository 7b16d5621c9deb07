"""One step on the cloud: the call, and the wait for its effect. Records nothing; its caller does."""

import asyncio
from dataclasses import dataclass
from enum import StrEnum

from sentinel.clock import Clock
from sentinel.errors import Forbidden, Invalid, OutcomeUnknown, Unavailable
from sentinel.ids import StepKey
from sentinel.incidents.nouns import Step
from sentinel.ports import Cloud
from sentinel.remediation.actions import Values, action_named

SELF_FENCE_S = 30.0
_SEND_TRIES = 4


class Ending(StrEnum):
    """How a step ended, as far as anyone can tell."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """An ending with what is known of it, for people. `sent`: AWS took the call, whatever came of it."""

    ending: Ending
    detail: str
    sent: bool = False


class StepRunner:
    """Makes calls one attempt at a time and watches the resource until the effect is there, or time is up."""

    def __init__(self, cloud: Cloud, clock: Clock, *, effect_within_s: float, poll_s: float) -> None:
        self._cloud = cloud
        self._clock = clock
        self._effect_within_s = effect_within_s
        self._poll_s = poll_s

    async def observe(self, step: Step) -> Values:
        """The target as it is. Reads may be repeated, so an unreachable AWS is waited for, up to the ceiling."""
        deadline = self._clock.monotonic() + self._effect_within_s
        while True:
            try:
                return (await asyncio.to_thread(self._cloud.observe, step)).values
            except Unavailable:
                if self._clock.monotonic() >= deadline:
                    raise
                await self._clock.sleep(self._poll_s)

    async def send(self, step: Step, key: StepKey, previous: Values, intent_at: float) -> Outcome:
        """Make the call and wait for its effect.

        `intent_at` is the monotonic time at which the intent was about to be recorded. A runner that slept past
        the self-fence must not send: another may have taken over meanwhile. A call that AWS surely did not take
        (throttled, no connection) is tried again inside the fence. UNKNOWN means that it may have taken it.
        """
        for attempt in range(_SEND_TRIES):
            if self._clock.monotonic() - intent_at > SELF_FENCE_S:
                return Outcome(ending=Ending.FAILED, detail="not sent: too long after the intent was recorded")
            try:
                said = await asyncio.to_thread(self._cloud.send, step, key)
            except Unavailable as error:
                if attempt + 1 == _SEND_TRIES:
                    return Outcome(ending=Ending.FAILED, detail=f"not sent: {error}")
                await self._clock.sleep(2.0**attempt)
            except (Forbidden, Invalid) as error:
                return Outcome(ending=Ending.FAILED, detail=f"refused: {error}")
            except OutcomeUnknown as error:
                return Outcome(ending=Ending.UNKNOWN, detail=str(error))
            else:
                return await self.await_effect(step, previous, said)
        raise AssertionError("the last attempt answers")

    async def await_effect(self, step: Step, previous: Values, said: str) -> Outcome:
        """Watch the resource until the effect of `step` is there."""
        action = action_named(step.action)
        deadline = self._clock.monotonic() + self._effect_within_s
        while True:
            try:
                now = await self.observe(step)
            except (Unavailable, Forbidden, Invalid) as error:
                return Outcome(ending=Ending.FAILED, detail=f"{said}; then unseen: {error}", sent=True)
            if action.effect_seen(step, previous, now):
                return Outcome(ending=Ending.SUCCEEDED, detail=f"{said}; {shown(now)}")
            if self._clock.monotonic() >= deadline:
                within = f"within {self._effect_within_s:.0f} s"
                return Outcome(ending=Ending.FAILED, detail=f"{said}; no effect {within}: {shown(now)}", sent=True)
            await self._clock.sleep(self._poll_s)


def shown(values: Values) -> str:
    """Observed values in a line."""
    return ", ".join(f"{name} {value}" for name, value in sorted(values.items()))
