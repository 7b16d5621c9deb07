from dataclasses import replace

import pytest

from sentinel.correlation.dedup import Distinct, Example, Folded, example_of, judge
from sentinel.correlation.signature import signature
from sentinel.correlation.topology import topology_of
from sentinel.correlation.window import HotWindow, Near
from sentinel.ids import IncidentId
from sentinel.incidents.nouns import Correction, Incident, IncidentState, Principal
from tests.unit.correlation.make import NO_TOPOLOGY, T0, alert, incident

FAULT = (alert("payments", "cpu", ended=True), alert("checkout", ended=True))
OTHER = (alert("search", "memory", ended=True),)
VECTOR = signature(FAULT, "payments")
WINDOW, THRESHOLD = 1800, 0.8


def judged(*incidents: Incident, after_s: float = 60, examples: tuple[Example, ...] = ()) -> Folded | Distinct:
    now_ms = T0 + round(after_s * 1000)
    window = HotWindow(WINDOW)
    for each in incidents:
        window.put(each)
    near = window.near(VECTOR, now_ms, WINDOW)
    return judge(VECTOR, FAULT, near, now_ms, WINDOW, THRESHOLD, examples=examples)


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
    other = Near(incident=incident("inc-1", *FAULT), vector=VECTOR, similarity=THRESHOLD)
    assert isinstance(judge(VECTOR, FAULT, [other], T0, WINDOW, THRESHOLD), Folded)
    below = replace(other, similarity=THRESHOLD - 1e-9)
    assert isinstance(judge(VECTOR, FAULT, [below], T0, WINDOW, THRESHOLD), Distinct)


def test_a_fault_that_goes_on_too_long_opens_anew_and_names_the_old():
    found = judged(incident("inc-1", alert("payments", "cpu"), FAULT[1]), after_s=4 * 3600 + 1)
    assert isinstance(found, Distinct)
    assert found.previous_id == "inc-1"
    assert found.reason.startswith("the fault of inc-1 goes on, and that is older than 14400 s: similarity")


def test_another_environment_is_never_compared():
    prod = incident("inc-1", *(alert(each.service, each.kind, ended=True, labels={"env": "prod"}) for each in FAULT))
    ours = tuple(alert(each.service, each.kind, ended=True, labels={"env": "test"}) for each in FAULT)
    window = HotWindow(WINDOW)
    window.put(prod)
    near = window.near(VECTOR, T0, WINDOW)
    assert judge(VECTOR, ours, near, T0, WINDOW, THRESHOLD).similarity is None
    assert isinstance(judge(VECTOR, FAULT, near, T0, WINDOW, THRESHOLD), Folded)


def test_incidents_that_do_not_touch_are_never_folded_however_alike():
    # Only a collision of hashes could make them so alike.
    stranger = Near(incident=incident("inc-1", *OTHER), vector=VECTOR, similarity=1.0)
    assert isinstance(judge(VECTOR, FAULT, [stranger], T0, WINDOW, THRESHOLD), Distinct)
    near_by = topology_of({"checkout": ["search"]})
    assert isinstance(judge(VECTOR, FAULT, [stranger], T0, WINDOW, THRESHOLD, topology=near_by), Folded)


class TestWhatPeopleSaid:
    ANNA = Principal(id="anna", name="Anna", via="api")

    def said(self, *, same: bool, alerts=FAULT, against=FAULT) -> Example:
        correction = Correction(
            same=same,
            other_id=IncidentId("inc-7"),
            alerts=alerts,
            against=against,
            principal=self.ANNA,
            reason="another cluster",
            at_ms=T0,
        )
        return example_of(IncidentId("inc-1"), correction, NO_TOPOLOGY)

    def test_a_pair_told_apart_is_not_folded_and_the_reason_says_who_said_so(self):
        found = judged(incident("inc-1", *FAULT), examples=(self.said(same=False),))
        assert isinstance(found, Distinct)
        assert found.reason == (
            "new: not counted in inc-1, similarity 1.00, threshold 0.80: "
            "Anna said that the like of inc-7 is not the same as inc-1: another cluster"
        )

    def test_a_pair_told_to_be_the_same_is_folded_below_the_threshold(self):
        known = incident("inc-1", *OTHER)
        assert isinstance(judged(known), Distinct)
        found = judged(known, examples=(self.said(same=True, against=OTHER),))
        assert isinstance(found, Folded)
        assert "Anna said that the like of inc-7 is the same as inc-1" in found.reason

    def test_it_holds_whichever_side_comes_first(self):
        found = judged(incident("inc-1", *OTHER), examples=(self.said(same=True, alerts=OTHER, against=FAULT),))
        assert isinstance(found, Folded)

    def test_two_that_look_the_same_teach_nothing_of_others(self):
        # Told apart though nothing tells them apart: else no fault of this kind would ever be folded again.
        assert isinstance(judged(incident("inc-9", *FAULT), examples=(self.said(same=False),)), Folded)

    def test_two_that_look_different_teach_of_all_that_are_like_them(self):
        grown = (*FAULT, alert("search", "memory", ended=True), alert("web", "errors", ended=True))
        example = self.said(same=False, against=grown)
        assert isinstance(judged(incident("inc-9", *grown)), Folded)
        assert isinstance(judged(incident("inc-9", *grown), examples=(example,)), Distinct)

    def test_what_was_said_of_another_pair_changes_nothing(self):
        elsewhere = (alert("mail", "disk", ended=True),)
        found = judged(incident("inc-1", *FAULT), examples=(self.said(same=False, alerts=elsewhere),))
        assert isinstance(found, Folded)

    def test_of_two_that_fit_alike_the_later_counts(self):
        apart, same = self.said(same=False), self.said(same=True)
        assert isinstance(judged(incident("inc-1", *FAULT), examples=(apart, same)), Folded)
        assert isinstance(judged(incident("inc-1", *FAULT), examples=(same, apart)), Distinct)
