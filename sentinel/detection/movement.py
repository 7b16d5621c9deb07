"""What the metrics of a service usually do together: Mahalanobis' distance of their residuals, learned online.

It tells the whole extent of a fault better than its beginning, so it keeps an anomaly open and opens none. Only the
first services have it, for it takes 48 KB each at 64 metrics.
"""

from operator import attrgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentinel.detection.columns import Rows
from sentinel.detection.compiled import compiled_inside

Singles = NDArray[np.float32]
Floats = NDArray[np.float64]
Longs = NDArray[np.int64]

MOST_SERVICES = 256
LEAST_WIDTH = 8
ROUNDS = 64  # frames between two looks at the covariance
RIDGE = np.float32(0.3)  # residuals are in spreads: this much of each moves alone
CAP = np.float32(20.0)
RATE = 1e-5  # of a frame in the covariance, once it is past 1/n
SMOOTHED = 3  # frames
TAIL, TAIL_RATE, FIRST_Q99, LEAST_Q99 = 0.01, 0.005, 1.5, 0.05


class MovementColumns(NamedTuple):
    """`Movements` as compiled code takes it."""

    rounds: Singles
    inverse: Singles
    frames: Longs
    recent: Floats
    q99: Floats
    level: Floats


_columns = attrgetter(*MovementColumns._fields)


def _width_for(metrics: int) -> int:
    """A service's own, a power of two: sums over another's width could round otherwise."""
    width = LEAST_WIDTH
    while width < metrics:
        width *= 2
    return width


_width = compiled_inside(_width_for)


@compiled_inside
def lacks_room(slots: Rows, members: Longs, s: MovementColumns) -> bool:
    """Whether `Movements.make_room` must come first; members: of each service."""
    for slot in slots:
        if slot < MOST_SERVICES and (slot >= len(s.frames) or _width(members[slot]) > s.rounds.shape[2]):
            return True
    return False


@compiled_inside
def _turn(factor: np.float32, line: Singles, turned: Singles) -> None:
    for j in range(len(line)):
        turned[j] += factor * line[j]


@compiled_inside
def advance_movements(
    slots: Rows, members: Longs, residuals: Singles, metrics: Longs, s: MovementColumns
) -> tuple[Floats, Longs]:
    """How far each service is from its usual movement, float64[n], and which of them have a covariance due.

    residuals: signed, in spreads, float32[n, width], 0 for a metric that is missing. metrics: how many there are, of so
    many members. 1 is the 99th percentile of a service's own past; 0 for one without this tier, or before its first
    covariance. Learns them afterwards.
    """
    result, turned = np.zeros(len(slots)), np.empty(s.rounds.shape[2], np.float32)
    due, found = np.empty(len(slots), np.int64), 0
    for k in range(len(slots)):
        slot = slots[k]
        if slot >= MOST_SERVICES:
            continue
        width, frames = _width(members[slot]), s.frames[slot]
        cut = s.rounds[slot, frames % ROUNDS]
        for j in range(width):
            cut[j] = min(max(residuals[k, j], -CAP), CAP)
        turned[:width] = np.float32(0)
        for i in range(width):
            _turn(cut[i], s.inverse[slot, i, :width], turned)
        squared = 0.0
        for j in range(width):
            squared += np.float64(turned[j]) * np.float64(cut[j])
        s.recent[slot, frames % SMOOTHED] = np.sqrt(max(squared, 0.0) / max(metrics[k], 1))
        smooth = 0.0
        for each in range(SMOOTHED):
            smooth += s.recent[slot, each] / SMOOTHED
        if frames >= ROUNDS:
            q99, rate = s.q99[slot], max(TAIL_RATE, 2 / (frames / 10 + 2))
            result[k] = smooth / q99
            s.q99[slot] = max(q99 * (1 + rate * ((1.0 if smooth > q99 else 0.0) - TAIL)), LEAST_Q99)
        s.level[slot] = result[k]
        s.frames[slot] = frames + 1
        if (frames + 1) % ROUNDS == 0:
            due[found] = slot
            found += 1
    return result, due[:found]


