"""All series of one detector: who they are, and the rows of every tier that belong to them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sentinel.detection import baseline as tier
from sentinel.detection.alarm import Book
from sentinel.detection.columns import Baseline, Rows, Singles, fresh, grown, put, take
from sentinel.detection.config import DetectorConfig
from sentinel.detection.pattern import SILENCE, PatternTier
from sentinel.detection.policies import Policies
from sentinel.detection.season import Season
from sentinel.detection.services import ServiceTier
from sentinel.telemetry.series import Series
from sentinel.telemetry.series_index import SeriesIndex

Floats = NDArray[np.float64]
_FIRST_ROWS = 64


@dataclass(frozen=True, slots=True)
class Novelty:
    """What the pattern tier says of n samples, float64[n]: novelty, as it is heard (0 soon after an alarm), and the
    novelty at which an alarm is raised."""

    raw: Floats
    heard: Floats
    needed: Floats


class State:
    """Rows 0 to len(self) - 1 are series in the order they were first described; the arrays have spare room behind."""

    def __init__(self, config: DetectorConfig) -> None:
        self.series: list[Series] = []
        self.baseline = fresh(Baseline, _FIRST_ROWS)
        self.season = Season(_FIRST_ROWS)
        self.services = ServiceTier()
        self.pattern = PatternTier(0)
        self.pattern_slot = np.full(_FIRST_ROWS, -1, np.int32)
        self.policies = Policies(config)
        self.book = Book()
        self.service_book = Book()
        self.service_watch = np.full(8, -1, np.int32)
        self.service_caution = np.ones(8)
        self.index = SeriesIndex()

    def __len__(self) -> int:
        return len(self.series)

    def row(self, series_id: int) -> int | None:
        """The row of one series, if it is known."""
        return self.index.row(series_id)

    def rows(self, series_ids: NDArray[np.uint64]) -> Rows:
        """The row of each id, int64[n]; -1 for one that was never described."""
        return self.index.rows(series_ids)

    def add(self, described: Iterable[Series], config: DetectorConfig) -> frozenset[int]:
        """Give a row to each series that has none, up to `max_series` in all, and answer the ids left out."""
        refused: set[int] = set()
        new: dict[int, Series] = {}
        for series in described:
            if series.id in self.index or series.id in new:
                continue
            if len(self) + len(new) >= config.max_series:
                refused.add(series.id)
                continue
            new[series.id] = series
        if new:
            first = len(self.series)
            self.series.extend(new.values())
            self._make_room()
            self.index.extend(new)
            for row in range(first, len(self.series)):
                self._settle(row, config)
        return frozenset(refused)

    def configure(self, config: DetectorConfig) -> None:
        """Take a new configuration on; what was learned stays."""
        self.policies.configure(config, self.series)
        for row in range(len(self)):
            self._choose_pattern(row, config)

    def keep(self, rows: Rows, config: DetectorConfig) -> None:
        """Drop every series but these, in this order."""
        moved = np.full(len(self), -1, np.int64)
        moved[rows] = np.arange(len(rows))
        self.book.moved(moved)
        slots = self.pattern_slot[rows]
        used = np.flatnonzero(slots >= 0)
        self.pattern.keep(slots[used].astype(np.int64))
        self.pattern_slot = np.full(max(len(rows), _FIRST_ROWS), -1, np.int32)
        self.pattern_slot[used] = np.arange(len(used))
        self.series = [self.series[row] for row in rows.tolist()]
        self.baseline = take(self.baseline, rows)
        self.season.keep(rows)
        self.policies.keep(rows)
        self.services.keep(rows, self.series)
        self.index = SeriesIndex(series.id for series in self.series)
        self._make_room()

    def novelty(
        self, where: Rows | slice, rows: Rows, value: Floats, base: Baseline, least: Singles, config: DetectorConfig
    ) -> Novelty | None:
        """Step the pattern tier where a series has it; None where none of them does."""
        if not len(self.pattern):
            return None
        slots = self.pattern_slot[where]
        at = np.flatnonzero(slots >= 0)
        if not len(at):
            return None
        apd = self.policies.alarms_per_day[self.policies.place[rows[at]]]
        lasted_s = np.maximum(base.last_ms[at] - base.since_ms[at], 1) / 1000.0
        judged_a_day = np.maximum(base.seen[at], 1) * 86_400.0 / lasted_s / self.pattern.scales[0].block
        needed = np.log10(np.maximum(judged_a_day / apd, 10.0))
        raw, heard = self.pattern.step(slots[at].astype(np.int64), value[at], least[at] * base.unit[at], needed)
        judged = base.seen[at] >= config.grace_samples
        all_rows = np.zeros((3, len(rows)))
        all_rows[2] = 1.0
        all_rows[:, at] = (np.where(judged, raw, 0.0), np.where(judged, heard, 0.0), needed)
        return Novelty(*all_rows)

    def hush(self, rows: Rows) -> None:
        """Raise no alarm for the shape of these series soon: they have one, whose traces are new for a while."""
        slots = self.pattern_slot[rows]
        self.pattern.shape.silent[slots[slots >= 0]] = SILENCE

    def measure_anew(self, rows: Rows) -> None:
        """Measure these series from their level in their own spread, which float32 needs to tell small steps apart."""
        base = take(self.baseline, rows)
        shift = base.level
        spread = np.maximum(base.spread, tier.floor(base.level, base.zero))
        ratio = np.exp2(np.clip(np.round(np.log2(spread)), -100, 100)).astype(np.float32)
        base.origin = base.origin + shift.astype(np.float64) * base.unit
        base.unit = base.unit * ratio.astype(np.float64)
        for name in ("zero", "low", "high", "last", "level", "daily"):
            setattr(base, name, (getattr(base, name) - shift) / ratio)
        for name in ("spread", "daily_spread", "plain_error", "daily_error"):
            setattr(base, name, getattr(base, name) / ratio)
        put(self.baseline, rows, base)
        self.season.rescale(rows, ratio)
        self.services.rescale(rows, shift, ratio)

    def _settle(self, row: int, config: DetectorConfig) -> None:
        series = self.series[row]
        self.policies.add(row, series)
        self.services.add(row, series.service)
        more = len(self.services.group.count) - len(self.service_watch)
        if more > 0:
            self.service_watch = np.concatenate((self.service_watch, np.full(more, -1, np.int32)))
            self.service_caution = np.concatenate((self.service_caution, np.ones(more)))
        self._choose_pattern(row, config)

    def _choose_pattern(self, row: int, config: DetectorConfig) -> None:
        wanted = self.policies.wants_pattern(row)
        if wanted is not False and self.pattern_slot[row] < 0 and len(self.pattern) < config.pattern_series:
            self.pattern_slot[row] = self.pattern.add()

    def _make_room(self) -> None:
        capacity = max(len(self.baseline.seen), _FIRST_ROWS)
        while capacity < len(self):
            capacity *= 2
        if capacity > len(self.baseline.seen):
            self.baseline = grown(self.baseline, capacity)
            self.season.grow(capacity)
            slots = np.full(capacity, -1, np.int32)
            slots[: len(self.pattern_slot)] = self.pattern_slot
            self.pattern_slot = slots
