"""Which series are watched, how many new ones are taken, and how many samples of one."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.telemetry.admission import Allowance, Matcher, Watching, thin
from sentinel.telemetry.decoded import Decoded, SeriesKey
from sentinel.telemetry.interning import Interner

GO: SeriesKey = ("go_goroutines", (("job", "api"),))
HTTP: SeriesKey = ("http_requests_total", (("job", "api"), ("namespace", "prod")))
DEV: SeriesKey = ("http_requests_total", (("job", "api"), ("namespace", "dev-7")))


@pytest.mark.parametrize(
    ("watch", "ignore", "watched"),
    [
        # Without a word everything is watched.
        ((), (), [GO, HTTP, DEV]),
        # What is named is watched, and nothing else.
        ((Matcher("http_*"),), (), [HTTP, DEV]),
        # What is ignored is not, whatever names it.
        ((Matcher("http_*"),), (Matcher(labels={"namespace": "dev-*"}),), [HTTP]),
        ((), (Matcher("go_*"), Matcher("*", {"namespace": "dev-?"})), [HTTP]),
        # All of a matcher must hold; a label that is not there is empty.
        ((), (Matcher("http_*", {"job": "other"}),), [GO, HTTP, DEV]),
        ((Matcher(labels={"namespace": ""}),), (), [GO]),
        # A pattern is told by case.
        ((Matcher("HTTP_*"),), (), []),
    ],
)
def test_what_is_watched(watch: tuple[Matcher, ...], ignore: tuple[Matcher, ...], watched: list[SeriesKey]) -> None:
    assert [key for key in (GO, HTTP, DEV) if Watching(watch, ignore).watches(key)] == watched


def test_new_series_are_counted_by_the_minute_and_not_at_the_start() -> None:
    allowance = Allowance(2, grace_ms=10_000)
    assert [allowance.take(at_ms) for at_ms in (0, 0, 0, 9_999)] == [True] * 4
    assert [allowance.take(at_ms) for at_ms in (10_000, 20_000, 69_999)] == [True, True, False]
    assert [allowance.take(at_ms) for at_ms in (70_000, 70_000, 70_000)] == [True, True, False]


def decoded(index: list[int], keys: list[SeriesKey] | None = None) -> Decoded:
    n = len(index)
    keys = keys or [(f"m{each}", ()) for each in range(max(index, default=0) + 1)]
    return Decoded(keys, np.array(index, np.int64), np.arange(n), np.arange(n, dtype=np.float64))


@given(st.lists(st.integers(0, 5), max_size=40), st.integers(1, 6))
def test_of_each_series_the_first_samples_stay_in_their_order(index: list[int], most: int) -> None:
    thinned, refused, depth = thin(decoded(index), most)
    seen: Counter[int] = Counter()
    expected = []
    for at, each in enumerate(index):
        seen[each] += 1
        if seen[each] <= most:
            expected.append(at)
    assert thinned.timestamps_ms.tolist() == expected
    assert thinned.index.tolist() == [index[at] for at in expected]
    assert refused == len(index) - len(expected)
    assert depth == max(Counter(thinned.index.tolist()).values(), default=0)


def test_a_flood_of_new_series_harms_none_that_is_known() -> None:
    interner = Interner(("service",), 1, 100, allowance=Allowance(2, grace_ms=0))
    known = decoded([0, 1])
    assert interner.split(known, 0).over_rate == 0
    flood = decoded([0, 1, 2, 3, 3])
    split = interner.split(flood, 1)
    assert (split.over_rate, split.over_limit, len(split.batches[0])) == (3, 0, 2)
    # A minute later they are no different from any other series.
    assert interner.split(flood, 60_000).over_rate == 0


def test_a_series_that_is_not_watched_takes_no_place() -> None:
    interner = Interner(("service",), 1, 1, watching=Watching(ignore=(Matcher("go_*"),)))
    keys = [GO, HTTP]
    for _ in range(3):
        split = interner.split(decoded([0, 1, 0], keys))
        assert (split.ignored, split.over_limit, len(split.batches[0])) == (2, 0, 1)
    assert len(interner) == 1
