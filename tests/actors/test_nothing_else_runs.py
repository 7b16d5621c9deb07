"""Whatever is changed between a card and its click, nothing but what was shown is ever sent to AWS."""

import asyncio
import threading
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.journal import JournalActor
from sentinel.adapters.in_memory import InMemoryJournalStore
from sentinel.adapters.sql_journal import SqlJournalStore
from sentinel.codec import record_of
from sentinel.errors import SentinelError
from sentinel.incidents import facts as f
from sentinel.incidents.audit import GENESIS
from sentinel.incidents.nouns import Plan, PlanState, Principal, Step
from sentinel.remediation.approval_policy import ApprovalPolicy, Demand
from sentinel.remediation.binding import VOLATILE
from sentinel.remediation.planner import digest_of
from tests.actors.rig import Rig, clicked
from tests.unit.incidents.make import ANN, BOB, CLUSTER, ID, INSTANCE, opened, reboot, scale

SERVICE = (CLUSTER, "checkout")

# What another hand could write into the stored plan, field by field: a step that is allowed everywhere, and looks apt.
FORGED: dict[str, Any] = {
    "plan_id": f"{ID}.p7",
    "runbook": "another",
    "reason": "another",
    "steps": (*scale(7),),
    "verify": (),
    "verify_within_s": 999,
    "rollback": False,
    "dry_run": True,
    "approvals_required": 3,
    "created_at_ms": 1,
    "expires_at_ms": 1_800_000_000_000,
    "targets": (),
    "policy": "0" * 16,
    "requested_by": "slack:T1/U9",
    "track_record": "worked 100 of 100 times",
}
STEPS: list[tuple[Step, ...]] = [scale(5), scale(4, service="cart"), reboot(INSTANCE), (*scale(4), *reboot(INSTANCE))]


def tampered(rig: Rig, change: dict[str, Any], *, fits: bool) -> Rig:
    """The same world, where somebody with the database's password rewrote the plan; `fits`: its digest as well."""
    other = Rig()
    other.clock, other.cloud, other.messenger = rig.clock, rig.cloud, rig.messenger
    store, hash_ = InMemoryJournalStore(), GENESIS

    async def entries() -> list[f.Entry]:
        return await rig.journal.entries(ID)

    for entry in asyncio.run(entries()):
        fact = entry.fact
        if isinstance(fact, f.PlanProposed):
            plan = replace(fact.plan, **change)
            fact = replace(fact, plan=replace(plan, digest=digest_of(plan)) if fits else plan)
        record = record_of(replace(entry, fact=fact), hash_)
        hash_ = record.hash
        store.append([record])
    other.store, other.journal = store, JournalActor(store)
    return other


def asked() -> tuple[Rig, Plan]:
    """A plan on a card."""
    rig = Rig()

    async def ask() -> Plan:
        await rig.tell(opened())
        stage = rig.approval()
        for _ in range(6):
            rig.clock.advance(1.1)
            await stage.settle(await rig.incident())
        return (await rig.plan()).plan

    return rig, asyncio.run(ask())


def click_and_run(rig: Rig, made: Plan, **stage: Any) -> None:
    """The click of one who saw `made`, and an executor that does all it would do."""

    async def both() -> None:
        came = clicked(made)
        for by in (ANN, BOB):
            try:
                await rig.approval(**stage).decide(made.plan_id, made.digest, "approve", by, "", came)
            except SentinelError:
                continue
        incident = await rig.journal.incident(ID)
        if incident and incident.live_plan and incident.live_plan.state is PlanState.APPROVED:
            executor = rig.execution()
            await executor.settle(incident)
            await asyncio.wait_for(executor.carry_out(ID, incident.live_plan.plan.plan_id), 20)

    asyncio.run(both())


def test_what_was_shown_runs_when_nothing_changed() -> None:
    rig, made = asked()
    click_and_run(rig, made)
    assert rig.sent() == ["ecs.scale_service 4"]


def test_every_field_of_a_plan_is_tried() -> None:
    assert {each.name for each in fields(Plan)} == {*FORGED, "digest", "incident_id"}


@pytest.mark.parametrize("fits", [False, True], ids=["the digest is left", "the digest is made to fit"])
@given(st.sampled_from(sorted(FORGED)), st.sampled_from(STEPS))
@settings(max_examples=40, deadline=None)
def test_a_plan_that_was_rewritten_in_the_database_never_runs(fits: bool, name: str, steps: tuple[Step, ...]) -> None:
    rig, made = asked()
    value = FORGED[name]
    change = {name: steps if name == "steps" else value}
    try:
        other = tampered(rig, change, fits=fits)
    except SentinelError:
        return  # the journal itself refuses a history that contradicts itself
    click_and_run(other, made)
    assert other.sent() == []


