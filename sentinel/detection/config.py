"""The knobs of the detector that an operator sees: one `DetectorConfig`, and a `Policy` for each kind of series."""

import fnmatch
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sentinel.errors import Invalid
from sentinel.telemetry.series import Series


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnRate:
    """An objective for a series of the share of bad events, 0 to 1, and how fast its budget may burn.

    Unusual while the mean over both windows is above `factor` times the share of errors that the objective allows.
    Source: the multi-window alerts of Google's Site Reliability Workbook, chapter 5.
    """

    objective: float
    factor: float = 14.4
    long_s: float = 3600
    short_s: float = 300

    def __post_init__(self) -> None:
        if not 0 < self.objective < 1:
            raise Invalid("detection.policies.slo.objective", self.objective, "above 0 and below 1, such as 0.999")
        if not (self.factor > 0 and self.factor * (1 - self.objective) < 1):
            raise Invalid("detection.policies.slo.factor", self.factor, f"below {1 / (1 - self.objective):.4g}")
        if not 0 < self.short_s < self.long_s:
            raise Invalid("detection.policies.slo.short_s", self.short_s, f"above 0 and below long_s {self.long_s}")

    @property
    def limit(self) -> float:
        """The share of bad events that is too much."""
        return self.factor * (1 - self.objective)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How the series it matches are judged. What is left unset is as in `DetectorConfig`.

    metric, service: shell patterns (`*`, `?`, `[…]`). labels: shell patterns by label. watch: false scores
    nothing. direction: the side that matters. alarms_per_day: false alarms a day that one series may raise. above,
    below: static thresholds, beside what is learned unless `learned` is false. pattern: whether to look for patterns
    never seen. no_data_after_s: silence of a series that used to speak which is an anomaly of its own; None never.

    Raises Invalid for a value that makes no sense.
    """

    name: str = "default"
    metric: str = "*"
    service: str = "*"
    labels: Mapping[str, str] = field(default_factory=dict)
    watch: bool = True
    direction: Literal["both", "up", "down"] = "both"
    alarms_per_day: float | None = None
    learned: bool = True
    above: float | None = None
    below: float | None = None
    slo: BurnRate | None = None
    pattern: bool | None = None
    no_data_after_s: float | None = None

    def __post_init__(self) -> None:
        where = f"detection.policies[{self.name}]"
        if self.alarms_per_day is not None and not 0 < self.alarms_per_day < math.inf:
            raise Invalid(f"{where}.alarms_per_day", self.alarms_per_day, "more than 0")
        if self.no_data_after_s is not None and not 0 < self.no_data_after_s < math.inf:
            raise Invalid(f"{where}.no_data_after_s", self.no_data_after_s, "more than 0")
        if self.no_data_after_s is not None and not self.watch:
            raise Invalid(f"{where}.no_data_after_s", self.no_data_after_s, "nothing beside watch: false")
        for name, limit in (("above", self.above), ("below", self.below)):
            if limit is not None and not math.isfinite(limit):
                raise Invalid(f"{where}.{name}", limit, "a finite number")
        if self.above is not None and self.below is not None and self.below >= self.above:
            raise Invalid(f"{where}.below", self.below, f"less than above, {self.above}")
        if self.watch and not self.learned and self.above is None and self.below is None and self.slo is None:
            raise Invalid(f"{where}.learned", self.learned, "above, below or slo beside it, or else watch: false")

    def matches(self, series: Series) -> bool:
        """Whether it is the policy of this series, unless an earlier one is."""
        return (
            fnmatch.fnmatchcase(series.metric, self.metric)
            and fnmatch.fnmatchcase(series.service, self.service)
            and all(fnmatch.fnmatchcase(series.labels.get(name, ""), want) for name, want in self.labels.items())
        )


DEFAULT = Policy()


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorConfig:
    """Counts are of samples of the series, so that any interval works.

    grace_samples: learned before a series is first scored. alarms_per_day: how many false alarms a day one series may
    raise, as far as its own past tells; fewer means less sensitive. open_after: consecutive samples beyond the opening
    threshold, on one side, that open an anomaly. close_after: consecutive samples below half of it that end one.
    relearn_after, relearn_after_s: a series flagged for both this many samples and this long is taken to have a new
    normal, and learns afresh. no_data_after_s: silence after which health is no data. max_series: of this detector.
    pattern_series: how many may be compared with their own past shapes, about 4 KB each. service_score: whether the
    metrics of a service are also judged together. policies: the first that matches a series is its own.

    Raises Invalid for a value that makes no sense.
    """

    grace_samples: int = 60
    alarms_per_day: float = 0.05
    open_after: int = 3
    close_after: int = 5
    relearn_after: int = 300
    relearn_after_s: float = 7200
    no_data_after_s: float = 900
    max_series: int = 200_000
    pattern_series: int = 1_000
    service_score: bool = True
    policies: tuple[Policy, ...] = ()

    def __post_init__(self) -> None:
        least: dict[str, float] = {
            "grace_samples": 2,
            "open_after": 1,
            "close_after": 1,
            "relearn_after": 1,
            "relearn_after_s": 0,
            "max_series": 1,
            "pattern_series": 0,
        }
        for name, lowest in least.items():
            if not getattr(self, name) >= lowest:
                raise Invalid(f"detection.{name}", getattr(self, name), f"at least {lowest}")
        for name in ("no_data_after_s", "alarms_per_day"):
            if not 0 < getattr(self, name) < math.inf:
                raise Invalid(f"detection.{name}", getattr(self, name), "more than 0")
        names = [policy.name for policy in self.policies]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise Invalid("detection.policies", twice, "a name of its own for each policy")

    def policy_of(self, series: Series) -> int:
        """The place in `policies` of the first that matches; len(policies) for none, whose policy is DEFAULT."""
        return next((place for place, each in enumerate(self.policies) if each.matches(series)), len(self.policies))
