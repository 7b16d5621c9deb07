"""What the metrics of a service usually do together: Mahalanobis' distance of their residuals, learned online.

It tells the whole extent of a fault better than its beginning, so it keeps an anomaly open and opens none. Only the
first services have it, for it takes 48 KB each at 64 metrics.
"""

import numpy as np
from numpy.typing import NDArray

from sentinel.detection.columns import Rows

Singles = NDArray[np.float32]
Floats = NDArray[np.float64]

MOST_SERVICES = 256
LEAST_WIDTH = 8
ROUNDS = 64  # frames between two looks at the covariance
RIDGE = np.float32(0.3)  # residuals are in spreads: this much of each moves alone
CAP = np.float32(20.0)
RATE = 1e-5  # of a frame in the covariance, once it is past 1/n
SMOOTHED = 3  # frames
TAIL, TAIL_RATE, FIRST_Q99, LEAST_Q99 = 0.01, 0.005, 1.5, 0.05


class Movements:
    """State by slot of a service, up to MOST_SERVICES. Columns of `width` metrics, in the order of the members."""

    def __init__(self) -> None:
        self.rounds = np.zeros((0, ROUNDS, 0), np.float32)
        self.covariance = np.zeros((0, 0, 0), np.float32)
        self.inverse = np.zeros((0, 0, 0), np.float32)
        self.frames = np.zeros(0, np.int64)
        self.recent = np.zeros((0, SMOOTHED), np.float64)
        self.q99 = np.zeros(0, np.float64)
        self.level = np.zeros(0, np.float64)  # what `step` last answered

    def step(self, slots: Rows, residuals: Singles, metrics: NDArray[np.int64], members: NDArray[np.int64]) -> Floats:
        """How far each service is from its usual movement, float64[n]: 1 is the 99th percentile of its own past.

        residuals: signed, in spreads, float32[n, width], 0 for a metric that is missing. metrics: how many there are,
        of so many members. Learns from them afterwards. 0 for a service without this tier, or before its first
        covariance.
        """
        result = np.zeros(len(slots))
        # Each service at a width of its own: sums over another's width could round otherwise.
        widths = np.where(slots < MOST_SERVICES, np.exp2(np.ceil(np.log2(np.maximum(members, LEAST_WIDTH)))), 0)
        for width in np.unique(widths[widths > 0]).astype(int).tolist():
            at = np.flatnonzero(widths == width)
            result[at] = self._step(slots[at], residuals[at, :width], metrics[at])
        return result

    def _step(self, slots: Rows, residuals: Singles, metrics: NDArray[np.int64]) -> Floats:
        width = residuals.shape[1]
        self._make_room(int(slots.max()) + 1, width)
        cut = np.minimum(np.maximum(residuals, -CAP), CAP)
        turned = np.matmul(cut[:, None, :], self.inverse[slots, :width, :width])[:, 0, :]
        squared = (turned * cut).sum(axis=1, dtype=np.float64)
        distance = np.sqrt(np.maximum(squared, 0.0) / np.maximum(metrics, 1))
        frames = self.frames[slots]
        self.recent[slots, frames % SMOOTHED] = distance
        smooth = self.recent[slots].mean(axis=1)
        known = frames >= ROUNDS
        result: Floats = np.where(known, smooth / self.q99[slots], 0.0)
        self.level[slots] = result
        rate = np.maximum(TAIL_RATE, 2 / (frames / 10 + 2))
        q99 = np.maximum(self.q99[slots] * (1 + rate * ((smooth > self.q99[slots]) - TAIL)), LEAST_Q99)
        self.q99[slots] = np.where(known, q99, self.q99[slots])
        self.rounds[slots, frames % ROUNDS, :width] = cut
        self.frames[slots] = frames + 1
        full = slots[(frames + 1) % ROUNDS == 0]
        if len(full):
            self._look(full, width)
        return result

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
