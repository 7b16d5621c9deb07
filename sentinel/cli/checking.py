"""`sentinel check`: what the settings come to, and rules that can never do anything."""

import re

from rich.console import Console
from rich.markup import escape

from actors.wiring import limits
from sentinel.remediation.actions import Values, action_named
from sentinel.remediation.runbooks import Runbook, is_open
from sentinel.remediation.safety import Limits
from sentinel.settings import Settings


def run(settings: Settings, console: Console) -> None:
    """Print every section that was set, then each runbook and why it can never run, where that is so."""
    for name, section in settings.model_dump(mode="json", exclude_defaults=True, exclude={"runbooks"}).items():
        # The store's URL may carry a password; every other secret hides itself.
        text = re.sub(r"(://[^:/@'\s]+):[^@'\s]+@", r"\1:***@", str(section))
        console.print(f"[bold]{name}[/bold] {escape(text)}")
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
