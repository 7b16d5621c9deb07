"""Every port in memory: what tests and a first try run on. Each passes the contract tests of its port."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sentinel.adapters.checkpoints import checked_name
from sentinel.errors import Forbidden, Invalid, SentinelError
from sentinel.ids import IncidentId, StepKey
from sentinel.incidents.audit import GENESIS, Record, refuse_unless_following
from sentinel.incidents.nouns import Card, Scalar, Step
from sentinel.ports import Located, Memory, Observed, Recalled
from sentinel.remediation.actions import action_named


def refuse_unless_positive(limit: int) -> None:
    """Raises Invalid for a `limit` below 1, which SQLite would read as "no limit" and PostgreSQL refuses."""
    if limit < 1:
        raise Invalid("limit", limit, "a whole number from 1")


class InMemoryJournalStore:
    """Keeps `ports.JournalStore` in lists, and nothing after the process. Safe from any thread."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._histories: dict[IncidentId, list[Record]] = {}  # the incident touched last is last
        self._lock = threading.Lock()

    def append(self, records: Sequence[Record]) -> int:
        with self._lock:
            history = self._histories.get(records[0].incident_id, []) if records else []
            last_seq, last_hash = (history[-1].seq, history[-1].hash) if history else (0, GENESIS)
            refuse_unless_following(records, last_seq, last_hash)
            self._histories.pop(records[0].incident_id, None)
            self._histories[records[0].incident_id] = [*history, *records]
            self._records.extend(records)
            return len(self._records)

    def read(self, incident_id: IncidentId) -> list[Record]:
        with self._lock:
            return list(self._histories.get(incident_id, ()))

    def read_after(self, position: int, limit: int) -> list[Located]:
        refuse_unless_positive(limit)
        start = max(position, 0)
        with self._lock:
            found = self._records[start : start + limit]
        return [Located(position=start + n, record=record) for n, record in enumerate(found, start=1)]

    def incident_ids(self) -> list[IncidentId]:
        with self._lock:
            return list(reversed(self._histories))

    def close(self) -> None:
        """Nothing to release: what was appended can still be read."""


class InMemoryIncidentMemory:
    """Keeps `ports.IncidentMemory` in a dictionary, and nothing after the process."""

    note = ""

    def __init__(self) -> None:
        self._memories: dict[IncidentId, Memory] = {}

    def remember(self, memory: Memory) -> None:
        self._refuse_other_length(memory.vector)
        # A copy: whoever made the vector may go on and change it.
        self._memories[memory.incident_id] = replace(memory, vector=memory.vector.copy())

    def similar(self, vector: NDArray[np.float32], limit: int) -> list[Recalled]:
        self._refuse_other_length(vector)
        if not self._memories:
            return []
        memories = list(self._memories.values())
        known = np.stack([memory.vector for memory in memories])
        lengths = np.linalg.norm(known, axis=1) * np.linalg.norm(vector)
        cosines = np.divide(known @ vector, lengths, out=np.zeros(len(memories), dtype=np.float32), where=lengths > 0)
        # Stable, so that equal similarities come in the order they were remembered, every time.
        best = np.argsort(-cosines, kind="stable")[:limit]
        return [Recalled(memory=memories[n], similarity=float(cosines[n])) for n in best]

    def close(self) -> None:
        """Nothing to release."""

    def _refuse_other_length(self, vector: NDArray[np.float32]) -> None:
        for memory in self._memories.values():
            if memory.vector.shape != vector.shape:
                raise Invalid("vector", vector.shape, f"the shape of those already remembered, {memory.vector.shape}")
            return


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """A message as it stands, or stood, in the chat."""

    card: Card
    blocks: tuple[Mapping[str, object], ...]
    text: str


class InMemoryMessenger:
    """Keeps `ports.Messenger` in lists that a test may read.

    `posted` holds every message in the order of posting, each as it now stands; `updated` every update in order.
    """

    def __init__(self, *, can_update: bool = True, channel: str = "C0MEMORY") -> None:
        self.posted: list[Posted] = []
        self.updated: list[Posted] = []
        self._can_update = can_update
        self._channel = channel

    @property
    def can_update(self) -> bool:
        """Whether `update` changes a posted message."""
        return self._can_update

    async def post(self, blocks: Sequence[Mapping[str, object]], text: str) -> Card:
        ts = f"{len(self.posted) + 1}.000000" if self._can_update else ""
        card = Card(channel=self._channel, ts=ts)
        self.posted.append(Posted(card=card, blocks=tuple(blocks), text=text))
        return card

    async def update(self, card: Card, blocks: Sequence[Mapping[str, object]], text: str) -> None:
        for n, posted in enumerate(self.posted):
            if card.ts and (posted.card.channel, posted.card.ts) == (card.channel, card.ts):
                self.posted[n] = Posted(card=card, blocks=tuple(blocks), text=text)
                self.updated.append(self.posted[n])
                return
        raise Invalid("card", (card.channel, card.ts), "a message that was posted here and can be updated")


