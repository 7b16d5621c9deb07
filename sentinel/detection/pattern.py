"""Pattern tier: has this series ever looked like it does now?

The last blocks of a series are compared, as they are (not z-normalised), with every earlier stretch of the same
length; the distance to the nearest is turned into a tail probability by the series' own history of such distances.
A value outside everything ever seen is novel as well. Purely online: a score depends on the past alone.

The distance to the stretch that lies L blocks back is a running sum, so that a block costs O(lags) whatever the length
of the pattern: D_L <- D_L + (x[t] - x[t-L])^2 - (x[t-m] - x[t-m-L])^2. It is kept in float64, for in float32 a spike
would leave its rounding behind. Nearest-neighbour novelty over lags is the discord of the left matrix profile (Yeh
and others, ICDM 2016) without its normalisation, which hides the amplitude that matters in telemetry.
"""

from dataclasses import dataclass, fields
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """One resolution: means of `block` samples, patterns of `length` blocks, compared up to `lags` blocks back."""

    block: int
    length: int
    lags: int
    weight: float


# Chosen on the part of Numenta's benchmark that docs/detection.md names, after some ten settings were compared there.
SCALES: Final = (Scale(block=12, length=4, lags=333, weight=1.0), Scale(block=24, length=12, lags=167, weight=0.5))
BINS = 200
BINS_A_DECADE = BINS / 12
LOWEST_DECADE = -6
FORGETS = 0.0003  # share of a series' histogram of distances that a sample forgets
BEYOND = 0.3  # e-folds of probability that a distance loses for each bin beyond the farthest ever seen
NOVELTY_CAP = 9.0
MATURE_BLOCKS = 15  # distances known before one is judged
UNIT_SAMPLES = 150  # samples whose spread is the unit of a series' distances
RANGE_AFTER = 20  # samples before leaving the known range means something
RANGE_HALF = 0.02  # leaving the range by this share of it is half as novel as leaving it altogether
RANGE_NOVELTY = 4.0
SILENCE = 115  # samples after an alarm in which no second is raised
X_CAP = 1e9
_CHUNK = 128  # rows at once, so that the work stays in the processor's cache
_HEAVY = 1e30  # weight at which a growing histogram is scaled back


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
        self.levels = [_Level(_pasts(scale, 0, capacity), scale) for scale in scales]

    def __len__(self) -> int:
        return self.used

    def add(self) -> int:
        """The slot of one more series."""
        if self.used == len(self.shape.seen):
            more = max(16, self.used)
            self.shape = _joined(self.shape, _shapes(more))
            for level in self.levels:
                level.past = _joined(level.past, _pasts(level.scale, self.used, more))
        self.used += 1
        return self.used - 1

    def adopt(self, other: "PatternTier", slots: Rows) -> Rows:
        """Take these series of another over, and answer their slots here."""
        before = self.used
        used = np.arange(before)
        self.shape = _joined(_picked(self.shape, used), _picked(other.shape, slots))
        for level, theirs in zip(self.levels, other.levels, strict=True):
            level.past = _joined(_picked(level.past, used), _picked(theirs.past, slots))
        self.used = before + len(slots)
        return np.arange(before, self.used)

    def step(self, rows: Rows, values: Floats, floor: Floats, alarm: Floats) -> tuple[Floats, Floats]:
        """Score one sample each of different series, then learn it: novelty float64[n], 0 to NOVELTY_CAP, twice.

        The first is as it is; the second is 0 for SILENCE samples after it has reached `alarm`, float64[n].
        values: finite, float64[n]. floor: smallest range that counts, float64[n], in units of the values.
        """
        shape = self.shape
        first = shape.seen[rows] == 0
        if first.any():
            fresh, began = rows[first], values[first]
            shape.origin[fresh] = shape.low[fresh] = shape.high[fresh] = began
            shape.unit[fresh] = np.where(np.abs(began) < 1e-290, 1.0, np.abs(began) / 1024)
        x = np.clip((values - shape.origin[rows]) / shape.unit[rows], -X_CAP, X_CAP)
        now = self._range(rows, values, floor)
        seen = shape.seen[rows]
        young = seen < UNIT_SAMPLES
        if young.any():
            shape.total[rows[young]] += x[young]
            shape.squares[rows[young]] += x[young] ** 2
        counted = np.minimum(seen + 1, UNIT_SAMPLES)
        mean = shape.total[rows] / counted
        spread = np.sqrt(np.maximum(shape.squares[rows] / counted - mean**2, 0.0))
        for level in self.levels:
            level.step(rows, x, np.maximum(spread, 1e-9))
            np.maximum(now, level.scale.weight * level.past.novelty[rows], out=now)
        shape.seen[rows] += 1
        older, oldest = shape.older[rows], shape.oldest[rows]
        shape.older[rows], shape.oldest[rows] = now, older
        # The mean of the two largest of the last three: one sample alone is no pattern.
        novelty = (oldest + older + now - np.minimum(np.minimum(oldest, older), now)) / 2
        silent = shape.silent[rows]
        heard = np.where(silent > 0, 0.0, novelty)
        shape.silent[rows] = np.where(heard >= alarm, SILENCE, np.maximum(silent - 1, 0))
        return novelty, heard

    def _range(self, rows: Rows, values: Floats, floor: Floats) -> Floats:
        shape = self.shape
        low, high = shape.low[rows], shape.high[rows]
        outside = np.maximum(np.maximum(values - high, low - values), 0.0)
        share = outside / np.maximum(high - low, floor)
        seen = shape.seen[rows]
        # The newest of n samples is the farthest ever by chance once in n.
        most = np.minimum(np.log10(np.maximum(seen, 1)), RANGE_NOVELTY)
        novelty = np.where(seen >= RANGE_AFTER, most * share / (share + RANGE_HALF), 0.0)
        shape.low[rows] = np.minimum(low, values)
        shape.high[rows] = np.maximum(high, values)
        return novelty


