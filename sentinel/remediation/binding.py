"""What an approval is bound to: the plan as it was shown, and the resources as they were. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sentinel.errors import Invalid
from sentinel.ids import PlanId
from sentinel.incidents.nouns import Incident, Plan, PlanState, Scalar, Seen, Step
from sentinel.remediation.approval_policy import ApprovalPolicy, terms_of
from sentinel.remediation.planner import digest_of

# What moves by itself in the very fault that a plan mends, such as tasks that crash; the card shows it, and no more.
# When a deployment or a refresh was made is told by which one it is; the start of a refresh is only known later.
VOLATILE = frozenset({"running", "pending", "deployment_at_ms", "refresh_at_ms"})

_ENDED_WELL = PlanState.SUCCEEDED
_ENDED_BADLY = frozenset({PlanState.ROLLED_BACK, PlanState.ROLLBACK_FAILED})


def bound(plan: Plan, targets: Sequence[Seen], policy: ApprovalPolicy, track_record: str = "") -> Plan:
    """`plan` under the terms of `policy`, tied to its targets as they were seen; its digest covers all of it."""
    made = replace(plan, targets=tuple(targets), policy=policy.version, track_record=track_record)
    terms = terms_of(policy, made)
    made = replace(
        made, approvals_required=terms.required, expires_at_ms=made.created_at_ms + terms.expires_after_ms, digest=""
    )
    return replace(made, digest=digest_of(made))


def drift(plan: Plan, targets: Sequence[Seen], policy_version: str) -> str:
    """What is no longer as it was shown; empty if nothing is. Plans of older versions are bound to nothing here."""
    if digest_of(plan) != plan.digest:
        return "the stored plan is not the one whose digest was shown"
    if plan.policy and plan.policy != policy_version:
        return "the approval policy changed"
    if plan.targets and len(targets) != len(plan.targets):
        return f"{len(targets)} targets were found where {len(plan.targets)} were shown"
    for shown, now in zip(plan.targets, targets, strict=False):
        changes = [
            f"{name} {old} → {new}"
            for name, old, new in (
                ("target", shown.target, now.target),
                ("account", shown.account, now.account),
                ("region", shown.region, now.region),
            )
            if old != new
        ] + _changes(shown.observed, now.observed)
        if changes:
            return f"{shown.target}: {', '.join(changes)}"
    return ""


def moved(plan: Plan, index: int, now: Mapping[str, Scalar]) -> str:
    """Why a step's target is no longer as it was approved, for the one about to touch it; empty if it is.

    What an earlier step of the plan itself did to the same target is no change by others.
    """
    target = plan.steps[index].target
    if index >= len(plan.targets) or any(step.target == target for step in plan.steps[:index]):
        return ""
    changes = _changes(plan.targets[index].observed, now)
    return f"{target} changed since it was approved: {', '.join(changes)}" if changes else ""


def _changes(shown: Mapping[str, Scalar], now: Mapping[str, Scalar]) -> list[str]:
    names = sorted((shown.keys() | now.keys()) - VOLATILE)
    return [
        f"{name} {shown.get(name, 'unknown')} → {now.get(name, 'unknown')}"
        for name in names
        if shown.get(name) != now.get(name)
    ]


def notes_on(step: Step, observed: Mapping[str, Scalar], max_desired: int, hourly_cost: float | None) -> list[str]:
    """What a reader of the card should know of a target before it is touched, in lines."""
    notes: list[str] = []
    desired, running = observed.get("desired"), observed.get("running")
    wanted = step.params.get("desired_count")
    if isinstance(desired, int) and isinstance(wanted, int):
        notes.append(f"tasks: {running} running, {desired} wanted now; {wanted} wanted after (at most {max_desired})")
        if hourly_cost is not None and wanted != desired:
            notes.append(f"cost: {(wanted - desired) * hourly_cost:+.2f} USD an hour")
    elif isinstance(desired, int):
        notes.append(f"tasks: {running} running, {desired} wanted; all of them are replaced")
    if observed.get("pending"):
        pending = observed["pending"]
        notes.append(f"a deployment is in progress: {pending} task{'' if pending == 1 else 's'} pending")
    if "state" in observed:
        notes.append(f"instance: {observed['state']} now")
    return notes


def allowed_range(plan: Plan, index: int, name: str) -> tuple[int, int]:
    """The whole numbers to which a parameter may be narrowed: those between what the plan says and what is there.

    Raises Invalid where it cannot be narrowed at all.
    """
    if not 0 <= index < len(plan.steps):
        raise Invalid("step", index, f"a step of the plan, 0 to {len(plan.steps) - 1}")
    planned = plan.steps[index].params.get(name)
    live = plan.targets[index].observed.get("desired") if index < len(plan.targets) else None
    if name != "desired_count" or not isinstance(planned, int) or not isinstance(live, int) or abs(planned - live) < 2:
        raise Invalid(name, planned, "a number with values between it and what is there now")
    return (live + 1, planned - 1) if planned > live else (planned + 1, live - 1)


def narrowed(plan: Plan, plan_id: PlanId, index: int, name: str, value: int, requested_by: str, now_ms: int) -> Plan:
    """`plan` with one parameter nearer to what is there now, as a new plan with no digest yet. Raises Invalid."""
    low, high = allowed_range(plan, index, name)
    if isinstance(value, bool) or not low <= value <= high:
        raise Invalid(name, value, f"a whole number from {low} to {high}")
    step = replace(plan.steps[index], params={**plan.steps[index].params, name: value})
    return replace(
        plan,
        plan_id=plan_id,
        steps=(*plan.steps[:index], step, *plan.steps[index + 1 :]),
        requested_by=requested_by,
        created_at_ms=now_ms,
        digest="",
    )


def track_record(runbook: str, services: Sequence[str], incidents: Sequence[Incident]) -> str:
    """How often a runbook worked for these services before, and how long recovery took, in words; empty if never tried.

    Counts plans that were carried out to their end; a rejected or expired plan says nothing about a remedy.
    """
    worked, tried, took = 0, 0, []
    for incident in incidents:
        if set(services).isdisjoint(incident.services):
            continue
        for record in incident.plans:
            if record.plan.runbook != runbook or record.plan.dry_run:
                continue
            if record.state is _ENDED_WELL:
                worked += 1
                tried += 1
                if record.started_at_ms is not None and incident.resolved_at_ms is not None:
                    took.append(incident.resolved_at_ms - record.started_at_ms)
            elif record.state in _ENDED_BADLY:
                tried += 1
    if not tried:
        return ""
    median = f", median {max(1, round(sorted(took)[len(took) // 2] / 60_000))} min to recover" if took else ""
    return f"{runbook} worked {worked} of {tried} time{'s' if tried > 1 else ''} here{median}"
