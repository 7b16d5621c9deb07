"""Amazon EC2: instances."""

from collections.abc import Mapping

from sentinel.remediation.action import Action, Idempotency, Moves, Param, Shakes, Values
from sentinel.remediation.catalog.place import PLACE

INSTANCE = Param(meaning="an EC2 instance id", pattern=r"i-[0-9a-z]+")
_PARAMS: Mapping[str, Param] = {"instance_id": INSTANCE, **PLACE}
_EXAMPLE: Values = {"instance_id": "i-0abc123"}
_TARGET, _ARN = "{instance_id}", "arn:{partition}:ec2:{region}:{account}:instance/{instance_id}"

ACTIONS: tuple[Action, ...] = (
    Shakes(
        name="ec2.reboot_instance",
        summary="reboot an EC2 instance",
        params=_PARAMS,
        example=_EXAMPLE,
        permissions=("cloudtrail:LookupEvents", "ec2:DescribeInstances", "ec2:RebootInstances"),
        target=_TARGET,
        arn=_ARN,
        noun="instance",
        blast_radius="one instance, away for a minute or two",
        idempotency=Idempotency.AT_MOST_ONCE,
        status="state",
        starts_from=("running",),
        rests_at="running",
    ),
    Action(
        name="ec2.restart_instance",
        summary="stop an EC2 instance, wait, start it, wait",
        params=_PARAMS,
        example=_EXAMPLE,
        permissions=("ec2:DescribeInstances", "ec2:StopInstances", "ec2:StartInstances"),
        target=_TARGET,
        arn=_ARN,
        noun="instance",
        blast_radius="one instance, away for minutes; its public address and instance store are lost",
        idempotency=Idempotency.CONVERGENT,
        status="state",
        expands_to=("ec2.stop_instance", "ec2.start_instance"),
    ),
    Moves(
        name="ec2.stop_instance",
        summary="stop an EC2 instance and wait until it is stopped",
        params=_PARAMS,
        example=_EXAMPLE,
        permissions=("ec2:DescribeInstances", "ec2:StopInstances"),
        target=_TARGET,
        arn=_ARN,
        noun="instance",
        blast_radius="one instance, away until it is started; its public address and instance store are lost",
        idempotency=Idempotency.CONVERGENT,
        status="state",
        starts_from=("running", "stopping", "stopped"),
        reversible=True,
        through=("stopping",),
        to="stopped",
        undone_by="ec2.start_instance",
        undone_from="running",
    ),
    Moves(
        name="ec2.start_instance",
        summary="start an EC2 instance and wait until it runs",
        params=_PARAMS,
        example=_EXAMPLE,
        permissions=("ec2:DescribeInstances", "ec2:StartInstances"),
        target=_TARGET,
        arn=_ARN,
        noun="instance",
        blast_radius="one instance, which costs money while it runs",
        idempotency=Idempotency.CONVERGENT,
        status="state",
        starts_from=("stopped", "pending", "running"),
        through=("pending",),
        to="running",
    ),
)
