"""Slack is away for half an hour, limits everybody, then loses its answers; meanwhile incidents open and people decide.

The real outbox, approval stage, executor and door, and HTTP sockets to the Slack double; only the time is driven.
"""

import asyncio
import contextlib
import itertools
import socket
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvicorn
from starlette.applications import Starlette

from actors.approval import ApprovalActor
from actors.cards import Cards
from actors.corrections import Corrections
from actors.following import keep_running
from actors.journal import Followed, JournalActor
from sentinel.adapters.slack import SlackMessenger
from sentinel.adapters.slack_card import ACKNOWLEDGE, APPROVE, card
from sentinel.adapters.slack_thread import narrate
from sentinel.adapters.slack_views import SlackViews
from sentinel.adapters.sql_journal import SqlJournalStore
from sentinel.clock import ManualClock
from sentinel.correlation.topology import topology_of
from sentinel.errors import NotFound
from sentinel.ids import IncidentId
from sentinel.incidents import facts as f
from sentinel.incidents.history import replay
from sentinel.incidents.nouns import Incident, PlanState, Principal
from sentinel.ports import JournalStore
from sentinel.remediation.approval import Provenance
from sentinel.remediation.approval_policy import ApprovalPolicy
from sentinel.sandbox.slack import SlackDouble
from sentinel.sandbox.slack.faults import Fault
from sentinel.sandbox.slack.workspace import Message
from serve_apps.slack import slack_routes
from serve_apps.slack_people import web_client
from serve_apps.slack_quieting import SlackQuieting
from serve_apps.slack_switch import SlackSwitch
from tests.actors.rig import KEY, Rig, ended
from tests.serve.slack_rig import SECRET, TOKEN, check
from tests.unit.incidents.make import CLUSTER, T0, alert, opened

OPERATOR = Principal(id="api:deploy", name="deploy", via="api")
OUTBOX = ("chat.postMessage", "chat.update", "conversations.history")


class SteppedClock(ManualClock):
    """Stands still, and whoever sleeps stays asleep, until a test lets time pass."""

    def __init__(self, now_ms: int) -> None:
        super().__init__(now_ms)
        self._waking: list[tuple[float, asyncio.Future[None]]] = []

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        self._waking.append((self.monotonic() + seconds, woken))
        await woken

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        due = [each for each in self._waking if each[0] <= self.monotonic()]
        self._waking = [each for each in self._waking if each not in due]
        for _, woken in due:
            if not woken.done():
                woken.set_result(None)

    @property
    def asleep(self) -> int:
        return sum(not woken.done() for _, woken in self._waking)


class DrivenJournal(JournalActor):
    """The real journal, whose followers wait by the clock of the test."""

    def __init__(self, store: JournalStore, clock: SteppedClock) -> None:
        super().__init__(store)
        self._clock = clock

    async def follow(self, after: int, timeout_s: float) -> Followed:
        await self._clock.sleep(timeout_s)
        return await super().follow(after, 0)


class Place:
    """A port on which something listens, or nothing does."""

    def __init__(self, app: Starlette) -> None:
        self._app, self.port = app, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def open(self) -> None:
        self._server = uvicorn.Server(
            uvicorn.Config(self._app, log_level="critical", lifespan="off", ws="none", timeout_graceful_shutdown=1)
        )
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))

    async def close(self) -> None:
        self._server.should_exit = True
        await self._serving


