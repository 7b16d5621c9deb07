"""`sentinel check`: what the settings come to, and rules that can never do anything."""

import re

from rich.console import Console
from rich.markup import escape

from actors.wiring import limits
from sentinel.remediation.actions import Values, action_named
from sentinel.remediation.runbooks import Runbook, is_open
from sentinel.remediation.safety import Limits
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
    if settings.store.url.startswith("postgresql") and not settings.slack.value_key:
        found.append("webhooks.slack.value_key is unset, so every node makes a key of its own: set it with PostgreSQL")
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
    if action.startswith("ec2."):
        listed, name, setting = allowed.ec2_instances, "instance_id", "aws_ec2_instance_whitelist"
    else:
        listed, name, setting = allowed.ecs_clusters, "cluster", "aws_ecs_cluster_whitelist"
    if not listed:
        return f"executor.{setting} is empty, which allows nothing"
    value = params[name]
    if not is_open(value) and value not in listed:
        return f"{value} is not in executor.{setting}"
    desired = params.get("desired_count")
    if isinstance(desired, int) and desired > allowed.max_desired_count:
        return f"desired_count {desired} is above executor.max_desired_count {allowed.max_desired_count}"
    return ""
