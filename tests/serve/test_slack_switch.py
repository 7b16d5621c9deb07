"""`/sentinel kill-switch`: who may approve stops, who is named an admin resumes, and the journal says who and why."""

import msgspec
import pytest

from sentinel.errors import OutcomeUnknown
from sentinel.incidents.nouns import Principal
from sentinel.remediation.approval_policy import ApprovalPolicy, Demand
from sentinel.sandbox.slack.clicks import command_body
from tests.serve.slack_rig import SECRET, Rig, rig, signed_headers, silent, standing  # noqa: F401 the fixtures of this module

GUARDED = ApprovalPolicy(default=Demand(approvers=frozenset({"slack:T0ACME/U0BOB", "group:S0SRE"})))


async def said(rig: Rig, user: str, text: str) -> str:
    """What the one who typed reads."""
    assert (await rig.double.command(user, text)).status == 200
    note = rig.double.workspace.whispers[-1]
    assert note.user == user
    return note.text + str(note.blocks or "")


async def test_without_a_word_it_is_shown_and_not_turned(rig: Rig) -> None:
    assert "The kill switch is off" in await said(rig, "U0ANN", "kill-switch")
    assert rig.journal.turns == []


async def test_stop_is_recorded_with_who_and_why(rig: Rig) -> None:
    answer = await said(rig, "U0ANN", "kill-switch stop AZ b is <!channel> *burning*")
    assert "The kill switch is on:* nothing is sent." in answer
    assert "Ann Arbor" in answer
    assert "<!channel>" not in answer
    assert "*burning*" not in answer
    (turn,) = rig.journal.turns
    assert (turn.kind, turn.body) == ("stopped", '{"reason":"AZ b is <!channel> *burning*"}')
    ann = msgspec.json.decode(turn.principal, type=Principal)
    assert ann == Principal(id="slack:T0ACME/U0ANN", name="Ann Arbor", via="slack")
    assert "AZ b is" in await said(rig, "U0BOB", "kill-switch")


@pytest.mark.parametrize("text", ["kill-switch resume all is well", "kill-switch resume"])
async def test_nobody_resumes_from_slack_unless_admins_are_named(rig: Rig, text: str) -> None:
    await said(rig, "U0ANN", "kill-switch stop fire")
    answer = await said(rig, "U0ANN", text)
    assert answer.startswith("not resumed: Ann Arbor (slack:T0ACME/U0ANN) is not in approval.admins")
    assert "sentinel kill-switch --resume" in answer
    assert [turn.kind for turn in rig.journal.turns] == ["stopped"]


async def test_an_admin_resumes_and_whoever_may_only_approve_does_not() -> None:
    async with standing(with_bot=True, admins=frozenset({"slack:T0ACME/U0BOB", "group:S0LEADS"})) as rig:
        await said(rig, "U0ANN", "kill-switch stop fire")
        assert "S0LEADS could not be read" in await said(rig, "U0ANN", "kill-switch resume it is out")
        rig.directory.groups["S0LEADS"] = frozenset()
        assert "is not in approval.admins" in await said(rig, "U0ANN", "kill-switch resume it is out")
        assert "approved plans run" in await said(rig, "U0BOB", "kill-switch resume it is out")
        assert [turn.kind for turn in rig.journal.turns] == ["stopped", "resumed"]
        assert msgspec.json.decode(rig.journal.turns[-1].principal, type=Principal).id == "slack:T0ACME/U0BOB"
        assert "it is out" in rig.journal.turns[-1].body
        assert "the kill switch is off" in await said(rig, "U0BOB", "kill-switch resume again")
        await said(rig, "U0BOB", "kill-switch stop smoke")
        rig.directory.groups["S0LEADS"] = frozenset({"slack:T0ACME/U0ANN"})
        assert "approved plans run" in await said(rig, "U0ANN", "kill-switch resume")


@pytest.mark.parametrize("user", ["U0GUEST", "U0EVE", "U0SENTINEL"])
async def test_a_guest_a_stranger_and_a_bot_resume_nothing_though_they_are_named(user: str) -> None:
    admins = frozenset(f"slack:{team}/{user}" for team in ("T0ACME", "T0EVIL"))
    async with standing(with_bot=True, admins=admins) as rig:
        await said(rig, "U0ANN", "kill-switch stop fire")
        await said(rig, user, "kill-switch resume")
        assert [turn.kind for turn in rig.journal.turns] == ["stopped"]


async def test_a_resume_that_is_sent_again_does_not_lift_a_later_stop() -> None:
    async with standing(with_bot=True, admins=frozenset({"slack:T0ACME/U0BOB"})) as rig:
        bob = rig.double.workspace.users["U0BOB"]
        body = command_body("kill-switch resume", bob, "C0SENTINEL", "ops", rig.double.workspace.trigger("U0BOB"))
        headers = signed_headers(SECRET, body, rig.clock.now_ms(), "application/x-www-form-urlencoded")
        await said(rig, "U0ANN", "kill-switch stop fire")
        assert "approved plans run" in (await rig.send(body, headers)).text
        rig.clock.advance(2)
        await said(rig, "U0ANN", "kill-switch stop fire again")
        assert "stopped after you typed that" in (await rig.send(body, headers)).text
        assert [turn.kind for turn in rig.journal.turns] == ["stopped", "resumed", "stopped"]


@pytest.mark.parametrize("user", ["U0GUEST", "U0EVE", "U0SENTINEL"])
async def test_who_is_no_full_member_turns_nothing(rig: Rig, user: str) -> None:
    await said(rig, user, "kill-switch stop fire")
    assert rig.journal.turns == []


async def test_who_may_approve_nothing_may_not_stop() -> None:
    async with standing(with_bot=True, policy=GUARDED) as rig:
        rig.directory.groups["S0SRE"] = frozenset()
        assert "may approve no plan" in await said(rig, "U0ANN", "kill-switch stop fire")
        assert rig.journal.turns == []
        assert "Stopped" in await said(rig, "U0BOB", "kill-switch stop fire")


async def test_a_member_of_a_group_that_may_approve_stops_and_one_of_a_group_not_read_does_not() -> None:
    async with standing(with_bot=True, policy=GUARDED) as rig:
        assert "could not be read" in await said(rig, "U0ANN", "kill-switch stop fire")
        rig.directory.groups["S0SRE"] = frozenset({"slack:T0ACME/U0ANN"})
        assert "Stopped" in await said(rig, "U0ANN", "kill-switch stop fire")
        assert len(rig.journal.turns) == 1


async def test_without_a_bot_token_it_is_shown_but_not_turned(silent: Rig) -> None:
    assert "The kill switch is off" in await said(silent, "U0ANN", "kill-switch")
    assert "expected a bot token" in await said(silent, "U0ANN", "kill-switch stop fire")
    assert silent.journal.turns == []


async def test_another_word_is_told_what_is_expected(rig: Rig) -> None:
    assert "expected nothing, stop REASON, or resume REASON" in await said(rig, "U0ANN", "kill-switch off")
    assert rig.journal.turns == []


async def test_a_stop_that_was_not_answered_is_not_said_to_have_failed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.journal.slow = True
    assert "cannot tell whether it stopped" in await said(rig, "U0ANN", "kill-switch stop fire")

    async def lost(*_: object) -> None:
        raise OutcomeUnknown("the journal went away while it wrote")

    monkeypatch.setattr(rig.journal, "turn_kill_switch", lost)
    assert "went away while it wrote" in await said(rig, "U0ANN", "kill-switch stop fire")
