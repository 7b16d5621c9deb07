"""Facts by which people correct what correlation decided, and the end of a silence that they made."""

from dataclasses import dataclass
from typing import ClassVar

from sentinel.ids import IncidentId
from sentinel.incidents.fact import Fact
from sentinel.incidents.nouns import Alert, Suspect


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldApart(Fact):
    """A principal said that some alerts are another fault: they leave for the incident `other_id`.

    Without `alerts` it is the incident `other_id` itself, as whose return this one was taken; `against` are the alerts
    that it had.
    """

    kind: ClassVar[str] = "told_apart"
    other_id: IncidentId
    alerts: tuple[Alert, ...]
    suspects: tuple[Suspect, ...]
    reason: str
    against: tuple[Alert, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldSame(Fact):
    """A principal said that the incident `other_id` is the same fault: its alerts and occurrences count here now.

    Without `alerts`, that one was over, and this one is its return; `against` are the alerts that it had.
    """

    kind: ClassVar[str] = "told_same"
    other_id: IncidentId
    alerts: tuple[Alert, ...]
    suspects: tuple[Suspect, ...]
    occurrences: int
    similarity: float
    reason: str
    against: tuple[Alert, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentMerged(Fact):
    """The incident goes on in another one, as a principal said."""

    kind: ClassVar[str] = "incident_merged"
    into: IncidentId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceEnded(Fact):
    """The silence under which the incident was kept from people is over, and it goes on: they are told now."""

    kind: ClassVar[str] = "silence_ended"
    reason: str
