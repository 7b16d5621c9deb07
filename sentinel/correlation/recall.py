"""What is told of an incident: its headline, what came of it, and which memories are worth showing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sentinel.correlation.alerts import harmful, state, subject
from sentinel.correlation.signature import Vectors, similarity
from sentinel.ids import IncidentId
from sentinel.incidents.nouns import Alert, Incident, IncidentState, PlanState, Similar, Suspect

MIN_SIMILARITY = 0.5  # B-cubed precision of the signature was .65 there: one in three is another fault
# What each vector weighs. The signature knows the place and the kind, `shape` the kind alone: a fault seen elsewhere
# reaches the minimum by shape and words only where both say so.
WEIGHTS = (("sig", 0.6), ("shape", 0.2), ("text", 0.2))
_WORDS = {"sig": "the same services in the same way", "shape": "the same kind of fault", "text": "the same words"}
_SPEAKS = 0.7  # a cosine from which a vector is named as a reason
_TITLE_ITEMS = 3
_TEXT = 200


class OutcomeKind(StrEnum):
    """What became of an incident, in the words people read."""

    FIXED = "fixed by its plan"
    REHEARSED = "resolved after a dry run"
    NOT_HELPED = "resolved after its plan did not help"
    REJECTED = "resolved after people rejected its plan"
    NO_PLAN = "resolved without a plan"
    UNRESOLVED = "not resolved yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What is remembered of an incident's end.

    `fixed_by` lists the steps only where they fixed it; `rejected` says why people did not want a plan.
    """

    outcome: OutcomeKind
    runbook: str | None
    fixed_by: tuple[str, ...]
    recovery_ms: int | None
    rejected: str = ""


def fused(ours: Vectors, theirs: Vectors) -> tuple[float, str]:
    """How alike two incidents are, -1 to 1, and by what, in words: the weighted mean of their vectors' cosines."""
    cosines = {name: similarity(getattr(ours, name), getattr(theirs, name)) for name, _ in WEIGHTS}
    spoke = [f"{_WORDS[name]} ({cosines[name]:.2f})" for name, _ in WEIGHTS if cosines[name] >= _SPEAKS]
    return sum(weight * cosines[name] for name, weight in WEIGHTS), ", ".join(spoke)


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
    rejected = next((each for each in reversed(incident.plans) if each.state is PlanState.REJECTED), None)
    fixed_by: tuple[str, ...] = ()
    if incident.state is not IncidentState.RESOLVED:
        kind = OutcomeKind.UNRESOLVED
    elif record is None:
        kind = OutcomeKind.REJECTED if rejected else OutcomeKind.NO_PLAN
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
        runbook=record.plan.runbook if record else rejected.plan.runbook if rejected else None,
        fixed_by=fixed_by,
        recovery_ms=None if resolved is None else resolved - incident.opened_at_ms,
        rejected=rejected.ended_reason[:_TEXT] if rejected else "",
    )


def worth_telling(similar: Iterable[Similar], about: IncidentId, limit: int) -> tuple[Similar, ...]:
    """Up to `limit` memories to show beside incident `about`, best first: alike enough, and not itself."""
    alike = [each for each in similar if each.similarity >= MIN_SIMILARITY and each.incident_id != about]
    alike.sort(key=lambda each: (-each.similarity, -each.at_ms))
    return tuple(alike[:limit])
