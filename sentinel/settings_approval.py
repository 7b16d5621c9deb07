"""The `approval:` section: who must agree to what, until when, and who is asked when nobody answers."""

import re
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, AwareDatetime, Field, field_validator, model_validator

from sentinel.remediation.actions import CATALOG
from sentinel.remediation.approval_policy import ApprovalPolicy, AutoBudget, Demand, Freeze, Hours, Risk, Rule
from sentinel.settings_base import Positive, Section

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_WHO = re.compile(r"slack:[A-Z0-9]{2,32}/[A-Z0-9]{2,32}|group:S[A-Z0-9]{1,31}|(api:)?[A-Za-z0-9._-]{1,64}")


def _who(name: str) -> str:
    if not _WHO.fullmatch(name):
        raise ValueError("slack:TEAM/USER, group:ID of a Slack user group, or api:NAME of a key")
    return name


Who = Annotated[str, AfterValidator(_who)]


def _in_slack(name: str) -> str:
    if not name.startswith(("slack:", "group:")):
        raise ValueError("slack:TEAM/USER or group:ID; for the API and CLI the scope admin of a key decides")
    return name


InSlack = Annotated[Who, AfterValidator(_in_slack)]


class BusinessHours(Section):
    """When people are at work: these days, from … to … of the local day."""

    days: Annotated[tuple[Day, ...], Field(min_length=1)] = ("mon", "tue", "wed", "thu", "fri")
    start: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] = "09:00"
    end: Annotated[str, Field(pattern=r"^(([01]\d|2[0-3]):[0-5]\d|24:00)$")] = "18:00"
    timezone: str = "UTC"

    @field_validator("timezone")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("a time zone such as Europe/Berlin") from None
        return name

    @model_validator(mode="after")
    def _forward(self) -> "BusinessHours":
        if self.start >= self.end:
            raise ValueError(f"a start before the end, got {self.start} to {self.end}")
        return self

    @property
    def hours(self) -> Hours:
        """The same as the policy knows it."""
        return Hours(
            days=frozenset(self.days),
            from_min=_minutes(self.start),
            to_min=_minutes(self.end),
            timezone=self.timezone,
        )


class FreezeWindow(Section):
    """A span in which nothing is approved; in these environments, or (none named) in all."""

    name: Annotated[str, Field(min_length=1, max_length=80)]
    start: AwareDatetime
    end: AwareDatetime
    environments: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _forward(self) -> "FreezeWindow":
        if self.start >= self.end:
            raise ValueError("a start before the end")
        return self


class Auto(Section):
    """Approval by rules alone: off unless `enabled`, and never more than `budget` plans in `per_s`."""

    enabled: bool = False
    budget: Annotated[int, Field(ge=1, le=100)] = 3
    per_s: Positive = 86_400


class RuleMatch(Section):
    """Which steps a rule is about. Globs; what is left out matches anything."""

    runbook: str = "*"
    action: str = "*"
    environment: str = "*"
    risk: Risk | None = None
    hours: Literal["any", "business", "outside"] = "any"


