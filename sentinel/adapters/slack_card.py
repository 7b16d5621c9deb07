"""The card: one incident as Slack blocks, for people woken at night. Pure.

The first line says what is wrong and how bad; the second, what Sentinel waits for. What people approve
they have seen: a plan whose steps cannot be shown whole gets no Approve button.
"""

from collections.abc import Mapping, Sequence
from urllib.parse import quote

import msgspec

from sentinel.adapters.slack_text import clean, code, duration, escape, exact, lines, number, plain, when, width
from sentinel.incidents.nouns import (
    Alert,
    Change,
    Incident,
    IncidentState,
    Plan,
    PlanRecord,
    PlanState,
    Similar,
    Step,
    StepRecord,
    StepState,
    Suspect,
    Verdict,
)
from sentinel.remediation.actions import CATALOG

APPROVE = "sentinel_approve"
REJECT = "sentinel_reject"

Block = dict[str, object]

MAX_ALERTS = 6
MAX_LISTED = 3
# Slack takes 3000 units a section and, though it does not say so, about 12,000 a message
# (slackapi/bolt-js issue 2509); these leave room for both.
_SECTION = 2900
_STEPS = 3500

_STEP_WORDS: Mapping[StepState, str] = {
    StepState.PENDING: "",
    StepState.STARTED: "running",
    StepState.SUCCEEDED: "done",
    StepState.FAILED: "failed",
    StepState.UNKNOWN: "nobody knows whether it took effect",
    StepState.UNDO_STARTED: "being undone",
    StepState.UNDONE: "undone",
    StepState.UNDO_FAILED: "could not be undone",
}
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


def card(incident: Incident, *, public_url: str) -> tuple[list[Block], str]:
    """The blocks that show `incident` as it now is, and the text for notifications.

    `public_url` is where Sentinel is reached from outside; empty leaves the link out.
    Approve and Reject are there only while a plan awaits approval; their value is JSON {"plan", "digest"}.
    """
    record = _shown(incident)
    blocks: list[Block] = [
        {"type": "header", "text": _plain(f"{_urgency(incident)}: {clean(incident.title)}", 150)},
        _section(_standing(incident, record)),
        _section(lines("Evidence", _evidence(incident.alerts), most=MAX_ALERTS, limit=1700)),
    ]
    if incident.suspects:
        blocks.append(_section(lines("Suspects", _ranked(incident.suspects), most=MAX_LISTED, limit=700)))
    if incident.changes:
        blocks.append(_section(lines("Changed before", _changes(incident.changes), most=MAX_LISTED, limit=500)))
    past = [_past(similar) for similar in incident.similar]
    if not past and incident.memory_note:
        past = [f"• {escape(incident.memory_note, 400)}"]
    if past:
        blocks.append(_section(lines("Seen before", past, most=MAX_LISTED, limit=900)))
    if record:
        blocks += _plan(incident, record, public_url)
    blocks.append(_context(_footer(incident, record, public_url)))
    return blocks, _notification(incident, record)


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
    if record and record.state is PlanState.AWAITING_APPROVAL:
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
    was = "was " if incident.state is IncidentState.RESOLVED else ""
    facts = [f"{was}{incident.severity.value} on {escape(services, 300)}", f"since {when(incident.opened_at_ms)}"]
    if incident.occurrences > 1:
        facts.append(f"seen {incident.occurrences} times")
    return f"{text}\n{' · '.join(facts)}"


def _reason(incident: Incident, record: PlanRecord | None) -> str:
    if incident.state is IncidentState.RESOLVED or record is None:
        return incident.state_reason
    if record.state is PlanState.ROLLING_BACK:
        return record.rollback_reason
    return "" if record.state.live else record.ended_reason or incident.state_reason


def _notification(incident: Incident, record: PlanRecord | None) -> str:
    title = escape(incident.title, 200)
    services = escape(", ".join(map(clean, incident.services)), 200)
    return f"{_urgency(incident)}: {title} ({services}). {_headline(incident, record)}."


