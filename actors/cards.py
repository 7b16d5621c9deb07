"""Keeps what people see in chat in step with the journal: a card for each incident, and the story in its thread."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog

from actors.api import Journal
from sentinel import ids
from sentinel.clock import Clock
from sentinel.errors import Conflict, Forbidden, Invalid, Overloaded, SentinelError, Unavailable
from sentinel.ids import IncidentId
from sentinel.incidents.facts import CardPosted, Entry, Fact, NotePosted
from sentinel.incidents.nouns import SENTINEL, Card, Incident, IncidentState, PlanState
from sentinel.ports import Messenger

Blocks = Sequence[Mapping[str, object]]
Render = Callable[[Incident], tuple[Blocks, str]]
# What a thread is told of these entries; None where nothing in them is worth a line.
Narrate = Callable[[Sequence[Entry]], tuple[Blocks, str] | None]
log = structlog.get_logger(__name__)
_RECORD_TRIES = 20
_LONGEST_WAIT_S = 60.0
_PACE_MS = 1000  # Slack takes about one message a second in a channel
_KEPT_CARDS = 3
_CLOCKS_DIFFER_MS = 60_000  # the chat's and ours


def silent(_entries: Sequence[Entry]) -> None:
    """Tells a thread nothing."""
    return


class Cards:
    """Soft state: what was last rendered for which incident. Losing it costs one needless update a card.

    `show` succeeds when card and thread tell the truth; where it could not bring them there (the chat is down, or
    took a message less than a second ago), the incident stays in `behind` and is shown again later, in the order in
    which incidents fell behind. What happened meanwhile is told in one message. The journal knows what a thread was
    told, so nothing is lost. Before a card whose answer was lost is posted again, the channel is looked through for
    it. Where the app may not look a duplicate is posted, which is harmless: both carry the same plan and digest, and a
    decision counts once. A chat that fails is left alone for a while for all of them, so that one that hangs cannot
    keep its stage from the rest of its work.
    """

    def __init__(
        self, journal: Journal, messenger: Messenger, render: Render, clock: Clock, narrate: Narrate = silent
    ) -> None:
        self._journal = journal
        self._messenger = messenger
        self._render = render
        self._narrate = narrate
        self._clock = clock
        self._shown: dict[IncidentId, str] = {}
        self._told: dict[IncidentId, int] = {}  # looked through for the thread up to this entry
        self._not_before_ms: dict[IncidentId, int] = {}
        self._failures: dict[IncidentId, int] = {}
        self._behind: dict[IncidentId, None] = {}
        self._maybe_posted: set[IncidentId] = set()
        self._since_ms = clock.now_ms()
        self._channel = ""  # as the chat calls it, once that is known
        self._failures_in_a_row = 0
        self._free_ms = 0

    def behind(self) -> Iterable[IncidentId]:
        """Incidents whose card may not tell the truth yet, the one that waits longest first."""
        return tuple(self._behind)

    def look_at(self, incidents: Iterable[Incident]) -> None:
        """Have these shown once more, for their cards may be from before a restart."""
        shown = [incident for incident in incidents if incident.cards]
        self._behind.update(dict.fromkeys(incident.id for incident in shown))
        self._channel = next((each.channel for incident in shown for each in incident.cards if each.ts), "")

    async def show(self, incident: Incident) -> None:
        """Bring card or thread of one incident up to date, with at most one message a second over all of them."""
        blocks, text = self._render(incident)
        # A reminder changes no word of the card, and is news where each message is a new one.
        rendered = ids.content_digest([blocks, text, "" if self._messenger.can_update else _standing(incident)])
        changed = self._shown.get(incident.id) != rendered
        if not changed and not self._untold(incident):
            self._behind.pop(incident.id, None)
            return
        self._behind.setdefault(incident.id, None)
        now_ms = self._clock.now_ms()
        if now_ms < max(self._free_ms, self._not_before_ms.get(incident.id, 0)):
            return
        try:
            if changed:
                await self._surely_bring_up_to_date(incident, blocks, text)
                self._shown[incident.id] = rendered
            else:
                await self._tell_thread(incident)
        except SentinelError as error:
            self._put_off(incident, error)
            return
        self._failures.pop(incident.id, None)
        self._failures_in_a_row = 0
        if not self._untold(incident):
            self._behind.pop(incident.id, None)

    def _put_off(self, incident: Incident, error: SentinelError) -> None:
        now_ms = self._clock.now_ms()
        failures = self._failures[incident.id] = self._failures.get(incident.id, 0) + 1
        wait_s = error.retry_after_s if isinstance(error, Overloaded) else min(2.0**failures, _LONGEST_WAIT_S)
        again_ms = now_ms + round(wait_s * 1000)
        self._not_before_ms[incident.id] = again_ms
        if isinstance(error, Overloaded):
            self._free_ms = again_ms  # the limit is the channel's, not the message's
        elif isinstance(error, Unavailable):
            self._failures_in_a_row += 1
            self._free_ms = now_ms + round(min(2.0**self._failures_in_a_row, _LONGEST_WAIT_S) * 1000)
        log.warning("card is behind", incident_id=incident.id, error=str(error), again_in_s=wait_s)

    async def _surely_bring_up_to_date(self, incident: Incident, blocks: Blocks, text: str) -> None:
        try:
            await self._bring_up_to_date(incident, blocks, text)
        except Invalid as error:
            # A card that Slack refuses would be refused for ever; the plain text must still reach people.
            log.error("card refused, sending plain text", incident_id=incident.id, error=str(error))
            await self._bring_up_to_date(incident, (), text)

    async def _bring_up_to_date(self, incident: Incident, blocks: Blocks, text: str) -> None:
        posted = [card for card in incident.cards if card.ts][-_KEPT_CARDS:]
        shows = _standing(incident)
        if posted and self._messenger.can_update:
            try:
                self._pace()
                await self._messenger.update(posted[-1], blocks, text)
            except Forbidden as error:
                # Somebody deleted the message, or the channel: people must still see what waits for them.
                log.warning("card gone, posting anew", incident_id=incident.id, error=str(error))
            else:
                await self._update_duplicates(incident, posted[:-1], blocks, text)
                return
        elif shows in {card.shows for card in incident.cards} or _not_worth_a_message(incident):
            return
        if await self._found(incident, blocks, text):
            return
        self._pace()
        try:
            card = await self._messenger.post(blocks, text, about=incident.id)
        except Unavailable:
            self._maybe_posted.add(incident.id)
            raise
        await self._on_record(incident.id, card, shows)

    async def _on_record(self, incident_id: IncidentId, card: Card, shows: str) -> None:
        self._channel = card.channel
        await self._record(incident_id, CardPosted(card=Card(channel=card.channel, ts=card.ts, shows=shows)))
        self._maybe_posted.discard(incident_id)

    async def _found(self, incident: Incident, blocks: Blocks, text: str) -> bool:
        """Whether its card was posted after all, by us or by a process before us; then it is brought up to date."""
        on_record = {(card.channel, card.ts) for card in incident.cards}
        before_us = not on_record and incident.opened_at_ms < self._since_ms
        if not self._channel or not (before_us or incident.id in self._maybe_posted):
            return False
        try:
            found = await self._messenger.find(self._channel, incident.id, incident.opened_at_ms - _CLOCKS_DIFFER_MS)
        except Forbidden as error:
            log.info("the channel cannot be looked through", incident_id=incident.id, error=str(error))
            return False
        unknown = [card for card in reversed(found) if (card.channel, card.ts) not in on_record]
        for card in unknown:
            await self._on_record(incident.id, card, _standing(incident))
        await self._update_duplicates(incident, unknown, blocks, text)
        return bool(unknown)

    async def _update_duplicates(self, incident: Incident, others: Sequence[Card], blocks: Blocks, text: str) -> None:
        """Cards that were posted twice, as after a lost answer, tell the truth as well."""
        for card in others:
            try:
                await self._messenger.update(card, blocks, text)
            except (Forbidden, Invalid) as error:
                log.info("an older card is gone", incident_id=incident.id, error=str(error))

    def _untold(self, incident: Incident) -> bool:
        told = max(incident.told_seq, self._told.get(incident.id, 0))
        return self._thread_of(incident) is not None and told < incident.seq and self._narrate is not silent

    def _thread_of(self, incident: Incident) -> Card | None:
        return next((card for card in incident.cards if card.ts), None) if self._messenger.can_update else None

    async def _tell_thread(self, incident: Incident) -> None:
        card = self._thread_of(incident)
        if card is None:
            return
        after = max(incident.told_seq, self._told.get(incident.id, 0))
        entries = [entry for entry in await self._journal.entries(incident.id) if after < entry.seq <= incident.seq]
        note = self._narrate(entries)
        if note is not None:
            self._pace()
            try:
                below = await self._messenger.reply(card, *note)
            except (Forbidden, Invalid) as error:
                # The card tells the same; a thread that is gone or a note that is refused must not hold it up for ever.
                log.error("note not posted", incident_id=incident.id, error=str(error))
            else:
                await self._record(incident.id, NotePosted(card=below, upto_seq=incident.seq))
        self._told[incident.id] = incident.seq

    def _pace(self) -> None:
        self._free_ms = self._clock.now_ms() + _PACE_MS

    async def _record(self, incident_id: IncidentId, fact: Fact) -> None:
        """The message is out: its place is recorded whatever else happens to the incident meanwhile."""
        for _ in range(_RECORD_TRIES):
            incident = await self._journal.incident(incident_id)
            if incident is None:
                return
            try:
                await self._journal.append(incident_id, incident.seq, [fact], SENTINEL, self._clock.now_ms())
            except Conflict:
                continue
            return
        log.error("the place of a message was not recorded", incident_id=incident_id, fact=fact.kind)


def _not_worth_a_message(incident: Incident) -> bool:
    """Whether people never heard of it and it is over, or the question itself follows within a second."""
    asked_soon = incident.live_plan is not None and incident.live_plan.state is PlanState.PROPOSED
    return asked_soon or (not incident.cards and incident.state is IncidentState.RESOLVED)


def _standing(incident: Incident) -> str:
    """The state a message tells of; where messages cannot be updated, each new one is a new message."""
    if not incident.plans:
        return f"{incident.state}, no plan"
    last = incident.plans[-1]  # one that took another's place has the same state, and is not the same question
    held = " held" if last.state is PlanState.APPROVED and last.held_reason else ""
    return f"{incident.state}, {last.plan.plan_id} {last.state}{held}, reminded {last.reminded_at_ms}"
