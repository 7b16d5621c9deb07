"""Limits, kill switch, dry run and proof, as the executor meets them; 200 plans approved at once among them."""

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.journal import JournalActor
from sentinel.adapters.in_memory import InMemoryJournalStore
from sentinel.adapters.sql_journal import SqlJournalStore
from sentinel.detection.anomaly import Condition
from sentinel.ids import IncidentId
from sentinel.incidents import facts as f
from sentinel.incidents.nouns import Incident, Plan, PlanState, StepState
from sentinel.remediation.actions import steps_of
from sentinel.remediation.binding import track_record
from sentinel.remediation.budget import Budget
from sentinel.remediation.ledger import Rules
from sentinel.remediation.planner import PlanPolicy, propose
from sentinel.remediation.runbooks import Runbook, Use
from sentinel.remediation.safety import Allowed, Limits
from tests.actors.rig import LIMITS, SCALE_OUT, Killed, Proxy, Rig, eventually
from tests.unit.incidents.make import (
    ANN,
    CLUSTER,
    ID,
    INSTANCE,
    after,
    alert,
    approved,
    opened,
    plan,
    reboot,
    restart,
    scale,
)

LOOSE = Budget(cooldown_ms=0, per_hour=10_000, per_day=10_000, group_share=1.0)
LIKE_REBOOT = plan(*reboot())
REBOOT = Runbook(name="reboot", uses=(Use(action="ec2.reboot_instance", params={"instance_id": INSTANCE}),))
REAL = PlanPolicy(approvals_required=1, expires_after_ms=900_000, dry_run=False)


def rig_with(budget: Budget, *, limits: Limits = LIMITS, store: Any = None, stop_file: str = "") -> Rig:
    rig = Rig()
    rig.store = store or rig.store
    rig.journal = JournalActor(rig.store, rules=Rules(budget=budget, limits=limits, stop_file=stop_file))
    return rig


def many(count: int, *, services: int = 0) -> list[tuple[IncidentId, list[f.Fact], Plan]]:
    """Incidents with an approved plan each; with `services`, on that many services only."""
    found: list[tuple[IncidentId, list[f.Fact], Plan]] = []
    for n in range(count):
        incident, service = IncidentId(f"inc-20231114-{n:08x}-1"), f"s{n % (services or count)}"
        seen = alert(service)
        made = plan(*scale(4, service), incident=incident, verify=(seen.fingerprint,))
        found.append((incident, [opened(seen), *approved(made)], made))
    return found


async def all_carried_out(rig: Rig, wanted: list[tuple[IncidentId, list[f.Fact], Plan]]) -> list[Incident]:
    for incident, facts, made in wanted:
        rig.cloud.add_service(CLUSTER, str(made.steps[0].params["service"]), 2)
        await rig.tell(*facts, incident=incident)
    executor = rig.execution()
    await asyncio.gather(*(executor.carry_out(incident, made.plan_id) for incident, _, made in wanted))
    return await told(rig, wanted)


async def told(rig: Rig, wanted: list[tuple[IncidentId, list[f.Fact], Plan]]) -> list[Incident]:
    """The incidents as a journal tells that was not there."""
    late = JournalActor(rig.store)
    found = [await late.incident(incident) for incident, _, _ in wanted]
    return [incident for incident in found if incident]


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgresql"])
async def test_of_200_plans_approved_at_once_the_budget_runs_and_the_rest_say_why(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path}/j.db" if kind == "sqlite" else ""
    if kind == "postgresql":
        url = request.getfixturevalue("postgres_url")
    store = SqlJournalStore(url) if url else InMemoryJournalStore()
    rig = rig_with(replace(LOOSE, per_hour=5), store=store)
    ended = await all_carried_out(rig, many(200))
    states = Counter(str(incident.plans[0].state) for incident in ended)
    assert states == {"succeeded": 5, "expired": 195}
    assert len(rig.sent()) == 5
    said = {incident.plans[0].ended_reason for incident in ended if incident.plans[0].state is PlanState.EXPIRED}
    assert said == {"approved, but not started within 600 s: the budget of 5 actions an hour is used up"}
    # Each says so once, and not at every try.
    kinds: Counter[str] = Counter()
    for each in ended:
        kinds.update(entry.fact.kind for entry in await rig.journal.entries(each.id))
    assert kinds["plan_held"] == 195
    store.close()


