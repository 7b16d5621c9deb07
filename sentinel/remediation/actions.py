"""The catalog of actions: what each takes, may touch, can undo, and how safely it repeats.

An action here is a declaration with a few pure judgements over observations; the one call that has
an effect is made by the Cloud adapter. Idempotency decides what becomes of a step whose outcome is
unknown: absolute and convergent actions may be sent again, at-most-once actions never.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from sentinel.errors import Invalid
from sentinel.incidents.nouns import Scalar, Step

Values = Mapping[str, Scalar]


class Idempotency(StrEnum):
    """How safely an effectful call repeats."""

    ABSOLUTE = "absolute"
    CONVERGENT = "convergent"
    AT_MOST_ONCE = "at_most_once"


class Settled(StrEnum):
    """What an observation says of a step that was started and has no recorded outcome."""

    DONE = "done"
    NOT_DONE = "not_done"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """One parameter: a text of a form, or a whole number in bounds."""

    meaning: str
    pattern: str = ""
    low: int = 0
    high: int = 0

    def check(self, field: str, value: Scalar) -> None:
        """Raises Invalid unless `value` has the form or is in bounds."""
        if self.pattern:
            if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
                raise Invalid(field, value, f"{self.meaning}, of the form {self.pattern}")
        elif isinstance(value, bool) or not isinstance(value, int) or not self.low <= value <= self.high:
            raise Invalid(field, value, f"{self.meaning}, a whole number from {self.low} to {self.high}")


INSTANCE = Param(meaning="an EC2 instance id", pattern=r"i-[0-9a-z]+")
CLUSTER = Param(meaning="an ECS cluster ARN", pattern=r"arn:aws[a-z-]*:ecs:[a-z0-9-]+:\d{12}:cluster/[A-Za-z0-9_-]+")
SERVICE = Param(meaning="an ECS service name", pattern=r"[A-Za-z0-9_-]{1,255}")
COUNT = Param(meaning="the number of tasks wanted", low=1, high=1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What the system knows how to do. `expands_to` names the actions a compound one is made of."""

    name: str
    summary: str
    params: Mapping[str, Param]
    example: Mapping[str, Scalar]
    permissions: tuple[str, ...]
    idempotency: Idempotency
    reversible: bool = False
    expands_to: tuple[str, ...] = ()

    def check(self, params: Values, field: str = "params") -> None:
        """Raises Invalid for a parameter that is missing, unknown, of the wrong form or out of bounds."""
        for name in params:
            if name not in self.params:
                raise Invalid(f"{field}.{name}", params[name], f"one of {', '.join(self.params)} for {self.name}")
        for name, param in self.params.items():
            if name not in params:
                raise Invalid(f"{field}.{name}", "nothing", f"{param.meaning} for {self.name}")
            param.check(f"{field}.{name}", params[name])

    def holds(self, step: Step, now: Values) -> bool:
        """Whether the resource already is as `step` wants it, so that nothing need be sent."""
        match self.name:
            case "ecs.scale_service":
                return now.get("desired") == step.params["desired_count"]
            case "ec2.stop_instance":
                return now.get("state") == "stopped"
            case "ec2.start_instance":
                return now.get("state") == "running"
            case _:
                return False

    def effect_seen(self, step: Step, previous: Values, now: Values) -> bool:
        """Whether the effect of the call has come about in full."""
        match self.name:
            case "ecs.scale_service":
                return now.get("desired") == step.params["desired_count"] == now.get("running")
            case "ecs.force_new_deployment":
                return now.get("deployment_id") != previous.get("deployment_id") and now.get("running") == now.get(
                    "desired"
                )
            case "ec2.reboot_instance":
                return now.get("state") == "running"
            case _:
                return self.holds(step, now)

    def settle(self, step: Step, previous: Values, now: Values) -> Settled:
        """What `now` says of a call of which nobody knows whether it was made."""
        match self.name:
            case "ecs.scale_service":
                return Settled.DONE if now.get("desired") == step.params["desired_count"] else Settled.NOT_DONE
            case "ecs.force_new_deployment":
                fresh = now.get("deployment_id") != previous.get("deployment_id")
                return Settled.DONE if fresh else Settled.UNKNOWN
            case "ec2.stop_instance":
                return Settled.DONE if now.get("state") in ("stopping", "stopped") else Settled.NOT_DONE
            case "ec2.start_instance":
                return Settled.DONE if now.get("state") in ("pending", "running") else Settled.NOT_DONE
            case _:
                return Settled.UNKNOWN

    def may_start(self, now: Values) -> str:
        """Why the step may not be started on the resource as it is; empty if it may."""
        if self.name.startswith("ecs."):
            return "" if now.get("status") == "ACTIVE" else f"the service is {now.get('status')}, not ACTIVE"
        if self.expands_to:
            return f"{self.name} is not one call: it is {', '.join(self.expands_to)}"
        allowed = {
            "ec2.reboot_instance": ("running",),
            "ec2.stop_instance": ("running", "stopping", "stopped"),
            "ec2.start_instance": ("stopped", "pending", "running"),
        }[self.name]
        state = now.get("state")
        return "" if state in allowed else f"the instance is {state}, not {' or '.join(allowed)}"

    def inverse(self, step: Step, previous: Values) -> Step | None:
        """The step that brings the resource back to `previous`, or None where there is no such step."""
        match self.name:
            case "ecs.scale_service":
                desired = previous.get("desired")
                if not isinstance(desired, int) or desired < 1:
                    return None
                return Step(action=self.name, target=step.target, params={**step.params, "desired_count": desired})
            case "ec2.stop_instance" if previous.get("state") == "running":
                return Step(action="ec2.start_instance", target=step.target, params=step.params)
            case _:
                return None

    def still_ours(self, step: Step, now: Values) -> bool:
        """Whether the live value is what `step` set, so that undoing it undoes nobody else's change."""
        if self.name == "ecs.scale_service":
            return now.get("desired") == step.params["desired_count"]
        return True


