"""Commands that decide, stop, and show who decided."""

from pathlib import Path
from typing import Annotated

import typer

from sentinel.cli.common import DEFAULT_URL, ApiUrl, Key, client, console

app = typer.Typer()
audit_app = typer.Typer(help="Who decided what, and whether the record holds.", invoke_without_command=True)
app.add_typer(audit_app, name="audit")


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

    deciding.run(client(api_url, key), console, "approve", plan_id, digest, reason)


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

    deciding.run(client(api_url, key), console, "reject", plan_id, digest, reason)


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
    """Every decision, and every turn of the kill switch: when, by whom, how authenticated, shown what, and why."""
    from sentinel.cli import audit as command  # noqa: PLC0415 keeps --help quick

    command.show(client(api_url, key), console, incident)


@audit_app.command("verify")
def audit_verify(
    file: Annotated[Path | None, typer.Option(help="Verify this export instead of a running Sentinel.")] = None,
    api_url: ApiUrl = DEFAULT_URL,
    key: Key = "",
) -> None:
    """Verify the hash chain of every incident; exit code 1 if one does not hold."""
    from sentinel.cli import audit as command  # noqa: PLC0415 keeps --help quick

    raise typer.Exit(command.check_file(console, file) if file else command.check(client(api_url, key), console))


@audit_app.command("export")
def audit_export(
    file: Annotated[Path | None, typer.Option(help="Write here instead of to standard output.")] = None,
    api_url: ApiUrl = DEFAULT_URL,
    key: Key = "",
) -> None:
    """Every record, and every turn of the kill switch, as a line of JSON, hashes and all."""
    from sentinel.cli import audit as command  # noqa: PLC0415 keeps --help quick

    command.export(client(api_url, key), console, file)


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

    command.run(client(api_url, key), console, stop=stop, reason=reason)
