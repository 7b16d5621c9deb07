"""Ids come from content: the same twice, and another for anything else."""

from dataclasses import dataclass

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sentinel.errors import Invalid
from sentinel.ids import (
    Fingerprint,
    IncidentId,
    canonical,
    content_digest,
    fingerprint,
    incident_id,
    incident_of_plan,
    plan_id,
    step_key,
)

TEXTS = st.text(st.characters(exclude_categories=("Cs",)))
LABELS = st.dictionaries(TEXTS, TEXTS, max_size=5)


@given(LABELS)
def test_a_fingerprint_heeds_no_order(labels: dict[str, str]) -> None:
    assert fingerprint(labels) == fingerprint(dict(reversed(labels.items())))


@given(LABELS, LABELS)
def test_other_labels_have_another_fingerprint(one: dict[str, str], other: dict[str, str]) -> None:
    assume(one != other)
    assert fingerprint(one) != fingerprint(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [({"a": "bc"}, {"ab": "c"}), ({"a": "", "b": "c"}, {"a": "b", "": "c"}), ({"a": "1", "b": "2"}, {"a": "1b2"})],
)
def test_no_separator_can_be_moved(one: dict[str, str], other: dict[str, str]) -> None:
    assert fingerprint(one) != fingerprint(other)


def test_ids_stay_what_they_were() -> None:
    # Journals, memories and idempotency tokens hold these: they may not change with a version.
    assert fingerprint({"__name__": "latency_seconds", "service": "checkout"}) == "a3de828f22b0f007"
    assert incident_id(1_700_000_000_000, Fingerprint("1a2b3c4d5e6f7081"), 2) == "inc-20231114-1a2b3c4d-2"
    plan = plan_id(IncidentId("inc-20231114-1a2b3c4d-2"), 3)
    assert plan == "inc-20231114-1a2b3c4d-2.p3"
    assert step_key(plan, 0) == "inc-20231114-1a2b3c4d-2.p3.s0"


def test_a_day_begins_at_midnight_utc() -> None:
    midnight = 1_700_006_400_000
    assert incident_id(midnight - 1, Fingerprint("0" * 16), 1).startswith("inc-20231114-")
    assert incident_id(midnight, Fingerprint("0" * 16), 1).startswith("inc-20231115-")


@given(st.integers(1, 10_000))
def test_a_plan_knows_its_incident(attempt: int) -> None:
    incident = IncidentId("inc-20231114-1a2b3c4d-1")
    assert incident_of_plan(plan_id(incident, attempt)) == incident


@pytest.mark.parametrize(
    "text", ["", "x", "inc-1", ".p1", "inc-1.p", "inc-1.px", "inc-1.p-1", "inc-1.p1.s0", "inc-1p1"]
)
def test_what_is_no_plan_id_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match=r"plan_id: got .*<incident_id>\.p<attempt>"):
        incident_of_plan(text)


@dataclass(frozen=True)
class _Pair:
    b: int
    a: str


def test_canonical_json_has_one_form() -> None:
    assert canonical(_Pair(b=1, a="ü")) == canonical({"a": "ü", "b": 1}) == '{"a":"ü","b":1}'.encode()
    assert content_digest({"a": 1}) == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
