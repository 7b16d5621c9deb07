"""Typed wrappers round actor handles: one a stage. What a call may answer is in `handle.py`."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Literal

import ray

from actors.detection import Scored
from actors.handle import DEADLINE_S, Handle
from actors.handle import create as create  # noqa: PLC0414 offered here
from actors.journal import Followed
from actors.shelves import Share
from sentinel.correlation.silences import Silence
from sentinel.correlation.topology import Edge, Seen
from sentinel.detection.anomaly import Anomaly, SeriesHealth
from sentinel.detection.config import DetectorConfig
from sentinel.detection.curves import Explained
from sentinel.ids import Fingerprint, IncidentId
from sentinel.incidents.audit import Break, Record
from sentinel.incidents.facts import Entry, Fact
from sentinel.incidents.nouns import Incident, IncidentState, Principal
from sentinel.ports import DeadLetter, Located, Pending, Standing
from sentinel.remediation.approval import Provenance
from sentinel.remediation.switch import Switch
from sentinel.telemetry.events import Event
from sentinel.telemetry.series import partition_of

JOURNAL = "sentinel-journal"
CORRELATION = "sentinel-correlation"
APPROVAL = "sentinel-approval"
EXECUTION = "sentinel-execution"


def detection_name(index: int) -> str:
    """The name of the index-th detection actor."""
    return f"sentinel-detection-{index}"


class JournalHandle(Handle):
    """The journal actor, as `actors.api.Journal` and `actors.api.Events`."""

    def __init__(self, namespace: str) -> None:
        super().__init__(JOURNAL, namespace)

    async def append(
        self, incident_id: IncidentId, expected_seq: int, facts: Sequence[Fact], principal: Principal, at_ms: int
    ) -> Incident:
        incident: Incident = await self.call("append", incident_id, expected_seq, tuple(facts), principal, at_ms)
        return incident

    async def incident(self, incident_id: IncidentId) -> Incident | None:
        incident: Incident | None = await self.call("incident", incident_id)
        return incident

    async def those(self, incident_ids: Sequence[IncidentId]) -> list[Incident]:
        incidents: list[Incident] = await self.call("those", incident_ids)
        return incidents

    async def unresolved(self) -> list[Incident]:
        incidents: list[Incident] = await self.call("unresolved")
        return incidents

    async def incidents(
        self,
        state: IncidentState | None = None,
        service: str | None = None,
        limit: int = 50,
        before: IncidentId | None = None,
    ) -> list[Incident]:
        incidents: list[Incident] = await self.call("incidents", state, service, limit, before)
        return incidents

    async def entries(self, incident_id: IncidentId) -> list[Entry]:
        entries: list[Entry] = await self.call("entries", incident_id)
        return entries

    async def position(self) -> int:
        position: int = await self.call("position")
        return position

    async def follow(self, after: int, timeout_s: float) -> Followed:
        followed: Followed = await self.call("follow", after, timeout_s, deadline_s=timeout_s + DEADLINE_S)
        return followed

    async def audit(self) -> list[Break]:
        breaks: list[Break] = await self.call("audit", deadline_s=300.0)
        return breaks

    async def records(self, after: int, limit: int) -> list[Located]:
        records: list[Located] = await self.call("records", after, limit)
        return records

    async def switch_turns(self) -> list[Record]:
        turns: list[Record] = await self.call("switch_turns")
        return turns

    async def kill_switch(self) -> Switch:
        switch: Switch = await self.call("kill_switch")
        return switch

    async def turn_kill_switch(self, stopped: bool, principal: Principal, reason: str, at_ms: int) -> Switch:
        switch: Switch = await self.call("turn_kill_switch", stopped, principal, reason, at_ms)
        return switch

    async def receive(self, events: Sequence[Event], received_at_ms: int) -> list[bool]:
        new: list[bool] = await self.call("receive", tuple(events), received_at_ms)
        return new

    async def bury(self, letter: DeadLetter) -> bool:
        return bool(await self.call("bury", letter))

    async def pending_events(self, limit: int) -> list[Pending]:
        pending: list[Pending] = await self.call("pending_events", limit)
        return pending

    async def settle_events(self, positions: Sequence[int], at_ms: int, reason: str = "") -> None:
        await self.call("settle_events", tuple(positions), at_ms, reason)

    async def recent_changes(self, services: Sequence[str], from_ms: int, to_ms: int) -> list[Event]:
        changes: list[Event] = await self.call("recent_changes", tuple(services), from_ms, to_ms)
        return changes

    async def dead_letters(self, limit: int) -> list[DeadLetter]:
        letters: list[DeadLetter] = await self.call("dead_letters", limit)
        return letters

    async def add_silence(self, silence: Silence) -> Silence:
        added: Silence = await self.call("add_silence", silence)
        return added

    async def end_silence(self, silence_id: str, at_ms: int, by: str) -> Silence:
        ended: Silence = await self.call("end_silence", silence_id, at_ms, by)
        return ended

    async def silences(self) -> list[Silence]:
        silences: list[Silence] = await self.call("silences")
        return silences

    async def silenced_counts(self) -> Mapping[str, int]:
        counts: Mapping[str, int] = await self.call("silenced_counts")
        return counts

    async def event_standing(self) -> Mapping[str, Standing]:
        standing: Mapping[str, Standing] = await self.call("event_standing")
        return standing

    async def forget_events(self, placed_before_ms: int, dead_before_ms: int, limit: int) -> int:
        return int(await self.call("forget_events", placed_before_ms, dead_before_ms, limit))


class DetectorsHandle:
    """All detection actors as one: a service's partition says which of them to ask."""

    def __init__(self, namespace: str, *, actors: int, partitions: int) -> None:
        self._handles = [Handle(detection_name(index), namespace) for index in range(actors)]
        self._partitions = partitions

    def actor_of(self, partition: int) -> int:
        """The index of the actor that holds a partition."""
        return partition % len(self._handles)

    async def score(self, actor: int, packed: bytes) -> list[Scored]:
        """Have one actor score packed SampleBatches that were joined, and answer for each in order."""
        scored: list[Scored] = await self._handles[actor].call("score", packed)
        return scored

    async def open_anomalies(self) -> list[Anomaly]:
        found = await asyncio.gather(*(handle.call("open_anomalies") for handle in self._handles))
        return [anomaly for anomalies in found for anomaly in anomalies]

    async def health(self, watched: Mapping[str, Sequence[Fingerprint]]) -> list[SeriesHealth]:
        by_actor: dict[int, list[Fingerprint]] = {}
        for service, fingerprints in watched.items():
            actor = self.actor_of(partition_of(service, self._partitions))
            by_actor.setdefault(actor, []).extend(fingerprints)
        found = await asyncio.gather(
            *(self._handles[actor].call("health", fingerprints) for actor, fingerprints in by_actor.items())
        )
        return [health for each in found for health in each]

    async def explain(self, service: str, fingerprint: Fingerprint, from_ms: int, to_ms: int) -> Explained | None:
        """Why the newest anomaly of a series that began in the span is one; None if its detector no longer knows."""
        handle = self._handles[self.actor_of(partition_of(service, self._partitions))]
        explained: Explained | None = await handle.call("explain", fingerprint, from_ms, to_ms)
        return explained

    async def seen(self) -> Seen:
        found: list[Seen] = await asyncio.gather(*(handle.call("seen") for handle in self._handles))
        return Seen(
            frozenset().union(*(each.services for each in found)), frozenset().union(*(each.edges for each in found))
        )

    async def configure(self, config: DetectorConfig) -> None:
        """Have every detection actor judge by `config`, and hold its share of the partitions as they are now."""
        await asyncio.gather(
            *(
                handle.call("configure", config, Share(index, len(self._handles), self._partitions), deadline_s=60.0)
                for index, handle in enumerate(self._handles)
            )
        )

    async def checkpoint(self) -> None:
        """Have every detection actor keep what it knows now."""
        await asyncio.gather(*(handle.call("checkpoint") for handle in self._handles))

    async def ping(self) -> str:
        """Whether every detection actor's loop turns."""
        answers = await asyncio.gather(*(handle.ping() for handle in self._handles))
        return f"{len(answers)} detection actor{'s' if len(answers) > 1 else ''}"


