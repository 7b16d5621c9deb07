"""Amazon ECS: services and their tasks."""

from collections.abc import Mapping

from sentinel.remediation.action import Action, Idempotency, Moves, Param, Replaces, Scaling, Sets, Values

CLUSTER = Param(meaning="an ECS cluster ARN", pattern=r"arn:aws[a-z-]*:ecs:[a-z0-9-]+:\d{12}:cluster/[A-Za-z0-9_-]+")
SERVICE = Param(meaning="an ECS service name", pattern=r"[A-Za-z0-9_-]{1,255}")
COUNT = Param(meaning="the number of tasks wanted", low=1, high=1000)
TASK = Param(meaning="the id of an ECS task", pattern=r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TASK_DEFINITION = Param(
    meaning="family and revision of a task definition", pattern=r"[A-Za-z0-9_-]{1,255}:[1-9]\d{0,8}"
)

_PARAMS: Mapping[str, Param] = {"cluster": CLUSTER, "service": SERVICE}
_EXAMPLE: Values = {"cluster": "arn:aws:ecs:us-east-1:123456789012:cluster/prod", "service": "checkout"}
_TARGET = "{cluster}/{service}"
_ARN = "arn:{partition}:ecs:{region}:{account}:service/{cluster_name}/{service}"

ACTIONS: tuple[Action, ...] = (
    Sets(
        name="ecs.scale_service",
        summary="set the number of tasks of an ECS service",
        params={**_PARAMS, "desired_count": COUNT},
        example={**_EXAMPLE, "desired_count": 4},
        permissions=("ecs:DescribeServices", "ecs:UpdateService"),
        target=_TARGET,
        arn=_ARN,
        noun="service",
        blast_radius="one service, by executor.max_scale_step tasks at most",
        idempotency=Idempotency.ABSOLUTE,
        starts_from=("ACTIVE",),
        reversible=True,
        scaling=Scaling(param="desired_count", live="desired"),
        param="desired_count",
        value="desired",
        follows="running",
    ),
    Replaces(
        name="ecs.force_new_deployment",
        summary="replace every task of an ECS service by a fresh one",
        params=_PARAMS,
        example=_EXAMPLE,
        permissions=("cloudtrail:LookupEvents", "ecs:DescribeServices", "ecs:UpdateService"),
        target=_TARGET,
        arn=_ARN,
        noun="service",
        blast_radius="every task of one service, at the pace of its deployment configuration",
        idempotency=Idempotency.AT_MOST_ONCE,
        starts_from=("ACTIVE",),
        mark="deployment_id",
        mark_at="deployment_at_ms",
        complete={"running": "desired"},
    ),
    Sets(
        name="ecs.roll_back_service",
        summary="run an earlier revision of its task definition in an ECS service",
        params={**_PARAMS, "task_definition": TASK_DEFINITION},
        example={**_EXAMPLE, "task_definition": "checkout:41"},
        permissions=("ecs:DescribeServices", "ecs:UpdateService", "iam:PassRole"),
        target=_TARGET,
        arn=_ARN,
        noun="service",
        blast_radius="every task of one service, at the pace of its deployment configuration",
        idempotency=Idempotency.ABSOLUTE,
        starts_from=("ACTIVE",),
        reversible=True,
        param="task_definition",
        value="task_definition",
    ),
    Moves(
        name="ecs.stop_task",
        summary="stop one ECS task, which its service replaces",
        params={**_PARAMS, "task": TASK},
        example={**_EXAMPLE, "task": "0123456789abcdef0123456789abcdef"},
        permissions=("ecs:DescribeTasks", "ecs:StopTask"),
        target="{cluster}/{service}/{task}",
        arn="arn:{partition}:ecs:{region}:{account}:task/{cluster_name}/{task}",
        noun="task",
        blast_radius="one task of one service",
        idempotency=Idempotency.CONVERGENT,
        starts_from=("PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED"),
        through=("DEACTIVATING", "STOPPING", "DEPROVISIONING"),
        to="STOPPED",
    ),
)
