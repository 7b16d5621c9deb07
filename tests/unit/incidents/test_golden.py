"""Histories that were stored once replay to the same story, and their chains hold."""

import pytest

from sentinel.codec import entry_of, record_of
from sentinel.incidents.audit import verify
from sentinel.incidents.history import replay
from tests.unit.incidents.golden import FOLDER, HISTORIES, read, summary_of

NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


def test_every_history_has_its_file() -> None:
    assert sorted(HISTORIES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_history_tells_the_same_story(name: str) -> None:
    summary, records = read(name)
    incident = replay(entry_of(record) for record in records)
    assert incident is not None
    assert summary_of(incident) == summary


@pytest.mark.parametrize("name", NAMES)
def test_its_chain_holds(name: str) -> None:
    _, records = read(name)
    assert verify(records) is None


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_today_reads_back_the_same(name: str) -> None:
    # Not the same bytes: a later version may add fields. The same entries.
    _, records = read(name)
    entries = [entry_of(record) for record in records]
    assert [entry_of(record_of(entry)) for entry in entries] == entries


def test_the_histories_use_every_fact_but_a_few() -> None:
    kinds = {record.kind for name in NAMES for record in read(name)[1]}
    assert len(kinds) >= 20, sorted(kinds)
