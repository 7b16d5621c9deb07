"""Pattern tier: has this series ever looked like it does now?

The last blocks of a series are compared, as they are (not z-normalised), with every earlier stretch of the same
length; the distance to the nearest is turned into a tail probability by the series' own history of such distances.
A value outside everything ever seen is novel as well. Purely online: a score depends on the past alone.

Nearest-neighbour novelty over lags is the discord of the left matrix profile (Yeh and others, ICDM 2016) without its
normalisation, which hides the amplitude that matters in telemetry. The arithmetic is in `shapes`.
"""

from dataclasses import dataclass, fields
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from sentinel.detection import shapes
from sentinel.detection.shapes import BINS, Scale

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Rows = NDArray[np.int64]

# Chosen on the part of Numenta's benchmark that docs/detection.md names, after some ten settings were compared there.
SCALES: Final = (Scale(block=12, length=4, lags=333, weight=1.0), Scale(block=24, length=12, lags=167, weight=0.5))


@dataclass(slots=True)
class Shape:
    """One row a series. seen: samples. origin, unit: x = (value - origin) / unit is compared. total, squares: sums of x
    and of its squares over the first UNIT_SAMPLES. low, high: the range ever seen. now, older, oldest: the last three
    novelties. silent: samples until another alarm may be raised."""

    seen: Rows
    origin: Floats
    unit: Floats
    total: Floats
    squares: Floats
    low: Floats
    high: Floats
    older: Floats
    oldest: Floats
    silent: Rows


@dataclass(slots=True)
class Past:
    """One row a series, at one scale. history has the newest block first: [series, lags + length + 1].

    filled: samples in the block under way, of which `offset` are missing in the first; sum: of x over them. blocks:
    finished. histogram of distances with growing weights: [series, BINS]; weight: of the next. judged: distances in
    it. farthest: the last bin that is not empty. novelty: of the newest block.
    """

    filled: Rows
    offset: Rows
    sum: Floats
    blocks: Rows
    history: Singles
    histogram: Singles
    weight: Floats
    judged: Rows
    farthest: Rows
    novelty: Floats


Record = TypeVar("Record", Shape, Past)


class PatternTier:
    """Novelty of series by slot. Soft state; about 4 KB a series with the default scales."""

    def __init__(self, capacity: int = 0, scales: tuple[Scale, ...] = SCALES) -> None:
        self.scales = scales
        self.used = capacity
        self.shape = _shapes(capacity)
        self.pasts = [_pasts(scale, 0, capacity) for scale in scales]

    def __len__(self) -> int:
        return self.used

    def add(self) -> int:
        """The slot of one more series."""
        if self.used == len(self.shape.seen):
            more = max(16, self.used)
            self.shape = _joined(self.shape, _shapes(more))
            self.pasts = [
                _joined(past, _pasts(scale, self.used, more))
                for past, scale in zip(self.pasts, self.scales, strict=True)
            ]
        self.used += 1
        return self.used - 1

    def adopt(self, other: "PatternTier", slots: Rows) -> Rows:
        """Take these series of another over, and answer their slots here."""
        before = self.used
        used = np.arange(before)
        self.shape = _joined(_picked(self.shape, used), _picked(other.shape, slots))
        self.pasts = [
            _joined(_picked(past, used), _picked(theirs, slots))
            for past, theirs in zip(self.pasts, other.pasts, strict=True)
        ]
        self.used = before + len(slots)
        return np.arange(before, self.used)

    def step(self, rows: Rows, values: Floats, floor: Floats, alarm: Floats) -> tuple[Floats, Floats]:
        """Score one sample each of different series, then learn it: novelty float64[n], 0 to NOVELTY_CAP, twice.

        The first is as it is; the second is 0 for SILENCE samples after it has reached `alarm`, float64[n].
        values: finite, float64[n]. floor: smallest range that counts, float64[n], in units of the values.
        """
        shape, pasts = self.columns()
        novelty, heard = shapes.advance_shapes(rows, values, floor, alarm, shape, pasts, self.scales)
        return novelty, heard

    def columns(self) -> tuple[shapes.ShapeColumns, tuple[shapes.PastColumns, ...]]:
        """The same arrays as compiled code takes them, until a series is added."""
        pasts = tuple(shapes.PastColumns(*shapes.past_columns(past)) for past in self.pasts)
        return shapes.ShapeColumns(*shapes.shape_columns(self.shape)), pasts


def _shapes(rows: int) -> Shape:
    counts, sums = np.zeros((2, rows), np.int64), np.zeros((7, rows), np.float64)
    return Shape(
        seen=counts[0],
        origin=sums[0],
        unit=np.ones(rows, np.float64),
        total=sums[1],
        squares=sums[2],
        low=sums[3],
        high=sums[4],
        older=sums[5],
        oldest=sums[6],
        silent=counts[1],
    )


def _pasts(scale: Scale, first: int, rows: int) -> Past:
    # Block ends are staggered over the series: else all would work in the same step, and none in the next.
    offset = np.arange(first, first + rows) % scale.block
    return Past(
        filled=offset,
        offset=offset.copy(),
        sum=np.zeros(rows, np.float64),
        blocks=np.zeros(rows, np.int64),
        history=np.zeros((rows, scale.length + scale.lags + 1), np.float32),
        histogram=np.zeros((rows, BINS), np.float32),
        weight=np.ones(rows, np.float64),
        judged=np.zeros(rows, np.int64),
        farthest=np.full(rows, -1, np.int64),
        novelty=np.zeros(rows, np.float64),
    )


def _joined(one: Record, other: Record) -> Record:
    names = [each.name for each in fields(one)]
    return type(one)(**{name: np.concatenate((getattr(one, name), getattr(other, name))) for name in names})


def _picked(record: Record, rows: Rows) -> Record:
    return type(record)(**{each.name: getattr(record, each.name)[rows] for each in fields(record)})
