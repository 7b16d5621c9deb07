"""Every named crash point x class of action x stage, on SQLite and on PostgreSQL: another process goes on from disk.

The point is in the code itself (`sentinel.crash_points`), so a new commit or a new call cannot be forgotten here: the
last test names those at which nobody died.
"""

import contextlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from actors.journal import JournalActor
from sentinel import crash_points
from sentinel.adapters.sql_journal import SqlJournalStore
from sentinel.detection.anomaly import Condition
from sentinel.errors import Forbidden, OutcomeUnknown, SentinelError
from sentinel.incidents.facts import FACTS
from sentinel.incidents.nouns import IncidentState, Plan, PlanState, Scalar, StepState
from sentinel.remediation.actions import CATALOG, Idempotency, steps_of
from sentinel.remediation.budget import Budget
from sentinel.remediation.ledger import Rules
from sentinel.remediation.safety import Allowed, Limits
from tests.actors.rig import Killed, Rig
from tests.contract.postgres import postgres_server, postgres_url
from tests.unit.incidents.make import ANN, CLUSTER, ID, INSTANCE, plan, reboot, redeploy, restart, scale

__all__ = ["postgres_server", "postgres_url"]

LOOSE = Budget(cooldown_ms=0, per_hour=1000, per_day=1000, group_share=1.0)
AUTOMATION = steps_of(
    "ssm.start_automation", {"document": "Mend", "version": "1", "account": "123456789012", "region": "us-east-1"}
)
LIMITS = Limits(
    ec2_instances=frozenset({INSTANCE}),
    ecs_clusters=frozenset({CLUSTER}),
    allowed=(
        Allowed(
            actions=frozenset({"ssm.start_automation"}),
            arns=frozenset({"arn:aws:ssm:us-east-1:123456789012:automation-definition/Mend:1"}),
        ),
    ),
)
SERVICE = (CLUSTER, "checkout")
# Of the facts, those that the executor records; approval's are other people's.
EXECUTORS = (
    *("plan_held", "plan_expired", "execution_started", "execution_resumed", "step_started", "step_resent"),
    *("step_succeeded", "step_failed", "step_unknown", "verification_started", "rollback_started", "undo_started"),
    *("undo_resent", "undo_succeeded", "undo_failed", "plan_rolled_back", "plan_rollback_failed", "alert_cleared"),
)
POINTS = {f"{side} {what}" for side in ("before", "after") for what in (*EXECUTORS, *crash_points.OUTSIDE)}
DIED_AT: set[str] = set()


def _nothing(_rig: Rig) -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A plan, what the detector says of it, and what else happens."""

    made: Plan
    condition: Condition = Condition.NORMAL
    arrange: Callable[[Rig], None] = _nothing
    stopped: bool = False
    values: dict[str, Scalar] = field(default_factory=dict)


def undo_meets(error: SentinelError) -> Callable[[Rig], None]:
    """The first call after the detector was asked meets this error."""

    def arrange(rig: Rig) -> None:
        told: list[bool] = []

        def once() -> None:
            if not told:
                told.append(True)
                rig.cloud.fail(error, at="before_effect")

        rig.book.when_asked = once

    return arrange


def lost_and_recorded(rig: Rig) -> None:
    rig.cloud.fail(OutcomeUnknown("no answer"), at="after_effect")
    rig.cloud.trail_lag_ms = 35_000


def meddled(rig: Rig) -> None:
    rig.book.when_asked = lambda: rig.cloud.services[SERVICE].update(desired=9)


A, NOT_HELPED = plan(*reboot()), Condition.ANOMALOUS
SCENARIOS: dict[str, Scenario] = {
    "at most once": Scenario(made=A),
    "at most once, reply lost": Scenario(
        made=A, arrange=lambda rig: rig.cloud.fail(OutcomeUnknown("no answer"), at="after_effect")
    ),
    "at most once, reply lost and recorded": Scenario(made=A, arrange=lost_and_recorded),
    "at most once, refused": Scenario(
        made=A, arrange=lambda rig: rig.cloud.fail(Forbidden("AccessDenied"), at="before_effect")
    ),
    "at most once, observable": Scenario(made=plan(*redeploy())),
    "convergent": Scenario(made=plan(*restart())),
    "absolute": Scenario(made=plan(*scale())),
    "absolute, request lost": Scenario(
        made=plan(*scale()), arrange=lambda rig: rig.cloud.fail(OutcomeUnknown("reset"), at="before_effect")
    ),
    "absolute, undone": Scenario(made=plan(*scale(), verify_within_s=5), condition=NOT_HELPED),
    "absolute, undo lost": Scenario(
        made=plan(*scale(), verify_within_s=5), condition=NOT_HELPED, arrange=undo_meets(OutcomeUnknown("reset"))
    ),
    "absolute, undo refused": Scenario(
        made=plan(*scale(), verify_within_s=5), condition=NOT_HELPED, arrange=undo_meets(Forbidden("AccessDenied"))
    ),
    "absolute, somebody meddled": Scenario(
        made=plan(*scale(), verify_within_s=5), condition=NOT_HELPED, arrange=meddled
    ),
    "token": Scenario(made=plan(*AUTOMATION)),
    "three steps, undone": Scenario(made=plan(*scale(), *restart(), verify_within_s=5), condition=NOT_HELPED),
    "rehearsal": Scenario(made=plan(*restart(), dry_run=True)),
    # Two seconds before the approval is too old: it is held, and then expires.
    "held": Scenario(made=A, stopped=True, arrange=lambda rig: rig.clock.advance(598)),
}


class Place:
    """A database that is emptied between two lives; each process opens it anew."""

    def __init__(self, url: str, fresh: Callable[[], None]) -> None:
        self.url, self.fresh = url, fresh


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
        SqlJournalStore(url).close()
        engine = create_engine(url)

        def emptied() -> None:
            with engine.begin() as connection:
                connection.execute(text("TRUNCATE entries, claims, effects, switches"))

        yield Place(url, emptied)
        engine.dispose()
        return
    # What is tried here is the order of commits, not the disk: memory is many times faster.
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as directory:
        file, empty = Path(directory) / "journal.db", Path(directory) / "empty.db"
        SqlJournalStore(f"sqlite:///{empty}").close()

        def copied() -> None:
            for old in Path(directory).glob("journal.db*"):
                old.unlink()
            shutil.copy(empty, file)

        yield Place(f"sqlite:///{file}", copied)


@pytest.fixture(autouse=True)
def nobody_watches() -> Iterator[None]:
    yield
    crash_points.watch(None)


class Fuse:
    """Ends the life at the n-th point that is passed."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, point: str) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed(point)


