"""The histories of tests/golden: records as a store had them, and what they must tell for ever.

Written once by `python -m tests.unit.incidents.golden` and then kept: a later version that cannot read one of them,
or reads another story in it, would do the same to the journals of its users. A new fact gets a new file; an old file
is never made anew.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sentinel.incidents import facts as f
from sentinel.incidents.audit import Record
from sentinel.incidents.nouns import Card, Incident, Seen
from tests.unit.incidents.make import (
    ANN,
    BOB,
    CARLA,
    after,
    alert,
    approved,
    chained,
    opened,
    plan,
    posted,
    restart,
    scale,
    told,
    verdict,
)

FOLDER = Path(__file__).parents[2] / "golden"


def fixed() -> list[f.Fact]:
    """A plan that helped, after a crash of the executor between call and outcome."""
    mend = plan(*scale(), approvals_required=2)
    return [
        opened(alert(), alert("web")),
        posted(),
        *approved(mend, ANN, BOB),
        f.ExecutionStarted(plan_id=mend.plan_id, owner="node1-100"),
        f.StepStarted(plan_id=mend.plan_id, index=0, previous={"desired": 2, "running": 2, "status": "ACTIVE"}),
        f.ExecutionResumed(plan_id=mend.plan_id, owner="node2-200"),
        f.StepSucceeded(plan_id=mend.plan_id, index=0, detail="found done; desired 4, running 4"),
        f.DuplicateFolded(alerts=(alert("web"),), similarity=0.93, threshold=0.8, reason="the same fault"),
        f.AlertCleared(fingerprint=alert("web").fingerprint, ended_at_ms=1_700_000_060_000),
        f.VerificationStarted(plan_id=mend.plan_id),
        f.PlanSucceeded(plan_id=mend.plan_id, reason="the detector finds all 1 series back to normal"),
        f.IncidentResolved(reason="scale-out helped"),
    ]


def undone() -> list[f.Fact]:
    """A plan of two steps of which the second failed; the first was undone, and people resolved it in the end."""
    mend = plan(*restart(), runbook="restart-instance")
    launched = 1_699_999_000_000
    return [
        opened(),
        *approved(mend),
        f.ExecutionStarted(plan_id=mend.plan_id, owner="node1-100"),
        f.StepStarted(plan_id=mend.plan_id, index=0, previous={"state": "running", "launch_time_ms": launched}),
        f.StepSucceeded(plan_id=mend.plan_id, index=0, detail="state stopped"),
        f.StepStarted(plan_id=mend.plan_id, index=1, previous={"state": "stopped", "launch_time_ms": launched}),
        f.StepFailed(plan_id=mend.plan_id, index=1, detail="refused: InsufficientInstanceCapacity"),
        f.RollbackStarted(plan_id=mend.plan_id, reason="step 2 failed", undo=True),
        f.UndoStarted(plan_id=mend.plan_id, index=0),
        f.UndoFailed(plan_id=mend.plan_id, index=0, detail="refused: InsufficientInstanceCapacity"),
        f.PlanRollbackFailed(plan_id=mend.plan_id, reason="step 2 failed; step 1 could not be undone"),
        f.IncidentResolved(reason="resolved by Ann"),
        posted(2),
    ]


def refused() -> list[f.Fact]:
    """Two plans that nobody wanted: one rejected, one expired; the alert then went by itself."""
    first, second = plan(), plan(attempt=2, approvals_required=2)
    said_no = verdict(first, CARLA, "reject", reason="it is the nightly backup")
    return [
        opened(),
        f.AlertRaised(alert=alert("payments"), suspects=(), reason="checkout calls payments"),
        f.PlanProposed(plan=first),
        f.ApprovalRequested(plan_id=first.plan_id, asked="in Slack and by API"),
        f.VerdictGiven(plan_id=first.plan_id, verdict=said_no),
        f.PlanRejected(plan_id=first.plan_id, reason="rejected by Carla: it is the nightly backup"),
        f.PlanProposed(plan=second),
        f.ApprovalRequested(plan_id=second.plan_id, asked="by API"),
        f.VerdictGiven(plan_id=second.plan_id, verdict=verdict(second, replace(ANN, id="api:ops", via="api"))),
        f.PlanExpired(plan_id=second.plan_id, reason="nobody decided in time"),
        f.AlertCleared(fingerprint=alert().fingerprint, ended_at_ms=1_700_000_600_000),
        f.AlertCleared(fingerprint=alert("payments").fingerprint, ended_at_ms=1_700_000_601_000),
        f.IncidentResolved(reason="every series is back to normal"),
    ]


def narrowed() -> list[f.Fact]:
    """A plan that was tied to its target, asked for twice, narrowed by a person and approved by another one."""
    seen = Seen(
        target=scale()[0].target,
        account="123456789012",
        region="us-east-1",
        observed={"desired": 2, "running": 2, "status": "ACTIVE"},
        notes=("tasks: 2 running, 2 wanted now; 4 wanted after (at most 50)",),
    )
    first = plan(targets=(seen,), policy="0123456789abcdef", track_record="scale-out worked 1 of 1 time here")
    second = plan(*scale(3), attempt=2, targets=(seen,), policy=first.policy, requested_by=ANN.id)
    word = verdict(
        second, BOB, method="Slack button", shown="C1/1.0", request="5f" * 32, seal="ab" * 32, reason="three will do"
    )
    return [
        opened(),
        posted(),
        f.PlanProposed(plan=first),
        f.ApprovalRequested(plan_id=first.plan_id, asked="in Slack and by API"),
        f.IncidentAcknowledged(by="Ann"),
        f.ApprovalReminded(plan_id=first.plan_id, to=(CARLA.id,), escalated=True, reason="nobody decided yet"),
        f.PlanCancelled(plan_id=first.plan_id, reason="narrowed by Ann: desired_count 4 → 3"),
        f.PlanProposed(plan=second),
        f.ApprovalRequested(plan_id=second.plan_id, asked="in Slack and by API"),
        f.VerdictGiven(plan_id=second.plan_id, verdict=word),
        f.PlanApproved(plan_id=second.plan_id, digest=second.digest, reason="approved by Bob"),
        f.NotePosted(card=Card(channel="C1", ts="2.0"), upto_seq=11),
        f.PlanExpired(plan_id=second.plan_id, reason="approved, but not started within 600 s"),
        f.IncidentResolved(reason="resolved by Ann"),
    ]


HISTORIES: dict[str, Callable[[], list[f.Fact]]] = {
    "fixed": fixed,
    "undone": undone,
    "refused": refused,
    "narrowed": narrowed,
}


def summary_of(incident: Incident) -> dict[str, Any]:
    """What a history comes to, in the words of its file."""
    return {
        "state": incident.state,
        "reason": incident.state_reason,
        "entries": incident.seq,
        "services": list(incident.services),
        "open_alerts": sum(each.open for each in incident.alerts),
        "occurrences": incident.occurrences,
        "cards": [card.ts for card in incident.cards],
        "resolved_at_ms": incident.resolved_at_ms,
        "plans": [
            {
                "plan_id": record.plan.plan_id,
                "digest": record.plan.digest,
                "state": record.state,
                "owner": record.owner,
                "verdicts": [f"{given.principal.name}: {given.decision}" for given in record.verdicts],
                "steps": [step.state for step in record.steps],
                "ended_reason": record.ended_reason,
            }
            for record in incident.plans
        ],
    }


def read(name: str) -> tuple[dict[str, Any], list[Record]]:
    """The summary and the records of one file."""
    content = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return content["summary"], [Record(**record) for record in content["records"]]


def write_missing() -> None:
    """Write the files that are not there yet."""
    for name, history in HISTORIES.items():
        path = FOLDER / f"{name}.json"
        if path.exists():
            continue
        content = {
            "about": history.__doc__,
            "summary": summary_of(after(*history())),
            "records": [asdict(record) for record in chained(told(history()))],
        }
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_missing()
