"""Whatever is done to a chain of records is noticed, and the place is named."""

from collections.abc import Callable
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.errors import Conflict, Invalid
from sentinel.ids import IncidentId
from sentinel.incidents.audit import GENESIS, Record, refuse_unless_following, seal, verify
from tests.unit.incidents.make import approved, chained, opened, plan, posted, told

RECORDS = chained(told([opened(), *approved(plan()), posted()]))
N = len(RECORDS)
PLACES = st.integers(0, N - 1)
FIELDS = [field.name for field in fields(Record)]


def changed(record: Record, field: str) -> Record:
    value = getattr(record, field)
    other = value + 1 if isinstance(value, int) else ("f" if value[:1] != "f" else "e") + value[1:]
    return replace(record, **{field: other})


def forged(after: Record | None, at: Record) -> Record:
    """A record that a forger who knows the scheme would put after `after`."""
    return seal(
        incident_id=at.incident_id,
        seq=after.seq + 1 if after else 1,
        at_ms=at.at_ms,
        principal=at.principal,
        kind="incident_resolved",
        body='{"reason":"nothing to see"}',
        prev_hash=after.hash if after else GENESIS,
    )


def test_an_untouched_chain_holds() -> None:
    assert verify(RECORDS) is None
    assert verify([]) is None


def test_a_chain_cut_at_its_end_holds_by_itself() -> None:
    # Stated in `verify`: only a hash kept elsewhere can show this.
    assert verify(RECORDS[:-1]) is None


@given(PLACES, st.sampled_from(FIELDS))
def test_a_changed_field_is_found_in_its_entry(n: int, field: str) -> None:
    found = verify([*RECORDS[:n], changed(RECORDS[n], field), *RECORDS[n + 1 :]])
    assert found is not None
    assert found.seq == (RECORDS[n].seq + 1 if field == "seq" else RECORDS[n].seq)
    assert found.reason


@given(st.integers(0, N - 2))
def test_a_removed_entry_is_found_at_the_one_after_it(n: int) -> None:
    found = verify([*RECORDS[:n], *RECORDS[n + 1 :]])
    assert found is not None
    assert found.seq == RECORDS[n + 1].seq
    assert "removed or added" in found.reason


@given(PLACES)
def test_an_entry_written_twice_is_found(n: int) -> None:
    found = verify([*RECORDS[: n + 1], *RECORDS[n:]])
    assert found is not None
    assert found.seq == RECORDS[n].seq


@given(st.integers(0, N - 1))
def test_a_forged_entry_is_found_at_the_one_after_it(n: int) -> None:
    put_in = forged(RECORDS[n - 1] if n else None, RECORDS[n])
    found = verify([*RECORDS[:n], put_in, *RECORDS[n:]])
    assert found is not None
    assert found.seq == RECORDS[n].seq
    replaced = verify([*RECORDS[:n], put_in, *RECORDS[n + 1 :]])
    assert (replaced is None) == (n == N - 1), "a new last entry is a cut chain that was continued"
    if replaced is not None:
        assert replaced.seq == RECORDS[n + 1].seq
        assert "the entry before it" in replaced.reason


@given(st.permutations(range(N)))
def test_a_new_order_is_found_at_the_first_entry_out_of_place(order: list[int]) -> None:
    found = verify([RECORDS[n] for n in order])
    moved = [n for place, n in enumerate(order) if place != n]
    assert (found is None) == (not moved)
    if found is not None:
        assert found.seq == RECORDS[moved[0]].seq


def test_entries_of_another_incident_do_not_fit() -> None:
    other = chained(told([opened(), posted()], incident=IncidentId("inc-20231114-ffffffff-1")))
    assert verify([*RECORDS[:1], other[1]]) is not None


def test_moving_a_letter_between_fields_changes_the_hash() -> None:
    # Fields are hashed with their lengths, so that "ab" + "c" is not "a" + "bc".
    first = RECORDS[0]
    shifted = replace(first, principal=first.principal + first.kind[0], kind=first.kind[1:])
    assert verify([shifted]) is not None


FOLLOWING: dict[str, tuple[Callable[[], list[Record]], type[Exception], str]] = {
    "no records": (list, Invalid, "at least one"),
    "records of two incidents": (
        lambda: [RECORDS[2], replace(RECORDS[3], incident_id=IncidentId("other"))],
        Invalid,
        "records of one incident",
    ),
    "a NUL, which PostgreSQL cannot hold": (lambda: [replace(RECORDS[2], body="\0")], Invalid, r"U\+0000"),
    "a sequence that is taken": (lambda: [RECORDS[1]], Conflict, "entry 2 where 3 follows"),
    "a sequence that is skipped": (lambda: [RECORDS[3]], Conflict, "entry 4 where 3 follows"),
    "another chain": (lambda: [replace(RECORDS[2], prev_hash=GENESIS)], Conflict, "not chained"),
    "a gap among themselves": (lambda: [RECORDS[2], RECORDS[4]], Conflict, "entry 5 where 4 follows"),
}


@pytest.mark.parametrize("case", FOLLOWING)
def test_what_does_not_continue_a_chain_is_refused(case: str) -> None:
    records, error, said = FOLLOWING[case]
    with pytest.raises(error, match=said):
        refuse_unless_following(records(), RECORDS[1].seq, RECORDS[1].hash)


def test_what_continues_a_chain_is_let_through() -> None:
    refuse_unless_following(RECORDS[2:], RECORDS[1].seq, RECORDS[1].hash)
    refuse_unless_following(RECORDS, 0, GENESIS)
