"""Every port in memory: what tests and a first try run on. Each passes the contract tests of its port."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sentinel.adapters.checkpoints import checked_name
from sentinel.adapters.in_memory_ledger import InMemoryLedger
from sentinel.adapters.ranked_memories import ranked
from sentinel.correlation.scope import ANYWHERE, Scope
from sentinel.correlation.signature import Vectors
from sentinel.errors import Invalid
from sentinel.ids import IncidentId
from sentinel.incidents.audit import GENESIS, Record, refuse_unless_following
from sentinel.incidents.nouns import Card
from sentinel.ports import Located, Memory, Recalled
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
        near = [memory for memory in list(self._memories.values()) if scope.meets(memory.scope)]
        return ranked(vectors, near, limit)

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
    about: str = ""


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

    async def post(self, blocks: Sequence[Mapping[str, object]], text: str, about: str = "") -> Card:
        ts = f"{len(self.posted) + 1}.000000" if self._can_update else ""
        card = Card(channel=self._channel, ts=ts)
        self.posted.append(Posted(card=card, blocks=tuple(blocks), text=text, about=about))
        return card

    async def find(self, channel: str, about: str, since_ms: int) -> tuple[Card, ...]:
        if not self._can_update:
            return ()
        return tuple(each.card for each in self.posted if (each.card.channel, each.about) == (channel, about))

    async def update(self, card: Card, blocks: Sequence[Mapping[str, object]], text: str) -> None:
        for n, posted in enumerate(self.posted):
            if card.ts and (posted.card.channel, posted.card.ts) == (card.channel, card.ts):
                self.posted[n] = Posted(card=card, blocks=tuple(blocks), text=text, about=posted.about)
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
