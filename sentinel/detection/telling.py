"""From alarms to what is told of them: anomalies, in the order of time."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sentinel.detection.alarm import Verdict
from sentinel.detection.anomaly import Anomaly
from sentinel.detection.columns import Alarm, Rows
from sentinel.detection.parts import Part
from sentinel.telemetry.series import Series, identify

SERVICE_METRIC = "sentinel_service_anomaly"  # the series that stands for all metrics of a service together


def service_series(service: str) -> Series:
    """The series that stands for all metrics of a service together."""
    return identify(SERVICE_METRIC, {"service": service})


def news(verdict: Verdict) -> tuple[Rows, Rows]:
    """Places of what opened or worsened, and of what ended."""
    return np.flatnonzero((verdict.opened | verdict.worsened) & ~verdict.closed), np.flatnonzero(verdict.closed)


def told(series: list[Series], alarm: Alarm, ended_ms: NDArray[np.int64] | None) -> Iterator[Anomaly]:
    """The anomaly of each alarm, ended where it says so."""
    for position, each in enumerate(series):
        yield Anomaly(
            series=each,
            direction="up" if alarm.up[position] else "down",
            score=float(alarm.peak[position]),
            value=float(alarm.peak_value[position]),
            expected_low=float(alarm.peak_low[position]),
            expected_high=float(alarm.peak_high[position]),
            started_at_ms=int(alarm.started_ms[position]),
            last_at_ms=int(alarm.unusual_ms[position]),
            ended_at_ms=None if ended_ms is None else int(ended_ms[position]),
            part=Part(int(alarm.part[position])).label,
        )


def when(anomaly: Anomaly) -> tuple[int, str]:
    """By time, then by series: the order in which anomalies are told."""
    return anomaly.ended_at_ms or anomaly.last_at_ms, anomaly.series.fingerprint
