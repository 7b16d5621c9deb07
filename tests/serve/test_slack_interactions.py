"""The Slack door beyond Approve: modals, the slash command, the app's own page."""

from typing import Any

import msgspec
import pytest

from sentinel.adapters import slack_card
from sentinel.errors import NotFound
from sentinel.incidents import facts as f
from sentinel.incidents.nouns import Incident, PlanRecord, Seen
from sentinel.remediation.approval_policy import ApprovalPolicy
from sentinel.remediation.binding import bound
from sentinel.sandbox.slack.clicks import form_body, submission
from sentinel.sandbox.slack.faults import Fault
from sentinel.sandbox.slack.workspace import Modal
from tests.serve.slack_rig import DIGEST, MAC, PLAN, Rig, buttons, rig, silent, until  # noqa: F401 the fixtures of this module
from tests.unit.incidents.make import ID, after, opened, plan, posted, scale

LIVE = {"status": "ACTIVE", "desired": 2, "running": 2, "pending": 0}


def asking() -> tuple[Incident, PlanRecord]:
    """An incident whose plan waits, and that plan."""
    made = bound(plan(), (Seen(target=scale()[0].target, observed=LIVE),), ApprovalPolicy())
    first = opened()
    incident = after(
        first, posted(), f.PlanProposed(plan=made), f.ApprovalRequested(plan_id=made.plan_id, asked="in Slack")
    )
    return incident, incident.plans[0]


async def modal_of(rig: Rig, user: str = "U0ANN") -> Modal:
    await until(lambda: user in rig.double.workspace.modals)
    return rig.double.workspace.modals[user]


async def test_reject_asks_why_and_the_reason_comes_with_the_verdict(rig: Rig) -> None:
    assert (await rig.double.click(rig.message, slack_card.REJECT, "U0ANN")).status == 200
    modal = await modal_of(rig)
    assert modal.view["callback_id"] == slack_card.REJECT
    assert rig.decisions.calls == []
    assert (await rig.double.submit("U0ANN", reason="it is\nthe nightly\u202e backup")).status == 200
    assert await rig.notes() == [("U0ANN", "rejected by Ann Arbor")]
    assert rig.decisions.calls[0][:3] == (PLAN, DIGEST, "reject")
    assert rig.decisions.reasons == ["it is the nightly  backup"]
    (came,) = rig.decisions.came
    assert (came.method, came.audience, came.mac) == ("Slack modal", "card", MAC)
    assert (came.channel, came.ts) == ("C0SENTINEL", rig.message.ts)
    assert len(came.request) == 64


async def test_a_reason_may_be_left_out(rig: Rig) -> None:
    await rig.double.click(rig.message, slack_card.REJECT, "U0ANN")
    await modal_of(rig)
    await rig.double.submit("U0ANN")
    assert await rig.notes() == [("U0ANN", "rejected by Ann Arbor")]
    assert rig.decisions.reasons == [""]


async def test_where_no_modal_can_be_shown_reject_is_a_verdict_at_once(silent: Rig) -> None:
    await silent.double.click(silent.message, slack_card.REJECT, "U0ANN")
    await until(lambda: bool(silent.decisions.calls))
    assert silent.decisions.calls[0][2] == "reject"


async def test_a_modal_that_slack_does_not_show_is_told(rig: Rig) -> None:
    rig.double.faults.order("views.open", Fault.SERVER_ERROR, 1)
    await rig.double.click(rig.message, slack_card.REJECT, "U0ANN")
    [(user, line)] = await rig.notes()
    assert user == "U0ANN"
    assert line.startswith("not decided: Slack could not show the form")


async def test_who_submits_is_looked_up_like_who_clicks(rig: Rig) -> None:
    await rig.double.click(rig.message, slack_card.REJECT, "U0GUEST")
    await modal_of(rig, "U0GUEST")
    await rig.double.submit("U0GUEST")
    [(_, line)] = await rig.notes()
    assert line.startswith("not decided: only full members")
    assert rig.decisions.calls == []


async def test_edit_offers_what_is_narrower_and_passes_it_on(rig: Rig) -> None:
    incident, record = asking()
    rig.incidents.known = [incident]
    value = msgspec.json.encode({"plan": record.plan.plan_id, "digest": record.plan.digest, "mac": MAC}).decode()
    message = rig.double.workspace.post("C0SENTINEL", "", buttons(value))
    await rig.double.click(message, slack_card.NARROW, "U0BOB")
    modal = await modal_of(rig, "U0BOB")
    (element,) = [block["element"] for block in modal.view["blocks"] if block["type"] == "input"]
    assert (element["min_value"], element["max_value"], element["initial_value"]) == ("3", "3", "3")
    await rig.double.submit("U0BOB", value="3")
    assert await rig.notes() == [("U0BOB", "narrowed by Bob Baxter")]
    assert rig.decisions.others == [
        ("narrow", record.plan.plan_id, record.plan.digest, 0, "desired_count", 3, "slack:T0ACME/U0BOB", "card")
    ]


@pytest.mark.parametrize("value", ["", "three", "-1", "3.5", "1e9", "9" * 40])
async def test_edit_takes_whole_numbers_only(rig: Rig, value: str) -> None:
    incident, record = asking()
    rig.incidents.known = [incident]
    text = msgspec.json.encode({"plan": record.plan.plan_id, "digest": record.plan.digest, "mac": MAC}).decode()
    await rig.double.click(rig.double.workspace.post("C0SENTINEL", "", buttons(text)), slack_card.NARROW, "U0BOB")
    modal = await modal_of(rig, "U0BOB")
    sent = submission(modal, rig.double.workspace.users["U0BOB"], {"value": value})
    sent["view"]["state"]["values"]["value"]["value"]["value"] = value
    assert (await rig.send_signed(form_body(sent))).status_code == 200
    [(_, line)] = await rig.notes()
    assert "expected a whole number" in line
    assert rig.decisions.others == []