async def test_of_200_plans_for_ten_services_one_runs_for_each_at_a_time_and_none_is_lost() -> None:
    rig = rig_with(LOOSE)
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()

    class Watched(Proxy):
        """Counts the plans that run for a service."""

        async def append(self, incident_id: Any, seq: int, facts: Any, *rest: Any) -> Any:
            answer = await rig_journal.append(incident_id, seq, facts, *rest)
            for fact in facts:
                service = answer.services[0]
                if fact.kind == "execution_started":
                    running[service] += 1
                    most[service] = max(most[service], running[service])
                elif fact.kind in ("plan_succeeded", "plan_rolled_back", "plan_rollback_failed"):
                    running[service] -= 1
            return answer

    rig_journal = rig.journal
    wanted = many(200, services=10)
    for incident, facts, made in wanted:
        rig.cloud.services.setdefault((CLUSTER, str(made.steps[0].params["service"])), {})
        rig.cloud.add_service(CLUSTER, str(made.steps[0].params["service"]), 2)
        await rig.tell(*facts, incident=incident)
    executor = rig.execution(journal=Watched(rig.journal))
    await asyncio.gather(*(executor.carry_out(incident, made.plan_id) for incident, _, made in wanted))
    assert most == {f"s{n}": 1 for n in range(10)}
    ended = await told(rig, wanted)
    assert all(not incident.plans[0].state.live for incident in ended)
    assert {str(incident.plans[0].state) for incident in ended} <= {"succeeded", "expired"}
    assert all(incident.plans[0].ended_reason for incident in ended)


async def test_the_kill_switch_stops_everything_that_is_not_yet_sent() -> None:
    rig = rig_with(LOOSE)
    wanted = many(50)

    def stop_after_ten(name: str) -> None:
        if name == "send" and len(rig.cloud.sent) == 10:
            asyncio.run_coroutine_threadsafe(
                rig.journal.turn_kill_switch(True, ANN, "too much", rig.clock.now_ms()), loop
            ).result(5)

    loop = asyncio.get_running_loop()

    class Cloud(Proxy):
        """Turns the switch in the thread of the tenth call, before it answers."""

        def send(self, *args: Any) -> Any:
            answer = rig.cloud.send(*args)
            stop_after_ten("send")
            return answer

    for incident, facts, made in wanted:
        rig.cloud.add_service(CLUSTER, str(made.steps[0].params["service"]), 2)
        await rig.tell(*facts, incident=incident)
    cloud: Any = Cloud(rig.cloud)
    executor = rig.execution(cloud=cloud)
    for incident, _, made in wanted:  # one after the other, so that none is under way when the switch is turned
        await executor.carry_out(incident, made.plan_id)
    assert len(rig.cloud.sent) == 10
    late = [incident.plans[0] for incident in await told(rig, wanted[10:])]
    assert {record.state for record in late} == {PlanState.EXPIRED}
    assert "the kill switch is on: stopped by Ann" in late[0].ended_reason
    assert (await rig.journal.kill_switch()).stopped


async def test_a_switch_that_is_turned_in_the_middle_of_a_plan_lets_nothing_more_out_and_tells_people() -> None:
    rig = rig_with(LOOSE)
    await rig.approved(plan(*restart(), verify=(alert().fingerprint,)))

    class Journal(Proxy):
        """The switch is turned between the first step's outcome and the second step's intent."""

        async def append(self, incident_id: Any, seq: int, facts: Any, *rest: Any) -> Any:
            answer = await rig.journal.append(incident_id, seq, facts, *rest)
            if facts[0].kind == "step_succeeded":
                await rig.journal.turn_kill_switch(True, ANN, "wait", rig.clock.now_ms())
            return answer

    await rig.execution(journal=Journal(rig.journal)).carry_out(ID, plan().plan_id)
    record = await rig.plan()
    assert rig.sent() == ["ec2.stop_instance"]
    assert record.state is PlanState.ROLLBACK_FAILED
    assert record.steps[0].state is StepState.UNDO_FAILED
    assert "the kill switch is on" in record.ended_reason


async def test_a_file_stops_as_well(tmp_path: Path) -> None:
    stop = tmp_path / "STOP"
    rig = rig_with(LOOSE, stop_file=str(stop))
    stop.touch()
    await rig.approved(LIKE_REBOOT)
    await rig.execution().carry_out(ID, LIKE_REBOOT.plan_id)
    record = await rig.plan()
    assert rig.sent() == []
    assert record.state is PlanState.EXPIRED
    assert "STOP is there" in record.ended_reason


async def held(rig: Rig) -> bool:
    return bool((await rig.plan()).held_reason)


async def test_a_plan_that_was_held_starts_when_the_reason_is_gone() -> None:
    rig = rig_with(LOOSE)
    await rig.journal.turn_kill_switch(True, ANN, "lunch", rig.clock.now_ms())
    await rig.approved(LIKE_REBOOT)
    task = asyncio.create_task(rig.execution().carry_out(ID, LIKE_REBOOT.plan_id))
    await eventually(lambda: held(rig))
    await rig.journal.turn_kill_switch(False, ANN, "back", rig.clock.now_ms())
    await task
    assert (await rig.plan()).state is PlanState.SUCCEEDED
    assert rig.sent() == ["ec2.reboot_instance"]
    assert (await rig.kinds()).count("plan_held") == 1


