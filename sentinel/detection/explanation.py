"""Why an anomaly is one: what was usual, how far the series went, what the threshold was and where it came from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sentinel.clock import iso
from sentinel.detection.anomaly import Anomaly
from sentinel.detection.parts import SAYS, Part
from sentinel.detection.season import place_of
from sentinel.detection.weighing import OPEN_SCORE
from sentinel.ids import Fingerprint

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]

_SHOWN = 3  # metrics of a service that the sentence names
_NOTED = 1.05  # a caution below this is not worth a word


@dataclass(frozen=True, slots=True)
class Band:
    """What was expected of a series when its anomaly opened, in its own units: one number, or one a slot of the week.

    A sample outside [low, high] is further out than the opening threshold.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    def at(self, at_ms: Longs) -> tuple[Floats, Floats]:
        """The band at each of these times, float64[n] twice."""
        low, high = np.array(self.low), np.array(self.high)
        if len(low) == 1 or not len(at_ms):
            return np.full(len(at_ms), low[0]), np.full(len(at_ms), high[0])
        slots = place_of(at_ms)[1]
        return low[slots], high[slots]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """How far one metric of a service is from where it usually is, in its own slow spreads; below nought for down."""

    fingerprint: Fingerprint
    metric: str
    labels: Mapping[str, str]
    spreads: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The parts of a score. Distances and thresholds are in spreads of the series; values in its own units.

    part: which part of the score spoke first. value: the sample that scored highest. usual, spread: what the model in
    use (`seasonal`: by time of day) expects and how much it varies. threshold = (percentile + what lies beyond it) *
    caution, where a sample of the series passes the first `alarms_per_day` times a day by its own past, `percentile` is
    its running 99th and `excess` the mean of what is over that; caution is above 1 for a series that alarmed not long
    ago. same_for, same_threshold: samples of one value on end, and how many are too many, 0 where that is no longer
    known. novelty, novelty_threshold: of the shape, as powers of ten; None for a series that is not compared with its
    past. rule, rule_limit: the one that is breached; silent_s: allowed silence, None for any. moved: of a whole
    service, the metrics that are furthest out.

    Of a whole service, value and threshold are in 99th percentiles of how far its metrics are out together.
    """

    fingerprint: Fingerprint
    service: str
    metric: str
    part: str
    direction: Literal["up", "down"]
    value: float
    score: float
    usual: float
    spread: float
    distance: float
    threshold: float
    expected_low: float
    expected_high: float
    percentile: float
    excess: float
    caution: float
    samples_a_day: float
    alarms_per_day: float
    policy: str
    seasonal: bool = False
    same_for: int = 0
    same_threshold: int = 0
    novelty: float | None = None
    novelty_threshold: float | None = None
    rule: str = ""
    rule_limit: float | None = None
    silent_s: float | None = None
    last_at_ms: int = 0
    moved: tuple[Moved, ...] = ()

    @property
    def why(self) -> str:
        """One sentence for people: what was seen, what the threshold was, and why it was that."""
        return _SENTENCES.get(Part[self.part.upper()], _far)(self)

    def worse(self, anomaly: Anomaly) -> "Explanation":
        """The same of the anomaly's highest sample so far; the threshold stays the one it opened at."""
        if anomaly.value == self.value and anomaly.score == self.score:
            return self
        usual = middle(anomaly.expected_low, anomaly.expected_high)
        if self.part == Part.SERVICE.label:
            return replace(self, value=anomaly.value, score=anomaly.score, distance=anomaly.value)
        flat = self.part == Part.FLAT.label and self.same_threshold > 0
        return replace(
            self,
            value=anomaly.value,
            score=anomaly.score,
            usual=usual,
            distance=ratio(abs(anomaly.value - usual), self.spread),
            same_for=round((self.same_threshold - 2) * anomaly.score / OPEN_SCORE) + 1 if flat else self.same_for,
        )


def middle(low: float, high: float) -> float:
    """Half way, also where the sum of the two would overflow."""
    return low + (high / 2 - low / 2)


def ratio(value: float, unit: float) -> float:
    """`value` in `unit`s; 0 where that is no number, for a series so small or so large that floats end."""
    share = value / unit if unit else 0.0
    return share if math.isfinite(share) else 0.0