def _evidence(alerts: Sequence[Alert]) -> list[str]:
    worst_first = sorted(alerts, key=lambda alert: (not alert.open, -alert.severity.rank, -alert.score))
    return [_alert(alert) for alert in worst_first] or ["no alert"]


def _alert(alert: Alert) -> str:
    until = "" if alert.ended_at_ms is None else f", back to normal {when(alert.ended_at_ms)}"
    if alert.value is None or alert.expected_low is None or alert.expected_high is None:
        note = f": {escape(alert.note, 160)}" if alert.note else ""
        return (
            f"• {code(alert.metric, 80)} of {escape(alert.service, 60)} fires in {escape(alert.origin, 40)}, "
            f"since {when(alert.started_at_ms)}{until}{note}"
        )
    band = f"expected {number(alert.expected_low)} to {number(alert.expected_high)}"
    return (
        f"• {code(alert.metric, 80)} of {escape(alert.service, 60)} went {alert.direction.value} to "
        f"*{number(alert.value)}*, {band}, since {when(alert.started_at_ms)}{until}"
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
    fixed = escape(", ".join(map(clean, similar.fixed_by)), 100) if similar.fixed_by else ""
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


def _plan(incident: Incident, record: PlanRecord, public_url: str) -> list[Block]:
    plan = record.plan
    heading = f"*Plan {escape(plan.runbook, 80)}*: {escape(plan.reason, 400)}"
    if plan.dry_run:
        heading = f"*DRY RUN: nothing on AWS is changed by this plan.*\n{heading}"
    steps, whole = _steps(record)
    terms = _terms(record)
    blocks: list[Block] = [{"type": "divider"}, *map(_section, [heading, *steps, *([terms] if terms else [])])]
    if record.verdicts:
        verdicts = [_verdict(verdict) for verdict in record.verdicts]
        blocks.append(_section(lines("Verdicts", verdicts, most=10, limit=600)))
    earlier = [_ended(each) for each in reversed(incident.plans) if each is not record]
    if earlier:
        blocks.append(_section(lines("Earlier plans", earlier, most=MAX_LISTED, limit=400)))
    if record.state is PlanState.AWAITING_APPROVAL:
        if not whole:
            where = f" at {_link(incident, public_url)}" if public_url else ", with `sentinel show`"
            blocks.append(_section(f"*This plan cannot be shown whole here.* Read and approve it elsewhere{where}."))
        blocks.append(_buttons(plan, whole))
    return blocks


def _steps(record: PlanRecord) -> tuple[list[str], bool]:
    """The steps, packed into as few sections as hold them, and whether all of them are there unchanged."""
    sections = [""]
    used, whole = 0, True
    for index, (step, state) in enumerate(zip(record.plan.steps, record.steps, strict=True)):
        text, unchanged = _step(index, step, state, undo=record.plan.rollback)
        if used + width(text) > _STEPS:
            rest = f"… and {len(record.plan.steps) - index} more steps"
            return [*filter(None, sections), rest], False
        if width(sections[-1]) + 1 + width(text) > _SECTION:
            sections.append("")
        sections[-1] = f"{sections[-1]}\n{text}".lstrip("\n")
        used, whole = used + width(text), whole and unchanged
    return sections, whole


def _step(index: int, step: Step, record: StepRecord, *, undo: bool) -> tuple[str, bool]:
    action = CATALOG.get(step.action)
    what = action.summary if action else step.action
    target, whole = exact(step.target, 500)
    text = f"*{index + 1}.* {escape(what[:1].upper() + what[1:], 120)}\n{target}"
    for name, value in step.params.items():
        # A parameter that is the whole first or last part of the target has been shown with it.
        if isinstance(value, str) and (
            step.target == value or step.target.startswith(f"{value}/") or step.target.endswith(f"/{value}")
        ):
            continue
        shown, unchanged = exact(value if isinstance(value, str) else msgspec.json.encode(value).decode(), 300)
        text += f" · {escape(name, 60)} = {shown}"
        whole = whole and unchanged and escape(name, 60) == name
    if undo and not (action and action.reversible):
        text += " · cannot be undone"
    if _STEP_WORDS[record.state]:
        text += f"\n*{_STEP_WORDS[record.state]}*"
        text += f": {escape(record.detail, 250)}" if record.detail else ""
    return text, whole


def _terms(record: PlanRecord) -> str:
    """What holds while the plan lives: when it expires, and what happens if it does not help."""
    if not record.state.live:
        return ""
    plan = record.plan
    undo = "what can be undone is undone" if plan.rollback else "nothing is undone"
    text = (
        f"The detector that raised the alarm must see the fault gone within {duration(plan.verify_within_s * 1000)}; "
        f"if it does not, {undo}."
    )
    started = record.state in (PlanState.EXECUTING, PlanState.VERIFYING, PlanState.ROLLING_BACK)
    return text if started else f"{text}\nExpires {when(plan.expires_at_ms)}"


def _verdict(verdict: Verdict) -> str:
    said = "approved" if verdict.decision == "approve" else "rejected"
    because = f": {escape(verdict.reason, 150)}" if verdict.reason else ""
    return f"• {said} by *{escape(verdict.principal.name, 60)}* {when(verdict.at_ms)}{because}"


def _ended(record: PlanRecord) -> str:
    because = f": {escape(record.ended_reason, 120)}" if record.ended_reason else ""
    return f"• {code(record.plan.runbook, 60)} {record.state.value.replace('_', ' ')}{because}"


def _buttons(plan: Plan, whole: bool) -> Block:
    value = msgspec.json.encode({"plan": plan.plan_id, "digest": plan.digest}).decode()
    count = f"{len(plan.steps)} step{'s' if len(plan.steps) != 1 else ''}"
    effect = "Dry run: nothing on AWS is changed." if plan.dry_run else "This changes AWS."
    approve: Block = {
        "type": "button",
        "action_id": APPROVE,
        "text": _plain("Approve dry run" if plan.dry_run else "Approve", 75),
        "style": "primary",
        "value": value,
        "confirm": {
            "title": _plain("Approve this plan?", 100),
            "text": _plain(f"{plain(plan.runbook, 120)}, {count}, digest {plan.digest[:12]}. {effect}", 300),
            "confirm": _plain("Approve", 30),
            "deny": _plain("Not yet", 30),
        },
    }
    reject: Block = {
        "type": "button",
        "action_id": REJECT,
        "text": _plain("Reject", 75),
        "style": "danger",
        "value": value,
    }
    return {"type": "actions", "block_id": "sentinel_decision", "elements": [approve, reject] if whole else [reject]}


def _footer(incident: Incident, record: PlanRecord | None, public_url: str) -> str:
    parts = [escape(incident.id, 80)]
    if record:
        parts.append(f"plan {len(incident.plans)}, digest {code(record.plan.digest[:12], 20)}")
    if incident.previous_id:
        parts.append(f"after {escape(incident.previous_id, 80)}")
    if public_url:
        parts.append(_link(incident, public_url))
    return " · ".join(parts)


def _link(incident: Incident, public_url: str) -> str:
    return (
        f"<{quote(public_url.rstrip('/'), safe=':/?=%@[]')}/incidents/{quote(incident.id, safe='')}|open in Sentinel>"
    )


def _plain(text: str, limit: int) -> Block:
    return {"type": "plain_text", "text": plain(text, limit), "emoji": False}


def _mrkdwn(text: str) -> Block:
    # verbatim: Slack then neither links nor mentions what merely looks like a URL, a channel or a name.
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _section(text: str) -> Block:
    return {"type": "section", "text": _mrkdwn(text)}


def _context(text: str) -> Block:
    return {"type": "context", "elements": [_mrkdwn(text)]}
