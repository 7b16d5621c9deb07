"""Actions on Amazon ECS."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sentinel.adapters.aws_calls import AwsCall, Reply, Request, tags_of
from sentinel.errors import Forbidden, Unavailable
from sentinel.ids import StepKey
from sentinel.incidents.nouns import Step
from sentinel.remediation.action import Observed

if TYPE_CHECKING:
    from mypy_boto3_ecs.client import ECSClient
    from mypy_boto3_ecs.type_defs import DeploymentTypeDef


def _service(ecs: "ECSClient", step: Step) -> Observed:
    reply = ecs.describe_services(
        cluster=str(step.params["cluster"]), services=[str(step.params["service"])], include=["TAGS"]
    )
    service = next(iter(reply.get("services", [])), None)
    if service is None:
        why = next((failure.get("reason", "") for failure in reply.get("failures", [])), "")
        if not why:  # a JSON reply that was cut short reads as one without members: it says nothing of the service
            raise Unavailable(f"look at {step.target}: the answer is incomplete")
        raise Forbidden(f"no such ECS service: {step.target} ({why})")
    primary: DeploymentTypeDef | None = next(
        (each for each in service.get("deployments", []) if each.get("status") == "PRIMARY"), None
    )
    made_at = primary.get("createdAt") if primary else None
    return Observed(
        values={
            "status": service["status"],
            "desired": service["desiredCount"],
            "running": service["runningCount"],
            "pending": service["pendingCount"],
            "deployment_id": primary.get("id", "") if primary else "",
            "deployment_at_ms": round(made_at.timestamp() * 1000) if made_at else 0,
            "task_definition": service.get("taskDefinition", "").rpartition("/")[2],
        },
        tags=tags_of(service.get("tags"), "key", "value"),
    )


def _task(ecs: "ECSClient", step: Step) -> Observed:
    reply = ecs.describe_tasks(cluster=str(step.params["cluster"]), tasks=[str(step.params["task"])], include=["TAGS"])
    task = next(iter(reply.get("tasks", [])), None)
    if task is None:
        why = next((failure.get("reason", "") for failure in reply.get("failures", [])), "")
        if not why:
            raise Unavailable(f"look at {step.target}: the answer is incomplete")
        raise Forbidden(f"no such ECS task: {step.target} ({why})")
    group = f"service:{step.params['service']}"
    if task.get("group") != group:
        raise Forbidden(f"the task belongs to {task.get('group', 'no service')}, not to {group}")
    return Observed(values={"status": task["lastStatus"]}, tags=tags_of(task.get("tags"), "key", "value"))


def _of_service(**more: str) -> "Mapping[str, str]":
    return {"cluster": "cluster", "service": "service", **more}


def _update(names: Mapping[str, str], **fixed: object) -> AwsCall:
    """A use of UpdateService: its arguments and the parameters they come from, and what is always the same."""

    def request(step: Step, _key: StepKey) -> Request:
        return {argument: step.params[name] for argument, name in names.items()} | fixed

    return AwsCall(service="ecs", look=_service, method="update_service", request=request, answer=_updated)


def _updated(reply: Reply) -> str:
    if "service" not in reply:  # botocore reads a JSON reply that was cut short as one without members
        return ""
    service = reply["service"]
    deployments = ", ".join(each["id"] for each in service.get("deployments", []) if each.get("status") == "PRIMARY")
    return f"desired {service.get('desiredCount')}, running {service.get('runningCount')}, deployment {deployments}"


def _stop(step: Step, key: StepKey) -> Request:
    return {"cluster": step.params["cluster"], "task": step.params["task"], "reason": f"Sentinel, {key}"}


def _stopped(reply: Reply) -> str:
    return f"task is {reply['task'].get('lastStatus', 'unknown')}" if "task" in reply else ""


CALLS: Mapping[str, AwsCall] = {
    "ecs.scale_service": _update(_of_service(desiredCount="desired_count")),
    "ecs.force_new_deployment": _update(_of_service(), forceNewDeployment=True),
    "ecs.roll_back_service": _update(_of_service(taskDefinition="task_definition")),
    "ecs.stop_task": AwsCall(service="ecs", look=_task, method="stop_task", request=_stop, answer=_stopped),
}
