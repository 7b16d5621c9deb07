"""Base tier: what each series is usually like, and how far a sample is from that. Pure functions over float32 columns.

A series is measured from an `origin` in a `unit` of its own, so that float32 suffices for any magnitude; both are set
anew when its grace ends. Two models run side by side, each a level and a spread by exponential weighting with Huber's
clipping: one follows the series, the other follows what is left of it after a table by time of day. The one with the
clearly smaller spread speaks. The distance from the level in spreads is then held against the series' own 99th
percentile and mean excess (peaks over threshold with an exponential tail, as in Siffer and others, "Anomaly Detection
in Streams with Extreme Value Theory", KDD 2017), so that one setting means the same for calm and for wild series.

Scaling or shifting a series leaves its scores as they are to float32's precision, while its spread is above the floor.
"""

import numpy as np
from numpy.typing import NDArray

from sentinel.detection.columns import Baseline
from sentinel.detection.season import DAYS_TRUSTED

Singles = NDArray[np.float32]
Bools = NDArray[np.bool_]

# Chosen once over the NAB, SMD and ASD files together, as a compromise: neighbouring values change little.
LEVEL_RATE = np.float32(0.02)
SPREAD_RATE = np.float32(0.005)
DAILY_LEVEL_RATE = np.float32(0.05)
DAILY_SPREAD_RATE = np.float32(0.001)
CLIP = np.float32(4.0)
YOUNG = 1 / DAILY_SPREAD_RATE  # samples after which all rates are constant
CLIP_FROM = 10  # before this many samples the spread is too rough to cut by
SEASON_PROVEN = np.float32(0.8)  # the table speaks once it leaves less than this share of the plain residuals
ERROR_RATE = np.float32(0.002)

# A constant series has no spread of its own. A change of less than six times this share of its level then wakes
# nobody; without it the last digit of a counter would.
RELATIVE_FLOOR = np.float32(1e-3)
TINY = np.float32(1e-9)

Z_CAP = np.float32(1000.0)  # beyond it "how many spreads" says nothing more
X_CAP = np.float32(2.0**60)  # squares of it are finite in float32

TAIL = np.float32(0.01)  # share of samples beyond the running percentile
TAIL_RATE = np.float32(0.005)
EXCESS_RATE = np.float32(0.05)
EXCESS_CLIP = np.float32(5.0)
FIRST_Q99, FIRST_EXCESS = 2.8, 0.35  # near a Gaussian's 2.6 and 0.34, on the side of silence
LEAST_Q99 = np.float32(0.5)


def floor(level: Singles, zero: Singles) -> Singles:
    """The least spread that counts at `level`; `zero` is where the value nought lies in the units of the series."""
    least: Singles = np.abs(level - zero) * RELATIVE_FLOOR + TINY
    return least


def distance(residual: Singles, spread: Singles, least: Singles) -> Singles:
    """Distance in spreads, 0 to Z_CAP."""
    z: Singles = np.minimum(np.abs(residual) / np.maximum(spread, least), Z_CAP)
    return z


def learn(
    residual: Singles,
    spread: Singles,
    least: Singles,
    even: Singles | None,
    clips: Bools | None,
    level_rate: np.float32,
    spread_rate: np.float32 | Singles,
) -> tuple[Singles, Singles]:
    """How much the level moves for a residual, and the spread after it.

    even: 1/n of a young series, which weighs its samples alike; None where all are past that. clips: which rows have a
    spread to cut by; None for all.
    """
    bound = CLIP * np.maximum(spread, least)
    cut = np.minimum(residual, bound)
    np.negative(bound, out=bound)
    np.maximum(cut, bound, out=cut)
    if even is None or clips is None:
        squares = np.square(spread)
        squares *= 1 - spread_rate
        np.square(cut, out=bound)
        bound *= spread_rate
        squares += bound
        return level_rate * cut, np.sqrt(squares, out=squares)
    np.copyto(cut, residual, where=~clips)
    rate = np.maximum(even, spread_rate)
    step = np.maximum(even, level_rate) * cut
    # The first sample is the level, and says nothing of the spread.
    return step, np.sqrt((1 - rate) * np.square(spread) + (rate * (even < 1)) * np.square(cut))


def trusts_season(base: Baseline, days: Singles) -> Bools:
    """Where the table by time of day has proved itself; `days` it has been learned for.

    Spreads would not tell: the plain model's is of the samples that it did not flag.
    """
    trusted: Bools = (days >= DAYS_TRUSTED) & (base.daily_error < SEASON_PROVEN * base.plain_error)
    return trusted


def threshold(q99: Singles, excess: Singles, samples_a_day: Singles, alarms_per_day: Singles) -> Singles:
    """Distance in spreads that a sample of a series passes `alarms_per_day` times a day, as far as its past tells.

    Beyond the 99th percentile q the tail is taken to be exponential with mean excess e: P(z > x) = 0.01 exp(-(x-q)/e).
    """
    odds = np.maximum(TAIL * samples_a_day / alarms_per_day, np.float32(np.e))
    needed: Singles = q99 + excess * np.log(odds)
    return needed


def move_percentile(q99: Singles, seen: Singles, over: Bools, young: bool) -> Singles:
    """The running 99th percentile after a sample that was over it, or was not; a `young` one moves faster."""
    rate = np.maximum(TAIL_RATE, np.float32(4.0) / (seen + np.float32(20.0))) if young else TAIL_RATE
    moved: Singles = np.maximum(q99 * (over * rate + (1 - rate * TAIL)), LEAST_Q99)
    return moved


def move_excess(q99: Singles, excess: Singles, z: Singles, needed: Singles) -> Singles:
    """The mean excess of rows whose `z` is over their percentile and below `needed`.

    What lies beyond `needed` is not learned, so the mean is put right by what an exponential tail cut there lacks.
    """
    cut = np.maximum((needed - q99) / excess, np.float32(1.0))
    seen = 1 - cut / np.expm1(np.minimum(cut, np.float32(50.0)))
    beyond = np.minimum(z - q99, EXCESS_CLIP * excess) / seen
    moved: Singles = excess + EXCESS_RATE * (beyond - excess)
    return moved
