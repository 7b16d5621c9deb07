"""The ledger of the journal store in memory: plans that run and effects that were intended."""

from sentinel.errors import Conflict, Held
from sentinel.remediation.budget import DAY_MS, Claim, Effect, Guard, Past


class InMemoryLedger:
    """What `JournalStore.append` checks a guard against. Its caller holds the lock of the store."""

    def __init__(self) -> None:
        self.resumed_at_ms = 0
        self._running: dict[str, Claim] = {}
        self._claimed: set[str] = set()
        self._effects: dict[str, Effect] = {}
        self._judged: list[tuple[int, bool]] = []  # when a plan ended, and whether it helped

    def apply(self, guard: Guard, stopped: str) -> None:
        """Check `guard`, and add what it adds. Raises Held or Conflict, and has added nothing then."""
        refused = guard.refusal(self._past(guard, stopped))
        if refused:
            raise Held(refused)
        if guard.claim:
            if guard.claim.plan_id in self._claimed:
                raise Conflict(f"plan {guard.claim.plan_id} was started before")
            self._claimed.add(guard.claim.plan_id)
            self._running[guard.claim.plan_id] = guard.claim
        if guard.intent and not guard.intent.counted:
            intent = guard.intent
            if intent.key in self._effects:
                raise Conflict(f"step {intent.key} was started before")
            self._effects[intent.key] = Effect(plan_id=intent.plan_id, use=intent.use, at_ms=guard.at_ms)
        if guard.release and self._running.pop(guard.release.plan_id, None) and guard.release.helped is not None:
            self._judged.append((guard.at_ms, guard.release.helped))

    def _past(self, guard: Guard, stopped: str) -> Past:
        since = [helped for at_ms, helped in reversed(self._judged) if at_ms > self.resumed_at_ms]
        return Past(
            effects=tuple(each for each in self._effects.values() if each.at_ms > guard.at_ms - DAY_MS),
            running=tuple(self._running.values()),
            helped=tuple(since[: guard.budget.breaker_after]),
            stopped=stopped,
        )