class InMemoryCheckpoints:
    """Keeps `ports.Checkpoints` in a dictionary, and nothing after the process."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}

    def save(self, name: str, blob: bytes) -> None:
        self._blobs[checked_name(name)] = blob

    def load(self, name: str) -> bytes | None:
        return self._blobs.get(checked_name(name))

    def names(self) -> frozenset[str]:
        return frozenset(self._blobs)


def refuse_unless_callable(step: Step, region: str) -> None:
    """The rule of `Cloud`: `step` is one call of the catalog, in `region`.

    Raises Invalid for an unknown or compound action or a parameter out of its form, and Forbidden for an ECS cluster
    of another region.
    """
    action = action_named(step.action, "step.action")
    if action.expands_to:
        raise Invalid("step.action", step.action, f"one call at a time: {', '.join(action.expands_to)}")
    action.check(step.params, "step.params")
    if step.action.startswith("ecs."):
        cluster = str(step.params["cluster"])
        if cluster.split(":")[3] != region:
            raise Forbidden(f"{cluster} is not in {region}, the region that executor.aws_region allows")


class InMemoryCloud:
    """Keeps `ports.Cloud` in dictionaries that a test may read and change, and nothing after the process.

    `services` holds what `observe` shows, by (cluster ARN, service name); `instances` the same by instance id; `sent`
    every call that had an effect. A change shows in full at the `looks_to_converge`-th look after the call (0: at
    once; a number never reached: the resource stalls). Safe from any thread.
    """

    def __init__(self, *, region: str = "us-east-1", looks_to_converge: int = 0) -> None:
        self.services: dict[tuple[str, str], dict[str, Scalar]] = {}
        self.instances: dict[str, dict[str, Scalar]] = {}
        self.sent: list[tuple[Step, StepKey]] = []
        self.looks_to_converge = looks_to_converge
        self._region = region
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
            return Observed(values=dict(values))

    def send(self, step: Step, key: StepKey) -> str:
        with self._lock:
            values = self._resource(step)
            self._raise_fault("before_effect")
            at_once, final = self._change(step, values)
            self.sent.append((step, key))
            values.update(at_once)
            final = {**self._coming.pop(step.target, (0, {}))[1], **final}
            if self.looks_to_converge > 0:
                self._coming[step.target] = (self.looks_to_converge, final)
            else:
                values.update(final)
            self._raise_fault("after_effect")
            return f"{step.action} accepted"

    def _resource(self, step: Step) -> dict[str, Scalar]:
        refuse_unless_callable(step, self._region)
        if step.action.startswith("ecs."):
            found = self.services.get((str(step.params["cluster"]), str(step.params["service"])))
        else:
            found = self.instances.get(str(step.params["instance_id"]))
        if found is None:
            raise Forbidden(f"no such resource: {step.target}")
        return found

    def _change(self, step: Step, values: Mapping[str, Scalar]) -> tuple[dict[str, Scalar], dict[str, Scalar]]:
        """What the call changes at once, and what holds once the resource has converged."""
        match step.action, values.get("state"):
            case "ecs.scale_service", _:
                desired, running = int(step.params["desired_count"]), int(values["running"])
                at_once: dict[str, Scalar] = {"desired": desired, "pending": max(desired - running, 0)}
                return at_once, {"running": desired, "pending": 0}
            case "ecs.force_new_deployment", _:
                return {"deployment_id": f"ecs-svc/{len(self.sent) + 2}"}, {}
            case "ec2.reboot_instance", "running":
                return {}, {}
            case "ec2.stop_instance", "running":
                return {"state": "stopping"}, {"state": "stopped"}
            case "ec2.start_instance", "stopped":
                launched = int(values["launch_time_ms"]) + 60_000
                return {"state": "pending"}, {"state": "running", "launch_time_ms": launched}
            case ("ec2.stop_instance", "stopping" | "stopped") | ("ec2.start_instance", "pending" | "running"):
                return {}, {}
            case _, state:
                raise Invalid(step.action, state, "an instance in a state that allows it (IncorrectInstanceState)")

    def _raise_fault(self, at: str) -> None:
        if self._faults[at]:
            raise self._faults[at].pop(0)