async def test_three_plans_that_do_not_help_open_the_breaker() -> None:
    rig = rig_with(LOOSE)
    rig.book.otherwise = Condition.ANOMALOUS
    ended = []
    for incident, facts, made in many(5):
        rig.cloud.add_service(CLUSTER, str(made.steps[0].params["service"]), 2)
        await rig.tell(*facts, incident=incident)
        await rig.execution(f"e{len(ended)}").carry_out(incident, made.plan_id)
        ended.append((await rig.incident(incident)).plans[0])
    assert [str(record.state) for record in ended] == ["rolled_back"] * 3 + ["expired"] * 2
    assert "the breaker is open: the last 3 plans did not help" in ended[3].ended_reason


async def test_an_action_that_is_only_rehearsed_is_rehearsed_to_the_end() -> None:
    rig = Rig()
    limits = replace(LIMITS, rehearsed=frozenset({"ec2.reboot_instance"}))
    made = propose(after(opened()), (REBOOT,), limits, REAL, rig.clock.now_ms()).plan
    assert made is not None
    await rig.approved(made)
    await rig.execution(limits=limits).carry_out(ID, made.plan_id)
    record = await rig.plan()
    assert (record.state, record.plan.dry_run) == (PlanState.ROLLED_BACK, True), "a rehearsal proves nothing"
    assert rig.sent() == []
    assert [step.action for step in rig.cloud.rehearsed] == ["ec2.reboot_instance"]
    assert record.steps[0].detail == f"dry run: would have sent ec2.reboot_instance on {INSTANCE}"


async def test_a_rule_of_the_allow_list_may_be_for_rehearsals_only() -> None:
    there = {"instance_id": INSTANCE, "account": "123456789012", "region": "us-east-1"}
    arn = f"arn:aws:ec2:us-east-1:123456789012:instance/{INSTANCE}"
    rule = Allowed(actions=frozenset({"ec2.reboot_instance"}), arns=frozenset({arn}), dry_run=True)
    rig = Rig()
    runbook = Runbook(name="reboot", uses=(Use(action="ec2.reboot_instance", params=there),))
    limits = Limits(allowed=(rule,))
    made = propose(after(opened()), (runbook,), limits, REAL, rig.clock.now_ms()).plan
    assert made is not None
    assert made.dry_run
    await rig.approved(made)
    await rig.execution(limits=limits).carry_out(ID, made.plan_id)
    assert rig.sent() == []
    assert len(rig.cloud.rehearsed) == 1


async def test_a_plan_one_step_of_which_is_rehearsed_is_a_rehearsal_as_a_whole() -> None:
    runbook = Runbook(name="both", uses=(*SCALE_OUT.uses, *REBOOT.uses))
    rig = Rig()
    limits = replace(LIMITS, rehearsed=frozenset({"ec2.reboot_instance"}))
    made = propose(after(opened()), (runbook,), limits, REAL, rig.clock.now_ms()).plan
    assert made is not None
    await rig.approved(made)
    await rig.execution(limits=limits).carry_out(ID, made.plan_id)
    assert rig.sent() == []
    assert len(rig.cloud.rehearsed) == 2
    assert track_record("both", ("checkout",), [await rig.incident()]) == ""


@pytest.mark.parametrize("rehearsed", ["ec2.reboot_instance", "ecs.scale_service"])
async def test_a_real_plan_whose_action_is_only_rehearsed_by_now_is_given_up(rehearsed: str) -> None:
    rig = Rig()
    made = plan(*scale(), *reboot())
    await rig.approved(made)
    limits = replace(LIMITS, rehearsed=frozenset({rehearsed}))
    await rig.execution(limits=limits).carry_out(ID, made.plan_id)
    record = await rig.plan()
    assert record.state is PlanState.ROLLED_BACK
    assert f"{rehearsed} on " in record.rollback_reason
    assert "is only rehearsed by now" in record.rollback_reason
    # What was done for real before is undone for real.
    assert rig.sent() == (["ecs.scale_service 4", "ecs.scale_service 2"] if rehearsed.startswith("ec2") else [])


async def test_the_undoing_of_what_is_only_rehearsed_by_now_is_not_sent() -> None:
    rig = Rig()
    made = plan()
    await rig.approved(made)
    rig.book.otherwise = Condition.ANOMALOUS
    task = asyncio.create_task(rig.execution().carry_out(ID, made.plan_id))
    await eventually(rig.sent)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert rig.sent() == ["ecs.scale_service 4"]
    limits = replace(LIMITS, rehearsed=frozenset({"ecs.scale_service"}))
    await rig.execution("b", limits=limits).carry_out(ID, made.plan_id)
    assert rig.sent() == ["ecs.scale_service 4"]
    record = await rig.plan()
    assert record.state is PlanState.ROLLBACK_FAILED
    assert "is only rehearsed by now" in record.steps[0].detail


