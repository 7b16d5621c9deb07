"""The main job as a list of steps that are each seen to happen: what `demo` plays and `e2e` judges."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from sentinel.cli.client import Client
from sentinel.cli.sandbox import Addresses
from sentinel.cli.waiting import wait_until
from sentinel.clock import SystemClock
from sentinel.errors import SentinelError, Unavailable

APPROVE, APPROVER = "sentinel_approve", "U0ANN"


class StepFailed(SentinelError):
    """A step of the story was not seen. The message says what was waited for and what was there instead."""


@dataclass(slots=True)
class Story:
    """One play of a fault, from the first sample to the resolved incident."""

    client: Client
    sandbox: Addresses
    manual: bool
    fault: str = "traffic_surge"
    service: str = "payments"
    scale: float = 1.0
    incident_id: str = ""
    plan_id: str = ""
    started_ms: int = 0
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=20, trust_env=False))

    def healthy(self) -> str:
        """Every actor answers."""
        report = wait_until(self.client.ready, 60 * self.scale)
        if report is None:
            raise StepFailed("health: the system is not ready")
        return ", ".join(report["components"])

    def learned(self) -> str:
        """The shop's history has been sent, so the detector knows what is normal."""
        state = wait_until(lambda: self._world_if(lambda world: world["samples"]["waiting"] == 0), 90 * self.scale)
        if state is None:
            raise StepFailed(f"telemetry: samples still wait to be sent: {self._world()['samples']}")
        return f"{state['samples']['sent']} samples of {len(state['services'])} services scored"

    def injected(self) -> str:
        """A fault is put into the shop."""
        self.started_ms = SystemClock().now_ms()
        answer = self.http.post(f"{self.sandbox.control_url}/fault", json={"kind": self.fault, "service": self.service})
        if answer.status_code != 201:
            raise StepFailed(f"inject: the sandbox answered {answer.text.strip()}")
        return f"{self.fault} on {self.service}"

    def detected(self) -> str:
        """An incident tells of it."""
        incident = wait_until(self._new_incident, 90 * self.scale)
        if incident is None:
            raise StepFailed(f"detect: no incident on {self.service} was opened")
        self.incident_id = incident["id"]
        took = (incident["opened_at_ms"] - self.started_ms) / 1000
        suspects = incident["suspects"]
        return f"{incident['title']} ({incident['id']}, {took:.0f} s after); suspect: {suspects[0]['service']}"

    def asked(self) -> str:
        """A plan waits, and Slack shows it with its buttons."""
        plan = wait_until(lambda: self._plan_in("awaiting_approval"), 30 * self.scale)
        if plan is None:
            raise StepFailed(f"plan: none awaits approval; the incident says: {self._incident()['state_reason']}")
        self.plan_id = plan["plan"]["plan_id"]
        if wait_until(self._message, 30 * self.scale) is None:
            raise StepFailed("slack: no message with buttons for the plan was posted")
        steps = ", ".join(step["action"] for step in plan["plan"]["steps"])
        return f"{plan['plan']['runbook']}: {steps}"

    def forged_click_refused(self) -> str:
        """A click with a wrong signature changes nothing."""
        answer = self.http.post(
            f"{self.client.url}/slack/events",
            content=b"payload=%7B%7D",
            headers={
                "Content-Type": "application/x-www-form-urlencoded",
                "X-Slack-Request-Timestamp": str(SystemClock().now_ms() // 1000),
                "X-Slack-Signature": "v0=" + "0" * 64,
            },
        )
        if answer.status_code != 401 or self._plan_in("awaiting_approval") is None:
            raise StepFailed(f"slack: a forged click was answered with {answer.status_code}")
        stale = self._click(skew_s=-600)
        if stale != 401:
            raise StepFailed(f"slack: a click ten minutes old was answered with {stale}")
        return "401 for a forged and for a stale click"

    def approved(self) -> str:
        """A person agrees in Slack."""
        if not self.manual:
            status = self._click()
            if status != 200:
                raise StepFailed(f"slack: the click on Approve was answered with {status}")
        patience = 900 if self.manual else 30 * self.scale
        plan = wait_until(self._decided, patience)
        if plan is None:
            raise StepFailed("approve: the plan is still undecided")
        names = [verdict["principal"]["name"] for verdict in plan["verdicts"] if verdict["decision"] == "approve"]
        if not names:
            raise StepFailed(f"approve: the plan was {plan['state']}: {plan['ended_reason']}")
        return f"by {' and '.join(names)}"

    def executed(self) -> str:
        """AWS was told, and did it."""
        plan = wait_until(self._past_its_steps, 330 * self.scale)
        if plan is None:
            raise StepFailed(f"execute: the steps are still {[step['state'] for step in self._plan()['steps']]}")
        bad = [step["detail"] for step in plan["steps"] if step["state"] != "succeeded"]
        if bad:
            raise StepFailed(f"execute: {bad[0] or plan['rollback_reason']}")
        return "; ".join(step["detail"] for step in plan["steps"])

    def resolved(self) -> str:
        """The detector that raised the alarm says that it is over."""
        incident = wait_until(lambda: self._incident_if("resolved", "escalated"), 200 * self.scale)
        if incident is None or incident["state"] != "resolved":
            now = incident or self._incident()
            raise StepFailed(f"verify: the incident is {now['state']}: {now['state_reason']}")
        seconds = (incident["resolved_at_ms"] - incident["opened_at_ms"]) / 1000
        return f"{incident['state_reason']} ({seconds:.0f} s after it was opened)"

    def told(self) -> str:
        """The same Slack message now tells the outcome, and its buttons are gone."""
        message = wait_until(lambda: self._message(with_buttons=False), 20 * self.scale)
        if message is None or not message["edited_ts"]:
            raise StepFailed("slack: the message was not updated after the outcome")
        return "message updated"

    def audited(self) -> str:
        """Every hash chain of the journal holds."""
        report = self.client.get("/api/v1/audit")
        if not report["intact"]:
            raise StepFailed(f"audit: {report['breaks'][0]['reason']}")
        entries = self.client.get(f"/api/v1/incidents/{self.incident_id}")["timeline"]
        return f"{len(entries)} facts, chain intact"

    def remembered(self) -> str:
        """The incident lists a like one of the past, and what fixed it."""
        similar = self._incident()["similar"]
        if not similar or not similar[0]["fixed_by"]:
            raise StepFailed(f"memory: nothing similar was recalled: {self._incident()['memory_note'] or similar}")
        best = similar[0]
        return f"{best['incident_id']}, {best['similarity']:.2f} alike, fixed by {', '.join(best['fixed_by'])}"

    def calm(self) -> str:
        """What the restart stirred up is over: for ten seconds on end no incident was open."""
        clock, disturbed_s = SystemClock(), [SystemClock().monotonic()]

        def quiet() -> bool | None:
            if any(each["state"] != "resolved" for each in self.client.get("/api/v1/incidents")["incidents"]):
                disturbed_s[0] = clock.monotonic()
            return True if clock.monotonic() - disturbed_s[0] >= 10 * self.scale else None

        if wait_until(quiet, 90 * self.scale) is None:
            raise StepFailed("calm: an incident is still open")
        return "no incident is open"

    def _world(self) -> dict[str, Any]:
        try:
            world: dict[str, Any] = self.http.get(f"{self.sandbox.control_url}/").json()
        except httpx.HTTPError as error:
            raise Unavailable(f"the sandbox does not answer: {type(error).__name__}") from None
        return world

    def _world_if(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
        world = self._world()
        return world if holds(world) and world["ticks"] > 0 else None

    def _new_incident(self) -> dict[str, Any] | None:
        page = self.client.get("/api/v1/incidents", service=self.service)
        new = [each for each in page["incidents"] if each["opened_at_ms"] >= self.started_ms]
        return new[-1] if new else None

    def _incident(self) -> dict[str, Any]:
        incident: dict[str, Any] = self.client.get(f"/api/v1/incidents/{self.incident_id}")["incident"]
        return incident

    def _incident_if(self, *states: str) -> dict[str, Any] | None:
        incident = self._incident()
        return incident if incident["state"] in states else None

    def _plan(self) -> dict[str, Any]:
        plan: dict[str, Any] = next(
            each for each in self._incident()["plans"] if each["plan"]["plan_id"] == self.plan_id
        )
        return plan

    def _plan_in(self, state: str) -> dict[str, Any] | None:
        return next((plan for plan in self._incident()["plans"] if plan["state"] == state), None)

    def _decided(self) -> dict[str, Any] | None:
        plan = self._plan()
        return None if plan["state"] in ("proposed", "awaiting_approval") else plan

    def _past_its_steps(self) -> dict[str, Any] | None:
        plan = self._plan()
        done = all(step["state"] == "succeeded" for step in plan["steps"])
        return plan if done or plan["state"] not in ("approved", "executing", "rolling_back") else None

    def _message(self, with_buttons: bool = True) -> dict[str, Any] | None:
        messages = self.http.get(f"{self.sandbox.slack_url}/_control/messages").json()["messages"]
        for message in reversed(messages):
            if message["thread_ts"]:
                continue  # what happened, told below a card
            if self.incident_id in str(message["blocks"]) or self.incident_id in message["text"]:
                pressed = (each for block in message["blocks"] for each in block.get("elements", ()))
                asks = any(each.get("action_id") == APPROVE for each in pressed)
                return message if asks == with_buttons else None
        return None

    def _click(self, skew_s: int = 0) -> int:
        message = self._message()
        if message is None:
            raise StepFailed("slack: there is no message with an Approve button")
        press = {
            "channel": message["channel"],
            "ts": message["ts"],
            "action_id": APPROVE,
            "user": APPROVER,
            "skew_s": skew_s,
        }
        answer = self.http.post(f"{self.sandbox.slack_url}/_control/click", json=press)
        return int(answer.json().get("status") or 0)


Step = tuple[str, Callable[[], str]]


def steps_of(story: Story, test: str | None) -> list[Step]:
    """The steps of the whole story, or as far as one part's test needs."""
    begin: list[Step] = [("health", story.healthy)]
    seen: list[Step] = [
        ("telemetry", story.learned),
        ("inject anomaly", story.injected),
        ("detected", story.detected),
        ("plan and Slack message", story.asked),
    ]
    forged: list[Step] = [("forged clicks", story.forged_click_refused)]
    acted: list[Step] = [("approval", story.approved), ("execution on AWS", story.executed)]
    end: list[Step] = [("resolved", story.resolved), ("Slack updated", story.told), ("audit", story.audited)]
    if test == "health":
        return begin
    if test == "aws-executor":
        return begin + seen + acted
    if test == "slack":
        return begin + seen + forged + acted[:1] + end[:2]
    if test == "qdrant":
        again: list[Step] = [("calm again", story.calm), *seen[1:], ("recalled", story.remembered)]
        return begin + seen + acted + end[:1] + again
    return begin + seen + forged + acted + end
