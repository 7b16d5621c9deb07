"""The journal: what it records, what it refuses, who hears of it, and two of them on one store."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from actors.journal import JournalActor
from sentinel.codec import record_of
from sentinel.errors import Conflict, IllegalTransition, Invalid, OutcomeUnknown, Unavailable
from sentinel.ids import IncidentId
from sentinel.incidents import facts as f
from sentinel.incidents.history import replay
from sentinel.incidents.nouns import SENTINEL, Incident, IncidentState
from tests.actors.rig import Proxy, Rig
from tests.unit.incidents.make import ANN, ID, T0, alert, approved, opened, plan, posted, told, verdict

OTHER = IncidentId("inc-20231115-ffffffff-1")


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def put(journal: JournalActor, seq: int, *facts: f.Fact, incident: IncidentId = ID) -> Incident:
    return await journal.append(incident, seq, facts, SENTINEL, T0 + seq)


async def test_what_was_recorded_is_there_after_a_restart(rig: Rig) -> None:
    incident = await put(rig.journal, 0, opened(), *approved(plan()))
    again = JournalActor(rig.store)
    assert await again.incident(ID) == incident == await rig.journal.incident(ID)
    assert await again.position() == 5
    assert replay(await again.entries(ID)) == incident


async def test_who_and_when_are_recorded(rig: Rig) -> None:
    await rig.journal.append(ID, 0, [opened()], ANN, T0 + 7)
    (entry,) = await rig.journal.entries(ID)
    assert (entry.principal, entry.at_ms, entry.seq) == (ANN, T0 + 7, 1)


async def test_what_nobody_recorded_is_not_there(rig: Rig) -> None:
    assert await rig.journal.incident(ID) is None
    assert await rig.journal.entries(ID) == []
    assert await rig.journal.unresolved() == []


@pytest.mark.parametrize("seq", [0, 2, 99])
async def test_a_caller_that_did_not_see_the_last_entry_is_told(rig: Rig, seq: int) -> None:
    await put(rig.journal, 0, opened())
    with pytest.raises(Conflict, match=f"is at entry 1, not {seq}"):
        await put(rig.journal, seq, posted())
    assert len(rig.store.read(ID)) == 1


async def test_an_illegal_fact_takes_the_legal_ones_beside_it_with_it(rig: Rig) -> None:
    before = await put(rig.journal, 0, opened())
    with pytest.raises(IllegalTransition):
        await put(rig.journal, 1, posted(), f.PlanSucceeded(plan_id=plan().plan_id, reason=""))
    assert await rig.journal.incident(ID) == before
    assert len(rig.store.read(ID)) == 1


async def test_no_facts_are_no_entry(rig: Rig) -> None:
    with pytest.raises(Conflict, match="no facts"):
        await put(rig.journal, 0)
    await put(rig.journal, 0, opened())
    with pytest.raises(Conflict, match="no facts"):
        await put(rig.journal, 1)


async def test_what_could_not_be_read_back_is_not_written(rig: Rig) -> None:
    with pytest.raises(Invalid):
        await put(rig.journal, 0, opened(alert(value=float("nan"))))
    assert rig.store.read(ID) == []
    await put(rig.journal, 0, opened())


async def test_of_many_writers_of_one_entry_one_wins(rig: Rig) -> None:
    await put(rig.journal, 0, opened())
    answers = await asyncio.gather(*(put(rig.journal, 1, posted(n)) for n in range(20)), return_exceptions=True)
    assert sum(isinstance(answer, Incident) for answer in answers) == 1
    assert sum(isinstance(answer, Conflict) for answer in answers) == 19
    assert len(rig.store.read(ID)) == 2


async def test_views(rig: Rig) -> None:
    await put(rig.journal, 0, opened(), f.IncidentResolved(reason="quiet"))
    await put(rig.journal, 0, replace(opened(alert("web"))), incident=OTHER)
    third = IncidentId("inc-20231116-00000000-1")
    await rig.journal.append(third, 0, [opened()], SENTINEL, T0 + 60_000)
    assert [each.id for each in await rig.journal.unresolved()] == [OTHER, third]
    assert [each.id for each in await rig.journal.incidents()] == [third, OTHER, ID]
    nowhere = IncidentId("inc-20231116-00000000-9")
    assert [each.id for each in await rig.journal.those([third, nowhere, ID])] == [third, ID]
    assert [each.id for each in await rig.journal.incidents(IncidentState.RESOLVED)] == [ID]
    assert [each.id for each in await rig.journal.incidents(None, "web")] == [OTHER]
    assert [each.id for each in await rig.journal.incidents(limit=1)] == [third]
    assert [each.id for each in await rig.journal.incidents(before=third)] == [OTHER, ID]
    assert [each.id for each in await rig.journal.incidents(limit=1, before=OTHER)] == [ID]
    assert await rig.journal.incidents(before=ID) == []


async def test_a_follower_is_woken_by_an_entry(rig: Rig) -> None:
    waiting = asyncio.create_task(rig.journal.follow(0, timeout_s=30))
    await asyncio.sleep(0)
    await put(rig.journal, 0, opened(), posted())
    followed = await asyncio.wait_for(waiting, 5)
    assert (followed.incident_ids, followed.position) == ((ID,), 2)


async def test_a_follower_that_comes_late_is_told_at_once(rig: Rig) -> None:
    await put(rig.journal, 0, opened(), posted())
    followed = await asyncio.wait_for(rig.journal.follow(1, timeout_s=30), 5)
    assert (followed.incident_ids, followed.position) == ((ID,), 2)


async def test_a_follower_is_told_of_each_incident_once_in_the_order_of_the_newest_entries(rig: Rig) -> None:
    third = IncidentId("inc-20231116-00000000-3")
    for seq, facts, incident in ((0, opened(), ID), (0, opened(), OTHER), (0, opened(), third), (1, posted(), ID)):
        await put(rig.journal, seq, facts, incident=incident)
    for journal in (rig.journal, JournalActor(rig.store)):
        assert (await journal.follow(0, 30)).incident_ids == (OTHER, third, ID)
        assert (await journal.follow(2, 30)).incident_ids == (third, ID)


async def test_a_follower_of_a_quiet_journal_is_let_go(rig: Rig) -> None:
    await put(rig.journal, 0, opened())
    followed = await rig.journal.follow(1, timeout_s=0.01)
    assert (followed.incident_ids, followed.position) == ((), 1)


async def test_a_follower_that_is_cancelled_leaves_the_others_alone(rig: Rig) -> None:
    gone = asyncio.create_task(rig.journal.follow(0, timeout_s=30))
    stays = asyncio.create_task(rig.journal.follow(0, timeout_s=30))
    await asyncio.sleep(0)
    gone.cancel()
    await put(rig.journal, 0, opened())
    assert (await asyncio.wait_for(stays, 5)).position == 1


async def test_the_audit_names_the_entry_that_was_changed(rig: Rig) -> None:
    await put(rig.journal, 0, opened(), posted(), posted(2))
    assert await rig.journal.audit() == []
    history = rig.store._histories[ID]
    history[1] = replace(history[1], body=history[1].body.replace("C1", "C2"))
    (broken,) = await rig.journal.audit()
    assert (broken.incident_id, broken.seq) == (ID, 2)


# Two journals on one store: an actor name is no mutex, the store's key (incident, sequence) is.


async def test_the_one_that_lost_the_race_takes_in_what_the_other_wrote(rig: Rig) -> None:
    one, other = JournalActor(rig.store), JournalActor(rig.store)
    await put(one, 0, opened())
    with pytest.raises(Conflict):
        await put(other, 0, opened())
    assert await other.incident(ID) == await one.incident(ID)
    await put(other, 1, posted())
    with pytest.raises(Conflict):
        await put(one, 1, posted(2))
    assert await one.incident(ID) == await other.incident(ID)
    assert rig.chain_holds()


async def test_entries_of_the_other_that_lie_between_ones_own_are_not_stepped_over(rig: Rig) -> None:
    one, other = JournalActor(rig.store), JournalActor(rig.store)
    await put(one, 0, opened())
    await put(other, 0, opened(), incident=OTHER)
    await put(one, 1, posted())  # its position now lies behind the other's entry
    assert await one.incident(OTHER) is not None
    await put(one, 1, posted(), incident=OTHER)
    assert (await JournalActor(rig.store).incident(OTHER)) == await one.incident(OTHER)


async def test_a_follower_hears_of_the_others_entries(rig: Rig) -> None:
    one, other = JournalActor(rig.store), JournalActor(rig.store)
    await put(other, 0, opened())
    followed = await one.follow(0, timeout_s=0.01)
    assert followed.incident_ids == (ID,)
    assert (await one.incident(ID)) is not None


async def test_two_journals_never_record_two_decisions(rig: Rig) -> None:
    journals = [JournalActor(rig.store) for _ in range(4)]
    made = plan()
    seq = (await put(journals[0], 0, opened(), *approved(made)[:2])).seq
    decided = [
        f.VerdictGiven(plan_id=made.plan_id, verdict=verdict(made)),
        f.PlanApproved(plan_id=made.plan_id, digest=made.digest, reason=""),
    ]
    answers = await asyncio.gather(*(put(each, seq, *decided) for each in journals), return_exceptions=True)
    assert sum(isinstance(answer, Incident) for answer in answers) == 1
    assert (await rig.kinds()).count("plan_approved") == 1


async def test_a_store_that_does_not_answer_changes_nothing(rig: Rig) -> None:
    calls: list[str] = []

    def away(name: str) -> None:
        calls.append(name)
        if name == "append" and calls.count("append") == 1:
            raise Unavailable("locked")

    store: Any = Proxy(rig.store, before=away)
    journal = JournalActor(store)
    with pytest.raises(Unavailable):
        await put(journal, 0, opened())
    assert await journal.incident(ID) is None
    assert (await put(journal, 0, opened())).seq == 1


async def test_an_append_that_was_written_and_not_answered_is_taken_in(rig: Rig) -> None:
    def lost(name: str) -> None:
        if name == "append":
            raise OutcomeUnknown("the answer was lost")

    store: Any = Proxy(rig.store, after=lost)
    journal = JournalActor(store)
    with pytest.raises(OutcomeUnknown):
        await put(journal, 0, opened())
    known = await journal.incident(ID)
    assert known is not None
    assert known.seq == 1


async def test_a_record_of_a_later_version_stops_the_start_and_is_named(rig: Rig) -> None:
    record = record_of(told([opened()])[0])
    rig.store._records.append(replace(record, kind="incident_teleported"))
    with pytest.raises(Invalid, match=r"incident_teleported.*entry 1 of inc-20231114"):
        JournalActor(rig.store)
