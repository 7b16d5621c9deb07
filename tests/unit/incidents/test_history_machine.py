"""Random facts, legal and not, thrown at one incident: what must hold of every history whatsoever."""

import pickle
from copy import deepcopy
from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sentinel.codec import entry_of, record_of
from sentinel.errors import IllegalTransition
from sentinel.ids import IncidentId, PlanId
from sentinel.incidents import facts as f
from sentinel.incidents.audit import GENESIS, Record, verify
from sentinel.incidents.history import apply, replay
from sentinel.incidents.nouns import SENTINEL, Incident, IncidentState, PlanState, Principal
from sentinel.incidents.transitions import PLAN, STEP
from tests.unit.incidents.make import ANN, BOB, CARLA, ID, T0, alert, opened, plan, posted, restart, scale, verdict

OTHER_ID = IncidentId("inc-20231114-0000beef-1")

TEXTS = st.sampled_from(["", "because", "<!channel> & co", "ünïcode \u202e"])
SERVICES = st.sampled_from(["checkout", "payments", "web"])
PEOPLE = st.sampled_from([ANN, BOB, CARLA])
# What ends a plan before its time, or could be said for ever.
_RARE = {
    *("plan_expired", "plan_cancelled", "plan_rejected", "rollback_started", "step_failed", "step_unknown"),
    *("execution_resumed", "plan_rolled_back", "plan_rollback_failed"),
}
STEPS = st.sampled_from([scale(), restart(), (*scale(), *restart())])


@st.composite
def a_fact(draw: st.DrawFn, kind: str, incident: Incident | None, apt: bool) -> f.Fact:
    """A fact of that kind, about this incident's latest plan if `apt`, else about any."""
    live = incident.plans[-1].plan if incident and incident.plans else plan()
    on = live if apt else draw(st.sampled_from([live, plan(attempt=2), plan(incident=ID, attempt=9)]))
    index = draw(st.integers(0, len(on.steps) - 1) if apt else st.integers(-1, 3))
    digest = on.digest if apt else draw(st.sampled_from([on.digest, "0" * 64]))
    given_by, decision = draw(PEOPLE), draw(st.sampled_from(["approve"] * 5 + ["reject"]))
    service, ended = draw(SERVICES), draw(st.none() | st.just(T0 + 9_000))
    seen = alert(service, ended_at_ms=ended, last_at_ms=draw(st.integers(T0, T0 + 9_000)))
    attempt = len(incident.plans) + 1 if incident and apt else draw(st.integers(1, 3))
    fresh = plan(*draw(STEPS), attempt=attempt, approvals_required=draw(st.sampled_from([1, 1, 2])))
    reason = draw(TEXTS)
    about: dict[str, Any] = {"plan_id": PlanId(on.plan_id)}
    made: dict[str, f.Fact] = {
        "incident_opened": opened(seen),
        "alert_raised": f.AlertRaised(alert=seen, suspects=(), reason=reason),
        "alert_cleared": f.AlertCleared(fingerprint=seen.fingerprint, ended_at_ms=T0),
        "duplicate_folded": f.DuplicateFolded(alerts=(seen,), similarity=0.9, threshold=0.8, reason=reason),
        "card_posted": posted(),
        "note_posted": f.NotePosted(card=posted(7).card, upto_seq=draw(st.integers(0, 30))),
        "incident_acknowledged": f.IncidentAcknowledged(by=reason),
        "approval_reminded": f.ApprovalReminded(**about, to=(reason,), escalated=draw(st.booleans()), reason=reason),
        "incident_escalated": f.IncidentEscalated(reason=reason),
        "incident_resolved": f.IncidentResolved(reason=reason),
        "plan_proposed": f.PlanProposed(plan=fresh),
        "approval_requested": f.ApprovalRequested(**about, asked="in Slack"),
        "verdict_given": f.VerdictGiven(**about, verdict=verdict(on, given_by, decision, digest=digest)),
        "plan_approved": f.PlanApproved(**about, digest=digest, reason=reason),
        "plan_rejected": f.PlanRejected(**about, reason=reason),
        "plan_expired": f.PlanExpired(**about, reason=reason),
        "told_apart": f.ToldApart(
            other_id=OTHER_ID,
            alerts=draw(st.sampled_from([(), (alert(),), (alert("payments"),)])),
            suspects=(),
            reason=reason,
            against=(alert("mail"),),
        ),
        "told_same": f.ToldSame(
            other_id=OTHER_ID,
            alerts=draw(st.sampled_from([(), (alert("mail"),)])),
            suspects=(),
            occurrences=1,
            similarity=0.4,
            reason=reason,
        ),
        "incident_merged": f.IncidentMerged(into=OTHER_ID, reason=reason),
        "silence_ended": f.SilenceEnded(reason=reason),
        "plan_cancelled": f.PlanCancelled(**about, reason=reason),
        "plan_held": f.PlanHeld(**about, reason=reason),
        "execution_started": f.ExecutionStarted(**about, owner=reason),
        "execution_resumed": f.ExecutionResumed(**about, owner=reason),
        "step_started": f.StepStarted(**about, index=index, previous={"desired": 2, "status": "ACTIVE", "load": 0.5}),
        "step_resent": f.StepResent(**about, index=index),
        "step_succeeded": f.StepSucceeded(**about, index=index, detail=reason),
        "step_failed": f.StepFailed(**about, index=index, detail=reason),
        "step_unknown": f.StepUnknown(**about, index=index, detail=reason),
        "verification_started": f.VerificationStarted(**about),
        "plan_succeeded": f.PlanSucceeded(**about, reason=reason),
        "rollback_started": f.RollbackStarted(**about, reason=reason, undo=draw(st.booleans())),
        "undo_started": f.UndoStarted(**about, index=index, previous={"desired": 4}),
        "undo_resent": f.UndoResent(**about, index=index),
        "undo_succeeded": f.UndoSucceeded(**about, index=index, detail=reason),
        "undo_failed": f.UndoFailed(**about, index=index, detail=reason),
        "plan_rolled_back": f.PlanRolledBack(**about, reason=reason),
        "plan_rollback_failed": f.PlanRollbackFailed(**about, reason=reason),
    }
    return made[kind]


