"""What moto is too kind about, corrected: changes take time, a start gives a new launch time, a reboot leaves a trace.

Only this much is corrected, because the rest does not matter to Sentinel:

- EC2 stop and start pass through `stopping` and `pending`; in moto they are instant.
- LaunchTime is that of the last start, as on AWS; moto keeps the first.
- RebootInstances of an instance that does not run, StartInstances of one that is stopping and StopInstances of one
  that is starting are refused with IncorrectInstanceState; moto carries them out.
- An instance carries the tag `sandbox:boots`. AWS has no such tag: a reboot leaves no trace in its API, but the
  machine itself knows that it booted, and the shop must too.
- A desired count below 0 or above 5,000, an update of a service that was deleted, and a capacity outside the bounds of
  its Auto Scaling group are refused; moto takes them.
- A service that `stall` names never gets the tasks that it wants, as where no room is left for them.
- ECS running counts and the rollout state of a deployment follow the desired count after a while; moto's jump, and its
  deployments stay IN_PROGRESS for ever.

Pure: requests and replies in, refusals and corrected replies out. The proxy in aws_double.py is its shell.
"""

import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from sentinel.clock import iso

BOOTS_TAG = "sandbox:boots"
_STATE_CODES = {"pending": 0, "running": 16, "stopping": 64, "stopped": 80}
_ALLOWED = {
    "RebootInstances": ("running",),
    "StopInstances": ("running", "stopping", "stopped"),
    "StartInstances": ("stopped", "pending", "running"),
}
_EFFECTS = frozenset(
    {
        *("RebootInstances", "StopInstances", "StartInstances", "UpdateService", "StopTask", "SetDesiredCapacity"),
        *("StartInstanceRefresh", "RebootDBInstance", "StartAutomationExecution", "PutFunctionConcurrency"),
    }
)
_MOST_TASKS = 5000  # the quota of tasks per service


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request to AWS: the operation, what it touches and with which parameters."""

    operation: str
    targets: tuple[str, ...]
    params: Mapping[str, Any]

    @property
    def has_effect(self) -> bool:
        """Whether the call changes the estate."""
        return self.operation in _EFFECTS and not self.rehearsal

    @property
    def rehearsal(self) -> bool:
        """Whether EC2 is only asked whether it would (DryRun); it looks at rights then, and not at states."""
        return str(self.params.get("DryRun", "")).lower() == "true"


def call_of(headers: Mapping[str, str], body: bytes) -> Call:
    """The request as a call, told by the header of AWS's JSON protocol or the form of its query protocol."""
    target = headers.get("x-amz-target", "")
    if target:
        params = json.loads(body or b"{}")
        name = str(params.get("service") or params.get("serviceName") or params.get("DocumentName") or "")
        name = name.rsplit("/", maxsplit=1)[-1]
        return Call(operation=target.rpartition(".")[2], targets=(name,) if name else (), params=params)
    form = dict(parse_qsl(body.decode(errors="replace")))
    ids = tuple(value for name, value in form.items() if name.startswith("InstanceId."))
    ids += tuple(form[name] for name in ("AutoScalingGroupName", "DBInstanceIdentifier") if name in form)
    return Call(operation=form.get("Action", ""), targets=ids, params=form)


@dataclass(slots=True)
class _Machine:
    """One instance: where it goes, when it gets there, and when it booted since it was launched."""

    through: str = "running"
    to: str = "running"
    at_ms: int = 0
    started_ms: int | None = None
    boots_ms: list[int] = field(default_factory=list)

    def state(self, now_ms: int) -> str:
        return self.to if now_ms >= self.at_ms else self.through


@dataclass(slots=True)
class _Tasks:
    """The tasks of one service: how many run until `at_ms`, and after; and when its newest deployment is complete."""

    before: int = 0
    after: int = 0
    at_ms: int = 0
    rolled_out_ms: int = 0

    def running(self, now_ms: int) -> int:
        return self.after if now_ms >= self.at_ms else self.before


