"""Random kills and pauses of executor processes, checked against a ledger of effects kept outside Sentinel.

`python -m tests.chaos.campaign --kills 1000 --store sqlite` starts an executor process, kills and pauses it at random
moments while approved plans come in and are carried out, lets the last one finish, and judges the invariants of the
effects. Beside one that is paused another is started, so that two live when the first goes on. Rounds of at most 100
kills have a database each. Each process is the real thing without Ray: JournalActor and ExecutionActor on a real store;
only the fences are shorter (1 s and 1.6 s where they are 30 s and 60 s), so that a thousand lives fit into minutes.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import random
import re
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from sqlalchemy import make_url

from actors.execution import ExecutionActor
from actors.journal import JournalActor
from actors.steps import StepRunner
from sentinel.adapters.sql_journal import SqlJournalStore
from sentinel.clock import Clock, SystemClock
from sentinel.detection.anomaly import Condition
from sentinel.errors import SentinelError
from sentinel.ids import IncidentId
from sentinel.incidents import facts as f
from sentinel.incidents.audit import verify
from sentinel.incidents.nouns import SENTINEL, Incident, Plan, PlanState, StepState, Verdict
from sentinel.remediation.actions import CATALOG, Idempotency, steps_of
from sentinel.remediation.budget import Budget
from sentinel.remediation.ledger import Rules
from sentinel.remediation.proof import unproven
from sentinel.remediation.safety import Allowed, Limits
from sentinel.remediation.sealing import seal_holds, sealed
from tests.actors.rig import Book
from tests.chaos.cloud_double import SocketCloud, serve
from tests.contract.postgres import _administer
from tests.unit.incidents.make import CLUSTER, alert, opened, plan, verdict

KEY = b"the campaign's own key, no secret"
FENCE_S, TAKEOVER_S = 1.0, 1.6
TRAIL_WITHIN_S = 3.0
LIVENESS_S = 300
ROUND = 100  # kills; a longer history would take longer to replay than a life lasts
PLANS_A_KILL = 1.5
SYSTEM_CLOCK = SystemClock()
LIMITS = Limits(
    ec2_instances=frozenset(f"i-{n:05}" for n in range(100_000)),
    ecs_clusters=frozenset({CLUSTER}),
    allowed=(
        Allowed(
            actions=frozenset({"ssm.start_automation"}),
            arns=frozenset(
                f"arn:aws:ssm:us-east-1:123456789012:automation-definition/Mend{n}:1" for n in range(100_000)
            ),
        ),
    ),
)
RULES = Rules(
    budget=Budget(cooldown_ms=0, per_hour=10**6, per_day=10**6, group_share=1.0, breaker_after=10**6), limits=LIMITS
)


@dataclass(kw_only=True)
class Report:
    """What a campaign came to. Everything in `wrong` breaks an invariant."""

    plans: int = 0
    kills: int = 0
    pauses: int = 0
    effects: int = 0
    repeats: int = 0
    unknown: int = 0
    never: int = 0
    states: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def line(self) -> str:
        """For a table."""
        return (
            f"{self.plans} plans, {self.kills} kills, {self.pauses} pauses in {self.seconds:.0f} s: "
            f"{self.effects} effects, {self.repeats} harmless repeats, {self.unknown} left to people "
            f"({100 * self.unknown / max(self.kills, 1):.2f} % a kill), {self.never} known never to be done, "
            f"{dict(self.states)}, {len(self.wrong)} wrong"
        )


def made_plan(n: int, helped: bool) -> tuple[IncidentId, Plan]:
    """The n-th plan: of each class of idempotency in turn."""
    incident = IncidentId(f"inc-20231114-{n:08x}-1")
    place = {"account": "123456789012", "region": "us-east-1"}
    kinds: tuple[Callable[[], object], ...] = (
        lambda: steps_of("ec2.reboot_instance", {"instance_id": f"i-{n:05}"}),
        lambda: steps_of("ecs.scale_service", {"cluster": CLUSTER, "service": f"s{n}", "desired_count": 4}),
        lambda: steps_of("ecs.force_new_deployment", {"cluster": CLUSTER, "service": f"s{n}"}),
        lambda: steps_of("ec2.restart_instance", {"instance_id": f"i-{n:05}"}),
        lambda: steps_of("ssm.start_automation", {"document": f"Mend{n}", "version": "1", **place}),
    )
    steps = kinds[n % len(kinds)]()
    seen = alert(f"s{n}" if helped else f"bad{n}")
    return incident, plan(*steps, incident=incident, verify=(seen.fingerprint,), verify_within_s=1)  # type: ignore[misc]


def approved_plan(n: int) -> tuple[IncidentId, list[f.Fact], Plan]:
    """An incident with a plan that bears a sealed word; one in seven does not help, one in eleven is a forgery."""
    helped = n % 7 != 0
    incident, made = made_plan(n, helped)
    word = sealed(KEY if n % 11 else b"another key", made.plan_id, verdict(made))
    facts: list[f.Fact] = [
        opened(alert(f"s{n}" if helped else f"bad{n}")),
        f.PlanProposed(plan=made),
        f.ApprovalRequested(plan_id=made.plan_id, asked="by API"),
        f.VerdictGiven(plan_id=made.plan_id, verdict=word),
        f.PlanApproved(plan_id=made.plan_id, digest=made.digest, reason="approved"),
    ]
    return incident, facts, made


class Detectors(Book):
    """Whoever watches a bad service finds it bad."""

    async def health(self, watched):  # type: ignore[no-untyped-def]
        self.otherwise = Condition.ANOMALOUS if any(name.startswith("bad") for name in watched) else Condition.NORMAL
        return await super().health(watched)


def worker(url: str, cloud_path: str, lock_wait_s: float = 20, clock: Clock = SYSTEM_CLOCK) -> None:
    """One executor process, until it is killed."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    alive = Path(f"{cloud_path}.{os.getpid()}")

    def witness(plan_id: str, word: Verdict) -> str:
        return "" if seal_holds(KEY, plan_id, word) else "it does not bear our seal"

    async def run() -> None:
        while True:
            try:
                journal = JournalActor(SqlJournalStore(url, lock_wait_s=lock_wait_s), rules=RULES)
                break
            except SentinelError:
                await clock.sleep(0.05)
        executor = ExecutionActor(
            journal=journal,
            detectors=Detectors(),
            runner=StepRunner(SocketCloud(cloud_path), clock, effect_within_s=15, poll_s=0.02, send_within_s=FENCE_S),
            limits=LIMITS,
            prove=lambda record: unproven(record, witness),
            clock=clock,
            owner=f"{os.getpid()}-{clock.now_ms()}",
            start_within_ms=600_000,
            poll_s=0.05,
            takeover_s=TAKEOVER_S,
            trail_within_s=TRAIL_WITHIN_S,
        )
        await asyncio.to_thread(alive.touch)
        await executor.run()

    asyncio.run(run())


