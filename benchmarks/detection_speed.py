"""What does scoring and learning a sample cost, and how many bytes is a series?

    python -m benchmarks.detection_speed [--sizes 1000 10000 100000 1000000] [--pattern-sizes 1000 10000]

Each step brings one sample of every series, in order of rows: noise that does not repeat itself (a pool of 16 columns,
used before, made one sample in twenty the fastest move in memory); one in 10,000 lies far out. The kernel is the base
tier's arithmetic and state (level, season, range, score, alarm state); observe() finds the rows as well, and takes the
second looks that open and close alarms. Beside it in the same run: river's GaussianScorer, one sample at a time, and
NumPy's triad (a = b + 3 c, float64) over as many bytes as the step touches, which is what the memory allows. Median
over steps after the warm-up, wall clock, one process; `slowest` is the 99th percentile over the steps. Bytes are those
of the arrays as allocated, by series; the description of a series (name and labels) is not in them.
"""

import argparse
import asyncio
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.scoring import stepping
from benchmarks.scoring.stepping import START_MS, STEP_MS, Floats, Stepper, actor, array_bytes, described
from sentinel.telemetry.batch import MAX_PACKED_SAMPLES, SampleBatch

SIZES = (1_000, 10_000, 100_000, 1_000_000)
PATTERN_SIZES = (1_000, 10_000)
ROOMS = 5  # times the samples of a step are made before


