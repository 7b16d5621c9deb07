"""The correlation stage: which anomalies become which incidents, when they are over, and what is remembered."""

import asyncio
from typing import Any

import pytest

from actors.journal import JournalActor
from sentinel.detection.anomaly import Condition
from sentinel.errors import Conflict, Unavailable
from sentinel.incidents import facts as f
from sentinel.incidents.nouns import Incident, IncidentState, PlanState
from tests.actors.rig import Proxy, Rig, anomaly, ended, eventually
from tests.unit.incidents.make import T0, approved, plan


@pytest.fixture
def rig() -> Rig:
    made = Rig()
    made.book.otherwise = Condition.ANOMALOUS
    return made


async def incidents(rig: Rig) -> list[Incident]:
    """Every incident, oldest first."""
    return list(reversed(await JournalActor(rig.store).incidents()))


async def placed(rig: Rig, *anomalies: Any, **kwargs: Any) -> list[Incident]:
    stage = rig.correlation(**kwargs)
    await stage.submit(anomalies)
    await stage.group()
    return await incidents(rig)


async def test_anomalies_of_one_fault_are_one_incident(rig: Rig) -> None:
    (incident,) = await placed(rig, anomaly("payments", score=40), anomaly("checkout", score=20, started_s=1))
    assert incident.state is IncidentState.OPEN
    assert incident.services == ("payments", "checkout")
    assert incident.suspects[0].service == "payments"
    assert "checkout calls payments" in incident.reason
    assert incident.id.startswith("inc-20231114-")


async def test_company_is_waited_for_and_no_longer_than_said(rig: Rig) -> None:
    stage = rig.correlation()
    await stage.submit([anomaly("payments")])
    begun = rig.clock.now_ms()
    running = asyncio.create_task(stage._group_for_ever())
    (incident,) = await eventually(lambda: incidents(rig))
    await ended([running])
    assert 10_000 <= incident.opened_at_ms - begun <= 10_200


async def test_what_comes_while_one_waits_is_grouped_with_it(rig: Rig) -> None:
    stage = rig.correlation()
    await stage.submit([anomaly("payments")])
    rig.clock.advance(9)
    await stage.submit([anomaly("checkout", started_s=9)])
    await stage.group()
    (incident,) = await incidents(rig)
    assert incident.services == ("payments", "checkout")


async def test_a_late_alert_joins_with_its_reason(rig: Rig) -> None:
    await placed(rig, anomaly("payments"))
    (incident,) = await placed(rig, anomaly("checkout", started_s=60))
    assert incident.services == ("payments", "checkout")
    raised = (await rig.journal.entries(incident.id))[-1].fact
    assert isinstance(raised, f.AlertRaised)
    assert f"joins {incident.id}: checkout calls payments" in raised.reason


async def test_a_service_that_is_no_neighbour_gets_an_incident_of_its_own(rig: Rig) -> None:
    await placed(rig, anomaly("payments"))
    assert len(await placed(rig, anomaly("somewhere-else", started_s=60))) == 2


async def test_a_burst_joins_whatever_order_it_comes_in(rig: Rig) -> None:
    # Starts decide the order: web comes first, and is near only once checkout is part of it.
    await placed(rig, anomaly("payments"))
    (incident,) = await placed(rig, anomaly("web", started_s=60), anomaly("checkout", started_s=61))
    assert incident.services == ("payments", "checkout", "web")


async def test_the_same_anomaly_told_twice_changes_nothing(rig: Rig) -> None:
    await placed(rig, anomaly("payments"), anomaly("payments"))
    (incident,) = await placed(rig, anomaly("payments"))
    assert (incident.seq, incident.occurrences) == (1, 1)


async def test_what_got_worse_and_then_ended_while_it_waited_is_one_alert(rig: Rig) -> None:
    worse, over = anomaly(last_s=9, score=50.0), anomaly(last_s=9, ended_s=12)
    (incident,) = await placed(rig, anomaly(), worse, over)
    assert (incident.alerts[0].score, incident.alerts[0].open) == (50.0, False)


async def test_what_harms_nobody_is_no_incident(rig: Rig) -> None:
    assert await placed(rig, anomaly("web", "requests_per_second")) == []


async def test_the_same_fault_on_a_stranger_is_folded_with_its_reason(rig: Rig) -> None:
    first = anomaly("payments", labels={"pod": "a"})
    await placed(rig, first)
    # The alert of the first is over, so that the second does not simply join by its service.
    (incident,) = await incidents(rig)
    cleared = f.AlertCleared(fingerprint=incident.alerts[0].fingerprint, ended_at_ms=T0 + 6_000)
    await rig.tell(cleared, incident=incident.id)
    (folded,) = await placed(rig, anomaly("payments", started_s=400, labels={"pod": "b"}))
    assert folded.occurrences == 2
    fact = (await rig.journal.entries(incident.id))[-1].fact
    assert isinstance(fact, f.DuplicateFolded)
    assert f"the same fault as {incident.id}: similarity" in fact.reason
    assert (fact.threshold, fact.similarity >= 0.8) == (0.8, True)