def forked(target: Callable[[], None]) -> int:
    """The pid of a child that runs `target`: everything is imported already, so it lives within milliseconds."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setpgid(0, 0)
            target()
        finally:
            os._exit(1)
    return pid


def ended(pid: int) -> None:
    """Kill and reap; a pid that is gone is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _wait_for(alive: list[Path], within_s: float) -> None:
    """Wait until each has begun: a life that is over before would try nothing."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline and not all(path.exists() for path in alive):
        time.sleep(0.01)


def _awakened(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def _stopped(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


@contextlib.contextmanager
def cloud(directory: Path, seed: int) -> Iterator[tuple[str, Path]]:
    """The double, by its socket and its ledger."""
    path, ledger = str(directory / "cloud.sock"), directory / "ledger.jsonl"
    ledger.touch()
    pid = forked(lambda: serve(path, str(ledger), seed))
    try:
        while not Path(path).exists():
            time.sleep(0.01)
        yield path, ledger
    finally:
        ended(pid)


def campaign(url: str, directory: Path, report: Report, *, kills: int, pauses: int, seed: int) -> None:
    """One round: so many kills and pauses at random while plans come in; then let the rest be finished, and judge."""
    chance = random.Random(seed)
    killed, stopped = 0, 0
    plans = [approved_plan(n) for n in range(max(20, round(kills * PLANS_A_KILL)))]
    waiting = list(plans)
    report.plans += len(plans)
    store = SqlJournalStore(url, lock_wait_s=20)
    journal = JournalActor(store, rules=RULES)

    def come_in(count: int) -> None:
        async def append() -> None:
            for incident, facts, _ in [waiting.pop(0) for _ in range(min(count, len(waiting)))]:
                await journal.append(incident, 0, facts, SENTINEL, SystemClock().now_ms())

        asyncio.run(append())

    with cloud(directory, seed) as (path, ledger):
        paused: set[int] = set()
        lives = [forked(lambda: worker(url, path))]
        try:
            while killed < kills or stopped < pauses:
                come_in(chance.choice((0, 1, 1, 2, 3)))
                _wait_for([Path(f"{path}.{pid}") for pid in lives if pid not in paused], 20)
                time.sleep(chance.random() * 0.5)
                paused -= {pid for pid in paused if not _stopped(pid)}
                pid = chance.choice(lives)
                if stopped < pauses and pid not in paused and chance.random() < pauses / (kills + pauses):
                    os.kill(pid, signal.SIGSTOP)
                    paused.add(pid)
                    # By the clock, whatever this process waits for: the one that is paused may hold SQLite's lock.
                    threading.Timer(chance.random() * 3 * TAKEOVER_S, _awakened, (pid,)).start()
                    lives.append(forked(lambda: worker(url, path)))
                    stopped += 1
                elif killed < kills:
                    paused.discard(pid)
                    ended(pid)
                    lives.remove(pid)
                    killed += 1
                if not [pid for pid in lives if pid not in paused]:
                    lives.append(forked(lambda: worker(url, path)))
            come_in(len(waiting))
            for pid in paused:
                _awakened(pid)
            # Liveness: the faults have stopped, and everything must come to its end.
            deadline = time.monotonic() + LIVENESS_S
            while time.monotonic() < deadline and _live(url):
                time.sleep(0.3)
        finally:
            for pid in lives:
                ended(pid)
            store.close()
        report.kills, report.pauses = report.kills + killed, report.pauses + stopped
        judge(url, ledger, [made for _, _, made in plans], report)


def _incidents(url: str) -> list[Incident]:
    store = SqlJournalStore(url, lock_wait_s=20)
    journal = JournalActor(store)
    store.close()
    return list(journal._incidents.values())


def _live(url: str) -> bool:
    return any(incident.live_plan for incident in _incidents(url))


def judge(url: str, ledger: Path, plans: list[Plan], report: Report) -> None:
    """Invariants I1 to I4 and I7 of the effects that happened."""
    effects = [json.loads(line) for line in ledger.read_text(encoding="utf-8").splitlines()]
    report.effects += len(effects)
    by_key = Counter(effect["key"] for effect in effects)
    wanted = {f"{made.plan_id}.s{n}": step for made in plans for n, step in enumerate(made.steps)}
    store = SqlJournalStore(url, lock_wait_s=20)
    for incident_id in store.incident_ids():
        if broken := verify(store.read(incident_id)):
            report.wrong.append(f"I7 the chain of {incident_id}: {broken.reason}")
    store.close()
    records = {record.plan.plan_id: record for incident in _incidents(url) for record in incident.plans}
    for effect in effects:
        key, undo = effect["key"].removesuffix(".undo"), effect["key"].endswith(".undo")
        step = wanted.get(key)
        plan_id = key.rpartition(".s")[0]
        if step is None or step.target != effect["target"]:
            report.wrong.append(f"I3 an effect that nobody planned: {effect}")
            continue
        if not undo and dict(step.params) != effect["params"]:
            report.wrong.append(f"I2 other parameters than were approved: {effect}")
        if not undo and CATALOG[effect["action"]].idempotency is Idempotency.AT_MOST_ONCE and by_key[effect["key"]] > 1:
            report.wrong.append(f"I1 done {by_key[effect['key']]} times: {effect}")
        if int(plan_id.split("-")[2], 16) % 11 == 0:
            report.wrong.append(f"I2 a forged approval ran: {effect}")
    report.repeats += sum(count - 1 for count in by_key.values())
    for plan_id, record in records.items():
        report.states[str(record.state)] += 1
        report.reasons[re.sub(r"\d+", "N", record.ended_reason)[:90]] += 1
        if record.state.live:
            report.wrong.append(f"I4 {plan_id} is {record.state}")
        report.unknown += any(step.state is StepState.UNKNOWN for step in record.steps)
        told_never = [n for n, step in enumerate(record.steps) if "was never done" in step.detail]
        report.never += len(told_never)
        for n in told_never:
            if by_key[f"{plan_id}.s{n}"]:
                report.wrong.append(f"I1 step {n} of {plan_id} is told to be never done, and was")
        if record.state is PlanState.SUCCEEDED:
            missing = [n for n in range(len(record.plan.steps)) if not by_key[f"{plan_id}.s{n}"]]
            if missing:
                report.wrong.append(f"I1 {plan_id} succeeded, and steps {missing} never happened")
    report.wrong += [f"I4 {made.plan_id} is lost" for made in plans if made.plan_id not in records]


@contextlib.contextmanager
def _database(store: str, directory: str) -> Iterator[str]:
    """A database of one round's own."""
    if store == "sqlite":
        yield f"sqlite:///{directory}/journal.db"
        return
    server, name = make_url(store), f"campaign_{os.getpid()}_{time.monotonic_ns()}"
    _administer(server, f'CREATE DATABASE "{name}"')
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        _administer(server, f'DROP DATABASE "{name}" WITH (FORCE)')