class ApprovalRule(Section):
    """What steps that match demand; what is left out is as `approval:` itself says."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    match: RuleMatch = RuleMatch()
    required: Annotated[int, Field(ge=1, le=10)] | None = None
    approvers: tuple[Who, ...] | None = None
    requester_may: bool | None = None
    expires_after_s: Positive | None = None
    remind_every_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    escalate_to: tuple[Who, ...] | None = None
    escalate_after_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    auto: bool = False


class Approval(Section):
    """Who must agree, and until when. Rules are tried in order; the first that fits a step holds for it."""

    required: Annotated[int, Field(ge=1, le=10)] = 1
    approvers: tuple[Who, ...] = ()
    admins: tuple[InSlack, ...] = ()  # who may resume from Slack what the kill switch holds
    requester_may: bool = True
    expires_after_s: Positive = 900
    start_within_s: Positive = 600
    remind_every_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 300
    escalate_to: tuple[Who, ...] = ()
    escalate_after_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 600
    environments: Mapping[str, tuple[str, ...]] = {}
    business_hours: BusinessHours | None = None
    freezes: tuple[FreezeWindow, ...] = ()
    auto: Auto = Auto()
    rules: tuple[ApprovalRule, ...] = ()
    hourly_cost: Mapping[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = {}  # USD a task, by target glob

    @property
    def policy(self) -> ApprovalPolicy:
        """The same as the approval stage knows it."""
        auto = AutoBudget(most=self.auto.budget, per_ms=round(self.auto.per_s * 1000)) if self.auto.enabled else None
        return ApprovalPolicy(
            default=self._demand(None),
            rules=tuple(
                Rule(
                    name=rule.name,
                    demand=self._demand(rule),
                    runbook=rule.match.runbook,
                    action=rule.match.action,
                    environment=rule.match.environment,
                    risk=rule.match.risk,
                    hours=rule.match.hours,
                )
                for rule in self.rules
            ),
            environments=dict(self.environments),
            business_hours=self.business_hours.hours if self.business_hours else None,
            freezes=tuple(
                Freeze(
                    name=each.name,
                    from_ms=round(each.start.timestamp() * 1000),
                    to_ms=round(each.end.timestamp() * 1000),
                    environments=frozenset(each.environments),
                )
                for each in self.freezes
            ),
            auto=auto,
            start_within_ms=round(self.start_within_s * 1000),
        )

    def _demand(self, rule: ApprovalRule | None) -> Demand:
        said = rule.model_dump(exclude_none=True) if rule else {}
        own = {**self.model_dump(exclude={"rules"}), **said}
        return Demand(
            approvers=frozenset(own["approvers"]),
            required=own["required"],
            requester_may=own["requester_may"],
            expires_after_ms=round(own["expires_after_s"] * 1000),
            remind_every_ms=round(own["remind_every_s"] * 1000),
            escalate_to=tuple(own["escalate_to"]),
            escalate_after_ms=round(own["escalate_after_s"] * 1000),
            auto=bool(rule and rule.auto),
        )

    @model_validator(mode="after")
    def _consistent(self) -> "Approval":
        names = [rule.name for rule in self.rules]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"rules: the name {twice[0]!r} is used twice")
        for freeze in self.freezes:
            for name in freeze.environments:
                if name not in self.environments:
                    raise ValueError(f"freezes.{freeze.name}: {name!r} is not in approval.environments")
        return self


def check_rules(approval: Approval, runbooks: Collection[str]) -> None:
    """Raises ValueError for a rule that can never fit, or that asks for what cannot be."""
    for rule in approval.rules:
        where, match = f"approval.rules.{rule.name}", rule.match
        if runbooks and not any(fnmatchcase(name, match.runbook) for name in runbooks):
            raise ValueError(f"{where}.match.runbook: got {match.runbook!r}, expected one of {', '.join(runbooks)}")
        if not any(fnmatchcase(name, match.action) for name in CATALOG):
            raise ValueError(f"{where}.match.action: got {match.action!r}, expected one of {', '.join(CATALOG)}")
        known = approval.environments
        if match.environment != "*" and not any(fnmatchcase(name, match.environment) for name in known):
            raise ValueError(
                f"{where}.match.environment: got {match.environment!r}, expected one of approval.environments "
                f"({', '.join(known) or 'none is declared'})"
            )
        if match.hours != "any" and approval.business_hours is None:
            raise ValueError(f"{where}.match.hours: got {match.hours!r}, expected approval.business_hours beside it")
        if not rule.auto:
            continue
        if not approval.auto.enabled:
            raise ValueError(f"{where}.auto: got true, expected approval.auto.enabled: true beside it")
        if (rule.required if rule.required is not None else approval.required) != 1:
            raise ValueError(f"{where}.auto: got true, expected required: 1, for the rule is one principal")
        undoable = [name for name, each in CATALOG.items() if fnmatchcase(name, match.action) and each.reversible]
        if not undoable:
            raise ValueError(f"{where}.auto: got true for {match.action}, expected actions that can be undone")


def never_fits(approval: Approval) -> Mapping[str, str]:
    """Rules that another rule before them always takes the place of, and which."""
    shadowed: dict[str, str] = {}
    for index, rule in enumerate(approval.rules):
        for other in approval.rules[:index]:
            ours, theirs = rule.match, other.match
            wider = (
                all(
                    getattr(theirs, name) in ("*", getattr(ours, name)) for name in ("runbook", "action", "environment")
                )
                and theirs.risk in (None, ours.risk)
                and theirs.hours in ("any", ours.hours)
            )
            if wider:
                shadowed[rule.name] = other.name
                break
    return shadowed


def _minutes(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)
