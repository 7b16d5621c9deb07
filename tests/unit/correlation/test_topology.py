import pytest

from sentinel.correlation.topology import topology_of
from sentinel.errors import Invalid
from tests.unit.correlation.make import NO_TOPOLOGY, SHOP


def test_neighbours_are_callers_and_callees():
    assert SHOP.neighbours("checkout") == {"web", "payments"}
    assert SHOP.neighbours("checkout", hops=2) == {"web", "payments", "search", "db"}
    assert SHOP.neighbours("checkout", hops=0) == frozenset()


def test_downstream_follows_calls_to_their_end_and_not_back():
    assert SHOP.downstream("web") == {"checkout", "search", "payments", "db"}
    assert SHOP.downstream("db") == frozenset()


def test_a_cycle_ends_and_does_not_reach_itself():
    ring = topology_of({"a": ["b"], "b": ["c"], "c": ["a"]})
    assert ring.downstream("a") == {"b", "c"}
    assert ring.neighbours("a", hops=9) == {"b", "c"}


def test_it_knows_callers_and_callees_and_no_others():
    assert SHOP.knows("web")
    assert SHOP.knows("db")
    assert not SHOP.knows("mail")
    assert NO_TOPOLOGY.neighbours("web") == frozenset()


def test_calls_have_a_direction():
    assert SHOP.calls("web", "checkout")
    assert not SHOP.calls("checkout", "web")


def test_a_service_that_calls_itself_is_refused_by_name():
    with pytest.raises(Invalid, match=r"correlation\.topology\.web: got 'web'"):
        topology_of({"web": ["search", "web"]})


@pytest.mark.parametrize("calls", [{"": ["a"]}, {"a": [""]}])
def test_a_service_without_a_name_is_refused(calls: dict[str, list[str]]):
    with pytest.raises(Invalid, match=r"correlation\.topology"):
        topology_of(calls)