class _Level:
    """One scale of every series."""

    def __init__(self, past: Past, scale: Scale) -> None:
        self.past = past
        self.scale = scale

    def step(self, rows: Rows, x: Floats, spread: Floats) -> None:
        block = self.scale.block
        self.past.sum[rows] += x
        self.past.filled[rows] += 1
        done = np.flatnonzero(self.past.filled[rows] >= block)
        for start in range(0, len(done), _CHUNK):
            at = done[start : start + _CHUNK]
            self._block(rows[at], spread[at])

    def _block(self, rows: Rows, spread: Floats) -> None:
        length, lags = self.scale.length, self.scale.lags
        history = np.empty((len(rows), length + lags + 1), np.float32)
        history[:, 1:] = self.past.history[rows, :-1]
        history[:, 0] = self.past.sum[rows] / (self.scale.block - self.past.offset[rows])
        self.past.history[rows] = history
        self.past.offset[rows] = 0
        self.past.sum[rows] = 0.0
        self.past.filled[rows] = 0
        blocks = self.past.blocks[rows] + 1
        self.past.blocks[rows] = blocks

        known = blocks - 2 * length + 1  # lags whose stretch lies wholly in what was seen
        judged = np.flatnonzero(known > 0)
        if len(judged):
            nearest = self._nearest(history[judged], known[judged])
            self._judge(rows[judged], nearest / spread[judged])

    def _nearest(self, history: Singles, known: Rows) -> Floats:
        """Distance from the newest pattern to the nearest earlier one: lags length to length + known - 1."""
        length, lags = self.scale.length, self.scale.lags
        # Summed anew for each block: a running sum over the lags would save little for patterns so short, and would
        # have to be kept in float64, for in float32 a spike leaves its rounding behind.
        total = np.subtract(history[:, :1], history[:, length : lags + 1])
        np.multiply(total, total, out=total)
        square = np.empty_like(total)
        for block in range(1, length):
            np.subtract(history[:, block, None], history[:, length + block : lags + block + 1], out=square)
            np.multiply(square, square, out=square)
            np.add(total, square, out=total)
        short = np.flatnonzero(known < total.shape[1])
        if len(short):
            total[short] = np.where(np.arange(total.shape[1]) < known[short, None], total[short], np.inf)
        nearest: Floats = np.sqrt(total.min(axis=1)).astype(np.float64)
        return nearest

    def _judge(self, rows: Rows, nearest: Floats) -> None:
        """Turn the distance to the nearest earlier stretch into novelty, then remember it."""
        place = (np.log10(np.maximum(nearest, 10.0**LOWEST_DECADE)) - LOWEST_DECADE) * BINS_A_DECADE
        bins = np.minimum(place, BINS - 1).astype(np.int64)
        histogram = self.past.histogram[rows]
        weight = self.past.weight[rows]
        own = np.take_along_axis(histogram, bins[:, None], axis=1)[:, 0]
        above = np.where(np.arange(BINS) > bins[:, None], histogram, 0).sum(axis=1)
        farthest = self.past.farthest[rows]
        beyond = np.exp(-BEYOND * np.maximum(bins - farthest, 0))
        tail = (above + own / 2 + weight / 2) * np.where(bins > farthest, beyond, 1.0)
        total = histogram.sum(axis=1) + weight
        mature = self.past.judged[rows] >= max(MATURE_BLOCKS, round(60 / self.scale.block))
        self.past.novelty[rows] = np.where(mature, np.minimum(-np.log10(tail / total), NOVELTY_CAP), 0.0)

        # Growing weights forget as decaying counts would, and touch one bin instead of all.
        self.past.histogram[rows, bins] += weight.astype(np.float32)
        self.past.farthest[rows] = np.maximum(farthest, bins)
        self.past.judged[rows] += 1
        weight = weight / (1 - FORGETS) ** self.scale.block
        heavy = weight > _HEAVY
        if heavy.any():
            self.past.histogram[rows[heavy]] /= np.float32(_HEAVY)
            weight[heavy] /= _HEAVY
        self.past.weight[rows] = weight


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
