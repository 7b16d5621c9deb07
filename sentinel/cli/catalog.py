"""`sentinel actions`: what Sentinel knows how to do."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sentinel.remediation.actions import CATALOG, Action, action_named


def run(console: Console, name: str) -> None:
    """All actions in a line each; or one, whole. Raises Invalid for a name that there is not."""
    if name:
        _one(console, action_named(name))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("action", "what it does", "repeats", "undone", "touches"):
        table.add_column(column, overflow="fold")
    for action in CATALOG.values():
        undone = "yes" if action.reversible else "no"
        table.add_row(action.name, action.summary, action.idempotency, undone, action.blast_radius)
    console.print(table)
    console.print("[dim]sentinel actions NAME shows one whole[/dim]")


def _one(console: Console, action: Action) -> None:
    console.print(f"[bold]{action.name}[/bold]: {action.summary}")
    console.print(f"touches {action.blast_radius}")
    console.print(f"{action.idempotency}; {'can' if action.reversible else 'cannot'} be undone")
    if action.expands_to:
        console.print(f"is {', then '.join(action.expands_to)}")
    if action.starts_from:
        console.print(f"starts when the {action.noun} is {', '.join(action.starts_from)}")
    for parameter, param in action.params.items():
        form = param.pattern or f"{param.low} to {param.high}"
        needed = "" if param.required else ", may be left out"
        console.print(f"  {parameter}: {param.meaning}, {escape(form)}{needed}")
    console.print(f"needs {', '.join(action.permissions)}")
    console.print("in a runbook:")
    console.print(f"  - action: {action.name}")
    shown = ", ".join(f"{parameter}: {value}" for parameter, value in action.example.items())
    console.print(f"    params: {{{escape(shown)}}}")
