"""The approval stage: what it proposes, whom it believes, and that a plan is decided once."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from sentinel.errors import Conflict, Forbidden, IllegalTransition, Invalid, NotFound, OutcomeUnknown, Unavailable
from sentinel.incidents import facts as f
from sentinel.incidents.nouns import IncidentState, PlanState, Principal, Suspect
from sentinel.remediation.approval_policy import ApprovalPolicy, Demand
from sentinel.remediation.safety import Limits
from sentinel.remediation.sealing import CARD, value_mac
from tests.actors.rig import KEY, SCALE_OUT, Proxy, Rig, clicked, ended, eventually
from tests.unit.incidents.make import ANN, BOB, CARLA, ID, T0, alert, approved, opened, plan


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def waiting(rig: Rig, *, required: int = 1, **kwargs: Any):
    """An incident whose plan waits for people, and the stage that holds it."""
    await rig.tell(opened())
    stage = rig.approval(required=required, **kwargs)
    await settled(rig, stage)
    return stage, (await rig.plan()).plan


async def settled(rig: Rig, stage: Any) -> None:
    for _ in range(6):
        rig.clock.advance(1.1)  # a card is updated at most once a second
        await stage.settle(await rig.incident())


async def say(stage: Any, made: Any, by: Principal = ANN, decision: str = "approve", reason: str = "", **kwargs: Any):
    digest = kwargs.get("digest", made.digest)
    return await stage.decide(made.plan_id, digest, decision, by, reason, clicked(made, digest=digest))


async def test_an_incident_gets_a_plan_and_people_are_asked(rig: Rig) -> None:
    await waiting(rig)
    record = await rig.plan()
    assert record.state is PlanState.AWAITING_APPROVAL
    assert record.plan.runbook == "scale-out"
    assert {"plan_proposed", "approval_requested", "card_posted"} < set(await rig.kinds())
    assert len(rig.messenger.posted) == 1


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"runbooks": ()}, "no runbooks are configured"),
        ({"limits": Limits()}, "is not in executor.aws_ecs_cluster_whitelist"),
    ],
)
async def test_without_a_plan_it_is_for_people_with_the_reason(rig: Rig, kwargs: Any, said: str) -> None:
    await rig.tell(opened())
    await settled(rig, rig.approval(**kwargs))
    incident = await rig.incident()
    assert incident.state is IncidentState.ESCALATED
    assert said in incident.state_reason
    assert incident.plans == ()


async def test_an_incident_without_a_plan_gets_one_when_an_alert_joins_that_has_one(rig: Rig) -> None:
    await rig.tell(opened(alert("web", kind="errors")))
    stage = rig.approval(runbooks=(replace(SCALE_OUT, kind="latency"),))
    await settled(rig, stage)
    escalated = await rig.incident()
    assert escalated.state is IncidentState.ESCALATED
    await settled(rig, stage)
    assert (await rig.incident()).state_reason == escalated.state_reason
    suspects = (Suspect(service="checkout", score=1.0, reasons=()),)
    await rig.tell(f.AlertRaised(alert=alert(), suspects=suspects, reason="a call away"))
    await settled(rig, stage)
    assert (await rig.plan()).state is PlanState.AWAITING_APPROVAL


async def test_a_plan_that_was_turned_down_is_not_proposed_again(rig: Rig) -> None:
    stage, made = await waiting(rig)
    await say(stage, made, ANN, "reject")
    await settled(rig, stage)
    incident = await rig.incident()
    assert (incident.state, len(incident.plans)) == (IncidentState.ESCALATED, 1)


async def test_what_is_over_by_itself_gets_no_plan(rig: Rig) -> None:
    await rig.tell(opened(alert(ended_at_ms=T0 + 9_000)))
    await settled(rig, rig.approval())
    assert (await rig.incident()).plans == ()


async def test_a_plan_that_helped_and_left_something_wrong_is_for_people(rig: Rig) -> None:
    made, pid = plan(), plan().plan_id
    await rig.tell(
        opened(alert(), alert("web")),
        *approved(made),
        f.ExecutionStarted(plan_id=pid, owner="a"),
        f.StepStarted(plan_id=pid, index=0, previous={}),
        f.StepSucceeded(plan_id=pid, index=0, detail=""),
        f.VerificationStarted(plan_id=pid),
        f.PlanSucceeded(plan_id=pid, reason="gone"),
    )
    stage = rig.approval()
    await settled(rig, stage)
    assert (await rig.incident()).state is IncidentState.OPEN, "it has as long as the verification had"
    rig.clock.advance(120)
    await settled(rig, stage)
    assert (await rig.incident()).state is IncidentState.ESCALATED
    assert len((await rig.incident()).plans) == 1


async def test_one_yes_approves(rig: Rig) -> None:
    stage, made = await waiting(rig)
    assert await say(stage, made) == "approved by Ann"
    record = await rig.plan()
    assert record.state is PlanState.APPROVED
    (given,) = record.verdicts
    assert (given.principal, given.digest, given.evidence) == (ANN, made.digest, "a signed click")


async def test_two_principals_must_agree_where_two_are_required(rig: Rig) -> None:
    stage, made = await waiting(rig, required=2)
    assert await say(stage, made) == "1 more approval needed"
    assert await say(stage, made) == "Ann has already approved; 1 more approval needed"
    assert (await rig.plan()).state is PlanState.AWAITING_APPROVAL
    assert await say(stage, made, BOB) == "approved by Ann and Bob"
    assert (await rig.plan()).state is PlanState.APPROVED


async def test_one_no_ends_it_with_its_reason(rig: Rig) -> None:
    stage, made = await waiting(rig, required=2)
    await say(stage, made)
    assert await say(stage, made, BOB, "reject", "it is the backup") == "rejected by Bob: it is the backup"
    assert (await rig.incident()).state is IncidentState.ESCALATED
    assert (await say(stage, made, CARLA)).startswith("already decided: approved by Ann")


async def test_silence_is_no_yes(rig: Rig) -> None:
    stage, made = await waiting(rig)
    rig.clock.advance(900)
    assert (await say(stage, made)).startswith("too late: the plan expired at")
    await settled(rig, stage)
    record = await rig.plan()
    assert record.state is PlanState.EXPIRED
    assert (await rig.incident()).state is IncidentState.ESCALATED
    assert (await say(stage, made)).startswith("already decided: nobody decided before")


async def test_a_word_on_a_stale_card_does_not_count(rig: Rig) -> None:
    stage, made = await waiting(rig)
    before = (await rig.incident()).seq
    assert await say(stage, made, digest="0" * 64) == "the plan changed since it was shown: review it again"
    assert (await rig.incident()).seq == before


async def test_a_stranger_does_not_count(rig: Rig) -> None:
    stage, made = await waiting(rig, policy=ApprovalPolicy(default=Demand(approvers=frozenset({BOB.id}))))
    assert "is not among approval.approvers" in await say(stage, made)
    assert await say(stage, made, BOB) == "approved by Bob"


@pytest.mark.parametrize("plan_id", [f"{ID}.p9", "inc-20231114-00000000-1.p1"])
async def test_a_plan_that_is_not_there_is_not_found(rig: Rig, plan_id: str) -> None:
    stage, made = await waiting(rig)
    with pytest.raises(NotFound, match=plan_id):
        await stage.decide(plan_id, made.digest, "approve", ANN, "", clicked(made))
    with pytest.raises(Invalid, match="plan_id"):
        await stage.decide("nonsense", made.digest, "approve", ANN, "", clicked(made))


@pytest.mark.parametrize("required", [1, 2])
async def test_of_fifty_words_at_once_one_decision_comes(rig: Rig, required: int) -> None:
    stage, made = await waiting(rig, required=required)
    others = [rig.approval(required=required, cards=False) for _ in range(4)]
    people = [Principal(id=f"slack:T1/U{n}", name=f"P{n}", via="slack") for n in range(50)]
    answers = await asyncio.gather(
        *(say([stage, *others][n % 5], made, who, "approve" if n % 3 else "reject") for n, who in enumerate(people))
    )
    record = await rig.plan()
    kinds = await rig.kinds()
    assert kinds.count("plan_approved") + kinds.count("plan_rejected") == 1
    assert record.state in (PlanState.APPROVED, PlanState.REJECTED)
    decided = [answer for answer in answers if answer.startswith(("approved by", "rejected by"))]
    assert len(decided) == 1
    assert len(record.verdicts) <= required
    refused = [answer for answer in answers if answer.startswith("already decided")]
    assert len(refused) == 50 - len(record.verdicts)
    assert rig.chain_holds()


async def test_fifty_clicks_of_one_person_are_one_word(rig: Rig) -> None:
    stage, made = await waiting(rig, required=2)
    answers = await asyncio.gather(*(say(stage, made) for _ in range(50)))
    assert answers.count("1 more approval needed") == 1
    assert len((await rig.plan()).verdicts) == 1


async def test_a_journal_that_restarts_is_waited_for(rig: Rig) -> None:
    _, made = await waiting(rig)
    fails = 4

    def away(_name: str) -> None:
        nonlocal fails
        if fails:
            fails -= 1
            raise Unavailable("sentinel-journal is restarting")

    stage = rig.approval(journal=Proxy(rig.journal, before=away), cards=False)
    assert await say(stage, made) == "approved by Ann"


async def test_a_journal_that_stays_away_is_said_to_be(rig: Rig) -> None:
    _, made = await waiting(rig)

    def away(_name: str) -> None:
        raise Unavailable("sentinel-journal is not running")

    stage = rig.approval(journal=Proxy(rig.journal, before=away), cards=False)
    with pytest.raises(Unavailable, match="not running"):
        await say(stage, made)
    assert (await rig.plan()).verdicts == ()


async def test_a_word_whose_recording_was_not_answered_is_told_what_became_of_it(rig: Rig) -> None:
    _, made = await waiting(rig)
    lost = 1

    def lose(name: str) -> None:
        nonlocal lost
        if name == "append" and lost:
            lost -= 1
            raise OutcomeUnknown("the answer was lost")

    stage = rig.approval(journal=Proxy(rig.journal, after=lose), cards=False)
    assert (await say(stage, made)).startswith("already decided: approved by Ann")
    assert len((await rig.plan()).verdicts) == 1


async def test_a_word_of_which_nobody_knows_is_not_called_unrecorded(rig: Rig) -> None:
    _, made = await waiting(rig)

    def lose(name: str) -> None:
        if name == "append":
            raise Unavailable("sentinel-journal is restarting")

    stage = rig.approval(journal=Proxy(rig.journal, before=lose), cards=False)
    with pytest.raises(OutcomeUnknown, match="look at plan"):
        await say(stage, made)


async def test_a_plan_is_withdrawn_before_its_first_step(rig: Rig) -> None:
    stage, made = await waiting(rig)
    with pytest.raises(Conflict, match="review it again"):
        await stage.withdraw(made.plan_id, "0" * 64, "cancel", ANN, "")
    assert await stage.withdraw(made.plan_id, made.digest, "cancel", ANN, "not now") == "cancelled by Ann: not now"
    assert (await rig.plan()).state is PlanState.CANCELLED
    with pytest.raises(IllegalTransition):
        await stage.withdraw(made.plan_id, made.digest, "cancel", ANN, "")


async def test_a_plan_is_aborted_after_its_first_step(rig: Rig) -> None:
    stage, made = await waiting(rig)
    with pytest.raises(IllegalTransition):
        await stage.withdraw(made.plan_id, made.digest, "abort", ANN, "")
    await say(stage, made)
    await rig.tell(f.ExecutionStarted(plan_id=made.plan_id, owner="a"))
    with pytest.raises(IllegalTransition):
        await stage.withdraw(made.plan_id, made.digest, "cancel", ANN, "")
    assert await stage.withdraw(made.plan_id, made.digest, "abort", BOB, "") == "aborted by Bob"
    record = await rig.plan()
    assert (record.state, record.undo) == (PlanState.ROLLING_BACK, True)


async def test_an_incident_is_closed_by_hand(rig: Rig) -> None:
    stage, made = await waiting(rig)
    with pytest.raises(Conflict, match="has a live plan"):
        await stage.close(ID, "resolve", ANN, "")
    await stage.withdraw(made.plan_id, made.digest, "cancel", ANN, "")
    assert await stage.close(ID, "resolve", ANN, "false alarm") == "resolved by Ann: false alarm"
    with pytest.raises(IllegalTransition):
        await stage.close(ID, "escalate", ANN, "")
    with pytest.raises(NotFound):
        await stage.close("inc-20231114-00000000-9", "resolve", ANN, "")


async def test_a_stage_takes_up_what_it_finds_at_its_start(rig: Rig) -> None:
    await rig.tell(opened())
    running = asyncio.create_task(rig.approval().run())

    async def asked() -> bool:
        plans = (await rig.incident()).plans
        return bool(plans) and plans[0].state is PlanState.AWAITING_APPROVAL

    await eventually(asked, turns=2000)
    await ended([running])


async def test_a_press_about_an_incident_is_proven_by_the_button_and_the_card(rig: Rig) -> None:
    stage, made = await waiting(rig)
    mine = value_mac(KEY, ID, "", CARD)
    await stage.prove(ID, ANN, clicked(made, mac=mine))
    for changes in (
        {"mac": "ab" * 32},
        {"mac": value_mac(KEY, made.plan_id, made.digest, CARD)},
        {"mac": mine, "ts": "9.000000"},
        {"mac": mine, "channel": "C0OTHER"},
    ):
        with pytest.raises(Forbidden):
            await stage.prove(ID, ANN, clicked(made, **changes))
    with pytest.raises(NotFound):
        await stage.prove("inc-unknown", ANN, clicked(made, mac=mine))
