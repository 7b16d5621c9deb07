"""Whose alerts these are: tenant and environment. What belongs to different ones is never one incident."""

from collections.abc import Iterable
from dataclasses import dataclass

from sentinel.incidents.nouns import Alert

_TENANT = ("tenant", "tenant_id")
_ENVIRONMENT = ("environment", "env", "deployment_environment", "deployment.environment", "deployment.environment.name")


@dataclass(frozen=True, slots=True)
class Scope:
    """A tenant and an environment; empty where the labels do not say."""

    tenant: str = ""
    environment: str = ""

    def meets(self, other: "Scope") -> bool:
        """Whether both may be the same: what one of them does not say is no difference."""
        return all(
            not ours or not theirs or ours == theirs
            for ours, theirs in ((self.tenant, other.tenant), (self.environment, other.environment))
        )


ANYWHERE = Scope()


def scope_of(alerts: Iterable[Alert]) -> Scope:
    """What the first alert that says so says of its tenant, and of its environment."""
    tenant = environment = ""
    for alert in alerts:
        tenant = tenant or _label(alert, _TENANT)
        environment = environment or _label(alert, _ENVIRONMENT)
        if tenant and environment:
            break
    return Scope(tenant, environment)


def _label(alert: Alert, names: Iterable[str]) -> str:
    return next((alert.labels[name] for name in names if alert.labels.get(name)), "")
