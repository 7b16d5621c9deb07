"""Keeps what people see in chat in step with the journal."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog

from actors.api import Journal
from sentinel import ids
from sentinel.clock import Clock
from sentinel.errors import Conflict, Forbidden, Invalid, Overloaded, SentinelError
from sentinel.ids import IncidentId
from sentinel.incidents.facts import CardPosted
from sentinel.incidents.nouns import SENTINEL, Card, Incident, IncidentState, PlanState
from sentinel.ports import Messenger

Blocks = Sequence[Mapping[str, object]]
Render = Callable[[Incident], tuple[Blocks, str]]
log = structlog.get_logger(__name__)
_RECORD_TRIES = 20
_LONGEST_WAIT_S = 60.0


class Cards:
    """Soft state: what was last rendered for which incident. Losing it costs one needless update a card.

    `show` succeeds when the card tells the truth; when it raises, the incident stays in `behind` and is shown
    again later, so a chat that was down for an hour catches up. A duplicate message is harmless: both carry
    the same plan and digest, and a decision counts once.
    """

    def __init__(self, journal: Journal, messenger: Messenger, render: Render, clock: Clock) -> None:
        self._journal = journal
        self._messenger = messenger
        self._render = render
        self._clock = clock
        self._shown: dict[IncidentId, str] = {}
        self._not_before_ms: dict[IncidentId, int] = {}
        self._failures: dict[IncidentId, int] = {}
        self._behind: dict[IncidentId, None] = {}

    def behind(self) -> Iterable[IncidentId]:
        """Incidents whose card may not tell the truth yet."""
        return tuple(self._behind)

    def look_at(self, incidents: Iterable[Incident]) -> None:
        """Have these shown once more, for their cards may be from before a restart."""
        self._behind.update(dict.fromkeys(incident.id for incident in incidents if incident.cards))

    async def show(self, incident: Incident) -> None:
        """Post or update the card of one incident, at most one update a second as Slack asks."""
        blocks, text = self._render(incident)
        rendered = ids.content_digest([blocks, text])
        if self._shown.get(incident.id) == rendered:
            self._behind.pop(incident.id, None)
            return
        self._behind[incident.id] = None
        now_ms = self._clock.now_ms()
        if now_ms < self._not_before_ms.get(incident.id, 0):
            return
        self._not_before_ms[incident.id] = now_ms + 1000
        try:
            await self._surely_bring_up_to_date(incident, blocks, text)
        except SentinelError as error:
            failures = self._failures[incident.id] = self._failures.get(incident.id, 0) + 1
            wait_s = error.retry_after_s if isinstance(error, Overloaded) else min(2.0**failures, _LONGEST_WAIT_S)
            self._not_before_ms[incident.id] = now_ms + round(wait_s * 1000)
            log.warning("card is behind", incident_id=incident.id, error=str(error), again_in_s=wait_s)
            return
        self._shown[incident.id] = rendered
        self._failures.pop(incident.id, None)
        self._behind.pop(incident.id, None)

    async def _surely_bring_up_to_date(self, incident: Incident, blocks: Blocks, text: str) -> None:
        try:
            await self._bring_up_to_date(incident, blocks, text)
        except Invalid as error:
            # A card that Slack refuses would be refused for ever; the plain text must still reach people.
            log.error("card refused, sending plain text", incident_id=incident.id, error=str(error))
            await self._bring_up_to_date(incident, (), text)

    async def _bring_up_to_date(self, incident: Incident, blocks: Blocks, text: str) -> None:
        posted = next((card for card in reversed(incident.cards) if card.ts), None)
        shows = _standing(incident)
        if posted and self._messenger.can_update:
            try:
                await self._messenger.update(posted, blocks, text)
                return
            except Forbidden as error:
                # Somebody deleted the message, or the channel: people must still see what waits for them.
                log.warning("card gone, posting anew", incident_id=incident.id, error=str(error))
        elif shows in {card.shows for card in incident.cards} or _not_worth_a_message(incident):
            return
        card = await self._messenger.post(blocks, text)
        await self._record(incident.id, Card(channel=card.channel, ts=card.ts, shows=shows))

    async def _record(self, incident_id: IncidentId, card: Card) -> None:
        """The message is out: its place is recorded whatever else happens to the incident meanwhile."""
        for _ in range(_RECORD_TRIES):
            incident = await self._journal.incident(incident_id)
            if incident is None:
                return
            try:
                await self._journal.append(
                    incident_id, incident.seq, [CardPosted(card=card)], SENTINEL, self._clock.now_ms()
                )
            except Conflict:
                continue
            return
        log.error("the place of a card was not recorded", incident_id=incident_id, channel=card.channel)


def _not_worth_a_message(incident: Incident) -> bool:
    """Whether people never heard of it and it is over, or the question itself follows within a second."""
    asked_soon = incident.live_plan is not None and incident.live_plan.state is PlanState.PROPOSED
    return asked_soon or (not incident.cards and incident.state is IncidentState.RESOLVED)


def _standing(incident: Incident) -> str:
    """The state a message tells of; where messages cannot be updated, each new one is a new message."""
    plan = incident.plans[-1].state if incident.plans else "no plan"
    return f"{incident.state}, {plan}"
