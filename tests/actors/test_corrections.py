"""What people say of duplicates: recorded, honoured by the next decision, and finished after a crash."""

from typing import Any

import pytest

from actors.correlation import CorrelationActor
from actors.journal import JournalActor
from sentinel.detection.anomaly import Condition
from sentinel.errors import Conflict, Invalid, NotFound, Unavailable
from sentinel.incidents import facts as f
from sentinel.incidents.nouns import Incident, IncidentState, Principal
from tests.actors.rig import Proxy, Rig, anomaly
from tests.unit.incidents.make import approved, plan

ANNA = Principal(id="anna", name="Anna", via="api")


@pytest.fixture
def rig() -> Rig:
    made = Rig()
    made.book.otherwise = Condition.ANOMALOUS
    return made


async def incidents(rig: Rig) -> list[Incident]:
    return list(reversed(await JournalActor(rig.store).incidents()))


async def place(stage: CorrelationActor, *anomalies: Any) -> None:
    await stage.submit(anomalies)
    await stage.group()


async def over(rig: Rig, incident: Incident) -> None:
    """Every alert of it is back."""
    cleared = [
        f.AlertCleared(fingerprint=each.fingerprint, ended_at_ms=each.last_at_ms)
        for each in incident.alerts
        if each.open
    ]
    if cleared:
        await rig.tell(*cleared, incident=incident.id)


async def folded(rig: Rig, stage: CorrelationActor) -> Incident:
    """An incident into which the same fault on another pod was folded 400 s later."""
    await place(stage, anomaly("payments", labels={"pod": "a"}))
    (incident,) = await incidents(rig)
    await over(rig, incident)
    await stage.settle(await rig.incident(incident.id))
    await place(stage, anomaly("payments", started_s=400, labels={"pod": "b"}))
    (incident,) = await incidents(rig)
    assert incident.occurrences == 2
    return incident


async def test_what_was_folded_in_last_is_split_off(rig: Rig) -> None:
    stage = rig.correlation()
    incident = await folded(rig, stage)
    answer = await stage.not_duplicate(incident.id, (), ANNA, "another cluster")
    old, new = await incidents(rig)
    assert answer == f"1 alert of {old.id} are incident {new.id} now"
    assert [each.labels["pod"] for each in old.alerts] == ["a"]
    assert [each.labels["pod"] for each in new.alerts] == ["b"]
    assert old.occurrences == 1
    assert new.reason == f"not the same as {old.id}, says Anna: another cluster"
    entry = (await rig.journal.entries(old.id))[-1]
    assert (entry.fact.kind, entry.principal) == ("told_apart", ANNA)


async def test_the_next_decision_honours_it_after_a_restart_as_well(rig: Rig) -> None:
    stage = rig.correlation()
    incident = await folded(rig, stage)
    await stage.not_duplicate(incident.id, (), ANNA, "another cluster")
    for each in await incidents(rig):
        await over(rig, each)
    await place(rig.correlation(), anomaly("payments", started_s=800, labels={"pod": "c"}))
    # Not into the one that it was split from, however alike; the other is free to take it in.
    found = {each.alerts[0].labels["pod"]: each for each in await incidents(rig)}
    assert (found["a"].occurrences, found["b"].occurrences) == (1, 2)


async def test_named_alerts_are_split_off(rig: Rig) -> None:
    stage = rig.correlation()
    await place(stage, anomaly("payments", score=40), anomaly("checkout", score=20))
    (incident,) = await incidents(rig)
    leaving = next(each for each in incident.alerts if each.service == "checkout")
    await stage.not_duplicate(incident.id, (leaving.fingerprint,), ANNA, "")
    old, new = sorted(await incidents(rig), key=lambda each: each.services)[::-1]
    assert (old.services, new.services) == (("payments",), ("checkout",))
    assert [suspect.service for suspect in old.suspects] == ["payments"]


async def test_an_incident_that_is_no_return_says_so(rig: Rig) -> None:
    stage = rig.correlation()
    await place(stage, anomaly("payments"))
    (old,) = await incidents(rig)
    await rig.tell(f.IncidentResolved(reason="by hand"), incident=old.id)
    await stage.settle(await rig.incident(old.id))
    await place(stage, anomaly("payments", started_s=120))
    _, new = await incidents(rig)
    assert new.previous_id == old.id
    assert await stage.not_duplicate(new.id, (), ANNA, "") == f"{new.id} is no return of {old.id}"
    assert (await rig.incident(new.id)).previous_id is None


async def test_one_that_is_the_same_as_another_is_counted_there(rig: Rig) -> None:
    stage = rig.correlation()
    await place(stage, anomaly("payments"))
    await place(stage, anomaly("somewhere-else", "memory_usage", started_s=60))
    one, other = await incidents(rig)
    assert await stage.same_as(other.id, one.id, ANNA, "one node") == f"{other.id} is counted in {one.id}"
    one, other = await rig.incident(one.id), await rig.incident(other.id)
    assert (one.occurrences, one.services) == (2, ("payments", "somewhere-else"))
    assert (other.state, other.merged_into) == (IncidentState.RESOLVED, one.id)
    assert other.state_reason == f"the same as {one.id}, says Anna: one node"
    # The next of its kind is folded, for the incident has both faces now.
    for each in (one, other):
        await over(rig, each)
    await place(rig.correlation(), anomaly("somewhere-else", "memory_usage", started_s=900, labels={"pod": "z"}))
    assert len(await incidents(rig)) == 2
    assert (await rig.incident(one.id)).occurrences == 3


