"""Choosing a plan: incident, memory and runbooks in, a plan or the reason for none out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from sentinel import ids
from sentinel.errors import Invalid
from sentinel.incidents.nouns import Alert, Incident, Plan
from sentinel.remediation.runbooks import Runbook
from sentinel.remediation.safety import Limits, first_refusal, is_rehearsed

SUSPECTS_CONSIDERED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanPolicy:
    """What every plan carries: how many must agree, until when, and whether it is only a rehearsal."""

    approvals_required: int
    expires_after_ms: int
    dry_run: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A plan, or None and the reason why there is none; `reason` is for people."""

    plan: Plan | None
    reason: str


def propose(
    incident: Incident, runbooks: Sequence[Runbook], limits: Limits, policy: PlanPolicy, now_ms: int
) -> Proposal:
    """The first allowed runbook for the likeliest suspects; one that fixed the like before goes ahead of others."""
    if not runbooks:
        return Proposal(plan=None, reason="no runbooks are configured")
    refused: list[str] = []
    worked = {
        similar.runbook: similar for similar in reversed(incident.similar) if similar.runbook and similar.fixed_by
    }
    for alert in _alerts_by_suspicion(incident):
        matching = sorted(
            (runbook for runbook in runbooks if runbook.matches(alert)), key=lambda runbook: runbook.name not in worked
        )
        for runbook in matching:
            try:
                steps = runbook.steps(alert)
                reason = first_refusal(steps, limits)
            except Invalid as error:
                reason = str(error)
            if reason:
                refused.append(f"{runbook.name}: {reason}")
                continue
            because = f"{alert.service} is suspected and {_says(alert)}"
            if runbook.name in worked:
                past = worked[runbook.name]
                because += f"; it fixed {past.incident_id}, which is {past.similarity:.2f} alike"
            plan = Plan(
                plan_id=ids.plan_id(incident.id, len(incident.plans) + 1),
                incident_id=incident.id,
                runbook=runbook.name,
                reason=because,
                steps=steps,
                verify=tuple(each.fingerprint for each in incident.alerts),
                verify_within_s=runbook.verify_within_s,
                rollback=runbook.rollback,
                # Where one step is only rehearsed, what the others did would prove nothing.
                dry_run=policy.dry_run or any(is_rehearsed(step, limits) for step in steps),
                approvals_required=policy.approvals_required,
                created_at_ms=now_ms,
                expires_at_ms=now_ms + policy.expires_after_ms,
                digest="",
            )
            return Proposal(plan=replace(plan, digest=digest_of(plan)), reason=because)
    if refused:
        return Proposal(plan=None, reason="no runbook may run: " + "; ".join(dict.fromkeys(refused)))
    suspects = ", ".join(suspect.service for suspect in incident.suspects[:SUSPECTS_CONSIDERED])
    return Proposal(plan=None, reason=f"no runbook matches what is wrong with {suspects or 'the services'}")


# Fields that plans of the first version had not: left out while empty, so that an old plan's digest stays what it was.
_LATER = ("targets", "policy", "requested_by", "track_record")


def digest_of(plan: Plan) -> str:
    """SHA-256 over everything in `plan` but the digest itself: change a field, and approvals no longer fit."""
    content: dict[str, object] = msgspec.to_builtins(replace(plan, digest=""))
    return ids.content_digest({name: value for name, value in content.items() if value or name not in _LATER})


def _says(alert: Alert) -> str:
    if alert.from_outside:
        return f"{alert.metric} fires in {alert.origin}"
    return f"its {alert.kind} is {alert.direction}"


def _alerts_by_suspicion(incident: Incident) -> list[Alert]:
    """Open alerts of the likeliest suspects, likeliest first, the strongest of each before its others."""
    order = [suspect.service for suspect in incident.suspects[:SUSPECTS_CONSIDERED]]
    considered = [alert for alert in incident.alerts if alert.open and alert.service in order]
    return sorted(considered, key=lambda alert: (order.index(alert.service), -alert.score))