class World:
    """Sentinel's parts about asking and acting, on real sockets, and the people in its channel."""

    def __init__(self, folder: Path) -> None:
        self.rig = Rig()
        self.clock = SteppedClock(T0)
        self.rig.clock = self.clock
        store: Any = SqlJournalStore(f"sqlite:///{folder / 'journal.db'}")
        self.rig.store = store
        self.rig.journal = self.journal = DrivenJournal(store, self.clock)
        self.rig.cloud._clock = self.clock
        door = Starlette()
        self.door = Place(door)
        self.double = SlackDouble(signing_secret=SECRET, token=TOKEN, clock=self.clock, seconds_a_message=1.0)
        self.slack = Place(self.double.app)
        self.routes = door.router.routes
        self.stage: ApprovalActor
        self.executor = self.rig.execution(journal=self.journal)
        self.loops: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        await self.slack.open()
        await self.door.open()
        self.double._interactivity_url = f"{self.door.url}/slack/events"
        self.loops = [keep_running(self.executor.run, "execution", self.clock)]
        self.start_approval()
        self.routes += slack_routes(
            verify=check,
            decisions=_Latest(self),
            incidents=self.journal,
            views=SlackViews(),
            switch=SlackSwitch(journal=self.journal, policy=ApprovalPolicy(), directory=None, clock=self.clock),
            quieting=SlackQuieting(
                approval=self.stage,
                correlation=Corrections(self.journal, lambda: topology_of({}), self.clock),
                incidents=self.journal,
                silenced=self.journal,
            ),
            clock=self.clock,
            client=web_client(TOKEN, f"{self.slack.url}/api/"),
            team_id="T0ACME",
        )

    def start_approval(self) -> None:
        """A new approval stage, which knows what the journal tells and nothing else."""
        self.stage = self.rig.approval(journal=self.journal)
        messenger = SlackMessenger(channel="#sentinel", token=TOKEN, api_url=f"{self.slack.url}/api/")
        self.stage._cards = Cards(self.journal, messenger, rendered, self.clock, narrate)
        self.loops.append(keep_running(self.stage.run, "approval", self.clock))

    async def restart_approval(self) -> None:
        """It dies where it stands."""
        await ended([self.loops.pop()])
        self.start_approval()

    async def passes(self, seconds: int) -> None:
        """So much time, a second at a time; in each, everybody does what is theirs to do."""
        for _ in range(seconds):
            self.clock.advance(1.0)
            async with asyncio.timeout(30):
                while self.clock.asleep != len(self.loops) + len(self.plans_under_way()):  # noqa: ASYNC110
                    await asyncio.sleep(0.001)

    def plans_under_way(self) -> list[asyncio.Task[None]]:
        return [task for task in self.executor._tasks.values() if not task.done()]

    async def breaks(self, service: str) -> IncidentId:
        """An incident of one service opens, as correlation would open it."""
        self.rig.cloud.add_service(CLUSTER, service, 2)
        number = len(await self.journal.incidents()) + 1
        incident_id = IncidentId(f"inc-20231114-1a2b3c4d-{number}")
        now_ms = self.clock.now_ms()
        wrong = alert(service, started_at_ms=now_ms, last_at_ms=now_ms)
        first = opened(wrong)
        suspects = tuple(replace(each, service=service) for each in first.suspects)
        await self.rig.tell(replace(first, title=f"{service}: latency high", suspects=suspects), incident=incident_id)
        return incident_id

    async def plan_state(self, incident_id: IncidentId) -> PlanState:
        incident = await self.journal.incident(incident_id)
        assert incident is not None
        return incident.plans[-1].state

    async def by_api(self, incident_id: IncidentId, decision: Any) -> str:
        """Somebody decides without Slack."""
        incident = await self.journal.incident(incident_id)
        assert incident is not None
        plan = incident.plans[-1].plan
        came = Provenance(method="API key", evidence="key deploy")
        return await self.stage.decide(plan.plan_id, plan.digest, decision, OPERATOR, "", came)

    def cards_of(self, incident_id: IncidentId) -> list[Message]:
        """Every message of the channel about it, on record or not."""
        return [
            each
            for each in self.double.messages
            if not each.thread_ts and each.metadata["event_payload"] == {"about": incident_id}
        ]

    async def press(self, message: Message, user: str, action: str = APPROVE) -> None:
        """A click, and whatever it leads to at once."""
        clicked = await self.double.click(message, action, user)
        assert clicked.status == 200
        await asyncio.sleep(0.1)

    async def verdicts(self, incident_id: IncidentId) -> list[str]:
        facts = [entry.fact for entry in await self.journal.entries(incident_id)]
        return [fact.verdict.principal.name for fact in facts if isinstance(fact, f.VerdictGiven)]