def shares(whole: int, rounds: int) -> list[int]:
    """`whole` over so many rounds, as evenly as whole numbers allow and none left out."""
    return [(number + 1) * whole // rounds - number * whole // rounds for number in range(rounds)]


def main() -> None:
    """Run one campaign and print its line; exit code 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--pauses", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--store", default="sqlite", help="sqlite, or the URL of a PostgreSQL database whose user may create others"
    )
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    report, began = Report(), time.monotonic()
    rounds = max(1, -(-asked.kills // ROUND))
    each = zip(shares(asked.kills, rounds), shares(asked.pauses, rounds), strict=True)
    for number, (kills, pauses) in enumerate(each):
        with tempfile.TemporaryDirectory() as directory, _database(asked.store, directory) as url:
            campaign(url, Path(directory), report, kills=kills, pauses=pauses, seed=asked.seed + number)
        report.seconds = time.monotonic() - began
        sys.stdout.write(f"{number + 1} of {rounds}: {report.line()}\n")
        sys.stdout.flush()
    for reason, count in report.reasons.most_common(12):
        sys.stdout.write(f"{count:6} {reason}\n")
    sys.stdout.write("".join(f"  {each}\n" for each in report.wrong[:20]))
    sys.exit(1 if report.wrong else 0)


if __name__ == "__main__":
    main()
