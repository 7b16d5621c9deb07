"""The Slack door as an ASGI application, with clicks of the double and with forged ones."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote, urlencode

import httpx
import msgspec
import pytest
import pytest_asyncio
from starlette.applications import Starlette
from structlog.testing import capture_logs

from sentinel.adapters import slack_card
from sentinel.adapters.slack_signature import verify
from sentinel.clock import ManualClock
from sentinel.errors import Conflict, SentinelError, Unavailable
from sentinel.incidents.nouns import Principal
from sentinel.sandbox.slack import SlackDouble, running
from sentinel.sandbox.slack.clicks import form_body, payload, signed_headers
from sentinel.sandbox.slack.faults import Fault
from sentinel.sandbox.slack.workspace import Message
from serve_apps import slack as door
from serve_apps.slack import MAX_BODY, slack_routes

SECRET = "signing-secret-for-tests"
TOKEN = "xoxb-token-for-tests"
PLAN, DIGEST = "inc-20231114-1a2b3c4d-1.p1", "3f9ac1d2" * 8
VALUE = msgspec.json.encode({"plan": PLAN, "digest": DIGEST}).decode()


@dataclass
class Decisions:
    """Answers as the approval stage does: the first verdict on a plan counts."""

    calls: list[tuple[str, str, str, Principal, str]] = field(default_factory=list)
    fails_with: Exception | None = None
    hold: asyncio.Event | None = None

    async def decide(
        self,
        plan_id: str,
        digest: str,
        decision: Literal["approve", "reject"],
        principal: Principal,
        reason: str,
        evidence: str,
    ) -> str:
        if self.hold:
            await self.hold.wait()
        self.calls.append((plan_id, digest, decision, principal, evidence))
        if self.fails_with:
            raise self.fails_with
        first = self.calls[0]
        said = f"{'approved' if first[2] == 'approve' else 'rejected'} by {first[3].name}"
        return said if len(self.calls) == 1 else f"already decided: {said}"


@dataclass
class Rig:
    """The door, the double that clicks on it, and what came of it."""

    double: SlackDouble
    decisions: Decisions
    clock: ManualClock
    http: httpx.AsyncClient
    message: Message

    async def send(self, body: bytes, headers: dict[str, str]) -> httpx.Response:
        return await self.http.post("/slack/events", content=body, headers=headers)

    async def send_signed(self, body: bytes, content_type: str = "", skew_s: int = 0) -> httpx.Response:
        return await self.send(body, signed_headers(SECRET, body, self.clock.now_ms() + skew_s * 1000, content_type))

    def body(self, **changes: Any) -> dict[str, Any]:
        """The payload of Ann's press on Approve, with changes at its top."""
        pressed = self.message.blocks[0]["elements"][0]
        ann = self.double.workspace.users["U0ANN"]
        return {**payload(self.message, pressed, ann, "sentinel", self.double.workspace.next_ts()), **changes}

    async def notes(self, count: int = 1) -> list[tuple[str, str]]:
        """Whom the door told what, once there are `count` notes."""
        await until(lambda: len(self.double.workspace.whispers) >= count)
        return [(note.user, note.text) for note in self.double.workspace.whispers]


async def until(happened: Callable[[], bool]) -> None:
    """Wait for what a task of the door does after its answer."""
    async with asyncio.timeout(5):
        while not happened():  # noqa: ASYNC110 - nothing signals what other people come to see
            await asyncio.sleep(0.005)


def buttons(value: str = VALUE) -> list[dict[str, Any]]:
    texts = {slack_card.APPROVE: "Approve", slack_card.REJECT: "Reject"}
    elements = [
        {"type": "button", "action_id": action, "text": {"type": "plain_text", "text": text}, "value": value}
        for action, text in texts.items()
    ]
    return [{"type": "actions", "elements": elements}]


def check(headers: Mapping[str, str], body: bytes, now_ms: int) -> None:
    verify(headers, body, (SECRET,), now_ms)


