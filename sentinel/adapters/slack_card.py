"""The card: one incident as Slack blocks, for people woken at night. Pure.

The first line says what is wrong and how bad; the second, what Sentinel waits for. `slack_plan` has the plan and the
buttons.
"""

from collections.abc import Mapping, Sequence

from sentinel.adapters.slack_blocks import Block, context, link, plain_text, section
from sentinel.adapters.slack_plan import (
    ABORT,
    ACKNOWLEDGE,
    APPROVE,
    CANCEL,
    MAX_LISTED,
    NARROW,
    REJECT,
    SILENCE,
    UNLIKE,
    Desk,
    buttons,
    plan_blocks,
)
from sentinel.adapters.slack_text import clean, code, duration, escape, lines, number, titled, when
from sentinel.incidents.nouns import (
    Alert,
    Change,
    Incident,
    IncidentState,
    PlanRecord,
    PlanState,
    Similar,
    StepState,
    Suspect,
)
from sentinel.remediation.approval_policy import ApprovalPolicy

__all__ = [
    "ABORT",
    "ACKNOWLEDGE",
    "APPROVE",
    "CANCEL",
    "NARROW",
    "REJECT",
    "SILENCE",
    "UNLIKE",
    "Block",
    "Desk",
    "card",
]

MAX_ALERTS = 6
_TOGETHER_MS = 120_000
_PLAN_WORDS: Mapping[PlanState, str] = {
    PlanState.PROPOSED: "A plan is being checked",
    PlanState.AWAITING_APPROVAL: "Waiting for approval",
    PlanState.APPROVED: "Approved, about to start",
    PlanState.EXECUTING: "Carrying out the plan",
    PlanState.VERIFYING: "Steps done, watching whether the fault goes away",
    PlanState.ROLLING_BACK: "Undoing the plan",
    PlanState.SUCCEEDED: "The plan worked",
    PlanState.REJECTED: "Plan rejected",
    PlanState.EXPIRED: "Plan expired",
    PlanState.CANCELLED: "Plan cancelled",
    PlanState.ROLLED_BACK: "Plan undone",
    PlanState.ROLLBACK_FAILED: "THE PLAN COULD NOT BE UNDONE",
}


def card(
    incident: Incident,
    *,
    public_url: str = "",
    key: bytes = b"",
    policy: ApprovalPolicy | None = None,
    forms: bool = True,
) -> tuple[list[Block], str]:
    """The blocks that show `incident` as it now is, and the text for notifications.

    `public_url` is where Sentinel is reached from outside; empty leaves the link out. `forms`: whether a button may
    open a modal. Buttons are there only while
    they can do something; those about a plan carry JSON {"plan", "digest", "mac"}, the last made with `key`.
    """
    desk = Desk(public_url=public_url, key=key, policy=policy or ApprovalPolicy(), forms=forms)
    record = _shown(incident)
    blocks: list[Block] = [
        {"type": "header", "text": plain_text(f"{_urgency(incident)}: {clean(incident.title)}", 150)},
        section(_standing(incident, record)),
    ]
    if mark := _mark(incident, record):
        blocks.append(section(mark))
    blocks.append(section(lines("Evidence", _evidence(incident), most=MAX_ALERTS, limit=1700)))
    # The question comes before the background: on a phone, what follows is below the fold.
    if record:
        blocks += plan_blocks(incident, record, desk)
    blocks += buttons(incident, record, desk)
    if incident.suspects:
        blocks.append(section(lines("Suspects", _ranked(incident.suspects), most=MAX_LISTED, limit=700)))
    if incident.changes:
        blocks.append(section(lines("Changed before", _changes(incident.changes), most=MAX_LISTED, limit=500)))
    past = [_past(similar) for similar in incident.similar]
    if not past and incident.memory_note:
        past = [f"• {escape(incident.memory_note, 400)}"]
    if past:
        blocks.append(section(lines("Seen before", past, most=MAX_LISTED, limit=900)))
    blocks.append(context(_footer(incident, record, public_url)))
    return blocks, _notification(incident, record)


def _mark(incident: Incident, record: PlanRecord | None) -> str:
    """What must not be overlooked: a plan that no person approved, or one that took another's place."""
    if record is None:
        return ""
    rule = next((verdict for verdict in record.verdicts if verdict.principal.via == "rule"), None)
    if rule:
        return f"⚠ *AUTO-APPROVED by {escape(rule.principal.name, 80)}: no person has looked at this plan.*"
    before = incident.plans[-2] if len(incident.plans) > 1 and incident.plans[-1] is record else None
    if before and before.state is PlanState.CANCELLED and record.state is PlanState.AWAITING_APPROVAL:
        return f"*Review this plan again, it is a new one:* {escape(before.ended_reason, 300)}"
    return ""


def _shown(incident: Incident) -> PlanRecord | None:
    """The plan people care about: the live one, or else the last."""
    return incident.live_plan or next(reversed(incident.plans), None)


def _urgency(incident: Incident) -> str:
    return "RESOLVED" if incident.state is IncidentState.RESOLVED else incident.severity.value.upper()


