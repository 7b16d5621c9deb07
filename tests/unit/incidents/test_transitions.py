"""The walk of both lives, written out once more: what is not here is refused, and changes nothing."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace

import pytest

from sentinel.errors import IllegalTransition
from sentinel.ids import IncidentId
from sentinel.incidents import facts as f
from sentinel.incidents.history import apply
from sentinel.incidents.nouns import (
    LIVE_PLAN_STATES,
    Card,
    Incident,
    IncidentState,
    PlanRecord,
    PlanState,
    StepRecord,
    StepState,
)
from sentinel.incidents.transitions import INCIDENT, PLAN, STEP, next_incident_state, next_plan_state
from tests.unit.incidents.make import (
    ANN,
    BOB,
    ID,
    T0,
    after,
    alert,
    approved,
    opened,
    plan,
    posted,
    restart,
    verdict,
)

# state: fact -> next state; a state alone is an end.
INCIDENT_WALK = """
-: incident_opened -> open
open: alert_raised -> open, alert_cleared -> open, duplicate_folded -> open, card_posted -> open
open: note_posted -> open, incident_acknowledged -> open
open: plan_proposed -> mitigating, incident_escalated -> escalated, incident_resolved -> resolved
open: told_apart -> open, told_same -> open, silence_ended -> open, incident_merged -> resolved
mitigating: alert_raised -> mitigating, alert_cleared -> mitigating, duplicate_folded -> mitigating
mitigating: card_posted -> mitigating, approval_requested -> mitigating, verdict_given -> mitigating
mitigating: note_posted -> mitigating, incident_acknowledged -> mitigating, approval_reminded -> mitigating
mitigating: plan_approved -> mitigating, execution_started -> mitigating, execution_resumed -> mitigating
mitigating: step_started -> mitigating, step_succeeded -> mitigating, step_failed -> mitigating
mitigating: step_unknown -> mitigating, verification_started -> mitigating, rollback_started -> mitigating
mitigating: plan_held -> mitigating, step_resent -> mitigating, undo_resent -> mitigating
mitigating: undo_started -> mitigating, undo_succeeded -> mitigating, undo_failed -> mitigating
mitigating: told_same -> mitigating, silence_ended -> mitigating
mitigating: plan_succeeded -> open, plan_rejected -> escalated, plan_expired -> escalated
mitigating: plan_cancelled -> escalated, plan_rolled_back -> escalated, plan_rollback_failed -> escalated
escalated: alert_raised -> escalated, alert_cleared -> escalated, duplicate_folded -> escalated
escalated: note_posted -> escalated, incident_acknowledged -> escalated
escalated: card_posted -> escalated, plan_proposed -> mitigating, incident_resolved -> resolved
escalated: told_apart -> escalated, told_same -> escalated, silence_ended -> escalated, incident_merged -> resolved
resolved: alert_cleared -> resolved, card_posted -> resolved, note_posted -> resolved
"""
PLAN_WALK = """
-: plan_proposed -> proposed
proposed: approval_requested -> awaiting_approval, plan_expired -> expired, plan_cancelled -> cancelled
awaiting_approval: verdict_given -> awaiting_approval, plan_approved -> approved, plan_rejected -> rejected
awaiting_approval: approval_reminded -> awaiting_approval
awaiting_approval: plan_expired -> expired, plan_cancelled -> cancelled
approved: plan_held -> approved
approved: execution_started -> executing, plan_expired -> expired, plan_cancelled -> cancelled
executing: execution_resumed -> executing, step_started -> executing, step_succeeded -> executing
executing: step_resent -> executing, step_failed -> executing, step_unknown -> executing
executing: verification_started -> verifying, rollback_started -> rolling_back
verifying: execution_resumed -> verifying, plan_succeeded -> succeeded, rollback_started -> rolling_back
rolling_back: execution_resumed -> rolling_back, step_succeeded -> rolling_back, step_failed -> rolling_back
rolling_back: step_unknown -> rolling_back, undo_started -> rolling_back, undo_succeeded -> rolling_back
rolling_back: undo_resent -> rolling_back
rolling_back: undo_failed -> rolling_back, plan_rolled_back -> rolled_back, plan_rollback_failed -> rollback_failed
succeeded
rejected
expired
cancelled
rolled_back
rollback_failed
"""
STEP_WALK = {
    "step_started": {"pending": "started"},
    "step_resent": {"started": "started"},
    "step_succeeded": {"started": "succeeded"},
    "step_failed": {"started": "failed"},
    "step_unknown": {"started": "unknown"},
    "undo_started": {"succeeded": "undo_started", "failed": "undo_started"},
    "undo_resent": {"undo_started": "undo_started"},
    "undo_succeeded": {"undo_started": "undone"},
    "undo_failed": {"undo_started": "undo_failed"},
}


def walk_of(text: str) -> dict[str, dict[str, str]]:
    walk: dict[str, dict[str, str]] = {}
    for line in text.strip().splitlines():
        state, _, moves = line.partition(":")
        row = walk.setdefault(state, {})
        row.update(move.strip().split(" -> ") for move in moves.split(",") if move.strip())
    return walk


def table_of(table: Mapping[str | None, Mapping[type[f.Fact], str]]) -> dict[str, dict[str, str]]:
    return {str(state or "-"): {fact.kind: str(after_) for fact, after_ in row.items()} for state, row in table.items()}


INCIDENTS, PLANS = walk_of(INCIDENT_WALK), walk_of(PLAN_WALK)
P = plan()
PID = P.plan_id
OTHER_ID = IncidentId("inc-20231114-0000beef-1")
FACTS: dict[str, f.Fact] = {
    fact.kind: fact
    for fact in (
        opened(),
        f.AlertRaised(alert=alert("payments"), suspects=(), reason="checkout calls payments"),
        f.AlertCleared(fingerprint=alert().fingerprint, ended_at_ms=T0),
        f.DuplicateFolded(alerts=(alert(),), similarity=0.9, threshold=0.8, reason="the same fault"),
        f.ToldApart(other_id=OTHER_ID, alerts=(), suspects=(), reason="another fault", against=(alert("mail"),)),
        f.ToldSame(
            other_id=OTHER_ID, alerts=(alert("mail"),), suspects=(), occurrences=1, similarity=0.4, reason="one fault"
        ),
        f.IncidentMerged(into=OTHER_ID, reason="one fault"),
        f.SilenceEnded(reason="its time is over"),
        posted(),
        f.NotePosted(card=Card(channel="C1", ts="2.0"), upto_seq=3),
        f.IncidentAcknowledged(by="Ann"),
        f.ApprovalReminded(plan_id=PID, to=(), escalated=False, reason="still waiting"),
        f.IncidentEscalated(reason="no runbook"),
        f.IncidentResolved(reason="quiet"),
        f.PlanProposed(plan=P),
        f.ApprovalRequested(plan_id=PID, asked="in Slack"),
        f.VerdictGiven(plan_id=PID, verdict=verdict(P)),
        f.PlanApproved(plan_id=PID, digest=P.digest, reason="approved by Ann"),
        f.PlanRejected(plan_id=PID, reason="no"),
        f.PlanExpired(plan_id=PID, reason="nobody"),
        f.PlanCancelled(plan_id=PID, reason="withdrawn"),
        f.PlanHeld(plan_id=PID, reason="the kill switch is on"),
        f.ExecutionStarted(plan_id=PID, owner="a"),
        f.ExecutionResumed(plan_id=PID, owner="b"),
        f.StepStarted(plan_id=PID, index=0, previous={"desired": 2}),
        f.StepResent(plan_id=PID, index=0),
        f.StepSucceeded(plan_id=PID, index=0, detail="done"),
        f.StepFailed(plan_id=PID, index=0, detail="refused"),
        f.StepUnknown(plan_id=PID, index=0, detail="no answer"),
        f.VerificationStarted(plan_id=PID),
        f.PlanSucceeded(plan_id=PID, reason="gone"),
        f.RollbackStarted(plan_id=PID, reason="no help", undo=True),
        f.UndoStarted(plan_id=PID, index=0, previous={"desired": 4}),
        f.UndoResent(plan_id=PID, index=0),
        f.UndoSucceeded(plan_id=PID, index=0, detail="undone"),
        f.UndoFailed(plan_id=PID, index=0, detail="refused"),
        f.PlanRolledBack(plan_id=PID, reason="undone"),
        f.PlanRollbackFailed(plan_id=PID, reason="left"),
    )
}
# The state of step 0 under which the guard lets a fact of a plan's row through.
_FITTING_STEP = {
    "step_started": StepState.PENDING,
    "step_resent": StepState.STARTED,
    "step_succeeded": StepState.STARTED,
    "step_failed": StepState.STARTED,
    "step_unknown": StepState.STARTED,
    "verification_started": StepState.SUCCEEDED,
    "undo_started": StepState.SUCCEEDED,
    "undo_resent": StepState.UNDO_STARTED,
    "undo_succeeded": StepState.UNDO_STARTED,
    "undo_failed": StepState.UNDO_STARTED,
}


def incident_in(state: str) -> Incident | None:
    """An incident in that state, with P live where it is mitigating."""
    if state == "-":
        return None
    history: dict[str, list[f.Fact]] = {
        "open": [],
        "mitigating": [FACTS["plan_proposed"]],
        "escalated": [FACTS["incident_escalated"]],
        "resolved": [FACTS["incident_resolved"]],
    }
    return after(opened(), *history[state])


def with_plan(state: str, kind: str) -> Incident:
    """A mitigating incident whose plan P is in `state` and otherwise as the fact's guard wants it."""
    given = (verdict(P),) if kind == "plan_approved" else ()
    record = PlanRecord(
        plan=P,
        state=PlanState(state),
        verdicts=given,
        steps=(StepRecord(state=_FITTING_STEP.get(kind, StepState.PENDING)),),
    )
    incident = after(opened())
    return replace(incident, state=IncidentState.MITIGATING, plans=(record,))