@contextlib.asynccontextmanager
async def standing(*, with_bot: bool) -> AsyncIterator[Rig]:
    """The door and the double; without a bot token Slack's Web API is not served, for nobody calls it."""
    clock, decisions, app = ManualClock(), Decisions(), Starlette()
    transport = httpx.ASGITransport(app)
    double = SlackDouble(
        signing_secret=SECRET,
        token=TOKEN,
        interactivity_url="http://sentinel/slack/events",
        clock=clock,
        transport=transport,
    )
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://sentinel"))
        if with_bot:
            url = await stack.enter_async_context(running(double))
        else:
            url = "http://127.0.0.1:9"
            stack.push_async_callback(double.aclose)
        app.router.routes += slack_routes(
            verify=check,
            decisions=decisions,
            clock=clock,
            api_url=f"{url}/api/",
            bot_token=TOKEN if with_bot else "",
            team_id="T0ACME",
        )
        yield Rig(double, decisions, clock, http, double.workspace.post("C0SENTINEL", "", buttons()))


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    async with standing(with_bot=True) as made:
        yield made


@pytest_asyncio.fixture
async def silent() -> AsyncIterator[Rig]:
    async with standing(with_bot=False) as made:
        yield made


def test_card_and_door_name_the_same_buttons() -> None:
    assert (door.APPROVE, door.REJECT) == (slack_card.APPROVE, slack_card.REJECT)


async def test_a_click_becomes_a_verdict_and_the_clicker_is_told(rig: Rig) -> None:
    clicked = await rig.double.click(rig.message, slack_card.APPROVE, "U0ANN")
    assert (clicked.status, clicked.answer) == (200, "")
    assert await rig.notes() == [("U0ANN", "approved by Ann Arbor")]
    plan_id, digest, decision, principal, evidence = rig.decisions.calls[0]
    assert (plan_id, digest, decision) == (PLAN, DIGEST, "approve")
    assert principal == Principal(id="slack:T0ACME/U0ANN", name="Ann Arbor", via="slack")
    seconds = rig.clock.now_ms() // 1000
    assert evidence == (
        f"Slack v0 signature of timestamp {seconds}, team T0ACME, user U0ANN, "
        f"channel C0SENTINEL, message {rig.message.ts}"
    )


async def test_the_answer_does_not_wait_for_the_verdict(rig: Rig) -> None:
    rig.decisions.hold = asyncio.Event()
    clicked = await rig.double.click(rig.message, slack_card.REJECT, "U0BOB")
    assert clicked.status == 200
    assert rig.decisions.calls == []
    rig.decisions.hold.set()
    assert await rig.notes() == [("U0BOB", "rejected by Bob Baxter")]


async def test_a_second_click_and_a_replay_are_told_who_decided(rig: Rig) -> None:
    body = form_body(rig.body())
    assert (await rig.send_signed(body)).status_code == 200
    await rig.notes(1)
    assert (await rig.send_signed(body)).status_code == 200
    await rig.notes(2)
    await rig.double.click(rig.message, slack_card.REJECT, "U0BOB")
    told = await rig.notes(3)
    assert told[1:] == [
        ("U0ANN", "already decided: approved by Ann Arbor"),
        ("U0BOB", "already decided: approved by Ann Arbor"),
    ]


@pytest.mark.parametrize("error", [Conflict("the plan changed, review it again"), Unavailable("the journal is down")])
async def test_a_refusal_is_told_in_its_own_words(rig: Rig, error: SentinelError) -> None:
    rig.decisions.fails_with = error
    assert (await rig.double.click(rig.message, slack_card.APPROVE, "U0ANN")).status == 200
    assert await rig.notes() == [("U0ANN", f"not decided: {error}")]


async def test_our_own_failure_is_logged_and_told_without_its_text(rig: Rig) -> None:
    rig.decisions.fails_with = RuntimeError("internal detail")
    with capture_logs() as logs:
        assert (await rig.double.click(rig.message, slack_card.APPROVE, "U0ANN")).status == 200
        [(user, line)] = await rig.notes()
    assert user == "U0ANN"
    assert "may not have counted" in line
    assert "internal detail" not in line
    assert [entry["plan_id"] for entry in logs if entry["event"] == "slack click failed"] == [PLAN]


