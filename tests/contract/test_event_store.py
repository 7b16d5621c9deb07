"""The contract of `ports.EventStore`, on the twin in memory, on SQLite and on PostgreSQL."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from sqlalchemy import text

from sentinel.adapters.in_memory_events import InMemoryEventStore
from sentinel.adapters.sql_events import SqlEventStore
from sentinel.adapters.sql_journal import SqlJournalStore
from sentinel.errors import Invalid, Unavailable
from sentinel.ids import Fingerprint
from sentinel.ports import MOST_CHANGES, DeadLetter, EventStore, Standing
from sentinel.telemetry.events import Event
from tests.contract.conftest import A, chain

NOW = 1_700_000_000_000
Open = Callable[[], EventStore]


def event(
    event_id: str = "1",
    *,
    source: str = "alertmanager",
    kind: Literal["alert", "change"] = "alert",
    service: str = "payments",
    at_ms: int = NOW,
    title: str = "HighErrorRate",
) -> Event:
    return Event(
        source=source,
        event_id=event_id,
        kind=kind,
        service=service,
        title=title,
        labels={"service": service, "a": "b ☕"},
        severity="warning",
        status="firing",
        started_at_ms=at_ms,
        ended_at_ms=None,
        description="d",
        url="https://x.example/",
        fingerprint=Fingerprint("0123456789abcdef"),
        metric=title,
    )


def change(event_id: str, service: str, at_ms: int) -> Event:
    return event(event_id, kind="change", source="change", service=service, at_ms=at_ms)


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens one more store on one and the same events, as another process would."""
    if request.param == "memory":
        twin = InMemoryEventStore()
        yield lambda: twin
        return
    place = f"sqlite:///{tmp_path}/journal.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    opened: list[SqlJournalStore] = []

    def opener() -> EventStore:
        opened.append(SqlJournalStore(place))
        return SqlEventStore(opened[-1].database)

    yield opener
    for journal in opened:
        journal.close()


@pytest.fixture
def store(open_store: Open) -> EventStore:
    return open_store()


class TestContract:
    def test_what_was_received_is_pending_in_its_order(self, store: EventStore) -> None:
        events = [event("b"), event("a"), event("a", source="cloudwatch")]
        assert store.receive(events, NOW) == [True, True, True]
        assert [each.event for each in store.pending(10)] == events
        assert [each.event for each in store.pending(2)] == events[:2]
        positions = [each.position for each in store.pending(10)]
        assert positions == sorted(set(positions))

    def test_the_same_event_is_received_once(self, store: EventStore) -> None:
        assert store.receive([event("a"), event("b")], NOW) == [True, True]
        assert store.receive([event("b", title="changed"), event("c")], NOW + 1) == [False, True]
        assert [each.event for each in store.pending(10)] == [event("a"), event("b"), event("c")]

    def test_a_repetition_within_one_body_is_known(self, store: EventStore) -> None:
        assert store.receive([event("a"), event("a"), event("b"), event("a")], NOW) == [True, False, True, False]

    def test_nothing_received_is_nothing(self, store: EventStore) -> None:
        assert store.receive([], NOW) == []
        assert (store.pending(1), store.dead_letters(1), dict(store.standing())) == ([], [], {})

    def test_a_large_body_is_received_whole(self, store: EventStore) -> None:
        events = [event(f"e{n}") for n in range(1201)]
        assert all(store.receive(events, NOW))
        assert store.receive(events, NOW) == [False] * 1201
        assert [each.event for each in store.pending(2000)] == events
        store.settle([each.position for each in store.pending(2000)], NOW)
        assert store.pending(10) == []

    def test_what_is_settled_is_not_pending_and_still_known(self, store: EventStore, open_store: Open) -> None:
        store.receive([event("a"), event("b"), event("c")], NOW)
        first, second, _ = (each.position for each in store.pending(10))
        store.settle([first], NOW)
        store.settle([second], NOW, "nobody can read it")
        assert [each.event for each in store.pending(10)] == [event("c")]
        assert open_store().receive([event("a"), event("b")], NOW) == [False, False]
        assert store.standing() == {"alertmanager": Standing(pending=1, placed=1, dead=1)}

    def test_the_first_settling_stays(self, store: EventStore) -> None:
        store.receive([event("a"), event("b")], NOW)
        a, b = (each.position for each in store.pending(10))
        store.settle([a], NOW)
        store.settle([b], NOW, "bad")
        store.settle([a, b, 999], NOW + 1, "worse")
        assert [letter.reason for letter in store.dead_letters(10)] == ["bad"]
        store.settle([], NOW)

    def test_dead_letters_are_seen_as_they_came(self, store: EventStore) -> None:
        store.receive([event("a")], NOW)
        store.settle([store.pending(1)[0].position], NOW + 1, "no such thing")
        letter = DeadLetter(source="cloudwatch", event_id="m", received_at_ms=NOW, reason="no alarm", body="Hello")
        assert store.bury(letter)
        assert not store.bury(replace(letter, reason="other"))
        newest, oldest = store.dead_letters(10)
        assert newest == letter
        assert (oldest.source, oldest.event_id, oldest.reason) == ("alertmanager", "a", "no such thing")
        assert "HighErrorRate" in oldest.body
        assert store.dead_letters(1) == [newest]
        assert store.standing()["cloudwatch"] == Standing(dead=1)

    def test_any_text_can_be_buried(self, store: EventStore) -> None:
        body = "NUL \0, emoji \U0001f600, quote ' \" \\"
        store.bury(DeadLetter(source="cloudwatch", event_id="m", received_at_ms=NOW, reason="x", body=body))
        assert store.dead_letters(1)[0].body.replace("\ufffd", "\0") == body

    def test_changes_are_found_by_service_and_time_and_never_pending(self, store: EventStore) -> None:
        early, late = change("1", "payments", NOW - 1000), change("2", "payments", NOW)
        other = change("3", "cart", NOW - 500)
        store.receive([late, early, other, event("4")], NOW)
        assert [each.event for each in store.pending(10)] == [event("4")]
        assert store.changes(["payments"], NOW - 1000, NOW) == [early, late]
        assert store.changes(["payments", "cart"], NOW - 999, NOW) == [other, late]
        assert store.changes(["payments"], NOW - 999, NOW - 1) == []
        assert store.changes([], 0, NOW) == []
        assert store.standing()["change"] == Standing(placed=3)

    def test_the_latest_changes_are_enough(self, store: EventStore) -> None:
        many = [change(str(n), "payments", NOW - n) for n in range(MOST_CHANGES + 5)]
        store.receive(many, NOW)
        assert store.changes(["payments"], 0, NOW) == many[:MOST_CHANGES][::-1]

    @pytest.mark.parametrize("limit", [0, -1])
    def test_a_limit_below_one_is_invalid(self, store: EventStore, limit: int) -> None:
        for ask in (store.pending, store.dead_letters):
            with pytest.raises(Invalid):
                ask(limit)

    def test_what_returned_is_there_for_the_next_process(self, open_store: Open) -> None:
        open_store().receive([event("a")], NOW)
        assert [each.event for each in open_store().pending(10)] == [event("a")]

    def test_many_senders_of_one_event_are_told_once_that_it_is_new(self, open_store: Open) -> None:
        stores = [open_store() for _ in range(3)]

        def send(n: int) -> list[bool]:
            return stores[n % 3].receive([event("same"), event(f"own-{n}")], NOW)

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(send, range(24)))
        assert sum(same for same, _ in answers) == 1
        assert all(own for _, own in answers)
        assert len(stores[0].pending(100)) == 25


