"""Commands on what is one incident, and what people need not hear of."""

from typing import Annotated

import typer

from sentinel.cli.common import DEFAULT_URL, ApiUrl, Key, client, console, settings

app = typer.Typer()
memory_app = typer.Typer(no_args_is_help=True, help="What is remembered of past incidents.")
silence_app = typer.Typer(no_args_is_help=True, help="What people do not want to be told of.")
app.add_typer(memory_app, name="memory")
app.add_typer(silence_app, name="silence")


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
    console.print(client(api_url, key).post(f"/api/v1/incidents/{incident_id}/not-duplicate", body)["answer"])


@app.command("same-as")
def same_as(incident_id: str, other_id: str, reason: str = "", api_url: ApiUrl = DEFAULT_URL, key: Key = "") -> None:
    """Say that an incident is the same fault as another, in which it is counted from now on."""
    body = {"of": other_id, "reason": reason}
    console.print(client(api_url, key).post(f"/api/v1/incidents/{incident_id}/same-as", body)["answer"])


@app.command()
def topology(api_url: ApiUrl = DEFAULT_URL, key: Key = "") -> None:
    """Who calls whom, and how each call is known."""
    view = client(api_url, key).get("/api/v1/topology")
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
        command.rebuild_offline(settings(), console)
    else:
        command.rebuild(client(api_url, key), console)


Matchers = Annotated[list[str], typer.Argument(help="NAME=VALUE or NAME!=VALUE; * stands for anything.")]


Lasts = Annotated[str, typer.Option("--for", help="How long: 30m, 2h, 1d.")]


Comment = Annotated[str, typer.Option(help="Why.")]


Start = Annotated[str, typer.Option(help="In how long it starts, for a maintenance window: 30m, 2h, 1d.")]


@silence_app.command("add")
def silence_add(
    matchers: Matchers,
    lasts: Lasts,
    comment: Comment,
    start: Start = "",
    preview: Annotated[bool, typer.Option("--preview", help="Only say which open incidents it matches.")] = False,
    api_url: ApiUrl = DEFAULT_URL,
    key: Key = "",
) -> None:
    """Keep incidents of such alerts that open until the end from people: they are still opened and counted."""
    from sentinel.cli import quiet as command  # noqa: PLC0415 keeps --help quick
    from sentinel.clock import SystemClock  # noqa: PLC0415 keeps --help quick

    body = command.body_of(matchers, start, lasts, comment, SystemClock())
    (command.preview if preview else command.add)(client(api_url, key), console, body)


@silence_app.command("list")
def silence_list(api_url: ApiUrl = DEFAULT_URL, key: Key = "") -> None:
    """Every silence, and how many incidents it kept from people."""
    from sentinel.cli import quiet as command  # noqa: PLC0415 keeps --help quick

    command.listing(client(api_url, key), console)


@silence_app.command("end")
def silence_end(silence_id: str, api_url: ApiUrl = DEFAULT_URL, key: Key = "") -> None:
    """End a silence before its time."""
    from sentinel.cli import quiet as command  # noqa: PLC0415 keeps --help quick

    command.end(client(api_url, key), console, silence_id)
