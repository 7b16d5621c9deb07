"""What do curves cost the detection actor: a sample that is kept, and the pause when curves are gathered?

    python -m benchmarks.curve_cost [--series 10000] [--room 33554432]

Batches of 4,000 samples of different series, as one actor call brings them. `kept` is with nothing followed; `followed`
with the most anomalies there can be, each of one series, which makes samples be looked through once a quarter of the
room. `slowest call` is the longest pause of the actor's loop by one batch. Beside it in the same run: copying the same
columns. Time of the processor, one process; the room is full before anything is measured.
"""

import argparse
import time

import numpy as np

from benchmarks import report
from sentinel.detection.anomaly import Anomaly
from sentinel.detection.config import DetectorConfig
from sentinel.detection.curves import MOST_ANOMALIES, Curves
from sentinel.detection.detector import Detector
from sentinel.telemetry.batch import MAX_PACKED_SAMPLES, SampleBatch
from sentinel.telemetry.series import Series, identify

START_MS, STEP_MS = 1_700_000_000_000, 10_000
ROUNDS = 2_000


def batches(series: list[Series], count: int) -> list[SampleBatch]:
    """`count` batches, the series in turn, one sample each every STEP_MS."""
    ids = np.array([each.id for each in series], np.uint64)
    values = np.random.default_rng(7).normal(100.0, 5.0, MAX_PACKED_SAMPLES)
    made = []
    for number in range(count):
        at = number * MAX_PACKED_SAMPLES + np.arange(MAX_PACKED_SAMPLES)
        made.append(SampleBatch(ids[at % len(ids)], START_MS + STEP_MS * (at // len(ids)), values))
    return made


def followed(curves: Curves, series: list[Series], at_ms: int) -> None:
    """Follow the most anomalies there can be, each of a series of its own."""
    detector = Detector(DetectorConfig())
    one = series[0]
    detector.observe(SampleBatch(np.array([one.id], np.uint64), np.array([at_ms]), np.array([1.0]), {one.id: one}))
    why, shown = detector.explain(one.fingerprint), detector.band(one.fingerprint)
    assert why is not None
    assert shown is not None
    for each in series[:MOST_ANOMALIES]:
        anomaly = Anomaly(
            series=each,
            direction="up",
            score=8.0,
            value=150.0,
            expected_low=50.0,
            expected_high=140.0,
            started_at_ms=at_ms,
            last_at_ms=at_ms,
        )
        curves.follow(anomaly, why, [(each, shown[1])])


def measured(curves: Curves, feed: list[SampleBatch]) -> tuple[float, float]:
    """Nanoseconds a sample, and the slowest batch in milliseconds."""
    took = []
    for batch in feed:
        began = time.process_time()
        curves.keep(batch)
        took.append(time.process_time() - began)
    return 1e9 * sum(took) / (len(feed) * MAX_PACKED_SAMPLES), 1e3 * max(took)


def main() -> None:
    """Measure both, and copying beside them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--room", type=int, default=32 * 1024 * 1024)
    chosen = parser.parse_args()
    series = [identify("m", {"service": "shop", "n": str(number)}) for number in range(chosen.series)]
    feed = batches(series, 2 * ROUNDS)
    curves = Curves(chosen.room)
    for batch in feed[:ROUNDS]:
        curves.keep(batch)
    idle = measured(curves, feed[:ROUNDS])
    followed(curves, series, int(feed[ROUNDS].timestamps_ms[0]))
    busy = measured(curves, feed[ROUNDS:])
    began = time.process_time()
    for batch in feed[:ROUNDS]:
        for column in (batch.series_ids, batch.timestamps_ms, batch.values):
            column.copy()
    copied = 1e9 * (time.process_time() - began) / (ROUNDS * MAX_PACKED_SAMPLES)
    rows = [
        ("kept", f"{idle[0]:.2f}", f"{idle[1]:.2f}"),
        (f"followed, {min(MOST_ANOMALIES, len(series))} anomalies", f"{busy[0]:.2f}", f"{busy[1]:.2f}"),
        ("copying the columns", f"{copied:.2f}", ""),
    ]
    text = report.table(("what", "ns a sample", "slowest call, ms"), rows)
    held = f"{curves.held_bytes / 2**20:.1f} MB of samples held, {chosen.series:,} series"
    report.write("curve_cost", "The cost of curves", f"{text}\n\n{held}. {report.machine()}.")


if __name__ == "__main__":
    main()
