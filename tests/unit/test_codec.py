"""Entries become records and come back; what does not is refused by name."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.codec import entry_of, record_of, to_builtins
from sentinel.errors import Invalid
from sentinel.incidents import facts as f
from sentinel.incidents.audit import GENESIS
from sentinel.incidents.nouns import Principal
from tests.unit.incidents.make import alert, opened, plan, told
from tests.unit.incidents.test_transitions import FACTS

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.text() | st.booleans() | st.integers(-(2**53), 2**53) | NUMBERS
TEXTS = st.text(st.characters(exclude_categories=("Cs",)))


@pytest.mark.parametrize("kind", f.FACTS)
def test_an_entry_of_each_kind_comes_back_equal(kind: str) -> None:
    (entry,) = told([FACTS[kind]])
    record = record_of(entry)
    assert (record.kind, record.prev_hash) == (kind, GENESIS)
    assert entry_of(record) == entry


@given(TEXTS, st.dictionaries(TEXTS, SCALARS, max_size=4), st.dictionaries(TEXTS, TEXTS, max_size=4), NUMBERS)
def test_whatever_it_holds_comes_back_equal(text: str, values: dict[str, object], labels: dict[str, str], n: float):
    facts = [
        f.StepStarted(plan_id=plan().plan_id, index=0, previous=values),  # type: ignore[arg-type]
        f.IncidentEscalated(reason=text),
        opened(alert(labels=labels, value=n, expected_low=-n)),
    ]
    for entry in told(facts, by=Principal(id=text, name=text, via="api")):
        assert entry_of(record_of(entry)) == entry


def test_the_same_entry_is_always_the_same_record() -> None:
    one, other = alert(labels={"a": "1", "b": "2"}), alert(labels={"b": "2", "a": "1"})
    assert record_of(told([opened(one)])[0]) == record_of(told([opened(other)])[0])


def test_an_unknown_kind_is_refused_by_name() -> None:
    record = replace(record_of(told([opened()])[0]), kind="incident_teleported")
    with pytest.raises(
        Invalid, match="kind: got 'incident_teleported', expected a fact this version knows, in entry 1"
    ):
        entry_of(record)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"body": '{"reason":'}, "incident_escalated"),
        ({"body": "{}"}, "reason"),
        ({"body": '{"reason":7}'}, "reason"),
        ({"principal": '{"id":"x"}'}, "name"),
        ({"principal": '{"id":"x","name":"x","via":"telepathy"}'}, "telepathy"),
    ],
)
def test_a_damaged_record_is_refused_and_says_where(change: dict[str, str], said: str) -> None:
    record = replace(record_of(told([f.IncidentEscalated(reason="")])[0]), **change)
    with pytest.raises(Invalid, match=said) as refused:
        entry_of(record)
    assert "entry 1 of inc-20231114" in str(refused.value)


def test_fields_of_a_later_version_are_passed_over() -> None:
    record = record_of(told([f.IncidentEscalated(reason="why")])[0])
    later = replace(record, body=json.dumps({**json.loads(record.body), "added_later": [1, 2]}))
    assert entry_of(later).fact == f.IncidentEscalated(reason="why")


def test_values_become_what_json_knows() -> None:
    shown = to_builtins(opened())
    read = json.loads(json.dumps(shown))
    assert read["alerts"][0]["direction"] == "up"
    assert read["suspects"][0]["reasons"] == ["it was first"]
