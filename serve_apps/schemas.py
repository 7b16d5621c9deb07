"""The shapes of the small API. Nouns of the core are answered as they are; these are the envelopes round them."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from sentinel.clock import iso
from sentinel.codec import to_builtins
from sentinel.detection.explanation import Explanation
from sentinel.incidents.audit import Break
from sentinel.incidents.facts import Entry
from sentinel.incidents.nouns import Alert, Incident, Principal


class Decision(BaseModel):
    """A principal's word on a plan, bound to the digest that was shown."""

    model_config = ConfigDict(extra="forbid")
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="plan.digest as it was shown")]
    reason: Annotated[str, Field(max_length=1000)] = ""


class Narrowing(Decision):
    """A smaller value for one parameter of a plan, bound to the digest that was shown."""

    step: Annotated[int, Field(ge=0, le=100, description="the step's index, from 0")]
    parameter: Annotated[str, Field(min_length=1, max_length=100)]
    value: Annotated[int, Field(ge=0, le=1_000_000_000)]


class Reason(BaseModel):
    """Why an incident is closed or escalated by hand."""

    model_config = ConfigDict(extra="forbid")
    reason: Annotated[str, Field(max_length=1000)] = ""


class Answer(BaseModel):
    """What came of a decision, in a sentence for people."""

    answer: str


class TimelineEntry(BaseModel):
    """A fact with its place in the incident's history."""

    seq: int
    at: str
    principal: Principal
    kind: str
    fact: dict[str, Any]

    @classmethod
    def of(cls, entry: Entry) -> "TimelineEntry":
        """The entry for readers outside."""
        return cls(
            seq=entry.seq,
            at=iso(entry.at_ms),
            principal=entry.principal,
            kind=entry.fact.kind,
            fact=to_builtins(entry.fact),
        )


class IncidentPage(BaseModel):
    """Incidents, newest first; `next` is the cursor of the following page."""

    incidents: list[Incident]
    next: str | None


class IncidentDetail(BaseModel):
    """One incident whole: as it is, and how it came there."""

    incident: Incident
    timeline: list[TimelineEntry]


class Curve(BaseModel):
    """One series around an alert, as columns: Unix milliseconds, values, and the band that was expected of it.

    Outside the band a sample is beyond the threshold that opened the alert.
    """

    fingerprint: str
    metric: str
    labels: dict[str, str]
    at_ms: list[int]
    values: list[float]
    expected_low: list[float]
    expected_high: list[float]


class AlertExplained(BaseModel):
    """Why an alert is one. `curves` is empty where samples were not kept.

    For the alert of a whole service they are those of its metrics that are furthest out.
    """

    why: str
    alert: Alert
    explanation: Explanation
    curves: list[Curve]


class SwitchTurn(BaseModel):
    """What the kill switch shall be, and why."""

    model_config = ConfigDict(extra="forbid")
    stopped: StrictBool
    reason: Annotated[str, Field(max_length=1000)] = ""


class SwitchState(BaseModel):
    """The kill switch: whether nothing is sent, and who said so last, when and why."""

    stopped: bool
    reason: str
    principal: Principal | None
    at: str | None


class AuditReport(BaseModel):
    """Whether every hash chain holds."""

    intact: bool
    breaks: list[Break]


class ChainedRecord(BaseModel):
    """An entry as it lies in the store: the texts that were hashed."""

    incident_id: str
    seq: int
    at_ms: int
    principal: str
    kind: str
    body: str
    prev_hash: str
    hash: str


class AuditRecord(ChainedRecord):
    """An entry of an incident, and where it lies among those of all incidents."""

    position: int


class SwitchTurns(BaseModel):
    """Every turn of the kill switch, the first first: a chain of its own beside those of the incidents."""

    records: list[ChainedRecord]


class AuditPage(BaseModel):
    """Records in the order in which they were written; `next` is the `after` of the following page."""

    records: list[AuditRecord]
    next: int | None


class Health(BaseModel):
    """What answers and what does not. `notes` say what is lost or loud, such as a memory that is off."""

    healthy: bool
    components: dict[str, str]
    notes: list[str]
