"""What a series is usually like at this time of day: one table for weekdays and one for weekends."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sentinel.detection.columns import Rows

WEEKDAY_SLOTS, WEEKEND_SLOTS = 48, 24  # half hours and hours: there are fewer weekends to learn from
YOUNG_TABLE = np.float32(1.2)  # days in which a table is still being filled
DAYS_TRUSTED = np.float32(2.0)  # of one kind of day, before its table may speak
VISIT_RATE = np.float32(0.2)  # how much of a slot's mean is new after each visit
_DAY_MS = 86_400_000
_WEEKDAY_MS, _WEEKEND_MS = _DAY_MS // WEEKDAY_SLOTS, _DAY_MS // WEEKEND_SLOTS
_FIRST_VISIT = np.float32(3.0)  # e-folds towards the mean within the first visit; 1 in the next, then fewer
_HALF_CAP = np.float32(6e4)  # float16 ends at 65504

Singles = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Moment:
    """Where samples fall in the week, as one number for all or int64[n].

    kind: 1 for a weekend, else 0. slot: of the table, weekdays first.
    """

    kind: int | NDArray[np.int64]
    slot: int | NDArray[np.int64]


def moment(at_ms: NDArray[np.int64]) -> Moment:
    """The place in the week (UTC) of each time, as a scalar where all share one."""
    first, last = int(at_ms.min()), int(at_ms.max())
    if first // _WEEKDAY_MS == last // _WEEKDAY_MS:
        at_ms = np.array(first)
    weekend = (at_ms // _DAY_MS + 3) % 7 >= 5
    of_day = at_ms % _DAY_MS
    slot = np.where(weekend, WEEKDAY_SLOTS + of_day // _WEEKEND_MS, of_day // _WEEKDAY_MS)
    return Moment(int(weekend), int(slot)) if slot.ndim == 0 else Moment(weekend.astype(np.int64), slot)


class Season:
    """Tables of `capacity` series in the units of each; 296 bytes a series, one slot of all series lying together."""

    def __init__(self, capacity: int) -> None:
        self.table = np.zeros((WEEKDAY_SLOTS + WEEKEND_SLOTS, capacity), np.float32)
        self.days = np.zeros((2, capacity), np.float32)

    def read(self, rows: Rows | slice, at: Moment) -> tuple[Singles, Singles]:
        """The table's value at this moment, and for how many days of its kind it has been learned."""
        rows = _paired(rows, at)
        return self.table[at.slot, rows], self.days[at.kind, rows]

    def learn(self, rows: Rows | slice, at: Moment, x: Singles, known: Singles, days: Singles, step_s: Singles) -> None:
        """Move the table towards `x`; step_s: seconds since the sample before, for a slot weighs by time."""
        rows = _paired(rows, at)
        slot_s = np.float32(1e-3) * np.where(at.kind, _WEEKEND_MS, _WEEKDAY_MS).astype(np.float32)
        stayed = np.minimum(step_s, slot_s)
        pull = stayed / slot_s * np.maximum(_FIRST_VISIT / (1 + 2 * days), VISIT_RATE)
        self.table[at.slot, rows] = known + np.minimum(pull, np.float32(1.0)) * (x - known)
        self.days[at.kind, rows] = days + stayed * np.float32(1000.0 / _DAY_MS)

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


def _paired(rows: Rows | slice, at: Moment) -> Rows | slice:
    """Rows that go with a slot each, where not all samples share one."""
    return np.arange(rows.start, rows.stop) if isinstance(rows, slice) and isinstance(at.slot, np.ndarray) else rows
