"""`sentinel replay`: a recorded history through the same door as live telemetry."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from sentinel.cli.client import Client
from sentinel.cli.waiting import pause, wait_until
from sentinel.clock import SystemClock, iso
from sentinel.errors import Invalid, Overloaded
from sentinel.telemetry.csv_history import parse_csv

_BATCH = 1000
_SETTLE_S = 60.0


def run(client: Client, console: Console, file: Path, *, service: str, metric: str) -> None:
    """Send the file in batches, then list the incidents that it opened."""
    try:
        history = parse_csv(file.read_text(encoding="utf-8"), file.name)
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid("file", str(file), f"a readable CSV file ({error})") from None
    started_ms = SystemClock().now_ms()
    rows = [
        {"metric": metric, "labels": {"service": service}, "timestamp": int(at), "value": float(value)}
        for at, value in zip(history.timestamps_ms, history.values, strict=True)
    ]
    scored, refused = 0, 0
    for start in range(0, len(rows), _BATCH):
        answer = _send(client, rows[start : start + _BATCH])
        scored += answer["scored"]
        refused += sum(answer["refused"].values()) + len(answer["rejected"])
    console.print(f"{len(rows)} samples sent, {scored} scored, {refused} refused")
    if not scored:
        console.print("none was new to this series: it already has samples this late, or later")
        return
    with console.status("waiting for incidents …"):
        wait_until(lambda: _settled(client, service, started_ms), _SETTLE_S, every_s=1.0)
    page = client.get("/api/v1/incidents", service=service, limit=500)
    new = [each for each in page["incidents"] if each["opened_at_ms"] >= started_ms]
    console.print(f"{len(new)} incidents")
    for each in sorted(new, key=lambda incident: min(alert["started_at_ms"] for alert in incident["alerts"])):
        first = min(alert["started_at_ms"] for alert in each["alerts"])
        ended = [alert["ended_at_ms"] for alert in each["alerts"]]
        until = iso(max(ended))[:19] if all(ended) else "still"
        console.print(f"  {each['id']}  {iso(first)[:19]} … {until}  {escape(each['title'])}")


def _send(client: Client, rows: list[dict[str, object]]) -> dict[str, Any]:
    while True:
        try:
            answer: dict[str, Any] = client.post("/api/v1/samples", rows)
        except Overloaded as error:
            pause(error.retry_after_s)
            continue
        return answer


def _settled(client: Client, service: str, started_ms: int) -> bool | None:
    """Whether correlation has had its say: some seconds without a new incident of this service."""
    page = client.get("/api/v1/incidents", service=service, limit=500)
    newest = max((each["opened_at_ms"] for each in page["incidents"]), default=started_ms)
    return True if SystemClock().now_ms() - max(newest, started_ms) > 20_000 else None
