import pytest

from sentinel.correlation.dedup import Distinct, Folded, Known, judge
from sentinel.correlation.signature import signature
from sentinel.incidents.nouns import Incident, IncidentState
from tests.unit.correlation.make import T0, alert, incident

FAULT = (alert("payments", "cpu", ended=True), alert("checkout", ended=True))
OTHER = (alert("search", "memory", ended=True),)
VECTOR = signature(FAULT, "payments")
WINDOW, THRESHOLD = 1800, 0.8


def known(of: Incident) -> Known:
    return Known(incident=of, vector=signature(of.alerts, of.alerts[0].service))


def judged(*incidents: Incident, after_s: float = 60) -> Folded | Distinct:
    now_ms = T0 + round(after_s * 1000)
    return judge(VECTOR, FAULT, [known(each) for each in incidents], now_ms, WINDOW, THRESHOLD)


def test_nothing_to_compare_with_is_distinct():
    found = judged()
    assert found == Distinct(
        similarity=None, previous_id=None, reason="no incident was seen within 1800 s to compare with"
    )


def test_the_same_fault_folds_and_says_why():
    found = judged(incident("inc-1", *FAULT))
    assert isinstance(found, Folded)
    assert (found.incident_id, found.similarity) == ("inc-1", pytest.approx(1))
    assert found.reason == (
        "the same fault as inc-1: similarity 1.00, threshold 0.80, last seen 60 s ago; "
        "in both: checkout latency up, payments cpu up; only now: nothing; only then: nothing"
    )


@pytest.mark.parametrize("state", [IncidentState.OPEN, IncidentState.MITIGATING, IncidentState.ESCALATED])
def test_every_unresolved_incident_can_be_folded_into(state: IncidentState):
    assert isinstance(judged(incident("inc-1", *FAULT, state=state)), Folded)


def test_another_fault_is_distinct_and_names_its_neighbour():
    found = judged(incident("inc-1", *OTHER))
    assert isinstance(found, Distinct)
    assert found.previous_id is None
    assert found.similarity is not None
    assert found.similarity < THRESHOLD
    assert found.reason.startswith("new: the nearest incident inc-1 has similarity 0.0")
    assert "only now: checkout latency up, payments cpu up; only then: search memory up" in found.reason


def test_the_window_slides_from_when_it_was_last_seen():
    assert isinstance(judged(incident("inc-1", *FAULT), after_s=1800), Folded)
    assert judged(incident("inc-1", *FAULT), after_s=1800.001).similarity is None


def test_an_incident_that_still_goes_on_is_in_the_window():
    assert isinstance(judged(incident("inc-1", alert("payments", "cpu"), FAULT[1]), after_s=7200), Folded)


def test_a_resolved_incident_is_named_and_not_reopened():
    found = judged(incident("inc-1", *FAULT, state=IncidentState.RESOLVED, resolved_s=30))
    assert isinstance(found, Distinct)
    assert found.previous_id == "inc-1"
    assert found.reason.startswith("the fault of inc-1 is back 30 s after that was resolved: similarity 1.00")


def test_a_resolved_incident_with_an_alert_nobody_closed_leaves_the_window():
    left_open = incident("inc-1", alert("payments", "cpu"), state=IncidentState.RESOLVED, resolved_s=30)
    assert judged(left_open, after_s=1831).similarity is None


def test_an_open_one_is_preferred_to_a_resolved_one():
    found = judged(
        incident("inc-1", *FAULT, state=IncidentState.RESOLVED, resolved_s=30),
        incident("inc-2", *FAULT, alert("web", ended=True)),
    )
    assert isinstance(found, Folded)
    assert found.incident_id == "inc-2"


def test_the_most_similar_one_is_folded_into():
    found = judged(incident("inc-1", *FAULT, alert("web", ended=True)), incident("inc-2", *FAULT))
    assert isinstance(found, Folded)
    assert found.incident_id == "inc-2"


def test_a_similarity_at_the_threshold_folds():
    exact = judge(VECTOR, FAULT, [known(incident("inc-1", *FAULT))], T0, WINDOW, 0.0)
    assert isinstance(exact, Folded)
    at = judge(VECTOR, FAULT, [known(incident("inc-1", *FAULT))], T0, WINDOW, exact.similarity)
    assert isinstance(at, Folded)
