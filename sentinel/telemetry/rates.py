"""Running totals become rates, and histograms mean and quantile, before they are scored.

The place of this is the detection actor, in front of its detector. A series belongs to one detection actor whichever
door its samples came in by, while two replicas of the door may see its samples in turn: there, each would take every
second difference for the rate, and neither would see a reset for what it is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sentinel.telemetry.batch import SampleBatch
from sentinel.telemetry.histogram_windows import WINDOW_MS, Derived, HistogramWindows
from sentinel.telemetry.readings import Reading, reading_of
from sentinel.telemetry.series import Series
from sentinel.telemetry.series_index import SeriesIndex

MAX_GAP_MS = 3_600_000  # a rate over a longer silence would hide what happened in it
LATE, SERIES_LIMIT = "late", "series_limit"

_GAUGE, _BUCKET = int(Reading.GAUGE), int(Reading.BUCKET)
_NEVER_MS = -1
_SPAN_MS = 1 << 42  # more than any time a decoder lets through, and times 2**20 samples still an int64
# Aligned: NumPy copies numbers that lie crooked one by one.
_ROW = np.dtype([("reading", "u1"), ("member", "<i8"), ("last", "<f8"), ("last_ms", "<i8")], align=True)
_FIRST_ROWS = 64

Longs = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rated:
    """What one batch became. Samples in it = len(batch) + held + the refused + `unknown_samples`.

    batch: to be scored; gauges as they came, counters per second. derived: to be scored as well, made of histograms
    and in nobody's count. held: samples taken that gave none to score: the first of a counter, one after a reset or a
    long silence, and buckets. unknown: ids of series without a description, to be sent again with one.
    """

    batch: SampleBatch
    derived: SampleBatch
    held: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    unknown: tuple[int, ...] = ()
    unknown_samples: int = 0


class RateKeeper:
    """The last value of every counter, by series; soft state of one detection actor, not safe for several threads.

    The rules: a rate is the increase since the sample before, per second. The first sample of a series gives none. A
    decrease is a reset and gives none either, for how much was counted before it and after is not known; the new value
    is where counting starts again. A sample after a gap of up to an hour gives the mean rate over the gap, after a
    longer one none. A sample not later than the newest of its series is refused as late. A reset that is not a
    decrease, because the counter has already passed its old value, cannot be seen, here as in Prometheus.

    A series it was not told of is unknown whatever the detector knows: its raw total must never meet a baseline of
    rates. Lost state costs one sample of each counter and two windows of each histogram.
    """

    def __init__(self, max_series: int, window_ms: int = WINDOW_MS, max_gap_ms: int = MAX_GAP_MS) -> None:
        self._max_series = max_series
        self._max_gap_ms = max_gap_ms
        self._rows = np.zeros(_FIRST_ROWS, _ROW)
        self._windows = HistogramWindows(window_ms)
        self._index = SeriesIndex()

    def __len__(self) -> int:
        """How many series are known, gauges among them."""
        return len(self._index)

    def describe(self, series: Iterable[Series]) -> frozenset[int]:
        """Learn how these series are read, and answer the ids of those over the limit.

        A detection actor calls it with the series of a checkpoint it restored, so that their senders need not.
        """
        refused: set[int] = set()
        new: dict[int, None] = {}
        for each in series:
            if each.id in self._index or each.id in new:
                continue
            row = len(self) + len(new)
            if row >= self._max_series:
                refused.add(each.id)
                continue
            reading = reading_of(each.metric, each.labels)
            member = self._windows.add(each, reading) if reading >= Reading.SUM else -1
            if row == len(self._rows):
                self._rows = np.concatenate((self._rows, np.zeros(max(row, _FIRST_ROWS), _ROW)))
            self._rows[row] = (reading, member, np.nan, _NEVER_MS)
            new[each.id] = None
        self._index.extend(new)
        return frozenset(refused)

    def apply(self, batch: SampleBatch) -> Rated:
        """What of `batch` is to be scored. Times are from 0 to 2**42 ms and values finite, as decoders see to."""
        over = self.describe(batch.new_series.values())
        rows = self._index.rows(batch.series_ids)
        reading = self._rows["reading"][rows]
        known = rows >= 0
        whole = bool(known.all())
        gauges = (reading == _GAUGE) & known
        if gauges.all():  # without a mask, which would cost most of it
            self._rows["last_ms"][rows] = batch.timestamps_ms
            return Rated(batch=batch, derived=_NONE)
        self._rows["last_ms"][rows[gauges]] = batch.timestamps_ms[gauges]
        values = batch.values.copy()
        scored = gauges.copy()
        counters = np.flatnonzero(known & ~gauges)
        late, derived = self._count(rows, batch.timestamps_ms, values, scored, counters)
        held = len(counters) - late - int(np.count_nonzero(scored[counters]))
        limited = _NOWHERE if whole else ~known & np.isin(batch.series_ids, np.fromiter(over, np.uint64, len(over)))
        unknown = _NOWHERE if whole else np.flatnonzero(~known & ~limited)
        refused = {LATE: late, SERIES_LIMIT: int(np.count_nonzero(limited))}
        return Rated(
            batch=SampleBatch(
                batch.series_ids[scored],
                batch.timestamps_ms[scored],
                values[scored],
                {key: each for key, each in batch.new_series.items() if self._is_scored(key)},
            ),
            derived=_as_batch(derived),
            held=held,
            refused={reason: count for reason, count in refused.items() if count},
            unknown=tuple(np.unique(batch.series_ids[unknown]).tolist()) if len(unknown) else (),
            unknown_samples=len(unknown),
        )

    def retire(self, before_ms: int) -> int:
        """Forget series without a sample since `before_ms`, and answer how many."""
        count = len(self)
        stays = np.flatnonzero(self._rows["last_ms"][:count] >= before_ms)
        if len(stays) < count:
            ids = list(self._index)
            self._rows = np.concatenate((self._rows[stays], np.zeros(_FIRST_ROWS, _ROW)))
            inside = np.flatnonzero(self._rows["member"][: len(stays)] >= 0)
            self._windows = self._windows.kept(self._rows["member"][inside])
            self._rows["member"][inside] = np.arange(len(inside))
            self._index = SeriesIndex(ids[row] for row in stays.tolist())
        return count - len(self)

    def _count(
        self,
        rows: Longs,
        at_ms: Longs,
        values: NDArray[np.float64],
        scored: NDArray[np.bool_],
        counters: Longs,
    ) -> tuple[int, list[Derived]]:
        """Turn the values at `counters` into rates and mark those that are, in place; late samples, and what else."""
        # By series, and within one in the order of the batch: equal rows stand together, the newest last.
        at = counters[np.argsort(rows[counters], kind="stable")]
        row, time, value = rows[at], at_ms[at], values[at]
        fresh = _increasing(row, time, self._rows["last_ms"])
        late = len(at) - int(np.count_nonzero(fresh))
        if late:
            at, row, time, value = at[fresh], row[fresh], time[fresh], value[fresh]
        if not len(at):
            return late, []
        first = _begins(row)
        state = self._rows[row]
        before, before_ms = state["last"], state["last_ms"]
        again = np.flatnonzero(~first)
        before[again], before_ms[again] = value[again - 1], time[again - 1]
        with np.errstate(over="ignore", invalid="ignore"):
            gain, gap = value - before, time - before_ms
            rate = gain / gap * 1000.0
        continues = (before_ms != _NEVER_MS) & (gain >= 0) & (gap <= self._max_gap_ms) & np.isfinite(rate)
        # Of equal rows the last is written last, and is the one that stays.
        self._rows["last"][row] = value
        self._rows["last_ms"][row] = time
        values[at] = rate
        scored[at] = continues & (state["reading"] != _BUCKET)
        inside = np.flatnonzero(state["member"] >= 0)
        if not len(inside):
            return late, []
        return late, self._windows.feed(state["member"][inside], time[inside], value[inside], ~continues[inside])

    def _is_scored(self, series_id: int) -> bool:
        row = self._index.row(series_id)
        return row is not None and int(self._rows["reading"][row]) != _BUCKET


def _increasing(row: Longs, time: Longs, last_ms: Longs) -> NDArray[np.bool_]:
    """Which samples are later than every one of their series before them, bool[n]; equal rows stand together."""
    lift = np.cumsum(_begins(row)) * _SPAN_MS
    known = last_ms[row] + lift
    top = np.maximum.accumulate(np.maximum(time + lift, known))
    before = known.copy()
    np.maximum(top[:-1], known[1:], out=before[1:])
    later: NDArray[np.bool_] = time + lift > before
    return later


def _begins(row: Longs) -> NDArray[np.bool_]:
    """Where in sorted rows each row begins, bool[n]."""
    begins = np.ones(len(row), np.bool_)
    np.not_equal(row[1:], row[:-1], out=begins[1:])
    return begins


def _as_batch(derived: list[Derived]) -> SampleBatch:
    """Described each time: whoever forgot such a series could ask nobody."""
    if not derived:
        return _NONE
    return SampleBatch(
        np.array([series.id for series, _, _ in derived], np.uint64),
        np.array([at_ms for _, at_ms, _ in derived], np.int64),
        np.array([value for _, _, value in derived], np.float64),
        {series.id: series for series, _, _ in derived},
    )


_NOWHERE = np.empty(0, np.int64)
_NONE = SampleBatch(np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.float64))
