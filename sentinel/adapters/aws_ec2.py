"""Actions on Amazon EC2."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from sentinel.adapters.aws_calls import AwsCall, Reply, Request, tags_of
from sentinel.errors import Forbidden
from sentinel.ids import StepKey
from sentinel.incidents.nouns import Step
from sentinel.remediation.action import Observed

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client


def _instance(ec2: "EC2Client", step: Step) -> Observed:
    reply = ec2.describe_instances(InstanceIds=[str(step.params["instance_id"])])
    found = (each for reservation in reply.get("Reservations", []) for each in reservation.get("Instances", []))
    instance = next(found, None)
    if instance is None:
        raise Forbidden(f"no such EC2 instance: {step.target}")
    return Observed(
        values={
            "state": instance["State"]["Name"],
            "launch_time_ms": round(instance["LaunchTime"].timestamp() * 1000),
        },
        tags=tags_of(instance.get("Tags")),
    )


def _one(step: Step, _key: StepKey) -> Request:
    return {"InstanceIds": [step.params["instance_id"]]}


def _changed(changes: str) -> Callable[[Reply], str]:
    def answer(reply: Reply) -> str:
        if not reply.get(changes):
            return ""
        change = reply[changes][0]
        before = change.get("PreviousState", {}).get("Name", "unknown")
        return f"{before} -> {change.get('CurrentState', {}).get('Name', 'unknown')}"

    return answer


def _call(method: str, answer: Callable[[Reply], str]) -> AwsCall:
    return AwsCall(service="ec2", look=_instance, method=method, request=_one, answer=answer, can_rehearse=True)


CALLS: Mapping[str, AwsCall] = {
    "ec2.reboot_instance": _call("reboot_instances", lambda _reply: "reboot accepted"),
    "ec2.stop_instance": _call("stop_instances", _changed("StoppingInstances")),
    "ec2.start_instance": _call("start_instances", _changed("StartingInstances")),
}
