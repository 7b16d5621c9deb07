"""Memory follows the journal: what it lacks, or has otherwise, is written again."""

import asyncio
import threading
from dataclasses import replace
from typing import Any

import pytest

from actors.recollection import Recollection, memory_of
from sentinel.correlation.scope import ANYWHERE
from sentinel.errors import Unavailable
from sentinel.ids import IncidentId
from sentinel.incidents import facts as f
from sentinel.incidents.nouns import Incident
from tests.actors.rig import Rig, eventually
from tests.unit.incidents.make import opened


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def over(rig: Rig, n: int) -> Incident:
    incident = IncidentId(f"inc-20231114-0000000{n}-1")
    return await rig.tell(opened(), f.IncidentResolved(reason="quiet"), incident=incident)


def recollection(rig: Rig, memory: Any = None) -> Recollection:
    return Recollection(memory or rig.memory, 3, rig.journal, rig.clock)


async def test_what_a_crash_kept_from_memory_is_written_and_what_it_has_is_left(rig: Rig) -> None:
    known, lost = await over(rig, 1), await over(rig, 2)
    rig.memory.remember([memory_of(known)])
    assert await recollection(rig).reconcile() == 1
    assert rig.memory.held() == {known.id: known.seq, lost.id: lost.seq}
    assert await recollection(rig).reconcile() == 0


async def test_what_was_remembered_before_the_last_fact_is_written_again(rig: Rig) -> None:
    known = await over(rig, 1)
    rig.memory.remember([replace(memory_of(known), seq=1, outcome="not resolved yet")])
    assert await recollection(rig).reconcile() == 1
    (recalled,) = rig.memory.similar(memory_of(known).vectors, 1)
    assert recalled.memory.outcome == "resolved without a plan"


async def test_what_is_not_over_is_not_remembered(rig: Rig) -> None:
    await rig.tell(opened())
    assert await recollection(rig).reconcile() == 0


async def test_what_goes_on_in_another_is_not_remembered_as_resolved(rig: Rig) -> None:
    known = await over(rig, 1)
    merged = await rig.tell(
        opened(), f.IncidentMerged(into=known.id, reason="one node"), incident=IncidentId("inc-20231114-00000002-1")
    )
    remembering = recollection(rig)
    await remembering.remember(merged)
    assert (rig.memory.held(), remembering.behind()) == ({}, ())
    assert await remembering.reconcile() == 1
    assert await remembering.rebuild() == 1
    assert rig.memory.held() == {known.id: known.seq}


async def test_a_rebuild_forgets_what_the_journal_does_not_know(rig: Rig) -> None:
    known = await over(rig, 1)
    rig.memory.remember([replace(memory_of(known), incident_id=IncidentId("inc-20200101-00000000-1"))])
    assert await recollection(rig).rebuild() == 1
    assert rig.memory.held() == {known.id: known.seq}


async def test_a_memory_that_is_away_is_brought_level_when_it_is_back(rig: Rig) -> None:
    known = await over(rig, 1)

    class Away:
        note = ""
        times = 2

        def held(self) -> Any:
            self.times -= 1
            if self.times >= 0:
                raise Unavailable("Qdrant restarts")
            return rig.memory.held()

        def remember(self, memories: Any) -> None:
            rig.memory.remember(memories)

    keeping = asyncio.create_task(recollection(rig, Away()).keep_level())
    await eventually(rig.memory.held)
    await keeping
    assert rig.memory.held() == {known.id: known.seq}


async def test_a_memory_that_is_slow_keeps_no_incident_waiting(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.recollection._WITHIN_S", 0.02)
    known, answers = await over(rig, 1), threading.Event()

    class Slow:
        note = ""

        def similar(self, *_: Any) -> Any:
            answers.wait(5)
            return []

    similar, note = await recollection(rig, Slow()).similar(memory_of(known).vectors, ANYWHERE)
    answers.set()
    assert (similar, note) == ((), "no history: memory did not answer within 0.02 s")
