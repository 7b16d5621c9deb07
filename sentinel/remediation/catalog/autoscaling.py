"""Amazon EC2 Auto Scaling: groups."""

from collections.abc import Mapping

from sentinel.remediation.action import Action, Idempotency, Param, Replaces, Scaling, Sets, Values
from sentinel.remediation.catalog.place import PLACE

GROUP = Param(meaning="the name of an Auto Scaling group", pattern=r"[A-Za-z0-9_.-]{1,255}")
_PARAMS: Mapping[str, Param] = {"group": GROUP, **PLACE}
_EXAMPLE: Values = {"group": "checkout-workers"}
# The middle of a group's ARN is an id that AWS draws.
_ARN = "arn:{partition}:autoscaling:{region}:{account}:autoScalingGroup:*:autoScalingGroupName/{group}"

ACTIONS: tuple[Action, ...] = (
    Sets(
        name="autoscaling.set_desired_capacity",
        summary="set the number of instances of an Auto Scaling group",
        params={**_PARAMS, "desired_capacity": Param(meaning="the number of instances wanted", low=1, high=1000)},
        example={**_EXAMPLE, "desired_capacity": 4},
        permissions=("autoscaling:DescribeAutoScalingGroups", "autoscaling:SetDesiredCapacity"),
        target="{group}",
        arn=_ARN,
        noun="group",
        blast_radius="one group, by executor.max_scale_step instances at most, inside its own bounds",
        idempotency=Idempotency.ABSOLUTE,
        starts_from=("active",),
        reversible=True,
        scaling=Scaling(param="desired_capacity", live="desired", least="least", most="most"),
        param="desired_capacity",
        value="desired",
        follows="running",
    ),
    Replaces(
        name="autoscaling.start_instance_refresh",
        summary="replace the instances of an Auto Scaling group, a few at a time",
        params=_PARAMS,
        example=_EXAMPLE,
        permissions=(
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:DescribeInstanceRefreshes",
            "autoscaling:StartInstanceRefresh",
            "cloudtrail:LookupEvents",
        ),
        target="{group}",
        arn=_ARN,
        noun="group",
        blast_radius="every instance of one group, keeping nine tenths of them healthy",
        idempotency=Idempotency.AT_MOST_ONCE,
        starts_from=("active",),
        mark="refresh_id",
        mark_at="refresh_at_ms",
        # A refresh may take an hour: that it is under way is the effect, whether it helps the detector says.
        complete={"refresh_status": ("InProgress", "Successful")},
    ),
)
