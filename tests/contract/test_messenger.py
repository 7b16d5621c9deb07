"""What every Messenger keeps: the one in memory, Slack by bot token, and Slack by webhook, over real HTTP."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio

from sentinel.adapters.in_memory import InMemoryMessenger
from sentinel.adapters.slack import SlackMessenger
from sentinel.adapters.slack_directory import SlackDirectory
from sentinel.clock import ManualClock
from sentinel.errors import Forbidden, Invalid, NextStep, Overloaded, Unavailable
from sentinel.incidents.nouns import Card
from sentinel.ports import Messenger
from sentinel.sandbox.slack import SlackDouble, running
from sentinel.sandbox.slack.faults import Fault

TOKEN = "xoxb-sandbox-token"
KEY = "webhook-key-that-is-secret"
BLOCKS = [{"type": "section", "text": {"type": "mrkdwn", "text": "it is broken", "verbatim": True}}]
MENDED = [{"type": "section", "text": {"type": "mrkdwn", "text": "it is mended", "verbatim": True}}]


@dataclass(frozen=True)
class Chat:
    """A messenger and a way to read what people see."""

    messenger: Messenger
    seen: Callable[[], list[tuple[str, Any]]]


@dataclass(frozen=True)
class Slack:
    """The double and where it is."""

    double: SlackDouble
    url: str

    def bot(self, **changes: Any) -> SlackMessenger:
        arguments = {"channel": "#sentinel", "token": TOKEN, "api_url": f"{self.url}/api/", **changes}
        return SlackMessenger(**arguments)

    def hook(self, key: str = KEY, **changes: Any) -> SlackMessenger:
        return SlackMessenger(channel="#sentinel", webhook_url=f"{self.url}/services/T000/B000/{key}", **changes)

    def seen(self) -> list[tuple[str, Any]]:
        return [(message.text, list(message.blocks)) for message in self.double.messages]


@pytest_asyncio.fixture
async def slack() -> AsyncIterator[Slack]:
    double = SlackDouble(signing_secret="s", token=TOKEN, webhook_key=KEY)
    async with running(double) as url:
        yield Slack(double, url)


@pytest_asyncio.fixture(params=["in memory", "in memory, without update", "slack bot", "slack webhook"])
async def chat(request: pytest.FixtureRequest, slack: Slack) -> Chat:
    if request.param.startswith("slack"):
        return Chat(slack.bot() if request.param == "slack bot" else slack.hook(), slack.seen)
    memory = InMemoryMessenger(can_update=request.param == "in memory")
    return Chat(memory, lambda: [(posted.text, list(posted.blocks)) for posted in memory.posted])


async def test_a_post_is_seen_and_answers_its_place(chat: Chat) -> None:
    card = await chat.messenger.post(BLOCKS, "broken")
    assert chat.seen() == [("broken", BLOCKS)]
    assert card.channel
    assert bool(card.ts) is chat.messenger.can_update


async def test_two_posts_have_two_places(chat: Chat) -> None:
    first, second = await chat.messenger.post(BLOCKS, "a"), await chat.messenger.post(BLOCKS, "b")
    assert [text for text, _ in chat.seen()] == ["a", "b"]
    assert (first != second) is chat.messenger.can_update


async def test_an_update_replaces_the_message_or_is_refused_for_good(chat: Chat) -> None:
    card = await chat.messenger.post(BLOCKS, "broken")
    if chat.messenger.can_update:
        await chat.messenger.update(card, MENDED, "mended")
        assert chat.seen() == [("mended", MENDED)]
    else:
        with pytest.raises((Forbidden, Invalid)):
            await chat.messenger.update(card, MENDED, "mended")
        assert chat.seen() == [("broken", BLOCKS)]


async def test_an_update_of_nothing_is_refused_for_good(chat: Chat) -> None:
    card = await chat.messenger.post(BLOCKS, "broken")
    for unknown in (Card(channel=card.channel, ts="1.000001"), Card(channel=card.channel, ts="")):
        with pytest.raises((Forbidden, Invalid)):
            await chat.messenger.update(unknown, MENDED, "mended")
    assert chat.seen() == [("broken", BLOCKS)]


async def test_a_reply_stands_below_its_message_or_is_refused_for_good(chat: Chat) -> None:
    card = await chat.messenger.post(BLOCKS, "broken")
    if chat.messenger.can_update:
        below = await chat.messenger.reply(card, MENDED, "mended")
        assert (below.channel, below.ts != card.ts) == (card.channel, True)
        assert chat.seen()[0] == ("broken", BLOCKS)
    else:
        with pytest.raises((Forbidden, Invalid)):
            await chat.messenger.reply(card, MENDED, "mended")
        assert chat.seen() == [("broken", BLOCKS)]


async def test_what_was_posted_about_something_is_found_again(chat: Chat) -> None:
    before = [await chat.messenger.post(BLOCKS, "a", about="inc-1"), await chat.messenger.post(BLOCKS, "b", "inc-2")]
    await chat.messenger.post(BLOCKS, "c")
    found = await chat.messenger.find(before[0].channel, "inc-1", 0)
    assert list(found) == (before[:1] if chat.messenger.can_update else [])


# From here on: what only a network can do.


async def test_what_was_posted_before_the_time_asked_for_is_not_found(slack: Slack) -> None:
    messenger = slack.bot()
    card = await messenger.post(BLOCKS, "a", about="inc-1")
    at_ms = round(float(card.ts) * 1000)
    assert await messenger.find(card.channel, "inc-1", at_ms - 1000) == (card,)
    assert await messenger.find(card.channel, "inc-1", at_ms + 1000) == ()
    with pytest.raises(Forbidden, match="channel_not_found"):
        await messenger.find("#sentinel", "inc-1", 0)


async def test_a_reply_is_in_the_thread_and_not_in_the_channel(slack: Slack) -> None:
    messenger = slack.bot()
    card = await messenger.post(BLOCKS, "broken")
    below = await messenger.reply(card, MENDED, "<!channel>")
    (first, second) = slack.double.messages
    assert (first.thread_ts, second.thread_ts, second.ts) == (None, card.ts, below.ts)
    sent = [call for call in slack.double.log if call["method"] == "chat.postMessage"][-1]["arguments"]
    assert (sent["parse"], sent["link_names"]) == ("none", False)
    with pytest.raises(Forbidden, match="thread_not_found"):
        await messenger.reply(Card(channel=card.channel, ts="1.000001"), MENDED, "x")


async def test_more_than_slack_takes_is_told_to_wait() -> None:
    double = SlackDouble(signing_secret="s", token=TOKEN, seconds_a_message=1.0)
    async with running(double) as url:
        messenger = SlackMessenger(channel="#sentinel", token=TOKEN, api_url=f"{url}/api/")
        posts = [messenger.post(BLOCKS, str(number)) for number in range(10)]
        answers = await asyncio.gather(*posts, return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, Overloaded)]
        assert refused[0].retry_after_s == 1
        assert 1 <= len(double.messages) <= 4


async def test_in_an_outage_every_call_is_unavailable_and_nothing_is_done(slack: Slack) -> None:
    messenger = slack.bot()
    card = await messenger.post(BLOCKS, "broken")
    slack.double.faults.down = True
    with pytest.raises(Unavailable):
        await messenger.post(BLOCKS, "x")
    with pytest.raises(Unavailable):
        await messenger.update(card, MENDED, "mended")
    slack.double.faults.down = False
    assert slack.seen() == [("broken", BLOCKS)]


def groups(slack: Slack, clock: ManualClock, **changes: Any) -> SlackDirectory:
    return SlackDirectory(**{"token": TOKEN, "api_url": f"{slack.url}/api/", "clock": clock, **changes})


async def test_members_of_a_group_are_read_live_and_kept_for_a_minute(slack: Slack) -> None:
    clock = ManualClock()
    directory = groups(slack, clock)
    assert await directory.members("S0OPS") == {"slack:T0ACME/U0ANN", "slack:T0ACME/U0BOB"}
    slack.double.workspace.groups["S0OPS"] = ["U0BOB"]
    clock.advance(59.9)
    assert len(await directory.members("S0OPS")) == 2
    clock.advance(0.1)
    assert await directory.members("S0OPS") == {"slack:T0ACME/U0BOB"}
    assert await directory.members("S0EMPTY") == frozenset()
    asked = [call["method"] for call in slack.double.log]
    assert asked.count("usergroups.users.list") == 3
    assert asked.count("auth.test") == 1


@pytest.mark.parametrize("fault", [Fault.RATE_LIMITED, Fault.SERVER_ERROR, Fault.LOST_REPLY, Fault.HANG])
async def test_nobody_is_a_member_while_slack_does_not_say_so(slack: Slack, fault: Fault) -> None:
    clock = ManualClock()
    directory = groups(slack, clock, team_id="T0ACME", timeout_s=0.3)
    await directory.members("S0OPS")
    clock.advance(60)
    slack.double.faults.order("usergroups.users.list", fault, 1)
    with pytest.raises((Unavailable, Overloaded)):
        await directory.members("S0OPS")
    assert len(await directory.members("S0OPS")) == 2


async def test_a_group_that_is_not_there_has_no_members_to_speak_of(slack: Slack) -> None:
    with pytest.raises(Forbidden, match="no_such_subteam"):
        await groups(slack, ManualClock()).members("S0NONE")


@pytest.fixture(params=["bot", "webhook"])
def faulty(request: pytest.FixtureRequest, slack: Slack) -> tuple[SlackMessenger, str]:
    """A messenger with little patience, and the double's name for its method of posting."""
    if request.param == "bot":
        return slack.bot(timeout_s=0.3), "chat.postMessage"
    return slack.hook(timeout_s=0.3), "webhook"


