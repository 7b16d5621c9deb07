"""`sentinel kill-switch`."""

from typing import Any

from rich.console import Console
from rich.markup import escape

from sentinel.cli.client import Client

_PATH = "/api/v1/kill-switch"


def run(client: Client, console: Console, *, stop: bool | None, reason: str) -> None:
    """Show the switch, or turn it and show what then holds."""
    state = client.get(_PATH) if stop is None else client.put(_PATH, {"stopped": stop, "reason": reason})
    console.print(_shown(state))


def _shown(state: dict[str, Any]) -> str:
    said = "[red]stopped[/red]: nothing is sent" if state["stopped"] else "[green]off[/green]: approved plans run"
    if state["principal"]:
        verb = "stopped" if state["stopped"] else "resumed"
        said += f"; {verb} by {escape(state['principal']['name'])} at {state['at']}"
    return said + (f": {escape(state['reason'])}" if state["reason"] else "")