LIVE_VALUES = st.one_of(st.integers(0, 20), st.sampled_from(["ACTIVE", "DRAINING", "ecs-svc/2", ""]), st.booleans())


@given(st.sampled_from(["status", "desired", "deployment_id", "task_definition", "somebody_added"]), LIVE_VALUES)
@settings(max_examples=60, deadline=None)
def test_a_target_that_changed_in_any_value_is_never_touched(name: str, value: Any) -> None:
    rig, made = asked()
    live = rig.cloud.services[SERVICE]
    assert name not in VOLATILE
    same = name in live and live[name] == value and type(live[name]) is type(value)
    rig.cloud.services[SERVICE][name] = value
    click_and_run(rig, made)
    assert rig.sent() == (["ecs.scale_service 4"] if same else [])


@pytest.mark.parametrize(("name", "value"), [("desired", 3), ("deployment_id", "ecs-svc/9"), ("status", "DRAINING")])
def test_a_target_that_changed_between_approval_and_step_is_never_touched(name: str, value: Any) -> None:
    rig, made = asked()
    asyncio.run(rig.approval().decide(made.plan_id, made.digest, "approve", ANN, "", clicked(made)))
    rig.cloud.services[SERVICE][name] = value

    async def run() -> str:
        incident = await rig.incident()
        executor = rig.execution()
        await executor.settle(incident)
        await asyncio.wait_for(executor.carry_out(ID, made.plan_id), 20)
        return (await rig.incident()).state_reason

    assert "changed since it was approved" in asyncio.run(run())
    assert rig.sent() == []


@given(st.integers(2, 5), st.booleans())
@settings(max_examples=10, deadline=None)
def test_under_another_policy_it_is_never_run(required: int, closed: bool) -> None:
    rig, made = asked()
    demand = Demand(required=required, approvers=frozenset({"api:nobody"}) if closed else frozenset())
    click_and_run(rig, made, policy=ApprovalPolicy(default=demand))
    assert rig.sent() == []


DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)


@given(DIGESTS)
@settings(max_examples=20, deadline=None)
def test_a_word_on_any_other_digest_never_runs(digest: str) -> None:
    rig, made = asked()
    click_and_run(rig, replace(made, digest=digest))
    assert rig.sent() == []


@pytest.mark.parametrize("url", ["memory", "sqlite"])
def test_of_fifty_threads_of_two_people_one_decides_and_all_are_told_who(url: str, tmp_path: Path) -> None:
    rig, made = asked()
    if url == "sqlite":
        # The same history in a real database, and every thread with a journal of its own: no lock but the database's.
        path = f"sqlite:///{tmp_path / 'journal.db'}"
        filled = SqlJournalStore(path)
        filled.append(rig.store.read(ID))
        filled.close()
    answers: list[str] = []
    starting = threading.Barrier(50)

    def press(number: int) -> None:
        store = SqlJournalStore(path) if url == "sqlite" else rig.store
        mine = Rig()
        mine.clock, mine.cloud = rig.clock, rig.cloud
        mine.store, mine.journal = store, JournalActor(store)
        who = ANN if number % 2 else BOB
        decision: Any = "approve" if number % 3 else "reject"
        came = clicked(made, request=f"{number:064x}")
        starting.wait(30)
        stage = mine.approval(cards=False)
        answers.append(asyncio.run(stage.decide(made.plan_id, made.digest, decision, who, "", came)))
        if url == "sqlite":
            store.close()

    threads = [threading.Thread(target=press, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    store = SqlJournalStore(path) if url == "sqlite" else rig.store
    incident = asyncio.run(JournalActor(store).incident(ID))
    assert incident is not None
    record = incident.plans[-1]
    (given,) = record.verdicts
    said = f"{given.decision.removesuffix('e')}ed by {given.principal.name}"
    assert len(answers) == 50
    assert answers.count(said) == 1
    assert all(answer.startswith(f"already decided: {said}") for answer in answers if answer != said)
    assert record.state in (PlanState.APPROVED, PlanState.REJECTED)


def test_a_principal_is_told_from_another_by_id_and_never_by_name() -> None:
    rig, made = asked()
    false_ann = Principal(id="slack:T1/U666", name="Ann", via="slack")
    stage = rig.approval(policy=ApprovalPolicy(default=Demand(approvers=frozenset({ANN.id}))))
    said = asyncio.run(stage.decide(made.plan_id, made.digest, "approve", false_ann, "", clicked(made)))
    assert "not among" in said
