"""What single facts make of an incident, beyond its state."""

from dataclasses import replace

from sentinel.incidents import facts as f
from sentinel.incidents.history import apply, replay
from sentinel.incidents.nouns import Severity, StepState, Suspect
from tests.unit.incidents.make import T0, after, alert, approved, opened, plan, posted, restart, told

P = plan()


def test_no_entries_tell_of_no_incident() -> None:
    assert replay([]) is None


def test_an_opened_incident_has_what_it_was_opened_with() -> None:
    incident = after(opened(alert("web"), alert("payments"), alert("web", "errors_total")))
    assert (incident.seq, incident.occurrences, incident.opened_at_ms) == (1, 1, T0 + 1000)
    assert incident.services == ("web", "payments")
    assert incident.live_plan is None


def test_an_alert_of_another_service_joins_with_new_suspects() -> None:
    ranked = (Suspect(service="payments", score=2.0, reasons=("checkout calls it",)),)
    raised = f.AlertRaised(alert=alert("payments", severity=Severity.CRITICAL), suspects=ranked, reason="a call away")
    incident = after(opened(), raised)
    assert incident.services == ("checkout", "payments")
    assert incident.suspects == ranked
    assert incident.severity is Severity.CRITICAL


def test_a_milder_alert_does_not_make_an_incident_milder() -> None:
    incident = after(
        opened(alert(severity=Severity.CRITICAL)),
        f.AlertRaised(alert=alert("payments", severity=Severity.INFO), suspects=(), reason=""),
    )
    assert incident.severity is Severity.WARNING, "as it was opened; the mild one takes nothing away"


def test_an_alert_that_comes_again_is_one_alert() -> None:
    again = alert(started_at_ms=T0 + 60_000, last_at_ms=T0 + 70_000, score=50.0)
    incident = after(opened(), f.AlertRaised(alert=again, suspects=(), reason="again"))
    (merged,) = incident.alerts
    assert (merged.started_at_ms, merged.last_at_ms, merged.score) == (T0, T0 + 70_000, 50.0)


def test_a_cleared_alert_is_closed_and_the_others_stay_open() -> None:
    incident = after(
        opened(alert(), alert("web")), f.AlertCleared(fingerprint=alert().fingerprint, ended_at_ms=T0 + 9_000)
    )
    assert [each.open for each in incident.alerts] == [False, True]
    assert incident.alerts[0].ended_at_ms == T0 + 9_000


def test_an_alert_that_was_over_opens_again() -> None:
    over = f.AlertCleared(fingerprint=alert().fingerprint, ended_at_ms=T0 + 9_000)
    again = alert(started_at_ms=T0 + 20_000, last_at_ms=T0 + 21_000)
    assert after(opened(), over, f.AlertRaised(alert=again, suspects=(), reason="")).alerts[0].open


def test_a_duplicate_is_counted() -> None:
    folded = f.DuplicateFolded(alerts=(alert("web"),), similarity=0.9, threshold=0.8, reason="the same")
    incident = after(opened(), folded, folded)
    assert incident.occurrences == 3
    assert len(incident.alerts) == 2


def test_cards_are_kept_in_order() -> None:
    assert [card.ts for card in after(opened(), posted(1), posted(2)).cards] == ["1.0", "2.0"]


def test_a_plans_times_and_owners_are_noted() -> None:
    facts = [
        opened(),
        *approved(P),
        f.ExecutionStarted(plan_id=P.plan_id, owner="a"),
        f.ExecutionResumed(plan_id=P.plan_id, owner="b"),
    ]
    record = after(*facts).plans[0]
    assert record.approved_at_ms == T0 + 5_000
    assert (record.started_at_ms, record.owned_since_ms, record.owner) == (T0 + 6_000, T0 + 7_000, "b")


def test_a_step_keeps_what_was_before_it() -> None:
    two = plan(*restart())
    facts = [
        opened(),
        *approved(two),
        f.ExecutionStarted(plan_id=two.plan_id, owner="a"),
        f.StepStarted(plan_id=two.plan_id, index=0, previous={"state": "running"}),
        f.StepSucceeded(plan_id=two.plan_id, index=0, detail="stopped"),
        f.StepStarted(plan_id=two.plan_id, index=1, previous={"state": "stopped"}),
        f.StepFailed(plan_id=two.plan_id, index=1, detail="refused"),
    ]
    first, second = after(*facts).plans[0].steps
    assert (first.state, first.previous, first.detail) == (StepState.SUCCEEDED, {"state": "running"}, "stopped")
    assert (first.started_at_ms, first.ended_at_ms) == (T0 + 7_000, T0 + 8_000)
    assert (second.state, second.previous, second.detail) == (StepState.FAILED, {"state": "stopped"}, "refused")


def test_the_end_of_a_plan_says_why() -> None:
    rejected = f.PlanRejected(plan_id=P.plan_id, reason="rejected by Bob: too late")
    incident = after(opened(), *approved(P)[:2], rejected)
    assert incident.plans[0].ended_reason == incident.state_reason == "rejected by Bob: too late"
    assert incident.live_plan is None


def test_giving_up_says_why_and_whether_to_undo() -> None:
    given_up = f.RollbackStarted(plan_id=P.plan_id, reason="no help", undo=False)
    incident = after(opened(), *approved(P), f.ExecutionStarted(plan_id=P.plan_id, owner="a"), given_up)
    record = incident.plans[0]
    assert (record.rollback_reason, record.undo, record.ended_reason) == ("no help", False, "")


def test_a_second_plan_leaves_the_first_as_it_ended() -> None:
    second = plan(attempt=2)
    incident = after(
        opened(),
        f.PlanProposed(plan=P),
        f.PlanCancelled(plan_id=P.plan_id, reason="withdrawn"),
        f.PlanProposed(plan=second),
    )
    assert [record.ended_reason for record in incident.plans] == ["withdrawn", ""]
    assert incident.live_plan is incident.plans[1]
    assert incident.plan(second.plan_id) is incident.plans[1]
    assert incident.plan("inc-x.p1") is None


def test_a_resolution_is_dated() -> None:
    incident = after(opened(), f.IncidentResolved(reason="quiet"))
    assert (incident.resolved_at_ms, incident.state_reason) == (T0 + 2_000, "quiet")


def test_apply_answers_a_new_incident() -> None:
    first = after(opened())
    entry = replace(told([opened(), posted()])[1])
    assert apply(first, entry) is not first
    assert first.cards == ()
