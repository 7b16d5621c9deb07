"""`sentinel check`: what the settings come to, and rules that can never do anything."""

import re

from rich.console import Console
from rich.markup import escape

from actors.wiring_execution import limits
from sentinel.remediation.actions import Values, action_named, steps_of
from sentinel.remediation.runbooks import Runbook, is_open
from sentinel.remediation.safety import Limits, out_of_bounds, refusal
from sentinel.settings import Settings
from sentinel.settings_approval import never_fits


def run(settings: Settings, console: Console) -> None:
    """Print every section that was set, then each runbook and why it can never run, where that is so."""
    for name, section in settings.model_dump(mode="json", exclude_defaults=True, exclude={"runbooks"}).items():
        # The store's URL may carry a password; every other secret hides itself.
        text = re.sub(r"(://[^:/@'\s]+):[^@'\s]+@", r"\1:***@", str(section))
        console.print(f"[bold]{name}[/bold] {escape(text)}")
    for line in approval_lines(settings):
        console.print(escape(line))
    where, every_s = settings.detection.checkpoint_path, settings.detection.checkpoint_every_s
    console.print(f"checkpoints of detection go to {escape(where)} every {every_s:g} s (`sentinel doctor` tries it)")
    runbooks = [entry.runbook for entry in settings.runbooks]
    allowed = limits(settings)
    dead = 0
    for index, runbook in enumerate(runbooks):
        why = never_runs(runbook, runbooks[:index], allowed)
        dead += bool(why)
        console.print(f"runbook {runbook.name}: " + (f"[red]can never run[/red]: {escape(why)}" if why else "ok"))
    console.print(f"settings are well-formed; {len(runbooks)} runbooks, {dead} of them dead")


def approval_lines(settings: Settings) -> list[str]:
    """What people should know of who may approve: rules that never fit, names of nobody, doors that stand open."""
    approval = settings.approval
    found = [
        f"approval rule {name}: can never fit, {other} before it does" for name, other in never_fits(approval).items()
    ]
    keys = {key.name for key in settings.api.keys}
    named = {*approval.approvers, *approval.escalate_to}
    for rule in approval.rules:
        named |= {*(rule.approvers or ()), *(rule.escalate_to or ())}
    for who in sorted(named):
        if who.startswith("group:") and not settings.slack.bot_token:
            found.append(f"approval: {who} is nobody, for without a bot token no group can be read")
        elif ":" not in who.removeprefix("api:") and who.removeprefix("api:") not in keys:
            found.append(f"approval: {who} is nobody, for no key in api.keys has that name")
    if approval.policy.open_to_all:
        found.append("approval: approvers is empty, so every verified member may approve")
    if approval.auto.enabled:
        rules = [rule.name for rule in approval.rules if rule.auto]
        said = f"rules {', '.join(rules)} may approve" if rules else "on, and no rule uses it:"
        found.append(f"approval.auto: {said} up to {approval.auto.budget} plans in {approval.auto.per_s:.0f} s")
    return found


def never_runs(runbook: Runbook, before: list[Runbook], allowed: Limits) -> str:
    """Why no alert can ever lead to this runbook; empty where one may."""
    for use in runbook.uses:
        why = _never_allowed(action_named(use.action).name, use.params, allowed)
        if why:
            return why
    for other in before:
        wider = (
            other.service in ("*", runbook.service)
            and other.kind in (None, runbook.kind)
            and other.direction in (None, runbook.direction)
            and other.severity.rank <= runbook.severity.rank
        )
        if wider:
            return f"{other.name}, which stands before it, matches everything that it matches"
    return ""


def _never_allowed(action: str, params: Values, allowed: Limits) -> str:
    """Why the allow-list and the bounds refuse every use of this; parameters that an alert fills in are left open."""
    for step in steps_of(action, {**action_named(action).example, **_fixed(params)}):
        if why := out_of_bounds(step, allowed):
            return why
        if any(is_open(value) for value in params.values()):
            return "" if _some_rule_may(step.action, allowed) else f"nothing allows {action}: see executor.allow"
        if why := refusal(step, allowed):
            return why
    return ""


def _fixed(params: Values) -> Values:
    return {name: value for name, value in params.items() if not is_open(value)}


def _some_rule_may(action: str, allowed: Limits) -> bool:
    """Whether any target of the action is allowed at all."""
    lists = {"ec2": allowed.ec2_instances, "ecs": allowed.ecs_clusters}
    return bool(lists.get(action.partition(".")[0])) or any(action in rule.actions for rule in allowed.allowed)
