import itertools

import pytest

from sentinel.correlation.grouping import Link, components, decide, why_together
from sentinel.correlation.topology import Edge, Source, topology_of
from sentinel.incidents.nouns import Alert, IncidentState, Severity
from tests.unit.correlation.make import NO_TOPOLOGY, SHOP, T0, alert, incident

NOW = T0 + 100_000
WINDOW = 300


def services(parts: tuple[tuple[Alert, ...], ...]) -> list[set[str]]:
    return [{each.service for each in part} for part in parts]


class TestDecide:
    def test_the_same_fingerprint_joins(self):
        known = alert("payments", "cpu", ended=True)
        found = decide(known, [incident("inc-1", known)], NO_TOPOLOGY, NOW, WINDOW)
        assert (found.joins, found.incident_id, found.link) == (True, "inc-1", Link.FINGERPRINT)
        assert found.reason == (
            "joins inc-1: cpu_usage of payments is already part of it, and it was last seen 100 s ago (window 300 s)"
        )

    def test_the_same_service_joins_without_any_topology(self):
        found = decide(
            alert("payments", "latency"), [incident("inc-1", alert("payments", "cpu"))], NO_TOPOLOGY, NOW, WINDOW
        )
        assert (found.incident_id, found.link) == ("inc-1", Link.SERVICE)

    @pytest.mark.parametrize("service", ["checkout", "db"])
    def test_a_service_one_call_away_joins_in_either_direction(self, service: str):
        found = decide(alert(service), [incident("inc-1", alert("payments"))], SHOP, NOW, WINDOW)
        assert (found.incident_id, found.link) == ("inc-1", Link.NEIGHBOUR)
        assert ("checkout calls payments" if service == "checkout" else "payments calls db") in found.reason

    def test_a_service_two_calls_away_does_not(self):
        found = decide(alert("web"), [incident("inc-1", alert("payments"))], SHOP, NOW, WINDOW)
        assert not found.joins
        assert found.reason == "new: no open incident seen within 300 s is on web or a service one call away"

    def test_a_reason_names_what_the_topology_does_not_know(self):
        found = decide(alert("mail"), [incident("inc-1", alert("payments"))], SHOP, NOW, WINDOW)
        assert not found.joins
        assert "the topology does not know mail" in found.reason

    def test_an_incident_not_seen_within_the_window_is_left_alone(self):
        old = incident("inc-1", alert("payments", "cpu", ended=True))
        assert decide(alert("payments"), [old], SHOP, T0 + 300_000, WINDOW).joins
        assert not decide(alert("payments"), [old], SHOP, T0 + 300_001, WINDOW).joins

    def test_an_open_alert_keeps_its_incident_seen(self):
        lasting = incident("inc-1", alert("payments", "cpu"))
        assert decide(alert("checkout"), [lasting], SHOP, T0 + 3_600_000, WINDOW).joins

    def test_an_old_incident_takes_in_only_news_of_its_own_alerts(self):
        lasting = incident("inc-1", alert("payments", "cpu"))
        later = T0 + 4 * 3_600_000 + 1
        assert decide(alert("payments", "cpu"), [lasting], SHOP, later, WINDOW).joins
        found = decide(alert("checkout"), [lasting], SHOP, later, WINDOW)
        assert not found.joins
        assert found.reason.endswith("; inc-1 would have taken it, and is older than 14400 s")

    def test_another_environment_is_another_incident(self):
        prod = incident("inc-1", alert("payments", "cpu", labels={"env": "prod"}))
        assert not decide(alert("payments", labels={"env": "test"}), [prod], SHOP, NOW, WINDOW).joins
        assert decide(alert("payments"), [prod], SHOP, NOW, WINDOW).joins

    def test_what_has_moved_together_is_the_weakest_link(self):
        learned = topology_of({}, [Edge("mail", "payments", Source.MOVES_TOGETHER)])
        found = decide(alert("mail"), [incident("inc-1", alert("payments"))], learned, NOW, WINDOW)
        assert (found.incident_id, found.link) == ("inc-1", Link.COMPANION)
        assert "mail and payments have moved together before" in found.reason

    def test_a_resolved_incident_takes_nothing_in(self):
        resolved = incident("inc-1", alert("payments"), state=IncidentState.RESOLVED)
        assert not decide(alert("payments"), [resolved], SHOP, NOW, WINDOW).joins

    @pytest.mark.parametrize("state", [IncidentState.MITIGATING, IncidentState.ESCALATED])
    def test_an_incident_at_work_takes_in(self, state: IncidentState):
        assert decide(alert("payments"), [incident("inc-1", alert("payments"), state=state)], SHOP, NOW, WINDOW).joins

    def test_the_stronger_link_wins_over_the_later_one(self):
        same = incident("inc-old", alert("payments", "cpu", ended=True))
        near = incident("inc-late", alert("checkout", last_s=90, ended=True))
        for order in itertools.permutations([same, near]):
            assert decide(alert("payments"), order, SHOP, NOW, WINDOW).incident_id == "inc-old"

    def test_of_equal_links_the_incident_seen_last_wins(self):
        early = incident("inc-z", alert("checkout", last_s=10, ended=True))
        late = incident("inc-a", alert("db", last_s=90, ended=True))
        for order in itertools.permutations([early, late]):
            assert decide(alert("payments"), order, SHOP, NOW, WINDOW).incident_id == "inc-a"


