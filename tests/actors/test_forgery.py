"""Somebody who may write to the database makes an approval there: hash chain and all, and nothing runs."""

from dataclasses import replace
from pathlib import Path

import pytest

from actors.journal import JournalActor
from sentinel.adapters.sql_journal import SqlJournalStore
from sentinel.incidents import facts as f
from sentinel.incidents.nouns import PlanRecord, PlanState, Verdict
from sentinel.remediation.proof import unproven
from sentinel.remediation.sealing import seal_holds, sealed
from tests.actors.rig import Rig
from tests.unit.incidents.make import ID, approved, chained, opened, plan, reboot, told, verdict

KEY = b"the key that the database does not hold"
MADE = plan(*reboot())


def prove(record: PlanRecord) -> str:
    def witness(plan_id: str, word: Verdict) -> str:
        return "" if seal_holds(KEY, plan_id, word) else "it does not bear our seal"

    return unproven(record, witness)


def facts_with(word: Verdict) -> list[f.Fact]:
    made = approved(MADE)
    return [opened(), *(replace(fact, verdict=word) if isinstance(fact, f.VerdictGiven) else fact for fact in made)]


@pytest.mark.parametrize(
    ("word", "runs"),
    [
        (verdict(MADE), False),
        (replace(verdict(MADE), seal="0" * 64), False),
        (sealed(b"a guess", MADE.plan_id, verdict(MADE)), False),
        (sealed(KEY, "another plan", verdict(MADE)), False),
        (sealed(KEY, MADE.plan_id, verdict(MADE)), True),
    ],
    ids=["no seal", "any seal", "sealed with another key", "a seal of another plan", "the true word"],
)
async def test_a_whole_history_written_by_hand_runs_only_with_a_true_word(
    tmp_path: Path, word: Verdict, runs: bool
) -> None:
    rig = Rig()
    store = SqlJournalStore(f"sqlite:///{tmp_path}/journal.db")
    store.append(chained(told(facts_with(word))))  # what a hand with an INSERT can do as well
    rig.store, rig.journal = store, JournalActor(store)
    assert await rig.journal.audit() == [], "the chain alone does not give it away"
    await rig.execution(prove=prove).carry_out(ID, MADE.plan_id)
    assert rig.sent() == (["ec2.reboot_instance"] if runs else [])
    record = await rig.plan()
    assert record.state is (PlanState.SUCCEEDED if runs else PlanState.ROLLED_BACK)
    if not runs:
        assert "it does not bear our seal" in record.ended_reason
    store.close()
