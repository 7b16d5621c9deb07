"""The store of outside events in memory. It passes the contract tests of its port."""

import itertools
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from sentinel.adapters.in_memory import refuse_unless_positive
from sentinel.codec import event_text
from sentinel.ports import MOST_CHANGES, DeadLetter, Pending, Standing
from sentinel.telemetry.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    position: int
    event: Event | None
    letter: DeadLetter  # what it would be if it were dead; `reason` says whether it is
    settled_at_ms: int | None


class InMemoryEventStore:
    """Keeps `ports.EventStore` in a dictionary, and nothing after the process. Safe from any thread."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], _Row] = {}  # in order of arrival
        self._positions = itertools.count(1)
        self._lock = threading.Lock()

    def receive(self, events: Sequence[Event], received_at_ms: int) -> list[bool]:
        with self._lock:
            return [self._keep(_row(next(self._positions), event, received_at_ms)) for event in events]

    def bury(self, letter: DeadLetter) -> bool:
        with self._lock:
            position = next(self._positions)
            return self._keep(_Row(position=position, event=None, letter=letter, settled_at_ms=letter.received_at_ms))

    def pending(self, limit: int) -> list[Pending]:
        refuse_unless_positive(limit)
        with self._lock:
            found = [
                Pending(position=row.position, event=row.event)
                for row in self._rows.values()
                if row.settled_at_ms is None
            ]
        return found[:limit]

    def settle(self, positions: Sequence[int], at_ms: int, reason: str = "") -> None:
        chosen = set(positions)
        with self._lock:
            for key, row in list(self._rows.items()):
                if row.position in chosen and row.settled_at_ms is None:
                    letter = replace(row.letter, reason=reason)
                    self._rows[key] = replace(row, settled_at_ms=at_ms, letter=letter)

    def changes(self, services: Collection[str], from_ms: int, to_ms: int) -> list[Event]:
        with self._lock:
            events = [row.event for row in self._rows.values() if row.event and row.event.kind == "change"]
        found = [each for each in events if each.service in services and from_ms <= each.started_at_ms <= to_ms]
        return sorted(found, key=lambda event: event.started_at_ms)[-MOST_CHANGES:]

    def dead_letters(self, limit: int) -> list[DeadLetter]:
        refuse_unless_positive(limit)
        with self._lock:
            found = [row.letter for row in self._rows.values() if row.letter.reason]
        return found[::-1][:limit]

    def standing(self) -> Mapping[str, Standing]:
        found: dict[str, Standing] = {}
        with self._lock:
            for row in self._rows.values():
                was = found.get(row.letter.source, Standing())
                if row.settled_at_ms is None:
                    was = replace(was, pending=was.pending + 1)
                elif row.letter.reason:
                    was = replace(was, dead=was.dead + 1)
                else:
                    was = replace(was, placed=was.placed + 1)
                found[row.letter.source] = was
        return dict(sorted(found.items()))

    def forget(self, placed_before_ms: int, dead_before_ms: int, limit: int) -> int:
        refuse_unless_positive(limit)
        with self._lock:
            old = [
                key
                for key, row in self._rows.items()
                if row.settled_at_ms is not None
                and row.settled_at_ms < (dead_before_ms if row.letter.reason else placed_before_ms)
            ]
            for key in old[:limit]:
                del self._rows[key]
        return len(old[:limit])

    def _keep(self, row: _Row) -> bool:
        key = (row.letter.source, row.letter.event_id)
        return self._rows.setdefault(key, row) is row


def _row(position: int, event: Event, received_at_ms: int) -> _Row:
    letter = DeadLetter(
        source=event.source,
        event_id=event.event_id,
        received_at_ms=received_at_ms,
        reason="",
        body=event_text(event),
    )
    settled_at_ms = received_at_ms if event.kind == "change" else None
    return _Row(position=position, event=event, letter=letter, settled_at_ms=settled_at_ms)
