"""What is told of an incident: its headline, what came of it, and which memories are worth showing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sentinel.correlation.alerts import harmful, state, subject
from sentinel.ids import IncidentId
from sentinel.incidents.nouns import Alert, Incident, IncidentState, PlanState, Similar, Suspect

MIN_SIMILARITY = 0.5  # B-cubed precision of the signature was .65 there: one in three is another fault
_TITLE_ITEMS = 3


class OutcomeKind(StrEnum):
    """What became of an incident, in the words people read."""

    FIXED = "fixed by its plan"
    REHEARSED = "resolved after a dry run"
    NOT_HELPED = "resolved after its plan did not help"
    NO_PLAN = "resolved without a plan"
    UNRESOLVED = "not resolved yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What is remembered of an incident's end. `fixed_by` lists the steps only where they fixed it."""

    outcome: OutcomeKind
    runbook: str | None
    fixed_by: tuple[str, ...]
    recovery_ms: int | None


def title_of(alerts: Sequence[Alert], suspects: Sequence[Suspect]) -> str:
    """A headline such as `payments: cpu high, checkout latency high`; the first suspect leads it."""
    loudest_first = sorted(alerts, key=lambda alert: (-alert.severity.rank, -alert.score))
    told = [alert for alert in loudest_first if harmful(alert)] or loudest_first
    root = suspects[0].service if suspects else next((subject(alert) for alert in told), "unknown")
    own = [state(alert) for alert in told if subject(alert) == root]
    others = [f"{subject(alert)} {state(alert)}" for alert in told if subject(alert) != root]
    items = list(dict.fromkeys(own + others))
    more = f" and {len(items) - _TITLE_ITEMS} more" if len(items) > _TITLE_ITEMS else ""
    return f"{root}: {', '.join(items[:_TITLE_ITEMS])}{more}"


def outcome_of(incident: Incident) -> Outcome:
    """What came of `incident`: the plan that fixed it, or the last one tried, and how long recovery took."""
    succeeded = next((record for record in reversed(incident.plans) if record.state is PlanState.SUCCEEDED), None)
    tried = next((record for record in reversed(incident.plans) if record.started_at_ms is not None), None)
    record = succeeded or tried
    fixed_by: tuple[str, ...] = ()
    if incident.state is not IncidentState.RESOLVED:
        kind = OutcomeKind.UNRESOLVED
    elif record is None:
        kind = OutcomeKind.NO_PLAN
    elif succeeded is None:
        kind = OutcomeKind.NOT_HELPED
    elif succeeded.plan.dry_run:
        kind = OutcomeKind.REHEARSED
    else:
        kind = OutcomeKind.FIXED
        fixed_by = tuple(f"{step.action} {step.target}" for step in succeeded.plan.steps)
    resolved = incident.resolved_at_ms
    return Outcome(
        outcome=kind,
        runbook=record.plan.runbook if record else None,
        fixed_by=fixed_by,
        recovery_ms=None if resolved is None else resolved - incident.opened_at_ms,
    )


def worth_telling(similar: Iterable[Similar], about: IncidentId, limit: int) -> tuple[Similar, ...]:
    """Up to `limit` memories to show beside incident `about`, best first: alike enough, and not itself."""
    alike = [each for each in similar if each.similarity >= MIN_SIMILARITY and each.incident_id != about]
    alike.sort(key=lambda each: (-each.similarity, -each.at_ms))
    return tuple(alike[:limit])
