"""What the shell needs from the world, as Protocols. adapters/ keeps them, in_memory.py among others."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sentinel.correlation.scope import ANYWHERE, Scope
from sentinel.correlation.signature import Vectors
from sentinel.correlation.silences import Silence
from sentinel.ids import IncidentId, StepKey
from sentinel.incidents.audit import Record
from sentinel.incidents.nouns import Card, Seen, Step
from sentinel.remediation.action import Observed, Window
from sentinel.remediation.budget import Guard
from sentinel.remediation.trail import Trail
from sentinel.telemetry.events import Event
from sentinel.telemetry.sns import Envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """A record and its place in the whole journal; positions only grow."""

    position: int
    record: Record


class JournalStore(Protocol):
    """Where records rest. The unique key (incident, sequence) is the fence between writers.

    Synchronous and safe from one thread at a time. An append that returned survives a crash.
    """

    def append(self, records: Sequence[Record], guard: Guard | None = None) -> int:
        """Write records of one incident, all or none, and answer the position of the last.

        What `guard` adds is written in the same transaction, in which it is also checked against what is there: no two
        appends, of whatever process, both take the last place. Raises Held where the guard refuses.

        Raises Conflict if any (incident, sequence) is taken or does not follow the last one stored;
        Unavailable if the store cannot be reached, is locked or is full (nothing was written);
        OutcomeUnknown if it may or may not have been written; Invalid for records of several incidents.
        """
        ...

    def read(self, incident_id: IncidentId) -> list[Record]:
        """All records of one incident in sequence; empty if there is none."""
        ...

    def read_after(self, position: int, limit: int) -> list[Located]:
        """Up to `limit` records with a greater position, in order of position."""
        ...

    def incident_ids(self) -> list[IncidentId]:
        """Every incident in the store, the one touched last first."""
        ...

    def switched(self) -> list[Record]:
        """Every turn of the kill switch in sequence, chained as one history; empty if it was never touched."""
        ...

    def switch(self, record: Record) -> None:
        """Turn the kill switch by the next record of its history. Raises as `append` does."""
        ...

    def close(self) -> None:
        """Release the connection. Calling it twice is harmless."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """An event that waits to be placed. `event` is None where this version cannot read it, and `fault` says why."""

    position: int
    event: Event | None
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """What was received and can become nothing, as it was received (`body`), and why."""

    source: str
    event_id: str
    received_at_ms: int
    reason: str
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How many events of one source wait, are placed, and are dead letters: all that were ever taken."""

    pending: int = 0
    placed: int = 0
    dead: int = 0


MOST_CHANGES = 100  # no person reads more, and an incident carries them


class EventStore(Protocol):
    """Where events from outside rest from before the sender's 2xx. (source, event id) is unique as long as it is kept.

    Every method raises Unavailable if the store does not answer; each call may then be repeated, and repeating one
    that had succeeded is harmless.
    """

    def receive(self, events: Sequence[Event], received_at_ms: int) -> list[bool]:
        """Keep `events`, all or none, and answer for each whether it was new.

        An alert is pending until it is settled. A change is for `changes` alone, and is settled as it comes.
        """
        ...

    def bury(self, letter: DeadLetter) -> bool:
        """Keep what cannot even be read as an event; answers whether it was new."""
        ...

    def pending(self, limit: int) -> list[Pending]:
        """Up to `limit` events that are not settled, in the order of their arrival."""
        ...

    def settle(self, positions: Sequence[int], at_ms: int, reason: str = "") -> None:
        """End the waiting of these events: placed, or dead letters where there is a `reason`.

        What is settled stays as it was settled first.
        """
        ...

    def changes(self, services: Collection[str], from_ms: int, to_ms: int) -> list[Event]:
        """Changes to `services` that happened from `from_ms` to `to_ms`, the latest MOST_CHANGES, oldest first."""
        ...

    def dead_letters(self, limit: int) -> list[DeadLetter]:
        """The newest dead letters, newest first."""
        ...

    def standing(self) -> Mapping[str, Standing]:
        """The counts of every source that sent something which is kept."""
        ...

    def forget(self, placed_before_ms: int, dead_before_ms: int, limit: int) -> int:
        """Delete up to `limit` events that were settled so long ago, dead letters by a time of their own; how many.

        What is pending stays, however old it is.
        """
        ...


MOST_SILENCES = 1000  # no person reads more


class SilenceStore(Protocol):
    """Where silences rest, those that are over too. Every method raises Unavailable if the store does not answer."""

    def add(self, silence: Silence) -> None:
        """Keep a silence; one of its id that is there already stays as it is."""
        ...

    def end(self, silence_id: str, at_ms: int, by: str) -> Silence:
        """End it now, and answer it as it then is. Raises NotFound, or Conflict if it is over."""
        ...

    def silences(self) -> list[Silence]:
        """The newest MOST_SILENCES, newest first."""
        ...


