"""The wall clock of Sentinel jumps by hours while approved plans are carried out; that of the cloud's ledger does not.

What was approved may then expire, but nothing expired runs, nothing is done twice, and nothing waits for hours.
"""

import contextlib
import json
import mmap
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest

from sentinel.cli.waiting import wait_until
from sentinel.clock import SystemClock
from sentinel.incidents.nouns import PlanState
from tests.chaos.campaign import _incidents
from tests.chaos.test_store_faults import ROUNDS, carried_out

HOUR_MS = 3_600_000


class Jumping(SystemClock):
    """The machine's clock with an offset that the processes forked after it share."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, 8)

    @property
    def offset_ms(self) -> int:
        return int.from_bytes(self._shared[:], "little", signed=True)

    def jump(self, by_ms: int) -> None:
        self._shared[:] = (self.offset_ms + by_ms).to_bytes(8, "little", signed=True)

    def now_ms(self) -> int:
        return super().now_ms() + self.offset_ms


def effects(ledger: Path) -> list[str]:
    return [json.loads(line)["key"] for line in ledger.read_text(encoding="utf-8").splitlines()]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "hours", [(2,), (-2,), (3, -3), (-3, 3)], ids=["forwards", "backwards", "there-and-back", "back-and-there"]
)
def test_a_clock_that_jumps_by_hours(hours: tuple[int, ...], tmp_path: Path) -> None:
    url, ledger = f"sqlite:///{tmp_path}/journal.db", tmp_path / "ledger.jsonl"
    clock, jumps, seen = Jumping(), cycle(hours), 0

    @contextlib.contextmanager
    def jumped(_pid: int) -> Iterator[None]:
        nonlocal seen
        # Else it might meet nothing but approvals that nobody took up yet.
        wait_until(lambda: len(effects(ledger)) > seen or None, 15, 0.02)
        seen = len(effects(ledger))
        clock.jump(next(jumps) * HOUR_MS)  # and stays so
        yield

    report, met = carried_out(url, tmp_path, jumped, clock=clock)

    assert report.wrong == [], report.line()
    assert met >= ROUNDS // 2, "the jump must meet plans that are under way"
    assert report.repeats == 0, report.line()
    assert report.effects >= ROUNDS // 2, report.line()
    done = {key.rpartition(".s")[0] for key in effects(ledger)}
    records = [record for incident in _incidents(url) for record in incident.plans]
    expired = {record.plan.plan_id for record in records if record.state is PlanState.EXPIRED}
    assert not expired & done, "nothing of an expired plan is ever done"