class Movements:
    """State by slot of a service, up to MOST_SERVICES. Columns of `width` metrics, in the order of the members."""

    def __init__(self) -> None:
        self.rounds = np.zeros((0, ROUNDS, 0), np.float32)
        self.covariance = np.zeros((0, 0, 0), np.float32)
        self.inverse = np.zeros((0, 0, 0), np.float32)
        self.frames = np.zeros(0, np.int64)
        self.recent = np.zeros((0, SMOOTHED), np.float64)
        self.q99 = np.zeros(0, np.float64)
        self.level = np.zeros(0, np.float64)  # what was answered of the newest frame

    def columns(self) -> MovementColumns:
        """The same arrays as compiled code takes them, until there is more room."""
        return MovementColumns(*_columns(self))

    def look(self, slots: Rows, members: Longs) -> None:
        """Learn the covariance of the newest ROUNDS frames of these services."""
        widths = np.array([_width_for(each) for each in members.tolist()])
        for width in np.unique(widths).tolist():
            self._look(slots[widths == width], width)

    def make_room(self, slots: Rows, members: Longs) -> None:
        """Make room for these services with so many members, as far as they are to have it."""
        mine = slots < MOST_SERVICES
        self._make_room(int(slots[mine].max()) + 1, _width_for(int(members[mine].max())))

    def adopt(self, other: "Movements", theirs: Rows, mine: Rows, columns: Rows) -> None:
        """Take the services in the slots `theirs` of another over into `mine`; past MOST_SERVICES they have none here.

        columns: which of their metrics each of mine is, int64[n, width]; -1 for one of which nothing is known.
        """
        there = np.flatnonzero((theirs < len(other.frames)) & (mine < MOST_SERVICES))
        if not len(there):
            return
        theirs, mine, columns = theirs[there], mine[there], columns[there]
        width = columns.shape[1]
        self._make_room(int(mine.max()) + 1, width)
        known, at = columns >= 0, np.maximum(columns, 0)
        rounds = np.take_along_axis(other.rounds[theirs], at[:, None, :], axis=2)
        self.rounds[mine, :, :width] = np.where(known[:, None, :], rounds, np.float32(0))
        both = known[:, :, None] & known[:, None, :]
        for name in ("covariance", "inverse"):
            square = getattr(other, name)[theirs[:, None, None], at[:, :, None], at[:, None, :]]
            getattr(self, name)[mine, :width, :width] = np.where(both, square, np.eye(width, dtype=np.float32))
        for name in ("frames", "recent", "q99", "level"):
            getattr(self, name)[mine] = getattr(other, name)[theirs]

    def _look(self, slots: Rows, width: int) -> None:
        rounds = self.rounds[slots, :, :width]
        found = np.matmul(rounds.transpose(0, 2, 1), rounds) / np.float32(ROUNDS)
        weight = np.maximum(RATE * ROUNDS, ROUNDS / self.frames[slots]).astype(np.float32)[:, None, None]
        covariance = (1 - weight) * self.covariance[slots, :width, :width] + weight * found
        self.covariance[slots, :width, :width] = covariance
        self.inverse[slots, :width, :width] = np.linalg.inv(
            covariance + RIDGE * np.eye(covariance.shape[1], dtype=np.float32)
        )

    def _make_room(self, slots: int, width: int) -> None:
        before, wide = self.rounds.shape[0], self.rounds.shape[2]
        if slots <= before and width <= wide:
            return
        more, wider = max(slots, before), max(width, wide)
        rounds = np.zeros((more, ROUNDS, wider), np.float32)
        rounds[:before, :, :wide] = self.rounds
        self.rounds = rounds
        for name in ("covariance", "inverse"):
            square = np.tile(np.eye(wider, dtype=np.float32), (more, 1, 1))
            square[:before, :wide, :wide] = getattr(self, name)
            setattr(self, name, square)
        self.frames = np.concatenate((self.frames, np.zeros(more - before, np.int64)))
        self.recent = np.concatenate((self.recent, np.zeros((more - before, SMOOTHED))))
        self.q99 = np.concatenate((self.q99, np.full(more - before, FIRST_Q99)))
        self.level = np.concatenate((self.level, np.zeros(more - before)))