async def test_a_note_can_neither_mention_nor_link(rig: Rig) -> None:
    rig.decisions.fails_with = Conflict("<!channel> & <https://evil.example|x>")
    await rig.double.click(rig.message, slack_card.APPROVE, "U0ANN")
    [(_, text)] = await rig.notes()
    assert text == "not decided: &lt;!channel&gt; &amp; &lt;https://evil.example|x&gt;"
    note = rig.double.workspace.whispers[0]
    assert note.blocks[0]["text"]["type"] == "plain_text"
    sent = next(call for call in rig.double.log if call["method"] == "chat.postEphemeral")["arguments"]
    assert (sent["parse"], sent["link_names"]) == ("none", False)


@pytest.mark.parametrize("user", ["U0GUEST", "U0EVE", "U0SENTINEL"], ids=["guest", "another team", "bot"])
async def test_who_is_no_full_member_decides_nothing(rig: Rig, user: str) -> None:
    assert (await rig.double.click(rig.message, slack_card.APPROVE, user)).status == 200
    [(told, line)] = await rig.notes()
    assert told == user
    assert line.startswith("not decided: only")
    assert rig.decisions.calls == []


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"team": {"id": "T0OTHER"}}, "not decided: this is not the Slack workspace that decides here"),
        (
            {"team": {"id": "T0OTHER"}, "user": {"id": "U0EVE", "name": "eve", "team_id": "T0OTHER"}},
            "not decided: this is not the Slack workspace that decides here",
        ),
        (
            {"user": {"id": "U0ANN", "name": "ann", "team_id": "T0OTHER"}},
            "not decided: only members of this workspace may decide",
        ),
        ({"user": {"id": "U0ANN", "name": "ann", "is_bot": True}}, "not decided: a bot may not decide"),
    ],
    ids=["another workspace", "and its user", "a foreign user", "says it is a bot"],
)
async def test_another_team_or_a_bot_is_refused_before_slack_is_asked(
    rig: Rig, changes: dict[str, Any], line: str
) -> None:
    assert (await rig.send_signed(form_body(rig.body(**changes)))).status_code == 200
    assert [text for _, text in await rig.notes()] == [line]
    assert rig.decisions.calls == []
    assert [call["method"] for call in rig.double.log] == ["chat.postEphemeral"]


async def test_whom_slack_does_not_know_decides_nothing(rig: Rig) -> None:
    rig.double.faults.order("users.info", Fault.SERVER_ERROR, 1)
    await rig.double.click(rig.message, slack_card.APPROVE, "U0ANN")
    [(_, line)] = await rig.notes()
    assert line.startswith("not decided: Slack did not tell who you are")
    assert rig.decisions.calls == []


async def test_a_note_that_cannot_be_delivered_changes_nothing(rig: Rig) -> None:
    rig.double.faults.order("chat.postEphemeral", Fault.SERVER_ERROR, 1)
    with capture_logs() as logs:
        await rig.double.click(rig.message, slack_card.APPROVE, "U0ANN")
        await until(lambda: any(entry["event"] == "clicker not told" for entry in logs))
    assert len(rig.decisions.calls) == 1


@pytest.mark.parametrize("skew_s", [-300, -299, 0, 30])
async def test_within_the_window(rig: Rig, skew_s: int) -> None:
    assert (await rig.double.click(rig.message, slack_card.APPROVE, "U0ANN", skew_s=skew_s)).status == 200
    await rig.notes()


@pytest.mark.parametrize("skew_s", [-301, -86_400, 31, 300])
async def test_stale_and_future_clicks_are_refused(silent: Rig, skew_s: int) -> None:
    assert (await silent.double.click(silent.message, slack_card.APPROVE, "U0ANN", skew_s=skew_s)).status == 401


