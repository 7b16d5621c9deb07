"""What is watched and how it is judged: the `detection:` section, and its policies."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from sentinel.detection.config import BurnRate, DetectorConfig, Policy
from sentinel.errors import Invalid
from sentinel.settings_base import Positive, Section
from sentinel.telemetry.admission import Matcher, Watching


class Objective(Section):
    """`slo` of a policy: unusual while the budget of errors burns `factor` times as fast as `objective` allows."""

    objective: Annotated[float, Field(gt=0, lt=1)]
    factor: Positive = 14.4
    long_s: Positive = 3600
    short_s: Positive = 300

    @property
    def burn_rate(self) -> BurnRate:
        """The same as the detector knows it. Raises Invalid for windows or factors that make no sense."""
        return BurnRate(**dict(self))


class DetectionPolicy(Section):
    """How the series that it matches are judged; the first policy that matches a series is its own."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    metric: str = "*"
    service: str = "*"
    labels: Mapping[str, str] = {}
    watch: bool = True
    direction: Literal["both", "up", "down"] = "both"
    alarms_per_day: Positive | None = None
    learned: bool = True
    above: float | None = None
    below: float | None = None
    slo: Objective | None = None
    pattern: bool | None = None
    no_data_after_s: Positive | None = None

    @property
    def policy(self) -> Policy:
        """The same as the detector knows it. Raises Invalid for what makes no sense together."""
        return Policy(**{**dict(self), "slo": self.slo.burn_rate if self.slo else None})

    @model_validator(mode="after")
    def _makes_sense(self) -> "DetectionPolicy":
        try:
            self.policy  # noqa: B018 - its own checks are what is wanted
        except Invalid as error:
            raise ValueError(str(error)) from None
        return self


class SeriesMatch(Section):
    """Series by patterns (`*`, `?`, `[...]`) for their metric and for labels; all must match."""

    metric: str = "*"
    labels: Mapping[str, str] = {}


class Detection(Section):
    """What is watched, and how samples are scored. Counts are of samples of the series, so that any interval works.

    A series is watched if one of `watch` matches it, or `watch` is empty, and none of `ignore` does.
    """

    watch: tuple[SeriesMatch, ...] = ()
    ignore: tuple[SeriesMatch, ...] = ()
    partitions: Annotated[int, Field(ge=1, le=4096)] = 64
    actors: Annotated[int, Field(ge=1, le=256)] = 1
    grace_samples: Annotated[int, Field(ge=2)] = 60
    alarms_per_day: Positive = 0.05
    open_after: Annotated[int, Field(ge=1)] = 3
    close_after: Annotated[int, Field(ge=1)] = 5
    relearn_after: Annotated[int, Field(ge=1)] = 300
    relearn_after_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 7200
    no_data_after_s: Positive = 900
    max_series: Annotated[int, Field(ge=1)] = 200_000
    pattern_series: Annotated[int, Field(ge=0)] = 1_000
    service_score: bool = True
    policies: tuple[DetectionPolicy, ...] = ()
    max_pending_calls: Annotated[int, Field(ge=1)] = 256
    checkpoint_path: Annotated[str, Field(min_length=1)] = ".sentinel/checkpoints"  # or s3://BUCKET/PREFIX
    checkpoint_endpoint_url: str = ""  # of a store that speaks S3's API; empty for Amazon's
    checkpoint_every_s: Positive = 10
    curve_bytes: Annotated[int, Field(ge=0)] = 32 * 1024 * 1024  # an actor's newest samples, for curves; 0 for none

    @field_validator("checkpoint_path")
    @classmethod
    def _directory_or_bucket(cls, path: str) -> str:
        if "://" in path and not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.*'()/-]*)?", path):
            raise ValueError("a directory, or s3://BUCKET/PREFIX")
        return path

    @property
    def detector(self) -> DetectorConfig:
        """What a Detector needs of it."""
        named = DetectorConfig.__dataclass_fields__
        shared = {name: value for name, value in dict(self).items() if name in named and name != "policies"}
        return DetectorConfig(**shared, policies=tuple(each.policy for each in self.policies))

    @model_validator(mode="after")
    def _makes_sense(self) -> "Detection":
        try:
            self.detector  # noqa: B018 - its own checks are what is wanted
        except Invalid as error:
            raise ValueError(str(error)) from None
        return self

    @property
    def watching(self) -> Watching:
        """The same as the door knows it."""
        watch, ignore = ([Matcher(each.metric, each.labels) for each in some] for some in (self.watch, self.ignore))
        return Watching(tuple(watch), tuple(ignore))