def number(value: float) -> str:
    """A number as people read it: four digits, no trailing noughts, powers of ten only for small and huge ones."""
    if not 1e4 <= abs(value) < 1e9:
        return f"{value:.4g}"
    return f"{value:.0f}"


def spreads(distance: float) -> str:
    """A distance in spreads, in as many digits as tell it from its threshold."""
    return f"{distance:.2f}" if distance < 2 else f"{distance:.1f}"


def _often(rate: float) -> str:
    """`0.01 times a day` in words that mean something to people."""
    return f"{number(rate)} times a day" if rate >= 0.5 else f"once in {number(1 / rate)} days"


def _caution(of: Explanation) -> str:
    return f", times {of.caution:.1f} as it alarmed not long ago" if of.caution >= _NOTED else ""


def _far(of: Explanation) -> str:
    side = "above" if of.value >= of.usual else "below"
    when = " at this time of day" if of.seasonal else ""
    beyond = of.threshold / of.caution - of.percentile
    return (
        f"{number(of.value)} is {of.distance:.1f} spreads {side} what is usual{when} ({number(of.usual)}); an anomaly "
        f"opens at {of.threshold:.1f}: {beyond:.1f} beyond its own 99th percentile of {of.percentile:.1f}, which a "
        f"sample of it passes {_often(of.alarms_per_day)} by its own past (policy {of.policy}){_caution(of)}"
    )


def _flat(of: Explanation) -> str:
    many = f", and {of.same_threshold} are too many" if of.same_threshold else ""
    return (
        f"{number(of.value)} came {of.same_for} times on end{many}: more than four times its longest such run before, "
        "and more than 60"
    )


def _pattern(of: Explanation) -> str:
    if of.novelty is None or of.novelty_threshold is None:
        return SAYS[Part.PATTERN]
    return (
        f"{SAYS[Part.PATTERN]}: novelty {of.novelty:.1f}, one in {number(10**of.novelty)} of its stretches; an anomaly "
        f"opens at {of.novelty_threshold:.1f}, passed {_often(of.alarms_per_day)} by its own past (policy {of.policy})"
    )


def _rule(of: Explanation) -> str:
    return f"{number(of.value)} is {of.rule or 'out of bounds'}, a rule that people set (policy {of.policy})"


def _silent(of: Explanation) -> str:
    allowed = "" if of.silent_s is None else f", and policy {of.policy} allows {number(of.silent_s)} s of silence"
    return f"silent since {iso(of.last_at_ms)[:19]}Z{allowed}; its last value was {number(of.value)}"


def _together(of: Explanation) -> str:
    most = ", ".join(
        f"{each.metric} {'up' if each.spreads >= 0 else 'down'} {abs(each.spreads):.1f} spreads"
        for each in of.moved[:_SHOWN]
    )
    return (
        f"the metrics of {of.service} are together {of.distance:.1f} times as far out as the 99th percentile of their "
        f"past; an anomaly opens at {of.threshold:.1f}, passed {_often(of.alarms_per_day)} by that past{_caution(of)}"
        + (f"; most: {most}" if most else "")
    )


def _faster(of: Explanation) -> str:
    side = "above" if of.value >= of.usual else "below"
    return (
        f"{number(of.value)} is {spreads(of.distance)} spreads {side} the samples just before it ({number(of.usual)}), "
        f"a move faster than any it made before; an anomaly opens at {spreads(of.threshold)} (policy {of.policy})"
        f"{_caution(of)}"
    )


def _moved(of: Explanation) -> str:
    side = "above" if of.value >= of.usual else "below"
    return (
        f"the mean of its newest samples, {number(of.value)}, is {spreads(of.distance)} spreads {side} that of the "
        f"last several hundred ({number(of.usual)}); an anomaly opens at {spreads(of.threshold)}, by as much beyond "
        f"its own 99th percentile of {spreads(of.percentile)} as a sample of it comes {_often(of.alarms_per_day)} "
        f"(policy {of.policy})"
        f"{_caution(of)}"
    )


_SENTENCES = {
    Part.CHANGE: _faster,
    Part.SHIFT: _moved,
    Part.FLAT: _flat,
    Part.PATTERN: _pattern,
    Part.RULE: _rule,
    Part.NO_DATA: _silent,
    Part.SERVICE: _together,
}
