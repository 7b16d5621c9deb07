import itertools
from dataclasses import replace

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
        "cpu of payments rose 4.0x, 9.1 spreads above normal, first at 22:13:20 UTC",
        "checkout calls it",
        "nothing else turned unusual before it",
    )
    assert second.reasons == (
        "latency of checkout rose 4.0x, 9.0 spreads above normal, first at 22:13:25 UTC",
        "checkout is explained by payments, which it calls: cpu 9.1 spreads off, 5 s before",
    )


def test_what_no_sufferer_depends_on_is_put_last_and_says_so():
    # web suffers and reaches checkout and payments; mail is known, and nothing that suffers calls it.
    topology = topology_of({"web": ("checkout",), "checkout": ("payments",), "batch": ("mail",)})
    ranked = rank([alert("web", score=9), alert("mail", "cpu", score=20), alert("payments", score=9)], topology)
    assert [suspect.service for suspect in ranked] == ["payments", "web", "mail"]
    assert "nothing that suffers here depends on it" in ranked[2].reasons


def test_who_calls_the_sufferer_is_no_stranger_to_it():
    ranked = rank([alert("checkout", "cpu", score=60), alert("payments", score=9)], SHOP)
    assert "nothing that suffers here depends on it" not in ranked[0].reasons


def test_where_users_see_errors_a_slow_neighbour_is_a_side_matter():
    alerts = [alert("web", "errors", score=60), alert("checkout", "errors", score=20), alert("search", score=60)]
    assert order(*alerts)[0] == "checkout"


def test_a_virtual_node_speaks_for_the_service_behind_it():
    balancer = "shop-payme-1a2b.eu-west-1.elb.amazonaws.com"
    topology = topology_of({"web": ("checkout", balancer), "checkout": ("payments",)})
    first, *_ = rank([alert(balancer, score=60), alert("web", score=50)], topology)
    assert first.service == "payments"
    assert f"latency of payments, as {balancer} sees it" in first.reasons[0]


def test_what_a_service_measures_of_its_own_calls_is_no_evidence_against_it():
    outgoing = replace(alert("mail", score=1000), metric="http_client_duration")
    assert order(outgoing, alert("payments", score=9), topology=NO_TOPOLOGY) == ["payments", "mail"]


def test_a_series_on_its_way_back_speaks_less():
    old = replace(alert("mail", score=60), change=2.0)
    first, second = rank([old, alert("db", score=30)], NO_TOPOLOGY)
    assert (first.service, second.service) == ("db", "mail")
    assert "(only 2.0 spreads from where it was before)" in second.reasons[0]


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
