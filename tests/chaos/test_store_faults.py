"""The store is locked, full or gone while approved plans are carried out: nothing is lost, doubled or left hanging.

Executors are processes as in the campaign, and are judged by the ledger of effects that is kept outside Sentinel. The
fault is real: another writer's lock, a limit on the size of files (writes fail as on a full disk), connections that
the server ends, a server that is stopped.
"""

import asyncio
import contextlib
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import make_url

from actors.journal import JournalActor
from sentinel.adapters.sql_journal import SqlJournalStore
from sentinel.clock import Clock
from sentinel.errors import Unavailable
from sentinel.incidents.nouns import SENTINEL
from tests.chaos.campaign import (
    LIVENESS_S,
    RULES,
    SYSTEM_CLOCK,
    Report,
    _live,
    _wait_for,
    approved_plan,
    cloud,
    ended,
    forked,
    judge,
    worker,
)
from tests.contract.postgres import _administer, postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]

ROUNDS, PLANS_A_ROUND, LASTS_S, LOCK_WAIT_S = 6, 4, 1.5, 0.3


@dataclass
class Executor:
    """A process that is started anew when it died, as a supervisor does."""

    url: str
    cloud: str
    pid: int = 0
    lives: int = 0
    clock: Clock = SYSTEM_CLOCK

    def live(self) -> int:
        """Its pid, once it has begun."""
        if not self.pid or os.waitpid(self.pid, os.WNOHANG)[0]:
            self.pid = forked(lambda: worker(self.url, self.cloud, lock_wait_s=LOCK_WAIT_S, clock=self.clock))
            self.lives += 1
            _wait_for([Path(f"{self.cloud}.{self.pid}")], 30)
        return self.pid


def carried_out(
    url: str,
    directory: Path,
    hurt: Callable[[int], AbstractContextManager[None]],
    *,
    still: bool = False,
    clock: Clock = SYSTEM_CLOCK,
) -> tuple[Report, int]:
    """What came of plans that came in while the store was hurt again and again, and how many rounds met a plan.

    still: nothing can be recorded meanwhile, though it can be read, which is looked at.
    """
    report, plans = Report(), [approved_plan(n) for n in range(ROUNDS * PLANS_A_ROUND)]
    report.plans, met = len(plans), 0

    def come_in(first: int) -> None:
        store = SqlJournalStore(url, lock_wait_s=20)

        async def append() -> None:
            journal = JournalActor(store, rules=RULES)
            for incident, facts, _ in plans[first : first + PLANS_A_ROUND]:
                await journal.append(incident, 0, facts, SENTINEL, clock.now_ms())

        asyncio.run(append())
        store.close()

    with cloud(directory, 7) as (path, ledger):
        executor = Executor(url, path, clock=clock)
        try:
            for number in range(ROUNDS):
                pid = executor.live()
                come_in(number * PLANS_A_ROUND)
                time.sleep(0.05 * (number + 1))
                met += _live(url)
                with hurt(pid):
                    time.sleep(0.2)  # what was under way as it began
                    before = recorded(url) if still else 0
                    time.sleep(LASTS_S)
                    assert not still or recorded(url) == before, "the fault is none"
            deadline = time.monotonic() + LIVENESS_S / 3
            while time.monotonic() < deadline and _live(url):
                executor.live()
                time.sleep(0.3)
        finally:
            ended(executor.pid)
        judge(url, ledger, [made for _, _, made in plans], report)
    return report, met


def recorded(url: str) -> int:
    store = SqlJournalStore(url, lock_wait_s=20)
    count = sum(len(store.read(each)) for each in store.incident_ids())
    store.close()
    return count


def held_up(report: Report, met: int) -> None:
    assert report.wrong == [], report.line()
    assert met >= ROUNDS // 2, "the fault must meet plans that are under way"
    assert report.effects >= report.plans // 2, report.line()
    assert report.repeats == 0, report.line()
    assert report.unknown == 0, report.line()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/journal.db"


@pytest.mark.timeout(300)
def test_a_lock_that_is_held_for_longer_than_it_is_waited_for(sqlite_url: str, tmp_path: Path) -> None:
    SqlJournalStore(sqlite_url).close()

    @contextlib.contextmanager
    def locked(_pid: int) -> Iterator[None]:
        store = SqlJournalStore(sqlite_url, lock_wait_s=20)
        with store.database.engine.begin():
            yield
        store.close()

    held_up(*carried_out(sqlite_url, tmp_path, locked, still=True))


@pytest.mark.timeout(300)
def test_a_disk_that_is_full_for_a_while(sqlite_url: str, tmp_path: Path) -> None:
    @contextlib.contextmanager
    def full(pid: int) -> Iterator[None]:
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, before[1]))
        yield
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)

    held_up(*carried_out(sqlite_url, tmp_path, full, still=True))


@pytest.mark.timeout(300)
def test_a_server_that_is_gone_for_a_while(postgres_server: str, postgres_url: str, tmp_path: Path) -> None:
    name, server = make_url(postgres_url).database, make_url(postgres_server)

    @contextlib.contextmanager
    def gone(_pid: int) -> Iterator[None]:
        _administer(server, f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
        _administer(server, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        with pytest.raises(Unavailable):
            SqlJournalStore(postgres_url)
        yield
        _administer(server, f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS true')

    held_up(*carried_out(postgres_url, tmp_path, gone))


@pytest.mark.timeout(300)
def test_a_server_that_ends_its_connections(postgres_server: str, postgres_url: str, tmp_path: Path) -> None:
    name, server = make_url(postgres_url).database, make_url(postgres_server)

    @contextlib.contextmanager
    def cut_off(_pid: int) -> Iterator[None]:
        for _ in range(10):
            _administer(server, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
            time.sleep(0.05)
        yield

    held_up(*carried_out(postgres_url, tmp_path, cut_off))
