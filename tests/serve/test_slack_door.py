"""The Slack door as an ASGI application: clicks of the double, and what becomes of them."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from sentinel.adapters import slack_card
from sentinel.errors import Conflict, OutcomeUnknown, SentinelError, Unavailable
from sentinel.incidents.nouns import Principal
from sentinel.sandbox.slack.clicks import form_body
from sentinel.sandbox.slack.faults import Fault
from serve_apps import slack as door
from tests.serve.slack_rig import DIGEST, PLAN, Rig, rig, silent, until  # noqa: F401 the fixtures of this module


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
    clicked = await rig.double.click(rig.message, slack_card.APPROVE, "U0BOB")
    assert clicked.status == 200
    assert rig.decisions.calls == []
    rig.decisions.hold.set()
    assert await rig.notes() == [("U0BOB", "approved by Bob Baxter")]


async def test_a_second_click_and_a_replay_are_told_who_decided(rig: Rig) -> None:
    body = form_body(rig.body())
    assert (await rig.send_signed(body)).status_code == 200
    await rig.notes(1)
    assert (await rig.send_signed(body)).status_code == 200
    await rig.notes(2)
    await rig.double.click(rig.message, slack_card.APPROVE, "U0BOB")
    told = await rig.notes(3)
    assert told[1:] == [
        ("U0ANN", "already decided: approved by Ann Arbor"),
        ("U0BOB", "already decided: approved by Ann Arbor"),
    ]


async def test_a_refusal_is_told_in_its_own_words(rig: Rig) -> None:
    rig.decisions.fails_with = Conflict("the plan changed, review it again")
    assert (await rig.double.click(rig.message, slack_card.APPROVE, "U0ANN")).status == 200
    assert await rig.notes() == [("U0ANN", "not decided: the plan changed, review it again")]


@pytest.mark.parametrize("error", [Unavailable("approval restarts"), OutcomeUnknown("the journal is down")])
async def test_a_click_outlives_a_restart_behind_the_door(rig: Rig, error: SentinelError) -> None:
    rig.decisions.passing = [error] * 3
    assert (await rig.double.click(rig.message, slack_card.APPROVE, "U0ANN")).status == 200
    (note,) = await rig.notes()
    assert note[1].startswith("approved by")
    assert rig.decisions.passing == []


async def test_a_click_that_nobody_takes_is_told(rig: Rig) -> None:
    rig.decisions.fails_with = Unavailable("the journal is down")
    await rig.double.click(rig.message, slack_card.APPROVE, "U0ANN")
    assert await rig.notes() == [("U0ANN", "not decided, click again: the journal is down")]


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
