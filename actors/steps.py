"""One step on the cloud: a look, the call, and the wait for its effect. Records nothing; its caller does."""

import asyncio
from dataclasses import dataclass
from enum import StrEnum

from sentinel import crash_points
from sentinel.clock import Clock, iso
from sentinel.errors import Forbidden, Invalid, OutcomeUnknown, Unavailable
from sentinel.ids import StepKey
from sentinel.incidents.nouns import Scalar, Step
from sentinel.ports import Cloud
from sentinel.remediation.action import Observed
from sentinel.remediation.actions import Values, Window, action_named
from sentinel.remediation.trail import Trail

SELF_FENCE_S = 30.0


class Ending(StrEnum):
    """How a step ended, as far as anyone can tell."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"
    NOT_SENT = "not_sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """An ending with what is known of it, for people. `sent`: the call was taken, whatever came of it."""

    ending: Ending
    detail: str
    sent: bool = False


class StepRunner:
    """Makes calls one attempt at a time and watches the resource until the effect is there, or time is up."""

    def __init__(
        self, cloud: Cloud, clock: Clock, *, effect_within_s: float, poll_s: float, send_within_s: float = SELF_FENCE_S
    ) -> None:
        self._cloud = cloud
        self._clock = clock
        self._effect_within_s = effect_within_s
        self._poll_s = poll_s
        self.send_within_s = send_within_s

    async def look(self, step: Step) -> Observed:
        """The target as it is, with its tags. Reads may be repeated: an unreachable cloud is waited for, a while."""
        deadline = self._clock.monotonic() + self._effect_within_s
        while True:
            crash_points.reached("before observe")
            try:
                seen = await asyncio.to_thread(self._cloud.observe, step)
            except Unavailable:
                if self._clock.monotonic() >= deadline:
                    raise
                await self._clock.sleep(self._poll_s)
            else:
                crash_points.reached("after observe")
                return seen

    async def observe(self, step: Step) -> Values:
        """The target as it is."""
        return (await self.look(step)).values

    async def rehearse(self, step: Step) -> str:
        """What would be sent, in a line."""
        crash_points.reached("before rehearse")
        said = await asyncio.to_thread(self._cloud.rehearse, step)
        crash_points.reached("after rehearse")
        return said

    async def trail(self, step: Step, key: StepKey, made: Window) -> Trail:
        """What the cloud's own record of calls holds of this step's."""
        crash_points.reached("before trail")
        found = await asyncio.to_thread(self._cloud.trail, step, key, made)
        crash_points.reached("after trail")
        return found

    async def send(self, step: Step, key: StepKey, previous: Values, intent_at: float) -> Outcome:
        """Make the call, once, and wait for its effect.

        `intent_at` is the monotonic time at which the intent was about to be recorded. A runner that slept past
        the self-fence must not send: another may have taken over meanwhile, which only a fresh intent can tell.
        NOT_SENT means that the cloud surely did not take it (throttled, no connection, not sent at all), UNKNOWN that
        it may have taken it.
        """
        crash_points.reached("before send")
        if self._clock.monotonic() - intent_at > self.send_within_s:
            return Outcome(ending=Ending.NOT_SENT, detail="not sent: too long after the intent was recorded")
        try:
            said = await asyncio.to_thread(self._cloud.send, step, key)
        except Unavailable as error:
            return Outcome(ending=Ending.NOT_SENT, detail=f"not sent: {error}")
        except (Forbidden, Invalid) as error:
            return Outcome(ending=Ending.FAILED, detail=f"refused: {error}")
        except OutcomeUnknown as error:
            return Outcome(ending=Ending.UNKNOWN, detail=str(error))
        crash_points.reached("after send")
        return await self.await_effect(step, previous, said)

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
    """Observed values in a line, moments as people read them."""
    return ", ".join(_shown(name, value) for name, value in sorted(values.items()))


def _shown(name: str, value: Scalar) -> str:
    if name.endswith("_ms") and isinstance(value, int):
        return f"{name.removesuffix('_ms')} {iso(value)}"
    return f"{name} {value}"
