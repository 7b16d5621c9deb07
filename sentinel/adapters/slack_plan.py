"""The plan on the card: what would be done to what, what is known of it, who may decide, and the buttons.

What people approve they have seen: a plan whose steps cannot be shown whole gets no Approve button.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from sentinel.adapters.slack_blocks import Block, button, link, mention, section
from sentinel.adapters.slack_text import code, duration, escape, exact, lines, plain, when, width
from sentinel.correlation.apart import choices
from sentinel.correlation.silences import services_of
from sentinel.errors import Invalid
from sentinel.incidents.nouns import (
    Incident,
    IncidentState,
    Plan,
    PlanRecord,
    PlanState,
    Seen,
    Step,
    StepRecord,
    StepState,
    Verdict,
)
from sentinel.remediation.actions import CATALOG
from sentinel.remediation.approval_policy import ApprovalPolicy, terms_of
from sentinel.remediation.binding import allowed_range
from sentinel.remediation.sealing import CARD, value_mac

APPROVE = "sentinel_approve"
REJECT = "sentinel_reject"
NARROW = "sentinel_narrow"
CANCEL = "sentinel_cancel"
ABORT = "sentinel_abort"
ACKNOWLEDGE = "sentinel_acknowledge"
UNLIKE = "sentinel_unlike"
SILENCE = "sentinel_silence"

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the cards of one Sentinel have in common: where it is reached, the key of its buttons, its policy.

    `forms`: whether a press can open a modal, which takes a bot token.
    """

    public_url: str = ""
    key: bytes = b""
    policy: ApprovalPolicy
    forms: bool = True

    def value(self, plan: Plan) -> str:
        """What a button on the card of `plan` carries."""
        mac = value_mac(self.key, plan.plan_id, plan.digest, CARD)
        return msgspec.json.encode({"plan": plan.plan_id, "digest": plan.digest, "mac": mac}).decode()

    def incident_value(self, incident: Incident) -> str:
        """What a button about a whole incident carries."""
        mac = value_mac(self.key, incident.id, "", CARD)
        return msgspec.json.encode({"incident": incident.id, "mac": mac}).decode()


def plan_blocks(incident: Incident, record: PlanRecord, desk: Desk) -> list[Block]:
    """Everything about one plan, buttons last."""
    plan = record.plan
    heading = f"*Plan {escape(plan.runbook, 80)}*: {escape(plan.reason, 400)}"
    if plan.track_record:
        heading += f"\n{escape(plan.track_record, 200)}"
    if plan.dry_run:
        heading = f"*DRY RUN: nothing on AWS is changed by this plan.*\n{heading}"
    steps, whole = _steps(record)
    rest = [_unchecked(record), _terms(record), _who(record, desk.policy)]
    blocks: list[Block] = [{"type": "divider"}, *map(section, [heading, *steps, *filter(None, rest)])]
    if record.verdicts:
        verdicts = [_verdict(verdict) for verdict in record.verdicts]
        blocks.append(section(lines("Verdicts", verdicts, most=10, limit=600)))
    earlier = [_ended(each) for each in reversed(incident.plans) if each is not record]
    if earlier:
        blocks.append(section(lines("Earlier plans", earlier, most=MAX_LISTED, limit=400)))
    if record.state is PlanState.AWAITING_APPROVAL and not whole:
        where = f" at {link(incident, desk.public_url)}" if desk.public_url else ", with `sentinel show`"
        blocks.append(section(f"*This plan cannot be shown whole here.* Read and approve it elsewhere{where}."))
    return blocks


def buttons(incident: Incident, record: PlanRecord | None, desk: Desk) -> list[Block]:
    """The row of buttons that make sense now; none where nothing is left to press."""
    row: list[Block] = []
    if record:
        plan, value = record.plan, desk.value(record.plan)
        match record.state:
            case PlanState.AWAITING_APPROVAL:
                row += [_approve(plan, value)] if shown_whole(record) else []
                row.append(button(REJECT, "Reject", value, style="danger"))
                row += [button(NARROW, "Edit", value)] if narrowable(plan) else []
            case PlanState.APPROVED:
                sure = ("Cancel this plan?", "It has not started; nothing will be done.", "Cancel the plan")
                row.append(button(CANCEL, "Cancel", value, style="danger", confirm=sure))
            case PlanState.EXECUTING | PlanState.VERIFYING:
                undo = "What can be undone is undone." if plan.rollback else "Nothing is undone."
                sure = ("Abort this plan?", f"No further step is started. {undo}", "Abort")
                row.append(button(ABORT, "Abort", value, style="danger", confirm=sure))
            case _:
                pass
    if incident.state is not IncidentState.RESOLVED and not incident.acknowledged_by:
        row.append(button(ACKNOWLEDGE, "Acknowledge", desk.incident_value(incident)))
    if desk.forms and choices(incident):
        row.append(button(UNLIKE, "Not the same", desk.incident_value(incident)))
    if desk.forms and services_of(incident):
        row.append(button(SILENCE, "Silence", desk.incident_value(incident)))
    return [{"type": "actions", "block_id": "sentinel_decision", "elements": row}] if row else []


def narrowable(plan: Plan) -> list[tuple[int, str, int, int]]:
    """The parameters that may be narrowed: step, name, lowest and highest value."""
    found: list[tuple[int, str, int, int]] = []
    for index, step in enumerate(plan.steps):
        for name in step.params:
            try:
                low, high = allowed_range(plan, index, name)
            except Invalid:
                continue
            found.append((index, name, low, high))
    return found


