"""The Cloud port in memory: what tests and a first try run on. It passes the contract tests of its port."""

import threading
from collections.abc import Mapping
from typing import Literal

from sentinel.clock import Clock, SystemClock
from sentinel.errors import Forbidden, Invalid, SentinelError
from sentinel.ids import StepKey
from sentinel.incidents.nouns import Scalar, Step
from sentinel.remediation.action import Action, Idempotency, Moves, Observed, Replaces, Sets, Window
from sentinel.remediation.actions import action_named
from sentinel.remediation.trail import Trail


def refuse_unless_callable(step: Step) -> None:
    """The rule of `Cloud`: `step` is one call of the catalog. Raises Invalid for anything else."""
    action = action_named(step.action, "step.action")
    if action.expands_to:
        raise Invalid("step.action", step.action, f"one call at a time: {', '.join(action.expands_to)}")
    action.check(step.params, "step.params")


class InMemoryCloud:
    """Keeps `ports.Cloud` in dictionaries that a test may read and change, and nothing after the process.

    `services` holds what `observe` shows, by (cluster ARN, service name); `instances` the same by instance id;
    `others` by target whatever else there is; `tags` by target. `sent` is every call that had an effect. A change shows
    in full at the `looks_to_converge`-th look after the call (0: at once; a number never reached: the resource stalls).
    A call is in the record `trail_lag_ms` after it was made; None: no record is kept. Safe from any thread.
    """

    def __init__(self, *, region: str = "us-east-1", looks_to_converge: int = 0, clock: Clock | None = None) -> None:
        self.services: dict[tuple[str, str], dict[str, Scalar]] = {}
        self.instances: dict[str, dict[str, Scalar]] = {}
        self.others: dict[str, dict[str, Scalar]] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self.sent: list[tuple[Step, StepKey]] = []
        self.rehearsed: list[Step] = []
        self.looks_to_converge = looks_to_converge
        self.trail_lag_ms: int | None = None
        self._clock = clock or SystemClock()
        self._recorded: list[tuple[int, StepKey, str]] = []
        self._region = region
        self._tokens: set[StepKey] = set()
        self._coming: dict[str, tuple[int, dict[str, Scalar]]] = {}  # by target: looks left, and what then holds
        self._faults: dict[str, list[SentinelError]] = {"observe": [], "before_effect": [], "after_effect": []}
        self._lock = threading.Lock()

    def add_service(self, cluster: str, name: str, desired: int) -> None:
        """An active service with all its tasks running."""
        self.services[(cluster, name)] = {
            "status": "ACTIVE",
            "desired": desired,
            "running": desired,
            "pending": 0,
            "deployment_id": "ecs-svc/1",
            "task_definition": f"{name}:1",
        }

    def add_instance(
        self, instance_id: str, *, state: str = "running", launch_time_ms: int = 1_700_000_000_000
    ) -> None:
        """An instance that was launched at `launch_time_ms`."""
        self.instances[instance_id] = {"state": state, "launch_time_ms": launch_time_ms}

    def fail(self, error: SentinelError, *, at: Literal["observe", "before_effect", "after_effect"]) -> None:
        """Let the next call that reaches `at` raise `error`; several queue up."""
        self._faults[at].append(error)

    def observe(self, step: Step) -> Observed:
        with self._lock:
            values = self._resource(step)
            self._raise_fault("observe")
            looks, final = self._coming.pop(step.target, (0, {}))
            if looks > 1:
                self._coming[step.target] = (looks - 1, final)
            else:
                values.update(final)
            return Observed(values=dict(values), tags=dict(self.tags.get(step.target, {})))

    def send(self, step: Step, key: StepKey) -> str:
        with self._lock:
            values = self._resource(step)
            self._raise_fault("before_effect")
            action = action_named(step.action)
            if refused := action.may_start(values):
                self._recorded.append((self._clock.now_ms(), key, "IncorrectInstanceState"))
                raise Invalid(step.action, refused, "a resource in a state that allows it (IncorrectInstanceState)")
            self.sent.append((step, key))
            self._recorded.append((self._clock.now_ms(), key, ""))
            if action.idempotency is not Idempotency.TOKEN or key not in self._tokens:
                self._tokens.add(key)
                at_once, final = self._change(action, step, values)
                values.update(at_once)
                final = {**self._coming.pop(step.target, (0, {}))[1], **final}
                if self.looks_to_converge > 0:
                    self._coming[step.target] = (self.looks_to_converge, final)
                else:
                    values.update(final)
            self._raise_fault("after_effect")
            return f"{step.action} accepted"

    def rehearse(self, step: Step) -> str:
        with self._lock:
            self._resource(step)
            self.rehearsed.append(step)
            return f"{step.action} on {step.target}"

    def trail(self, step: Step, key: StepKey, made: Window) -> Trail:
        refuse_unless_callable(step)
        if self.trail_lag_ms is None:
            raise Forbidden("no record of calls is kept here")
        reaches_ms = self._clock.now_ms() - self.trail_lag_ms
        with self._lock:
            recorded = list(self._recorded)
        ours = (each for each in recorded if each[1] == key and made.holds(each[0]) and each[0] <= reaches_ms)
        return Trail(calls=tuple(error for _, _, error in ours), reaches_ms=reaches_ms)

    def _resource(self, step: Step) -> dict[str, Scalar]:
        refuse_unless_callable(step)
        place = action_named(step.action).place_of(step.params)
        if place.region and place.region != self._region:
            raise Forbidden(f"{step.target} is not in {self._region}, the only region there is here")
        if step.target in self.others:
            return self.others[step.target]
        if step.action.startswith("ecs."):
            found = self.services.get((str(step.params["cluster"]), str(step.params["service"])))
        else:
            found = self.instances.get(str(step.params.get("instance_id")))
        if found is None:
            raise Forbidden(f"no such resource: {step.target}")
        return found

    def _change(
        self, action: Action, step: Step, values: Mapping[str, Scalar]
    ) -> tuple[dict[str, Scalar], dict[str, Scalar]]:
        """What the call changes at once, and what holds once the resource has converged."""
        match action:
            case Sets():
                wanted = step.params[action.param]
                at_once: dict[str, Scalar] = {action.value: wanted}
                final: dict[str, Scalar] = {action.follows: wanted} if action.follows else {}
                if isinstance(wanted, int) and "pending" in values:
                    at_once["pending"], final["pending"] = max(wanted - int(values["running"]), 0), 0
                return at_once, final
            case Replaces():
                reached = {
                    name: values[wanted] if isinstance(wanted, str) else wanted[-1]
                    for name, wanted in action.complete.items()
                }
                mark: dict[str, Scalar] = {action.mark: f"fresh/{len(self.sent)}"}
                return mark | ({action.mark_at: self._clock.now_ms()} if action.mark_at else {}), reached
            case Moves() if values.get(action.status) not in (*action.through, action.to):
                launched: dict[str, Scalar] = {}
                if action.name == "ec2.start_instance":
                    launched["launch_time_ms"] = int(values["launch_time_ms"]) + 60_000
                return {action.status: (*action.through, action.to)[0]}, {action.status: action.to, **launched}
            case _:
                return {}, {}

    def _raise_fault(self, at: str) -> None:
        if self._faults[at]:
            raise self._faults[at].pop(0)
