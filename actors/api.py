"""What the stages ask of one another, as Protocols: kept by the plain classes and by their handles alike."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from actors.journal import Followed
from sentinel.detection.anomaly import Anomaly, SeriesHealth
from sentinel.ids import Fingerprint, IncidentId
from sentinel.incidents.audit import Break
from sentinel.incidents.facts import Entry, Fact
from sentinel.incidents.nouns import Incident, IncidentState, Principal


class Journal(Protocol):
    """See `actors.journal.JournalActor`."""

    async def append(
        self, incident_id: IncidentId, expected_seq: int, facts: Sequence[Fact], principal: Principal, at_ms: int
    ) -> Incident: ...

    async def incident(self, incident_id: IncidentId) -> Incident | None: ...

    async def unresolved(self) -> list[Incident]: ...

    async def incidents(
        self,
        state: IncidentState | None = None,
        service: str | None = None,
        limit: int = 50,
        before: IncidentId | None = None,
    ) -> list[Incident]: ...

    async def entries(self, incident_id: IncidentId) -> list[Entry]: ...

    async def position(self) -> int: ...

    async def follow(self, after: int, timeout_s: float) -> Followed: ...

    async def audit(self) -> list[Break]: ...

    async def ping(self) -> str: ...


class Detectors(Protocol):
    """All detection actors as one."""

    async def open_anomalies(self) -> list[Anomaly]: ...

    async def health(self, watched: Mapping[str, Sequence[Fingerprint]]) -> list[SeriesHealth]:
        """How the series are now, asked by service."""
        ...


class Correlation(Protocol):
    """See `actors.correlation.CorrelationActor`."""

    async def submit(self, anomalies: Sequence[Anomaly]) -> None: ...


class Approval(Protocol):
    """See `actors.approval.ApprovalActor`."""

    async def decide(
        self,
        plan_id: str,
        digest: str,
        decision: Literal["approve", "reject"],
        principal: Principal,
        reason: str,
        evidence: str,
    ) -> str: ...

    async def withdraw(
        self, plan_id: str, digest: str, verb: Literal["cancel", "abort"], principal: Principal, reason: str
    ) -> str: ...

    async def close(
        self, incident_id: str, verb: Literal["resolve", "escalate"], principal: Principal, reason: str
    ) -> str: ...