def step_texts(record: PlanRecord) -> list[str]:
    """The steps, packed into as few sections as hold them."""
    return _steps(record)[0]


def shown_whole(record: PlanRecord) -> bool:
    """Whether people see every step of it unchanged."""
    return _steps(record)[1]


def _approve(plan: Plan, value: str) -> Block:
    count = f"{len(plan.steps)} step{'s' if len(plan.steps) != 1 else ''}"
    effect = "Dry run: nothing on AWS is changed." if plan.dry_run else "This changes AWS."
    said = f"{plain(plan.runbook, 120)}, {count}, digest {plan.digest[:12]}. {effect}"
    text = "Approve dry run" if plan.dry_run else "Approve"
    return button(APPROVE, text, value, style="primary", confirm=("Approve this plan?", said, "Approve"))


def _steps(record: PlanRecord) -> tuple[list[str], bool]:
    """The steps, packed into as few sections as hold them, and whether all of them are there unchanged."""
    sections = [""]
    used, whole = 0, True
    targets: Sequence[Seen | None] = record.plan.targets or [None] * len(record.plan.steps)
    live = record.state in (PlanState.PROPOSED, PlanState.AWAITING_APPROVAL, PlanState.APPROVED)
    for index, (step, state, seen) in enumerate(zip(record.plan.steps, record.steps, targets, strict=False)):
        text, unchanged = _step(index, step, state, seen, ended=not record.state.live)
        if seen and live:
            text += "".join(f"\n› {escape(note, 200)}" for note in seen.notes[:5])
        if used + width(text) > _STEPS:
            rest = f"… and {len(record.plan.steps) - index} more steps"
            return [*filter(None, sections), rest], False
        if width(sections[-1]) + 1 + width(text) > _SECTION:
            sections.append("")
        sections[-1] = f"{sections[-1]}\n{text}".lstrip("\n")
        used, whole = used + width(text), whole and unchanged
    return sections, whole


def _target(target: str, seen: Seen | None) -> tuple[str, bool]:
    """What a step touches and where, each told once, and whether it is shown whole."""
    if seen is None or not (seen.account or seen.region):
        return exact(target, 500)  # beside AWS, the target's own name tells where it is
    partition, service, rest = [*target.split(":", 3)[1:], "", "", ""][:3]
    within = f"{seen.region}:{seen.account}:"
    named = rest.removeprefix(within) if target == f"arn:{partition}:{service}:{rest}" and within in rest else target
    shown, whole = exact(named, 500)
    return (
        f"{shown} in account {escape(seen.account or 'unknown', 40)}, {escape(seen.region or 'region unknown', 40)}",
        whole,
    )


def _step(index: int, step: Step, record: StepRecord, seen: Seen | None, *, ended: bool) -> tuple[str, bool]:
    action = CATALOG.get(step.action)
    what = action.summary if action else step.action
    target, whole = _target(step.target, seen)
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
    if not ended and record.state in (StepState.PENDING, StepState.STARTED):
        text += " · can be undone" if action and action.reversible else " · cannot be undone"
    words = "not carried out" if ended and record.state is StepState.PENDING else _STEP_WORDS[record.state]
    if words:
        text += f"\n*{words}*"
        text += f": {escape(record.detail, 250)}" if record.detail else ""
    return text, whole


def _unchecked(record: PlanRecord) -> str:
    if record.state is not PlanState.AWAITING_APPROVAL or record.plan.targets:
        return ""
    return "*Not checked against AWS:* none is connected, so nobody knows how the target is now."


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
    waits = record.state in (PlanState.PROPOSED, PlanState.AWAITING_APPROVAL)
    return f"{text}\nExpires {when(plan.expires_at_ms)}" if waits else text


def _who(record: PlanRecord, policy: ApprovalPolicy) -> str:
    """Who may decide, and who else will be asked; only while people are asked."""
    if record.state is not PlanState.AWAITING_APPROVAL:
        return ""
    terms = terms_of(policy, record.plan)
    names = sorted({each for allowed in terms.allowed for each in allowed})
    if terms.open_to_all:
        text = "*Every member of this workspace may approve*, for `approval.approvers` is empty."
    else:
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        text = f"*May approve:* {', '.join(map(mention, names[:10]))}{more}"
    facts = [f"risk {terms.risk}", *(f"environment {escape(name, 40)}" for name in terms.environments[:3])]
    facts += [f"rule {escape(name, 64)}" for name in terms.rules[:3]]
    if terms.escalate_to and terms.escalate_after_ms:
        others = ", ".join(map(mention, terms.escalate_to[:5]))
        at_ms = (record.asked_at_ms or record.plan.created_at_ms) + terms.escalate_after_ms
        one = len(terms.escalate_to) == 1
        said = ("was" if one else "were") if record.escalated_at_ms is not None else ("is" if one else "are")
        facts.append(f"{others} {said} asked as well at {when(record.escalated_at_ms or at_ms)}")
    return f"{text}\n{' · '.join(facts)}"


def _verdict(verdict: Verdict) -> str:
    said = "approved" if verdict.decision == "approve" else "rejected"
    because = f": {escape(verdict.reason, 150)}" if verdict.reason else ""
    if verdict.principal.via == "rule":
        said = "AUTO-APPROVED"
    return f"• {said} by *{escape(verdict.principal.name, 60)}* {when(verdict.at_ms)}{because}"


def _ended(record: PlanRecord) -> str:
    because = f": {escape(record.ended_reason, 120)}" if record.ended_reason else ""
    return f"• {code(record.plan.runbook, 60)} {record.state.value.replace('_', ' ')}{because}"