@pytest.fixture(params=["sqlite", "postgresql"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlJournalStore]:
    place = f"sqlite:///{tmp_path}/journal.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    opened = SqlJournalStore(place, lock_wait_s=0.5)
    yield opened
    opened.close()


class TestSql:
    def test_an_event_of_another_version_is_pending_with_its_fault(self, journal: SqlJournalStore) -> None:
        store = SqlEventStore(journal.database)
        store.receive([event("a"), event("b")], NOW)
        with journal.database.engine.begin() as connection:
            connection.execute(text("UPDATE events SET body = '{\"shape\": 9}' WHERE event_id = 'a'"))
        poison, good = store.pending(10)
        assert poison.event is None
        assert "an event that this version reads" in poison.fault
        assert good.event == event("b")

    def test_events_and_facts_share_a_connection(self, journal: SqlJournalStore) -> None:
        store = SqlEventStore(journal.database)
        store.receive([event("a")], NOW)
        journal.append(chain(A, 2))
        assert len(journal.read(A)) == 2
        assert len(store.pending(10)) == 1

    def test_a_store_that_is_locked_is_unavailable_and_keeps_nothing(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/journal.db"
        holder, waiting = SqlJournalStore(url), SqlJournalStore(url, lock_wait_s=0.2)
        with holder.database.engine.begin(), pytest.raises(Unavailable):
            SqlEventStore(waiting.database).receive([event("a")], NOW)
        assert SqlEventStore(waiting.database).receive([event("a")], NOW) == [True]
        holder.close()
        waiting.close()


def test_what_was_settled_long_ago_is_forgotten_a_few_at_a_time(open_store: Open) -> None:
    store = open_store()
    store.receive([event(str(n)) for n in range(6)], NOW)
    positions = [each.position for each in store.pending(10)]
    store.settle(positions[:3], NOW)
    store.settle(positions[3:5], NOW + 10)
    assert store.forget(NOW, NOW, 10) == 0, "nothing was settled before"
    assert [store.forget(NOW + 1, NOW, 2) for _ in range(3)] == [2, 1, 0]
    assert store.standing() == {"alertmanager": Standing(pending=1, placed=2)}
    assert [each.position for each in store.pending(10)] == positions[5:], "what waits stays, however old"
    # Within its retention an id stays one; after it, the event is news.
    assert store.receive([event("4"), event("0")], NOW + 20) == [False, True]
    assert max(each.position for each in store.pending(10)) > max(positions), "no position is given twice"


def test_dead_letters_are_kept_by_a_time_of_their_own(open_store: Open) -> None:
    store = open_store()
    letter = DeadLetter(source="cloudwatch", event_id="x", received_at_ms=NOW, reason="no alarm", body="{}")
    store.bury(letter)
    store.receive([change("1", "web", NOW)], NOW)
    assert store.forget(NOW + 100, NOW, 10) == 1
    assert (store.dead_letters(5), store.changes(["web"], 0, NOW)) == ([letter], [])
    assert store.forget(NOW + 100, NOW + 1, 10) == 1
    assert store.dead_letters(5) == []
