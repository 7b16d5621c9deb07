"""`sentinel incidents` and `sentinel show`."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sentinel.cli.client import Client
from sentinel.clock import iso
from sentinel.errors import NotFound, Overloaded, Unavailable

MOST_EXPLAINED = 8
_COLOURS = {"open": "yellow", "mitigating": "cyan", "escalated": "red", "resolved": "green"}


def listing(client: Client, console: Console, *, state: str | None, service: str | None, limit: int) -> None:
    """A line an incident."""
    page = client.get("/api/v1/incidents", state=state, service=service, limit=limit)
    if not page["incidents"]:
        console.print("no incidents")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("incident", "state", "severity", "opened", "what", "plan"):
        table.add_column(column, overflow="fold")
    for each in page["incidents"]:
        plan = each["plans"][-1] if each["plans"] else None
        table.add_row(
            each["id"],
            _state(each["state"]) + (" (silenced)" if each["silenced"] else ""),
            each["severity"],
            iso(each["opened_at_ms"])[:19],
            escape(each["title"]),
            f"{plan['plan']['runbook']}: {plan['state']}" if plan else "-",
        )
    console.print(table)
    if page["next"]:
        console.print(f"[dim]more: --limit above {limit}[/dim]")


def one(client: Client, console: Console, incident_id: str) -> None:
    """One incident whole."""
    detail = client.get(f"/api/v1/incidents/{incident_id}")
    incident = detail["incident"]
    console.print(f"[bold]{escape(incident['title'])}[/bold]  {_state(incident['state'])}  {incident['severity']}")
    console.print(f"{incident['id']}, opened {iso(incident['opened_at_ms'])}; {escape(incident['reason'])}")
    if incident["silenced"]:
        console.print(f"[yellow]kept from people by {incident['silenced_by']}[/yellow]")
    if incident["state_reason"]:
        console.print(escape(incident["state_reason"]))
    _alerts(console, incident)
    for alert in worst_first(incident["alerts"])[:MOST_EXPLAINED]:
        _why(client, console, incident["id"], alert)
    for number, suspect in enumerate(incident["suspects"], start=1):
        console.print(f"suspect {number}: [bold]{suspect['service']}[/bold]  {escape('; '.join(suspect['reasons']))}")
    for change in incident["changes"]:
        what = f"{change['title']} on {change['service']} ({change['source']})"
        console.print(f"changed {iso(change['at_ms'])[11:19]}: {escape(what)}")
    for similar in incident["similar"]:
        fixed = ", ".join(similar["fixed_by"]) or similar["outcome"]
        took = "" if similar["recovery_ms"] is None else f" after {similar['recovery_ms'] / 1000:.0f} s"
        why = f"; {similar['why']}" if similar["why"] else ""
        refused = f"; rejected then: {similar['rejected']}" if similar["rejected"] else ""
        told = escape(f"{fixed}{took}{why}{refused}")
        console.print(f"like {similar['incident_id']} ({similar['similarity']:.2f}): {told}")
    if incident["memory_note"]:
        console.print(f"[yellow]{escape(incident['memory_note'])}[/yellow]")
    for record in incident["plans"]:
        _plan(console, record)
    console.print("\n[bold]timeline[/bold]")
    for entry in detail["timeline"]:
        reason = entry["fact"].get("reason") or entry["fact"].get("detail") or ""
        who = entry["principal"]["name"]
        console.print(f"  {entry['at'][11:23]}  {entry['kind']:<22} {who:<12} {escape(str(reason))}")


def explain(client: Client, console: Console, incident_id: str, fingerprint: str, png: Path | None) -> None:
    """Why the alerts of an incident are some, or the one whose fingerprint begins so; with `png`, a picture of it.

    Raises NotFound if no alert, or none that can be explained, is meant.
    """
    incident = client.get(f"/api/v1/incidents/{incident_id}")["incident"]
    meant = [each for each in worst_first(incident["alerts"]) if each["fingerprint"].startswith(fingerprint)]
    if not meant:
        raise NotFound(f"incident {incident_id} has no alert {fingerprint}")
    errors = []
    for alert in meant:
        path = f"/api/v1/incidents/{incident_id}/alerts/{alert['fingerprint']}"
        name = f"{alert['fingerprint']}  [bold]{escape(alert['service'])} {escape(alert['metric'])}[/bold]"
        try:
            console.print(f"{name}\n  {escape(client.get(path)['why'])}")
            if png:
                png.write_bytes(client.read(f"{path}/curve.png"))
                console.print(f"  drawn in {escape(str(png))}")
                png = None
        except NotFound as error:
            console.print(f"{name}\n  [dim]{escape(str(error))}[/dim]")
            errors.append(error)
    if png or len(errors) == len(meant):
        raise errors[0]


def worst_first(alerts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Alerts in the order in which people want to know why."""
    return sorted(alerts, key=lambda alert: -float(alert["score"]))


def _why(client: Client, console: Console, incident_id: str, alert: dict[str, Any]) -> None:
    """One sentence below the table; nothing where the detector has no word on it."""
    if alert["value"] is None:
        return
    try:
        found = client.get(f"/api/v1/incidents/{incident_id}/alerts/{alert['fingerprint']}")
    except (NotFound, Overloaded, Unavailable):
        return
    console.print(f"why {escape(alert['service'])} {escape(alert['metric'])}: {escape(found['why'])}")


def _alerts(console: Console, incident: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("service", "metric", "", "value", "expected", "score", "since", "until"):
        table.add_column(column)
    for alert in incident["alerts"]:
        table.add_row(
            escape(alert["service"]),
            escape(alert["metric"]),
            alert["direction"],
            *_measured(alert),
            iso(alert["started_at_ms"])[11:19],
            iso(alert["ended_at_ms"])[11:19] if alert["ended_at_ms"] else "still",
        )
    console.print(table)


def _measured(alert: dict[str, Any]) -> tuple[str, str, str]:
    """Value, band and score; an alert of another system has none, and says so."""
    if alert["value"] is None:
        return escape(alert["origin"]), escape(alert["note"][:80]), "-"
    band = f"{alert['expected_low']:.4g} … {alert['expected_high']:.4g}"
    return f"{alert['value']:.4g}", band, f"{alert['score']:.1f}"


def _plan(console: Console, record: dict[str, Any]) -> None:
    plan = record["plan"]
    dry = "  [yellow]DRY RUN[/yellow]" if plan["dry_run"] else ""
    console.print(f"\nplan [bold]{plan['plan_id']}[/bold] ({plan['runbook']}): {record['state']}{dry}")
    console.print(f"  because {escape(plan['reason'])}; digest {plan['digest'][:12]}")
    for seen in plan["targets"]:
        where = [f"account {seen['account']}, {seen['region']}"] if seen["account"] or seen["region"] else []
        for note in (*seen["notes"], *where):
            console.print(f"  › {escape(note)}")
    if plan["track_record"]:
        console.print(f"  {escape(plan['track_record'])}")
    for verdict in record["verdicts"]:
        console.print(f"  {verdict['decision']} by {escape(verdict['principal']['name'])} at {iso(verdict['at_ms'])}")
    for step, state in zip(plan["steps"], record["steps"], strict=True):
        params = ", ".join(f"{name}={value}" for name, value in step["params"].items())
        console.print(f"  {state['state']:<12} {step['action']}({escape(params)})  {escape(state['detail'])}")


def _state(state: str) -> str:
    return f"[{_COLOURS.get(state, 'white')}]{state}[/]"