def entry(fact: f.Fact, incident: Incident | None) -> f.Entry:
    return f.Entry(incident_id=ID, seq=incident.seq + 1 if incident else 1, at_ms=T0, principal=ANN, fact=fact)


def test_the_tables_are_the_written_walk() -> None:
    assert table_of(INCIDENT) == INCIDENTS
    assert table_of(PLAN) == PLANS
    walked = {fact.kind: {str(before): str(leads) for before in allowed} for fact, (allowed, leads) in STEP.items()}
    assert walked == STEP_WALK


def test_every_state_and_every_fact_is_in_the_walk() -> None:
    assert set(INCIDENTS) == {"-", *IncidentState}
    assert set(PLANS) == {"-", *PlanState}
    assert set(FACTS) == set(f.FACTS)
    assert {kind for row in INCIDENTS.values() for kind in row} == set(f.FACTS)


def test_mitigating_is_left_exactly_with_the_plan() -> None:
    for kind, leads in INCIDENTS["mitigating"].items():
        ends = {PLANS[state][kind] for state in PLANS if kind in PLANS[state]} - set(LIVE_PLAN_STATES)
        assert (leads != "mitigating") == bool(ends), f"{kind} leads a plan to {ends or 'no end'}"


def test_the_ends_have_no_way_on() -> None:
    assert {state for state, row in PLANS.items() if not row} == set(PlanState) - LIVE_PLAN_STATES
    assert set(INCIDENTS["resolved"].values()) == {"resolved"}


