"""Every port in memory: what tests and a first try run on. Each passes the contract tests of its port."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sentinel.adapters.checkpoints import checked_name
from sentinel.adapters.in_memory_ledger import InMemoryLedger
from sentinel.correlation.recall import fused
from sentinel.correlation.scope import ANYWHERE, Scope
from sentinel.correlation.signature import Vectors
from sentinel.errors import Forbidden, Invalid, SentinelError
from sentinel.ids import IncidentId, StepKey
from sentinel.incidents.audit import GENESIS, Record, refuse_unless_following
from sentinel.incidents.nouns import Card, Scalar, Step
from sentinel.ports import Located, Memory, Observed, Recalled
from sentinel.remediation.action import Action, Idempotency, Moves, Replaces, Sets
from sentinel.remediation.actions import action_named
from sentinel.remediation.budget import Guard
from sentinel.remediation.switch import RESUMED, state_of


def refuse_unless_positive(limit: int) -> None:
    """Raises Invalid for a `limit` below 1, which SQLite would read as "no limit" and PostgreSQL refuses."""
    if limit < 1:
        raise Invalid("limit", limit, "a whole number from 1")


class InMemoryJournalStore:
    """Keeps `ports.JournalStore` in lists, and nothing after the process. Safe from any thread."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._histories: dict[IncidentId, list[Record]] = {}  # the incident touched last is last
        self._ledger = InMemoryLedger()
        self._switches: list[Record] = []
        self._lock = threading.Lock()

    def append(self, records: Sequence[Record], guard: Guard | None = None) -> int:
        with self._lock:
            history = self._histories.get(records[0].incident_id, []) if records else []
            last_seq, last_hash = (history[-1].seq, history[-1].hash) if history else (0, GENESIS)
            refuse_unless_following(records, last_seq, last_hash)
            if guard:
                self._ledger.apply(guard, state_of(self._switches[-1] if self._switches else None).why)
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

    def switched(self) -> list[Record]:
        with self._lock:
            return list(self._switches)

    def switch(self, record: Record) -> None:
        with self._lock:
            last = (self._switches[-1].seq, self._switches[-1].hash) if self._switches else (0, GENESIS)
            refuse_unless_following([record], *last)
            self._switches.append(record)
            if record.kind == RESUMED:
                self._ledger.resumed_at_ms = record.at_ms

    def close(self) -> None:
        """Nothing to release: what was appended can still be read."""


class InMemoryIncidentMemory:
    """Keeps `ports.IncidentMemory` in a dictionary, and nothing after the process."""

    note = ""

    def __init__(self) -> None:
        self._memories: dict[IncidentId, Memory] = {}

    def remember(self, memories: Sequence[Memory]) -> None:
        for memory in memories:
            self._refuse_other_length(memory.vectors)
        for memory in memories:
            # A copy: whoever made the vectors may go on and change them.
            kept = Vectors(memory.vectors.sig.copy(), memory.vectors.shape.copy(), memory.vectors.text.copy())
            self._memories[memory.incident_id] = replace(memory, vectors=kept)

    def similar(self, vectors: Vectors, limit: int, scope: Scope = ANYWHERE) -> list[Recalled]:
        self._refuse_other_length(vectors)
        recalled = [
            Recalled(memory=memory, similarity=similarity, why=why)
            for memory in list(self._memories.values())
            if scope.meets(memory.scope)
            for similarity, why in (fused(vectors, memory.vectors),)
        ]
        recalled.sort(key=lambda each: (-each.similarity, each.memory.incident_id))
        return recalled[: max(limit, 0)]

    def held(self) -> Mapping[IncidentId, int]:
        return {incident_id: memory.seq for incident_id, memory in self._memories.items()}

    def start_over(self) -> None:
        self._memories.clear()

    def close(self) -> None:
        """Nothing to release."""

    def _refuse_other_length(self, vectors: Vectors) -> None:
        for memory in self._memories.values():
            for name in ("sig", "shape", "text"):
                ours, known = getattr(vectors, name).shape, getattr(memory.vectors, name).shape
                if ours != known:
                    raise Invalid(f"vector {name}", ours, f"the shape of those already remembered, {known}")
            return


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """A message as it stands, or stood, in the chat."""

    card: Card
    blocks: tuple[Mapping[str, object], ...]
    text: str
    below: str = ""


class InMemoryMessenger:
    """Keeps `ports.Messenger` in lists that a test may read.

    `posted` holds every message in the order of posting, each as it now stands; `updated` every update in order;
    `replies` what was posted below another message, whose ts is in `below`.
    """

    def __init__(self, *, can_update: bool = True, channel: str = "C0MEMORY") -> None:
        self.posted: list[Posted] = []
        self.updated: list[Posted] = []
        self.replies: list[Posted] = []
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

    async def reply(self, card: Card, blocks: Sequence[Mapping[str, object]], text: str) -> Card:
        if not card.ts:
            raise Invalid("card", (card.channel, card.ts), "a message that was posted here and can be updated")
        below = Card(channel=card.channel, ts=f"{card.ts}{len(self.replies) + 1}")
        self.replies.append(Posted(card=below, blocks=tuple(blocks), text=text, below=card.ts))
        return below


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
    Safe from any thread.
    """

    def __init__(self, *, region: str = "us-east-1", looks_to_converge: int = 0) -> None:
        self.services: dict[tuple[str, str], dict[str, Scalar]] = {}
        self.instances: dict[str, dict[str, Scalar]] = {}
        self.others: dict[str, dict[str, Scalar]] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self.sent: list[tuple[Step, StepKey]] = []
        self.rehearsed: list[Step] = []
        self.looks_to_converge = looks_to_converge
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
                raise Invalid(step.action, refused, "a resource in a state that allows it (IncorrectInstanceState)")
            self.sent.append((step, key))
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
                return {action.mark: f"fresh/{len(self.sent)}"}, reached
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
