"""Runbooks: declared remedies, when they match, and the steps they become."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from sentinel.errors import Invalid
from sentinel.incidents.nouns import Alert, Direction, Scalar, Severity, Step
from sentinel.remediation.actions import action_named, steps_of

_PLACEHOLDER = re.compile(r"\{(service|labels\.([A-Za-z0-9_.:-]+))\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One use of an action; texts may hold `{service}` and `{labels.NAME}` of the alert that matched."""

    action: str
    params: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True, kw_only=True)
class Runbook:
    """When `service` (a glob), `kind`, `direction` and at least `severity` fit an alert, do `uses` in order."""

    name: str
    service: str = "*"
    kind: str | None = None
    direction: Direction | None = None
    severity: Severity = Severity.INFO
    uses: tuple[Use, ...]
    verify_within_s: int = 300
    rollback: bool = True

    def matches(self, alert: Alert) -> bool:
        """Whether this remedy is declared for such an alert."""
        return (
            fnmatchcase(alert.service, self.service)
            and self.kind in (None, alert.kind)
            and self.direction in (None, alert.direction)
            and alert.severity.rank >= self.severity.rank
        )

    def steps(self, alert: Alert) -> tuple[Step, ...]:
        """The steps for one alert. Raises Invalid for an unknown label or a parameter out of its form."""
        steps: list[Step] = []
        for index, use in enumerate(self.uses):
            where = f"runbooks.{self.name}.steps.{index}"
            params = {name: _filled(value, alert, f"{where}.params.{name}") for name, value in use.params.items()}
            steps.extend(steps_of(use.action, params, where))
        return tuple(steps)

    def check(self) -> None:
        """Raises Invalid if an action or a parameter's name is unknown, or a fixed parameter is out of its form."""
        for index, use in enumerate(self.uses):
            where = f"runbooks.{self.name}.steps.{index}"
            action = action_named(use.action, f"{where}.action")
            # What a placeholder will hold is not known before an alert: its example stands in for it.
            known = {
                name: action.example.get(name, value) if is_open(value) else value for name, value in use.params.items()
            }
            action.check(known, f"{where}.params")


def is_open(value: Scalar) -> bool:
    """Whether the value of a parameter is only known once an alert is there."""
    return isinstance(value, str) and _PLACEHOLDER.search(value) is not None


def _filled(value: Scalar, alert: Alert, field_name: str) -> Scalar:
    if not isinstance(value, str):
        return value

    def one(match: re.Match[str]) -> str:
        label = match.group(2)
        if label is None:
            return alert.service
        if label not in alert.labels:
            raise Invalid(field_name, value, f"a label {label!r} on {alert.metric} of {alert.service}")
        return alert.labels[label]

    return _PLACEHOLDER.sub(one, value)
