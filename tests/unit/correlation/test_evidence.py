import numpy as np
import pytest

from sentinel.correlation.evidence import read
from sentinel.errors import Invalid

RNG = np.random.default_rng(7)
NORMAL = RNG.normal(100.0, 10.0, (400, 1))


def reading(normal=NORMAL, before=((100.0,),), window=((200.0,), (200.0,)), kind="latency"):
    return read(np.array(normal, float), np.array(before, float), np.array(window, float), [kind])


def test_a_value_is_told_in_spreads_of_its_own_normal():
    found = reading()
    assert found.level[0] == pytest.approx(10, rel=0.15)
    # In noise, a change by itself is larger than a distance from the middle.
    assert 0.6 * found.level[0] < found.change[0] < found.level[0]


def test_one_that_has_long_been_there_has_a_level_and_no_change():
    found = reading(before=((200.0,),))
    assert found.level[0] > 8
    assert found.change[0] == 0


def test_one_spike_in_a_long_window_is_no_fault():
    window = np.full((9, 1), 100.0)
    window[4] = 1e6
    assert abs(reading(window=window).level[0]) < 1


def test_a_series_that_never_moved_has_a_least_spread():
    assert reading(normal=np.full((50, 1), 100.0), window=((110.0,),)).level[0] == pytest.approx(2)
    assert reading(normal=np.full((50, 1), 100.0), window=((99.0,),), kind="availability").level[0] == pytest.approx(-2)


def test_rare_spikes_of_normal_times_widen_the_spread():
    spiky = np.full((400, 1), 100.0)
    spiky[::12] = 300.0
    assert reading(normal=spiky, window=((300.0,),)).level[0] < 2


def test_too_little_to_compare_with_says_nothing():
    assert np.isnan(reading(normal=NORMAL[:5]).level[0])
    assert np.isnan(reading(window=((np.nan,),)).level[0])
    assert np.isnan(reading(before=((np.nan,),)).change[0])


def test_tables_that_do_not_fit_are_refused():
    with pytest.raises(Invalid, match="window"):
        read(NORMAL, NORMAL[:1], np.zeros((2, 3)), ["latency"])
