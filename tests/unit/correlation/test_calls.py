"""Where edges come from: labels of series, service graphs, what moves together, and who said so."""

import pytest

from sentinel.correlation.alerts import subject
from sentinel.correlation.moving import LEAST_TOGETHER, MOST_SERVICES, Moving
from sentinel.correlation.topology import Edge, Source, edge_of, extended, topology_of
from tests.unit.correlation.make import alert


@pytest.mark.parametrize(
    ("rule", "service", "labels", "edge"),
    [
        ("a client names its peer", "web", {"peer.service": "db"}, Edge("web", "db", Source.LABELS)),
        (
            "a service graph names both",
            "unknown",
            {"client": "web", "server": "db"},
            Edge("web", "db", Source.SERVICE_GRAPH),
        ),
        (
            "so does Istio",
            "x",
            {"source_workload": "web", "destination_workload": "db"},
            Edge("web", "db", Source.SERVICE_GRAPH),
        ),
        ("a server alone is a machine", "web", {"server": "host-7"}, None),
        ("a client alone is a browser", "web", {"client": "firefox"}, None),
        ("a call to itself is none", "web", {"peer.service": "web"}, None),
        ("empty labels say nothing", "web", {"peer.service": ""}, None),
    ],
)
def test_the_call_that_labels_tell_of(rule: str, service: str, labels: dict[str, str], edge: Edge | None):
    assert edge_of(service, labels) == edge, rule


def test_latency_of_a_service_graph_speaks_of_the_server_and_memory_of_its_own():
    assert subject(alert("collector", labels={"client": "web", "server": "db"})) == "db"
    assert subject(alert("collector", "memory", labels={"client": "web", "server": "db"})) == "collector"


def test_every_edge_knows_where_it_comes_from_the_surest_first():
    seen = [Edge("web", "db", Source.LABELS), Edge("web", "db", Source.SETTINGS), Edge("a", "b", Source.SERVICE_GRAPH)]
    topology = topology_of({"web": ["db"]}, seen)
    assert topology.sources == {("web", "db"): (Source.SETTINGS, Source.LABELS), ("a", "b"): (Source.SERVICE_GRAPH,)}
    assert topology.calls("a", "b")


def test_what_moves_together_is_no_call():
    topology = topology_of({}, [Edge("a", "b", Source.MOVES_TOGETHER)])
    assert topology.companions("b") == {"a"}
    assert not topology.calls("a", "b")
    assert not topology.knows("a")


def test_telemetry_that_is_odd_is_left_out_and_settings_that_are_are_refused():
    assert topology_of({}, [Edge("a", "a", Source.LABELS), Edge("", "b", Source.LABELS)]).edges() == ()
    with pytest.raises(Exception, match=r"correlation\.topology\.a"):
        topology_of({"a": ["a"]})


def test_a_service_without_a_call_can_be_behind_a_virtual_node():
    topology = extended(topology_of({}), (), ["payments", "payments.default.svc"])
    assert topology.of("payments.default.svc") == "payments"


def test_extending_keeps_what_was_and_adds():
    topology = extended(topology_of({"web": ["db"], "lone": []}), [Edge("db", "disk", Source.LABELS)])
    assert topology.calls("web", "db")
    assert topology.downstream("web") == {"db", "disk"}
    assert topology.knows("lone")


class TestMoving:
    def test_services_seen_together_often_enough_are_an_edge(self):
        moving = Moving()
        for _ in range(LEAST_TOGETHER):
            assert moving.edges() == ()
            moving.burst(["b", "a", "a"])
        assert moving.edges() == (Edge("a", "b", Source.MOVES_TOGETHER),)

    def test_one_that_is_in_every_burst_belongs_to_nobody(self):
        moving = Moving()
        for n in range(10):
            moving.burst(["noisy", "a" if n % 2 else "b"])
        assert moving.edges() == ()

    def test_a_storm_says_nothing(self):
        moving = Moving()
        for _ in range(LEAST_TOGETHER):
            moving.burst(f"s{n}" for n in range(MOST_SERVICES + 1))
        assert moving.edges() == ()

    def test_what_is_long_ago_is_forgotten(self):
        moving = Moving()
        for _ in range(LEAST_TOGETHER):
            moving.burst(["a", "b"])
        for _ in range(500):
            moving.burst(["c"])
        assert moving.edges() == ()