_ECS: Mapping[str, Param] = {"cluster": CLUSTER, "service": SERVICE}
_EXAMPLE_CLUSTER = "arn:aws:ecs:us-east-1:123456789012:cluster/prod"
_ECS_EXAMPLE: Values = {"cluster": _EXAMPLE_CLUSTER, "service": "checkout"}
_EC2: Mapping[str, Param] = {"instance_id": INSTANCE}
_EC2_EXAMPLE: Values = {"instance_id": "i-0abc123"}

CATALOG: Mapping[str, Action] = {
    action.name: action
    for action in (
        Action(
            name="ecs.scale_service",
            summary="set the number of tasks of an ECS service",
            params={**_ECS, "desired_count": COUNT},
            example={**_ECS_EXAMPLE, "desired_count": 4},
            permissions=("ecs:DescribeServices", "ecs:UpdateService"),
            idempotency=Idempotency.ABSOLUTE,
            reversible=True,
        ),
        Action(
            name="ecs.force_new_deployment",
            summary="replace every task of an ECS service by a fresh one",
            params=_ECS,
            example=_ECS_EXAMPLE,
            permissions=("ecs:DescribeServices", "ecs:UpdateService"),
            idempotency=Idempotency.AT_MOST_ONCE,
        ),
        Action(
            name="ec2.reboot_instance",
            summary="reboot an EC2 instance",
            params=_EC2,
            example=_EC2_EXAMPLE,
            permissions=("ec2:DescribeInstances", "ec2:RebootInstances"),
            idempotency=Idempotency.AT_MOST_ONCE,
        ),
        Action(
            name="ec2.restart_instance",
            summary="stop an EC2 instance, wait, start it, wait",
            params=_EC2,
            example=_EC2_EXAMPLE,
            permissions=("ec2:DescribeInstances", "ec2:StopInstances", "ec2:StartInstances"),
            idempotency=Idempotency.CONVERGENT,
            expands_to=("ec2.stop_instance", "ec2.start_instance"),
        ),
        Action(
            name="ec2.stop_instance",
            summary="stop an EC2 instance and wait until it is stopped",
            params=_EC2,
            example=_EC2_EXAMPLE,
            permissions=("ec2:DescribeInstances", "ec2:StopInstances"),
            idempotency=Idempotency.CONVERGENT,
            reversible=True,
        ),
        Action(
            name="ec2.start_instance",
            summary="start an EC2 instance and wait until it runs",
            params=_EC2,
            example=_EC2_EXAMPLE,
            permissions=("ec2:DescribeInstances", "ec2:StartInstances"),
            idempotency=Idempotency.CONVERGENT,
        ),
    )
}


def action_named(name: str, field: str = "action") -> Action:
    """The action of that name. Raises Invalid, which lists the names there are."""
    action = CATALOG.get(name)
    if action is None:
        raise Invalid(field, name, f"one of {', '.join(sorted(CATALOG))}")
    return action


def steps_of(name: str, params: Values, field: str = "steps") -> tuple[Step, ...]:
    """The primitive steps of one use of an action. Raises Invalid for a wrong name or parameter."""
    action = action_named(name, f"{field}.action")
    action.check(params, f"{field}.params")
    names = action.expands_to or (action.name,)
    return tuple(Step(action=each, target=target_of(each, params), params=dict(params)) for each in names)


def target_of(action: str, params: Values) -> str:
    """What the step touches, in the words of AWS: an instance id, or cluster ARN and service name."""
    if action.startswith("ec2."):
        return str(params["instance_id"])
    return f"{params['cluster']}/{params['service']}"