def _headline(incident: Incident, record: PlanRecord | None) -> str:
    """Where the incident stands, in a few words that are all ours."""
    if incident.state is IncidentState.RESOLVED:
        ended = incident.resolved_at_ms or incident.updated_at_ms
        return f"Resolved after {duration(ended - incident.opened_at_ms)}"
    words = _PLAN_WORDS[record.state] if record else "No plan yet"
    if record and record.state is PlanState.APPROVED and record.held_reason:
        words = "Approved, and held"
    elif record and record.state is PlanState.AWAITING_APPROVAL:
        given = sum(verdict.decision == "approve" for verdict in record.verdicts)
        words += f" ({given} of {record.plan.approvals_required})"
    elif record and record.state is PlanState.EXECUTING:
        done = sum(step.state is StepState.SUCCEEDED for step in record.steps)
        words += f", step {min(done + 1, len(record.steps))} of {len(record.steps)}"
    if record and record.plan.dry_run:
        words = f"DRY RUN: {words[0].lower()}{words[1:]}"
    if incident.state is not IncidentState.ESCALATED:
        return words
    return f"A person must look. {words}" if record else "A person must look"


def _standing(incident: Incident, record: PlanRecord | None) -> str:
    text = f"*{_headline(incident, record)}*"
    reason = _reason(incident, record)
    if reason:
        text += f": {escape(reason, 400)}"
    services = ", ".join(map(clean, incident.services))
    over = incident.state is IncidentState.RESOLVED  # then the title does not tell how bad it was
    facts = [f"{f'was {incident.severity.value} ' if over else ''}on {escape(services, 300)}"]
    facts.append(f"{'began' if over else 'since'} {when(incident.opened_at_ms)}")
    if incident.occurrences > 1:
        facts.append(f"seen {incident.occurrences} times")
    if incident.acknowledged_by:
        facts.append(f"acknowledged by {escape(incident.acknowledged_by, 60)}")
    return f"{text}\n{' · '.join(facts)}"


def _reason(incident: Incident, record: PlanRecord | None) -> str:
    if incident.state is IncidentState.RESOLVED or record is None:
        return incident.state_reason
    if record.state is PlanState.ROLLING_BACK:
        return record.rollback_reason
    if record.state is PlanState.APPROVED and record.held_reason:
        return record.held_reason
    return "" if record.state.live else record.ended_reason or incident.state_reason


def _notification(incident: Incident, record: PlanRecord | None) -> str:
    return f"{_urgency(incident)}: {titled(incident.title, incident.services, 200)}. {_headline(incident, record)}."


def _evidence(incident: Incident) -> list[str]:
    worst_first = sorted(incident.alerts, key=lambda alert: (not alert.open, -alert.severity.rank, -alert.score))
    return [_alert(alert, incident.opened_at_ms) for alert in worst_first] or ["no alert"]


def _alert(alert: Alert, opened_at_ms: int) -> str:
    # Most begin with the incident, and its own line says when that was.
    apart = abs(alert.started_at_ms - opened_at_ms) >= _TOGETHER_MS
    since = f", since {when(alert.started_at_ms)}" if apart else ""
    until = "" if alert.ended_at_ms is None else f", back to normal {when(alert.ended_at_ms)}"
    if alert.value is None or alert.expected_low is None or alert.expected_high is None:
        note = f": {escape(alert.note, 160)}" if alert.note else ""
        return (
            f"• {code(alert.metric, 80)} of {escape(alert.service, 60)} fires in {escape(alert.origin, 40)}"
            f"{since}{until}{note}"
        )
    band = f"expected {number(alert.expected_low)} to {number(alert.expected_high)}"
    return (
        f"• {code(alert.metric, 80)} of {escape(alert.service, 60)} went {alert.direction.value} to "
        f"*{number(alert.value)}*, {band}{since}{until}"
    )


def _ranked(suspects: Sequence[Suspect]) -> list[str]:
    return [
        f"{rank}. *{escape(suspect.service, 60)}*: {escape('; '.join(map(clean, suspect.reasons)), 220)}"
        for rank, suspect in enumerate(suspects, start=1)
    ]


def _changes(changes: Sequence[Change]) -> list[str]:
    return [
        f"• {escape(change.title, 120)} on {escape(change.service, 60)} {when(change.at_ms)}"
        for change in reversed(changes)
    ]


def _past(similar: Similar) -> str:
    fixed = ", ".join(map(clean, similar.fixed_by))
    fixed = escape(similar.runbook if fixed and similar.runbook else fixed, 100) if fixed else ""
    outcome = escape(similar.outcome, 60)
    if fixed:
        outcome += f", fixed by {fixed}"
    if similar.recovery_ms is not None:
        outcome += f" in {duration(similar.recovery_ms)}"
    if similar.rejected:
        outcome += f"; rejected then: {escape(clean(similar.rejected), 100)}"
    return (
        f"• {similar.similarity:.0%} like {escape(similar.title, 80)} "
        f"({escape(similar.incident_id, 40)}, {when(similar.at_ms)}): {outcome}"
    )


def _footer(incident: Incident, record: PlanRecord | None, public_url: str) -> str:
    parts = [escape(incident.id, 80)]
    if record:
        parts.append(f"plan {len(incident.plans)}, digest {code(record.plan.digest[:12], 20)}")
    if incident.previous_id:
        parts.append(f"after {escape(incident.previous_id, 80)}")
    if public_url:
        parts.append(link(incident, public_url))
    return " · ".join(parts)