class _Latest:
    """The approval stage as the door finds it under its name."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world.stage, name)


def rendered(incident: Incident) -> tuple[Sequence[Any], str]:
    return card(incident, public_url="", key=KEY, policy=ApprovalPolicy())


@contextlib.asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    made = World(folder)
    await made.begin()
    try:
        yield made
    finally:
        await ended([*made.loops, *made.plans_under_way()])
        await made.slack.close()
        await made.door.close()
        await made.double.aclose()
        made.rig.store.close()  # type: ignore[attr-defined]


@pytest.mark.timeout(240)
async def test_half_an_hour_without_slack_a_storm_of_429_and_lost_answers(tmp_path: Path) -> None:
    async with world(tmp_path) as at:
        # All is well: two incidents, each with its card and its plan.
        early, asked = await at.breaks("early"), await at.breaks("asked")
        await at.passes(15)
        assert [await at.plan_state(each) for each in (early, asked)] == [PlanState.AWAITING_APPROVAL] * 2

        # Ten minutes of refused connections. Who clicks on a card that is still there cannot be looked up.
        await at.slack.close()
        await at.press(at.cards_of(early)[0], "U0ANN")
        assert await at.verdicts(early) == []
        unasked = await at.breaks("unasked")
        await at.passes(5)
        assert (await at.by_api(early, "approve")).startswith("approved")
        await at.passes(295)
        assert await at.plan_state(early) is PlanState.SUCCEEDED, "what is approved runs without Slack"
        await at.restart_approval()
        await at.passes(300)

        # Ten minutes of 503, then ten of 500, with pages of HTML.
        await at.slack.open()
        at.double.faults.down = True
        assert (await at.by_api(asked, "reject")).startswith("rejected")
        late = await at.breaks("late")
        await at.passes(600)
        at.double.faults.down = False
        for method in (*OUTBOX, "users.info"):
            at.double.faults.order(method, Fault.SERVER_ERROR, 1000)
        night = await at.breaks("night")
        calls = len(at.double.log)
        await at.passes(600)
        assert len(at.double.log) - calls < 15, "a chat that is down is not asked all the time"
        assert await at.plan_state(unasked) is PlanState.EXPIRED, "no answer never means yes"
        assert at.cards_of(unasked) == at.cards_of(late) == at.cards_of(night) == []

        # Slack is back and limits everybody, while another incident opens.
        at.double.faults._due.clear()
        for method in OUTBOX:
            at.double.faults.order(method, Fault.RATE_LIMITED, 15)
        storm = await at.breaks("storm")
        began = len(at.double.log)
        await at.passes(120)
        told = [call for call in at.double.log[began:] if call["method"] in OUTBOX]
        for refused, following in itertools.pairwise(told):
            if refused.get("status") == 429:
                assert following["at_ms"] - refused["at_ms"] >= 2000, "nobody knocks while Slack asks to wait"
        for user in ("U0ANN", "U0ANN", "U0BOB"):
            await at.press(at.cards_of(storm)[0], user)
        await at.press(at.cards_of(night)[0], "U0BOB")
        assert (await at.verdicts(storm), await at.verdicts(night)) == (["Ann Arbor"], ["Bob Baxter"])

        # Messages are posted and updated, and no answer comes back; the stage dies in between.
        at.double.faults._due.clear()
        for method in OUTBOX[:2]:
            at.double.faults.order(method, Fault.LOST_REPLY, 4)
        lost = await at.breaks("lost")
        while not at.cards_of(lost):
            await at.passes(1)
        await at.restart_approval()
        await at.passes(200)
        for message in at.cards_of(lost):
            await at.press(message, "U0CARLA", ACKNOWLEDGE)
            for user in ("U0ANN", "U0BOB"):
                with contextlib.suppress(NotFound):  # the button is gone from the card
                    await at.press(message, user)
        assert len(await at.verdicts(lost)) == 1
        await at.passes(400)
        await tells_the_truth(at, [early, asked, unasked, late, night, storm, lost])


async def tells_the_truth(at: World, ids: Sequence[IncidentId]) -> None:
    """Every card says what the journal says, in every version what it said then; every thread tells the whole story."""
    decided = list[str]()
    for incident_id in ids:
        entries = await at.journal.entries(incident_id)
        versions = [plain(rendered(replay(entries[:n]))) for n in range(1, len(entries) + 1)]
        cards = at.cards_of(incident_id)
        for message in cards:
            said = [plain((blocks, text)) for text, blocks in [*message.earlier, (message.text, message.blocks)]]
            assert said[-1] == versions[-1], f"{incident_id}: the card does not say what is so"
            place = 0
            for version in said:
                assert version in versions[place:], f"{incident_id}: the card went back, or said what never was"
                place = versions.index(version, place)
        replies = [each for message in cards for each in at.double.workspace.replies(message)]
        told = list(dict.fromkeys(line for each in replies for line in lines(each.blocks)))
        story = narrate(entries)
        assert story is not None
        assert told == lines(story[0]), f"{incident_id}: the thread left something out, or is out of order"
        given = [entry.fact for entry in entries if isinstance(entry.fact, f.VerdictGiven)]
        assert len(given) <= 1
        if given:
            decided.append(replay(entries).alerts[0].service)
    assert decided == ["early", "asked", "night", "storm", "lost"]
    sent = Counter(str(step.params["service"]) for step, _key in at.rig.cloud.sent)
    assert sent == dict.fromkeys(("early", "night", "storm", "lost"), 1), "each action ran once, the rejected one never"
    assert at.rig.chain_holds()


def plain(shown: tuple[Sequence[Any], str]) -> Any:
    return msgspec.json.decode(msgspec.json.encode(shown))


def lines(blocks: Sequence[Any]) -> list[str]:
    return "\n".join(block["text"]["text"] for block in blocks).split("\n")
