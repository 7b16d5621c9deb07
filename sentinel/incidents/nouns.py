"""What an incident is made of. Values only: every class here is frozen."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from sentinel.ids import Fingerprint, IncidentId
from sentinel.incidents.plans import LIVE_PLAN_STATES as LIVE_PLAN_STATES  # noqa: PLC0414 offered here
from sentinel.incidents.plans import SENTINEL as SENTINEL  # noqa: PLC0414 offered here
from sentinel.incidents.plans import Plan as Plan  # noqa: PLC0414 offered here
from sentinel.incidents.plans import PlanRecord as PlanRecord  # noqa: PLC0414 offered here
from sentinel.incidents.plans import PlanState as PlanState  # noqa: PLC0414 offered here
from sentinel.incidents.plans import Principal as Principal  # noqa: PLC0414 offered here
from sentinel.incidents.plans import Scalar as Scalar  # noqa: PLC0414 offered here
from sentinel.incidents.plans import Seen as Seen  # noqa: PLC0414 offered here
from sentinel.incidents.plans import Step as Step  # noqa: PLC0414 offered here
from sentinel.incidents.plans import StepRecord as StepRecord  # noqa: PLC0414 offered here
from sentinel.incidents.plans import StepState as StepState  # noqa: PLC0414 offered here
from sentinel.incidents.plans import Verdict as Verdict  # noqa: PLC0414 offered here


class Direction(StrEnum):
    """Where the value went."""

    UP = "up"
    DOWN = "down"


class Severity(StrEnum):
    """How bad it is, worst last."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for the mildest."""
        return list(Severity).index(self)


class IncidentState(StrEnum):
    """Where an incident stands; `transitions.INCIDENT` says what may follow."""

    OPEN = "open"
    MITIGATING = "mitigating"
    ESCALATED = "escalated"
    RESOLVED = "resolved"


DETECTOR = "detector"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Anomalies of one fingerprint over a span; `ended_at_ms` is set once the series is back.

    `value` was outside the expected band [`expected_low`, `expected_high`]; `score` is in
    spreads of the series (robust standard deviations). An alert that somebody else raised (`origin` names the
    system, such as `alertmanager`) has neither value nor band, a score that stands for its severity, and what
    its `note` says; it is over when that system says so.

    `change` is how far, in the same spreads, the value moved from where it was just before. None where that was normal,
    as when a detector opens an anomaly: then the score says it all, and ranking needs no other history.
    """

    fingerprint: Fingerprint
    service: str
    metric: str
    kind: str
    direction: Direction
    severity: Severity
    score: float
    value: float | None
    expected_low: float | None
    expected_high: float | None
    labels: Mapping[str, str]
    started_at_ms: int
    last_at_ms: int
    ended_at_ms: int | None = None
    origin: str = DETECTOR
    note: str = ""
    change: float | None = None

    @property
    def open(self) -> bool:
        """Whether the series is still anomalous as far as is recorded."""
        return self.ended_at_ms is None

    @property
    def from_outside(self) -> bool:
        """Whether another system raised it: then no detector knows its series."""
        return self.origin != DETECTOR


def merge(old: Alert, new: Alert) -> Alert:
    """Two spans of one fingerprint as one: earliest start, newest end, the worst of severity and score.

    The later of the two says whether the alert is still open, for it knows more.
    """
    earlier, later = sorted((old, new), key=lambda alert: alert.last_at_ms)
    worst = max(old, new, key=lambda alert: alert.score)
    return replace(
        worst,
        severity=max(old.severity, new.severity, key=lambda severity: severity.rank),
        started_at_ms=min(old.started_at_ms, new.started_at_ms),
        last_at_ms=later.last_at_ms,
        ended_at_ms=later.ended_at_ms if earlier.last_at_ms < later.last_at_ms else new.ended_at_ms,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something that people or pipelines did to a service, such as a deploy."""

    at_ms: int
    service: str
    title: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A likely cause: a service, its rank score and why, in words."""

    service: str
    score: float
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Similar:
    """A past incident that looked alike, and what became of it.

    `similarity` is the weighted mean of three cosines: of the signatures, of what is wrong wherever it is (`shape`),
    and of the words (`text`). `why` says which spoke for it; `rejected` why people did not want the plan of then.
    """

    incident_id: IncidentId
    similarity: float
    title: str
    at_ms: int
    outcome: str
    runbook: str | None
    fixed_by: tuple[str, ...]
    recovery_ms: int | None
    why: str = ""
    rejected: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What a principal said of an incident and another: the same fault, or not. Every later decision honours it.

    `alerts` are those of the other side, `against` those of this one, as they were then: the signatures follow from
    them, whatever version makes these.
    """

    same: bool
    other_id: IncidentId
    alerts: tuple[Alert, ...]
    against: tuple[Alert, ...]
    principal: Principal
    reason: str
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Where people see the incident: a Slack message. `ts` is empty where it cannot be updated.

    `shows` is the state it told of when it was posted.
    """

    channel: str
    ts: str
    shows: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """What people would call the outage: alerts that belong together, one live plan at most.

    `told_seq` is the last entry that the thread below its card tells of.
    While it is `silenced`, people are not told and nothing is planned; `silenced_by` names the silence even after.
    """

    id: IncidentId
    state: IncidentState
    seq: int
    title: str
    severity: Severity
    services: tuple[str, ...]
    alerts: tuple[Alert, ...]
    suspects: tuple[Suspect, ...]
    similar: tuple[Similar, ...]
    reason: str
    memory_note: str
    previous_id: IncidentId | None
    opened_at_ms: int
    updated_at_ms: int
    resolved_at_ms: int | None = None
    state_reason: str = ""
    occurrences: int = 1
    plans: tuple[PlanRecord, ...] = ()
    cards: tuple[Card, ...] = field(default=())
    changes: tuple[Change, ...] = ()
    acknowledged_by: str = ""
    told_seq: int = 0
    corrections: tuple[Correction, ...] = ()
    merged_into: IncidentId | None = None
    silenced_by: str = ""
    silenced: bool = False

    @property
    def live_plan(self) -> PlanRecord | None:
        """The one plan that is not at its end, if there is one."""
        return next((record for record in self.plans if record.state.live), None)

    def plan(self, plan: str) -> PlanRecord | None:
        """The record of a plan of this incident, by plan id."""
        return next((record for record in self.plans if record.plan.plan_id == plan), None)

    @property
    def last_seen_ms(self) -> int:
        """When the incident last showed itself."""
        return max((alert.last_at_ms for alert in self.alerts), default=self.opened_at_ms)
