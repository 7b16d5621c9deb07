"""Incidents, plans and histories, with what a test does not care about filled in."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal

from sentinel.codec import record_of
from sentinel.ids import IncidentId, fingerprint, plan_id
from sentinel.incidents import facts as f
from sentinel.incidents.audit import GENESIS, Record
from sentinel.incidents.history import replay
from sentinel.incidents.nouns import (
    SENTINEL,
    Alert,
    Card,
    Direction,
    Incident,
    Plan,
    Principal,
    Severity,
    Step,
    Suspect,
    Verdict,
)
from sentinel.remediation.actions import steps_of
from sentinel.remediation.planner import digest_of

T0 = 1_700_000_000_000  # 2023-11-14 22:13:20 UTC
ID = IncidentId("inc-20231114-1a2b3c4d-1")
CLUSTER = "arn:aws:ecs:us-east-1:123456789012:cluster/prod"
INSTANCE = "i-0abc123"
ANN = Principal(id="slack:T1/U1", name="Ann", via="slack")
BOB = Principal(id="slack:T1/U2", name="Bob", via="slack")
CARLA = Principal(id="slack:T1/U3", name="Carla", via="slack")
Decision = Literal["approve", "reject"]


def alert(service: str = "checkout", metric: str = "latency_seconds", **changes: Any) -> Alert:
    """An open alert on one series of `service`."""
    labels = {"service": service}
    made = Alert(
        fingerprint=fingerprint({**labels, "__name__": metric}),
        service=service,
        metric=metric,
        kind="latency",
        direction=Direction.UP,
        severity=Severity.WARNING,
        score=12.0,
        value=2.5,
        expected_low=0.1,
        expected_high=0.2,
        labels=labels,
        started_at_ms=T0,
        last_at_ms=T0 + 5_000,
    )
    return replace(made, **changes)


def scale(count: int = 4, service: str = "checkout") -> tuple[Step, ...]:
    """The step that sets an ECS service to `count` tasks."""
    return steps_of("ecs.scale_service", {"cluster": CLUSTER, "service": service, "desired_count": count})


def reboot(instance: str = INSTANCE) -> tuple[Step, ...]:
    """The step that reboots an instance."""
    return steps_of("ec2.reboot_instance", {"instance_id": instance})


def restart(instance: str = INSTANCE) -> tuple[Step, ...]:
    """The two steps that stop and start an instance."""
    return steps_of("ec2.restart_instance", {"instance_id": instance})


def redeploy(service: str = "checkout") -> tuple[Step, ...]:
    """The step that replaces the tasks of an ECS service."""
    return steps_of("ecs.force_new_deployment", {"cluster": CLUSTER, "service": service})


def plan(*steps: Step, incident: IncidentId = ID, attempt: int = 1, **changes: Any) -> Plan:
    """A plan of these steps, by default one that scales, whose digest fits."""
    made = Plan(
        plan_id=plan_id(incident, attempt),
        incident_id=incident,
        runbook="scale-out",
        reason="checkout is suspected and its latency is up",
        steps=steps or scale(),
        verify=(alert().fingerprint,),
        verify_within_s=120,
        rollback=True,
        dry_run=False,
        approvals_required=1,
        created_at_ms=T0,
        expires_at_ms=T0 + 900_000,
        digest="",
    )
    made = replace(made, **changes)
    return made if made.digest else replace(made, digest=digest_of(made))


def verdict(on: Plan, by: Principal = ANN, decision: Decision = "approve", **changes: Any) -> Verdict:
    """What `by` said about the plan as it was shown."""
    made = Verdict(principal=by, decision=decision, digest=on.digest, reason="", at_ms=T0, evidence="a signed click")
    return replace(made, **changes)


def opened(*alerts: Alert) -> f.IncidentOpened:
    """The first fact of an incident of these alerts."""
    return f.IncidentOpened(
        title="checkout: latency high",
        severity=Severity.WARNING,
        alerts=alerts or (alert(),),
        suspects=(Suspect(service="checkout", score=1.0, reasons=("it was first",)),),
        similar=(),
        reason="seen together on checkout",
    )


def approved(on: Plan, *by: Principal) -> list[f.Fact]:
    """The facts from the proposal of a plan to its approval."""
    said = [f.VerdictGiven(plan_id=on.plan_id, verdict=verdict(on, each)) for each in by or (ANN,)]
    return [
        f.PlanProposed(plan=on),
        f.ApprovalRequested(plan_id=on.plan_id, asked="in Slack"),
        *said,
        f.PlanApproved(plan_id=on.plan_id, digest=on.digest, reason="approved"),
    ]


def posted(n: int = 1) -> f.CardPosted:
    """People were shown the incident."""
    return f.CardPosted(card=Card(channel="C1", ts=f"{n}.0", shows="open"))


def told(facts: Iterable[f.Fact], incident: IncidentId = ID, by: Principal = SENTINEL) -> list[f.Entry]:
    """These facts as the history of one incident, a second apart."""
    return [
        f.Entry(incident_id=incident, seq=n, at_ms=T0 + 1000 * n, principal=by, fact=fact)
        for n, fact in enumerate(facts, start=1)
    ]


def after(*facts: f.Fact, incident: IncidentId = ID) -> Incident:
    """The incident that these facts tell of."""
    found = replay(told(facts, incident))
    assert found is not None
    return found


def chained(entries: Iterable[f.Entry]) -> list[Record]:
    """The entries as they lie in a store."""
    records: list[Record] = []
    for entry in entries:
        records.append(record_of(entry, records[-1].hash if records else GENESIS))
    return records
