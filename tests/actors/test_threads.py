"""Card and thread as one outbox: in order, at least once, at most one message a second, whatever Slack does."""

from collections.abc import Mapping, Sequence

import pytest

from actors.cards import Cards
from sentinel.adapters.slack_thread import narrate
from sentinel.errors import Forbidden, Overloaded, SentinelError, Unavailable
from sentinel.incidents import facts as f
from sentinel.incidents.nouns import Card
from tests.actors.rig import Rig
from tests.actors.test_cards import Chat, said
from tests.unit.incidents.make import ID, approved, opened, plan

PID = plan().plan_id


class LosingChat(Chat):
    """A chat whose answers can be lost after it did what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.lost = 0
        self.at: list[float] = []
        self.clock: object = None

    async def reply(self, card: Card, blocks: Sequence[Mapping[str, object]], text: str) -> Card:
        self._raise()
        below = await super().reply(card, blocks, text)
        if self.lost:
            self.lost -= 1
            raise Unavailable("Slack did not answer in time")
        return below


@pytest.fixture
def rig() -> Rig:
    made = Rig()
    made.messenger = LosingChat()
    return made


def cards_of(rig: Rig) -> Cards:
    return Cards(rig.journal, rig.messenger, said, rig.clock, narrate)


async def turn(rig: Rig, cards: Cards, seconds: float = 1.1) -> None:
    """One look at every incident that is behind, and at this one."""
    rig.clock.advance(seconds)
    for each in dict.fromkeys([ID, *cards.behind()]):
        incident = await rig.journal.incident(each)
        assert incident is not None
        await cards.show(incident)


def told(rig: Rig) -> str:
    return "\n".join(str(reply.blocks) for reply in rig.messenger.replies)


async def test_what_happens_is_told_below_the_card_in_order_and_once(rig: Rig) -> None:
    cards = cards_of(rig)
    await rig.tell(opened())
    await turn(rig, cards)
    for fact in [*approved(plan()), f.ExecutionStarted(plan_id=PID, owner="a")]:
        await rig.tell(fact)
        for _ in range(3):
            await turn(rig, cards)
    lines = [reply.text for reply in rig.messenger.replies]
    assert [line[:12] for line in lines] == ["plan `scale-", "approved by ", "carrying out"]
    assert {reply.below for reply in rig.messenger.replies} == {"1.000000"}
    assert tuple(cards.behind()) == ()


async def test_after_half_an_hour_without_slack_everything_is_told_in_one_message(rig: Rig) -> None:
    cards = cards_of(rig)
    await rig.tell(opened())
    await turn(rig, cards)
    rig.messenger.errors = [Unavailable("Slack is down")] * 10_000
    story: list[f.Fact] = [
        *approved(plan()),
        f.ExecutionStarted(plan_id=PID, owner="a"),
        f.StepStarted(plan_id=PID, index=0, previous={}),
        f.StepSucceeded(plan_id=PID, index=0, detail="desired 4"),
        f.VerificationStarted(plan_id=PID),
        f.PlanSucceeded(plan_id=PID, reason="gone"),
        f.IncidentResolved(reason="gone"),
    ]
    for fact in story:
        await rig.tell(fact)
        for _ in range(20):
            await turn(rig, cards, 9)
    assert rig.messenger.replies == []
    rig.messenger.errors = []
    for _ in range(10):
        await turn(rig, cards, 61)
    assert len(rig.messenger.posted) == 1
    assert rig.messenger.posted[0].text.endswith("resolved: succeeded"), "the card tells the truth"
    assert len(rig.messenger.replies) == 1
    order = ["proposed", "approved by", "carrying out", "step 1 done", "every step", "the plan worked", "*resolved*"]
    places = [told(rig).index(word) for word in order]
    assert places == sorted(places)
    assert tuple(cards.behind()) == ()


async def test_a_note_whose_answer_was_lost_is_told_again_and_nothing_is_left_out(rig: Rig) -> None:
    cards = cards_of(rig)
    await rig.tell(opened())
    await turn(rig, cards)
    rig.messenger.lost = 2
    await rig.tell(f.IncidentEscalated(reason="no runbook"))
    for _ in range(8):
        await turn(rig, cards, 10)
    assert [reply.text for reply in rig.messenger.replies] == ["no runbook"] * 3
    await rig.tell(f.IncidentResolved(reason="quiet"))
    for _ in range(4):
        await turn(rig, cards)
    assert [reply.text for reply in rig.messenger.replies][3:] == ["*resolved*: quiet"]


async def test_a_restart_tells_nothing_twice(rig: Rig) -> None:
    cards = cards_of(rig)
    await rig.tell(opened())
    await turn(rig, cards)
    await rig.tell(f.IncidentEscalated(reason="no runbook"))
    for _ in range(4):
        await turn(rig, cards)
    again = cards_of(rig)
    again.look_at(await rig.journal.incidents())
    for _ in range(4):
        await turn(rig, again)
    assert len(rig.messenger.replies) == 1


async def test_what_a_dead_process_did_not_tell_the_next_one_does(rig: Rig) -> None:
    await rig.tell(opened())
    await turn(rig, cards_of(rig))
    await rig.tell(f.IncidentEscalated(reason="no runbook"))
    again = cards_of(rig)
    for _ in range(4):
        await turn(rig, again)
    assert [reply.text for reply in rig.messenger.replies] == ["no runbook"]


async def test_a_thread_that_is_refused_does_not_hold_up_the_card(rig: Rig) -> None:
    cards = cards_of(rig)
    await rig.tell(opened())
    await turn(rig, cards)
    await rig.tell(f.IncidentEscalated(reason="no runbook"))
    await turn(rig, cards)
    rig.messenger.errors = [Forbidden("thread_not_found")]
    for _ in range(4):
        await turn(rig, cards)
    assert tuple(cards.behind()) == ()


class Metered(LosingChat):
    """Slack's limit: more than about one message a second is a 429 with Retry-After."""

    def __init__(self, rig: Rig) -> None:
        super().__init__()
        self.rig = rig
        self.times: list[float] = []

    def _raise(self) -> None:
        super()._raise()
        self.times.append(self.rig.clock.monotonic())


