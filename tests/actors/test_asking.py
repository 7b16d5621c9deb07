"""What people agree to is what runs: plans bound to what was seen, buttons of our own, rules, reminders, deputies."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from sentinel.errors import Conflict, Forbidden, Invalid, OutcomeUnknown, SentinelError, Unavailable
from sentinel.incidents import facts as f
from sentinel.incidents.nouns import IncidentState, PlanState, Principal
from sentinel.remediation.approval import NOT_ON_RECORD
from sentinel.remediation.approval_policy import ApprovalPolicy, AutoBudget, Demand, Freeze, Rule
from sentinel.remediation.planner import digest_of
from sentinel.remediation.sealing import modal_for, seal_holds, value_mac
from tests.actors.rig import KEY, LIMITS, Proxy, Rig, clicked
from tests.actors.test_approval import say, settled, waiting
from tests.unit.incidents.make import ANN, BOB, CARLA, CLUSTER, ID, T0, opened

OPS = Principal(id="api:ops", name="ops", via="api")
SERVICE = (CLUSTER, "checkout")


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_a_plan_carries_its_target_as_it_was_seen(rig: Rig) -> None:
    _, made = await waiting(rig)
    (seen,) = made.targets
    assert (seen.account, seen.region) == ("123456789012", "us-east-1")
    assert seen.observed["desired"] == 2
    assert seen.notes == ("tasks: 2 running, 2 wanted now; 4 wanted after (at most 50)",)
    assert made.policy == ApprovalPolicy().version
    assert made.digest == digest_of(made)


CHANGES: dict[str, Callable[[dict[str, Any]], None]] = {
    "somebody scaled it": lambda service: service.update(desired=3),
    "somebody deployed": lambda service: service.update(deployment_id="ecs-svc/9"),
    "it is being drained": lambda service: service.update(status="DRAINING"),
    "a value that was not there": lambda service: service.update(task_definition="web:2"),
    "a value that is gone": lambda service: service.pop("deployment_id"),
}


@pytest.mark.parametrize("case", CHANGES)
async def test_a_target_that_changed_is_not_approved_and_a_fresh_plan_asks_again(rig: Rig, case: str) -> None:
    stage, made = await waiting(rig)
    CHANGES[case](rig.cloud.services[SERVICE])
    answer = await say(stage, made)
    assert answer.startswith("the plan changed, review it again: ")
    old, fresh = (await rig.incident()).plans
    assert (old.state, old.verdicts) == (PlanState.CANCELLED, ())
    assert (fresh.state, fresh.verdicts) == (PlanState.AWAITING_APPROVAL, ())
    assert fresh.plan.digest != made.digest
    assert fresh.plan.plan_id == f"{ID}.p2"
    await settled(rig, stage)
    assert fresh.plan.digest in str(rig.messenger.posted[-1].blocks), "the card has the new buttons"
    assert made.digest not in str(rig.messenger.posted[-1].blocks)
    # The old button decides nothing any more; the new one does.
    assert "already decided" in await say(stage, made)
    assert await say(stage, fresh.plan) == "approved by Ann"


async def test_what_moves_by_itself_does_not_keep_people_from_approving(rig: Rig) -> None:
    stage, made = await waiting(rig)
    rig.cloud.services[SERVICE].update(running=0, pending=2)
    assert await say(stage, made) == "approved by Ann"


async def test_a_rejection_needs_no_look(rig: Rig) -> None:
    stage, made = await waiting(rig)
    del rig.cloud.services[SERVICE]
    assert await say(stage, made, decision="reject") == "rejected by Ann"


async def test_a_target_that_is_gone_is_not_approved(rig: Rig) -> None:
    stage, made = await waiting(rig)
    del rig.cloud.services[SERVICE]
    assert "cannot run any more: no such resource" in await say(stage, made)
    incident = await rig.incident()
    assert [(record.state, record.verdicts) for record in incident.plans] == [(PlanState.CANCELLED, ())]
    assert incident.state is IncidentState.ESCALATED


async def test_while_aws_is_away_nothing_is_approved(rig: Rig) -> None:
    stage, made = await waiting(rig)
    rig.cloud.fail(Unavailable("AWS asks to wait"), at="observe")
    with pytest.raises(Unavailable, match="AWS asks to wait"):
        await say(stage, made)
    assert (await rig.plan()).verdicts == ()
    assert await say(stage, made) == "approved by Ann"


async def test_another_policy_asks_again(rig: Rig) -> None:
    _, made = await waiting(rig)
    stricter = rig.approval(policy=ApprovalPolicy(default=Demand(required=2)))
    assert await say(stricter, made) == "the plan changed, review it again: the approval policy changed"
    assert (await rig.plan()).plan.approvals_required == 2


async def test_a_plan_made_anew_is_a_rehearsal_where_its_action_is_only_rehearsed_by_now(rig: Rig) -> None:
    _, made = await waiting(rig)
    rig.cloud.services[SERVICE]["desired"] = 3
    later = rig.approval(limits=replace(LIMITS, rehearsed=frozenset({"ecs.scale_service"})))
    assert "review it again" in await say(later, made)
    fresh = (await rig.plan()).plan
    assert (made.dry_run, fresh.dry_run) == (False, True)
    assert fresh.digest == digest_of(fresh)


async def test_a_target_off_the_allow_list_by_now_is_asked_for_no_more(rig: Rig) -> None:
    _, made = await waiting(rig)
    rig.cloud.services[SERVICE]["desired"] = 3
    narrow = rig.approval(limits=replace_limits())
    assert "review it again" in await say(narrow, made)
    incident = await rig.incident()
    assert len(incident.plans) == 1
    assert "is not in executor.aws_ecs_cluster_whitelist" in incident.state_reason


def replace_limits() -> Any:
    from sentinel.remediation.safety import Limits  # noqa: PLC0415

    return Limits()


async def test_a_plan_waits_for_an_aws_that_is_away_and_people_hear_of_it(rig: Rig) -> None:
    await rig.tell(opened())
    stage = rig.approval()
    for _ in range(30):  # every 5 s for two minutes, then once a minute
        rig.cloud.fail(Unavailable("AWS is away"), at="observe")
    await settled(rig, stage)
    incident = await rig.incident()
    assert (incident.state, incident.plans) == (IncidentState.OPEN, ())
    assert len(rig.messenger.posted) == 1, "people see the incident meanwhile"
    for _ in range(130):
        await settled(rig, stage)
    assert (await rig.plan()).state is PlanState.AWAITING_APPROVAL


async def test_an_aws_that_stays_away_is_told(rig: Rig) -> None:
    await rig.tell(opened())
    stage = rig.approval()
    for _ in range(100):
        rig.cloud.fail(Unavailable("AWS is away"), at="observe")
        rig.clock.advance(5)
        await stage.settle(await rig.incident())
    incident = await rig.incident()
    assert incident.state is IncidentState.ESCALATED
    assert incident.state_reason == "scale-out could not be checked against AWS: AWS is away"


@pytest.mark.parametrize("error", [Forbidden("not authorized"), Unavailable("AWS is away")])
async def test_an_incident_that_cannot_be_planned_asks_aws_once_a_minute(rig: Rig, error: SentinelError) -> None:
    asked: list[int] = []

    def fails(name: str) -> None:
        asked.append(rig.clock.now_ms())
        raise error

    await rig.tell(opened())
    broken: Any = Proxy(rig.cloud, before=fails)
    stage = rig.approval(cloud=broken)
    while (await rig.incident()).state is not IncidentState.ESCALATED:
        rig.clock.advance(1)
        await stage.settle(await rig.incident())
    asked.clear()
    for _ in range(600):
        rig.clock.advance(1)
        await stage.settle(await rig.incident())
    assert 9 <= len(asked) <= 10
    assert {later - before for before, later in itertools.pairwise(asked)} == {60_000}


async def test_a_runbook_that_aws_forbids_gives_way_with_its_reason(rig: Rig) -> None:
    await rig.tell(opened())
    rig.cloud.fail(Forbidden("not authorized"), at="observe")
    await settled(rig, rig.approval())
    incident = await rig.incident()
    assert incident.state_reason == "no runbook may run: scale-out: not authorized"


FORGED: dict[str, dict[str, Any]] = {
    "no value of ours": {"mac": ""},
    "a value for another plan": {"mac": value_mac(KEY, f"{ID}.p2", "0" * 64, "card")},
    "a value made with another key": {"mac": value_mac(b"another", f"{ID}.p1", "0" * 64, "card")},
    "a value for a modal": {"mac": value_mac(KEY, f"{ID}.p1", "0" * 64, modal_for("U1"))},
}


@pytest.mark.parametrize("case", FORGED)
@pytest.mark.parametrize("decision", ["approve", "reject"])
async def test_a_button_that_is_not_ours_decides_nothing(rig: Rig, case: str, decision: str) -> None:
    stage, made = await waiting(rig)
    came = clicked(made, **FORGED[case])
    answer = await stage.decide(made.plan_id, made.digest, decision, ANN, "", came)
    assert answer.startswith("this button was not made by Sentinel")
    assert (await rig.plan()).verdicts == ()
    for withdraw in ("cancel", "abort"):
        with pytest.raises(Forbidden, match="not made by Sentinel"):
            await stage.withdraw(made.plan_id, made.digest, withdraw, ANN, "", came)
    with pytest.raises(Forbidden, match="not made by Sentinel"):
        await stage.acknowledge(ID, ANN, "", came)


async def test_a_modal_is_good_for_the_one_before_whom_it_stands(rig: Rig) -> None:
    stage, made = await waiting(rig)
    mac = await stage.offer(made.plan_id, modal_for("U1"))
    came = replace(clicked(made, mac=mac, ts="", channel=""), audience=modal_for("U1"))
    for other in (BOB, CARLA):
        answer = await stage.decide(made.plan_id, made.digest, "approve", other, "", came)
        assert answer.startswith("this button was not made by Sentinel")
    assert await stage.decide(made.plan_id, made.digest, "approve", ANN, "", came) == "approved by Ann"
    assert (await rig.plan()).verdicts[0].shown == "modal:U1"


async def test_a_message_that_is_not_on_record_decides_nothing_and_is_kept_up_to_date_from_now_on(rig: Rig) -> None:
    stage, made = await waiting(rig)
    other = clicked(made, ts="99.000000")
    answer = await stage.decide(made.plan_id, made.digest, "approve", ANN, "", other)
    assert answer == "this message was not on record, and now it is: review the plan and click again"
    assert (await rig.plan()).verdicts == ()
    assert [card.ts for card in (await rig.incident()).cards] == ["1.000000", "99.000000"]
    assert await stage.decide(made.plan_id, made.digest, "approve", ANN, "", other) == "approved by Ann"


async def test_an_unrecorded_card_of_an_incident_that_changes_meanwhile_is_put_on_record_all_the_same(rig: Rig) -> None:
    _, made = await waiting(rig)
    late = [Conflict("somebody was faster"), OutcomeUnknown("the journal went away")]

    def changed(name: str) -> None:
        if name == "append" and late:
            raise late.pop(0)

    stage = rig.approval(journal=Proxy(rig.journal, before=changed))
    answer = await stage.decide(made.plan_id, made.digest, "approve", ANN, "", clicked(made, ts="99.000000"))
    assert answer == NOT_ON_RECORD
    assert [card.ts for card in (await rig.incident()).cards] == ["1.000000", "99.000000"]


async def test_a_message_elsewhere_or_one_of_too_many_is_never_put_on_record(rig: Rig) -> None:
    stage, made = await waiting(rig)
    elsewhere = clicked(made, ts="99.000000", channel="C0OTHER")
    answer = await stage.decide(made.plan_id, made.digest, "approve", ANN, "", elsewhere)
    assert answer == "this message is not one on which Sentinel asked"
    for number in range(10):
        await stage.decide(made.plan_id, made.digest, "approve", ANN, "", clicked(made, ts=f"9{number}.000000"))
    incident = await rig.incident()
    assert len(incident.cards) == 5
    assert incident.plans[0].verdicts == ()


async def test_a_word_by_api_needs_no_button(rig: Rig) -> None:
    stage, made = await waiting(rig)
    came = replace(clicked(made), method="API key", audience="", mac="", channel="", ts="")
    assert await stage.decide(made.plan_id, made.digest, "approve", OPS, "go", came) == "approved by ops"


async def test_a_verdict_tells_how_it_came_and_its_seal_holds(rig: Rig) -> None:
    stage, made = await waiting(rig)
    await stage.decide(made.plan_id, made.digest, "approve", ANN, "go", clicked(made, request="5f" * 32))
    (given,) = (await rig.plan()).verdicts
    assert (given.method, given.shown, given.request) == ("Slack button", "C0MEMORY/1.000000", "5f" * 32)
    assert seal_holds(KEY, made.plan_id, given)
    assert not seal_holds(KEY, made.plan_id, replace(given, principal=BOB))


async def test_one_signed_request_counts_once(rig: Rig) -> None:
    stage, made = await waiting(rig, required=2)
    came = clicked(made, request="5f" * 32)
    assert await stage.decide(made.plan_id, made.digest, "approve", ANN, "", came) == "1 more approval needed"
    said = await stage.decide(made.plan_id, made.digest, "approve", BOB, "", came)
    assert said == "this click was counted before; nothing was done for it again"
    assert len((await rig.plan()).verdicts) == 1


async def test_a_plan_is_narrowed_to_a_new_one_that_waits_anew(rig: Rig) -> None:
    stage, made = await waiting(rig, policy=ApprovalPolicy(default=Demand(requester_may=False)))
    with pytest.raises(Invalid, match="a whole number from 3 to 3"):
        await stage.narrow(made.plan_id, made.digest, 0, "desired_count", 5, ANN, clicked(made))
    with pytest.raises(Invalid):
        await stage.narrow(made.plan_id, made.digest, 0, "cluster", 3, ANN, clicked(made))
    said = await stage.narrow(made.plan_id, made.digest, 0, "desired_count", 3, ANN, clicked(made))
    assert said == "narrowed by Ann: desired_count 4 → 3; the new plan waits for approval"
    old, fresh = (await rig.incident()).plans
    assert old.state is PlanState.CANCELLED
    assert fresh.plan.steps[0].params["desired_count"] == 3
    assert fresh.plan.requested_by == ANN.id
    assert "somebody else to approve it" in await say(stage, fresh.plan)
    assert await say(stage, fresh.plan, BOB) == "approved by Bob"


async def test_narrowing_what_changed_asks_again(rig: Rig) -> None:
    stage, made = await waiting(rig)
    rig.cloud.services[SERVICE]["desired"] = 3
    said = await stage.narrow(made.plan_id, made.digest, 0, "desired_count", 3, ANN, clicked(made))
    assert said.startswith("the plan changed, review it again")
    fresh = (await rig.plan()).plan
    assert fresh.steps[0].params["desired_count"] == 4
    assert await say(stage, fresh) == "approved by Ann", "it is bound to what is there now"


class Groups:
    """User groups that can be away."""

    def __init__(self, **members: set[str]) -> None:
        self.known = {group: frozenset(ids) for group, ids in members.items()}
        self.away = False

    async def members(self, group: str) -> frozenset[str]:
        if self.away or group not in self.known:
            raise Unavailable("Slack did not answer in time")
        return self.known[group]


async def test_members_of_a_group_may_while_slack_says_who_they_are(rig: Rig) -> None:
    groups = Groups(S0OPS={BOB.id})
    policy = ApprovalPolicy(default=Demand(approvers=frozenset({"group:S0OPS"})))
    stage, made = await waiting(rig, policy=policy, directory=groups)
    assert "is not among approval.approvers" in await say(stage, made)
    groups.away = True
    assert "could not be read just now" in await say(stage, made, BOB)
    groups.away = False
    assert await say(stage, made, BOB) == "approved by Bob"


async def test_people_are_reminded_then_others_may_decide_as_well(rig: Rig) -> None:
    demand = Demand(
        approvers=frozenset({ANN.id}),
        remind_every_ms=300_000,
        escalate_to=(CARLA.id,),
        escalate_after_ms=600_000,
        expires_after_ms=900_000,
    )
    stage, made = await waiting(rig, policy=ApprovalPolicy(default=demand))
    assert "is not among" in await say(stage, made, CARLA)
    for _ in range(100):
        rig.clock.advance(8)
        await stage.settle(await rig.incident())
    reminders = [
        (entry.fact.escalated, (entry.at_ms - T0) // 60_000)
        for entry in await rig.journal.entries(ID)
        if isinstance(entry.fact, f.ApprovalReminded)
    ]
    assert [escalated for escalated, _ in reminders] == [False, True]
    assert [minute for _, minute in reminders] == [5, 10]
    assert await say(stage, made, CARLA) == "approved by Carla"


async def test_whoever_looks_after_it_is_not_reminded_and_silence_is_still_no_yes(rig: Rig) -> None:
    stage, _ = await waiting(rig, policy=ApprovalPolicy(default=Demand(remind_every_ms=60_000)))
    assert await stage.acknowledge(ID, ANN, "") == "acknowledged by Ann"
    with pytest.raises(Conflict, match="already acknowledged"):
        await stage.acknowledge(ID, ANN, "")
    for _ in range(100):
        rig.clock.advance(10)
        await stage.settle(await rig.incident())
    assert "approval_reminded" not in await rig.kinds()
    assert (await rig.plan()).state is PlanState.EXPIRED


async def test_in_a_freeze_a_plan_waits_and_expires(rig: Rig) -> None:
    freeze = Freeze(name="year end", from_ms=T0, to_ms=T0 + 86_400_000)
    stage, made = await waiting(rig, policy=ApprovalPolicy(freezes=(freeze,)))
    assert (await say(stage, made)).startswith("frozen: year end, until")
    assert (await rig.plan()).verdicts == ()


UNDOABLE = ApprovalPolicy(
    rules=(Rule(name="undoable", demand=Demand(auto=True), action="ecs.scale_service"),),
    auto=AutoBudget(most=1, per_ms=86_400_000),
)


async def test_a_rule_approves_what_can_be_undone_within_its_budget_and_says_so(rig: Rig) -> None:
    stage, _ = await waiting(rig, policy=UNDOABLE)
    record = await rig.plan()
    assert record.state is PlanState.APPROVED
    (given,) = record.verdicts
    assert (given.principal.id, given.principal.via, given.method) == ("rule:undoable", "rule", "rule")
    assert seal_holds(KEY, record.plan.plan_id, given)
    assert "AUTO-APPROVED by rule undoable" in str(rig.messenger.posted[-1].blocks)
    # The budget of one is spent: the next incident is left to people.
    other = ID.replace("-1", "-2")
    await rig.tell(opened(), incident=other)
    for _ in range(6):
        rig.clock.advance(1.1)
        await stage.settle(await rig.incident(other))
    assert (await rig.plan(other)).state is PlanState.AWAITING_APPROVAL


async def test_a_rule_does_not_approve_what_changed(rig: Rig) -> None:
    await rig.tell(opened())
    stage = rig.approval(policy=UNDOABLE)
    await stage.settle(await rig.incident())
    rig.cloud.services[SERVICE]["desired"] = 3
    await settled(rig, stage)
    record = await rig.plan()
    assert (record.state, record.verdicts) == (PlanState.AWAITING_APPROVAL, ())


async def test_a_plan_that_was_before_people_for_a_while_is_theirs(rig: Rig) -> None:
    await rig.tell(opened())
    await rig.approval(policy=UNDOABLE).settle(await rig.incident())
    await rig.approval(policy=UNDOABLE).settle(await rig.incident())
    assert (await rig.plan()).state is PlanState.AWAITING_APPROVAL
    rig.clock.advance(10)
    await settled(rig, rig.approval(policy=UNDOABLE))
    assert (await rig.plan()).verdicts == ()


async def test_without_being_turned_on_no_rule_approves(rig: Rig) -> None:
    await waiting(rig, policy=replace(UNDOABLE, auto=None))
    assert (await rig.plan()).state is PlanState.AWAITING_APPROVAL


async def test_a_hundred_replays_at_once_are_one_word(rig: Rig) -> None:
    stage, made = await waiting(rig, required=2)
    came = clicked(made, request="5f" * 32)
    said = await asyncio.gather(
        *(stage.decide(made.plan_id, made.digest, "approve", ANN, "", came) for _ in range(100))
    )
    assert said.count("1 more approval needed") == 1
    assert len((await rig.plan()).verdicts) == 1
