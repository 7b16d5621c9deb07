"""The thread below a card: what happened, one line an entry, in order. Pure."""

from collections.abc import Sequence

from sentinel.adapters.slack_blocks import Block, mention, section
from sentinel.adapters.slack_text import code, escape, when, width
from sentinel.incidents import facts as f
from sentinel.incidents.facts import Entry

_SECTION = 2900
_MOST_SECTIONS = 3  # Slack takes about 12,000 units a message


def narrate(entries: Sequence[Entry]) -> tuple[list[Block], str] | None:
    """One message that tells of these entries; None where none of them is worth a line."""
    told = [(entry, text) for entry in entries if (text := _line(entry))]
    if not told:
        return None
    sections = [""]
    for index, (entry, text) in enumerate(told):
        line = f"{when(entry.at_ms)}  {text}"
        if width(sections[-1]) + 1 + width(line) > _SECTION:
            if len(sections) == _MOST_SECTIONS:
                sections[-1] += f"\n… and {len(told) - index} more entries"
                break
            sections.append("")
        sections[-1] = f"{sections[-1]}\n{line}".lstrip("\n")
    return [section(text) for text in sections], told[-1][1]


def _line(entry: Entry) -> str:
    """What an entry says to those who follow the thread; empty for what the card alone tells."""
    match entry.fact:
        case f.AlertRaised(alert=alert, reason=reason):
            return f"{code(alert.metric, 80)} of {escape(alert.service, 60)}: {escape(reason, 200)}"
        case f.DuplicateFolded(reason=reason):
            return f"seen again: {escape(reason, 200)}"
        case f.IncidentAcknowledged(reason=reason) | f.IncidentEscalated(reason=reason):
            return escape(reason, 300)
        case f.ToldApart(other_id=other, alerts=alerts, reason=reason):
            what = f"{len(alerts)} alert{'s' if len(alerts) > 1 else ''} went to" if alerts else "no return of"
            because = f": {escape(reason, 200)}" if reason else ""
            return f"not the same, says *{escape(entry.principal.name, 60)}*, {what} {code(other, 60)}{because}"
        case f.IncidentResolved(reason=reason):
            return f"*resolved*: {escape(reason, 300)}"
        case f.PlanProposed(plan=plan):
            return f"plan {code(plan.runbook, 60)} proposed, digest {code(plan.digest[:12], 20)}"
        case f.ApprovalReminded(to=to, reason=reason):
            whom = f" {', '.join(map(mention, to[:10]))}" if to else ""
            return f"*{escape(reason, 200)}*{whom}"
        case f.VerdictGiven(verdict=verdict):
            said = "AUTO-APPROVED" if verdict.principal.via == "rule" else f"{verdict.decision.removesuffix('e')}ed"
            because = f": {escape(verdict.reason, 200)}" if verdict.reason else ""
            by = f"*{escape(verdict.principal.name, 60)}*"
            return f"{said} by {by} ({escape(verdict.method or verdict.principal.via, 40)}){because}"
        case f.PlanExpired(reason=reason):
            return f"plan expired: {escape(reason, 300)}"
        case f.PlanCancelled(reason=reason):
            return f"plan cancelled: {escape(reason, 300)}"
        case f.PlanHeld(reason=reason):
            return f"approved, and held: {escape(reason, 300)}"
        case f.ExecutionStarted():
            return "carrying out the plan"
        case f.StepSucceeded(index=index, detail=detail):
            return f"step {index + 1} done: {escape(detail, 250)}"
        case f.StepFailed(index=index, detail=detail):
            return f"*step {index + 1} failed*: {escape(detail, 250)}"
        case f.StepUnknown(index=index, detail=detail):
            return f"*step {index + 1}: nobody knows whether it took effect*: {escape(detail, 250)}"
        case f.VerificationStarted():
            return "every step is done, watching whether the fault goes away"
        case f.RollbackStarted(reason=reason, undo=undo):
            return f"*given up{', undoing' if undo else ''}*: {escape(reason, 300)}"
        case f.UndoSucceeded(index=index, detail=detail):
            return f"step {index + 1} undone: {escape(detail, 250)}"
        case f.UndoFailed(index=index, detail=detail):
            return f"*step {index + 1} could not be undone*: {escape(detail, 250)}"
        case f.PlanSucceeded(reason=reason):
            return f"the plan worked: {escape(reason, 300)}"
        case f.PlanRolledBack(reason=reason):
            return f"undone: {escape(reason, 300)}"
        case f.PlanRollbackFailed(reason=reason):
            return f"*people must look*: {escape(reason, 300)}"
        case _:
            return ""
