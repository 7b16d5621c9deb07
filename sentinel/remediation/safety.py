"""What may be touched, and by how much: checked when planned and again right before acting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sentinel.incidents.nouns import Step
from sentinel.remediation.action import Place
from sentinel.remediation.actions import Values, action_named

HERE = Place()
NO_TAGS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """A rule of the allow-list: these actions, on these ARNs or on what carries all of these tags, in one place.

    An empty selector means nothing: without `arns` and `tags` the rule allows nothing, without `actions` neither.
    Tags are those of the live resource, read again right before acting; only a place whose account and region are
    both named can be allowed by tags.
    """

    actions: frozenset[str] = frozenset()
    account: str = ""
    region: str = ""
    arns: frozenset[str] = frozenset()
    dry_run: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)

    def by_arn(self, step: Step, arn: str) -> bool:
        """Whether the resource is listed to the letter."""
        return step.action in self.actions and bool(arn) and arn in self.arns

    def by_tags(self, step: Step, place: Place, tags: Mapping[str, str] | None) -> bool:
        """Whether the resource is chosen by `tags`; for None, which are not read yet, whether it may turn out so."""
        if step.action not in self.actions or not self.tags or not (self.account and self.region):
            return False
        if (place.account, place.region) != (self.account, self.region):
            return False
        return tags is None or all(tags.get(name) == value for name, value in self.tags.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The allow-lists (empty allows nothing), the bounds of scaling, and which actions are only rehearsed.

    `home` is where a step acts that names neither account nor region.
    """

    ec2_instances: frozenset[str] = frozenset()
    ecs_clusters: frozenset[str] = frozenset()
    allowed: tuple[Allowed, ...] = ()
    home: Place = HERE
    min_desired_count: int = 1
    max_desired_count: int = 50
    max_scale_step: int = 5
    rehearsed: frozenset[str] = frozenset()

    def place_of(self, step: Step) -> Place:
        """Where `step` acts."""
        named = action_named(step.action).place_of(step.params)
        return Place(account=named.account or self.home.account, region=named.region or self.home.region)

    def arn_of(self, step: Step) -> str:
        """The ARN of what `step` touches; empty where the account is not known."""
        return action_named(step.action).arn_of(step.params, self.home)


def refusal(step: Step, limits: Limits) -> str:
    """Why `step` may not be done at all, or an empty text. Raises Invalid for an unknown action or parameter."""
    action_named(step.action).check(step.params)
    return _unlisted(step, limits, None) or out_of_bounds(step, limits)


def refusal_now(step: Step, now: Values, limits: Limits, tags: Mapping[str, str] = NO_TAGS) -> str:
    """Why `step` may not be done to the resource as it is `now`, with `tags`; or an empty text."""
    action = action_named(step.action)
    refused = refusal(step, limits) or _unlisted(step, limits, tags) or action.may_start(now)
    if refused or action.scaling is None:
        return refused
    wanted, live = step.params.get(action.scaling.param), now.get(action.scaling.live)
    if not isinstance(wanted, int) or not isinstance(live, int):
        return ""
    if abs(wanted - live) > limits.max_scale_step:
        return f"from {live} to {wanted} is more than executor.max_scale_step {limits.max_scale_step} at once"
    least, most = now.get(action.scaling.least), now.get(action.scaling.most)
    if isinstance(least, int) and isinstance(most, int) and not least <= wanted <= most:
        return f"{wanted} is outside the bounds of the resource itself, {least} to {most}"
    return ""


def is_rehearsed(step: Step, limits: Limits) -> bool:
    """Whether this step is only rehearsed: its action is, or a rule of the allow-list that chooses its target."""
    arn, place = limits.arn_of(step), limits.place_of(step)
    return step.action in limits.rehearsed or any(
        rule.dry_run and (rule.by_arn(step, arn) or rule.by_tags(step, place, None)) for rule in limits.allowed
    )


def first_refusal(steps: Sequence[Step], limits: Limits) -> str:
    """The first reason why these steps may not be done, or an empty text."""
    return next((reason for step in steps if (reason := refusal(step, limits))), "")


def group_of(step: Step, limits: Limits) -> tuple[str, int]:
    """The group of like resources that the allow-list puts the target of `step` in, and how many it names.

    A rule that allows by tags does not say how many it means: its group counts as one.
    """
    if step.action.startswith("ec2.") and step.params.get("instance_id") in limits.ec2_instances:
        return "executor.aws_ec2_instance_whitelist", len(limits.ec2_instances)
    arn, place = limits.arn_of(step), limits.place_of(step)
    for number, rule in enumerate(limits.allowed):
        if rule.by_arn(step, arn):
            return f"executor.allow.{number}", len(rule.arns)
        if rule.by_tags(step, place, None):
            return f"executor.allow.{number}", 1
    return "", 0


def _unlisted(step: Step, limits: Limits, tags: Mapping[str, str] | None) -> str:
    if step.action.startswith("ec2.") and step.params.get("instance_id") in limits.ec2_instances:
        return _elsewhere(step, limits)
    if step.action.startswith("ecs.") and step.params.get("cluster") in limits.ecs_clusters:
        return ""
    arn, place = limits.arn_of(step), limits.place_of(step)
    if any(rule.by_arn(step, arn) or rule.by_tags(step, place, tags) for rule in limits.allowed):
        return ""
    if tags is not None and any(rule.by_tags(step, place, None) for rule in limits.allowed):
        return f"{step.target} carries none of the tags in executor.allow"
    if step.action.startswith("ec2."):
        return f"instance {step.params['instance_id']} is not in executor.aws_ec2_instance_whitelist"
    if step.action.startswith("ecs."):
        return f"cluster {step.params['cluster']} is not in executor.aws_ecs_cluster_whitelist"
    if not arn:
        return f"the account of {step.target} is not known: name it in the step or in executor.aws_account"
    return f"{step.action} on {arn} is not in executor.allow"


def _elsewhere(step: Step, limits: Limits) -> str:
    """The list of instances is of this Sentinel's own account and region: the same id elsewhere is not meant."""
    named = action_named(step.action).place_of(step.params)
    for what, ours in (("account", limits.home.account), ("region", limits.home.region)):
        there = getattr(named, what)
        if there and there != ours:
            return f"instance {step.params['instance_id']} of {what} {there} is not in executor.allow"
    return ""


def out_of_bounds(step: Step, limits: Limits) -> str:
    """Why the number that `step` sets is out of bounds whatever is there now; empty if it is not."""
    action = action_named(step.action)
    if action.scaling is None:
        return ""
    name = action.scaling.param
    wanted = step.params.get(name)
    if isinstance(wanted, int) and wanted > limits.max_desired_count:
        return f"{name} {wanted} is above executor.max_desired_count {limits.max_desired_count}"
    if isinstance(wanted, int) and wanted < limits.min_desired_count:
        return f"{name} {wanted} is below executor.min_desired_count {limits.min_desired_count}"
    return ""
