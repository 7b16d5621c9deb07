"""What may be touched, and by how much: checked when planned and again right before acting."""

from collections.abc import Sequence
from dataclasses import dataclass

from sentinel.incidents.nouns import Step
from sentinel.remediation.actions import Values, action_named


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The allow-lists (empty allows nothing) and the bounds of scaling."""

    ec2_instances: frozenset[str] = frozenset()
    ecs_clusters: frozenset[str] = frozenset()
    max_desired_count: int = 50
    max_scale_step: int = 5


def refusal(step: Step, limits: Limits) -> str:
    """Why `step` may not be done at all, or an empty text. Raises Invalid for an unknown action or parameter."""
    action_named(step.action).check(step.params)
    if step.action.startswith("ec2."):
        instance = step.params["instance_id"]
        if instance not in limits.ec2_instances:
            return f"instance {instance} is not in executor.aws_ec2_instance_whitelist"
    else:
        cluster = step.params["cluster"]
        if cluster not in limits.ecs_clusters:
            return f"cluster {cluster} is not in executor.aws_ecs_cluster_whitelist"
    desired = step.params.get("desired_count")
    if isinstance(desired, int) and desired > limits.max_desired_count:
        return f"desired_count {desired} is above executor.max_desired_count {limits.max_desired_count}"
    return ""


def refusal_now(step: Step, now: Values, limits: Limits) -> str:
    """Why `step` may not be done to the resource as it is `now`, or an empty text."""
    refused = refusal(step, limits) or action_named(step.action).may_start(now)
    if refused:
        return refused
    wanted, live = step.params.get("desired_count"), now.get("desired")
    if isinstance(wanted, int) and isinstance(live, int) and abs(wanted - live) > limits.max_scale_step:
        return f"from {live} to {wanted} tasks is more than executor.max_scale_step {limits.max_scale_step} at once"
    return ""


def first_refusal(steps: Sequence[Step], limits: Limits) -> str:
    """The first reason why these steps may not be done, or an empty text."""
    return next((reason for step in steps if (reason := refusal(step, limits))), "")
