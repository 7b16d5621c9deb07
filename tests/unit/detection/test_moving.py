"""Services that move between detectors: what is split, carried over and merged goes on to the last bit."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.detection.anomaly import Anomaly, Condition
from sentinel.detection.config import BurnRate, DetectorConfig, Policy
from sentinel.detection.detector import Detector
from sentinel.detection.merging import merged
from sentinel.detection.telling import SERVICE_METRIC, service_series
from sentinel.telemetry.series import Series, identify
from tests.unit.detection.streams import START_MS, STEP_MS, batch, named, noise, replay

# Short counts, so that a few dozen samples pass through every state, and every tier at work.
CONFIG = DetectorConfig(
    grace_samples=20,
    alarms_per_day=50,
    open_after=2,
    close_after=2,
    relearn_after=40,
    relearn_after_s=20,
    policies=(
        Policy(name="share", metric="share", slo=BurnRate(objective=0.9, factor=5, long_s=300, short_s=60)),
        Policy(name="flat", metric="m8", pattern=False),
    ),
)
SIZES = {"a": 5, "b": 9, "c": 1, "d": 4, "e": 66}
SERIES = {
    service: [identify("share" if n == 3 else f"m{n}", {"service": service}) for n in range(size)]
    for service, size in SIZES.items()
}
TICKS = 200


def history(seed: int) -> list[list[tuple[Series, int, float]]]:
    """One sample a tick of every series, now and then a fault that shows in some metrics of a service."""
    draws = np.random.default_rng(seed)
    ticks = []
    faults = {service: int(draws.integers(90, TICKS)) for service in SIZES}
    for tick in range(TICKS):
        at_ms = START_MS + tick * STEP_MS
        rows = []
        for service, all_series in SERIES.items():
            ill = 0 <= tick - faults[service] < 8
            shared = draws.normal(0, 1)
            for n, series in enumerate(all_series):
                if draws.random() < 0.02:
                    continue
                value = 100 + draws.normal(0, 3) + 2 * shared + (draws.choice([12, 40]) if ill and n % 2 == 0 else 0)
                rows.append((series, at_ms, float(draws.random() ** 4 * 0.4 + ill * 0.6 if n == 3 else value)))
        ticks.append(rows)
    return ticks


def feed(detectors: Sequence[Detector], home: dict[str, int], ticks: Iterable[list]) -> list[Anomaly]:
    changes: list[Anomaly] = []
    for rows in ticks:
        for place, detector in enumerate(detectors):
            mine = [row for row in rows if home[row[0].service] == place]
            changes.extend(detector.observe(batch(mine)).changes)
    return changes


def told(changes: Iterable[Anomaly]) -> list[str]:
    return sorted(map(repr, changes))


HOMES = st.fixed_dictionaries({service: st.integers(0, 2) for service in SIZES})


@settings(max_examples=5)
@given(st.integers(0, 1000), HOMES, HOMES, st.integers(30, 150), st.integers(1, 49), st.booleans())
def test_services_that_moved_go_on_as_if_they_never_had(
    seed: int, before: dict[str, int], after: dict[str, int], first: int, more: int, by_bytes: bool
) -> None:
    ticks = history(seed)
    stayed = Detector(CONFIG)
    expected = feed([stayed], dict.fromkeys(SIZES, 0), ticks)

    three = [Detector(CONFIG) for _ in range(3)]
    changes = feed(three, before, ticks[:first])
    for home, previous, stop in ((after, before, first + more), (dict.fromkeys(SIZES, 0), after, TICKS)):
        parts = [
            [three[place].part([service for service, at in previous.items() if at == place]) for place in range(3)]
            for _ in range(3)
        ]
        if by_bytes:
            parts = [[Detector.restore(each.checkpoint(), CONFIG) for each in some] for some in parts]
        three = [
            merged(some, lambda service, home=home, place=place: home[service] == place, CONFIG)
            for place, some in enumerate(parts)
        ]
        assert sum(map(len, three)) == len({row[0].id for rows in ticks[:stop] for row in rows})
        changes += feed(three, home, ticks[first:stop])
        first = stop
    assert told(changes) == told(expected)
    assert any(change.series.metric == SERVICE_METRIC for change in expected)
    assert told(three[0].open_anomalies()) == told(stayed.open_anomalies())
    everyone = [each.fingerprint for all_series in SERIES.values() for each in all_series]
    everyone += [service_series(service).fingerprint for service in SIZES]
    now_ms = START_MS + TICKS * STEP_MS
    assert three[0].health(everyone, now_ms) == stayed.health(everyone, now_ms)


def test_of_two_copies_the_one_that_heard_more_goes_on() -> None:
    (web,) = named(1)
    old = Detector(CONFIG)
    replay(old, noise(50), web)
    new = old.part(["shop"])
    replay(new, noise(50, 2), web, 50)
    for parts in ([old, new], [new, old]):
        whole = merged([each.part(["shop"]) for each in parts], lambda _: True, CONFIG)
        assert len(whole) == 1
        assert whole.checkpoint() == new.checkpoint()


def test_a_copy_is_not_touched_by_what_becomes_of_the_other() -> None:
    ticks = history(3)
    detector = Detector(CONFIG)
    feed([detector], dict.fromkeys(SIZES, 0), ticks[:120])
    copy = detector.part(list(SIZES))
    before = copy.checkpoint()
    feed([detector], dict.fromkeys(SIZES, 0), ticks[120:])
    assert copy.checkpoint() == before


def test_series_of_one_service_in_two_detectors_come_together() -> None:
    one, other = Detector(CONFIG), Detector(CONFIG)
    ticks = history(5)
    halves = [[[row for row in rows if row[0].id % 2 == half] for rows in ticks] for half in (0, 1)]
    for detector, half in zip((one, other), halves, strict=True):
        feed([detector], dict.fromkeys(SIZES, 0), half[:100])
    alone = len(one)
    one.adopt(other)
    one.adopt(other)  # what is known stays
    assert len(one) == alone + len(other)
    assert len({each.id for each in one.series()}) == len(one)
    feed([one], dict.fromkeys(SIZES, 0), ticks[100:])
    assert Detector.restore(one.checkpoint(), CONFIG).checkpoint() == one.checkpoint()


@pytest.mark.parametrize("left", [{"a"}, {"e", "c"}, {"a", "b", "c", "d", "e"}], ids=sorted)
def test_the_rest_is_not_harmed_by_services_that_retire(left: set[str]) -> None:
    ticks, home = history(11), dict.fromkeys(SIZES, 0)
    quiet = [[row for row in rows if row[0].service not in left] for rows in ticks]
    detector, other = Detector(CONFIG), Detector(CONFIG)
    expected, changes = feed([other], home, ticks[:80]), feed([detector], home, ticks[:80])
    assert detector.open_anomalies() == ()
    for rows in quiet[80:]:
        expected += feed([other], home, [rows])
        changes += feed([detector], home, [rows])
        detector.retire(rows[0][1] - 20 * STEP_MS if rows else START_MS + 100 * STEP_MS)
    assert told(changes) == told(expected)
    assert len(detector) == sum(size for service, size in SIZES.items() if service not in left)
    assert set(detector.services()) == set(SIZES) - left
    assert len(detector.checkpoint()) < len(other.checkpoint())


def test_services_that_come_and_go_take_no_room_for_ever() -> None:
    detector = Detector(CONFIG)
    sizes = []
    for round_ in range(30):
        series = [identify(f"m{n}", {"service": f"job-{round_}"}) for n in range(5)]
        for tick in range(10):
            at_ms = START_MS + (round_ * 10 + tick) * STEP_MS
            detector.observe(batch((each, at_ms, 1.0) for each in series))
        detector.retire(START_MS + (round_ * 10 - 20) * STEP_MS)
        sizes.append(len(detector.checkpoint()))
    assert len(detector.services()) <= 4
    assert max(sizes[5:]) <= 1.1 * min(sizes[5:])


def test_a_service_some_of_whose_metrics_left_is_judged_by_the_rest() -> None:
    ticks, home = history(21), dict.fromkeys(SIZES, 0)
    detector = Detector(CONFIG)
    gone = SERIES["e"][:10]
    feed([detector], home, ticks[:80])
    feed([detector], home, [[row for row in rows if row[0] not in gone] for rows in ticks[80:89]])
    before = len(detector)
    assert detector.retire(START_MS + 82 * STEP_MS) == len(gone)
    assert len(detector) == before - len(gone)
    changes = feed([detector], home, [[row for row in rows if row[0] not in gone] for rows in ticks[89:]])
    assert service_series("e") in [each.series for each in changes]
    (health,) = detector.health([service_series("e").fingerprint], START_MS + TICKS * STEP_MS)
    assert health.condition is not Condition.NO_DATA


def test_a_series_with_an_open_anomaly_stays_and_so_does_a_service() -> None:
    ticks, home = history(11), dict.fromkeys(SIZES, 0)
    detector = Detector(CONFIG)
    for rows in ticks:
        feed([detector], home, [rows])
        if any(each.series.metric == SERVICE_METRIC for each in detector.open_anomalies()):
            break
    kept = {each.series.labels["service"] for each in detector.open_anomalies() if each.series.metric == SERVICE_METRIC}
    before = detector.open_anomalies()
    detector.retire(START_MS + TICKS * STEP_MS)
    assert detector.open_anomalies() == before
    for service in kept:
        assert [each for each in detector.series() if each.service == service] == SERIES[service]


def test_a_detector_that_was_never_unusual_is_restored_with_all_its_series() -> None:
    series = named(300)
    detector = Detector(CONFIG)
    for tick in range(30):
        detector.observe(batch((each, START_MS + tick * STEP_MS, 100.0 + tick % 3) for each in series))
    again = Detector.restore(detector.checkpoint(), CONFIG)
    assert again.series() == tuple(series)
    late = [[(each, START_MS + tick * STEP_MS, 900.0) for each in series] for tick in (30, 31)]
    one, other = (
        [change for rows in late for change in each.observe(batch(rows)).changes] for each in (detector, again)
    )
    assert one == other
    assert len(one) >= 300


def test_shapes_are_carried_over_up_to_the_limit() -> None:
    one, other = (Detector(dataclasses.replace(CONFIG, pattern_series=3)) for _ in range(2))
    series = [identify("x", {"service": "shop", "n": str(n)}) for n in range(6)]
    for detector, some in ((one, series[:2]), (other, series[2:])):
        for each in some:
            replay(detector, noise(60), each)
    one.adopt(other)
    assert len(one) == 6
    assert len(one._state.pattern) == 3
    replay(one, noise(20), series[5], 60)