async def test_a_fault_that_is_back_opens_a_new_incident_that_names_the_old(rig: Rig) -> None:
    (old,) = await placed(rig, anomaly("payments"))
    await rig.tell(f.IncidentResolved(reason="by hand"), incident=old.id)
    old, new = await placed(rig, anomaly("payments", started_s=120))
    assert old.state is IncidentState.RESOLVED
    assert new.previous_id == old.id
    assert new.id.rpartition("-")[2] == "2"
    assert "is back" in new.reason


async def test_a_detector_that_repeats_itself_does_not_reopen_what_is_over(rig: Rig) -> None:
    (old,) = await placed(rig, anomaly("payments"))
    await rig.tell(f.IncidentResolved(reason="by hand"), incident=old.id)
    assert len(await placed(rig, anomaly("payments", last_s=30, score=40))) == 1


async def test_an_old_history_replayed_in_a_minute_makes_separate_incidents(rig: Rig) -> None:
    hour = 3600.0
    times = [-50 * hour, -30 * hour, -10 * hour]
    found = await placed(rig, *(anomaly("payments", started_s=at, last_s=at + 60, ended_s=at + 60) for at in times))
    assert len(found) == 3
    assert len({incident.id for incident in found}) == 3


async def test_an_incident_is_over_when_its_series_have_been_back_for_a_while(rig: Rig) -> None:
    (incident,) = await placed(rig, anomaly("payments"), anomaly("checkout"))
    stage = rig.correlation()
    await stage.settle(incident)
    assert (await rig.kinds(incident.id)).count("alert_cleared") == 0
    rig.book.otherwise = Condition.NORMAL
    await stage.settle(incident)
    (incident,) = await incidents(rig)
    assert not any(alert.open for alert in incident.alerts)
    assert incident.state is IncidentState.OPEN
    rig.clock.advance(59)
    await stage.settle(incident)
    assert (await incidents(rig))[0].state is IncidentState.OPEN
    rig.clock.advance(1)
    await stage.settle(incident)
    (incident,) = await incidents(rig)
    assert (incident.state, incident.state_reason) == (IncidentState.RESOLVED, "every series is back to normal")


async def test_a_silent_series_is_not_back(rig: Rig) -> None:
    (incident,) = await placed(rig, anomaly("payments"))
    rig.book.otherwise = Condition.NO_DATA
    rig.clock.advance(3600)
    await rig.correlation().settle(incident)
    assert (await incidents(rig))[0] == incident


@pytest.mark.parametrize("asked", [False, True], ids=["proposed", "awaiting approval"])
async def test_what_recovers_before_anybody_decided_withdraws_its_plan(rig: Rig, asked: bool) -> None:
    (incident,) = await placed(rig, anomaly("payments"))
    made = plan(incident=incident.id)
    incident = await rig.tell(*approved(made)[: 2 if asked else 1], incident=incident.id)
    rig.book.otherwise = Condition.NORMAL
    await rig.correlation().settle(incident)
    rig.clock.advance(61)
    await rig.correlation().settle((await incidents(rig))[0])
    (incident,) = await incidents(rig)
    assert incident.state is IncidentState.RESOLVED
    assert incident.plans[0].ended_reason == "recovered before anybody decided"


async def test_an_approved_plan_is_not_withdrawn(rig: Rig) -> None:
    (incident,) = await placed(rig, anomaly("payments"))
    await rig.tell(*approved(plan(incident=incident.id)), incident=incident.id)
    rig.book.otherwise = Condition.NORMAL
    for _ in range(3):
        (incident,) = await incidents(rig)
        await rig.correlation().settle(incident)
        rig.clock.advance(61)
    assert (await incidents(rig))[0].state is IncidentState.MITIGATING


async def test_an_approved_plan_that_is_held_is_withdrawn_when_the_fault_has_gone(rig: Rig) -> None:
    (incident,) = await placed(rig, anomaly("payments"))
    made = plan(incident=incident.id)
    held = f.PlanHeld(plan_id=made.plan_id, reason="the kill switch is on")
    await rig.tell(*approved(made), held, incident=made.incident_id)
    rig.book.otherwise = Condition.NORMAL
    for _ in range(2):
        (incident,) = await incidents(rig)
        await rig.correlation().settle(incident)
        rig.clock.advance(61)
    (incident,) = await incidents(rig)
    assert incident.state is IncidentState.RESOLVED
    assert incident.plans[0].state is PlanState.CANCELLED
    assert incident.plans[0].ended_reason == "recovered while the plan was held: the kill switch is on"
    await rig.execution().carry_out(incident.id, made.plan_id)
    assert rig.sent() == []


