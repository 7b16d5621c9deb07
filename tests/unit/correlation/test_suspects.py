import itertools

import pytest

from sentinel.correlation.suspects import MAX_SUSPECTS, rank
from sentinel.correlation.topology import topology_of
from sentinel.incidents.nouns import Severity
from tests.unit.correlation.make import NO_TOPOLOGY, SHOP, alert


def order(*suspects_of, topology=SHOP) -> list[str]:
    return [suspect.service for suspect in rank(suspects_of, topology)]


def test_no_alert_no_suspect():
    assert rank([], SHOP) == ()


def test_a_callee_explains_the_latency_of_its_callers():
    assert order(alert("web", score=60), alert("checkout", score=60), alert("payments", score=50)) == [
        "payments",
        "checkout",
        "web",
    ]


def test_without_a_topology_nothing_is_explained_away():
    assert order(alert("web", score=60), alert("payments", score=50), topology=NO_TOPOLOGY) == ["web", "payments"]


def test_cpu_is_never_explained_away():
    assert order(alert("checkout", "cpu", score=60), alert("payments", score=60))[0] == "checkout"


@pytest.mark.parametrize("kind", ["traffic", "latency", "cpu"])
def test_a_drop_is_a_consequence(kind: str):
    drop = alert("db", kind, "down", score=1000)
    first, second = rank([drop, alert("payments", score=10)], SHOP)
    assert first.service == "payments"
    assert "more likely a consequence" in second.reasons[0]


def test_a_service_that_comes_back_is_a_consequence():
    assert order(alert("db", "availability", "up", score=1000), alert("mail", score=10))[0] == "mail"


def test_a_slow_call_accuses_the_one_called():
    slow_call = alert("checkout", "latency", labels={"peer.service": "payments"})
    first, *_ = rank([slow_call, alert("checkout", score=20)], SHOP)
    assert first.service == "payments"
    assert "latency of payments, as checkout sees it" in first.reasons[0]


def test_starting_first_decides_between_equals():
    assert order(alert("mail", started_s=0), alert("db", started_s=30), topology=NO_TOPOLOGY) == ["mail", "db"]


def test_starting_first_does_not_outweigh_evidence():
    assert order(alert("mail", score=10), alert("db", score=60, started_s=50), topology=NO_TOPOLOGY) == ["db", "mail"]


def test_no_score_grows_without_limit():
    silent = alert("search", score=1e15)
    (only,) = rank([silent], SHOP)
    assert only.score == 5.0


def test_more_alerts_of_one_service_add_a_little():
    one, three = rank([alert("db")], SHOP)[0], rank([alert("db"), alert("db", "errors"), alert("db", "cpu")], SHOP)[0]
    assert one.score < three.score < 2 * one.score


def test_callers_of_each_other_are_both_ranked():
    ring = topology_of({"a": ["b"], "b": ["a"]})
    assert order(alert("a", score=90), alert("b", score=20), topology=ring) == ["a", "b"]


def test_reasons_are_words_with_numbers():
    first, second = rank([alert("payments", "cpu", score=9.14), alert("checkout", score=9, started_s=5)], SHOP)
    assert first.reasons == (
        "cpu of payments 9.1 spreads above normal, first at 22:13:20 UTC",
        "checkout calls it",
        "nothing else turned unusual before it",
    )
    assert second.reasons == (
        "latency of checkout 9.0 spreads above normal, first at 22:13:25 UTC",
        "its latency and errors may come from payments, which it calls",
    )


def test_the_list_is_short():
    assert len(rank([alert(f"s{n}") for n in range(20)], NO_TOPOLOGY)) == MAX_SUSPECTS


def test_the_order_of_arrival_does_not_matter():
    alerts = [
        alert("payments", "cpu"),
        alert("payments", "errors"),
        alert("checkout", started_s=1),
        alert("db", "traffic", "down", severity=Severity.WARNING),
    ]
    expected = rank(alerts, SHOP)
    for arrival in itertools.permutations(alerts):
        assert rank(arrival, SHOP) == expected