async def test_rate_limited_says_when_to_come_again(slack: Slack, faulty: tuple[SlackMessenger, str]) -> None:
    messenger, method = faulty
    slack.double.faults.order(method, Fault.RATE_LIMITED, 1)
    with pytest.raises(Overloaded) as refused:
        await messenger.post(BLOCKS, "x")
    assert refused.value.retry_after_s == 2
    assert refused.value.next_step is NextStep.RETRY
    assert slack.seen() == []
    await messenger.post(BLOCKS, "x")
    assert slack.seen() == [("x", BLOCKS)]


@pytest.mark.parametrize(
    ("fault", "arrived"),
    [(Fault.SERVER_ERROR, 0), (Fault.HANG, 0), (Fault.LOST_REPLY, 1)],
    ids=str,
)
async def test_what_may_be_repeated_is_tried_once(
    slack: Slack, faulty: tuple[SlackMessenger, str], fault: Fault, arrived: int
) -> None:
    messenger, method = faulty
    slack.double.faults.order(method, fault, 1)
    with pytest.raises(Unavailable):
        await messenger.post(BLOCKS, "x")
    assert len(slack.seen()) == arrived
    assert [call["method"] for call in slack.double.log] == [method]


async def test_nobody_there(slack: Slack) -> None:
    closed = "http://127.0.0.1:9"
    for messenger in (
        slack.bot(api_url=f"{closed}/api/"),
        SlackMessenger(channel="#sentinel", webhook_url=f"{closed}/services/T000/B000/{KEY}"),
    ):
        with pytest.raises(Unavailable, match="cannot be reached"):
            await messenger.post(BLOCKS, "x")


