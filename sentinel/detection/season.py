"""What a series is usually like at this time of day: one table for weekdays and one for weekends."""

import numpy as np
from numpy.typing import NDArray

from sentinel.detection.columns import Rows

WEEKDAY_SLOTS, WEEKEND_SLOTS = 48, 24  # half hours and hours: there are fewer weekends to learn from
YOUNG_TABLE = np.float32(1.2)  # days in which a table is still being filled
DAYS_TRUSTED = np.float32(2.0)  # of one kind of day, before its table may speak
VISIT_RATE = np.float32(0.2)  # how much of a slot's mean is new after each visit
DAY_MS = 86_400_000
WEEKDAY_MS, WEEKEND_MS = DAY_MS // WEEKDAY_SLOTS, DAY_MS // WEEKEND_SLOTS

Singles = NDArray[np.float32]
Longs = NDArray[np.int64]


def place_of(at_ms: Longs) -> tuple[Longs, Longs]:
    """Kind of day (1 for a weekend) and slot of the table (weekdays first) of each time, UTC: one, or int64[n]."""
    weekend = ((at_ms // DAY_MS + 3) % 7 >= 5) * 1
    of_day = at_ms % DAY_MS
    return weekend, weekend * (WEEKDAY_SLOTS + of_day // WEEKEND_MS) + (1 - weekend) * (of_day // WEEKDAY_MS)


class Season:
    """Tables of `capacity` series in the units of each; 296 bytes a series, one slot of all series lying together."""

    def __init__(self, capacity: int) -> None:
        self.table = np.zeros((WEEKDAY_SLOTS + WEEKEND_SLOTS, capacity), np.float32)
        self.days = np.zeros((2, capacity), np.float32)

    def rescale(self, rows: Rows, ratio: Singles) -> None:
        """The same in a unit `ratio` times as large."""
        self.table[:, rows] /= ratio

    def grow(self, capacity: int) -> None:
        """Make room for `capacity` series."""
        table, days = self.table, self.days
        self.table = np.zeros((len(table), capacity), np.float32)
        self.days = np.zeros((2, capacity), np.float32)
        self.table[:, : table.shape[1]] = table
        self.days[:, : days.shape[1]] = days

    def adopt(self, other: "Season", rows: Rows, first: int) -> None:
        """Take `rows` of another over, as rows from `first` on; there must be room."""
        for mine, theirs in ((self.table, other.table), (self.days, other.days)):
            for here, there in zip(mine, theirs, strict=True):  # line by line, as they lie in memory
                here[first : first + len(rows)] = there[rows]
