"""The journal: the only hard state. Records facts, refuses illegal ones, answers views."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import structlog

from sentinel import crash_points
from sentinel.codec import entry_of, record_of
from sentinel.correlation.silences import Silence
from sentinel.errors import Conflict, Held, Invalid, OutcomeUnknown, Overloaded, Unavailable
from sentinel.ids import IncidentId
from sentinel.incidents.audit import GENESIS, Break, Record, verify
from sentinel.incidents.facts import Entry, Fact
from sentinel.incidents.history import apply
from sentinel.incidents.nouns import Incident, IncidentState, Principal
from sentinel.ports import DeadLetter, EventStore, JournalStore, Located, Pending, SilenceStore, Standing
from sentinel.remediation.budget import Guard
from sentinel.remediation.ledger import Rules, guard_of
from sentinel.remediation.switch import Switch, next_record, state_of
from sentinel.telemetry.events import Event

T = TypeVar("T")
_PAGE = 1000
_MOST_EVENT_CALLS = 256
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """Incidents with entries after a position, each once, the latest moved last, and the position to ask from next."""

    incident_ids: tuple[IncidentId, ...]
    position: int


class JournalActor:
    """Hard state: the records in the store, and events from outside. Soft state: every incident as its facts tell.

    An `append` that returned is on disk and legal; one that raised Conflict changed nothing, and the caller
    reads again and decides anew; after any other failure the caller reads first, for it may have been written.
    So every caller's loop may repeat itself, and two writers can never both win a sequence number.
    """

    def __init__(
        self,
        store: JournalStore,
        events: EventStore | None = None,
        rules: Rules | None = None,
        silences: SilenceStore | None = None,
    ) -> None:
        """Without `rules` no limit is kept and no switch asked: for tests of other parts."""
        self._store = store
        self._rules = rules
        self._events = events
        self._silences = silences
        self._event_turn = asyncio.Lock()
        self._event_calls = 0
        self._incidents: dict[IncidentId, Incident] = {}
        self._hashes: dict[IncidentId, str] = {}
        self._moved: dict[IncidentId, int] = {}  # the position of each one's newest entry, in order of these
        self._position = 0
        self._grown = asyncio.Condition()
        self._writing = asyncio.Lock()
        while located := self._store.read_after(self._position, _PAGE):
            self._take_in(located)

    def _take_in(self, located: Sequence[Located]) -> None:
        for each in located:
            entry = entry_of(each.record)
            self._incidents[entry.incident_id] = apply(self._incidents.get(entry.incident_id), entry)
            self._hashes[entry.incident_id] = each.record.hash
            self._moved_on(entry.incident_id, each.position)

    def _moved_on(self, incident_id: IncidentId, position: int) -> None:
        self._moved.pop(incident_id, None)
        self._moved[incident_id] = self._position = position

    async def _catch_up(self) -> None:
        """Replay what was recorded since the last position seen, by whomever. Only for one who holds `_writing`."""
        while located := await asyncio.to_thread(self._store.read_after, self._position, _PAGE):
            self._take_in(located)

    async def append(
        self,
        incident_id: IncidentId,
        expected_seq: int,
        facts: Sequence[Fact],
        principal: Principal,
        at_ms: int,
    ) -> Incident:
        """Record `facts` after entry `expected_seq` (0 for a new incident), all or none, and answer the incident.

        Raises IllegalTransition for a fact its life forbids, Conflict if the incident has moved on, Held where a limit
        or the kill switch stands in the way of what the facts are about to do,
        Unavailable if the store does not answer, OutcomeUnknown if it may or may not have been written.
        """
        async with self._writing:
            incident = self._incidents.get(incident_id)
            at_seq = incident.seq if incident else 0
            if at_seq != expected_seq:
                raise Conflict(f"incident {incident_id} is at entry {at_seq}, not {expected_seq}")
            records: list[Record] = []
            hash_ = self._hashes.get(incident_id, GENESIS)
            for offset, fact in enumerate(facts, start=1):
                entry = Entry(
                    incident_id=incident_id, seq=expected_seq + offset, at_ms=at_ms, principal=principal, fact=fact
                )
                incident = apply(incident, entry)
                record = record_of(entry, hash_)
                # An entry that cannot be read back, such as one with a number that JSON lacks, would stop every start.
                if entry_of(record) != entry:
                    raise Invalid(fact.kind, fact, "a fact that reads back as it was written")
                records.append(record)
                hash_ = record.hash
            if incident is None or not facts:
                raise Conflict(f"incident {incident_id}: no facts were given")
            guard = guard_of(incident, facts, self._rules, at_ms) if self._rules else None
            crash_points.reached(f"before {facts[0].kind}")
            try:
                position = await asyncio.to_thread(self._guarded_append, records, guard)
            except (Conflict, OutcomeUnknown):
                # Another journal wrote to the same database, or nobody knows whether this was written:
                # what the store has is the truth, so take it in.
                await self._catch_up()
                raise
            if position == self._position + len(records):
                self._moved_on(incident_id, position)
                self._incidents[incident_id], self._hashes[incident_id] = incident, hash_
            else:
                # Entries of another journal may lie between: to step over them would be never to see them.
                await self._catch_up()
        crash_points.reached(f"after {facts[0].kind}")
        for fact in facts:
            log.info("recorded", incident_id=incident_id, fact=fact.kind, plan_id=getattr(fact, "plan_id", None))
        async with self._grown:
            self._grown.notify_all()
        return incident

    def _guarded_append(self, records: Sequence[Record], guard: Guard | None) -> int:
        if guard and (guard.claim or guard.intent) and (why := self._stopped_by_file()):
            raise Held(f"the kill switch is on: {why}")
        return self._store.append(records, guard)

    def _stopped_by_file(self) -> str:
        """Why the file that stops everything does so; one that cannot be looked for stops as well."""
        path = self._rules.stop_file if self._rules else ""
        if not path:
            return ""
        try:
            Path(path).lstat()
        except FileNotFoundError:
            return ""
        except OSError as error:
            return f"the file {path} cannot be looked for ({error.strerror})"
        return f"the file {path} is there"

    async def kill_switch(self) -> Switch:
        """Whether nothing may be sent, and who said so last. The file that stops everything wins."""
        turns = await asyncio.to_thread(self._store.switched)
        by_file = await asyncio.to_thread(self._stopped_by_file)
        return Switch(stopped=True, reason=by_file) if by_file else state_of(turns[-1] if turns else None)

    async def turn_kill_switch(self, stopped: bool, principal: Principal, reason: str, at_ms: int) -> Switch:
        """Stop or resume, and answer what then holds. What returned is on disk; no later intent misses it.

        Raises Conflict where another turn came first, else as `append` does.
        """
        async with self._writing:
            turns = await asyncio.to_thread(self._store.switched)
            record = next_record(turns, stopped, principal, reason, at_ms)
            await asyncio.to_thread(self._store.switch, record)
        log.warning("kill switch", stopped=stopped, principal=principal.id, reason=reason)
        return await self.kill_switch()

    async def incident(self, incident_id: IncidentId) -> Incident | None:
        """One incident as it now is, or None."""
        return self._incidents.get(incident_id)

    async def those(self, incident_ids: Sequence[IncidentId]) -> list[Incident]:
        """These incidents as they now are, without those that there are not."""
        return [self._incidents[each] for each in incident_ids if each in self._incidents]

    async def unresolved(self) -> list[Incident]:
        """Every incident that is not over, oldest first."""
        return [each for each in self._incidents.values() if each.state is not IncidentState.RESOLVED]

    async def incidents(
        self,
        state: IncidentState | None = None,
        service: str | None = None,
        limit: int = 50,
        before: IncidentId | None = None,
    ) -> list[Incident]:
        """Newest first; `before` is the id of the last one of the page before."""
        found = [
            each
            for each in self._incidents.values()
            if (state is None or each.state is state) and (service is None or service in each.services)
        ]
        found.sort(key=lambda each: (each.opened_at_ms, each.id), reverse=True)
        if before is not None and (last := self._incidents.get(before)):
            found = [each for each in found if (each.opened_at_ms, each.id) < (last.opened_at_ms, last.id)]
        return found[:limit]

    async def entries(self, incident_id: IncidentId) -> list[Entry]:
        """The whole history of one incident."""
        records = await asyncio.to_thread(self._store.read, incident_id)
        return [entry_of(record) for record in records]

    async def position(self) -> int:
        """The place after the newest entry: what to follow from."""
        return self._position

    async def follow(self, after: int, timeout_s: float) -> Followed:
        """What moved after `after`, by another journal as well; waits up to `timeout_s` for the first entry.

        The store is asked only once nothing has come in that time: its one connection is for those who append.
        """
        try:
            async with asyncio.timeout(timeout_s), self._grown:
                await self._grown.wait_for(lambda: self._position > after)
        except TimeoutError:
            async with self._writing:
                await self._catch_up()
        moved = [*itertools.takewhile(lambda each: self._moved[each] > after, reversed(self._moved))]
        return Followed(incident_ids=tuple(reversed(moved)), position=max(self._position, after))

    async def audit(self) -> list[Break]:
        """Where the audit chain of any incident does not hold; empty if all do."""

        def check() -> list[Break]:
            breaks = [verify(self._store.read(incident_id)) for incident_id in self._store.incident_ids()]
            breaks.append(verify(self._store.switched()))
            return [broken for broken in breaks if broken]

        return await asyncio.to_thread(check)

    async def records(self, after: int, limit: int) -> list[Located]:
        """Up to `limit` records as they lie in the store, every incident's, after a position."""
        return await asyncio.to_thread(self._store.read_after, after, limit)

    async def switch_turns(self) -> list[Record]:
        """Every turn of the kill switch as it lies in the store, a chain of its own."""
        return await asyncio.to_thread(self._store.switched)

    async def add_silence(self, silence: Silence) -> Silence:
        """Keep a silence. What returned is on disk; adding it again is harmless."""
        await asyncio.to_thread(self._silence_store.add, silence)
        log.info("silence added", silence=silence.id, author=silence.author, ends_at_ms=silence.ends_at_ms)
        return silence

    async def end_silence(self, silence_id: str, at_ms: int, by: str) -> Silence:
        """End a silence before its time. Raises NotFound, or Conflict if it is over."""
        ended = await asyncio.to_thread(self._silence_store.end, silence_id, at_ms, by)
        log.info("silence ended", silence=silence_id, by=by)
        return ended

    async def silences(self) -> list[Silence]:
        """Silences that hold, will hold and are over, the newest first."""
        return await asyncio.to_thread(self._silence_store.silences)

    async def silenced_counts(self) -> Mapping[str, int]:
        """How many incidents each silence has kept from people, by its id."""
        return Counter(each.silenced_by for each in self._incidents.values() if each.silenced_by)

    @property
    def _silence_store(self) -> SilenceStore:
        if self._silences is None:
            raise Unavailable("this journal keeps no silences")
        return self._silences

    async def receive(self, events: Sequence[Event], received_at_ms: int) -> list[bool]:
        """Keep outside events, all or none, and answer for each whether it was new. What returned is on disk.

        Raises Overloaded when too many wait, Unavailable if the store does not answer: send all of it again.
        """
        return await self._ask_events(lambda store: store.receive(events, received_at_ms))

    async def bury(self, letter: DeadLetter) -> bool:
        """Keep what cannot be read as an event, for people to see."""
        return await self._ask_events(lambda store: store.bury(letter))

    async def pending_events(self, limit: int) -> list[Pending]:
        """Events that nobody settled yet, the oldest first."""
        return await self._ask_events(lambda store: store.pending(limit))

    async def settle_events(self, positions: Sequence[int], at_ms: int, reason: str = "") -> None:
        """Events that have their place, or none for a `reason`."""
        await self._ask_events(lambda store: store.settle(positions, at_ms, reason))

    async def recent_changes(self, services: Sequence[str], from_ms: int, to_ms: int) -> list[Event]:
        """What people changed in that time, oldest first."""
        return await self._ask_events(lambda store: store.changes(services, from_ms, to_ms))

    async def dead_letters(self, limit: int) -> list[DeadLetter]:
        """Events that became nothing, newest first."""
        return await self._ask_events(lambda store: store.dead_letters(limit))

    async def event_standing(self) -> Mapping[str, Standing]:
        """How many events of each source wait, are placed, and are dead letters."""
        return await self._ask_events(lambda store: store.standing())

    async def forget_events(self, placed_before_ms: int, dead_before_ms: int, limit: int) -> int:
        """Delete up to `limit` events that were settled so long ago; how many."""
        return await self._ask_events(lambda store: store.forget(placed_before_ms, dead_before_ms, limit))

    async def _ask_events(self, ask: Callable[[EventStore], T]) -> T:
        """One call at a time: a storm of events must not take the threads that record facts."""
        if self._events is None:
            raise Unavailable("this journal keeps no outside events")
        if self._event_calls >= _MOST_EVENT_CALLS:
            raise Overloaded("too many outside events are being written")
        self._event_calls += 1
        try:
            async with self._event_turn:
                return await asyncio.to_thread(ask, self._events)
        finally:
            self._event_calls -= 1

    async def ping(self) -> str:
        """Answers while the actor's loop turns."""
        return "journal"
