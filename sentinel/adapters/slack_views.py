"""What people see of Slack besides the card: modals, the app's own page, answers to the slash command. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sentinel.adapters.slack_blocks import Block, context, plain_text, section
from sentinel.adapters.slack_plan import APPROVE, NARROW, REJECT, SILENCE, UNLIKE, narrowable, shown_whole, step_texts
from sentinel.adapters.slack_text import clean, code, escape, lines, titled, when
from sentinel.correlation.apart import LAST, RETURN, choices
from sentinel.ids import Fingerprint
from sentinel.incidents.nouns import Incident, IncidentState, PlanRecord, PlanState
from sentinel.remediation.switch import Switch

_MOST_LISTED = 15
_LASTS = {"30": "30 minutes", "120": "2 hours", "480": "8 hours", "1440": "1 day", "10080": "7 days"}  # by minutes
_WORDS = {
    IncidentState.OPEN: "open, no plan yet",
    IncidentState.MITIGATING: "being mended",
    IncidentState.ESCALATED: "a person must look",
    IncidentState.RESOLVED: "resolved",
}
_STATES = {IncidentState.OPEN: 0, IncidentState.MITIGATING: 1, IncidentState.ESCALATED: 2, IncidentState.RESOLVED: 3}
HELP = (
    "*/sentinel status* what goes on\n*/sentinel incidents* those that are not over\n"
    "*/sentinel show INCIDENT* one of them\n*/sentinel approve PLAN* read a plan, and say yes\n"
    "*/sentinel kill-switch* whether anything is sent\n"
    "*/sentinel kill-switch stop REASON* hold all that is not yet sent; *resume REASON* let it go, for admins"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackViews:
    """Each answers with what Slack's API takes as `view`, or with blocks."""

    help: str = HELP

    def reject_modal(self, metadata: str) -> Block:
        """Asks why a plan is rejected; the reason may be left out."""
        reason: Block = {
            "type": "plain_text_input",
            "action_id": "reason",
            "multiline": True,
            "max_length": 1000,
            "focus_on_load": True,
        }
        field: Block = {
            "type": "input",
            "block_id": "reason",
            "optional": True,
            "label": plain_text("Why not? It will stand on the card.", 150),
            "element": reason,
        }
        blocks = [section("Nothing of this plan will run, and a person must look."), field]
        return _modal(REJECT, "Reject the plan", "Reject", blocks, metadata)

    def narrowing(self, record: PlanRecord) -> tuple[int, str, int, int] | None:
        """What the Edit button is about: step, parameter, lowest and highest value."""
        return next(iter(narrowable(record.plan)), None)

    def whole(self, record: PlanRecord) -> bool:
        """Whether the plan can be shown whole, without which nobody approves it here."""
        return shown_whole(record)

    def narrow_modal(self, record: PlanRecord, metadata: str, index: int, name: str, low: int, high: int) -> Block:
        """Asks for a smaller step than the plan takes."""
        planned = record.plan.steps[index].params[name]
        number: Block = {
            "type": "number_input",
            "action_id": "value",
            "is_decimal_allowed": False,
            "min_value": str(low),
            "max_value": str(high),
            "initial_value": str(high if isinstance(planned, int) and planned > high else low),
            "focus_on_load": True,
        }
        field: Block = {
            "type": "input",
            "block_id": "value",
            "label": plain_text(f"{name} of step {index + 1}: {low if low == high else f'{low} to {high}'}", 150),
            "element": number,
        }
        said = f"The plan says {code(str(planned), 40)}. A narrower plan takes its place and waits for approval anew."
        return _modal(NARROW, "Narrow the plan", "Propose it", [section(said), field], metadata)

    def plan_modal(self, incident: Incident, record: PlanRecord, metadata: str) -> Block:
        """A plan to read and approve."""
        plan = record.plan
        digest = f"digest {code(plan.digest[:12], 20)}"
        effect = "\n*DRY RUN: nothing on AWS is changed by this plan.*" if plan.dry_run else ""
        blocks = [
            section(f"*{escape(incident.title, 300)}*\n{escape(plan.reason, 400)}{effect}"),
            *map(section, step_texts(record)),
            context(f"{escape(plan.plan_id, 120)} · {digest} · expires {when(plan.expires_at_ms)}"),
        ]
        return _modal(APPROVE, "Approve this plan?", "Approve", blocks, metadata)

    def unlike_modal(self, incident: Incident, metadata: str) -> Block:
        """Asks what of an incident is another fault, of what `apart.choices` offers."""
        alerts = {alert.fingerprint: alert for alert in incident.alerts}
        said = {LAST: "What was seen again last", RETURN: f"It is no return of {incident.previous_id}"}
        options: dict[str, str] = {}
        for each in choices(incident):
            alert = alerts.get(Fingerprint(each))
            options[each] = f"{clean(alert.metric)} of {clean(alert.service)}" if alert else said[each]
        blocks = [
            section(f"*{escape(incident.title, 300)}*\nAlerts that are another fault become an incident of their own."),
            _select("choice", "What does not belong here?", options),
            _comment("Why? The next decision honours what you say.", optional=True),
        ]
        return _modal(UNLIKE, "Not the same", "Split off", blocks, metadata)

    def silence_modal(self, incident: Incident, metadata: str) -> Block:
        """Asks for how long the services of an incident are kept quiet, and why."""
        names = escape(", ".join(map(clean, incident.services)), 600)
        text = f"New alerts of *{names}* are kept from people, and nothing is planned for them. They are recorded."
        blocks = [
            section(text),
            _select("choice", "For how long?", _LASTS, "120"),
            _comment("Why?", optional=False),
        ]
        return _modal(SILENCE, "Silence", "Silence", blocks, metadata)

    def home(self, incidents: Sequence[Incident]) -> Block:
        """The app's own page: what is not over."""
        return {"type": "home", "blocks": self.listing(incidents)}

    def listing(self, incidents: Sequence[Incident]) -> list[Block]:
        """Incidents that are not over, those that wait for people first."""
        unresolved = [each for each in incidents if each.state is not IncidentState.RESOLVED]
        unresolved.sort(key=lambda each: (not _waits(each), _STATES[each.state], -each.opened_at_ms))
        head: Block = {
            "type": "header",
            "text": plain_text(f"{len(unresolved)} open incident{'' if len(unresolved) == 1 else 's'}", 150),
        }
        if not unresolved:
            return [head, section("Nothing is unusual as far as Sentinel knows.")]
        entries = [self._entry(each) for each in unresolved]
        return [head, section(lines("Now", entries, most=_MOST_LISTED, limit=2900))]

    def summary(self, incident: Incident) -> list[Block]:
        """One incident in short, without buttons: those are on its card."""
        text = f"*{escape(incident.title, 200)}*\n{self._entry(incident)}"
        if incident.state_reason:
            text += f"\n{escape(incident.state_reason, 400)}"
        blocks = [section(text)]
        if incident.plans:
            record = incident.plans[-1]
            said = f"Plan {code(record.plan.plan_id, 120)}, digest {code(record.plan.digest[:12], 20)}: {record.state}"
            blocks += [section(said), *map(section, step_texts(record))]
        return blocks

    def status(self, incidents: Sequence[Incident]) -> list[Block]:
        """What goes on, in a few lines."""
        count = {state: sum(each.state is state for each in incidents) for state in IncidentState}
        waiting = [each for each in incidents if _waits(each)]
        plans = "1 plan waits" if len(waiting) == 1 else f"{len(waiting)} plans wait"
        text = (
            f"*{plans} for approval*\n{count[IncidentState.OPEN]} open, "
            f"{count[IncidentState.MITIGATING]} being mended, {count[IncidentState.ESCALATED]} for people"
        )
        if waiting:
            text += "\n" + "\n".join(self._entry(each) for each in waiting[:5])
        return [section(text)]

    def switch(self, switch: Switch) -> list[Block]:
        """The kill switch, who turned it and why."""
        text = f"*The kill switch is {'on:* nothing is sent.' if switch.stopped else 'off:* approved plans run.'}"
        because = f": {escape(switch.reason, 1000)}" if switch.reason else ""
        if switch.principal:
            verb = "Stopped" if switch.stopped else "Resumed"
            text += f"\n{verb} by *{escape(switch.principal.name, 80)}* {when(switch.at_ms)}{because}"
        elif because:
            text += f"\nStopped{because}"
        if switch.stopped:
            text += "\nTo resume: an admin, with `/sentinel kill-switch resume REASON`, by API or CLI"
        return [section(text)]

    def _entry(self, incident: Incident) -> str:
        record = incident.live_plan
        what = f"*{titled(incident.title, incident.services, 120)}*:"
        if record is None:
            return f"• {what} {_WORDS[incident.state]} · {code(incident.id, 60)}"
        return f"• {what} plan {record.state.replace('_', ' ')} · {code(record.plan.plan_id, 120)}"


def _waits(incident: Incident) -> bool:
    return incident.live_plan is not None and incident.live_plan.state is PlanState.AWAITING_APPROVAL


def _select(name: str, label: str, options: Mapping[str, str], initial: str = "") -> Block:
    shown: dict[str, Block] = {value: {"text": plain_text(text, 75), "value": value} for value, text in options.items()}
    element: Block = {"type": "static_select", "action_id": name, "options": list(shown.values())}
    if initial:
        element["initial_option"] = shown[initial]
    return {"type": "input", "block_id": name, "label": plain_text(label, 150), "element": element}


def _comment(label: str, *, optional: bool) -> Block:
    field: Block = {"type": "plain_text_input", "action_id": "reason", "multiline": True, "max_length": 900}
    return {
        "type": "input",
        "block_id": "reason",
        "optional": optional,
        "label": plain_text(label, 150),
        "element": field,
    }


def _modal(callback_id: str, title: str, submit: str, blocks: list[Block], metadata: str) -> Block:
    return {
        "type": "modal",
        "callback_id": callback_id,
        "title": plain_text(title, 24),
        "submit": plain_text(submit, 24),
        "close": plain_text("Not yet", 24),
        "private_metadata": metadata,
        "blocks": blocks,
    }
