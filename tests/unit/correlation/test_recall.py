from dataclasses import replace

import pytest

from sentinel.correlation.recall import OutcomeKind, outcome_of, title_of, worth_telling
from sentinel.correlation.suspects import rank
from sentinel.ids import Fingerprint, IncidentId, PlanId
from sentinel.incidents.nouns import IncidentState, Plan, PlanRecord, PlanState, Severity, Similar, Step
from tests.unit.correlation.make import SHOP, T0, alert, incident

RESOLVED = IncidentState.RESOLVED
PLAN = Plan(
    plan_id=PlanId("inc-1.p1"),
    incident_id=IncidentId("inc-1"),
    runbook="scale-out",
    reason="",
    steps=(Step(action="ecs.scale", target="payments", params={"count": 4}),),
    verify=(Fingerprint("0" * 16),),
    verify_within_s=300,
    rollback=True,
    dry_run=False,
    approvals_required=1,
    created_at_ms=T0,
    expires_at_ms=T0 + 900_000,
    digest="d",
)


def tried(state: PlanState, *, runbook: str = "scale-out", dry_run: bool = False, started: bool = True) -> PlanRecord:
    plan = replace(PLAN, runbook=runbook, dry_run=dry_run)
    return PlanRecord(plan=plan, state=state, started_at_ms=T0 if started else None)


class TestTitle:
    def test_the_first_suspect_leads(self):
        alerts = (alert("checkout", score=90), alert("payments", "cpu"))
        assert title_of(alerts, rank(alerts, SHOP)) == "payments: cpu high, checkout latency high"

    def test_long_lists_are_cut_and_say_so(self):
        alerts = tuple(alert(service) for service in ("payments", "checkout", "web", "search", "db"))
        assert title_of(alerts, ()) == "payments: latency high, checkout latency high, web latency high and 2 more"

    def test_the_worst_comes_first(self):
        alerts = (alert("web", "cpu"), alert("web", "errors", severity=Severity.CRITICAL))
        assert title_of(alerts, ()) == "web: errors high, cpu high"

    def test_good_news_is_left_out_unless_it_is_all_there_is(self):
        good = alert("web", "latency", "down", severity=Severity.INFO)
        assert title_of((good, alert("web", "errors")), ()) == "web: errors high"
        assert title_of((good,), ()) == "web: latency low"

    def test_the_same_thing_on_two_pods_is_told_once(self):
        alerts = (alert("web", labels={"pod": "a"}), alert("web", labels={"pod": "b"}))
        assert title_of(alerts, ()) == "web: latency high"


class TestOutcome:
    @pytest.mark.parametrize(
        ("rule", "plans", "outcome", "runbook", "fixed_by"),
        [
            ("no plan, no credit", (), OutcomeKind.NO_PLAN, None, ()),
            (
                "a plan that was never started earns none",
                (tried(PlanState.EXPIRED, started=False),),
                OutcomeKind.NO_PLAN,
                None,
                (),
            ),
            (
                "a plan that people rejected is named, and fixed nothing",
                (tried(PlanState.REJECTED, started=False),),
                OutcomeKind.REJECTED,
                "scale-out",
                (),
            ),
            (
                "a verified plan fixed it",
                (tried(PlanState.SUCCEEDED),),
                OutcomeKind.FIXED,
                "scale-out",
                ("ecs.scale payments",),
            ),
            (
                "a dry run fixes nothing",
                (tried(PlanState.SUCCEEDED, dry_run=True),),
                OutcomeKind.REHEARSED,
                "scale-out",
                (),
            ),
            (
                "an undone plan is remembered as no help",
                (tried(PlanState.ROLLED_BACK),),
                OutcomeKind.NOT_HELPED,
                "scale-out",
                (),
            ),
            (
                "the plan that worked counts, not the one before it",
                (tried(PlanState.ROLLED_BACK, runbook="reboot"), tried(PlanState.SUCCEEDED)),
                OutcomeKind.FIXED,
                "scale-out",
                ("ecs.scale payments",),
            ),
        ],
    )
    def test_of_a_resolved_incident(self, rule, plans, outcome, runbook, fixed_by):
        found = outcome_of(incident("inc-1", alert("payments"), state=RESOLVED, resolved_s=42, plans=plans))
        assert (found.outcome, found.runbook, found.fixed_by) == (outcome, runbook, fixed_by), rule
        assert found.recovery_ms == 42_000

    def test_an_unresolved_incident_has_no_recovery_yet(self):
        found = outcome_of(incident("inc-1", alert("payments"), plans=(tried(PlanState.SUCCEEDED),)))
        assert (found.outcome, found.recovery_ms, found.fixed_by) == (OutcomeKind.UNRESOLVED, None, ())


class TestWorthTelling:
    def similar(self, name: str, similarity: float, at_ms: int = T0) -> Similar:
        return Similar(
            incident_id=IncidentId(name),
            similarity=similarity,
            title="",
            at_ms=at_ms,
            outcome="",
            runbook=None,
            fixed_by=(),
            recovery_ms=None,
        )

    def test_the_best_come_first_and_newer_before_older(self):
        given = [self.similar("a", 0.7), self.similar("b", 0.9), self.similar("c", 0.7, T0 + 1)]
        assert [each.incident_id for each in worth_telling(given, IncidentId("x"), 3)] == ["b", "c", "a"]
        assert [each.incident_id for each in worth_telling(given, IncidentId("x"), 1)] == ["b"]
        assert worth_telling(given, IncidentId("x"), 0) == ()

    def test_the_unlike_are_not_told(self):
        assert worth_telling([self.similar("a", 0.49)], IncidentId("x"), 3) == ()

    def test_an_incident_does_not_recall_itself(self):
        assert worth_telling([self.similar("x", 1.0)], IncidentId("x"), 3) == ()