async def test_a_held_plan_that_was_let_go_is_not_withdrawn(rig: Rig) -> None:
    (incident,) = await placed(rig, anomaly("payments"))
    made = plan(incident=incident.id)
    held = f.PlanHeld(plan_id=made.plan_id, reason="the kill switch is on")
    await rig.tell(*approved(made), held, incident=made.incident_id)
    rig.book.otherwise = Condition.NORMAL
    (incident,) = await incidents(rig)
    await rig.correlation().settle(incident)
    rig.clock.advance(61)
    (quiet,) = await incidents(rig)
    await rig.tell(f.ExecutionStarted(plan_id=made.plan_id, owner="a"), incident=incident.id)
    with pytest.raises(Conflict):
        await rig.correlation().settle(quiet)  # as it was read before the executor took it
    (incident,) = await incidents(rig)
    assert incident.plans[0].state is PlanState.EXECUTING


async def test_what_is_resolved_is_remembered_and_recalled(rig: Rig) -> None:
    (old,) = await placed(rig, anomaly("payments", score=40), anomaly("checkout"))
    old = await rig.tell(f.IncidentResolved(reason="by hand"), incident=old.id)
    await rig.correlation().settle(old)
    later = 3 * 3600.0
    rig.clock.advance(later)
    _, new = await placed(rig, anomaly("payments", started_s=later, score=40), anomaly("checkout", started_s=later + 1))
    assert [similar.incident_id for similar in new.similar] == [old.id]
    assert new.similar[0].outcome == "resolved without a plan"


class Away:
    """A memory that does not answer."""

    note = "Qdrant is not reached"

    def remember(self, memories: Any) -> None:
        raise Unavailable("Qdrant is not reached")

    def similar(self, vectors: Any, limit: int, scope: Any = None) -> Any:
        raise Unavailable("Qdrant is not reached")

    def held(self) -> Any:
        raise Unavailable("Qdrant is not reached")

    def start_over(self) -> None:
        raise Unavailable("Qdrant is not reached")

    def close(self) -> None:
        return None


async def test_without_memory_an_incident_is_opened_all_the_same_and_says_so(rig: Rig) -> None:
    (incident,) = await placed(rig, anomaly("payments"), memory=Away())
    assert incident.memory_note == "no history: Qdrant is not reached"
    assert incident.similar == ()


async def test_what_could_not_be_remembered_is_remembered_later(rig: Rig) -> None:
    (old,) = await placed(rig, anomaly("payments"))
    old = await rig.tell(f.IncidentResolved(reason="by hand"), incident=old.id)
    stage = rig.correlation(memory=Away())
    with pytest.raises(Unavailable):
        await stage.settle(old)
    assert stage._memory.behind() == (old.id,)
    stage._memory._memory = rig.memory
    await stage.settle(old)
    assert stage._memory.behind() == ()
    assert len(rig.memory._memories) == 1


async def test_a_restart_takes_up_what_is_unusual_now(rig: Rig) -> None:
    rig.book.anomalies = [anomaly("payments")]
    rig.book.errors = [Unavailable("the detectors restart")]
    running = asyncio.create_task(rig.correlation().run())
    await eventually(lambda: incidents(rig))
    await ended([running])
    assert rig.book.errors == []


async def test_a_restart_opens_nothing_twice(rig: Rig) -> None:
    await placed(rig, anomaly("payments"))
    rig.book.anomalies = [anomaly("payments")]
    stage = rig.correlation()
    await stage._take_up_open_anomalies()
    await stage.group()
    assert len(await incidents(rig)) == 1


async def test_a_journal_that_is_away_loses_no_alert(rig: Rig) -> None:
    fails = 3

    def away(name: str) -> None:
        nonlocal fails
        if name == "append" and fails:
            fails -= 1
            raise Unavailable("the journal restarts")

    stage = rig.correlation(journal=Proxy(rig.journal, before=away))
    await stage.submit([anomaly("payments"), anomaly("somewhere-else")])
    for _ in range(6):
        await stage.group()
    assert len(await incidents(rig)) == 2
    assert stage._waiting == {}


async def test_two_correlations_on_one_journal_open_one_incident(rig: Rig) -> None:
    stages = [rig.correlation(), rig.correlation()]
    for stage in stages:
        await stage.submit([anomaly("payments")])
    await asyncio.gather(*(stage.group() for stage in stages))
    for stage in stages:  # the one that lost tries again
        await stage.group()
    (incident,) = await incidents(rig)
    assert (incident.seq, incident.occurrences) == (1, 1)


async def test_an_incident_that_moves_on_meanwhile_is_looked_at_again(rig: Rig) -> None:
    (incident,) = await placed(rig, anomaly("payments"))
    rig.book.otherwise = Condition.NORMAL
    stale = incident
    await rig.tell(f.IncidentEscalated(reason="by hand"), incident=incident.id)
    with pytest.raises(Conflict):
        await rig.correlation().settle(stale)
    assert (await rig.kinds(incident.id))[-1] == "incident_escalated"
