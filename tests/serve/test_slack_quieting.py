"""Not the same, and Silence, from the press on a card to what is kept."""

from typing import Any

import msgspec
import pytest

from sentinel.adapters import slack_card
from sentinel.errors import OutcomeUnknown, Unavailable
from sentinel.incidents import facts as f
from sentinel.incidents.nouns import Incident
from sentinel.sandbox.slack.clicks import form_body, submission
from sentinel.sandbox.slack.workspace import Message, Modal
from tests.serve.slack_rig import MAC, Rig, rig, silent, until  # noqa: F401 the fixtures of this module
from tests.unit.incidents.make import ID, after, alert, opened, plan, posted

CHECKOUT, WEB = alert(), alert("web", "errors")


def card_of(rig: Rig, *facts: f.Fact, mac: str = MAC) -> Message:
    """The incident of these facts is known, and its card posted, with its two buttons."""
    rig.incidents.known = [after(*facts)]
    value = msgspec.json.encode({"incident": ID, "mac": mac}).decode()
    elements = [
        {"type": "button", "action_id": action, "text": {"type": "plain_text", "text": text}, "value": value}
        for action, text in ((slack_card.UNLIKE, "Not the same"), (slack_card.SILENCE, "Silence"))
    ]
    return rig.double.workspace.post("C0SENTINEL", "", [{"type": "actions", "elements": elements}])


async def pressed(rig: Rig, message: Message, action: str, user: str = "U0BOB") -> Modal:
    assert (await rig.double.click(message, action, user)).status == 200
    await until(lambda: user in rig.double.workspace.modals)
    return rig.double.workspace.modals[user]


def options(modal: Modal) -> dict[str, str]:
    (select,) = [b["element"] for b in modal.view["blocks"] if b.get("element", {}).get("type") == "static_select"]
    return {each["value"]: each["text"]["text"] for each in select["options"]}


def thread(rig: Rig, message: Message) -> list[Message]:
    return [each for each in rig.double.workspace.messages if each.thread_ts == message.ts]


async def test_an_alert_that_is_another_fault_is_split_off(rig: Rig) -> None:
    message = card_of(rig, opened(CHECKOUT, WEB), posted())
    modal = await pressed(rig, message, slack_card.UNLIKE)
    assert options(modal) == {
        CHECKOUT.fingerprint: "latency_seconds of checkout",
        WEB.fingerprint: "errors of web",
    }
    await rig.double.submit("U0BOB", choice=WEB.fingerprint, reason="a deploy\nof web")
    assert await rig.notes() == [("U0BOB", "1 alerts went")]
    assert rig.decisions.others == [("not_duplicate", ID, (WEB.fingerprint,), "slack:T0ACME/U0BOB", "a deploy of web")]


async def test_what_was_folded_in_last_is_named_by_nobody(rig: Rig) -> None:
    folded = f.DuplicateFolded(alerts=(WEB,), similarity=0.9, threshold=0.8, reason="alike")
    modal = await pressed(rig, card_of(rig, opened(CHECKOUT), folded), slack_card.UNLIKE)
    assert options(modal)["last"] == "What was seen again last"
    await rig.double.submit("U0BOB", choice="last")
    await rig.notes()
    assert rig.decisions.others == [("not_duplicate", ID, (), "slack:T0ACME/U0BOB", "")]


async def test_what_changed_since_the_form_was_shown_leaves_nothing(rig: Rig) -> None:
    message = card_of(rig, opened(CHECKOUT, WEB))
    await pressed(rig, message, slack_card.UNLIKE)
    rig.incidents.known = [after(opened(CHECKOUT, WEB), f.PlanProposed(plan=plan()))]
    await rig.double.submit("U0BOB", choice=WEB.fingerprint)
    [(_, line)] = await rig.notes()
    assert "changed since it was shown" in line
    await rig.double.click(message, slack_card.UNLIKE, "U0BOB")
    assert "changed since it was shown" in (await rig.notes(2))[1][1]
    assert rig.decisions.others == []


async def test_a_split_whose_answer_was_lost_is_not_said_twice(rig: Rig) -> None:
    await pressed(rig, card_of(rig, opened(CHECKOUT, WEB)), slack_card.UNLIKE)
    rig.decisions.passing = [OutcomeUnknown("it went away")]
    await rig.double.submit("U0BOB", choice=WEB.fingerprint)
    [(_, line)] = await rig.notes()
    assert line.startswith("nobody knows whether it counted")
    assert rig.decisions.others == []


