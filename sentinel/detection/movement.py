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

    def step(self, slots: Rows, residuals: Singles, metrics: NDArray[np.int64]) -> Floats:
        """How far each service is from its usual movement, float64[n]: 1 is the 99th percentile of its own past.

        residuals: signed, in spreads, float32[n, width], 0 for a metric that is missing. metrics: how many it has.
        Learns from them afterwards. 0 for a service without this tier, or before its first covariance.
        """
        result = np.zeros(len(slots))
        at = np.flatnonzero(slots < MOST_SERVICES)
        if not len(at):
            return result
        slots, metrics = slots[at], metrics[at]
        self._make_room(int(slots.max()) + 1, residuals.shape[1])
        cut = np.minimum(np.maximum(residuals[at], -CAP), CAP)
        turned = np.matmul(cut[:, None, :], self.inverse[slots])[:, 0, :]
        squared = (turned * cut).sum(axis=1, dtype=np.float64)
        distance = np.sqrt(np.maximum(squared, 0.0) / np.maximum(metrics, 1))
        frames = self.frames[slots]
        self.recent[slots, frames % SMOOTHED] = distance
        smooth = self.recent[slots].mean(axis=1)
        known = frames >= ROUNDS
        result[at] = np.where(known, smooth / self.q99[slots], 0.0)
        self.level[slots] = result[at]
        rate = np.maximum(TAIL_RATE, 2 / (frames / 10 + 2))
        q99 = np.maximum(self.q99[slots] * (1 + rate * ((smooth > self.q99[slots]) - TAIL)), LEAST_Q99)
        self.q99[slots] = np.where(known, q99, self.q99[slots])
        self.rounds[slots, frames % ROUNDS] = cut
        self.frames[slots] = frames + 1
        full = slots[(frames + 1) % ROUNDS == 0]
        if len(full):
            self._look(full)
        return result

    def forget(self, slots: Rows) -> None:
        """Begin afresh with these services: their metrics are others now."""
        slots = slots[slots < len(self.frames)]
        self.frames[slots] = 0
        self.rounds[slots] = 0
        self.covariance[slots] = self.inverse[slots] = np.eye(self.covariance.shape[1], dtype=np.float32)

    def _look(self, slots: Rows) -> None:
        rounds = self.rounds[slots]
        found = np.matmul(rounds.transpose(0, 2, 1), rounds) / np.float32(ROUNDS)
        weight = np.maximum(RATE * ROUNDS, ROUNDS / self.frames[slots]).astype(np.float32)[:, None, None]
        covariance = (1 - weight) * self.covariance[slots] + weight * found
        self.covariance[slots] = covariance
        self.inverse[slots] = np.linalg.inv(covariance + RIDGE * np.eye(covariance.shape[1], dtype=np.float32))

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
