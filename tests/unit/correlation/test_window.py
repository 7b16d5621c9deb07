import numpy as np

from sentinel.correlation.signature import DIMENSIONS, signature
from sentinel.correlation.window import HotWindow
from sentinel.incidents.nouns import IncidentState
from tests.unit.correlation.make import T0, alert, incident

FAULT = (alert("payments", "cpu", ended=True), alert("checkout", ended=True))
VECTOR = signature(FAULT, "payments")


def test_it_grows_and_forgets_and_uses_its_room_again():
    window = HotWindow(1800)
    for n in range(200):
        window.put(incident(f"inc-{n}", *FAULT, state=IncidentState.RESOLVED, resolved_s=n))
    assert len(window) == 200
    window.forget(T0 + 1_900_000)
    assert len(window) == 100
    window.put(incident("inc-x", *FAULT))
    assert [near.incident.id for near in window.near(VECTOR, T0 + 1_900_000, 1800, 1)] == ["inc-100"]
    assert window.get(incident("inc-x").id) is not None


def test_an_older_telling_does_not_replace_a_newer_one():
    window = HotWindow(1800)
    newer = incident("inc-1", *FAULT)
    window.put(newer)
    window.put(incident("inc-1", alert("search", ended=True)))
    assert window.get(newer.id) == newer


def test_a_candidate_is_compared_with_how_an_incident_began_as_well():
    grown = incident("inc-1", *FAULT, *(alert(f"s{n}", "memory", started_s=300 + n, ended=True) for n in range(6)))
    window = HotWindow(1800)
    window.put(grown)
    (near,) = window.near(VECTOR, T0 + 400_000, 1800)
    assert near.similarity > float(near.vector @ VECTOR)


def test_of_many_alike_the_one_opened_last_is_kept_whatever_the_limit():
    window = HotWindow(1800)
    for n in range(50):
        window.put(incident(f"inc-{n:02}", *FAULT))
    assert [near.incident.id for near in window.near(VECTOR, T0, 1800, 2)] == ["inc-00", "inc-01"]
    assert window.near(np.zeros(DIMENSIONS, dtype=np.float32), T0, 1800, 0) == []


def test_dropped_is_gone():
    window = HotWindow(1800)
    one = incident("inc-1", *FAULT)
    window.put(one)
    window.drop(one.id)
    window.drop(one.id)
    assert window.near(VECTOR, T0, 1800) == []
    assert window.vector(one.id) is None
