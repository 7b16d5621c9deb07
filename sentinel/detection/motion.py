"""Speed and shift: two looks at a series beside its distance from the level. Source of the method: see `baseline`.

Speed is held against the fastest move in memory, for fast moves are few and come in bursts; shift against its own 99th
percentile. How far beyond it must go follows from the tail of the distance.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sentinel.detection.baseline import FASTER
from sentinel.detection.blocks import Work
from sentinel.detection.columns import Baseline, Singles
from sentinel.detection.parts import Part
from sentinel.detection.policies import Judged

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Motion:
    """How n series have moved. x: to where, from `usual`; distance: in spreads, and `needed` for it to be unusual.

    speaks bool[n]: may open an anomaly. holds bool[n]: may keep one open.
    """

    part: Part
    x: Singles
    usual: Singles
    distance: Singles
    needed: Singles
    speaks: Bools
    holds: Bools

    @property
    def up(self) -> Bools:
        """Which way."""
        risen: Bools = self.x > self.usual
        return risen

    def strength(self, policy: Judged, caution: Singles) -> NDArray[np.float64]:
        """1 and above opens an anomaly, on the side that matters."""
        heard = self.speaks & policy.sided(self.up)
        strong: NDArray[np.float64] = (self.distance / (self.needed * caution) * heard).astype(np.float64)
        return strong


def speed(base: Baseline, work: Work, beyond: Singles, opened: Bools) -> Motion:
    """How far samples are from the newest few. `beyond`: needed, in moves clearly faster than the fastest in memory;
    less than one of them is no news, however often one is asked for. `opened`: has an open anomaly, which is left
    alone, for its end is as fast as its beginning.
    """
    needed = FASTER * np.maximum(beyond, np.float32(1.0)) * base.fastest
    return Motion(Part.CHANGE, work.x, base.quick, work.change, needed, ~opened, np.zeros(len(opened), np.bool_))


def shift(base: Baseline, work: Work, beyond: Singles, judged: Bools, by_shift: Bools) -> Motion:
    """How far the newest samples are from the older ones. `beyond`: needed, in 99th percentiles; `judged`: where asked.

    `by_shift`: what it opened, and may keep open. Of others it would tell long after their end.
    """
    return Motion(Part.SHIFT, base.recent, base.slow, work.shift, beyond * base.shift_q99, judged, judged & by_shift)
