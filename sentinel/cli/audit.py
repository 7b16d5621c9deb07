"""`sentinel audit show|verify|export`: who decided what, whether the record holds, and a copy of it."""

import heapq
import json
from collections import defaultdict
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from sentinel.cli.client import Client
from sentinel.clock import iso
from sentinel.errors import Invalid
from sentinel.incidents.audit import Record, verify
from sentinel.incidents.nouns import SENTINEL

_PAGE = 500
_DECISIONS = frozenset(
    {
        "verdict_given",
        "plan_approved",
        "plan_rejected",
        "plan_cancelled",
        "plan_expired",
        "rollback_started",
        "incident_acknowledged",
        "approval_reminded",
        "told_apart",
        "told_same",
        "incident_merged",
    }
)
_DECIDED_BY_HAND = frozenset({"incident_resolved", "incident_escalated"})  # by Sentinel itself they are no decision


def show(client: Client, console: Console, incident: str) -> None:
    """Every decision, oldest first: when, by whom, how they were authenticated, what they were shown, and why.

    The turns of the kill switch are among them, unless it is asked for one incident.
    """
    shown = 0
    decisions = (record for record in records(client) if _decided(record))
    for record in heapq.merge(decisions, turns(client), key=lambda each: int(each["at_ms"])):
        if incident and record["incident_id"] != incident:
            continue
        shown += 1
        principal, fact = json.loads(record["principal"]), json.loads(record["body"])
        plan = fact.get("plan_id", record["incident_id"])
        if other := fact.get("other_id") or fact.get("into"):
            plan += f", {other}"
        what = record["kind"].replace("_", " ")
        line = f"{iso(record['at_ms'])[:19]}  [bold]{what}[/bold]  {escape(plan)}  by {escape(principal['name'])}"
        console.print(f"{line} ({escape(principal['id'])})")
        verdict = fact.get("verdict")
        if verdict:
            how = verdict.get("method") or verdict["principal"]["via"]
            seen = verdict.get("shown") or "not shown by Sentinel"
            console.print(
                f"    {verdict['decision']} of digest {verdict['digest'][:12]}, {escape(how)}, seen at {seen}"
            )
            console.print(f"    {escape(verdict['evidence'])}")
        reason = verdict["reason"] if verdict else fact.get("reason", "")
        if reason:
            console.print(f"    {escape(str(reason))}")
    if not shown:
        console.print("no decisions")


def check(client: Client, console: Console) -> int:
    """Have Sentinel check every chain; answers the exit code."""
    report = client.get("/api/v1/audit")
    for each in report["breaks"]:
        console.print(f"[red]{each['incident_id']} entry {each['seq']}[/red]: {each['reason']}")
    if report["intact"]:
        console.print("every chain holds")
    return 0 if report["intact"] else 1


def check_file(console: Console, file: Path) -> int:
    """Check the chains of an export, without a Sentinel; answers the exit code."""
    chains: dict[str, list[Record]] = defaultdict(list)
    number = 0
    try:
        for line in file.read_text(encoding="utf-8").splitlines():
            number += 1
            record = Record(**{name: value for name, value in json.loads(line).items() if name != "position"})
            chains[record.incident_id].append(record)
    except OSError as error:
        raise Invalid("file", str(file), f"a readable export ({error.strerror})") from None
    except (ValueError, TypeError, AttributeError):
        raise Invalid("file", f"{file}, line {number}", "a line of `sentinel audit export`") from None
    breaks = [broken for chain in chains.values() if (broken := verify(chain))]
    for each in breaks:
        console.print(f"[red]{each.incident_id} entry {each.seq}[/red]: {each.reason}")
    if not breaks:
        console.print(f"every chain holds: {sum(map(len, chains.values()))} entries of {len(chains)} chains")
    return 1 if breaks else 0


def export(client: Client, console: Console, file: Path | None) -> None:
    """Every record as a line of JSON, and every turn of the kill switch after them, to a file or standard output."""
    every = chain(records(client), turns(client))
    lines = (json.dumps(record, ensure_ascii=False, sort_keys=True) for record in every)
    if file is None:
        for line in lines:
            console.out(line, highlight=False)
        return
    try:
        with file.open("w", encoding="utf-8") as out:
            count = sum(bool(out.write(f"{line}\n")) for line in lines)
    except OSError as error:
        raise Invalid("--file", str(file), f"a file that can be written ({error.strerror})") from None
    console.print(f"{count} entries in {file}")


def records(client: Client) -> Iterator[dict[str, Any]]:
    """Every record in the order in which it was written."""
    after = 0
    while True:
        page = client.get("/api/v1/audit/records", after=after, limit=_PAGE)
        yield from page["records"]
        if page["next"] is None:
            return
        after = page["next"]


def turns(client: Client) -> Iterator[dict[str, Any]]:
    """Every turn of the kill switch, which has a chain of its own."""
    yield from client.get("/api/v1/audit/switch")["records"]


def _decided(record: dict[str, Any]) -> bool:
    by_hand = record["kind"] in _DECIDED_BY_HAND and json.loads(record["principal"])["via"] != SENTINEL.via
    return by_hand or record["kind"] in _DECISIONS