@pytest.mark.parametrize("state", INCIDENTS)
@pytest.mark.parametrize("kind", f.FACTS)
def test_an_incident_takes_the_facts_of_its_row_and_no_other(state: str, kind: str) -> None:
    incident, before = incident_in(state), deepcopy(incident_in(state))
    if kind in INCIDENTS[state]:
        assert next_incident_state(incident, FACTS[kind]) == INCIDENTS[state][kind]
        return
    with pytest.raises(IllegalTransition, match=kind) as refused:
        apply(incident, entry(FACTS[kind], incident))
    assert "\n" not in str(refused.value)
    assert incident == before


@pytest.mark.parametrize("state", PlanState)
@pytest.mark.parametrize("kind", [kind for kind, fact in FACTS.items() if isinstance(fact, f.PlanFact)])
def test_a_plan_takes_the_facts_of_its_row_and_no_other(state: str, kind: str) -> None:
    incident, before = with_plan(state, kind), deepcopy(with_plan(state, kind))
    fact = FACTS[kind]
    assert isinstance(fact, f.PlanFact)
    if kind in PLANS[state]:
        assert next_plan_state(incident, fact) == PLANS[state][kind]
        record = apply(incident, entry(fact, incident)).plan(PID)
        assert record is not None
        assert record.state == PLANS[state][kind]
    else:
        with pytest.raises(IllegalTransition, match=kind):
            apply(incident, entry(fact, incident))
    assert incident == before


@pytest.mark.parametrize("state", StepState)
@pytest.mark.parametrize("kind", STEP_WALK)
def test_a_step_takes_the_facts_of_its_row_and_no_other(state: StepState, kind: str) -> None:
    plan_state = "executing" if kind in ("step_started", "step_resent") else "rolling_back"
    incident = with_plan(plan_state, kind)
    incident = replace(incident, plans=(replace(incident.plans[0], steps=(StepRecord(state=state),)),))
    if state in STEP_WALK[kind]:
        changed = apply(incident, entry(FACTS[kind], incident)).plans[0].steps[0]
        assert changed.state == STEP_WALK[kind][state]
    else:
        with pytest.raises(IllegalTransition, match="does not fit step 0"):
            apply(incident, entry(FACTS[kind], incident))


