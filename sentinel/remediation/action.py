"""What an action declares, and how an observation of its resource is judged. Pure: the call itself is an adapter's.

Idempotency decides what becomes of a step whose outcome is unknown: absolute, convergent and token actions may be
sent again, at-most-once actions never.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from string import Formatter

from sentinel.errors import Invalid
from sentinel.incidents.nouns import Scalar, Step

Values = Mapping[str, Scalar]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A resource as it is: a few comparable values, such as `desired` and `running`, and the tags it carries."""

    values: Values
    tags: Mapping[str, str] = field(default_factory=dict)


class Idempotency(StrEnum):
    """How safely an effectful call repeats."""

    ABSOLUTE = "absolute"  # sets a value: repeating it changes nothing
    CONVERGENT = "convergent"  # leads to a state: repeating it there changes nothing
    TOKEN = "token"  # noqa: S105 no secret: the API itself knows a repetition by the step's token
    AT_MOST_ONCE = "at_most_once"  # each call is one more effect


class Settled(StrEnum):
    """What is found of a step that was started and has no recorded outcome."""

    DONE = "done"
    NOT_DONE = "not_done"  # and may be sent again
    NEVER_DONE = "never_done"  # and is not sent again by software, since its action is at most once
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The time in which a step's call may have been made, with the skew of clocks allowed for."""

    from_ms: int
    until_ms: int

    def holds(self, at_ms: Scalar | None) -> bool:
        """Whether that moment is in it; what is no moment is not."""
        return isinstance(at_ms, int | float) and self.from_ms <= at_ms <= self.until_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """One parameter: a text of a form, or a whole number in bounds. What is not `required` may be left out."""

    meaning: str
    pattern: str = ""
    low: int = 0
    high: int = 0
    required: bool = True

    def check(self, field: str, value: Scalar) -> None:
        """Raises Invalid unless `value` has the form or is in bounds."""
        if self.pattern:
            if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
                raise Invalid(field, value, f"{self.meaning}, of the form {self.pattern}")
        elif isinstance(value, bool) or not isinstance(value, int) or not self.low <= value <= self.high:
            raise Invalid(field, value, f"{self.meaning}, a whole number from {self.low} to {self.high}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a resource is. Empty: where this Sentinel's own credentials and `executor.aws_region` lead."""

    account: str = ""
    region: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """The number that an action sets, for the bounds: its parameter, the live value, the values it must lie between."""

    param: str
    live: str
    least: str = ""
    most: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What the system knows how to do. `expands_to` names the actions a compound one is made of.

    `target` and `arn` are templates over the parameters, `arn` also over partition, region and account. `status` is
    the observed value that must be one of `starts_from` (empty: no value is needed). `blast_radius` says in words what
    one use can touch.
    """

    name: str
    summary: str
    params: Mapping[str, Param]
    example: Mapping[str, Scalar]
    permissions: tuple[str, ...]
    target: str
    arn: str
    blast_radius: str
    idempotency: Idempotency
    noun: str = "resource"
    status: str = "status"
    starts_from: tuple[str, ...] = ()
    reversible: bool = False
    scaling: Scaling | None = None
    expands_to: tuple[str, ...] = ()

    def check(self, params: Values, field: str = "params") -> None:
        """Raises Invalid for a parameter that is missing, unknown, of the wrong form or out of bounds."""
        for name in params:
            if name not in self.params:
                raise Invalid(f"{field}.{name}", params[name], f"one of {', '.join(self.params)} for {self.name}")
        for name, param in self.params.items():
            if name in params:
                param.check(f"{field}.{name}", params[name])
            elif param.required:
                raise Invalid(f"{field}.{name}", "nothing", f"{param.meaning} for {self.name}")

    def target_of(self, params: Values) -> str:
        """What a step with these parameters touches, in the words of its API."""
        return self.target.format_map({name: str(value) for name, value in params.items()})

    def place_of(self, params: Values) -> Place:
        """The account and region that the parameters name: their own, or those of an ARN among them."""
        account, region = str(params.get("account", "")), str(params.get("region", ""))
        for value in params.values():
            if isinstance(value, str) and value.startswith("arn:") and value.count(":") >= 5:
                _arn, _partition, _service, in_region, in_account, _rest = value.split(":", 5)
                account, region = account or in_account, region or in_region
        return Place(account=account, region=region)

    def arn_of(self, params: Values, default: Place) -> str:
        """The ARN of what is touched; empty where the account is known neither to the step nor by `default`."""
        place = self.place_of(params)
        account, region = place.account or default.account, place.region or default.region
        needed = {name for _, name, _, _ in Formatter().parse(self.arn) if name}
        if ("account" in needed and not account) or ("region" in needed and not region):
            return ""
        known = {name: str(value) for name, value in params.items()}
        # An ECS service's ARN holds the name of its cluster, which the step names by ARN.
        known |= {"cluster_name": known.get("cluster", "").rpartition("/")[2]}
        return self.arn.format_map(known | {"partition": partition_of(region), "account": account, "region": region})

    def holds(self, step: Step, now: Values) -> bool:
        """Whether the resource already is as `step` wants it, so that nothing need be sent."""
        return False

    def effect_seen(self, step: Step, previous: Values, now: Values) -> bool:
        """Whether the effect of the call has come about in full."""
        return self.holds(step, now)

    def settle(self, step: Step, previous: Values, now: Values, made: Window) -> Settled:
        """What `now`, seen after `made`, says of a call of which nobody knows whether it was made."""
        return Settled.UNKNOWN

    def may_start(self, now: Values) -> str:
        """Why the step may not be started on the resource as it is; empty if it may."""
        if self.expands_to:
            return f"{self.name} is not one call: it is {', '.join(self.expands_to)}"
        found = now.get(self.status)
        if found is None and not self.starts_from:
            return f"the {self.noun} does not tell its {self.status}"
        if self.starts_from and found not in self.starts_from:
            return f"the {self.noun} is {found}, not {' or '.join(self.starts_from)}"
        return ""

    def inverse(self, step: Step, previous: Values) -> Step | None:
        """The step that brings the resource back to `previous`, or None where there is no such step."""
        return None

    def still_ours(self, step: Step, now: Values) -> bool:
        """Whether the live value is what `step` set, so that undoing it undoes nobody else's change."""
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Sets(Action):
    """Gives the observed `value` what the parameter `param` says, until `follows` has come there as well.

    A live value that is neither what was wanted nor what was before is somebody else's, and for people.
    """

    param: str
    value: str
    follows: str = ""

    def holds(self, step: Step, now: Values) -> bool:
        return now.get(self.value) == step.params[self.param]

    def effect_seen(self, step: Step, previous: Values, now: Values) -> bool:
        return self.holds(step, now) and (not self.follows or now.get(self.follows) == now.get(self.value))

    def settle(self, step: Step, previous: Values, now: Values, made: Window) -> Settled:
        if self.holds(step, now):
            return Settled.DONE
        before = previous.get(self.value)
        return Settled.NOT_DONE if before is not None and now.get(self.value) == before else Settled.UNKNOWN

    def inverse(self, step: Step, previous: Values) -> Step | None:
        before = previous.get(self.value)
        if before is None:
            return None
        try:
            self.params[self.param].check(self.param, before)
        except Invalid:
            return None  # such as a count of 0: an undo that stops a service would be an outage of our own
        return Step(action=self.name, target=step.target, params={**step.params, self.param: before})

    def still_ours(self, step: Step, now: Values) -> bool:
        return self.holds(step, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves(Action):
    """Leads a resource through the states `through` to the state `to`; `undone_by` leads from there back."""

    to: str
    through: tuple[str, ...] = ()
    undone_by: str = ""
    undone_from: str = ""

    def holds(self, step: Step, now: Values) -> bool:
        return now.get(self.status) == self.to

    def settle(self, step: Step, previous: Values, now: Values, made: Window) -> Settled:
        return Settled.DONE if now.get(self.status) in (*self.through, self.to) else Settled.NOT_DONE

    def inverse(self, step: Step, previous: Values) -> Step | None:
        if not self.undone_by or previous.get(self.status) != self.undone_from:
            return None
        return Step(action=self.undone_by, target=step.target, params=step.params)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaces(Action):
    """Puts something new in place, told by the observed `mark`; complete when each value of `complete` is reached.

    `complete` maps an observed value to the name of another that it must equal, or to texts of which it must be one.
    The call itself changes the mark, or leads to a status of `proof` until it does. `mark_at` is the observed time in
    ms at which what the mark names was made: somebody else may have put something new in place as well.
    """

    mark: str
    complete: Mapping[str, str | tuple[str, ...]]
    mark_at: str = ""
    proof: tuple[str, ...] = ()

    def effect_seen(self, step: Step, previous: Values, now: Values) -> bool:
        return self._new(previous, now) and all(
            now.get(name) == now.get(wanted) if isinstance(wanted, str) else now.get(name) in wanted
            for name, wanted in self.complete.items()
        )

    def settle(self, step: Step, previous: Values, now: Values, made: Window) -> Settled:
        if now.get(self.status) in self.proof:
            return Settled.DONE
        if self._new(previous, now):
            ours = not self.mark_at or made.holds(now.get(self.mark_at))
            return Settled.DONE if ours else Settled.UNKNOWN
        if self.mark not in now:
            return Settled.UNKNOWN
        # With a token, the API knows the second call for the first.
        return Settled.NOT_DONE if self.idempotency is Idempotency.TOKEN else Settled.NEVER_DONE

    def _new(self, previous: Values, now: Values) -> bool:
        return self.mark in now and now[self.mark] != previous.get(self.mark)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shakes(Action):
    """Leaves no trace that lasts, as a reboot: afterwards the status is `rests_at`; while under way it is `proof`."""

    rests_at: str
    proof: tuple[str, ...] = ()

    def effect_seen(self, step: Step, previous: Values, now: Values) -> bool:
        return now.get(self.status) == self.rests_at

    def settle(self, step: Step, previous: Values, now: Values, made: Window) -> Settled:
        return Settled.DONE if now.get(self.status) in self.proof else Settled.UNKNOWN


def partition_of(region: str) -> str:
    """The partition of AWS that a region is in."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"
