"""All series of one detector: who they are, and the rows of every tier that belong to them."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sentinel.detection import baseline as tier
from sentinel.detection.alarm import Book
from sentinel.detection.columns import Baseline, Rows, fresh, grown, put, roomier, take
from sentinel.detection.config import DetectorConfig
from sentinel.detection.pattern import PatternTier
from sentinel.detection.policies import Policies
from sentinel.detection.season import Season
from sentinel.detection.services import ServiceTier
from sentinel.detection.shapes import SILENCE, Known, novelties
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
        self.rows_of: dict[str, array[int]] = {}  # by service
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
        """Take a new configuration on; what was learned stays, and patterns where they are still looked for."""
        self.policies.configure(config, self.series)
        held = np.flatnonzero(self.pattern_slot[: len(self)] >= 0)
        stays = self._pattern_wanted(held)[: config.pattern_series]
        if len(stays) < len(held):
            before, self.pattern = self.pattern, PatternTier(0)
            slots = self.pattern_slot[stays].astype(np.int64)
            self.pattern_slot[:] = -1
            self.pattern_slot[stays] = self.pattern.adopt(before, slots)

    def choose_patterns(self, config: DetectorConfig) -> None:
        """Begin to look for patterns in series that are to have it, as far as there is room."""
        for row in range(len(self)):
            if len(self.pattern) >= config.pattern_series:
                break
            self._choose_pattern(row, config)

    def adopt(self, other: "State", rows: Rows, config: DetectorConfig) -> None:
        """Append `rows` of another, none of them known here, with all that it has learned of them."""
        first = len(self)
        self.copy(other, rows, config)
        series = self.series[first:]
        self.index.extend(each.id for each in series)
        for row, each in enumerate(series, first):
            self.rows_of.setdefault(each.service, array("q")).append(row)

    def copy(self, other: "State", rows: Rows, config: DetectorConfig) -> None:
        """The same, for one that is only to be written down: it cannot find its series."""
        first, count = len(self), len(rows)
        series = [other.series[row] for row in rows.tolist()]
        self.series.extend(series)
        self._make_room()
        here = np.arange(first, first + count)
        put(self.baseline, here, take(other.baseline, rows))
        self.baseline.watch[here] = self.book.adopt(other.book, other.baseline.watch[rows], here)
        self.season.adopt(other.season, rows, first)
        self.policies.adopt(other.policies, rows, series, first)
        theirs, mine = self.services.adopt(other.services, rows, series, first)
        self._make_room_for_services()
        self.service_caution[mine] = other.service_caution[theirs]
        self.service_watch[mine] = self.service_book.adopt(other.service_book, other.service_watch[theirs], mine)
        shaped = np.flatnonzero(other.pattern_slot[rows] >= 0)
        room = max(config.pattern_series - len(self.pattern), 0)
        shaped = (self._pattern_wanted(here[shaped]) - first)[:room]
        self.pattern_slot[here[shaped]] = self.pattern.adopt(
            other.pattern, other.pattern_slot[rows[shaped]].astype(np.int64)
        )

    def _pattern_wanted(self, rows: Rows) -> Rows:
        return np.array([row for row in rows.tolist() if self.policies.wants_pattern(row) is not False], np.int64)

    def novelty(self, rows: Rows, at_ms: NDArray[np.int64], raw: Floats, config: DetectorConfig) -> Novelty | None:
        """Step the pattern tier where a series has it; None where none of them does."""
        if not len(self.pattern):
            return None
        base, policies = self.baseline, self.policies
        known = Known(
            base.seen, base.since_ms, base.level, base.zero, base.unit, policies.place, policies.alarms_per_day
        )
        shape, pasts = self.pattern.columns()
        shaped, found = novelties(
            rows, at_ms, raw, self.pattern_slot, known, config.grace_samples, shape, pasts, self.pattern.scales
        )
        return Novelty(*found) if shaped else None

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
        for name in ("zero", "low", "high", "last", "level", "daily", "quick", "recent", "slow"):
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
        self.rows_of.setdefault(series.service, array("q")).append(row)
        self._make_room_for_services()
        self._choose_pattern(row, config)

    def _make_room_for_services(self) -> None:
        more = len(self.services.group.count) - len(self.service_watch)
        if more > 0:
            self.service_watch = np.concatenate((self.service_watch, np.full(more, -1, np.int32)))
            self.service_caution = np.concatenate((self.service_caution, np.ones(more)))

    def _choose_pattern(self, row: int, config: DetectorConfig) -> None:
        wanted = self.policies.wants_pattern(row)
        if wanted is not False and self.pattern_slot[row] < 0 and len(self.pattern) < config.pattern_series:
            self.pattern_slot[row] = self.pattern.add()

    def _make_room(self) -> None:
        if len(self) > len(self.baseline.seen):
            capacity = roomier(len(self.baseline.seen), len(self))
            self.baseline = grown(self.baseline, capacity)
            self.season.grow(capacity)
            slots = np.full(capacity, -1, np.int32)
            slots[: len(self.pattern_slot)] = self.pattern_slot
            self.pattern_slot = slots
