"""The parts of `executor:` that are lists: other accounts, clusters, the allow-list and when nothing is done."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, field_validator, model_validator

from sentinel.errors import Invalid
from sentinel.remediation.actions import action_named
from sentinel.remediation.budget import Freeze
from sentinel.remediation.safety import Allowed
from sentinel.settings_base import Section

REGION = r"^[a-z]{2}(-[a-z]+)+-\d$"
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TIME = r"^([01]\d|2[0-3]):[0-5]\d$|^24:00$"


def known_actions(names: Iterable[str]) -> tuple[str, ...]:
    """The names, each of which is an action, a compound one with those it is made of.

    Raises ValueError, which lists those there are.
    """
    try:
        found = [action_named(name) for name in names]
    except Invalid as error:
        raise ValueError(str(error)) from None
    return tuple(dict.fromkeys(name for action in found for name in (action.name, *action.expands_to)))


class AwsAccount(Section):
    """Another account, and the role to assume there; its owner may ask for an external id."""

    account: Annotated[str, Field(pattern=r"^\d{12}$")]
    role_arn: Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+$")]
    external_id: str = ""

    @model_validator(mode="after")
    def _same_account(self) -> "AwsAccount":
        if f":{self.account}:" not in self.role_arn:
            raise ValueError(f"a role_arn of account {self.account}")
        return self


class KubernetesEntry(Section):
    """A cluster by the name that steps use. Without a context: the one that Sentinel itself runs in."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,100}$")]
    context: str = ""
    kubeconfig: str = ""


class AllowRule(Section):
    """These actions, on these ARNs or on what carries all of these tags. An empty selector allows nothing."""

    actions: Annotated[tuple[str, ...], Field(min_length=1)]
    arns: tuple[str, ...] = ()
    tags: Mapping[str, str] = {}
    account: Annotated[str, Field(pattern=r"^(\d{12})?$")] = ""
    region: Annotated[str, Field(pattern=r"^([a-z]{2}(-[a-z]+)+-\d)?$")] = ""
    dry_run: bool = False

    @field_validator("actions")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return known_actions(names)

    @field_validator("arns")
    @classmethod
    def _exact(cls, arns: tuple[str, ...]) -> tuple[str, ...]:
        for arn in arns:
            # The middle of an Auto Scaling group's ARN is drawn by AWS, and a step does not know it.
            exact = re.sub(r":autoScalingGroup:\*:", ":autoScalingGroup::", arn)
            if "*" in exact or "?" in exact or not arn.startswith(("arn:aws", "kubernetes:")):
                raise ValueError(
                    f"whole ARNs without wildcards, or kubernetes:CLUSTER/NAMESPACE/KIND/NAME; got {arn!r}"
                )
        return arns

    @model_validator(mode="after")
    def _selects(self) -> "AllowRule":
        if not self.arns and not self.tags:
            raise ValueError("arns or tags: a rule without either allows nothing")
        if self.tags and not (self.account and self.region):
            raise ValueError("account and region beside tags")
        return self

    @property
    def rule(self) -> Allowed:
        """The same as the safety checks know it."""
        return Allowed(
            actions=frozenset(self.actions),
            account=self.account,
            region=self.region,
            arns=frozenset(self.arns),
            tags=dict(self.tags),
            dry_run=self.dry_run,
        )


class FreezeEntry(Section):
    """A time in which no plan starts: from one moment to another, or every week on these days (UTC)."""

    reason: Annotated[str, Field(min_length=1, max_length=200)]
    starts: AwareDatetime | None = None
    ends: AwareDatetime | None = None
    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = ()
    from_time: Annotated[str, Field(pattern=_TIME)] = "00:00"
    until_time: Annotated[str, Field(pattern=_TIME)] = "24:00"

    @model_validator(mode="after")
    def _one_form(self) -> "FreezeEntry":
        if bool(self.days) == bool(self.starts and self.ends):
            raise ValueError("either starts and ends, or days")
        if self.starts and self.ends and self.starts >= self.ends:
            raise ValueError("starts before ends")
        if _minutes(self.from_time) >= _minutes(self.until_time):
            raise ValueError("from_time before until_time: a night is two entries")
        return self

    @property
    def freeze(self) -> Freeze:
        """The same as the budget knows it."""
        return Freeze(
            reason=self.reason,
            starts_ms=round(self.starts.timestamp() * 1000) if self.starts else None,
            ends_ms=round(self.ends.timestamp() * 1000) if self.ends else None,
            days=frozenset(_DAYS.index(day) for day in self.days),
            from_minute=_minutes(self.from_time),
            until_minute=_minutes(self.until_time),
        )


def _minutes(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])