@pytest.mark.parametrize("fault", [Fault.RATE_LIMITED, Fault.SERVER_ERROR, Fault.HANG])
async def test_a_failed_update_leaves_the_message(slack: Slack, fault: Fault) -> None:
    messenger = slack.bot(timeout_s=0.3)
    card = await messenger.post(BLOCKS, "broken")
    slack.double.faults.order("chat.update", fault, 1)
    with pytest.raises((Unavailable, Overloaded)):
        await messenger.update(card, MENDED, "mended")
    assert slack.seen() == [("broken", BLOCKS)]


async def test_what_slack_will_never_take_is_invalid_and_says_where(slack: Slack) -> None:
    too_long = [{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3001}}]
    with pytest.raises(Invalid, match=r"invalid_blocks.*no more than 3000 characters.*/blocks/0/text/text"):
        await slack.bot().post(too_long, "x")
    with pytest.raises(Invalid, match="invalid_blocks"):
        await slack.hook().post(too_long, "x")
    with pytest.raises(Invalid, match="no_text"):
        await slack.hook().post([], "")
    too_much = [{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3000}}] * 5
    with pytest.raises(Invalid, match="msg_blocks_too_long"):
        await slack.bot().post(too_much, "x")
    assert slack.seen() == []


async def test_refusals_of_identity_are_forbidden(slack: Slack) -> None:
    with pytest.raises(Forbidden, match="invalid_auth"):
        await slack.bot(token="xoxb-other").post(BLOCKS, "x")
    with pytest.raises(Forbidden, match="channel_not_found"):
        await slack.bot(channel="#nowhere").post(BLOCKS, "x")
    with pytest.raises(Forbidden, match="no_service"):
        await slack.hook(key="other").post(BLOCKS, "x")
    assert slack.seen() == []


