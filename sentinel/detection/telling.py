"""Alarms as anomalies, the way others are told of them."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sentinel.detection.anomaly import Anomaly
from sentinel.detection.columns import Alarm
from sentinel.detection.parts import Part
from sentinel.telemetry.series import Series


def told_of(series: list[Series], alarm: Alarm, ended_ms: NDArray[np.int64] | None) -> Iterator[Anomaly]:
    """The anomaly of each series, as its alarm stands; ended_ms int64[n] where they are over."""
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
    """By what anomalies are told in order."""
    return anomaly.ended_at_ms or anomaly.last_at_ms, anomaly.series.fingerprint
