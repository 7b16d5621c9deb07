"""Interning: each sample goes to its partition, each series is described once, the limit harms nobody known."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sentinel.telemetry.batch import unpack_all
from sentinel.telemetry.decoded import Decoded, SeriesKey
from sentinel.telemetry.interning import Interner
from sentinel.telemetry.series import identify, partition_of

SERVICE_LABELS = ("service",)


def key(service: str, metric: str = "cpu") -> SeriesKey:
    return metric, (("service", service),)


def decoded(*rows: tuple[SeriesKey, int, float]) -> Decoded:
    keys = tuple(dict.fromkeys(each for each, _, _ in rows))
    return Decoded(
        keys,
        np.array([keys.index(each) for each, _, _ in rows], np.int64),
        np.array([at_ms for _, at_ms, _ in rows], np.int64),
        np.array([value for _, _, value in rows], np.float64),
    )


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["cpu", "mem"]), st.floats(-9, 9)), max_size=30))
def test_every_sample_reaches_the_partition_of_its_service(rows: list[tuple[str, str, float]]) -> None:
    interner = Interner(SERVICE_LABELS, 4, 100)
    split = interner.split(
        decoded(*((key(service, metric), at_ms, value) for at_ms, (service, metric, value) in enumerate(rows)))
    )
    arrived = []
    for partition, batch in split.batches.items():
        assert (np.diff(batch.timestamps_ms) > 0).all()
        for series_id, at_ms, value in zip(
            batch.series_ids.tolist(), batch.timestamps_ms.tolist(), batch.values.tolist(), strict=True
        ):
            series = batch.new_series[series_id]
            assert partition_of(series.service, 4) == partition
            arrived.append((at_ms, (series.service, series.metric, value)))
    assert sorted(arrived) == list(enumerate(rows))
    assert split.over_limit == 0


def test_a_series_is_described_once_until_forgotten() -> None:
    interner = Interner(SERVICE_LABELS, 1, 100)
    web = identify("cpu", {"service": "web"}, SERVICE_LABELS)
    first, second = (interner.split(decoded((key("web"), at_ms, 1.0))).batches[0] for at_ms in (1, 2))
    assert first.new_series == {web.id: web}
    assert second.new_series == {}
    assert unpack_all(first.pack())[0].new_series == {web.id: web}
    interner.forget(1)
    assert interner.split(decoded((key("web"), 3, 1.0))).batches[0].new_series == {}
    interner.forget(0)
    assert interner.split(decoded((key("web"), 4, 1.0))).batches[0].new_series == {web.id: web}


def test_a_receiver_may_ask_for_some() -> None:
    interner = Interner(SERVICE_LABELS, 1, 100)
    interner.split(decoded((key("web"), 1, 1.0)))
    web = identify("cpu", {"service": "web"}, SERVICE_LABELS)
    assert interner.describe([web.id, 7]) == {web.id: web}


def test_the_limit_refuses_new_series_and_only_those() -> None:
    interner = Interner(SERVICE_LABELS, 1, 1)
    split = interner.split(
        decoded((key("web"), 1, 1.0), (key("api"), 1, 2.0), (key("web"), 2, 3.0), (key("api"), 2, 4))
    )
    assert split.over_limit == 2
    assert split.batches[0].values.tolist() == [1.0, 3.0]
    assert len(interner) == 1


def test_retired_series_make_room() -> None:
    interner = Interner(SERVICE_LABELS, 1, 1)
    interner.split(decoded((key("web"), 1000, 1.0)))
    assert interner.retire(before_ms=1000) == 0
    assert interner.retire(before_ms=1001) == 1
    assert interner.split(decoded((key("api"), 2000, 1.0))).over_limit == 0


def test_a_key_without_samples_takes_no_place() -> None:
    interner = Interner(SERVICE_LABELS, 1, 1)
    none = np.empty(0, np.int64)
    assert interner.split(Decoded((key("web"),), none, none, np.empty(0))).batches == {}
    assert len(interner) == 0


def test_a_known_series_without_samples_is_not_taken_for_described() -> None:
    interner = Interner(SERVICE_LABELS, 1, 9)
    web, api = key("web"), key("api")
    interner.split(decoded((web, 1, 1.0), (api, 1, 1.0)))
    interner.forget(0)
    only_web = Decoded((web, api), np.zeros(1, np.int64), np.array([2], np.int64), np.ones(1))
    assert [each.service for each in interner.split(only_web).batches[0].new_series.values()] == ["web"]
    assert [each.service for each in interner.split(decoded((api, 3, 1.0))).batches[0].new_series.values()] == ["api"]


def test_an_equal_key_from_another_decoder_is_the_same_series() -> None:
    interner = Interner(SERVICE_LABELS, 1, 1)
    ids = {
        int(interner.split(decoded((key("we" + end), at_ms, 1.0))).batches[0].series_ids[0])
        for at_ms, end in enumerate("bbb")
    }
    assert len(ids) == len(interner) == 1
    assert interner.retire(before_ms=9) == 1
    assert interner.split(decoded((key("api"), 9, 1.0))).over_limit == 0
