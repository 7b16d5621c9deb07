"""How large is what a detector knows, and what does it cost to keep, find again and move it?

    python -m benchmarks.detection_state [--sizes 1000 10000 100000 200000] [--a-service 20]

Series in services of 20, and all in one service: then one partition is everything, the worst there is. Each has 70
samples and the first 1,000 have the pattern tier. Bytes are those of the arrays as allocated. `keep`: an actor writes
all its partitions to memory; `stall`: the longest that its loop did not turn meanwhile, looked at every millisecond,
and `idle` the same with nothing to do, which is what the machine itself adds. `at once`: the whole detector in one
checkpoint, in the loop. `restore`: an actor that starts reads all partitions and merges them. `to 3`: three actors do,
one after the other, each its share. `peak`: the most that `keep` has allocated at a time. Seconds, wall clock, each
once.
"""

import argparse
import asyncio
import contextlib
import time
import tracemalloc

import numpy as np

from actors.shelves import Share, Shelves
from benchmarks import report
from benchmarks.scoring.stepping import START_MS, STEP_MS, array_bytes
from sentinel.adapters.in_memory import InMemoryCheckpoints
from sentinel.detection.config import DetectorConfig
from sentinel.detection.detector import Detector
from sentinel.telemetry.batch import SampleBatch
from sentinel.telemetry.series import identify

SIZES = (1_000, 10_000, 100_000, 200_000)
SAMPLES = 70


def learned(size: int, a_service: int) -> Detector:
    """A detector past its grace."""
    detector = Detector(DetectorConfig(max_series=size))
    labels = ({"pod": f"pod-{n}", "service": f"service-{n // a_service}"} for n in range(size))
    series = {each.id: each for each in (identify("latency_seconds", each) for each in labels)}
    ids, noise = np.fromiter(series, np.uint64, size), np.random.default_rng(7)
    for tick in range(SAMPLES):
        at_ms = np.full(size, START_MS + tick * STEP_MS)
        detector.observe(SampleBatch(ids, at_ms, noise.normal(100.0, 5.0, size), {} if tick else series))
    return detector


def bytes_row(size: int, detector: Detector) -> tuple[str, ...]:
    """Bytes a series of every tier."""
    state = detector._state
    shaped = max(len(state.pattern), 1)
    described = sum(len(each.fingerprint) + len(each.metric) + len(str(each.labels)) for each in state.series)
    tiers = (state.baseline, state.season, state.policies, state.services, state.book, state.index)
    return (
        f"{size:,}",
        *(f"{array_bytes(tier) / size:,.0f}" for tier in tiers),
        f"{array_bytes(state.pattern) / shaped:,.0f}",
        f"{described / size:,.0f}",
        f"{len(detector.checkpoint()) / size:,.0f}",
    )


async def longest_stall(work: asyncio.Future[None]) -> float:
    """Seconds by which a wait of a millisecond was late, at most, until `work` is done."""
    worst = 0.0
    while not work.done():
        began = time.perf_counter()
        await asyncio.sleep(0.001)
        worst = max(worst, time.perf_counter() - began - 0.001)
    await work
    return worst


def seconds_row(size: int, services: str, detector: Detector) -> tuple[str, ...]:
    """What it takes to keep, restore and move."""
    checkpoints, share = InMemoryCheckpoints(), Share()

    async def kept() -> tuple[float, float, float]:
        shelves = Shelves(checkpoints, share)
        began = time.perf_counter()
        worst = await longest_stall(asyncio.ensure_future(shelves.keep(detector)))
        taken = time.perf_counter() - began
        return taken, worst, await longest_stall(asyncio.ensure_future(asyncio.sleep(taken)))

    taken, worst, idle = asyncio.run(kept())
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(Shelves(_Nowhere(), share).keep(detector))
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    began = time.perf_counter()
    detector.checkpoint()
    at_once = time.perf_counter() - began
    began = time.perf_counter()
    again = Shelves(checkpoints, share).restore(detector._config)
    restored = time.perf_counter() - began
    assert len(again) == size
    began = time.perf_counter()
    three = [Shelves(checkpoints, Share(index, 3)).restore(detector._config) for index in range(3)]
    moved = time.perf_counter() - began
    assert sum(map(len, three)) == size
    row = (
        f"{size:,}",
        services,
        f"{taken:.2f}",
        f"{worst * 1e3:,.0f}",
        f"{idle * 1e3:,.0f}",
        f"{at_once:.2f}",
        f"{restored:.2f}",
        f"{moved:.2f}",
        f"{peak / 1e6:,.1f}",
    )
    print(row, flush=True)
    return row


class _Nowhere(InMemoryCheckpoints):
    """Keeps nothing, so that what is kept is not counted."""

    def save(self, name: str, blob: bytes) -> None:
        del name, blob


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--a-service", type=int, default=20)
    parser.add_argument("--data", help="not used: this benchmark makes its own load")
    options = parser.parse_args()
    sizes, seconds = [], []
    for size in options.sizes:
        for services, a_service in ((f"of {options.a_service}", options.a_service), ("one", size)):
            detector = learned(size, a_service)
            if services != "one":
                sizes.append(bytes_row(size, detector))
            seconds.append(seconds_row(size, services, detector))
    head = ("series", "base", "season", "policy", "service", "alarms", "index", "pattern", "description", "checkpoint")
    more = ("series", "services", "keep, s", "stall, ms", "idle, ms", "at once, s", "restore, s", "to 3, s", "peak, MB")
    tables = f"Bytes a series\n\n{report.table(head, sizes)}\n\n{report.table(more, seconds)}"
    report.write("detection_state", "Detection, state", f"{__doc__}\n{tables}\n\n{report.machine()}")


if __name__ == "__main__":
    main()
