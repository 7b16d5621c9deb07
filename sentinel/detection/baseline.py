"""Base tier: what each series is usually like, and how far a sample is from that.

Constants, and those functions that serve whole float32 columns in NumPy and, compiled in `kernel`, one number each.

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

from sentinel.detection.season import DAYS_TRUSTED

Singles = NDArray[np.float32]
Floats = NDArray[np.float64]
Longs = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Chosen once over the NAB, SMD and ASD files together, as a compromise: neighbouring values change little.
LEVEL_RATE = np.float32(0.02)
SPREAD_RATE = np.float32(0.005)
DAILY_LEVEL_RATE = np.float32(0.05)
DAILY_SPREAD_RATE = np.float32(0.001)
CLIP = np.float32(4.0)
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

# How fast a series moves and whether its level has moved are told by means of unlike memory, as in control charts by
# exponential weighting (Roberts, Technometrics 1(3), 1959): a sample against three, and twenty against five hundred.
# These were chosen after six trials on SMD's training parts (benchmarks/detection_parts.py), none of it by series.
QUICK_RATE = np.float32(0.3)
RECENT_RATE = np.float32(0.05)
SLOW_RATE = np.float32(0.002)
FIRST_SHIFT_Q99 = 0.5
SHIFT_FROM_MS = 104_400_000  # 29 hours: before, the rise of a first morning would be a shift
FASTER = np.float32(1.2)  # times the fastest move in memory, put right by how rare an alarm is to be
FASTEST_MEMORY = np.float32(1e4)  # samples, after which the record has faded to a third
FASTEST_FADES = np.float32(0.9999)
YOUNG_FADES = np.float32(0.2)  # of a young series, whose first record is a guess: by sample, over their number
FASTEST_GROWS = np.float32(1.5)  # at most, by sample: an outlier is no speed
FIRST_FASTEST = 3.0
LEAST_FASTEST = np.float32(3.0)  # in least spreads that count

FLAT_LEAST = np.float32(15.0)  # a run this long of one value is nothing in a series that moves
FLAT_TIMES = np.float32(4.0)  # as long as the longest run before
CAUTION_FADES = np.float32(0.9995)  # a sample, of what a series has become more cautious by
_DAY_S = 86_400.0


def floor(level: Singles, zero: Singles) -> Singles:
    """The least spread that counts at `level`; `zero` is where the value nought lies in the units of the series."""
    least: Singles = np.abs(level - zero) * RELATIVE_FLOOR + TINY
    return least


def trusts_season(plain_error: Singles, daily_error: Singles, days: Singles) -> Bools:
    """Where the table by time of day has proved itself; `days` it has been learned for.

    Spreads would not tell: the plain model's is of the samples that it did not flag.
    """
    trusted: Bools = (days >= DAYS_TRUSTED) & (daily_error < SEASON_PROVEN * plain_error)
    return trusted


def spoken(seen: Singles, since_ms: Longs, at_ms: Longs) -> Floats:
    """How often a day a series speaks, by its own count since it began to learn."""
    lasted_s = np.maximum(at_ms - since_ms, 1) / 1000.0
    often: Floats = np.maximum(seen, 1) * (_DAY_S / lasted_s)
    return often


def remembered(seen: Singles) -> Singles:
    """How many samples the record of a series' speed is of."""
    count: Singles = np.minimum(np.maximum(seen, np.float32(1.0)), FASTEST_MEMORY)
    return count


def threshold(q99: Singles, excess: Singles, samples_a_day: Singles, alarms_per_day: Singles) -> Singles:
    """Distance in spreads that a sample of a series passes `alarms_per_day` times a day, as far as its past tells.

    Beyond the 99th percentile q the tail is taken to be exponential with mean excess e: P(z > x) = 0.01 exp(-(x-q)/e).
    """
    odds = np.maximum(TAIL * samples_a_day / alarms_per_day, np.float32(np.e))
    needed: Singles = q99 + excess * np.log(odds)
    return needed


def move_excess(q99: Singles, excess: Singles, z: Singles, needed: Singles) -> Singles:
    """The mean excess of rows whose `z` is over their percentile and below `needed`.

    What lies beyond `needed` is not learned, so the mean is put right by what an exponential tail cut there lacks.
    """
    cut = np.maximum((needed - q99) / excess, np.float32(1.0))
    seen = 1 - cut / np.expm1(np.minimum(cut, np.float32(50.0)))
    beyond = np.minimum(z - q99, EXCESS_CLIP * excess) / seen
    moved: Singles = excess + EXCESS_RATE * (beyond - excess)
    return moved