_TWO = plan(*restart())
_WANTS_TWO = plan(approvals_required=2)
_BUSY = [opened(), *approved(P), FACTS["execution_started"]]
_ASKED_TWO: list[f.Fact] = [
    opened(),
    f.PlanProposed(plan=_WANTS_TWO),
    f.ApprovalRequested(plan_id=PID, asked=""),
    f.VerdictGiven(plan_id=PID, verdict=verdict(_WANTS_TWO)),
]
_OTHER = IncidentId("inc-20231114-ffffffff-1")

GUARDED: dict[str, tuple[list[f.Fact], f.Fact, str]] = {
    "a second live plan": (
        [opened(), f.PlanProposed(plan=P)],
        f.PlanProposed(plan=plan(attempt=2)),
        "plan_proposed cannot follow",
    ),
    "a plan of another incident": ([opened()], f.PlanProposed(plan=plan(incident=_OTHER)), "belongs to inc-20231114-f"),
    "a plan without steps": ([opened()], f.PlanProposed(plan=replace(P, steps=())), "is empty"),
    "a plan id used twice": (
        [opened(), f.PlanProposed(plan=P), FACTS["plan_cancelled"]],
        f.PlanProposed(plan=P),
        "plan_proposed cannot follow",
    ),
    "a fact about a plan that is not there": (
        [opened(), f.PlanProposed(plan=P)],
        f.ApprovalRequested(plan_id=plan(attempt=7).plan_id, asked=""),
        "is not known",
    ),
    "a verdict on another digest": (
        [opened(), f.PlanProposed(plan=P), FACTS["approval_requested"]],
        f.VerdictGiven(plan_id=PID, verdict=verdict(P, digest="0" * 64)),
        "another digest",
    ),
    "a second verdict of one principal": (
        _ASKED_TWO,
        f.VerdictGiven(plan_id=PID, verdict=verdict(_WANTS_TWO, ANN)),
        "already gave a verdict",
    ),
    "an approval with one of two verdicts": (
        _ASKED_TWO,
        f.PlanApproved(plan_id=PID, digest=_WANTS_TWO.digest, reason=""),
        "1 of 2 approvals",
    ),
    "an approval of another digest": (
        [opened(), *approved(P)[:-1]],
        f.PlanApproved(plan_id=PID, digest="0" * 64, reason=""),
        "approvals",
    ),
    "an approval over a rejection": (
        [opened(), *approved(P)[:-1], f.VerdictGiven(plan_id=PID, verdict=verdict(P, BOB, "reject"))],
        FACTS["plan_approved"],
        "was rejected",
    ),
    "a step that is not there": (_BUSY, f.StepStarted(plan_id=PID, index=1, previous={}), "does not fit step 1"),
    "a step below the first": (_BUSY, f.StepStarted(plan_id=PID, index=-1, previous={}), "does not fit step -1"),
    "the second step before the first": (
        [opened(), *approved(_TWO), FACTS["execution_started"]],
        f.StepStarted(plan_id=PID, index=1, previous={}),
        "before the ones ahead of it",
    ),
    "verification before the steps are done": (_BUSY, FACTS["verification_started"], "did not succeed"),
}


@pytest.mark.parametrize("case", GUARDED)
def test_what_no_table_can_say_is_refused(case: str) -> None:
    history, fact, said = GUARDED[case]
    incident, before = after(*history), after(*history)
    with pytest.raises(IllegalTransition, match=said):
        apply(incident, entry(fact, incident))
    assert incident == before


@pytest.mark.parametrize("seq", [0, 1, 3, -1])
def test_an_entry_out_of_sequence_is_refused(seq: int) -> None:
    incident = after(opened())
    with pytest.raises(IllegalTransition, match="where 2 follows"):
        apply(incident, replace(entry(posted(), incident), seq=seq))


def test_an_entry_of_another_incident_is_refused() -> None:
    incident = after(opened())
    with pytest.raises(IllegalTransition, match=_OTHER):
        apply(incident, replace(entry(posted(), incident), incident_id=_OTHER))


def test_every_fact_about_a_step_has_its_row() -> None:
    assert set(STEP_WALK) == {fact.kind for fact in f.StepFact.__subclasses__()}