async def test_edit_of_a_stale_card_is_told_to_look_again(rig: Rig) -> None:
    rig.incidents.known = [asking()[0]]
    await rig.double.click(rig.message, slack_card.NARROW, "U0BOB")
    [(_, line)] = await rig.notes()
    assert "review it again" in line or "there is no plan" in line


@pytest.mark.parametrize(("action", "verb"), [(slack_card.CANCEL, "cancel"), (slack_card.ABORT, "abort")])
async def test_cancel_and_abort(rig: Rig, action: str, verb: str) -> None:
    await rig.double.click(rig.message, action, "U0BOB")
    assert await rig.notes() == [("U0BOB", f"{verb} by Bob Baxter")]
    assert rig.decisions.others == [(verb, PLAN, DIGEST, "slack:T0ACME/U0BOB", MAC)]


async def test_acknowledge(rig: Rig) -> None:
    value = msgspec.json.encode({"incident": ID, "mac": MAC}).decode()
    button = {
        "type": "button",
        "action_id": slack_card.ACKNOWLEDGE,
        "text": {"type": "plain_text", "text": "Acknowledge"},
        "value": value,
    }
    message = rig.double.workspace.post("C0SENTINEL", "", [{"type": "actions", "elements": [button]}])
    await rig.double.click(message, slack_card.ACKNOWLEDGE, "U0BOB")
    assert await rig.notes() == [("U0BOB", "acknowledged by Bob Baxter")]
    assert rig.decisions.others == [("acknowledge", ID, "slack:T0ACME/U0BOB", MAC)]


SAID = {
    "status": "1 plan waits for approval",
    "incidents": "1 open incident",
    f"show {ID}": "checkout: latency high",
    "show inc-unknown": "there is no incident inc-unknown",
    "": "/sentinel status",
    "help": "/sentinel approve PLAN",
    "approve": "/sentinel approve PLAN",
    "launch everything": "/sentinel incidents",
    "approve nonsense": "plan_id: got 'nonsense'",
    "approve inc-1.p1": "there is no plan inc-1.p1",
}


@pytest.mark.parametrize("text", SAID)
async def test_the_slash_command_answers_the_one_who_typed(rig: Rig, text: str) -> None:
    rig.incidents.known = [asking()[0]]
    clicked = await rig.double.command("U0ANN", text)
    assert clicked.status == 200
    (note,) = rig.double.workspace.whispers
    assert note.user == "U0ANN"
    assert SAID[text] in note.text + str(note.blocks)
    assert rig.decisions.calls == []


async def test_the_slash_command_shows_a_plan_and_approves_from_what_was_shown(rig: Rig) -> None:
    incident, record = asking()
    rig.incidents.known = [incident]
    await rig.double.command("U0ANN", f"approve {record.plan.plan_id}")
    modal = await modal_of(rig)
    assert "desired_count = `4`" in str(modal.view["blocks"])
    assert ("offer", record.plan.plan_id, "modal:U0ANN") in rig.decisions.others
    assert rig.decisions.calls == []
    await rig.double.submit("U0ANN")
    await until(lambda: bool(rig.decisions.calls))
    assert rig.decisions.calls[0][:3] == (record.plan.plan_id, record.plan.digest, "approve")
    (came,) = rig.decisions.came
    assert (came.audience, came.mac, came.ts) == ("modal:U0ANN", MAC, "")


@pytest.mark.parametrize("user", ["U0GUEST", "U0EVE", "U0SENTINEL"])
@pytest.mark.parametrize("text", ["status", "incidents", f"show {ID}", f"approve {ID}.p1"])
async def test_who_is_no_full_member_is_told_nothing(rig: Rig, user: str, text: str) -> None:
    rig.incidents.known = [asking()[0]]
    await rig.double.command(user, text)
    (note,) = rig.double.workspace.whispers
    assert note.blocks == []
    assert "only full members" in note.text or "not the Slack workspace" in note.text


async def test_a_journal_that_is_slow_is_said_to_be(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object, **__: object) -> Any:
        raise TimeoutError

    monkeypatch.setattr(rig.incidents, "incidents", never)
    await rig.double.command("U0ANN", "status")
    assert rig.double.workspace.whispers[0].text == "Sentinel is busy and could not answer in time: ask again"


async def test_an_error_is_told_in_its_own_words(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object, **__: object) -> Any:
        raise NotFound("sentinel-journal is not running")

    monkeypatch.setattr(rig.incidents, "incidents", away)
    await rig.double.command("U0ANN", "incidents")
    assert rig.double.workspace.whispers[0].text == "sentinel-journal is not running"


async def test_the_apps_own_page_lists_what_is_not_over(rig: Rig) -> None:
    rig.incidents.known = [asking()[0]]
    assert (await rig.double.open_home("U0ANN")).status == 200
    await until(lambda: "U0ANN" in rig.double.workspace.homes)
    assert "checkout: latency high" in str(rig.double.workspace.homes["U0ANN"])


async def test_a_guest_sees_no_page(rig: Rig) -> None:
    rig.incidents.known = [asking()[0]]
    assert (await rig.double.open_home("U0GUEST")).status == 200
    await until(lambda: any(call["method"] == "users.info" for call in rig.double.log))
    assert rig.double.workspace.homes == {}


async def test_events_that_nobody_waits_for_are_taken_and_forgotten(rig: Rig) -> None:
    body = msgspec.json.encode({"type": "event_callback", "team_id": "T0ACME", "event": {"type": "reaction_added"}})
    assert (await rig.send_signed(body, "application/json")).status_code == 200
    assert rig.double.log == []
