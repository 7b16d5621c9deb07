"""How much may be done: what a plan that would start, and a step that would be sent, must fit into.

Pure: the store reads the `Past` and writes the new rows in the transaction that records the fact itself, so that no
two executors can both take the last place.
"""

from collections.abc import Sequence
from dataclasses import dataclass

HOUR_MS, DAY_MS, MINUTE_MS = 3_600_000, 86_400_000, 60_000
_MONDAY_MS = 4 * DAY_MS  # 1970-01-05, the first Monday of the epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """A time in which no plan starts: between two moments, or every week on `days` (0 is Monday) by minutes, UTC."""

    reason: str
    starts_ms: int | None = None
    ends_ms: int | None = None
    days: frozenset[int] = frozenset()
    from_minute: int = 0
    until_minute: int = 1440

    def covers(self, now_ms: int) -> bool:
        """Whether it is that time."""
        if self.starts_ms is not None and self.ends_ms is not None:
            return self.starts_ms <= now_ms < self.ends_ms
        day, in_day = divmod(now_ms - _MONDAY_MS, DAY_MS)
        return day % 7 in self.days and self.from_minute <= in_day // MINUTE_MS < self.until_minute


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The limits in numbers. A share of a group is never less than one resource of it."""

    cooldown_ms: int = 300_000
    per_hour: int = 20
    per_day: int = 100
    group_share: float = 0.1
    freezes: tuple[Freeze, ...] = ()
    breaker_after: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One step's hold on the world: the resource, and the group of like ones it is of (empty: none) with its size."""

    resource: str
    group: str = ""
    group_size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A plan that would start: the services it is for, and what its steps use."""

    plan_id: str
    services: tuple[str, ...]
    uses: tuple[Use, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A step that would be sent. `counted`: an earlier intent of this step was counted, and this sends it again."""

    key: str
    plan_id: str
    use: Use
    undo: bool = False
    counted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A plan that ended; `helped` is what the detector said, None where it was not asked or could not say."""

    plan_id: str
    helped: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """An intent that was recorded."""

    plan_id: str
    use: Use
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What the store holds: effects of the last day, plans that run, and the last judged plans, newest first.

    `stopped` says why the kill switch is on; empty if it is off.
    """

    effects: tuple[Effect, ...] = ()
    running: tuple[Claim, ...] = ()
    helped: tuple[bool, ...] = ()
    stopped: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What one append must fit into, and what it adds. Undoing is held by the kill switch alone."""

    at_ms: int
    budget: Budget = Budget()
    claim: Claim | None = None
    intent: Intent | None = None
    release: Release | None = None

    def refusal(self, past: Past) -> str:
        """Why the facts may not be recorded; empty if they may. The text names no numbers that change by themselves."""
        if (self.claim or self.intent) and past.stopped:
            return f"the kill switch is on: {past.stopped}"
        if self.claim:
            return _no_start(self.claim, past, self.budget, self.at_ms)
        if self.intent and not self.intent.undo and not self.intent.counted:
            return _no_step(self.intent, past, self.budget, self.at_ms)
        return ""


def _no_start(claim: Claim, past: Past, budget: Budget, now_ms: int) -> str:
    frozen = next((freeze.reason for freeze in budget.freezes if freeze.covers(now_ms)), "")
    if frozen:
        return f"a freeze is on: {frozen}"
    if len(past.helped) >= budget.breaker_after and not any(past.helped[: budget.breaker_after]):
        return (
            f"the breaker is open: the last {budget.breaker_after} plans did not help; look at them, "
            "then resume with the kill switch"
        )
    others = [each for each in past.running if each.plan_id != claim.plan_id]
    for other in others:
        same = sorted(set(claim.services) & set(other.services))
        if same:
            return f"another plan runs for {same[0]}"
        shared = sorted({use.resource for use in claim.uses} & {use.resource for use in other.uses})
        if shared:
            return f"another plan runs on {shared[0]}"
    # A plan that runs has its steps reserved, whether or not they are sent by now.
    reserved = sum(len(each.uses) for each in others)
    under_way = {claim.plan_id, *(each.plan_id for each in others)}
    done = [effect for effect in past.effects if effect.plan_id not in under_way]
    for name, most, span_ms in (("an hour", budget.per_hour, HOUR_MS), ("a day", budget.per_day, DAY_MS)):
        if sum(effect.at_ms > now_ms - span_ms for effect in done) + reserved + len(claim.uses) > most:
            return f"the budget of {most} actions {name} is used up"
    reserved_uses = [*claim.uses, *(use for each in others for use in each.uses)]
    for use in claim.uses:
        refused = _too_soon(use, claim.plan_id, past.effects, budget, now_ms, reserved_uses)
        if refused:
            return refused
    return ""


def _no_step(intent: Intent, past: Past, budget: Budget, now_ms: int) -> str:
    for name, most, span_ms in (("an hour", budget.per_hour, HOUR_MS), ("a day", budget.per_day, DAY_MS)):
        if sum(effect.at_ms > now_ms - span_ms for effect in past.effects) >= most:
            return f"the budget of {most} actions {name} is used up"
    return _too_soon(intent.use, intent.plan_id, past.effects, budget, now_ms, ())


def _too_soon(
    use: Use, plan_id: str, effects: Sequence[Effect], budget: Budget, now_ms: int, reserved: Sequence[Use]
) -> str:
    """Whether another plan touched the resource a moment ago, or too much of its group is touched or about to be."""
    # A time in the future is that of a clock that has stepped back since: it counts as now.
    recent = [effect for effect in effects if effect.at_ms > now_ms - budget.cooldown_ms]
    if any(effect.use.resource == use.resource and effect.plan_id != plan_id for effect in recent):
        return f"{use.resource} was acted on less than {budget.cooldown_ms // 1000} s ago"
    if not use.group or not budget.cooldown_ms:
        return ""
    at_once = max(1, int(use.group_size * budget.group_share))
    touched = {effect.use.resource for effect in recent if effect.use.group == use.group}
    touched |= {other.resource for other in reserved if other.group == use.group}
    if len(touched | {use.resource}) > at_once:
        return f"{at_once} of the {use.group_size} in {use.group} may be acted on at a time"
    return ""
