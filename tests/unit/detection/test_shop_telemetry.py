"""The sandbox's shop under the default settings: calm without alarms, and every kind of fault found at once."""

import pytest

from sentinel.detection.anomaly import Anomaly
from sentinel.detection.config import DetectorConfig
from sentinel.detection.detector import Detector
from sentinel.sandbox.faults import Fault, FaultKind, begin
from sentinel.sandbox.shop import AT_REST, Shop
from sentinel.telemetry.series import identify
from tests.unit.detection.streams import START_MS, batch

HOUR = 600 + 3600


def watch(detector: Detector, shop: Shop, first_s: int, last_s: int, step_s: int, faults: list[Fault]) -> list[Anomaly]:
    rows = []
    for second in range(first_s, last_s, step_s):
        at_ms = START_MS + second * 1000
        for sample in shop.tick(at_ms, AT_REST, faults):
            rows.append((identify(sample["metric"], sample["labels"]), at_ms, sample["value"]))
    return list(detector.observe(batch(rows)).changes)


@pytest.mark.parametrize("kind", list(FaultKind))
def test_a_calm_hour_is_quiet_and_a_fault_is_found_within_five_samples(kind: FaultKind) -> None:
    detector, shop = Detector(DetectorConfig()), Shop(seed=1)
    assert watch(detector, shop, 0, HOUR, 10, []) == []
    fault = begin(kind, None, START_MS + HOUR * 1000, {})
    found = watch(detector, shop, HOUR, HOUR + 50, 10, [fault])
    assert fault.service in {anomaly.series.service for anomaly in found}
    assert {anomaly.direction for anomaly in found} == {"up"}
