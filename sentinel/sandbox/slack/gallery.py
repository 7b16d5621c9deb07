"""`python -m sentinel.sandbox.slack.gallery`: every card and view on the double's page, to be judged by eye.

Each is at http://127.0.0.1:8066/NAME/. docs/screenshots was made from it, 390 pixels wide like a phone.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route

from sentinel.adapters.slack_blocks import Block
from sentinel.adapters.slack_card import card
from sentinel.adapters.slack_thread import narrate
from sentinel.adapters.slack_views import SlackViews
from sentinel.clock import ManualClock, SystemClock, day
from sentinel.ids import IncidentId, PlanId, fingerprint, plan_id
from sentinel.incidents import facts as f
from sentinel.incidents.history import replay
from sentinel.incidents.nouns import (
    SENTINEL,
    Alert,
    Change,
    Direction,
    Incident,
    Plan,
    Principal,
    Scalar,
    Seen,
    Severity,
    Similar,
    Suspect,
    Verdict,
)
from sentinel.remediation.actions import steps_of
from sentinel.remediation.approval_policy import ApprovalPolicy, AutoBudget, Demand, Rule
from sentinel.remediation.binding import bound, notes_on
from sentinel.remediation.switch import Switch
from sentinel.sandbox.slack.server import SlackDouble
from sentinel.sandbox.slack.workspace import Modal

ID = IncidentId("inc-20261125-49ce88ee-1")
PID = PlanId(f"{ID}.p1")
CLUSTER = "arn:aws:ecs:us-east-1:123456789012:cluster/prod"
LIVE: Mapping[str, Scalar] = {
    "status": "ACTIVE",
    "desired": 2,
    "running": 2,
    "pending": 0,
    "deployment_id": "ecs-svc/1",
}
ANN = Principal(id="slack:T0ACME/U0ANN", name="Ann Arbor", via="slack")
BOB = Principal(id="slack:T0ACME/U0BOB", name="Bob Baxter", via="slack")
RULE = Principal(id="rule:undoable", name="rule undoable", via="rule")
NAMED = ApprovalPolicy(
    default=Demand(
        approvers=frozenset({"group:S0OPS", "slack:T0ACME/U0CARLA"}),
        escalate_to=("slack:T0ACME/U0BOB",),
        escalate_after_ms=600_000,
    ),
    environments={"prod": ("*:cluster/prod/*",)},
)
OPEN = ApprovalPolicy()
AUTO = ApprovalPolicy(
    rules=(Rule(name="undoable", demand=Demand(auto=True)),), auto=AutoBudget(most=3, per_ms=86_400_000)
)
_MISSED = "2 of 3 series did not recover within 120 s"
_MENDED = "scale-out-payments helped: the detector finds all 3 series back to normal"

Facts = list[f.Fact]


class Scene:
    """One incident at one time, as the facts that lead to it."""

    def __init__(self, now_ms: int) -> None:
        self.at_ms = now_ms - 240_000
        self.alerts = (
            self._alert("latency_p99_seconds", "latency", 2.31, (0.12, 0.18), Severity.CRITICAL),
            self._alert("error_ratio", "errors", 0.084, (0.0, 0.012), Severity.CRITICAL),
            self._alert("cpu_utilisation", "cpu", 0.97, (0.31, 0.52), Severity.WARNING),
        )

    def _alert(self, metric: str, kind: str, value: float, band: tuple[float, float], severity: Severity) -> Alert:
        return Alert(
            fingerprint=fingerprint({"service": "payments", "__name__": metric}),
            service="payments",
            metric=metric,
            kind=kind,
            direction=Direction.UP,
            severity=severity,
            score=14.0,
            value=value,
            expected_low=band[0],
            expected_high=band[1],
            labels={"service": "payments"},
            started_at_ms=self.at_ms,
            last_at_ms=self.at_ms + 60_000,
        )

    def opened(self, *, seen_before: bool = True) -> f.IncidentOpened:
        past = Similar(
            incident_id=IncidentId(f"inc-{day(self.at_ms - 14 * 86_400_000)}-9f8e7d6c-1"),
            similarity=0.914,
            title="payments: latency high",
            at_ms=self.at_ms - 14 * 86_400_000,
            outcome="resolved",
            runbook="scale-out-payments",
            fixed_by=("ecs.scale_service",),
            recovery_ms=252_000,
        )
        deploy = Change(at_ms=self.at_ms - 600_000, service="payments", title="deploy 4f21c9", source="ci")
        return f.IncidentOpened(
            title="payments: latency high, errors high, cpu high",
            severity=Severity.CRITICAL,
            alerts=self.alerts,
            suspects=(
                Suspect(service="payments", score=1.0, reasons=("it was unusual first", "checkout and web call it")),
                Suspect(service="checkout", score=0.4, reasons=("it calls payments",)),
            ),
            similar=(past,) if seen_before else (),
            reason="seen together",
            changes=(deploy,),
        )

    def plan(self, policy: ApprovalPolicy, count: int = 4, attempt: int = 1, by: str = "") -> Plan:
        (step,) = steps_of("ecs.scale_service", {"cluster": CLUSTER, "service": "payments", "desired_count": count})
        made = Plan(
            plan_id=plan_id(ID, attempt),
            incident_id=ID,
            runbook="scale-out-payments",
            reason="payments is suspected and its latency is up",
            steps=(step,),
            verify=tuple(alert.fingerprint for alert in self.alerts),
            verify_within_s=120,
            rollback=True,
            dry_run=False,
            approvals_required=1,
            created_at_ms=self.at_ms,
            expires_at_ms=0,
            digest="",
            requested_by=by,
        )
        notes = tuple(notes_on(step, LIVE, 50, 0.05))
        seen = Seen(target=step.target, account="123456789012", region="us-east-1", observed=LIVE, notes=notes)
        return bound(made, (seen,), policy, "scale-out-payments worked 7 of 8 times here, median 4 min to recover")

    def asked(self, policy: ApprovalPolicy, *, seen_before: bool = True) -> Facts:
        made = self.plan(policy)
        return [
            self.opened(seen_before=seen_before),
            f.PlanProposed(plan=made),
            f.ApprovalRequested(plan_id=PID, asked="in Slack and by API"),
        ]

    def said(self, by: Principal, policy: ApprovalPolicy = NAMED, *, no: str = "") -> f.VerdictGiven:
        verdict = Verdict(
            principal=by,
            decision="reject" if no else "approve",
            digest=self.plan(policy).digest,
            reason=no,
            at_ms=self.at_ms + 60_000,
            evidence="",
            method="rule" if by.via == "rule" else "Slack button",
        )
        return f.VerdictGiven(plan_id=PID, verdict=verdict)

    def approved(self) -> Facts:
        yes = f.PlanApproved(plan_id=PID, digest=self.plan(NAMED).digest, reason="approved by Ann Arbor")
        return [*self.asked(NAMED), self.said(ANN), yes]

    def executing(self) -> Facts:
        claimed = f.ExecutionStarted(plan_id=PID, owner="a")
        return [*self.approved(), claimed, f.StepStarted(plan_id=PID, index=0, previous=LIVE)]

    def done(self) -> Facts:
        step = f.StepSucceeded(plan_id=PID, index=0, detail="desired 4, running 4")
        return [*self.executing(), step, f.VerificationStarted(plan_id=PID)]

    def given_up(self) -> Facts:
        undoing = f.UndoStarted(plan_id=PID, index=0)
        return [*self.done(), f.RollbackStarted(plan_id=PID, reason=_MISSED, undo=True), undoing]

    def incident(self, facts: Sequence[f.Fact]) -> Incident:
        found = replay(self.entries(facts))
        assert found is not None
        return found

    def entries(self, facts: Sequence[f.Fact]) -> list[f.Entry]:
        return [
            f.Entry(incident_id=ID, seq=n, at_ms=self.at_ms + 15_000 * n, principal=SENTINEL, fact=fact)
            for n, fact in enumerate(facts, start=1)
        ]


def scenes(now_ms: int) -> Mapping[str, tuple[ApprovalPolicy, Facts]]:
    """Every card worth a look, by name: the policy it stands under, and what happened."""
    at = Scene(now_ms)
    no, fresh, rule = "it is the nightly backup", at.plan(NAMED, 3, 2, BOB.id), at.plan(AUTO)
    back: Facts = [f.AlertCleared(fingerprint=each.fingerprint, ended_at_ms=at.at_ms + 180_000) for each in at.alerts]
    held = f"the kill switch is on: {switches(at.at_ms)['kill-switch-on'].why}"
    left = f"{_MISSED}; step 1 (ecs.scale_service) could not be undone"
    return {
        "new": (NAMED, at.asked(NAMED, seen_before=False)),
        "similar-past": (NAMED, at.asked(NAMED)),
        "open-to-all": (OPEN, at.asked(OPEN)),
        "approved": (NAMED, at.approved()),
        "rejected": (
            NAMED,
            [
                *at.asked(NAMED),
                at.said(BOB, no=no),
                f.PlanRejected(plan_id=PID, reason=f"rejected by Bob Baxter: {no}"),
            ],
        ),
        "expired": (NAMED, [*at.asked(NAMED), f.PlanExpired(plan_id=PID, reason="nobody decided in time")]),
        "executing": (NAMED, at.executing()),
        "resolved": (
            NAMED,
            [*at.done(), *back, f.PlanSucceeded(plan_id=PID, reason="gone"), f.IncidentResolved(reason=_MENDED)],
        ),
        "rolled-back": (
            NAMED,
            [
                *at.given_up(),
                f.UndoSucceeded(plan_id=PID, index=0, detail="desired 2, running 2"),
                f.PlanRolledBack(plan_id=PID, reason=_MISSED),
            ],
        ),
        "failed": (
            NAMED,
            [
                *at.given_up(),
                f.UndoFailed(plan_id=PID, index=0, detail="somebody changed it since: desired 6, running 6"),
                f.PlanRollbackFailed(plan_id=PID, reason=left),
            ],
        ),
        "narrowed": (
            NAMED,
            [
                *at.asked(NAMED),
                f.IncidentAcknowledged(by="Bob Baxter", reason="acknowledged by Bob Baxter"),
                f.PlanCancelled(plan_id=PID, reason="narrowed by Bob Baxter: desired_count 4 → 3"),
                f.PlanProposed(plan=fresh),
                f.ApprovalRequested(plan_id=fresh.plan_id, asked="again"),
            ],
        ),
        "held": (NAMED, [*at.approved(), f.PlanHeld(plan_id=PID, reason=held)]),
        "auto": (
            AUTO,
            [
                *at.asked(AUTO),
                at.said(RULE, AUTO),
                f.PlanApproved(plan_id=PID, digest=rule.digest, reason="AUTO-APPROVED by rule undoable"),
            ],
        ),
    }


def views(incident: Incident, over: Incident) -> Mapping[str, Callable[[], Block]]:
    """Every modal and page, by name: of an incident whose plan waits, or of one with no live plan."""
    shows, record = SlackViews(), incident.plans[-1]
    found = shows.narrowing(record)
    assert found is not None
    return {
        "modal-reject": lambda: shows.reject_modal("{}"),
        "modal-edit": lambda: shows.narrow_modal(record, "{}", *found),
        "modal-approve": lambda: shows.plan_modal(incident, record, "{}"),
        "modal-silence": lambda: shows.silence_modal(incident, "{}"),
        "modal-unlike": lambda: shows.unlike_modal(over, "{}"),
        "home": lambda: shows.home([incident, replace(over, id=IncidentId(f"{ID[:-1]}2"))]),
    }


def switches(at_ms: int) -> Mapping[str, Switch]:
    """What `/sentinel kill-switch stop` and `resume` answer, by name."""
    why = "a call to AWS was made that nobody approved"
    return {
        "kill-switch-on": Switch(stopped=True, principal=BOB, reason=why, at_ms=at_ms),
        "kill-switch-off": Switch(stopped=False, principal=ANN, reason="it was the nightly backup", at_ms=at_ms),
    }


def doubles(now_ms: int) -> dict[str, SlackDouble]:
    """A double for each name, with the one thing to look at in it."""
    made: dict[str, SlackDouble] = {}
    at, known = Scene(now_ms), scenes(now_ms)
    waiting, over = at.incident(known["similar-past"][1]), at.incident(known["expired"][1])
    shown, told = views(waiting, over), {name: SlackViews().switch(each) for name, each in switches(at.at_ms).items()}
    below = {"modal-unlike": "expired", "kill-switch-on": "held", "kill-switch-off": "approved"}
    for name in [*known, *shown, *told]:
        policy, facts = known[name if name in known else below.get(name, "similar-past")]
        double = made[name] = SlackDouble(signing_secret="", token="", clock=ManualClock(now_ms))
        blocks, text = card(at.incident(facts), public_url="https://sentinel.example", key=b"none", policy=policy)
        message = double.workspace.post("C0SENTINEL", text, blocks)
        note = narrate(at.entries(facts)[2:]) if name in known else None
        if note:
            double.workspace.post("C0SENTINEL", note[1], note[0], thread_ts=message.ts)
        if name in told:
            double.workspace.whisper("C0SENTINEL", "U0ANN", "kill switch", told[name])
        elif name == "home":
            double.workspace.homes["U0ANN"] = shown[name]()
        elif name in shown:
            double.workspace.modals["U0ANN"] = Modal(id="V1", user="U0ANN", view=shown[name]())
    return made


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(prog="python -m sentinel.sandbox.slack.gallery", description="Cards to look at.")
    parser.add_argument("--port", type=int, default=8066)
    port = parser.parse_args().port
    shown = doubles(SystemClock().now_ms())

    async def index(_request: Request) -> Response:
        links = "".join(f'<li><a href="{name}/{"#home" if name == "home" else ""}">{name}</a></li>' for name in shown)
        return HTMLResponse(f"<!doctype html><title>Cards</title><ul>{links}</ul>")

    app = Starlette(routes=[Route("/", index), *(Mount(f"/{name}", double.app) for name, double in shown.items())])
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False, ws="none")


if __name__ == "__main__":
    main()