async def test_check_names_the_workspace(slack: Slack) -> None:
    assert await slack.bot().check() == "Slack: sentinel in workspace Acme (T0ACME)"
    assert "webhook" in await slack.hook().check()
    with pytest.raises(Forbidden, match="invalid_auth"):
        await slack.bot(token="xoxb-other").check()


def test_neither_token_nor_webhook_is_an_error() -> None:
    with pytest.raises(Invalid, match="bot_token or a webhook_url"):
        SlackMessenger(channel="#sentinel")


async def test_nothing_is_linked_mentioned_or_unfurled(slack: Slack) -> None:
    await slack.bot().post(BLOCKS, "x")
    await slack.hook().post(BLOCKS, "x")
    for call in slack.double.log:
        sent = call["arguments"]
        assert (sent["parse"], sent["link_names"]) == ("none", False)
        assert (sent["unfurl_links"], sent["unfurl_media"]) == (False, False)


async def test_secrets_are_in_no_message_no_repr_and_no_log(slack: Slack, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    said = []
    for messenger, method in ((slack.bot(timeout_s=0.3), "chat.postMessage"), (slack.hook(timeout_s=0.3), "webhook")):
        said.append(repr(messenger))
        await messenger.post(BLOCKS, "x")
        for fault in Fault:
            slack.double.faults.order(method, fault, 1)
            with pytest.raises((Unavailable, Overloaded)) as failed:
                await messenger.post(BLOCKS, "x")
            said.append(repr(failed.value))
            assert failed.value.__cause__ is None
            assert failed.value.__context__ is None
    text = "\n".join([*said, caplog.text, repr(slack.double.log)])
    assert TOKEN not in text
    assert KEY not in text


# The double itself: what it must do for the tests above to mean something.


async def test_the_double_keeps_edits_history_and_growing_times(slack: Slack) -> None:
    messenger = slack.bot()
    cards = [await messenger.post(BLOCKS, f"{n}") for n in range(20)]
    times = [card.ts for card in cards]
    assert sorted(set(times), key=float) == times
    await messenger.update(cards[3], MENDED, "mended")
    async with httpx.AsyncClient(trust_env=False, headers={"authorization": f"Bearer {TOKEN}"}) as client:
        parameters = {"channel": cards[0].channel, "limit": "17"}
        history = (await client.get(f"{slack.url}/api/conversations.history", params=parameters)).json()
        assert [message["text"] for message in history["messages"]][:2] == ["19", "18"]
        assert history["messages"][16]["text"] == "mended"
        assert history["messages"][16]["edited"]["user"] == "U0SENTINEL"
        assert slack.double.messages[3].earlier == [("3", BLOCKS)]


async def test_the_double_speaks_forms_and_refuses_in_slacks_way(slack: Slack) -> None:
    async with httpx.AsyncClient(base_url=f"{slack.url}/api/", trust_env=False) as client:

        async def call(method: str, **form: str) -> dict[str, Any]:
            response = await client.post(method, data=form)
            assert response.status_code == 200
            answer: dict[str, Any] = response.json()
            return answer

        assert await call("auth.test") == {"ok": False, "error": "not_authed"}
        assert (await call("auth.test", token=TOKEN))["ok"] is True
        assert (await call("chat.scheduleMessage", token=TOKEN))["error"] == "unknown_method"
        posted = await call("chat.postMessage", token=TOKEN, channel="sentinel", text="hello", blocks="[]")
        assert posted["ok"] is True
        assert (await call("chat.postMessage", token=TOKEN, channel="sentinel", blocks="{"))[
            "error"
        ] == "invalid_blocks"
        assert (await call("chat.update", token=TOKEN, channel="sentinel", ts="9.9"))["error"] == "message_not_found"
        assert (await call("users.info", token=TOKEN, user="U0ANN"))["user"]["real_name"] == "Ann Arbor"
        assert (await call("users.info", token=TOKEN, user="U0NOBODY"))["error"] == "user_not_found"
        long = await call("chat.postMessage", token=TOKEN, channel="sentinel", text="x" * 40_001)
        assert long["error"] == "msg_too_long"
    assert TOKEN not in repr(slack.double.log)


async def test_a_message_of_the_webhook_cannot_be_updated(slack: Slack) -> None:
    await slack.hook().post(BLOCKS, "x")
    message = slack.double.messages[0]
    with pytest.raises(Forbidden, match="cant_update_message"):
        await slack.bot().update(Card(channel=message.channel, ts=message.ts), MENDED, "y")


async def test_the_control_api_and_the_page(slack: Slack) -> None:
    await slack.bot().post(BLOCKS, "x")
    async with httpx.AsyncClient(base_url=slack.url, trust_env=False) as client:
        world = (await client.get("/_control/messages")).json()
        assert [message["text"] for message in world["messages"]] == ["x"]
        assert {"id", "real_name", "team_id"} <= world["users"][0].keys()
        assert (await client.get(f"/_control/messages?since={world['version']}")).status_code == 204
        assert (await client.get("/_control/log")).json()[0]["method"] == "chat.postMessage"
        ordered = await client.post("/_control/fault", json={"method": "auth.test", "kind": "500", "times": 1})
        assert ordered.json() == {"ok": True}
        with pytest.raises(Unavailable):
            await slack.bot().check()
        assert (await client.post("/_control/fault", json={"method": "auth.test", "kind": "fire"})).status_code == 400
        gone = {"channel": "C0SENTINEL", "ts": "1.000001", "action_id": "a", "user": "U0ANN"}
        assert (await client.post("/_control/click", json=gone)).status_code == 404
        for path, kind in {"/": "text/html", "/page.js": "text/javascript", "/page.css": "text/css"}.items():
            answer = await client.get(path)
            assert answer.headers["content-type"].startswith(kind)
            assert "default-src 'self'" in answer.headers["content-security-policy"]


async def test_an_event_that_is_not_taken_comes_again_and_a_click_does_not() -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("x-slack-retry-num", "0"))
        return httpx.Response(503 if len(seen) < 3 else 200)

    double = SlackDouble(
        signing_secret="s", token=TOKEN, interactivity_url="http://door/", transport=httpx.MockTransport(answer)
    )
    assert (await double.open_home("U0ANN")).status == 200
    assert seen == ["0", "1", "2"]
    seen.clear()
    button = {"type": "button", "action_id": "a", "text": {"type": "plain_text", "text": "A"}, "value": "v"}
    message = double.workspace.post("C0SENTINEL", "", [{"type": "actions", "elements": [button]}])
    assert (await double.click(message, "a", "U0ANN")).status == 503
    assert seen == ["0"]
    await double.aclose()