@pytest.mark.parametrize(("dies_at", "sent"), [(1, []), (2, ["ecs.scale_service 4"])])
async def test_what_a_dead_process_may_have_sent_is_not_sent_again_if_it_is_only_rehearsed_by_now(
    dies_at: int, sent: list[str]
) -> None:
    rig = Rig()
    rig.book.otherwise = Condition.ANOMALOUS
    made = plan()
    await rig.approved(made)
    calls = Counter[str]()

    def dies(name: str) -> None:
        calls[name] += 1
        if name == "send" and calls[name] == dies_at:
            raise Killed

    cloud: Any = Proxy(rig.cloud, before=dies)
    with pytest.raises(Killed):
        await rig.execution(cloud=cloud).carry_out(ID, made.plan_id)
    limits = replace(LIMITS, rehearsed=frozenset({"ecs.scale_service"}))
    await rig.execution("b", limits=limits).carry_out(ID, made.plan_id)
    assert rig.sent() == sent
    record = await rig.plan()
    assert record.state is (PlanState.ROLLBACK_FAILED if sent else PlanState.ROLLED_BACK)
    assert "is only rehearsed by now" in record.rollback_reason + record.steps[0].detail


@pytest.mark.parametrize(
    ("live", "sent"), [({"env": "prod", "ok": "yes"}, 1), ({"env": "test", "ok": "yes"}, 0), ({}, 0)]
)
async def test_tags_are_those_of_the_live_resource(live: dict[str, str], sent: int) -> None:
    rule = Allowed(
        actions=frozenset({"ec2.reboot_instance"}),
        account="123456789012",
        region="us-east-1",
        tags={"env": "prod", "ok": "yes"},
    )
    rig = Rig()
    there = {"instance_id": INSTANCE, "account": "123456789012", "region": "us-east-1"}
    made = plan(*steps_of("ec2.reboot_instance", there))
    rig.cloud.tags[INSTANCE] = live
    await rig.approved(made)
    await rig.execution(limits=Limits(allowed=(rule,))).carry_out(ID, made.plan_id)
    assert len(rig.sent()) == sent
    if not sent:
        assert "carries none of the tags" in (await rig.plan()).ended_reason


async def test_what_is_not_proven_is_not_sent_and_says_so() -> None:
    rig = Rig()
    await rig.approved(LIKE_REBOOT)
    await rig.execution(prove=lambda _record: "0 of 1 approvals are on record").carry_out(ID, LIKE_REBOOT.plan_id)
    assert rig.sent() == []
    record = await rig.plan()
    assert record.state is PlanState.ROLLED_BACK
    assert record.ended_reason == "step 1 was not started: 0 of 1 approvals are on record"


async def test_after_an_outage_an_old_plan_does_not_go_on_with_its_next_step() -> None:
    rig = Rig()
    await rig.approved(plan(*restart()))
    stopped = f.StepSucceeded(plan_id=plan().plan_id, index=0, detail="stopped")
    started = f.StepStarted(plan_id=plan().plan_id, index=0, previous={"state": "running"})
    await rig.tell(f.ExecutionStarted(plan_id=plan().plan_id, owner="before"), started, stopped)
    rig.cloud.instances[INSTANCE]["state"] = "stopped"
    rig.clock.advance(3 * 3600)
    await rig.execution().carry_out(ID, plan().plan_id)
    record = await rig.plan()
    assert record.rollback_reason == "step 2 could not start within 600 s"
    # Its undoing is in the approved digest, and brings the instance back.
    assert rig.sent() == ["ec2.start_instance"]
    assert record.state is PlanState.ROLLED_BACK


async def test_a_clock_that_was_set_back_makes_no_old_approval_young() -> None:
    rig = Rig()
    await rig.approved(LIKE_REBOOT)
    rig.clock._now_ms -= 3_600_000
    await rig.execution().carry_out(ID, LIKE_REBOOT.plan_id)
    assert rig.sent() == []
    assert "clock was set back" in (await rig.plan()).ended_reason


async def test_a_clock_that_jumps_ahead_does_not_shorten_the_wait_for_a_predecessors_call() -> None:
    rig = Rig()
    await rig.approved(LIKE_REBOOT)
    await rig.tell(
        f.ExecutionStarted(plan_id=LIKE_REBOOT.plan_id, owner="first"),
        f.StepStarted(plan_id=LIKE_REBOOT.plan_id, index=0, previous={"state": "running"}),
    )
    rig.clock._now_ms += 3_600_000
    at = rig.clock.monotonic()
    await rig.execution("second").carry_out(ID, LIKE_REBOOT.plan_id)
    assert rig.clock.monotonic() - at > 35
    assert (await rig.plan()).steps[0].state is StepState.UNKNOWN
