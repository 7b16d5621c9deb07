"""What moto has not at all and Sentinel needs: Automation of Systems Manager, and refreshes of Auto Scaling groups.

Pure: calls and times in, replies out. A client token makes a second start the first one again, as on AWS; an
execution and a refresh take `delay_ms`. Shapes are those of the service models that botocore carries.
"""

import hashlib
import json
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import Any

from sentinel.clock import iso
from sentinel.sandbox.truth import Call

JSON, XML = "application/x-amz-json-1.1", "text/xml"
_NAMESPACE = "http://autoscaling.amazonaws.com/doc/2011-01-01/"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    id: str
    of: str
    started_ms: int
    tags: tuple[str, ...] = ()


class Absent:
    """Answers the operations that moto does not know."""

    def __init__(self, delay_ms: int) -> None:
        self._delay_ms = delay_ms
        self._executions: dict[str, _Run] = {}  # by client token, or by id where none was given
        self._refreshes: list[_Run] = []

    def answer(self, call: Call, now_ms: int) -> tuple[int, str, bytes] | None:
        """Status, content type and body; None for an operation that moto knows."""
        match call.operation:
            case "StartAutomationExecution":
                token = str(call.params.get("ClientToken") or f"none-{len(self._executions)}")
                if token not in self._executions:
                    tags = tuple(each["Key"] for each in call.params.get("Tags", []))
                    self._executions[token] = _Run(
                        id=_uuid(token), of=str(call.params["DocumentName"]), started_ms=now_ms, tags=tags
                    )
                return 200, JSON, json.dumps({"AutomationExecutionId": self._executions[token].id}).encode()
            case "DescribeAutomationExecutions":
                return 200, JSON, json.dumps({"AutomationExecutionMetadataList": self._shown(call, now_ms)}).encode()
            case "StartInstanceRefresh":
                group = str(call.params["AutoScalingGroupName"])
                if any(run.of == group and now_ms < run.started_ms + self._delay_ms for run in self._refreshes):
                    return (
                        400,
                        XML,
                        query_error("InstanceRefreshInProgress", "An instance refresh is already in progress"),
                    )
                run = _Run(id=_uuid(f"{group}-{len(self._refreshes)}"), of=group, started_ms=now_ms)
                self._refreshes.append(run)
                return 200, XML, _query(call.operation, {"InstanceRefreshId": run.id})
            case "DescribeInstanceRefreshes":
                ours = [run for run in self._refreshes if run.of == call.params["AutoScalingGroupName"]]
                return 200, XML, self._refreshes_of(call.operation, ours[-1:], now_ms)
        return None

    def _shown(self, call: Call, now_ms: int) -> list[dict[str, Any]]:
        wanted = {each["Key"]: each["Values"] for each in call.params.get("Filters", [])}
        return [
            {
                "AutomationExecutionId": run.id,
                "DocumentName": run.of,
                "AutomationExecutionStatus": "Success" if now_ms >= run.started_ms + self._delay_ms else "InProgress",
                "ExecutionStartTime": run.started_ms / 1000,
            }
            for run in self._executions.values()
            if any(run.of.startswith(prefix) for prefix in wanted.get("DocumentNamePrefix", [""]))
            and all(key in run.tags for key in wanted.get("TagKey", []))
        ]

    def _refreshes_of(self, operation: str, runs: list[_Run], now_ms: int) -> bytes:
        root = ET.Element(f"{operation}Response", xmlns=_NAMESPACE)
        members = ET.SubElement(ET.SubElement(root, f"{operation}Result"), "InstanceRefreshes")
        for run in runs:
            member = ET.SubElement(members, "member")
            over = now_ms >= run.started_ms + self._delay_ms
            for name, value in (
                ("InstanceRefreshId", run.id),
                ("AutoScalingGroupName", run.of),
                ("Status", "Successful" if over else "InProgress"),
                ("StartTime", iso(run.started_ms)),
            ):
                ET.SubElement(member, name).text = value
        return ET.tostring(root)


def query_error(code: str, message: str) -> bytes:
    """An error in the form of AWS's query protocol."""
    root = ET.Element("ErrorResponse")
    error = ET.SubElement(root, "Error")
    ET.SubElement(error, "Code").text = code
    ET.SubElement(error, "Message").text = message
    return ET.tostring(root)


def _query(operation: str, values: dict[str, str]) -> bytes:
    root = ET.Element(f"{operation}Response", xmlns=_NAMESPACE)
    result = ET.SubElement(root, f"{operation}Result")
    for name, value in values.items():
        ET.SubElement(result, name).text = value
    return ET.tostring(root)


def _uuid(text: str) -> str:
    digits = hashlib.sha256(text.encode()).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:32]}"
