"""Ray's actors are killed at random in a whole system, while faults come and people approve what is proposed.

    python -m tests.chaos.actor_campaign --kills 50 --seed 1

One after the other is ended by SIGKILL, each once the system has come back from the one before. What reached AWS is
taken from the double in front of it and held against the journal: no step that counts as done was not, none was done
twice, none without an approval, and everything has ended and been told within five minutes of the last kill.
"""

import argparse
import contextlib
import random
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any, TypeVar

from sentinel.cli.story import APPROVE, APPROVER
from sentinel.cli.waiting import pause, wait_until
from sentinel.clock import SystemClock
from sentinel.errors import SentinelError
from tests.chaos.running import System, running

T = TypeVar("T")
CLOCK = SystemClock()
ACTORS = ("journal", "detection", "correlation", "approval", "execution")
# Three that are not alike, one after the other: each anomaly of a series makes its detector more cautious for a while.
FAULTS = (("memory_leak", "storage"), ("memory_leak", "search"), ("traffic_surge", "payments"))
PAUSE_S = (0.5, 6.0)  # between the return of one actor and the end of the next
FAULT_S = 45.0
LIVENESS_S = 300.0
_OVER = ("resolved", "escalated")


@dataclass(slots=True)
class Report:
    """What happened and what was wrong."""

    kills: Counter[str] = field(default_factory=Counter)
    faults: int = 0
    incidents: int = 0
    plans: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    wrong: list[str] = field(default_factory=list)

    def line(self) -> str:
        """All of it but what was wrong."""
        killed = ", ".join(f"{actor} {count}" for actor, count in sorted(self.kills.items()))
        plans = ", ".join(f"{count} {state}" for state, count in sorted(self.plans.items())) or "none"
        return (
            f"{self.kills.total()} kills ({killed}), {self.faults} faults, {self.incidents} incidents, plans: {plans}; "
            f"{self.calls} calls with an effect on AWS, {len(self.wrong)} wrong"
        )


class People:
    """Those who approve whatever asks them, again and again while a part is away."""

    def __init__(self, shop: System) -> None:
        self._shop = shop

    def asking(self) -> list[dict[str, Any]]:
        """The cards that have an Approve."""
        messages = self._shop.http.get(f"{self._shop.addresses.slack_url}/_control/messages").json()["messages"]
        return [
            message
            for message in messages
            if not message["thread_ts"]
            and any(
                each.get("action_id") == APPROVE for block in message["blocks"] for each in block.get("elements", ())
            )
        ]

    def press(self) -> None:
        """Press Approve on each."""
        for message in self.asking():
            press = {"channel": message["channel"], "ts": message["ts"], "action_id": APPROVE, "user": APPROVER}
            self._shop.http.post(f"{self._shop.addresses.slack_url}/_control/click", json=press)


def patient(ask: Callable[[], T]) -> T | None:
    """The answer, or None while a part is away."""
    with contextlib.suppress(SentinelError):
        return ask()
    return None


def all_over(shop: System) -> bool | None:
    """True once no incident is under way."""
    page = patient(lambda: shop.client.get("/api/v1/incidents", limit=200))
    return True if page and all(each["state"] in _OVER for each in page["incidents"]) else None


def campaign(directory: Path, kills: int, seed: int) -> Report:
    """One campaign on a system of its own."""
    chance, report, over = random.Random(seed), Report(), threading.Event()
    with running(directory, SENTINEL_CORRELATION_RESOLVE_AFTER_S="3") as shop:
        shop.story(*FAULTS[0]).learned()
        people = People(shop)

        def kill() -> None:
            try:
                for _ in range(kills):
                    pause(chance.uniform(*PAUSE_S))
                    actor = chance.choice(ACTORS)
                    shop.back(actor, shop.kill(actor))
                    report.kills[actor] += 1
            except (AssertionError, OSError) as error:
                report.wrong.append(f"a killed actor did not come back: {error}")
            finally:
                over.set()

        killer = threading.Thread(target=kill, name="killer")
        killer.start()
        for fault, service in cycle(FAULTS):
            if over.is_set():
                break
            shop.story(fault, service).injected()
            report.faults += 1
            began = CLOCK.monotonic()
            while CLOCK.monotonic() - began < FAULT_S and not over.is_set():
                pause(1.0)
                people.press()
            shop.http.request("DELETE", f"{shop.addresses.control_url}/fault").raise_for_status()
            pause(5.0)
        killer.join()
        shop.http.request("DELETE", f"{shop.addresses.control_url}/fault").raise_for_status()

        def ended() -> bool | None:
            people.press()
            return all_over(shop) and (not people.asking() or None)

        if wait_until(ended, LIVENESS_S, 2.0) is None:
            report.wrong.append(f"not all is over and told within {LIVENESS_S:.0f} s of the last kill")
        judge(shop, report)
    return report


def judge(shop: System, report: Report) -> None:
    """Hold what reached AWS against what the journal says."""
    page = shop.client.get("/api/v1/incidents", limit=200)["incidents"]
    report.incidents = len(page)
    least, most = Counter[str](), Counter[str]()
    for each in page:
        for record in shop.client.get(f"/api/v1/incidents/{each['id']}")["incident"]["plans"]:
            plan_id = record["plan"]["plan_id"]
            report.plans[record["state"]] += 1
            begun = [step for step in record["steps"] if step["state"] != "pending"]
            if begun and not any(verdict["decision"] == "approve" for verdict in record["verdicts"]):
                report.wrong.append(f"{plan_id} ran and nobody approved it")
            for told, step in zip(record["steps"], record["plan"]["steps"], strict=True):
                target = step["target"].rpartition("/")[2]
                sure, perhaps = effects(told)
                least[target] += sure
                most[target] += perhaps
    calls = Counter(call.rpartition(" ")[2].rpartition("/")[2] for call in shop.aws_calls())
    report.calls = calls.total()
    for target in sorted({*calls, *most}):
        if not least[target] <= calls[target] <= most[target]:
            report.wrong.append(
                f"{target}: {calls[target]} calls, and the journal tells of {least[target]} to {most[target]}"
            )
    if not shop.client.get("/api/v1/audit")["intact"]:
        report.wrong.append("a chain of the journal is broken")


def effects(told: dict[str, Any]) -> tuple[int, int]:
    """How many calls a step has certainly made, its undoing among them, and how many at most."""
    match told["state"]:
        case "pending":
            return 0, 0
        case "succeeded":
            return (0, 0) if "nothing sent" in told["detail"] else (1, 1)
        case "started" | "failed" | "unknown":
            return 0, 1
        case _:  # undone, or tried to: either may have found nothing to do
            return 0, 2


def main() -> None:
    """Run one campaign and print its line; exit code 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        report = campaign(Path(directory), asked.kills, asked.seed)
    sys.stdout.write(f"{report.line()}\n" + "".join(f"  {each}\n" for each in report.wrong))
    sys.exit(1 if report.wrong else 0)


if __name__ == "__main__":
    main()