class TestComponents:
    def test_nothing_is_no_incident(self):
        assert components([], SHOP) == ()

    def test_services_one_call_apart_are_one_incident(self):
        burst = [alert("checkout"), alert("payments", "cpu"), alert("payments"), alert("web")]
        assert services(components(burst, SHOP)) == [{"web", "checkout", "payments"}]

    def test_every_alert_is_in_exactly_one_component(self):
        burst = [alert(service, kind) for service in ("db", "web", "mail", "search") for kind in ("cpu", "latency")]
        found = [each for part in components(burst, SHOP) for each in part]
        assert sorted(found, key=repr) == sorted(burst, key=repr)

    def test_two_strong_faults_apart_are_two_incidents_the_stronger_first(self):
        assert services(components([alert("search", score=60), alert("payments", score=90)], SHOP)) == [
            {"payments"},
            {"search"},
        ]

    @pytest.mark.parametrize("service", ["web", "search"])
    def test_a_weak_one_that_calls_connect_joins_the_strongest(self, service: str):
        assert len(components([alert("payments", score=100), alert(service, score=8)], SHOP)) == 1

    def test_a_weak_one_of_another_system_stays_apart(self):
        two = topology_of({"web": ("payments",), "batch": ("mail",)})
        assert len(components([alert("payments", score=100), alert("mail", score=8)], two)) == 2

    def test_a_weak_one_that_has_moved_together_with_the_strongest_joins_it(self):
        two = topology_of({"web": ("payments",), "batch": ("mail",)}, [Edge("mail", "payments", Source.MOVES_TOGETHER)])
        assert len(components([alert("payments", score=100), alert("mail", score=8)], two)) == 1
        assert len(components([alert("payments", score=100), alert("mail", score=90)], two)) == 2

    def test_a_call_that_is_measured_connects_its_two_ends(self):
        slow_call = alert("front", score=90, labels={"peer.service": "mail"})
        assert len(components([slow_call, alert("mail", score=90)], NO_TOPOLOGY)) == 1

    def test_environments_and_tenants_are_never_one_incident(self):
        prod, test = alert("web", labels={"env": "prod"}), alert("web", labels={"env": "test"})
        assert len(components([prod, test], SHOP)) == 2
        assert len(components([prod, alert("web", "cpu")], SHOP)) == 1

    def test_a_weak_one_the_topology_does_not_know_joins_the_strongest(self):
        assert len(components([alert("payments", score=100), alert("mail", score=8)], SHOP)) == 1

    def test_a_strong_one_the_topology_does_not_know_stays_apart(self):
        assert len(components([alert("payments", score=100), alert("mail", score=90)], NO_TOPOLOGY)) == 2

    def test_good_news_is_weak_however_loud(self):
        calm = alert("mail", "latency", "down", score=1000, severity=Severity.INFO)
        assert services(components([calm, alert("payments", score=9)], SHOP)) == [{"mail", "payments"}]

    def test_the_order_of_arrival_does_not_matter(self):
        burst = [alert("payments", score=100), alert("web", score=8), alert("search", score=80), alert("mail", score=9)]
        expected = services(components(burst, SHOP))
        for order in itertools.permutations(burst):
            assert services(components(order, SHOP)) == expected

    def test_why_is_told(self):
        assert why_together([alert("payments", "cpu"), alert("payments")], SHOP) == (
            "seen together on payments: cpu high, latency high"
        )
        assert why_together([alert("payments", score=90), alert("checkout"), alert("mail", score=8)], SHOP) == (
            "seen together on payments, checkout, mail: checkout calls payments; "
            "mail counted in as a fainter echo of payments, though no direct call is known"
        )