async def test_one_that_is_the_same_as_what_is_over_is_its_return(rig: Rig) -> None:
    stage = rig.correlation()
    await place(stage, anomaly("payments"))
    (old,) = await incidents(rig)
    await rig.tell(f.IncidentResolved(reason="by hand"), incident=old.id)
    await place(stage, anomaly("somewhere-else", started_s=60))
    _, new = await incidents(rig)
    assert "is the return of" in await stage.same_as(new.id, old.id, ANNA, "")
    assert (await rig.incident(new.id)).previous_id == old.id


async def test_a_crash_between_the_two_facts_is_mended_by_looking_again(rig: Rig) -> None:
    stage = rig.correlation()
    await place(stage, anomaly("payments"))
    await place(stage, anomaly("somewhere-else", "memory_usage", started_s=60))
    one, other = await incidents(rig)
    appends = 0

    def dies(name: str) -> None:
        nonlocal appends
        appends += name == "append"
        if appends == 2:
            raise Unavailable("the process ended")

    with pytest.raises(Unavailable):
        await rig.correlation(journal=Proxy(rig.journal, before=dies)).same_as(other.id, one.id, ANNA, "")
    assert (await rig.incident(other.id)).state is IncidentState.OPEN
    await rig.correlation().settle(await rig.incident(one.id))
    assert (await rig.incident(other.id)).merged_into == one.id


async def test_a_split_that_was_cut_short_is_finished_too(rig: Rig) -> None:
    stage = rig.correlation()
    incident = await folded(rig, stage)
    appends = 0

    def dies(name: str) -> None:
        nonlocal appends
        appends += name == "append"
        if appends == 2:
            raise Unavailable("the process ended")

    with pytest.raises(Unavailable):
        await rig.correlation(journal=Proxy(rig.journal, before=dies)).not_duplicate(incident.id, (), ANNA, "")
    assert len(await incidents(rig)) == 1
    after = rig.correlation()
    for _ in range(2):
        await after.settle(await rig.incident(incident.id))
    _, new = await incidents(rig)
    assert [each.labels["pod"] for each in new.alerts] == ["b"]


@pytest.mark.parametrize(
    ("rule", "incident", "fingerprints", "error"),
    [
        ("an incident that does not exist", "inc-1", (), NotFound),
        ("a fingerprint that it does not have", "", ("0" * 16,), Invalid),
        ("nothing was folded and nothing is named", "", (), Invalid),
        ("all of its alerts", "", ("all",), Conflict),
    ],
)
async def test_what_cannot_be_split(rig: Rig, rule: str, incident: str, fingerprints: Any, error: Any) -> None:
    stage = rig.correlation()
    await place(stage, anomaly("payments"))
    (known,) = await incidents(rig)
    if fingerprints == ("all",):
        fingerprints = tuple(each.fingerprint for each in known.alerts)
    with pytest.raises(error):
        await stage.not_duplicate(incident or known.id, fingerprints, ANNA, "")
    assert (await rig.incident(known.id)).seq == known.seq, rule


async def test_while_a_plan_is_live_nothing_is_split_or_merged(rig: Rig) -> None:
    stage = rig.correlation()
    await place(stage, anomaly("payments"))
    await place(stage, anomaly("somewhere-else", "memory_usage", started_s=60))
    one, other = await incidents(rig)
    await rig.tell(*approved(plan(incident=one.id)), incident=one.id)
    with pytest.raises(Conflict, match="has a live plan"):
        await stage.not_duplicate(one.id, (), ANNA, "")
    with pytest.raises(Conflict, match="has a live plan"):
        await stage.same_as(one.id, other.id, ANNA, "")
    # The other way round adds to the plan's incident, which is allowed.
    await stage.same_as(other.id, one.id, ANNA, "")
    with pytest.raises(Conflict, match="is over"):
        await stage.same_as(other.id, one.id, ANNA, "")
    with pytest.raises(Conflict, match="same as itself"):
        await stage.same_as(one.id, one.id, ANNA, "")


async def test_a_merge_that_a_plan_came_between_is_finished_once_the_plan_is_over(rig: Rig) -> None:
    stage = rig.correlation()
    await place(stage, anomaly("payments"))
    await place(stage, anomaly("somewhere-else", "memory_usage", started_s=60))
    one, other = await incidents(rig)
    between = plan(incident=other.id)
    told = f.ToldSame(
        other_id=other.id,
        alerts=other.alerts,
        suspects=one.suspects,
        occurrences=other.occurrences,
        similarity=0.5,
        reason="one node",
    )
    await rig.journal.append(one.id, one.seq, [told], ANNA, rig.clock.now_ms())
    await rig.tell(f.PlanProposed(plan=between), incident=other.id)
    await stage.settle(await rig.incident(one.id))
    assert (await rig.incident(other.id)).merged_into is None
    await rig.tell(f.PlanCancelled(plan_id=between.plan_id, reason="not now"), incident=other.id)
    await stage.settle(await rig.incident(one.id))
    assert (await rig.incident(other.id)).merged_into == one.id


async def test_a_merge_whose_second_fact_comes_too_late_is_counted_once(rig: Rig) -> None:
    stage = rig.correlation()
    await place(stage, anomaly("payments"))
    await place(stage, anomaly("somewhere-else", "memory_usage", started_s=60))
    one, other = await incidents(rig)
    appends = 0

    def too_late(name: str) -> None:
        nonlocal appends
        appends += name == "append"
        if name == "append" and appends == 2:
            raise Conflict("the incident moved on")

    journal = Proxy(rig.journal, before=too_late)
    await rig.correlation(journal=journal).same_as(other.id, one.id, ANNA, "")
    await rig.correlation().settle(await rig.incident(one.id))
    assert (await rig.incident(other.id)).merged_into == one.id
    one = await rig.incident(one.id)
    assert (one.occurrences, len(one.corrections)) == (2, 1)
