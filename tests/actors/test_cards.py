"""What people see in chat follows the journal, whatever becomes of the chat."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from actors.cards import Cards
from sentinel.adapters.in_memory import InMemoryMessenger
from sentinel.adapters.slack_card import card
from sentinel.errors import Forbidden, Invalid, SentinelError, Unavailable
from sentinel.incidents import facts as f
from sentinel.incidents.nouns import Card, Incident
from tests.actors.rig import Proxy, Rig
from tests.unit.incidents.make import ID, alert, approved, opened, plan

HOUR = 3600.0


class Chat(InMemoryMessenger):
    """A chat that fails as it is told to."""

    def __init__(self, *, can_update: bool = True) -> None:
        super().__init__(can_update=can_update)
        self.errors: list[SentinelError] = []
        self.calls = 0

    async def post(self, blocks: Sequence[Mapping[str, object]], text: str, about: str = "") -> Card:
        self._raise()
        return await super().post(blocks, text, about)

    async def update(self, card: Card, blocks: Sequence[Mapping[str, object]], text: str) -> None:
        self._raise()
        await super().update(card, blocks, text)

    def _raise(self) -> None:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)


@pytest.fixture
def rig() -> Rig:
    made = Rig()
    made.messenger = Chat()
    return made


def cards_of(rig: Rig, journal: Any = None) -> Cards:
    return Cards(journal or rig.journal, rig.messenger, said, rig.clock)


def said(incident: Incident) -> tuple[list[dict[str, object]], str]:
    """A card that tells the states and nothing else."""
    plans = ", ".join(record.state for record in incident.plans) or "no plan"
    return [{"type": "divider"}], f"{incident.id} is {incident.state}: {plans}"


async def shown(rig: Rig, cards: Cards, after_s: float = 1.1) -> None:
    rig.clock.advance(after_s)
    await cards.show(await rig.incident())


def texts(rig: Rig) -> list[str]:
    return [message.text.partition(" is ")[2] for message in rig.messenger.posted]


async def test_one_message_follows_the_incident_to_its_end(rig: Rig) -> None:
    cards = cards_of(rig)
    await rig.tell(opened())
    await shown(rig, cards)
    assert texts(rig) == ["open: no plan"]
    for facts, text in (
        (approved(plan())[:1], "mitigating: proposed"),
        (approved(plan())[1:2], "mitigating: awaiting_approval"),
        (approved(plan())[2:], "mitigating: approved"),
        ([f.PlanExpired(plan_id=plan().plan_id, reason="")], "escalated: expired"),
        ([f.IncidentResolved(reason="")], "resolved: expired"),
    ):
        await rig.tell(*facts)
        await shown(rig, cards)
        assert texts(rig) == [text]
    assert (await rig.kinds()).count("card_posted") == 1
    assert list(cards.behind()) == []


async def test_what_is_already_shown_is_not_sent_again(rig: Rig) -> None:
    cards = cards_of(rig)
    await rig.tell(opened())
    for _ in range(5):
        await shown(rig, cards)
    assert rig.messenger.calls == 1


async def test_a_card_is_updated_at_most_once_a_second_and_then_tells_the_latest(rig: Rig) -> None:
    cards = cards_of(rig)
    await rig.tell(opened())
    await shown(rig, cards)
    await rig.tell(f.PlanProposed(plan=plan()))
    await shown(rig, cards, after_s=0.5)
    assert texts(rig) == ["open: no plan"]
    assert list(cards.behind()) == [ID]
    await shown(rig, cards, after_s=0.6)
    assert texts(rig) == ["mitigating: proposed"]
    assert list(cards.behind()) == []


async def test_a_chat_that_was_down_for_an_hour_catches_up(rig: Rig) -> None:
    cards = cards_of(rig)
    await rig.tell(opened())
    rig.messenger.errors = [Unavailable("slack.com does not answer")] * 30
    for _ in range(40):
        await shown(rig, cards, after_s=90)
        if rig.messenger.errors:
            assert list(cards.behind()) == [ID]
    assert texts(rig) == ["open: no plan"]
    assert list(cards.behind()) == []


async def test_a_chat_that_is_down_is_not_asked_all_the_time(rig: Rig) -> None:
    cards = cards_of(rig)
    await rig.tell(opened())
    rig.messenger.errors = [Unavailable("slack.com does not answer")] * 10_000
    for _ in range(3600):
        await shown(rig, cards, after_s=1)
    assert 50 <= rig.messenger.calls <= 80


async def test_what_happened_while_the_chat_was_down_is_told_after(rig: Rig) -> None:
    cards = cards_of(rig)
    await rig.tell(opened())
    await shown(rig, cards)
    rig.messenger.errors = [Unavailable("slack.com does not answer")] * 2
    await rig.tell(*approved(plan()))
    for _ in range(4):
        await shown(rig, cards, after_s=61)
    assert texts(rig) == ["mitigating: approved"]


async def test_a_card_that_slack_refuses_becomes_plain_text(rig: Rig) -> None:
    cards = cards_of(rig)
    await rig.tell(opened())
    rig.messenger.errors = [Invalid("blocks", "...", "fewer")]
    await shown(rig, cards)
    (message,) = rig.messenger.posted
    assert message.blocks == ()
    assert texts(rig) == ["open: no plan"]


async def test_a_message_that_was_deleted_is_posted_anew(rig: Rig) -> None:
    cards = cards_of(rig)
    await rig.tell(opened())
    await shown(rig, cards)
    rig.messenger.errors = [Forbidden("message_not_found")]
    await rig.tell(f.PlanProposed(plan=plan()))
    await shown(rig, cards)
    assert texts(rig)[-1] == "mitigating: proposed"
    await rig.tell(f.PlanCancelled(plan_id=plan().plan_id, reason=""))
    await shown(rig, cards)
    assert texts(rig)[-1] == "escalated: cancelled", "the new message is the one that is updated from here"
    assert len(rig.messenger.posted) == 2


async def test_where_messages_cannot_be_changed_each_state_is_told_once(rig: Rig) -> None:
    rig.messenger = Chat(can_update=False)
    cards = cards_of(rig)
    await rig.tell(opened())
    await shown(rig, cards)
    await rig.tell(f.AlertRaised(alert=alert("web"), suspects=(), reason=""))
    await shown(rig, cards)
    await rig.tell(f.PlanProposed(plan=plan()))
    await shown(rig, cards)
    await shown(rig, cards)
    assert texts(rig) == ["open: no plan"], "the question itself follows at once"
    await rig.tell(f.ApprovalRequested(plan_id=plan().plan_id, asked=""))
    await shown(rig, cards)
    await shown(rig, cards)
    assert texts(rig) == ["open: no plan", "mitigating: awaiting_approval"]


async def test_where_messages_cannot_be_changed_a_plan_that_takes_anothers_place_is_told_and_so_are_reminders_and_holds(
    rig: Rig,
) -> None:
    rig.messenger = Chat(can_update=False)
    cards = Cards(rig.journal, rig.messenger, card, rig.clock)
    first, second = plan(), plan(attempt=2)
    await rig.tell(opened(), *approved(first)[:2])
    await shown(rig, cards)
    await rig.tell(f.PlanCancelled(plan_id=first.plan_id, reason="it changed"), *approved(second)[:2])
    await shown(rig, cards)
    assert [second.digest[:12] in str(each.blocks) for each in rig.messenger.posted] == [False, True]
    for _ in range(2):
        await rig.tell(f.ApprovalReminded(plan_id=second.plan_id, to=("ann",), escalated=False, reason="still waiting"))
        await shown(rig, cards)
        await shown(rig, cards)
    assert len(rig.messenger.posted) == 4, "each reminder is told once"
    held = f.PlanHeld(plan_id=second.plan_id, reason="the kill switch is on")
    for facts in (approved(second)[2:], [held]):
        await rig.tell(*facts)
        await shown(rig, cards)
    assert len(rig.messenger.posted) == 6
    assert "the kill switch is on" in str(rig.messenger.posted[-1].blocks)


async def test_where_messages_cannot_be_changed_a_restart_tells_nothing_twice(rig: Rig) -> None:
    rig.messenger = Chat(can_update=False)
    await rig.tell(opened())
    await shown(rig, cards_of(rig))
    await shown(rig, cards_of(rig))
    assert texts(rig) == ["open: no plan"]


async def test_a_restart_updates_the_message_that_is_there(rig: Rig) -> None:
    await rig.tell(opened())
    await shown(rig, cards_of(rig))
    await rig.tell(f.IncidentResolved(reason=""))
    again = cards_of(rig)
    again.look_at([await rig.incident()])
    assert list(again.behind()) == [ID]
    await shown(rig, again)
    assert texts(rig) == ["resolved: no plan"]


async def test_what_is_over_before_anybody_heard_of_it_wakes_nobody(rig: Rig) -> None:
    await rig.tell(opened(), f.IncidentResolved(reason=""))
    await shown(rig, cards_of(rig))
    assert rig.messenger.posted == []


async def test_the_place_of_a_message_is_recorded_whatever_else_happens(rig: Rig) -> None:
    await rig.tell(opened())

    class Busy(Proxy):
        """Somebody else records something just before each of our tries, three times."""

        tries = 0

        async def append(self, *args: Any) -> Incident:
            self.tries += 1
            if self.tries <= 3:
                await rig.tell(f.AlertRaised(alert=alert("web"), suspects=(), reason=""))
            return await rig.journal.append(*args)

    await shown(rig, cards_of(rig, Busy(rig.journal)))
    assert [card.ts for card in (await rig.incident()).cards] == ["1.000000"]
