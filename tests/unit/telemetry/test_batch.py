"""The packed form of samples: what comes out is what went in, and what is none is said to be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.errors import Invalid
from sentinel.telemetry.batch import MAX_PACKED_BYTES, MAX_PACKED_SAMPLES, SampleBatch, unpack_all
from sentinel.telemetry.series import identify

NOW_MS = 1_760_000_000_000
WEB = identify("cpu", {"service": "web"})


def batch(times: list[int], described: bool = False) -> SampleBatch:
    n = len(times)
    return SampleBatch(
        np.arange(n, dtype=np.uint64) + WEB.id,
        np.array(times, np.int64),
        np.linspace(-1e300, 1e300, n),
        {WEB.id: WEB} if described else {},
    )


TIMES = st.one_of(
    st.lists(st.just(NOW_MS), max_size=9),
    st.lists(st.integers(NOW_MS - 60_000, NOW_MS), max_size=9),
    st.lists(st.integers(0, 4_102_444_800_000), max_size=9),
)


@given(st.lists(st.tuples(TIMES, st.booleans()), max_size=5))
def test_batches_that_were_joined_come_apart_as_they_were(sent: list[tuple[list[int], bool]]) -> None:
    batches = [batch(*each) for each in sent]
    for before, after in zip(batches, unpack_all(b"".join(each.pack() for each in batches)), strict=True):
        assert after.series_ids.tolist() == before.series_ids.tolist()
        assert after.timestamps_ms.tolist() == before.timestamps_ms.tolist()
        assert after.values.tolist() == before.values.tolist()
        assert after.new_series == before.new_series


@pytest.mark.parametrize(("times", "each"), [([NOW_MS] * 100, 16), ([NOW_MS, NOW_MS + 60_000] * 50, 20)])
def test_a_time_takes_only_the_bytes_it_needs(times: list[int], each: int) -> None:
    assert len(batch(times).pack()) == 24 + each * 100


def test_a_full_batch_travels_in_one_argument() -> None:
    assert len(batch([0] + [4_102_444_800_000] * (MAX_PACKED_SAMPLES - 1)).pack()) < MAX_PACKED_BYTES


@given(st.binary(max_size=80))
def test_other_bytes_are_refused(other: bytes) -> None:
    if other:
        with pytest.raises(Invalid):
            unpack_all(other)


@given(st.integers(0, 200))
def test_a_batch_cut_off_is_refused(size: int) -> None:
    packed = batch([NOW_MS, NOW_MS + 1], described=True).pack()
    if 0 < size < len(packed):
        with pytest.raises(Invalid):
            unpack_all(packed[:size])
