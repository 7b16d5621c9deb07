"""Frames of services against their past: which of them are unusual. Compiled. Source of the method: see `services`."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentinel.detection import baseline as tier
from sentinel.detection.columns import Rows
from sentinel.detection.compiled import compiled
from sentinel.detection.frames import TAIL, Floats, GroupColumns, Ints, Longs, MemberColumns, settle, weigh
from sentinel.detection.movement import MovementColumns, advance_movements, lacks_room

_FADES = float(tier.CAUTION_FADES)
_TWO_SCORES = 2  # each of which passes its percentile by itself


class Judged(NamedTuple):
    """What became of frames. lacking: `Movements.make_room` must come first; if so, nothing was done. due: services of
    which the covariance is to be learned. Of those services alone that are unusual or were, n of them: slots; at_ms;
    score, 1 being the 99th percentile of the service's own past; needed to open an anomaly, and the score's share of it
    (strength, 0 in the grace); moved, how its metrics move together; grown bool[n], past its grace."""

    lacking: bool
    due: Rows
    slots: Rows
    at_ms: Longs
    score: Floats
    needed: Floats
    strength: Floats
    moved: Floats
    grown: NDArray[np.bool_]


@compiled
def judge_frames(
    slots: Rows,
    members: Ints,
    m: MemberColumns,
    g: GroupColumns,
    s: MovementColumns,
    caution: Floats,
    watch: Ints,
    alarms_per_day: float,
) -> Judged:
    """Judge these services by their frames, and learn those; `caution` fades."""
    if lacks_room(slots, g.size, s):
        none = np.empty(0)
        return Judged(True, slots[:0], slots[:0], slots[:0], none, none, none, none, none > 0)
    seen = weigh(slots, members, m, g.frame)
    moved, due = advance_movements(slots, g.size, seen.residuals, seen.metrics, s)
    score, excess, grown, samples_a_day = settle(slots, seen, g)
    needed, strength, told = np.empty(len(slots)), np.empty(len(slots)), np.empty(len(slots), np.bool_)
    for k in range(len(slots)):
        slot = slots[k]
        odds = max(_TWO_SCORES * TAIL * samples_a_day[k] / alarms_per_day, np.e)
        needed[k] = (1 + excess[k] * np.log(odds)) * caution[slot]
        strength[k] = score[k] / needed[k] if grown[k] else 0.0
        caution[slot] = 1 + (caution[slot] - 1) * _FADES
        told[k] = strength[k] >= 1 or watch[slot] >= 0
    at = np.flatnonzero(told)
    return Judged(
        False, due, slots[at], g.frame_ms[slots[at]], score[at], needed[at], strength[at], moved[at], grown[at]
    )
