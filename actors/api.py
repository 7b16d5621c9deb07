"""What the stages ask of one another, as Protocols: kept by the plain classes and by their handles alike."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from actors.journal import Followed
from sentinel.correlation.silences import Silence
from sentinel.correlation.topology import Edge, Seen
from sentinel.detection.anomaly import Anomaly, SeriesHealth
from sentinel.detection.curves import Explained
from sentinel.ids import Fingerprint, IncidentId
from sentinel.incidents.audit import Break, Record
from sentinel.incidents.facts import Entry, Fact
from sentinel.incidents.nouns import Incident, IncidentState, Principal
from sentinel.ports import DeadLetter, Located, Pending, Standing
from sentinel.remediation.approval import Provenance
from sentinel.remediation.switch import Switch
from sentinel.telemetry.events import Event


class Journal(Protocol):
    """See `actors.journal.JournalActor`."""

    async def append(
        self, incident_id: IncidentId, expected_seq: int, facts: Sequence[Fact], principal: Principal, at_ms: int
    ) -> Incident: ...

    async def incident(self, incident_id: IncidentId) -> Incident | None: ...

    async def those(self, incident_ids: Sequence[IncidentId]) -> list[Incident]: ...

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

    async def kill_switch(self) -> Switch: ...

    async def turn_kill_switch(self, stopped: bool, principal: Principal, reason: str, at_ms: int) -> Switch: ...

    async def records(self, after: int, limit: int) -> list[Located]: ...

    async def switch_turns(self) -> list[Record]: ...

    async def ping(self) -> str: ...


class Events(Protocol):
    """The journal's side that keeps events from outside; see `actors.journal.JournalActor`."""

    async def receive(self, events: Sequence[Event], received_at_ms: int) -> list[bool]: ...

    async def bury(self, letter: DeadLetter) -> bool: ...

    async def pending_events(self, limit: int) -> list[Pending]: ...

    async def settle_events(self, positions: Sequence[int], at_ms: int, reason: str = "") -> None: ...

    async def recent_changes(self, services: Sequence[str], from_ms: int, to_ms: int) -> list[Event]: ...

    async def dead_letters(self, limit: int) -> list[DeadLetter]: ...

    async def event_standing(self) -> Mapping[str, Standing]: ...

    async def forget_events(self, placed_before_ms: int, dead_before_ms: int, limit: int) -> int: ...


class Silences(Protocol):
    """The journal's side that keeps silences; see `actors.journal.JournalActor`."""

    async def add_silence(self, silence: Silence) -> Silence: ...

    async def end_silence(self, silence_id: str, at_ms: int, by: str) -> Silence: ...

    async def silences(self) -> list[Silence]: ...

    async def silenced_counts(self) -> Mapping[str, int]: ...


class Detectors(Protocol):
    """All detection actors as one."""

    async def open_anomalies(self) -> list[Anomaly]: ...

    async def health(self, watched: Mapping[str, Sequence[Fingerprint]]) -> list[SeriesHealth]:
        """How the series are now, asked by service."""
        ...

    async def seen(self) -> Seen:
        """The services and calls that the series speak of."""
        ...


class Explainer(Protocol):
    """The detection actors, for people; see `actors.detection.DetectionActor.explain`."""

    async def explain(self, service: str, fingerprint: Fingerprint, from_ms: int, to_ms: int) -> Explained | None: ...


class Correlation(Protocol):
    """See `actors.correlation.CorrelationActor`."""

    async def submit(self, anomalies: Sequence[Anomaly]) -> None: ...

    async def not_duplicate(
        self, incident_id: str, fingerprints: Sequence[str], principal: Principal, reason: str
    ) -> str: ...

    async def same_as(self, incident_id: str, other_id: str, principal: Principal, reason: str) -> str: ...

    async def call_graph(self) -> tuple[Sequence[Edge], Sequence[str]]: ...

    async def rebuild_memory(self) -> int: ...


class Approval(Protocol):
    """See `actors.approval.ApprovalActor`."""

    async def decide(
        self,
        plan_id: str,
        digest: str,
        decision: Literal["approve", "reject"],
        principal: Principal,
        reason: str,
        came: Provenance,
    ) -> str: ...

    async def narrow(
        self, plan_id: str, digest: str, index: int, name: str, value: int, principal: Principal, came: Provenance
    ) -> str: ...

    async def withdraw(
        self,
        plan_id: str,
        digest: str,
        verb: Literal["cancel", "abort"],
        principal: Principal,
        reason: str,
        came: Provenance | None = None,
    ) -> str: ...

    async def acknowledge(
        self, incident_id: str, principal: Principal, reason: str, came: Provenance | None = None
    ) -> str: ...

    async def close(
        self, incident_id: str, verb: Literal["resolve", "escalate"], principal: Principal, reason: str
    ) -> str: ...

    async def prove(self, incident_id: str, principal: Principal, came: Provenance) -> None: ...

    async def offer(self, plan_id: str, audience: str) -> str: ...