async def test_a_silence_is_kept_and_told_in_the_thread(rig: Rig) -> None:
    message = card_of(rig, opened(CHECKOUT, WEB))
    modal = await pressed(rig, message, slack_card.SILENCE)
    assert "*checkout, web*" in str(modal.view["blocks"][0])
    now_ms = rig.clock.now_ms()
    await rig.double.submit("U0BOB", choice="480", reason="a <!channel> deploy")
    [(user, line)] = await rig.notes()
    assert user == "U0BOB"
    assert "silenced by Bob Baxter: alerts of checkout, web until" in line
    kept = list(rig.journal.silences.values())
    assert [[(m.name, m.value) for m in each.matchers] for each in kept] == [
        [("service", "checkout")],
        [("service", "web")],
    ]
    assert {(each.author, each.comment) for each in kept} == {
        ("Bob Baxter (slack:T0ACME/U0BOB)", "a <!channel> deploy")
    }
    assert {(each.starts_at_ms, each.ends_at_ms) for each in kept} == {(now_ms, now_ms + 480 * 60_000)}
    await until(lambda: bool(thread(rig, message)))
    (note,) = thread(rig, message)
    assert "&lt;!channel&gt;" in note.text
    assert note.blocks[0]["text"]["type"] == "plain_text"


@pytest.mark.parametrize("passing", [Unavailable("the journal is away"), OutcomeUnknown("it went away")])
async def test_a_silence_whose_keeping_was_not_answered_is_kept_once(rig: Rig, passing: Exception) -> None:
    rig.journal.passing = [passing]
    await pressed(rig, card_of(rig, opened(CHECKOUT)), slack_card.SILENCE)
    await rig.double.submit("U0BOB", choice="30", reason="a deploy")
    await rig.notes()
    assert len(rig.journal.silences) == 1


@pytest.mark.parametrize(
    ("choice", "reason", "says"),
    [("30", " ", "comment"), ("0", "x", "1 to 10080"), ("10081", "x", "1 to 10080"), ("²", "x", "1 to 10080")],
)
async def test_what_a_forged_form_asks_for_is_refused(rig: Rig, choice: str, reason: str, says: str) -> None:
    modal = await pressed(rig, card_of(rig, opened(CHECKOUT)), slack_card.SILENCE)
    sent = submission(modal, rig.double.workspace.users["U0BOB"], {"reason": reason})
    sent["view"]["state"]["values"]["choice"]["choice"]["selected_option"]["value"] = choice
    assert (await rig.send_signed(form_body(sent))).status_code == 200
    [(_, line)] = await rig.notes()
    assert says in line
    assert rig.journal.silences == {}


@pytest.mark.parametrize("action", [slack_card.UNLIKE, slack_card.SILENCE])
@pytest.mark.parametrize("user", ["U0GUEST", "U0BOB"])
async def test_guests_and_buttons_that_are_not_ours_change_nothing(rig: Rig, action: str, user: str) -> None:
    mac = MAC if user == "U0GUEST" else "cd" * 32
    modal = await pressed(rig, card_of(rig, opened(CHECKOUT, WEB), mac=mac), action, user)
    await rig.double.submit(user, choice=next(iter(options(modal))), reason="x")
    [(_, line)] = await rig.notes()
    assert line.startswith("not decided")
    assert rig.decisions.others == []
    assert rig.journal.silences == {}


async def test_two_lists_or_a_plan_in_the_metadata_are_refused(rig: Rig) -> None:
    modal = await pressed(rig, card_of(rig, opened(CHECKOUT)), slack_card.SILENCE)
    sent = submission(modal, rig.double.workspace.users["U0BOB"], {"reason": "x"})
    values: dict[str, Any] = sent["view"]["state"]["values"]
    values["another"] = {"another": values["choice"]["choice"]}
    assert (await rig.send_signed(form_body(sent))).status_code == 400
    del values["another"]
    sent["view"]["private_metadata"] = '{"plan":"inc-1.p1","digest":"ab"}'
    assert (await rig.send_signed(form_body(sent))).status_code == 400


async def test_without_a_bot_token_a_press_changes_nothing(silent: Rig) -> None:
    message = card_of(silent, opened(CHECKOUT, WEB))
    for action in (slack_card.UNLIKE, slack_card.SILENCE):
        assert (await silent.double.click(message, action, "U0BOB")).status == 200
    await until(lambda: not silent.decisions.passing)
    assert silent.decisions.others == []
    assert silent.journal.silences == {}


def test_an_incident_that_is_over_offers_nothing() -> None:
    over: Incident = after(opened(CHECKOUT, WEB), f.IncidentResolved(reason="over"))
    actions = [block for block in slack_card.card(over)[0] if block["type"] == "actions"]
    assert actions == []
