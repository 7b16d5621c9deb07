"""The contract of `ports.IncidentMemory`: the twin in memory, Qdrant embedded by either engine, and over HTTP."""

import importlib.util
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
from sentinel.adapters.qdrant_edge import EdgeMemory
from sentinel.correlation.scope import Scope
from sentinel.correlation.signature import Vectors
from sentinel.errors import Invalid
from sentinel.ports import IncidentMemory
from tests.contract.memories import ids_of, memory_of, vectors
from tests.contract.qdrant_stand_in import qdrant_stand_in

REAL_SERVER = "SENTINEL_TEST_QDRANT_URL"


@pytest.fixture(params=["in memory", "embedded", "edge", "server stand-in", "server"])
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
        case "edge":
            if importlib.util.find_spec("qdrant_edge") is None:
                pytest.skip("qdrant-edge-py is not installed: pip install '.[edge]'")
            opened = EdgeMemory.open(tmp_path / "qdrant")
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
    assert memory.similar(vectors((0, 1.0)), 5) == []
    assert memory.held() == {}


def test_a_memory_comes_back_whole(memory: IncidentMemory):
    kept = replace(memory_of(1), runbook=None, fixed_by=(), recovery_ms=None, services=("Zahlung €", "b"))
    memory.remember([kept, memory_of(2)])
    (first, second) = memory.similar(kept.vectors, 5)
    assert first.similarity == pytest.approx(1, abs=1e-5)
    for name in ("sig", "shape", "text"):
        assert np.allclose(getattr(first.memory.vectors, name), getattr(kept.vectors, name), atol=1e-6)
    assert replace(first.memory, vectors=kept.vectors) == kept
    assert "the same services in the same way (1.00)" in first.why
    assert replace(second.memory, vectors=kept.vectors) == replace(memory_of(2), vectors=kept.vectors)


def test_the_nearest_come_first_and_no_more_than_asked(memory: IncidentMemory):
    memory.remember([memory_of(n, vectors((0, share), (1, 1.0))) for n, share in ((1, 0.2), (2, 3.0), (3, 1.0))])
    query = vectors((0, 1.0))
    assert ids_of(memory.similar(query, 5)) == ["2", "3", "1"]
    assert ids_of(memory.similar(query, 2)) == ["2", "3"]
    assert memory.similar(query, 0) == []
    found = memory.similar(query, 5)
    cosines = [3 / 10**0.5, 0.5**0.5, 0.2 / 1.04**0.5]
    assert [each.similarity for each in found] == pytest.approx([0.4 + 0.6 * cosine for cosine in cosines], abs=1e-5)


def test_a_fault_seen_elsewhere_is_found_by_its_shape_and_words(memory: IncidentMemory):
    memory.remember([memory_of(n) for n in range(1, 60)])
    (first, *_) = memory.similar(vectors((200, 1.0)), 5)
    assert first.similarity == pytest.approx(0.4, abs=1e-5)
    assert first.why == "the same kind of fault (1.00), the same words (1.00)"


def test_opposites_are_negative(memory: IncidentMemory):
    memory.remember([memory_of(1)])
    ours = memory_of(1).vectors
    opposite = Vectors(-ours.sig, -ours.shape, -ours.text)
    assert memory.similar(opposite, 1)[0].similarity == pytest.approx(-1, abs=1e-5)


def test_remembering_again_replaces(memory: IncidentMemory):
    memory.remember([memory_of(1)])
    memory.remember([replace(memory_of(1), outcome="not resolved yet", vectors=vectors((9, 1.0)), seq=8)])
    (only,) = memory.similar(vectors((9, 1.0)), 5)
    assert only.memory.outcome == "not resolved yet"
    assert only.similarity == pytest.approx(1, abs=1e-5)
    assert memory.held() == {memory_of(1).incident_id: 8}


def test_another_tenant_or_environment_is_never_recalled(memory: IncidentMemory):
    prod, test = Scope("acme", "prod"), Scope("acme", "test")
    memory.remember([memory_of(n, vectors((0, 1.0), (n, 0.01)), test) for n in range(1, 50)])
    memory.remember([memory_of(50, vectors((0, 1.0), (1, 1.0)), prod), memory_of(51, vectors((0, 1.0), (1, 2.0)))])
    # However many of another environment are nearer, and one that does not say is no stranger.
    assert ids_of(memory.similar(vectors((0, 1.0)), 2, prod)) == ["50", "51"]
    assert len(memory.similar(vectors((0, 1.0)), 100)) == 51
    assert ids_of(memory.similar(vectors((0, 1.0)), 5, Scope("other", "prod"))) == ["51"]


def test_held_names_all_of_many(memory: IncidentMemory):
    memory.remember([memory_of(n, seq=n) for n in range(1, 1203)])
    assert memory.held() == {memory_of(n).incident_id: n for n in range(1, 1203)}


def test_starting_over_forgets_and_goes_on(memory: IncidentMemory):
    memory.remember([memory_of(1)])
    memory.start_over()
    assert memory.held() == {}
    memory.remember([memory_of(2)])
    assert ids_of(memory.similar(vectors((1, 1.0)), 5)) == ["2"]


def test_vectors_of_another_length_are_refused_and_nothing_is_kept(memory: IncidentMemory):
    memory.remember([memory_of(1)])
    short = replace(memory_of(2).vectors, sig=np.ones(3, dtype=np.float32))
    with pytest.raises(Invalid, match="vector sig"):
        memory.remember([memory_of(3), replace(memory_of(2), vectors=short)])
    with pytest.raises(Invalid, match="vector sig"):
        memory.similar(short, 1)
    assert list(memory.held()) == [memory_of(1).incident_id]


def test_four_threads_lose_nothing(memory: IncidentMemory):
    def work(worker: int) -> int:
        for n in range(worker * 25, worker * 25 + 25):
            memory.remember([memory_of(n)])
            assert memory.similar(memory_of(n).vectors, 1)[0].similarity == pytest.approx(1, abs=1e-5)
        return worker

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(work, range(4))) == [0, 1, 2, 3]
    assert len(memory.held()) == 100


def test_all_is_well_and_closing_twice_is_harmless(memory: IncidentMemory):
    memory.remember([memory_of(1)])
    assert memory.note == ""
    memory.close()
    memory.close()
