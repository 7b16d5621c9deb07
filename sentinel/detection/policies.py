"""Which policy each series has, as columns, and the rules that people set beside what is learned."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sentinel.detection.columns import NEVER_MS, roomier
from sentinel.detection.config import DEFAULT, DetectorConfig
from sentinel.telemetry.series import Series

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


class Policies:
    """Policies by place in the configuration, and the place of each row's. Burn rates are means over time by row.

    alarms_per_day float32; learned bool: judged by what was learned; side int8: 1 if only a rise matters, -1 a fall.
    """

    def __init__(self, config: DetectorConfig) -> None:
        self.place = np.zeros(64, np.int16)
        self.burned = np.zeros((3, 64), np.float64)  # mean over the long window, over the short one, seconds seen
        self.configure(config, ())

    def configure(self, config: DetectorConfig, series: Sequence[Series]) -> None:
        """Take a new configuration on; what was learned stays."""
        self._config = config
        every = [*config.policies, DEFAULT]
        days = [config.alarms_per_day if each.alarms_per_day is None else each.alarms_per_day for each in every]
        self.alarms_per_day = np.array(days, np.float32)
        self.learned = np.array([each.learned for each in every])
        self.watched = np.array([each.watch for each in every])
        self.all_watched = bool(self.watched.all())
        self.side = np.array([{"up": 1, "down": -1, "both": 0}[each.direction] for each in every], np.int8)
        self.above = np.array([np.inf if each.above is None else each.above for each in every])
        self.below = np.array([-np.inf if each.below is None else each.below for each in every])
        self.limit = np.array([np.inf if each.slo is None else each.slo.limit for each in every])
        self.long_s = np.array([3600.0 if each.slo is None else each.slo.long_s for each in every])
        self.short_s = np.array([300.0 if each.slo is None else each.slo.short_s for each in every])
        self.silence_s = np.array([np.inf if each.no_data_after_s is None else each.no_data_after_s for each in every])
        self._ruled = np.isfinite(self.above) | np.isfinite(self.below) | np.isfinite(self.limit)
        self._any_rules = bool(self._ruled.any())
        for row, each in enumerate(series):
            self.add(row, each)

    def add(self, row: int, series: Series) -> None:
        """Give a series its policy."""
        self._make_room(row + 1)
        self.place[row] = self._config.policy_of(series)

    def _make_room(self, rows: int) -> None:
        if rows > min(len(self.place), self.burned.shape[1]):
            size = max(roomier(len(self.place), rows), self.burned.shape[1])
            self.place = np.concatenate((self.place, np.zeros(size - len(self.place), np.int16)))
            self.burned = np.concatenate((self.burned, np.zeros((3, size - self.burned.shape[1]))), axis=1)

    def adopt(self, other: "Policies", rows: Rows, series: Sequence[Series], first: int) -> None:
        """Take `rows` of another over, each the series named, as rows from `first` on."""
        self._make_room(first + len(rows))
        if other._config is self._config:
            self.place[first : first + len(rows)] = other.place[rows]
        else:
            for row, each in enumerate(series, first):
                self.add(row, each)
        self.burned[:, first : first + len(rows)] = other.burned[:, rows]

    def wants_pattern(self, row: int) -> bool | None:
        """What the policy of a row says of the pattern tier."""
        every = (*self._config.policies, DEFAULT)
        return every[int(self.place[row])].pattern

    def breaches(self, rows: Rows, raw: Floats, at_ms: Rows, last_ms: Rows) -> Bools | None:
        """Which samples are beyond a rule, or None where no policy has one; last_ms: of every row."""
        if not self._any_rules:
            return None
        place = self.place[rows]
        broken = (raw > self.above[place]) | (raw < self.below[place])
        at = np.flatnonzero(np.isfinite(self.limit[place]))
        if len(at):
            # The first sample of a series comes after nothing.
            before_ms = last_ms[rows[at]]
            step_s = np.where(before_ms == NEVER_MS, 0, at_ms[at] - before_ms) / 1000.0
            broken[at] |= self._burns(rows[at], raw[at], step_s, place[at])
        return broken

    def breach_up(self, rows: Rows, raw: Floats) -> Bools:
        """Whether a breach of these samples is one upwards."""
        return ~(raw < self.below[self.place[rows]])

    def _burns(self, rows: Rows, raw: Floats, step_s: Floats, place: NDArray[np.int16]) -> Bools:
        """Exponentially weighted means stand for the two windows: they need no memory of samples."""
        long, short, seen_s = self.burned[:, rows]
        first = seen_s == 0
        weight = np.where(first, 1.0, 1 - np.exp(-step_s / self.long_s[place]))
        long = long + np.maximum(weight, np.where(first, 1.0, step_s / (seen_s + step_s))) * (raw - long)
        short = short + np.where(first, 1.0, 1 - np.exp(-step_s / self.short_s[place])) * (raw - short)
        seen_s = seen_s + np.maximum(step_s, 1e-3)
        self.burned[:, rows] = (long, short, seen_s)
        limit = self.limit[place]
        burns: Bools = (long > limit) & (short > limit) & (seen_s >= self.short_s[place])
        return burns
