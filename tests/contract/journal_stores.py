"""The journal store of a contract suite: the twin in memory, SQLite and PostgreSQL."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sentinel.adapters.in_memory import InMemoryJournalStore
from sentinel.adapters.sql_journal import SqlJournalStore
from sentinel.ports import JournalStore

Open = Callable[[], JournalStore]


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens one more store on one and the same journal."""
    if request.param == "memory":
        twin = InMemoryJournalStore()
        yield lambda: twin
        return
    place = f"sqlite:///{tmp_path}/journal.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    opened: list[SqlJournalStore] = []

    def opener() -> JournalStore:
        opened.append(SqlJournalStore(place))
        return opened[-1]

    yield opener
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Open) -> JournalStore:
    return open_store()