async def test_thirty_incidents_at_once_are_told_one_message_a_second_in_their_order(rig: Rig) -> None:
    chat = rig.messenger = Metered(rig)
    cards = cards_of(rig)
    ids = [ID.replace("-1", f"-{n}") for n in range(1, 31)]
    for each in ids:
        await rig.tell(opened(), incident=each)
    for each in ids:
        incident = await rig.journal.incident(each)
        assert incident is not None
        await cards.show(incident)
    for _ in range(400):
        await turn(rig, cards, 0.5)
    assert [posted.text.split(" ")[0] for posted in chat.posted] == ids
    gaps = [later - earlier for earlier, later in zip(chat.times, chat.times[1:], strict=False)]
    assert min(gaps) >= 1.0
    assert tuple(cards.behind()) == ()


async def test_a_storm_of_429_holds_the_whole_channel_back_and_loses_nothing(rig: Rig) -> None:
    chat = rig.messenger = Metered(rig)
    cards = cards_of(rig)
    storm: list[SentinelError] = [Overloaded("Slack: rate limit reached", retry_after_s=30)] * 5
    chat.errors = storm
    ids = [ID, ID.replace("-1", "-2")]
    for each in ids:
        await rig.tell(opened(), incident=each)
        incident = await rig.journal.incident(each)
        assert incident is not None
        await cards.show(incident)
    for _ in range(400):
        await turn(rig, cards, 1.0)
    assert chat.calls < 12, "nobody knocks while Slack asks to wait"
    assert len(chat.posted) == 2


class Unanswering(LosingChat):
    """Posts a card, and its answer is lost as often as a test says; then it may or may not be looked through."""

    def __init__(self) -> None:
        super().__init__()
        self.unanswered = 0
        self.may_look = True

    async def post(self, blocks: Sequence[Mapping[str, object]], text: str, about: str = "") -> Card:
        card = await super().post(blocks, text, about)
        if self.unanswered:
            self.unanswered -= 1
            raise Unavailable("Slack did not answer in time")
        return card

    async def find(self, channel: str, about: str, since_ms: int) -> tuple[Card, ...]:
        if not self.may_look:
            raise Forbidden("Slack refuses: missing_scope")
        return await super().find(channel, about, since_ms)


@pytest.mark.parametrize("dies", [False, True])
async def test_a_card_whose_answer_was_lost_is_found_and_not_posted_again(rig: Rig, dies: bool) -> None:
    chat = rig.messenger = Unanswering()
    cards, other = cards_of(rig), ID.replace("-1", "-2")
    await rig.tell(opened(), incident=other)
    await cards.show(await rig.incident(other))
    await rig.tell(opened())
    chat.unanswered = 1
    await turn(rig, cards)
    if dies:
        cards = cards_of(rig)
        cards.look_at(await rig.journal.incidents())
    await rig.tell(f.IncidentEscalated(reason="no runbook"))
    for _ in range(8):
        await turn(rig, cards, 10)
    assert len(chat.posted) == 2
    assert chat.posted[1].text.endswith("escalated: no plan")
    assert (await rig.kinds()).count("card_posted") == 1
    assert tuple(cards.behind()) == ()


async def test_where_the_channel_may_not_be_looked_through_the_card_is_posted_again(rig: Rig) -> None:
    chat = rig.messenger = Unanswering()
    chat.may_look = False
    cards, other = cards_of(rig), ID.replace("-1", "-2")
    await rig.tell(opened(), incident=other)
    await cards.show(await rig.incident(other))
    await rig.tell(opened())
    chat.unanswered = 1
    for _ in range(8):
        await turn(rig, cards, 10)
    assert len(chat.posted) == 3
    assert tuple(cards.behind()) == ()


async def test_a_chat_that_hangs_does_not_keep_the_stage_from_everything_else(rig: Rig) -> None:
    chat = rig.messenger = Metered(rig)

    def hang() -> None:
        rig.clock.advance(10)
        chat.times.append(rig.clock.monotonic())
        raise Unavailable("Slack did not answer in time")

    chat._raise = hang  # type: ignore[method-assign]
    cards = cards_of(rig)
    ids = [ID.replace("-1", f"-{n}") for n in range(1, 31)]
    for each in ids:
        await rig.tell(opened(), incident=each)
        incident = await rig.journal.incident(each)
        assert incident is not None
        await cards.show(incident)
    for _ in range(600):
        await turn(rig, cards, 1)
    assert rig.clock.monotonic() < 800, "of ten minutes, thirty incidents wait for Slack less than three"
    assert len(chat.times) >= 10, "and it is still asked"