async def life(rig: Rig, place: Place, owner: str, made: Plan, fuse: Fuse | None) -> str:
    """One process from its start to its end, or to the point where the fuse ends it."""
    store = SqlJournalStore(place.url)
    rig.store = store
    rig.journal = JournalActor(store, rules=Rules(budget=LOOSE, limits=LIMITS))
    executor = rig.execution(owner, limits=LIMITS)
    crash_points.watch(fuse)
    try:
        await executor.carry_out(ID, made.plan_id)
    except Killed as killed:
        return str(killed)
    finally:
        crash_points.watch(None)
        store.close()
    return ""


async def begun(place: Place, scenario: Scenario) -> Rig:
    """A world with the plan approved."""
    place.fresh()
    rig = Rig()
    rig.cloud.looks_to_converge = 1
    rig.cloud.others["Mend"] = {"document": "Mend", "execution_id": "", "execution_status": ""}
    rig.book.otherwise = scenario.condition
    store: Any = SqlJournalStore(place.url)
    rig.store, rig.journal = store, JournalActor(store)
    await rig.approved(scenario.made)
    if scenario.stopped:
        await rig.journal.turn_kill_switch(True, ANN, "wait", rig.clock.now_ms())
    store.close()
    scenario.arrange(rig)
    return rig


def judged(rig: Rig, place: Place, scenario: Scenario, where: str) -> PlanState:
    """Invariants I1 to I4 and I7 of one world that came to its end."""
    store = SqlJournalStore(place.url)
    journal = JournalActor(store)
    incident = journal._incidents[ID]
    record = incident.plans[-1]
    assert not record.state.live, where
    assert incident.state in (IncidentState.RESOLVED, IncidentState.ESCALATED), where
    assert not {step.state for step in record.steps} & {StepState.STARTED, StepState.UNDO_STARTED}, where
    calls = Counter((step.action, key) for step, key in rig.cloud.sent)
    for (action, _key), count in calls.items():
        if CATALOG[action].idempotency is Idempotency.AT_MOST_ONCE:
            assert count == 1, where
    effects = Counter(key for _step, key in rig.cloud.sent)
    planned = {f"{scenario.made.plan_id}.s{n}" for n in range(len(scenario.made.steps))}
    assert set(effects) <= planned | {f"{key}.undo" for key in planned}, where
    if scenario.made.dry_run or scenario.stopped:
        assert not effects, where
    if record.state is PlanState.SUCCEEDED:
        assert set(effects) == planned, where
    if record.state is PlanState.ROLLED_BACK and not scenario.made.dry_run:
        assert all(values["desired"] == 2 for values in rig.cloud.services.values()), where
        assert all(values["state"] == "running" for values in rig.cloud.instances.values()), where
    if rig.cloud.others["Mend"]["execution_id"]:
        assert len(rig.cloud._tokens) == 1, where
    rig.store = store
    assert rig.chain_holds(), where
    with store.database.engine.connect() as connection:
        running = connection.scalar(text("SELECT count(*) FROM claims WHERE ended_at_ms IS NULL"))
        sent = set(connection.scalars(text("SELECT key FROM effects")))
    assert running == 0, where
    assert set(effects) <= sent, where
    store.close()
    return record.state


@pytest.mark.timeout(60)
@pytest.mark.parametrize("case", SCENARIOS)
async def test_wherever_it_dies_another_goes_on_and_nothing_is_done_twice(place: Place, case: str) -> None:
    scenario = SCENARIOS[case]
    for at in range(1000):
        rig = await begun(place, scenario)
        died = await life(rig, place, "first", scenario.made, Fuse(at))
        if not died:
            assert at > 3, "the fuse is in the way of the work"
            break
        DIED_AT.add(died)
        # Every third successor dies as well, somewhere.
        if at % 3 == 0:
            with contextlib.suppress(Killed):
                DIED_AT.add(await life(rig, place, "second", scenario.made, Fuse(at % 11)))
        assert await life(rig, place, "last", scenario.made, None) == ""
        judged(rig, place, scenario, f"{case}, {died}, point {at}")
    else:
        raise AssertionError("it never came to its end")


def test_somebody_died_at_every_point() -> None:
    if len(DIED_AT) < 20:
        pytest.skip("only counts after the whole file has run")
    assert set() == POINTS - DIED_AT
    assert {point.partition(" ")[2] for point in POINTS} <= {*FACTS, *crash_points.OUTSIDE}