async def test_forgeries_are_refused_in_one_line_and_leave_no_trace_of_the_body(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    body = form_body(rig.body())
    good = signed_headers(SECRET, body, rig.clock.now_ms())
    signature = good["x-slack-signature"]
    forged = [
        (body + b"&a=1", good),
        (body.replace(b"approve", b"rejects", 1), good),
        (body, {**good, "x-slack-signature": signature.upper()}),
        (body, {**good, "x-slack-signature": "v0=" + "0" * 64}),
        (body, {**good, "x-slack-request-timestamp": "now"}),
        (body, {name: value for name, value in good.items() if name != "x-slack-signature"}),
        (body, signed_headers("another secret", body, rig.clock.now_ms())),
        (b"", {}),
        (b"\xff" * 100, {}),
    ]
    with capture_logs() as logs:
        for forged_body, headers in forged:
            answer = await rig.send(forged_body, headers)
            assert answer.status_code == 401
            assert set(answer.json()) >= {"error"}
            assert "\n" not in answer.text
    assert rig.decisions.calls == []
    written = repr(logs) + caplog.text
    assert len([entry for entry in logs if entry["event"] == "slack request refused"]) == len(forged)
    for secret in (SECRET, TOKEN, signature[3:], DIGEST, "verification-token-of-old", quote(DIGEST)):
        assert secret not in written


async def test_a_header_that_came_twice_is_refused(rig: Rig) -> None:
    body = form_body(rig.body())
    headers = [*signed_headers(SECRET, body, rig.clock.now_ms()).items()]
    twice = [*headers, ("x-slack-signature", "v0=" + "0" * 64)]
    assert (await rig.http.post("/slack/events", content=body, headers=twice)).status_code == 401
    assert (await rig.http.post("/slack/events", content=body, headers=headers)).status_code == 200
    await rig.notes()


FORM = "application/x-www-form-urlencoded"


def _value(value: object) -> dict[str, Any]:
    action = {"type": "button", "action_id": slack_card.APPROVE, "value": value, "action_ts": "1.1"}
    return {"actions": [action]}


MALFORMED_PAYLOADS: dict[str, dict[str, Any]] = {
    "another type": {"type": "view_submission"},
    "no type": {"type": None},
    "no user": {"user": None},
    "user without id": {"user": {"name": "x"}},
    "user id of another form": {"user": {"id": "u/../x"}},
    "team id of another form": {"team": {"id": "T1/../T2"}},
    "no channel": {"channel": None},
    "no container": {"container": {}},
    "a container that is a list": {"container": []},
    "a ts that is no ts": {"container": {"message_ts": "yesterday"}},
    "no actions": {"actions": []},
    "two actions": {"actions": [_value(VALUE)["actions"][0]] * 2},
    "an unknown action": {"actions": [{"type": "button", "action_id": "launch", "value": VALUE}]},
    "no value": {"actions": [{"type": "button", "action_id": slack_card.APPROVE}]},
    "an empty value": _value(""),
    "a value that is a number": _value(3),
    "a value that is no JSON": _value("{"),
    "a value of a list": _value("[]"),
    "a value with more": _value(msgspec.json.encode({"plan": PLAN, "digest": DIGEST, "x": 1}).decode()),
    "a value without digest": _value(msgspec.json.encode({"plan": PLAN}).decode()),
    "an empty digest": _value(msgspec.json.encode({"plan": PLAN, "digest": ""}).decode()),
    "a plan that is none": _value(msgspec.json.encode({"plan": "x", "digest": DIGEST}).decode()),
    "a plan too long": _value(msgspec.json.encode({"plan": f"{'i' * 300}.p1", "digest": DIGEST}).decode()),
    "a value nested deeply": _value("[" * 100_000),
}


@pytest.mark.parametrize("case", MALFORMED_PAYLOADS)
async def test_a_malformed_payload_is_a_400(silent: Rig, case: str) -> None:
    answer = await silent.send_signed(form_body(silent.body(**MALFORMED_PAYLOADS[case])))
    assert answer.status_code == 400
    assert silent.decisions.calls == []
    assert silent.double.workspace.whispers == []
    assert "verification-token-of-old" not in answer.text


MALFORMED_BODIES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", FORM),
    "empty JSON": (b"", "application/json"),
    "not UTF-8": (b"payload=\xff\xfe", FORM),
    "not UTF-8 after escapes": (b"payload=%ff%fe", FORM),
    "JSON not UTF-8": (b'{"type":"url_verification","challenge":"x","y":"\xff"}', "application/json"),
    "no payload": (b"a=1", FORM),
    "empty payload": (b"payload=", FORM),
    "payload twice": (b"payload=%7B%7D&payload=%7B%7D", FORM),
    "payload no JSON": (b"payload=%7B", FORM),
    "payload a list": (b"payload=%5B%5D", FORM),
    "payload NaN": (b"payload=NaN", FORM),
    "payload nested deeply": (b"payload=" + b"%5B" * 100_000, FORM),
    "payload nested deeply inside": (b'payload={"x":' + b"[" * 100_000, FORM),
    "a lone surrogate": (b'payload={"type":"\\ud800"}', FORM),
    "many fields": (b"&".join(b"a=1" for _ in range(1000)), FORM),
    "semicolons": (b"payload;payload", FORM),
    "form sent as JSON": (b"payload=%7B%7D", "application/json"),
    "JSON sent as a form": (b'{"type":"url_verification","challenge":"x"}', FORM),
    "an event": (b'{"type":"event_callback","event":{}}', "application/json"),
    "a challenge without challenge": (b'{"type":"url_verification"}', "application/json"),
    "a challenge that is an object": (b'{"type":"url_verification","challenge":{}}', "application/json"),
    "a slash command": (b"command=%2Fsentinel&text=approve&user_id=U0ANN", FORM),
    "text": (b"hello", "text/plain"),
    "multipart": (b"--x", "multipart/form-data; boundary=x"),
}


