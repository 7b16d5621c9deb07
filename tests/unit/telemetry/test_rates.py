"""Running totals become rates and histograms become mean and quantile, whoever sends them in whatever pieces."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.detection.config import DetectorConfig
from sentinel.detection.detector import Detector
from sentinel.telemetry.batch import SampleBatch
from sentinel.telemetry.histogram_windows import MAX_MEMBERS, STALE_MS
from sentinel.telemetry.histograms import quantile
from sentinel.telemetry.rates import MAX_GAP_MS, Rated, RateKeeper
from sentinel.telemetry.readings import Reading, reading_of, type_by_name, typed
from sentinel.telemetry.series import Series, identify

T0 = 1_700_000_010_000  # the first millisecond of a window
STEP = 15_000
WINDOW = 30_000


def counter(metric: str = "requests_total", **labels: str) -> Series:
    return identify(metric, {"service": "web", "__type__": "counter", **labels})


CPU = identify("cpu", {"service": "web"})
REQUESTS = counter()
Sample = tuple[Series, int, float]


def batch(samples: Sequence[Sample], described: bool = True) -> SampleBatch:
    return SampleBatch(
        np.array([series.id for series, _, _ in samples], np.uint64),
        np.array([at_ms for _, at_ms, _ in samples], np.int64),
        np.array([value for _, _, value in samples], np.float64),
        {series.id: series for series, _, _ in samples} if described else {},
    )


def keeper(max_series: int = 1000) -> RateKeeper:
    return RateKeeper(max_series, window_ms=WINDOW)


def scored(rated: Rated) -> list[tuple[int, int, float]]:
    columns = (rated.batch.series_ids, rated.batch.timestamps_ms, rated.batch.values)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def derived(rated: Rated) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for series_id, at_ms, value in zip(
        rated.derived.series_ids.tolist(),
        rated.derived.timestamps_ms.tolist(),
        rated.derived.values.tolist(),
        strict=True,
    ):
        found.setdefault(rated.derived.new_series[series_id].metric, []).append((at_ms, value))
    return found


def rates(values: Sequence[float], every_ms: int = STEP) -> list[float]:
    told = [(REQUESTS, T0 + every_ms * step, value) for step, value in enumerate(values)]
    return [rate for _, _, rate in scored(keeper().apply(batch(told)))]


def test_a_counter_is_its_increase_per_second() -> None:
    assert rates([100, 130, 130, 190]) == [2.0, 0.0, 4.0]


def test_gauges_pass_as_they_came() -> None:
    told = batch([(CPU, T0, 0.5), (CPU, T0 + 1, 0.4)])
    rated = keeper().apply(told)
    assert rated.batch is told
    assert (rated.held, len(rated.derived), dict(rated.refused)) == (0, 0, {})


def test_a_reset_gives_no_rate_and_counting_starts_there() -> None:
    assert rates([1000, 1015, 3, 18]) == [1.0, 1.0]


def test_a_silence_gives_its_mean_rate_and_a_long_one_none() -> None:
    assert rates([0, 3600], every_ms=MAX_GAP_MS) == [1.0]
    assert rates([0, 3600, 7200], every_ms=MAX_GAP_MS + 1) == []


def test_late_and_repeated_samples_are_refused() -> None:
    told = [(REQUESTS, T0 + ms, float(ms)) for ms in (1000, 2000, 2000, 500, 1500, 3000)]
    rated = keeper().apply(batch(told))
    assert [(at_ms - T0, value) for _, at_ms, value in scored(rated)] == [(2000, 1000.0), (3000, 1000.0)]
    assert (rated.held, dict(rated.refused)) == (1, {"late": 3})


def test_a_retried_batch_changes_nothing() -> None:
    kept = keeper()
    kept.apply(batch([(REQUESTS, T0, 10.0)]))
    again = kept.apply(batch([(REQUESTS, T0, 10.0)]))
    assert (scored(again), dict(again.refused)) == ([], {"late": 1})
    assert scored(kept.apply(batch([(REQUESTS, T0 + 1000, 13.0)]))) == [(REQUESTS.id, T0 + 1000, 3.0)]


def test_a_series_without_a_description_is_unknown_and_is_not_guessed() -> None:
    kept = keeper()
    rated = kept.apply(batch([(REQUESTS, T0, 1.0), (CPU, T0, 2.0)], described=False))
    assert rated.unknown == tuple(sorted((REQUESTS.id, CPU.id)))
    assert (len(rated.batch), rated.unknown_samples) == (0, 2)
    kept.describe([REQUESTS, CPU])
    rated = kept.apply(batch([(REQUESTS, T0, 1.0), (CPU, T0, 2.0)], described=False))
    assert (scored(rated), rated.held, rated.unknown) == ([(CPU.id, T0, 2.0)], 1, ())


def test_the_limit_refuses_new_series_and_only_those() -> None:
    kept = keeper(max_series=1)
    rated = kept.apply(batch([(CPU, T0, 1.0), (REQUESTS, T0, 1.0)]))
    assert (scored(rated), dict(rated.refused)) == ([(CPU.id, T0, 1.0)], {"series_limit": 1})
    assert set(rated.batch.new_series) == {CPU.id}


def test_retired_series_make_room_and_others_go_on() -> None:
    kept = keeper(max_series=20)
    histogram = members()
    kept.apply(batch([(series, T0, 1.0) for series in (CPU, REQUESTS)]))
    kept.apply(batch([(series, T0 + STEP, 1.0) for series in (REQUESTS, *histogram)]))
    assert kept.retire(T0 + STEP) == 1
    assert len(kept) == 1 + len(histogram)
    assert scored(kept.apply(batch([(REQUESTS, T0 + 2 * STEP, 31.0)], described=False)))[0][2] == 2.0
    kept.apply(batch([(series, T0 + 3 * STEP, 1.0) for series in histogram], described=False))
    told = [(series, T0 + (3 + 2 * step) * STEP, 1.0 + 10 * step) for step in (1, 2) for series in histogram]
    assert derived(kept.apply(batch(told, described=False)))["latency_mean"] == [(T0 + 2 * WINDOW + WINDOW, 1.0)]
    assert kept.retire(T0 + 10**9) == 1 + len(histogram)
    assert scored(kept.apply(batch([(CPU, T0 + 10**9, 1.0)]))) == [(CPU.id, T0 + 10**9, 1.0)]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([CPU, REQUESTS, counter("a_sum"), counter("b_count")]),
            st.integers(0, 40),
            st.sampled_from([0.0, 1.0, 5.0, 7.0, -3.0, 1e308]),
        ),
        max_size=25,
    ),
    st.lists(st.integers(0, 25), max_size=4),
)
def test_rates_are_those_of_a_plain_loop_however_the_samples_are_cut(
    samples: list[tuple[Series, int, float]], cuts: list[int]
) -> None:
    told = [(series, T0 + 1000 * second, value) for series, second, value in samples]
    last: dict[int, tuple[int, float]] = {}
    expected: list[tuple[int, int, float]] = []
    late = held = 0
    for series, at_ms, value in told:
        if series is CPU:
            expected.append((series.id, at_ms, value))
            continue
        before = last.get(series.id)
        if before and at_ms <= before[0]:
            late += 1
            continue
        last[series.id] = (at_ms, value)
        if before and value >= before[1] and math.isfinite(value - before[1]):
            rate = (value - before[1]) / (at_ms - before[0]) * 1000
            if math.isfinite(rate):
                expected.append((series.id, at_ms, rate))
                continue
        held += 1
    kept = keeper()
    edges = [0, *sorted(min(cut, len(told)) for cut in cuts), len(told)]
    found, got_late, got_held = [], 0, 0
    for start, end in pairwise(edges):
        rated = kept.apply(batch(told[start:end]))
        found += scored(rated)
        got_late += rated.refused.get("late", 0)
        got_held += rated.held
        assert end - start == len(rated.batch) + rated.held + sum(rated.refused.values()) + rated.unknown_samples
    assert (found, got_late, got_held) == (expected, late, held)


BOUNDS = (0.1, 0.5, 1.0, math.inf)


def members(count: int = 6, **labels: str) -> list[Series]:
    """Sum, count and four buckets of one histogram, or the first few of them."""
    told = {"service": "web", "__type__": "histogram", **labels}
    bounds = ("+Inf" if bound == math.inf else str(bound) for bound in BOUNDS)
    buckets = [identify("latency_bucket", {**told, "le": bound}) for bound in bounds]
    return [identify("latency_sum", told), identify("latency_count", told), *buckets][:count]


def totals(step: int, per_step: Sequence[float] = (4, 10, 2, 6, 9, 10)) -> list[float]:
    """Sum, count and buckets after `step` steps."""
    return [step * each for each in per_step]


def scrape(step: int, series: Sequence[Series], values: Sequence[float]) -> list[Sample]:
    return [(each, T0 + STEP * step, value) for each, value in zip(series, values, strict=True)]


def test_a_histogram_gives_mean_and_quantile_once_all_its_members_left_the_window() -> None:
    kept, histogram = keeper(), members()
    found = [derived(kept.apply(batch(scrape(step, histogram, totals(step))))) for step in range(7)]
    # Windows hold two scrapes. The first gives a base only, and is over at step 2; the second is over at step 4.
    assert found[:4] == [{}, {}, {}, {}]
    # Of 20 observations 18 took up to 1 s: the 19th is beyond the last finite bound.
    assert found[4] == {"latency_mean": [(T0 + 2 * WINDOW, 0.4)], "latency_p95": [(T0 + 2 * WINDOW, 1.0)]}
    assert found[5] == {}
    assert found[6] == {"latency_mean": [(T0 + 3 * WINDOW, 0.4)], "latency_p95": [(T0 + 3 * WINDOW, 1.0)]}


def test_derived_series_are_described_and_bucket_series_are_not() -> None:
    kept, histogram = keeper(), members(pod="a")
    for step in range(5):
        rated = kept.apply(batch(scrape(step, histogram, totals(step))))
        assert {each.metric for each in rated.batch.new_series.values()} == {"latency_sum", "latency_count"}
    assert {(each.metric, each.service, tuple(each.labels)) for each in rated.derived.new_series.values()} == {
        ("latency_mean", "web", ("service", "pod")),
        ("latency_p95", "web", ("service", "pod")),
    }


def test_members_may_come_in_any_pieces_up_to_a_window_apart() -> None:
    whole, pieces, histogram = keeper(), keeper(), members()
    expected: dict[str, list[tuple[int, float]]] = {}
    found: dict[str, list[tuple[int, float]]] = {}
    rounds = [scrape(step, histogram, totals(step, (4 + step, 10, 2, 6, 9, 10))) for step in range(12)]
    for samples in rounds:
        for name, values in derived(whole.apply(batch(samples))).items():
            expected.setdefault(name, []).extend(values)
    for step in range(13):
        ahead = rounds[step][:3] if step < 12 else []
        behind = rounds[step - 1][3:] if step else []
        for samples in (ahead, behind[::-1]):
            for name, values in derived(pieces.apply(batch(samples))).items():
                found.setdefault(name, []).extend(values)
    assert found == expected
    assert len(found["latency_p95"]) == 4


def test_a_window_with_a_reset_gives_nothing_and_the_next_one_does() -> None:
    kept, histogram = keeper(), members()
    found = []
    for step in range(12):
        since = step if step < 5 else step - 5
        found.append(derived(kept.apply(batch(scrape(step, histogram, totals(since))))))
    told = [at_ms for each in found for at_ms, _ in each.get("latency_p95", ())]
    # The restart at step 5 spoils the third window, from step 4 to 5.
    assert told == [T0 + 2 * WINDOW, T0 + 4 * WINDOW, T0 + 5 * WINDOW]


def test_a_window_that_a_member_missed_gives_nothing() -> None:
    kept, histogram = keeper(), members()
    told = []
    for step in range(14):
        values = scrape(step, histogram, totals(step))
        missing = values[:-1] if step in (4, 5) else values
        told += [at_ms for at_ms, _ in derived(kept.apply(batch(missing))).get("latency_p95", ())]
    # Nor do its neighbours: that the member had left the one before showed too late, and in the one after the gains
    # of the members begin in different windows.
    assert told == [T0 + 5 * WINDOW, T0 + 6 * WINDOW]


def test_a_member_that_fell_silent_is_not_waited_for_for_ever() -> None:
    kept, histogram = keeper(), members()
    gone = STALE_MS // STEP + 6
    told = []
    for step in range(gone + 6):
        values = scrape(step, histogram, totals(step))
        rated = kept.apply(batch(values if step < 4 else values[:-2] + values[-1:]))
        told += [at_ms for at_ms, _ in derived(rated).get("latency_p95", ())]
    assert told[0] > T0 + STALE_MS
    assert len(told) >= 2


def test_no_observations_give_no_mean() -> None:
    kept, histogram = keeper(), members()
    assert all(not derived(kept.apply(batch(scrape(step, histogram, totals(1))))) for step in range(8))


def test_a_summary_gives_its_mean() -> None:
    kept, summary = keeper(), members(2)
    found = [derived(kept.apply(batch(scrape(step, summary, totals(step)[:2])))) for step in range(5)]
    assert found[4] == {"latency_mean": [(T0 + 2 * WINDOW, 0.4)]}


def test_buckets_past_the_most_are_left_aside() -> None:
    labels = {"service": "web", "__type__": "histogram"}
    many = [identify("m_bucket", {**labels, "le": str(bound)}) for bound in range(MAX_MEMBERS + 9)]
    kept = keeper(max_series=10_000)
    for step in range(5):
        rated = kept.apply(batch(scrape(step, many, [float(step)] * len(many))))
        assert (rated.held, len(rated.derived)) == (len(many), 0)


@given(
    st.lists(st.tuples(st.floats(-2, 5), st.integers(0, 5)), min_size=1, max_size=6, unique_by=lambda each: each[0]),
    st.floats(0.01, 0.99),
)
def test_quantile_is_prometheuss(buckets: list[tuple[float, int]], share: float) -> None:
    buckets = sorted(buckets)
    bounds = [bound for bound, _ in buckets] + [math.inf]
    counts = np.cumsum([gain for _, gain in buckets] + [1]).tolist()
    rank = share * counts[-1]
    at = next(place for place, count in enumerate(counts) if count >= rank)
    if at == len(bounds) - 1:
        expected = bounds[at - 1]
    elif at == 0 and bounds[0] <= 0:
        expected = bounds[0]
    else:
        low, below = (bounds[at - 1], counts[at - 1]) if at else (0.0, 0)
        expected = low + (bounds[at] - low) * (rank - below) / (counts[at] - below)
    assert quantile(share, np.array([bounds]), np.array([counts], float)).tolist() == pytest.approx([expected])


def test_quantile_of_nothing_is_none() -> None:
    assert np.isnan(quantile(0.5, np.array([[1.0, math.inf]]), np.zeros((1, 2)))).all()
    assert np.isnan(quantile(0.5, np.array([[math.inf]]), np.ones((1, 1)))).all()


def test_resets_and_restarts_of_a_steady_service_alarm_nobody() -> None:
    """A counter of steady growth that restarts now and then, and its histogram, scored by the detector itself."""
    noise = np.random.default_rng(3)
    kept, detector, histogram = keeper(), Detector(DetectorConfig()), members()
    total, step_totals = 0.0, np.zeros(6)
    changes = []
    for step in range(600):
        if step % 97 == 96:
            total, step_totals = 0.0, np.zeros(6)
        total += float(noise.poisson(1000))
        step_totals += np.array([4, 10, 2, 6, 9, 10]) * float(noise.poisson(100))
        samples = [(REQUESTS, T0 + STEP * step, total), *scrape(step, histogram, step_totals.tolist())]
        rated = kept.apply(batch(samples))
        changes += [*detector.observe(rated.batch).changes, *detector.observe(rated.derived).changes]
    assert changes == []
    assert detector.health([REQUESTS.fingerprint], T0 + STEP * 600)[0].condition == "normal"


@pytest.mark.parametrize(
    ("metric", "labels", "reading"),
    [
        ("cpu", {}, Reading.GAUGE),
        ("requests_total", {}, Reading.GAUGE),
        ("anything", {"__type__": "counter"}, Reading.COUNTER),
        ("x_total", {"__type__": "gauge"}, Reading.GAUGE),
        ("x_bucket", {"__type__": "histogram", "le": "0.5"}, Reading.BUCKET),
        ("x_bucket", {"__type__": "histogram", "le": "+Inf"}, Reading.BUCKET),
        ("x_bucket", {"__type__": "histogram", "le": "nan"}, Reading.GAUGE),
        ("x_bucket", {"__type__": "counter"}, Reading.COUNTER),
        ("x_sum", {"__type__": "summary"}, Reading.SUM),
        ("x_count", {"__type__": "histogram"}, Reading.COUNT),
        ("x", {"__type__": "summary", "quantile": "0.9"}, Reading.GAUGE),
        ("x", {"__type__": "stateset"}, Reading.GAUGE),
    ],
)
def test_the_reading_follows_the_type(metric: str, labels: Mapping[str, str], reading: Reading) -> None:
    assert reading_of(metric, labels) is reading


def test_a_type_is_told_by_the_name_where_none_is_given() -> None:
    assert type_by_name("a_total", {}) == type_by_name("a_count", {}) == type_by_name("a_sum", {}) == "counter"
    assert type_by_name("a_bucket", {"le": "1"}) == "histogram"
    assert type_by_name("a_bucket", {}) == type_by_name("cpu", {}) == ""


def test_the_type_becomes_a_label_only_where_it_matters() -> None:
    assert typed(("a", ()), "gauge") == ("a", ())
    assert typed(("a", (("b", "c"),)), "counter") == ("a", (("__type__", "counter"), ("b", "c")))
    assert typed(("a", (("__type__", "gauge"),)), "counter") == ("a", (("__type__", "gauge"),))