def columns(size: int) -> Callable[[int], Floats]:
    """Noise round 100 with one sample in 10,000 far out: the samples of any tick, a window of a longer row of them."""
    noise = np.random.default_rng(7)
    values = noise.normal(100.0, 5.0, ROOMS * size)
    values[noise.integers(0, len(values), -(-len(values) // 10_000))] += 200.0
    starts = noise.integers(0, (ROOMS - 1) * size, 10_007)

    def at(tick: int) -> Floats:
        start = starts[tick % len(starts)]
        return values[start : start + size]

    return at


def timed(act: Callable[[int], object], warm: int, rounds: int) -> tuple[float, float]:
    """Median and 99th percentile of the seconds of act(tick), the first `warm` left out."""
    taken = []
    for tick in range(warm + rounds):
        began = time.perf_counter()
        act(tick)
        taken.append(time.perf_counter() - began)
    after = taken[warm:]
    return float(np.median(after)), float(np.quantile(after, 0.99))


def rounds_for(size: int) -> int:
    return max(30, min(1_000, 3_000_000 // size))


def triad(total_bytes: int) -> float:
    """Seconds of a = b + 3 c over three arrays of `total_bytes` together."""
    size = max(1, total_bytes // 24)
    a, b, c = np.zeros(size), np.ones(size), np.full(size, 2.0)

    def act(_: int) -> None:
        np.multiply(c, 3.0, out=a)
        np.add(a, b, out=a)

    return timed(act, 3, max(10, min(1_000, 20_000_000 // size)))[0]


def _act(step: Callable[[int, Floats], object], values: Callable[[int], Floats], tick: int) -> object:
    return step(tick, values(tick))


def tier(name: str, make: Callable[[int], Stepper | None], sizes: list[int]) -> list[tuple[str, ...]]:
    """A row a size."""
    rows: list[tuple[str, ...]] = []
    for size in sizes:
        stepper = make(size)
        if stepper is None:
            return [(name, "-", "not there yet", "", "", "", "")]
        middle, slowest = timed(partial(_act, stepper.step, columns(size)), stepper.warm, rounds_for(size))
        limit = triad(stepper.touched * size)
        rows.append(
            (
                name,
                f"{size:,}",
                f"{middle / size * 1e9:.1f}",
                f"{slowest / size * 1e9:.1f}",
                f"{array_bytes(stepper.state) / size:,.0f}",
                f"{limit / size * 1e9:.2f}",
                f"{middle / limit:.1f}",
            )
        )
        print(rows[-1], flush=True)
    return rows


def whole_call(size: int, shuffled: bool) -> tuple[str, ...]:
    """One actor call after another, each with MAX_PACKED_SAMPLES packed samples of different series.

    shuffled: in another order than that in which the actor first met them, as from another sender.
    """
    stage, warm = actor(size)
    series = described(size)
    ids = np.fromiter(series, np.uint64, size)
    if shuffled:
        ids = np.random.default_rng(7).permutation(ids)
    values = columns(size)
    parts = -(-size // MAX_PACKED_SAMPLES)
    held = refused = 0

    def packed(call: int) -> bytes:
        tick, part = divmod(call, parts)
        at = slice(part * MAX_PACKED_SAMPLES, (part + 1) * MAX_PACKED_SAMPLES)
        chosen = ids[at] if tick else np.fromiter(series, np.uint64, size)[at]
        new = {} if tick else {each: series[each] for each in chosen.tolist()}
        return SampleBatch(chosen, np.full(len(chosen), START_MS + tick * STEP_MS), values(tick)[at], new).pack()

    async def run() -> list[float]:
        nonlocal held, refused
        taken = []
        for call in range((warm + 1) * parts + max(200, 4 * parts)):
            body = packed(call)
            began = time.perf_counter()
            answers = await stage.score(body)
            seconds = time.perf_counter() - began
            held += sum(each.held for each in answers)
            refused += sum(sum(each.refused.values()) + len(each.unknown) for each in answers)
            if call >= (warm + 1) * parts:
                taken.append(seconds)
        return taken

    taken = asyncio.run(run())
    assert not held
    assert not refused
    a_sample = 1e9 / min(size, MAX_PACKED_SAMPLES)
    row = (
        f"whole actor call, {'shuffled' if shuffled else 'in order'}",
        f"{size:,}",
        f"{np.median(taken) * a_sample:.1f}",
        f"{np.quantile(taken, 0.99) * a_sample:.1f}",
        *("", "", ""),
    )
    print(row, flush=True)
    return row


def deep_call(size: int, depth: int) -> tuple[str, ...]:
    """Actor calls with many samples of few series, one after the other, as after an outage of the sender; all tiers."""
    stage, warm = actor(size, pattern_series=size)
    series = described(size)
    ids = np.repeat(np.fromiter(series, np.uint64, size), depth)
    values = columns(size * depth)

    async def run() -> list[float]:
        taken = []
        for call in range(warm // depth + 21):
            at_ms = np.tile(START_MS + (call * depth + np.arange(depth)) * STEP_MS, size)
            body = SampleBatch(ids, at_ms, values(call), {} if call else series).pack()
            began = time.perf_counter()
            answers = await stage.score(body)
            taken.append(time.perf_counter() - began)
            assert answers[0].scored == size * depth
        return taken[warm // depth + 1 :]

    taken = np.array(asyncio.run(run())) / (size * depth) * 1e9
    name = f"whole actor call, {depth:,} samples of each series, all tiers"
    row = (name, f"{size:,}", f"{np.median(taken):,.0f}", f"{np.quantile(taken, 0.99):,.0f}", *("", "", ""))
    print(row, flush=True)
    return row


def river_row(size: int = 500, rounds: int = 200) -> tuple[str, ...]:
    """River's GaussianScorer, one object a series, one sample at a time."""
    name = "river GaussianScorer, one by one"
    try:
        from river import anomaly  # noqa: PLC0415 - an optional peer
    except ImportError:
        return name, "-", "not installed", "", "", "", ""
    tracemalloc.start()
    make: Any = anomaly.GaussianScorer  # untyped
    models = [make(grace_period=60) for _ in range(size)]
    told = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    values = columns(size)

    def act(tick: int) -> None:
        for model, value in zip(models, values(tick).tolist(), strict=True):
            model.score_one(None, value)
            model.learn_one(None, value)

    middle, slowest = timed(act, 61, rounds)
    scale = 1e9 / size
    return name, f"{size:,}", f"{middle * scale:,.0f}", f"{slowest * scale:,.0f}", f"{told / size:,.0f}", "", ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--pattern-sizes", type=int, nargs="+", default=PATTERN_SIZES)
    parser.add_argument("--call-sizes", type=int, nargs="+", default=(4_000, 100_000), help="series of one actor")
    parser.add_argument("--data", help="not used: this benchmark makes its own load")
    options = parser.parse_args()
    rows = tier("base tier, its kernel", stepping.kernel, list(options.sizes))
    rows += tier("base tier, observe()", stepping.base_tier, list(options.sizes))
    rows += tier("pattern tier", stepping.pattern_tier, list(options.pattern_sizes))
    rows += [whole_call(size, shuffled) for size in options.call_sizes for shuffled in (False, True)]
    rows.append(deep_call(16, 1_000))
    rows.append(river_row())
    head = ("what", "series", "ns a sample", "slowest", "bytes a series", "triad, ns", "x triad")
    report.write("detection_speed", "Detection, speed", f"{__doc__}\n{report.table(head, rows)}\n\n{report.machine()}")


if __name__ == "__main__":
    main()
