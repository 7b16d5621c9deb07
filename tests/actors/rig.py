"""The stages as plain objects on ports in memory: no Ray, no socket, and a clock that a test turns."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from actors.approval import ApprovalActor
from actors.cards import Cards
from actors.correlation import CorrelationActor
from actors.execution import ExecutionActor
from actors.journal import JournalActor
from actors.proposing import Proposing
from actors.steps import StepRunner
from sentinel.adapters.in_memory import (
    InMemoryIncidentMemory,
    InMemoryJournalStore,
    InMemoryMessenger,
)
from sentinel.adapters.in_memory_cloud import InMemoryCloud
from sentinel.adapters.preflight import CloudPreflight
from sentinel.adapters.slack_card import card
from sentinel.clock import ManualClock
from sentinel.correlation.policy import CorrelationPolicy
from sentinel.correlation.topology import Seen, topology_of
from sentinel.detection.anomaly import Anomaly, Condition, SeriesHealth
from sentinel.errors import SentinelError
from sentinel.ids import Fingerprint, IncidentId
from sentinel.incidents import facts as f
from sentinel.incidents.audit import verify
from sentinel.incidents.nouns import SENTINEL, Incident, Plan, PlanRecord, Step
from sentinel.ports import Cloud, IncidentMemory
from sentinel.remediation.approval import Provenance
from sentinel.remediation.approval_policy import ApprovalPolicy, Demand
from sentinel.remediation.planner import PlanPolicy
from sentinel.remediation.proof import unproven
from sentinel.remediation.runbooks import Runbook, Use
from sentinel.remediation.safety import Limits
from sentinel.remediation.sealing import CARD, value_mac
from sentinel.telemetry.series import identify
from tests.unit.incidents.make import CLUSTER, ID, INSTANCE, T0, approved, opened

LIMITS = Limits(ec2_instances=frozenset({INSTANCE}), ecs_clusters=frozenset({CLUSTER}))
SCALE_OUT = Runbook(
    name="scale-out",
    uses=(Use(action="ecs.scale_service", params={"cluster": CLUSTER, "service": "{service}", "desired_count": 4}),),
)
SHOP = topology_of({"web": ("checkout",), "checkout": ("payments",)})
POLICY = CorrelationPolicy(
    group_wait_s=10, group_window_s=300, resolve_after_s=60, dedup_window_s=1800, dedup_similarity=0.8, recall_limit=3
)


Hook = Callable[[str], None]
KEY = b"a key for tests, 32 bytes of it.."


def clicked(on: Plan, *, ts: str = "1.000000", digest: str = "", **changes: Any) -> Provenance:
    """A click on the card of `on` in the chat in memory, with the value that its button had."""
    given = {"channel": "C0MEMORY", "ts": ts, "mac": value_mac(KEY, on.plan_id, digest or on.digest, CARD), **changes}
    return Provenance(method="Slack button", evidence="a signed click", audience=CARD, **given)


def _nothing(_name: str) -> None:
    return None


class Killed(BaseException):
    """The process ends here: no handler of the code under test runs on."""


class Book:
    """The detectors as a book that a test writes: how each series is, and what is unusual."""

    def __init__(self) -> None:
        self.conditions: dict[Fingerprint, Condition] = {}
        self.otherwise = Condition.NORMAL
        self.anomalies: list[Anomaly] = []
        self.errors: list[SentinelError] = []
        self.asked: list[Mapping[str, Sequence[Fingerprint]]] = []
        self.calls = Seen(frozenset(), frozenset())
        self.when_asked: Callable[[], None] = lambda: None

    async def open_anomalies(self) -> list[Anomaly]:
        self._raise()
        return list(self.anomalies)

    async def health(self, watched: Mapping[str, Sequence[Fingerprint]]) -> list[SeriesHealth]:
        self._raise()
        self.asked.append(watched)
        self.when_asked()
        return [
            SeriesHealth(
                fingerprint=each,
                condition=self.conditions.get(each, self.otherwise),
                last_at_ms=T0 + 60_000,
                last_score=1.0,
            )
            for fingerprints in watched.values()
            for each in fingerprints
        ]

    async def seen(self) -> Seen:
        self._raise()
        return self.calls

    def _raise(self) -> None:
        if self.errors:
            raise self.errors.pop(0)


class Proxy:
    """Stands before a part of the system: `before` and `after` are called with the name of each method called."""

    def __init__(self, part: object, *, before: Hook = _nothing, after: Hook = _nothing) -> None:
        self._part, self._before, self._after = part, before, after

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._part, name)
        if asyncio.iscoroutinefunction(method):

            async def awaited(*args: object, **kwargs: object) -> object:
                self._before(name)
                answer = await method(*args, **kwargs)
                self._after(name)
                return answer

            return awaited

        def called(*args: object, **kwargs: object) -> object:
            self._before(name)
            answer = method(*args, **kwargs)
            self._after(name)
            return answer

        return called


class Rig:
    """One journal, one cloud, one book of health, one clock; actors are made on them as often as a test wants."""

    def __init__(self) -> None:
        self.clock = ManualClock(T0)
        self.store = InMemoryJournalStore()
        self.journal = JournalActor(self.store)
        self.cloud = InMemoryCloud(clock=self.clock)
        self.cloud.add_service(CLUSTER, "checkout", 2)
        self.cloud.add_instance(INSTANCE)
        self.book = Book()
        self.trail_within_s = 900.0
        self.memory: Any = InMemoryIncidentMemory()
        self.messenger: Any = InMemoryMessenger()

    def execution(
        self,
        owner: str = "a",
        *,
        journal: Any = None,
        cloud: Cloud | None = None,
        limits: Limits = LIMITS,
        clock: ManualClock | None = None,
        prove: Callable[[PlanRecord], str] = lambda record: unproven(record, lambda _plan_id, _verdict: ""),
    ) -> ExecutionActor:
        """An executor in a process of its own name."""
        clock = clock or self.clock
        return ExecutionActor(
            journal=journal or self.journal,
            detectors=self.book,
            runner=StepRunner(cloud or self.cloud, clock, effect_within_s=20, poll_s=1),
            limits=limits,
            prove=prove,
            clock=clock,
            owner=owner,
            start_within_ms=600_000,
            poll_s=1,
            takeover_s=35,
            trail_within_s=self.trail_within_s,
        )

    def approval(self, *, required: int = 1, journal: Any = None, cards: bool = True, **kwargs: Any) -> ApprovalActor:
        """An approval actor with one runbook, which scales."""
        journal = journal or self.journal
        policy = kwargs.get("policy", ApprovalPolicy(default=Demand(required=required)))
        render = Cards(
            journal, self.messenger, lambda incident: card(incident, public_url="", key=KEY, policy=policy), self.clock
        )
        proposing = Proposing(
            journal=journal,
            runbooks=kwargs.get("runbooks", (SCALE_OUT,)),
            limits=kwargs.get("limits", LIMITS),
            plan_policy=PlanPolicy(approvals_required=required, expires_after_ms=900_000, dry_run=False),
            policy=policy,
            preflight=CloudPreflight(
                kwargs.get("cloud", self.cloud), region="us-east-1", whoami=lambda: "123456789012"
            ),
            directory=kwargs.get("directory"),
            key=KEY,
            clock=self.clock,
        )
        return ApprovalActor(
            journal=journal, cards=render if cards else None, proposing=proposing, key=KEY, clock=self.clock
        )

    def correlation(
        self, *, memory: IncidentMemory | None = None, journal: Any = None, silences: Any = None
    ) -> CorrelationActor:
        """A correlation actor of a small shop."""
        return CorrelationActor(
            journal=journal or self.journal,
            detectors=self.book,
            memory=memory or self.memory,
            topology=SHOP,
            policy=POLICY,
            clock=self.clock,
            silences=silences,
        )

    async def tell(self, *facts: f.Fact, incident: IncidentId = ID) -> Incident:
        """Record these facts of one incident, whatever came before them."""
        known = await self.journal.incident(incident)
        seq = known.seq if known else 0
        return await self.journal.append(incident, seq, facts, SENTINEL, self.clock.now_ms())

    async def approved(self, on: Plan) -> Incident:
        """An incident with this plan, approved."""
        return await self.tell(opened(), *approved(on))

    async def incident(self, incident: IncidentId = ID) -> Incident:
        """The incident as the store tells it, to somebody who was not there."""
        found = await JournalActor(self.store).incident(incident)
        assert found is not None
        return found

    async def plan(self, incident: IncidentId = ID) -> PlanRecord:
        """The latest plan of the incident."""
        return (await self.incident(incident)).plans[-1]

    async def kinds(self, incident: IncidentId = ID) -> list[str]:
        """The kinds of all its facts, in order."""
        return [entry.fact.kind for entry in await JournalActor(self.store).entries(incident)]

    def sent(self) -> list[str]:
        """What had an effect on the cloud, in order: action and what it asked for."""
        return [_told(step) for step, _key in self.cloud.sent]

    def chain_holds(self) -> bool:
        """Whether every record is where it was written."""
        return all(verify(self.store.read(each)) is None for each in self.store.incident_ids())


def _told(step: Step) -> str:
    wanted = step.params.get("desired_count")
    return step.action if wanted is None else f"{step.action} {wanted}"


def anomaly(
    service: str = "checkout",
    metric: str = "latency_seconds",
    *,
    started_s: float = 0,
    last_s: float | None = None,
    ended_s: float | None = None,
    score: float = 12.0,
    labels: Mapping[str, str] | None = None,
) -> Anomaly:
    """An anomaly of one series, in seconds after T0."""
    last = last_s if last_s is not None else started_s + 5
    return Anomaly(
        series=identify(metric, {"service": service, **(labels or {})}),
        direction="up",
        score=score,
        value=2.5,
        expected_low=0.1,
        expected_high=0.2,
        started_at_ms=T0 + round(started_s * 1000),
        last_at_ms=T0 + round(last * 1000),
        ended_at_ms=None if ended_s is None else T0 + round(ended_s * 1000),
    )


async def eventually(look: Callable[[], Awaitable[Any] | Any], turns: int = 500) -> Any:
    """The first true answer of `look`, asked again while other tasks get their turns."""
    for _ in range(turns):
        found = look()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        await asyncio.sleep(0.002)
    raise AssertionError(f"never came true: {look}")


async def ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel these tasks and wait until they are gone."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
