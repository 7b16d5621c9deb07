"""`sentinel approve` and `sentinel reject`: the same words as in Slack, about a digest that was read."""

from typing import Any

from rich.console import Console
from rich.markup import escape

from sentinel.cli.client import Client
from sentinel.errors import Conflict, Invalid, NotFound
from sentinel.ids import incident_of_plan

SHORTEST_DIGEST = 12  # as cards and `sentinel show` print it


def run(client: Client, console: Console, verb: str, plan_id: str, digest: str, reason: str) -> None:
    """Say `verb` to a plan. Raises Conflict where the digest is not that of the plan as it now is."""
    plan = _plan(client, plan_id)
    if len(digest) < SHORTEST_DIGEST or not plan["digest"].startswith(digest.lower()):
        if len(digest) < SHORTEST_DIGEST:
            raise Invalid("--digest", digest, f"at least {SHORTEST_DIGEST} digits of the digest that you read")
        raise Conflict(f"the plan changed since it was shown, review it again: its digest is {plan['digest'][:12]}…")
    for step in plan["steps"]:
        params = ", ".join(f"{name}={value}" for name, value in step["params"].items())
        console.print(f"{step['action']}({escape(params)})")
    answer = client.post(f"/api/v1/plans/{plan_id}/{verb}", {"digest": plan["digest"], "reason": reason})
    console.print(escape(str(answer["answer"])))


def _plan(client: Client, plan_id: str) -> dict[str, Any]:
    incident = client.get(f"/api/v1/incidents/{incident_of_plan(plan_id)}")["incident"]
    for record in incident["plans"]:
        if record["plan"]["plan_id"] == plan_id:
            found: dict[str, Any] = record["plan"]
            return found
    raise NotFound(f"there is no plan {plan_id}")