class Truth:
    """The corrections, for one cluster. `delay_ms` is how long each change takes."""

    def __init__(self, delay_ms: int) -> None:
        self._delay_ms = delay_ms
        self._machines: dict[str, _Machine] = {}
        self._tasks: dict[str, _Tasks] = {}
        self._deleted: set[str] = set()
        self._bounds: dict[str, tuple[int, int]] = {}  # of Auto Scaling groups
        self._stalled: set[str] = set()

    def stall(self, service: str) -> None:
        """From now on the tasks of this ECS service stay as many as they are."""
        self._stalled.add(service)

    def refusal(self, call: Call, now_ms: int) -> bytes | None:
        """The error reply to a call that AWS would refuse and moto would not, or None."""
        if refused := self._out_of_bounds(call):
            return refused
        for target in () if call.rehearsal else call.targets:
            state = self._machines.get(target, _Machine()).state(now_ms)
            if state not in _ALLOWED.get(call.operation, (state,)):
                return _error_reply("IncorrectInstanceState", f"The instance '{target}' is {state}")
        return None

    def _out_of_bounds(self, call: Call) -> bytes | None:
        target = call.targets[0] if call.targets else ""
        wanted = call.params.get("desiredCount")
        if call.operation == "UpdateService" and target in self._deleted:
            return json_error("ServiceNotActiveException", "Service was not ACTIVE.")
        if call.operation == "UpdateService" and wanted is not None and not 0 <= int(wanted) <= _MOST_TASKS:
            return json_error("InvalidParameterException", f"desiredCount {wanted} is out of bounds")
        if call.operation == "SetDesiredCapacity" and target in self._bounds:
            least, most = self._bounds[target]
            if not least <= int(call.params["DesiredCapacity"]) <= most:
                return _error_reply("ValidationError", f"New SetDesiredCapacity value is outside {least} to {most}")
        return None

    def accepted(self, call: Call, now_ms: int) -> None:
        """Take note of a call that moto accepted."""
        done_ms = now_ms + self._delay_ms
        for target in call.targets:
            match call.operation:
                case "RebootInstances":
                    self._machine(target).boots_ms.append(done_ms)
                case "StopInstances" if self._machine(target).state(now_ms) == "running":
                    machine = self._machine(target)
                    machine.through, machine.to, machine.at_ms = "stopping", "stopped", done_ms
                case "StartInstances" if self._machine(target).state(now_ms) == "stopped":
                    machine = self._machine(target)
                    machine.through, machine.to, machine.at_ms = "pending", "running", done_ms
                    machine.started_ms = now_ms
                    machine.boots_ms.append(done_ms)
                case "CreateService":
                    count = int(call.params.get("desiredCount", 0))
                    self._tasks[target] = _Tasks(before=count, after=count)
                case "DeleteService":
                    self._deleted.add(target)
                case "CreateAutoScalingGroup":
                    self._bounds[target] = (int(call.params["MinSize"]), int(call.params["MaxSize"]))
                case "UpdateService":
                    self._updated(target, call.params, now_ms)

    def _updated(self, name: str, params: Mapping[str, Any], now_ms: int) -> None:
        tasks = self._tasks.setdefault(name, _Tasks())
        if params.get("desiredCount") is not None:
            tasks.before, tasks.after = tasks.running(now_ms), int(params["desiredCount"])
            tasks.at_ms = now_ms + self._delay_ms
            if name in self._stalled:
                tasks.after = tasks.before
        if params.get("forceNewDeployment"):
            tasks.rolled_out_ms = now_ms + self._delay_ms

    def corrected(self, call: Call, reply: bytes, now_ms: int) -> bytes:
        """moto's reply as AWS would have given it."""
        match call.operation:
            case "DescribeInstances" | "StopInstances" | "StartInstances":
                return self._corrected_instances(reply, now_ms)
            case "DescribeServices" | "UpdateService" | "CreateService":
                return self._corrected_services(reply, now_ms)
            case _:
                return reply

    def _machine(self, instance_id: str) -> _Machine:
        return self._machines.setdefault(instance_id, _Machine())

    def _corrected_instances(self, reply: bytes, now_ms: int) -> bytes:
        tree = ET.fromstring(reply)  # noqa: S314 - written by our own child process
        namespace = tree.tag.partition("}")[0] + "}" if tree.tag.startswith("{") else ""
        for item in tree.iter(f"{namespace}item"):
            machine = self._machines.get(item.findtext(f"{namespace}instanceId", ""))
            if machine is None:
                continue
            for name in ("instanceState", "currentState"):
                state = item.find(f"{namespace}{name}")
                if state is not None:
                    _set(state, f"{namespace}name", machine.state(now_ms))
                    _set(state, f"{namespace}code", str(_STATE_CODES[machine.state(now_ms)]))
            if machine.started_ms is not None:
                _set(item, f"{namespace}launchTime", iso(machine.started_ms))
            tags = item.find(f"{namespace}tagSet")
            if tags is not None:
                tag = ET.SubElement(tags, f"{namespace}item")
                ET.SubElement(tag, f"{namespace}key").text = BOOTS_TAG
                booted = sum(1 for at_ms in machine.boots_ms if at_ms <= now_ms)
                ET.SubElement(tag, f"{namespace}value").text = str(booted)
        return ET.tostring(tree)

    def _corrected_services(self, reply: bytes, now_ms: int) -> bytes:
        content = json.loads(reply)
        for service in [*content.get("services", []), *([content["service"]] if "service" in content else [])]:
            tasks = self._tasks.get(service.get("serviceName", ""))
            if tasks is None:
                continue
            service["runningCount"] = tasks.running(now_ms)
            service["pendingCount"] = max(service["desiredCount"] - tasks.running(now_ms), 0)
            settled = now_ms >= max(tasks.at_ms, tasks.rolled_out_ms)
            for deployment in service.get("deployments", [])[:1]:
                deployment["rolloutState"] = "COMPLETED" if settled else "IN_PROGRESS"
                for count in ("desiredCount", "runningCount", "pendingCount"):
                    deployment[count] = service[count]
        return json.dumps(content).encode()


def _set(parent: ET.Element, tag: str, text: str) -> None:
    child = parent.find(tag)
    if child is not None:
        child.text = text


def json_error(code: str, message: str) -> bytes:
    """An error in the form of AWS's JSON protocol."""
    return json.dumps({"__type": code, "message": message}).encode()


def _error_reply(code: str, message: str) -> bytes:
    """An error in the form of the EC2 API ("Error codes for the Amazon EC2 API", common XML error response)."""
    root = ET.Element("Response")
    error = ET.SubElement(ET.SubElement(root, "Errors"), "Error")
    ET.SubElement(error, "Code").text = code
    ET.SubElement(error, "Message").text = message
    ET.SubElement(root, "RequestID").text = "00000000-0000-0000-0000-000000000000"
    return ET.tostring(root)