class OneIncident(RuleBasedStateMachine):
    """An incident as its facts tell, its entries, and the records they became."""

    def __init__(self) -> None:
        super().__init__()
        self.incident: Incident | None = None
        self.entries: list[f.Entry] = []
        self.records: list[Record] = []
        self.was_resolved = False

    @initialize()
    def begins(self) -> None:
        self.throw(opened(), SENTINEL)

    @precondition(lambda self: not self.was_resolved and self.incident.live_plan is None)
    @rule(data=st.data())
    def another_plan(self, data: st.DataObject) -> None:
        self.throw(data.draw(a_fact("plan_proposed", self.incident, True)), SENTINEL)

    @precondition(lambda self: self.incident.live_plan is not None)
    @rule(data=st.data(), moves=st.integers(1, 12))
    def the_plan_moves(self, data: st.DataObject, moves: int) -> None:
        """Facts of the plan's own row that fit its steps; those that give it up are rare, or no long life is seen."""
        for _ in range(moves):
            live = self.incident.live_plan if self.incident else None
            if live is None:
                return
            fits = {
                fact.kind: [index for index, step in enumerate(live.steps) if step.state in allowed]
                for fact, (allowed, _after) in STEP.items()
            }
            kinds = [fact.kind for fact in PLAN[live.state]]
            going_on = [kind for kind in kinds if kind not in _RARE and fits.get(kind, [0])]
            rare = data.draw(st.integers(0, 7)) == 7 or not going_on
            kind = data.draw(st.sampled_from(kinds if rare else going_on))
            fact = data.draw(a_fact(kind, self.incident, True))
            if isinstance(fact, f.StepFact) and fits[kind]:
                fact = replace(fact, index=data.draw(st.sampled_from(fits[kind])))
            self.throw(fact, data.draw(PEOPLE))

    @rule(data=st.data(), kind=st.sampled_from(sorted(f.FACTS)))
    def whatever(self, data: st.DataObject, kind: str) -> None:
        """Any fact at all."""
        self.throw(data.draw(a_fact(kind, self.incident, False)), SENTINEL)

    @rule(by=st.sampled_from([-1, 0, 2]))
    def out_of_sequence(self, by: int) -> None:
        """A writer that did not see what was written last, or makes one up."""
        entry = self.next_entry(posted(), SENTINEL)
        self.refused(replace(entry, seq=entry.seq + by - (1 if by == 0 else 0)))

    def next_entry(self, fact: f.Fact, by: Principal) -> f.Entry:
        seq = len(self.entries) + 1
        return f.Entry(incident_id=ID, seq=seq, at_ms=T0 + 1000 * seq, principal=by, fact=fact)

    def throw(self, fact: f.Fact, by: Principal) -> None:
        entry, before = self.next_entry(fact, by), deepcopy(self.incident)
        try:
            changed = apply(self.incident, entry)
        except IllegalTransition:
            assert self.incident == before
            return
        assert self.incident == before, "apply answers a new incident and leaves the old one as it was"
        if isinstance(fact, f.PlanApproved):
            self.approval_was_earned(before, fact)
        assert not (self.was_resolved and changed.state is not IncidentState.RESOLVED), "a resolved incident reopened"
        self.was_resolved |= changed.state is IncidentState.RESOLVED
        self.incident = changed
        self.entries.append(entry)
        self.records.append(record_of(entry, self.records[-1].hash if self.records else GENESIS))

    def refused(self, entry: f.Entry) -> None:
        before = deepcopy(self.incident)
        try:
            apply(self.incident, entry)
        except IllegalTransition:
            assert self.incident == before
        else:
            raise AssertionError(f"entry {entry.seq} was taken where {len(self.entries) + 1} follows")

    def approval_was_earned(self, before: Incident | None, fact: f.PlanApproved) -> None:
        record = before.plan(fact.plan_id) if before else None
        assert record is not None
        agreed = {
            each.principal.id
            for each in record.verdicts
            if each.decision == "approve" and each.digest == record.plan.digest == fact.digest
        }
        assert len(agreed) >= record.plan.approvals_required
        assert all(each.decision == "approve" for each in record.verdicts)

    @invariant()
    def mitigating_exactly_with_a_live_plan(self) -> None:
        if self.incident:
            live = [record for record in self.incident.plans if record.state.live]
            assert len(live) <= 1
            assert (self.incident.state is IncidentState.MITIGATING) == (len(live) == 1)
            assert [self.incident.live_plan] == (live or [None])

    @invariant()
    def the_history_tells_the_incident(self) -> None:
        assert replay(self.entries) == self.incident

    @invariant()
    def it_reaches_another_actor_unchanged(self) -> None:
        assert pickle.loads(pickle.dumps(self.incident)) == self.incident

    @invariant()
    def every_entry_reads_back(self) -> None:
        assert [entry_of(record) for record in self.records[-1:]] == self.entries[-1:]

    @invariant()
    def the_chain_holds(self) -> None:
        assert verify(self.records) is None

    @invariant()
    def a_plan_acts_only_after_its_approval(self) -> None:
        for record in self.incident.plans if self.incident else ():
            if record.started_at_ms is not None:
                assert record.approved_at_ms is not None
            if record.state is PlanState.PROPOSED:
                assert not record.verdicts


TestOneIncident = OneIncident.TestCase
TestOneIncident.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
