"""Silences: what they keep from people, that it is kept and counted, and how it comes back."""

from typing import Any

import pytest

from actors.correlation import CorrelationActor
from actors.journal import JournalActor
from sentinel.adapters.in_memory_silences import InMemorySilenceStore
from sentinel.correlation.silences import Matcher, silence
from sentinel.detection.anomaly import Condition
from sentinel.errors import NotFound, Unavailable
from sentinel.incidents.nouns import Incident, Principal
from tests.actors.rig import Rig, anomaly
from tests.unit.incidents.make import T0

HOUR = 3_600_000


@pytest.fixture
def rig() -> Rig:
    made = Rig()
    made.book.otherwise = Condition.ANOMALOUS
    made.journal = JournalActor(made.store, silences=InMemorySilenceStore())
    return made


async def quiet(rig: Rig, service: str = "payments", lasts_ms: int = HOUR) -> str:
    made = silence([Matcher(name="service", value=service)], T0, T0 + lasts_ms, "Ann", "a deploy", T0)
    return (await rig.journal.add_silence(made)).id


async def placed(rig: Rig, *anomalies: Any) -> tuple[CorrelationActor, Incident]:
    stage = rig.correlation(silences=rig.journal)
    await stage.submit(anomalies)
    await stage.group()
    (incident,) = await rig.journal.incidents()
    return stage, incident


async def test_a_silenced_incident_is_kept_and_counted_and_nobody_is_told(rig: Rig) -> None:
    silenced_by = await quiet(rig)
    _, incident = await placed(rig, anomaly("payments"))
    assert (incident.silenced, incident.silenced_by) == (True, silenced_by)
    await rig.approval().settle(incident)
    assert (rig.messenger.posted, await rig.kinds(incident.id)) == ([], ["incident_opened"])
    assert await rig.journal.silenced_counts() == {silenced_by: 1}


async def test_what_is_not_covered_is_told(rig: Rig) -> None:
    await quiet(rig, "somewhere-else")
    _, incident = await placed(rig, anomaly("payments"))
    assert not incident.silenced


async def test_when_it_ends_and_the_fault_goes_on_people_are_told(rig: Rig) -> None:
    silenced_by = await quiet(rig)
    stage, incident = await placed(rig, anomaly("payments"))
    await stage.settle(incident)
    assert (await rig.journal.incident(incident.id)).silenced
    await rig.journal.end_silence(silenced_by, rig.clock.now_ms() + 1, "Bob")
    rig.clock.advance(1)
    await stage.settle(await rig.journal.incident(incident.id))
    told = await rig.journal.incident(incident.id)
    assert (told.silenced, told.silenced_by) == (False, silenced_by)
    approval = rig.approval()
    for _ in range(2):  # a plan is proposed, then people are asked
        rig.clock.advance(2)
        await approval.settle(await rig.journal.incident(incident.id))
    assert len(rig.messenger.posted) == 1
    assert await rig.journal.silenced_counts() == {silenced_by: 1}


async def test_when_something_else_joins_people_are_told(rig: Rig) -> None:
    await quiet(rig)
    stage, incident = await placed(rig, anomaly("payments"))
    await stage.submit([anomaly("checkout", started_s=60)])
    await stage.group()
    await stage.settle(await rig.journal.incident(incident.id))
    assert not (await rig.journal.incident(incident.id)).silenced


async def test_one_that_is_over_under_its_silence_stays_quiet(rig: Rig) -> None:
    await quiet(rig)
    stage, incident = await placed(rig, anomaly("payments", ended_s=20))
    rig.clock.advance(2 * HOUR / 1000)
    await stage.settle(incident)
    assert "silence_ended" not in await rig.kinds(incident.id)
    assert (await rig.kinds(incident.id))[-1] == "incident_resolved"


async def test_the_silence_of_what_is_over_need_not_hold(rig: Rig) -> None:
    await quiet(rig, "payments", 60_000)
    await quiet(rig, "checkout")
    stage, incident = await placed(rig, anomaly("payments", ended_s=20), anomaly("checkout"))
    assert incident.silenced
    rig.clock.advance(120)
    await stage.settle(incident)
    assert (await rig.journal.incident(incident.id)).silenced
    rig.clock.advance(HOUR / 1000)
    await stage.settle(await rig.journal.incident(incident.id))
    assert not (await rig.journal.incident(incident.id)).silenced


async def test_what_is_split_off_a_silenced_incident_is_silenced_too(rig: Rig) -> None:
    silenced_by = await quiet(rig)
    stage, incident = await placed(rig, *(anomaly("payments", labels={"pod": pod}) for pod in "ab"))
    leaving = incident.alerts[1].fingerprint
    await stage.not_duplicate(incident.id, (leaving,), Principal(id="anna", name="Anna", via="api"), "another pod")
    (new,) = [each for each in await rig.journal.incidents() if each.id != incident.id]
    assert (new.silenced, new.silenced_by) == (True, silenced_by)
    await rig.approval().settle(new)
    assert rig.messenger.posted == []
    await rig.journal.end_silence(silenced_by, rig.clock.now_ms() + 1, "Bob")
    rig.clock.advance(1)
    await stage.settle(new)
    assert not (await rig.journal.incident(new.id)).silenced


async def test_a_journal_without_silences_says_so(rig: Rig) -> None:
    with pytest.raises(Unavailable):
        await JournalActor(rig.store).silences()
    with pytest.raises(NotFound):
        await rig.journal.end_silence("sil-000000000000", T0, "Bob")
