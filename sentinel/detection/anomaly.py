"""What detection says: a series turned unusual, or is back; and how a series is now."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from sentinel.ids import Fingerprint
from sentinel.telemetry.series import Series


@dataclass(frozen=True, slots=True, kw_only=True)
class Anomaly:
    """A span of samples of one series judged unusual; `ended_at_ms` is set once it is over.

    `value` is the sample that scored highest so far, outside the expected band
    [`expected_low`, `expected_high`]; `score` is its distance from what was expected, in spreads as a well-behaved
    series has them: an anomaly opens at 6, whatever series it is. `part` of the score spoke first, see `parts.Part`.
    """

    series: Series
    direction: Literal["up", "down"]
    score: float
    value: float
    expected_low: float
    expected_high: float
    started_at_ms: int
    last_at_ms: int
    ended_at_ms: int | None = None
    part: str = "level"


class Condition(StrEnum):
    """How a series is, as far as its detector knows."""

    NORMAL = "normal"
    ANOMALOUS = "anomalous"
    NO_DATA = "no_data"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesHealth:
    """The detector's word on one series, for verification. No data is never a success."""

    fingerprint: Fingerprint
    condition: Condition
    last_at_ms: int | None
    last_score: float
