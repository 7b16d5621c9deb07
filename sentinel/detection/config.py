"""The knobs of the detector that an operator sees."""

from dataclasses import dataclass

from sentinel.errors import Invalid


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorConfig:
    """Counts are of samples of the series, so that any interval works.

    grace_samples: learned before a series is first scored. open_score, close_score: in spreads of the series.
    open_after: consecutive samples beyond open_score, on one side, that open an anomaly. close_after: consecutive
    samples below close_score that end it. relearn_after, relearn_after_s: a series flagged for both this many samples
    and this long is taken to have a new normal, and learns afresh. no_data_after_s: silence after which health
    is no data. max_series: of this detector.

    Raises Invalid for a value that makes no sense.
    """

    grace_samples: int = 60
    open_score: float = 6.0
    close_score: float = 3.0
    open_after: int = 3
    close_after: int = 5
    relearn_after: int = 300
    relearn_after_s: float = 7200
    no_data_after_s: float = 900
    max_series: int = 200_000

    def __post_init__(self) -> None:
        least: dict[str, float] = {
            "grace_samples": 2,
            "open_after": 1,
            "close_after": 1,
            "relearn_after": 1,
            "relearn_after_s": 0,
            "max_series": 1,
        }
        for name, lowest in least.items():
            if not getattr(self, name) >= lowest:
                raise Invalid(f"detection.{name}", getattr(self, name), f"at least {lowest}")
        if not self.no_data_after_s > 0:
            raise Invalid("detection.no_data_after_s", self.no_data_after_s, "more than 0")
        if not 0 < self.close_score <= self.open_score:
            raise Invalid(
                "detection.close_score", self.close_score, f"above 0 and at most open_score {self.open_score}"
            )