class AlarmTopics(Protocol):
    """Amazon SNS. Blocking; safe from any thread."""

    def verify(self, envelope: Envelope, now_ms: int, max_age_ms: int) -> None:
        """Return if a topic that is allowed signed this message, not longer ago than `max_age_ms`.

        Raises Forbidden or Unauthenticated if not, and Unavailable if the certificate could not be fetched.
        """
        ...

    def confirm(self, envelope: Envelope) -> str:
        """Confirm the subscription that a verified envelope offers, and answer its ARN.

        Raises Forbidden or Invalid if AWS refuses, Unavailable if it does not answer.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """A message as it lies in a queue; it comes again unless it is deleted by its receipt."""

    receipt: str
    body: str


class AlarmQueue(Protocol):
    """A queue that SNS fills (Amazon SQS). Blocking. Each method raises Unavailable, Forbidden or Invalid."""

    def receive(self) -> list[Queued]:
        """Up to ten messages; waits some seconds for the first."""
        ...

    def delete(self, receipt: str) -> None:
        """Take one message out of the queue for good."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """An incident as it is remembered: its vectors and what came of it, as known at entry `seq` of its history."""

    incident_id: IncidentId
    vectors: Vectors
    title: str
    services: tuple[str, ...]
    opened_at_ms: int
    last_seen_ms: int
    outcome: str
    runbook: str | None
    fixed_by: tuple[str, ...]
    recovery_ms: int | None
    rejected: str = ""
    scope: Scope = ANYWHERE
    seq: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """A memory, how alike it is to what was asked (`correlation.recall.fused`), and by what, in words."""

    memory: Memory
    similarity: float
    why: str


class IncidentMemory(Protocol):
    """Recall of past incidents (Qdrant). Losing it loses no truth: it can be rebuilt from the journal.

    Every method raises Unavailable when the memory cannot be reached.
    """

    @property
    def note(self) -> str:
        """Empty while memory works, else a sentence on what is lost."""
        ...

    def remember(self, memories: Sequence[Memory]) -> None:
        """Keep or replace these; readable by `similar` once this returns. What was raised may be repeated."""
        ...

    def similar(self, vectors: Vectors, limit: int, scope: Scope = ANYWHERE) -> list[Recalled]:
        """The memories most alike, best first, of those that may be of the same tenant and environment."""
        ...

    def held(self) -> Mapping[IncidentId, int]:
        """Every incident remembered, and the `seq` it was remembered at."""
        ...

    def start_over(self) -> None:
        """Forget everything, to be filled again."""
        ...

    def close(self) -> None:
        """Release files and connections. Calling it twice is harmless."""
        ...


class Cloud(Protocol):
    """AWS. One attempt a call; each failure is classified once, here.

    Every method raises: Forbidden (not authorised, or no such resource), Invalid (AWS refuses the parameters),
    Unavailable (definitely not sent or refused by throttling: may be repeated), OutcomeUnknown (sent, and no answer).
    """

    def observe(self, step: Step) -> Observed:
        """The target of `step` as it is now. Changes nothing."""
        ...

    def send(self, step: Step, key: StepKey) -> str:
        """Make the one effectful call of `step`'s action, and answer what AWS said, in a line."""
        ...

    def rehearse(self, step: Step) -> str:
        """What `send` would send, in a line, having asked AWS whether it may where AWS can be asked. No effect."""
        ...

    def trail(self, step: Step, key: StepKey, made: Window) -> Trail:
        """What the cloud's own record of calls holds of this step's. Changes nothing; Forbidden if none is kept."""
        ...


class Preflight(Protocol):
    """A look at what a step would touch, before anybody is asked. Blocking; safe from any thread. Changes nothing."""

    def look(self, step: Step) -> Seen:
        """The target of `step` as it is, with notes for people.

        Raises Forbidden or Invalid where the step could not be done, and Unavailable if AWS does not answer.
        """
        ...


class Directory(Protocol):
    """Who belongs to which group of people."""

    async def members(self, group: str) -> frozenset[str]:
        """The principal ids of a group as it was at most a minute ago. Raises Unavailable or Forbidden."""
        ...


class Messenger(Protocol):
    """Chat. Each method raises Unavailable (may be repeated) or Forbidden / Invalid (may not)."""

    @property
    def can_update(self) -> bool:
        """Whether `update` changes a posted message; a bare webhook cannot."""
        ...

    async def post(self, blocks: Sequence[Mapping[str, object]], text: str, about: str = "") -> Card:
        """Post a new message and answer where it lies (`ts` empty if it cannot be updated); `about` is for `find`."""
        ...

    async def find(self, channel: str, about: str, since_ms: int) -> tuple[Card, ...]:
        """Our messages in a channel that are about this, posted since then, as far as the chat lets us look."""
        ...

    async def update(self, card: Card, blocks: Sequence[Mapping[str, object]], text: str) -> None:
        """Replace the message."""
        ...

    async def reply(self, card: Card, blocks: Sequence[Mapping[str, object]], text: str) -> Card:
        """Post below a message that can be updated, and answer where it lies."""
        ...


class Checkpoints(Protocol):
    """Named blobs that a restarted actor finds again, whole or not at all."""

    def save(self, name: str, blob: bytes) -> None:
        """Replace the blob atomically. Raises Unavailable if it cannot be written; the old one then stays."""
        ...

    def load(self, name: str) -> bytes | None:
        """The last blob saved under `name`, or None. Raises Invalid if it is damaged, Unavailable if unreadable."""
        ...

    def names(self) -> frozenset[str]:
        """Every name under which a blob was saved. Raises Unavailable if that cannot be told."""
        ...