@pytest.mark.parametrize("case", MALFORMED_BODIES)
async def test_a_malformed_body_is_a_400(silent: Rig, case: str) -> None:
    body, content_type = MALFORMED_BODIES[case]
    answer = await silent.send_signed(body, content_type)
    assert answer.status_code == 400
    assert "\n" not in answer.text
    assert silent.decisions.calls == []


async def test_slacks_own_checks_are_answered(silent: Rig) -> None:
    challenge = (
        b'{"token":"x","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P","type":"url_verification"}'
    )
    answer = await silent.send_signed(challenge, "application/json")
    assert (answer.status_code, answer.json()) == (200, {"challenge": msgspec.json.decode(challenge)["challenge"]})
    assert (await silent.send_signed(urlencode({"ssl_check": "1", "token": "x"}).encode())).status_code == 200
    assert (await silent.send(challenge, {"content-type": "application/json"})).status_code == 401


async def test_a_body_too_large_is_a_413_and_is_not_read_to_its_end(silent: Rig) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while taken < 64:
            taken += 1
            yield b"x" * (MAX_BODY // 4)

    answer = await silent.http.post("/slack/events", content=b"x" * (MAX_BODY + 1))
    assert answer.status_code == 413
    answer = await silent.http.post("/slack/events", content=endless())
    assert answer.status_code == 413
    assert taken < 64


async def test_other_methods_are_refused(silent: Rig) -> None:
    assert (await silent.http.get("/slack/events")).status_code == 405


async def test_with_a_webhook_only_a_click_still_counts(silent: Rig) -> None:
    assert (await silent.double.click(silent.message, slack_card.APPROVE, "U0ANN")).status == 200
    await until(lambda: bool(silent.decisions.calls))
    assert silent.decisions.calls[0][3] == Principal(id="slack:T0ACME/U0ANN", name="ann", via="slack")


async def test_with_a_webhook_only_another_team_still_does_not(silent: Rig) -> None:
    with capture_logs() as logs:
        assert (await silent.double.click(silent.message, slack_card.APPROVE, "U0EVE")).status == 200
        await until(lambda: any(entry["event"] == "slack click" for entry in logs))
    assert silent.decisions.calls == []


async def test_fifty_clicks_at_once_are_all_answered_in_time(rig: Rig) -> None:
    users = ["U0ANN", "U0BOB", "U0CARLA"]
    clicks = [rig.double.click(rig.message, slack_card.APPROVE, users[n % 3]) for n in range(50)]
    answered = await asyncio.gather(*clicks)
    assert {clicked.status for clicked in answered} == {200}
    told = await rig.notes(50)
    assert sum(text.startswith("already decided") for _, text in told) == 49
