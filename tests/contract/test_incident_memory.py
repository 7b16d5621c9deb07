"""The contract of `ports.IncidentMemory`: the twin in memory, Qdrant embedded, and Qdrant over HTTP."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from qdrant_client import QdrantClient

from sentinel.adapters.in_memory import InMemoryIncidentMemory
from sentinel.adapters.qdrant import QdrantMemory
from sentinel.errors import Invalid
from sentinel.ports import IncidentMemory
from tests.contract.memories import ids_of, memory_of, vector
from tests.contract.qdrant_stand_in import qdrant_stand_in

REAL_SERVER = "SENTINEL_TEST_QDRANT_URL"


@pytest.fixture(params=["in memory", "embedded", "server stand-in", "server"])
def memory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[IncidentMemory]:
    """One empty memory of each kind."""
    opened: IncidentMemory
    match request.param:
        case "in memory":
            yield InMemoryIncidentMemory()
        case "embedded":
            opened = QdrantMemory.embedded(tmp_path / "qdrant")
            yield opened
            opened.close()
        case "server stand-in":
            with qdrant_stand_in() as stand_in:
                opened = QdrantMemory.server("127.0.0.1", stand_in.port)
                yield opened
                opened.close()
        case _:
            url = urlsplit(os.environ.get(REAL_SERVER, ""))
            if not url.hostname:
                # Never a failure, not even under CI: no package of a Qdrant server exists to install there.
                pytest.skip(f"no Qdrant server: set {REAL_SERVER} to its URL")
            collection, https = f"sentinel_test_{os.getpid()}_{tmp_path.name}", url.scheme == "https"
            opened = QdrantMemory.server(url.hostname, url.port or 6333, https=https, collection=collection)
            try:
                yield opened
            finally:
                opened.close()
                QdrantClient(host=url.hostname, port=url.port or 6333, https=https).delete_collection(collection)


def test_nothing_remembered_recalls_nothing(memory: IncidentMemory):
    assert memory.similar(vector((0, 1.0)), 5) == []


def test_a_memory_comes_back_whole(memory: IncidentMemory):
    kept = replace(memory_of(1), runbook=None, fixed_by=(), recovery_ms=None, services=("Zahlung €", "b"))
    memory.remember(kept)
    memory.remember(memory_of(2))
    (first, second) = memory.similar(kept.vector, 5)
    assert first.similarity == pytest.approx(1, abs=1e-5)
    assert np.allclose(first.memory.vector, kept.vector, atol=1e-6)
    assert replace(first.memory, vector=kept.vector) == kept
    assert second.memory.runbook == "scale-out"
    assert second.memory.fixed_by == ("ecs.scale payments",)
    assert second.memory.recovery_ms == 42_000


def test_the_nearest_come_first_and_no_more_than_asked(memory: IncidentMemory):
    for n, share in ((1, 0.2), (2, 3.0), (3, 1.0)):
        memory.remember(memory_of(n, vector((0, share), (1, 1.0))))
    query = vector((0, 1.0))
    assert ids_of(memory.similar(query, 5)) == ["2", "3", "1"]
    assert ids_of(memory.similar(query, 2)) == ["2", "3"]
    assert memory.similar(query, 0) == []
    found = memory.similar(query, 5)
    assert [each.similarity for each in found] == pytest.approx([3 / 10**0.5, 0.5**0.5, 0.2 / 1.04**0.5], abs=1e-5)


def test_opposites_are_negative(memory: IncidentMemory):
    memory.remember(memory_of(1))
    assert memory.similar(-memory_of(1).vector, 1)[0].similarity == pytest.approx(-1, abs=1e-5)


def test_remembering_again_replaces(memory: IncidentMemory):
    memory.remember(memory_of(1))
    memory.remember(replace(memory_of(1), outcome="not resolved yet", vector=vector((9, 1.0))))
    (only,) = memory.similar(vector((9, 1.0)), 5)
    assert only.memory.outcome == "not resolved yet"
    assert only.similarity == pytest.approx(1, abs=1e-5)


def test_a_vector_of_another_length_is_refused(memory: IncidentMemory):
    memory.remember(memory_of(1))
    short = np.ones(3, dtype=np.float32)
    with pytest.raises(Invalid, match="vector"):
        memory.remember(replace(memory_of(2), vector=short))
    with pytest.raises(Invalid, match="vector"):
        memory.similar(short, 1)


def test_four_threads_lose_nothing(memory: IncidentMemory):
    def work(worker: int) -> int:
        for n in range(worker * 25, worker * 25 + 25):
            memory.remember(memory_of(n))
            assert memory.similar(memory_of(n).vector, 1)[0].similarity == pytest.approx(1, abs=1e-5)
        return worker

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(work, range(4))) == [0, 1, 2, 3]
    found = memory.similar(vector((0, 1.0)), 1000)
    assert sorted(map(int, ids_of(found))) == list(range(100))


def test_all_is_well_and_closing_twice_is_harmless(memory: IncidentMemory):
    memory.remember(memory_of(1))
    assert memory.note == ""
    memory.close()
    memory.close()