def detection_actors(namespace: str) -> dict[int, Handle]:
    """The detection actors that live, by index."""
    prefix = detection_name(0).removesuffix("0")
    named = [each["name"] for each in ray.util.list_named_actors(all_namespaces=True) if each["namespace"] == namespace]
    indexes = sorted(int(name.removeprefix(prefix)) for name in named if name.startswith(prefix))
    return {index: Handle(detection_name(index), namespace) for index in indexes}


class CorrelationHandle(Handle):
    """The correlation actor, as `actors.api.Correlation`."""

    def __init__(self, namespace: str) -> None:
        super().__init__(CORRELATION, namespace)

    async def submit(self, anomalies: Sequence[Anomaly]) -> None:
        await self.call("submit", tuple(anomalies))

    async def not_duplicate(
        self, incident_id: str, fingerprints: Sequence[str], principal: Principal, reason: str
    ) -> str:
        return str(await self.call("not_duplicate", incident_id, tuple(fingerprints), principal, reason))

    async def same_as(self, incident_id: str, other_id: str, principal: Principal, reason: str) -> str:
        return str(await self.call("same_as", incident_id, other_id, principal, reason))

    async def call_graph(self) -> tuple[Sequence[Edge], Sequence[str]]:
        edges, unseen = await self.call("call_graph")
        return edges, unseen

    async def rebuild_memory(self) -> int:
        return int(await self.call("rebuild_memory", deadline_s=600.0))

    async def memory_state(self) -> str:
        """Empty if the memory of incidents works, else what is lost."""
        return str(await self.call("memory_state"))


