"""`sentinel demo` and `sentinel e2e`: play the story on a sandbox, and say what was seen."""

import contextlib
from collections.abc import Iterator, Mapping

from rich.console import Console

from sentinel.cli.client import Client
from sentinel.cli.sandbox import Addresses, Sandbox, running_sandbox, sandbox
from sentinel.cli.story import Step, Story, steps_of
from sentinel.cli.system import system
from sentinel.cli.up import stopping, wait_for_end
from sentinel.clock import SystemClock
from sentinel.errors import SentinelError


def demo(environ: Mapping[str, str], console: Console, *, manual: bool, once: bool, tick_s: float) -> int:
    """Start everything, play one fault, keep serving; answers the exit code. Raises Unavailable when Ray dies then."""
    with _started(environ, console, tick_s) as world:
        addresses = world.addresses
        console.print()
        console.print(f"  Slack     [bold]{addresses.slack_url}[/bold]   the channel, with its buttons")
        console.print(f"  API       [bold]{addresses.api_url}/docs[/bold]")
        console.print(f"  Incidents {addresses.api_url}/api/v1/incidents")
        console.print(f"  in a shell: .venv/bin/sentinel incidents --api-url {addresses.api_url}")
        console.print(f"  Shop      {addresses.control_url}/   services, faults and metrics as JSON")
        console.print()
        if manual:
            console.print("Open the Slack page and press [bold]Approve[/bold] when the card appears.")
        story = Story(client=Client(addresses.api_url), sandbox=addresses, manual=manual)
        code = _play(steps_of(story, None), console)
        if once:
            return code
        console.print(
            f"\nStill serving; Slack page {addresses.slack_url}, API {addresses.api_url}/docs. Ctrl-C ends it."
        )
        console.print(
            f"Try another fault: curl -X POST {addresses.control_url}/fault "
            """-d '{"kind": "memory_leak"}'   (or bad_deploy, traffic_surge, latent)"""
        )
        with stopping() as stop:
            wait_for_end(stop, world.settings)
        return code


def e2e(
    environ: Mapping[str, str],
    console: Console,
    *,
    manual: bool,
    test: str | None,
    api_url: str,
    key: str,
    tick_s: float,
) -> int:
    """Play the story, or one part of it, on a system of our own or on the one at `api_url`."""
    with contextlib.ExitStack() as ends:
        if api_url and test == "health":
            addresses = Addresses(api_url=api_url, slack_url="", control_url="")
        elif api_url:
            addresses = running_sandbox(api_url)
        else:
            addresses = ends.enter_context(_started(environ, console, tick_s)).addresses
        if manual:
            console.print(f"Approve on the Slack page: [bold]{addresses.slack_url}[/bold]")
        leaks = test == "qdrant"  # a fault that can be played twice, since a restart leaves the shop as it was
        story = Story(
            client=Client(addresses.api_url, key),
            sandbox=addresses,
            manual=manual,
            fault="memory_leak" if leaks else "traffic_surge",
            service="storage" if leaks else "payments",
        )
        return _play(steps_of(story, test), console)


@contextlib.contextmanager
def _started(environ: Mapping[str, str], console: Console, tick_s: float) -> Iterator[Sandbox]:
    def say(line: str) -> None:
        console.print(f"[dim]{line}[/dim]")

    say("starting the sandbox: a shop, an AWS API and a Slack")
    with sandbox(environ, tick_s) as world, system(world.settings, say):
        yield world


def _play(steps: list[Step], console: Console) -> int:
    """Run the steps in order; the first that is not seen ends the story and is named."""
    clock = SystemClock()
    begun = clock.monotonic()
    for name, look in steps:
        at = clock.monotonic()
        with console.status(f"{name} …"):
            try:
                seen = look()
            except SentinelError as error:
                console.print(f"[red]✗ {name}[/red]  {error}")
                console.print(f"[red]FAILED[/red] at “{name}” after {clock.monotonic() - begun:.0f} s")
                return 1
        console.print(f"[green]✓[/green] {name} [dim]{clock.monotonic() - at:.1f} s[/dim]  {seen}")
    console.print(f"[green]PASSED[/green] {len(steps)} of {len(steps)} steps in {clock.monotonic() - begun:.0f} s")
    return 0
