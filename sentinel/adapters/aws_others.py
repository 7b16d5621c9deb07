"""Actions on Auto Scaling groups, RDS instances, Lambda functions and Systems Manager documents."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sentinel.adapters.aws_calls import AwsCall, Reply, Request, tags_of
from sentinel.errors import Forbidden
from sentinel.ids import StepKey, client_token
from sentinel.incidents.nouns import Scalar, Step
from sentinel.remediation.action import Observed

if TYPE_CHECKING:
    from mypy_boto3_autoscaling.client import AutoScalingClient
    from mypy_boto3_lambda.client import LambdaClient
    from mypy_boto3_rds.client import RDSClient
    from mypy_boto3_ssm.client import SSMClient

_STEP_TAG = "sentinel:step"


def _group(autoscaling: "AutoScalingClient", step: Step) -> Observed:
    reply = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[str(step.params["group"])])
    group = next(iter(reply.get("AutoScalingGroups", [])), None)
    if group is None:
        raise Forbidden(f"no such Auto Scaling group: {step.target}")
    return Observed(
        values={
            # Status is only there while the group is being deleted.
            "status": group.get("Status") or "active",
            "desired": group["DesiredCapacity"],
            "running": sum(each.get("LifecycleState") == "InService" for each in group.get("Instances", [])),
            "least": group["MinSize"],
            "most": group["MaxSize"],
        },
        tags=tags_of(group.get("Tags")),
    )


def _refreshed_group(autoscaling: "AutoScalingClient", step: Step) -> Observed:
    group = _group(autoscaling, step)
    reply = autoscaling.describe_instance_refreshes(AutoScalingGroupName=str(step.params["group"]), MaxRecords=1)
    newest = next(iter(reply.get("InstanceRefreshes", [])), None)
    refresh: dict[str, Scalar] = {"refresh_id": "", "refresh_status": "", "refresh_at_ms": 0}
    if newest:
        refresh = {
            "refresh_id": newest["InstanceRefreshId"],
            "refresh_status": newest.get("Status", ""),
            # A refresh that is still pending has no start.
            "refresh_at_ms": round(newest["StartTime"].timestamp() * 1000) if "StartTime" in newest else 0,
        }
    return Observed(values={**group.values, **refresh}, tags=group.tags)


def _capacity(step: Step, _key: StepKey) -> Request:
    return {
        "AutoScalingGroupName": step.params["group"],
        "DesiredCapacity": step.params["desired_capacity"],
        "HonorCooldown": False,
    }


def _refresh(step: Step, _key: StepKey) -> Request:
    return {"AutoScalingGroupName": step.params["group"], "Preferences": {"MinHealthyPercentage": 90}}


def _database(rds: "RDSClient", step: Step) -> Observed:
    reply = rds.describe_db_instances(DBInstanceIdentifier=str(step.params["db_instance"]))
    database = next(iter(reply.get("DBInstances", [])), None)
    if database is None:
        raise Forbidden(f"no such DB instance: {step.target}")
    values: Mapping[str, Scalar] = {"status": database.get("DBInstanceStatus", "unknown")}
    return Observed(values=values, tags=tags_of(database.get("TagList")))


def _reboot_database(step: Step, _key: StepKey) -> Request:
    return {"DBInstanceIdentifier": step.params["db_instance"], "ForceFailover": False}


def _database_answered(reply: Reply) -> str:
    return f"database is {reply['DBInstance'].get('DBInstanceStatus', 'unknown')}" if "DBInstance" in reply else ""


def _function(functions: "LambdaClient", step: Step) -> Observed:
    found = functions.get_function(FunctionName=str(step.params["function"]))
    values: dict[str, Scalar] = {"status": found.get("Configuration", {}).get("State", "unknown")}
    reserved = found.get("Concurrency", {}).get("ReservedConcurrentExecutions")
    if reserved is not None:
        values["concurrency"] = reserved
    return Observed(values=values, tags={name: str(value) for name, value in found.get("Tags", {}).items()})


def _concurrency(step: Step, _key: StepKey) -> Request:
    return {"FunctionName": step.params["function"], "ReservedConcurrentExecutions": step.params["concurrency"]}


def _concurrency_answered(reply: Reply) -> str:
    reserved = reply.get("ReservedConcurrentExecutions")
    return "" if reserved is None else f"reserved concurrency {reserved}"


def _automation(ssm: "SSMClient", step: Step) -> Observed:
    # Only executions that Sentinel started, and it has one at a time in flight on one document.
    reply = ssm.describe_automation_executions(
        Filters=[
            {"Key": "DocumentNamePrefix", "Values": [str(step.params["document"])]},
            {"Key": "TagKey", "Values": [_STEP_TAG]},
        ]
    )
    ours = [
        each
        for each in reply.get("AutomationExecutionMetadataList", [])
        if each.get("DocumentName") == step.params["document"]
    ]
    newest = max(ours, key=lambda each: each["ExecutionStartTime"], default=None)
    return Observed(
        values={
            "document": step.params["document"],
            "execution_id": newest["AutomationExecutionId"] if newest else "",
            "execution_status": newest["AutomationExecutionStatus"] if newest else "",
        }
    )


def _start_automation(step: Step, key: StepKey) -> Request:
    name, value = step.params.get("parameter"), step.params.get("value")
    return {
        "DocumentName": step.params["document"],
        "DocumentVersion": step.params["version"],
        "Parameters": {str(name): [str(value)]} if name else {},
        "ClientToken": client_token(key),
        "Tags": [{"Key": _STEP_TAG, "Value": key}],
    }


def _started(reply: Reply) -> str:
    execution = reply.get("AutomationExecutionId")
    return f"execution {execution}" if execution else ""


CALLS: Mapping[str, AwsCall] = {
    "autoscaling.set_desired_capacity": AwsCall(
        service="autoscaling",
        look=_group,
        method="set_desired_capacity",
        request=_capacity,
        answer=lambda _reply: "capacity accepted",
    ),
    "autoscaling.start_instance_refresh": AwsCall(
        service="autoscaling",
        look=_refreshed_group,
        method="start_instance_refresh",
        request=_refresh,
        answer=lambda reply: f"refresh {reply['InstanceRefreshId']}" if "InstanceRefreshId" in reply else "",
    ),
    "rds.reboot_instance": AwsCall(
        service="rds",
        look=_database,
        method="reboot_db_instance",
        request=_reboot_database,
        answer=_database_answered,
    ),
    "lambda.set_reserved_concurrency": AwsCall(
        service="lambda",
        look=_function,
        method="put_function_concurrency",
        request=_concurrency,
        answer=_concurrency_answered,
    ),
    "ssm.start_automation": AwsCall(
        service="ssm",
        look=_automation,
        method="start_automation_execution",
        request=_start_automation,
        answer=_started,
    ),
}