class ApprovalHandle(Handle):
    """The approval actor, as `actors.api.Approval`."""

    def __init__(self, namespace: str) -> None:
        super().__init__(APPROVAL, namespace)

    async def decide(
        self,
        plan_id: str,
        digest: str,
        decision: Literal["approve", "reject"],
        principal: Principal,
        reason: str,
        came: Provenance,
    ) -> str:
        return str(await self.call("decide", plan_id, digest, decision, principal, reason, came))

    async def narrow(
        self, plan_id: str, digest: str, index: int, name: str, value: int, principal: Principal, came: Provenance
    ) -> str:
        return str(await self.call("narrow", plan_id, digest, index, name, value, principal, came))

    async def withdraw(
        self,
        plan_id: str,
        digest: str,
        verb: Literal["cancel", "abort"],
        principal: Principal,
        reason: str,
        came: Provenance | None = None,
    ) -> str:
        return str(await self.call("withdraw", plan_id, digest, verb, principal, reason, came))

    async def acknowledge(
        self, incident_id: str, principal: Principal, reason: str, came: Provenance | None = None
    ) -> str:
        return str(await self.call("acknowledge", incident_id, principal, reason, came))

    async def close(
        self, incident_id: str, verb: Literal["resolve", "escalate"], principal: Principal, reason: str
    ) -> str:
        return str(await self.call("close", incident_id, verb, principal, reason))

    async def prove(self, incident_id: str, principal: Principal, came: Provenance) -> None:
        await self.call("prove", incident_id, principal, came)

    async def offer(self, plan_id: str, audience: str) -> str:
        return str(await self.call("offer", plan_id, audience))


class ExecutionHandle(Handle):
    """The execution actor; it takes its work from the journal, so it is only ever pinged."""

    def __init__(self, namespace: str) -> None:
        super().__init__(EXECUTION, namespace)


def named(name: str, namespace: str) -> Handle:
    """The actor of that name, to be pinged and ended."""
    return Handle(name, namespace)
