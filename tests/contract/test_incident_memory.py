"""The contract of `ports.IncidentMemory`: the twin in memory, Qdrant embedded, and Qdrant over HTTP."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from numpy.typing import NDArray
from qdrant_client import QdrantClient

from sentinel import settings
from sentinel.adapters.in_memory import InMemoryIncidentMemory
from sentinel.adapters.qdrant import DISABLED_NOTE, DisabledMemory, QdrantMemory, open_memory, point_id
from sentinel.adapters.qdrant_embedded import open_embedded
from sentinel.correlation.signature import DIMENSIONS
from sentinel.errors import Invalid, Unavailable
from sentinel.ids import IncidentId
from sentinel.ports import IncidentMemory, Memory
from tests.contract.qdrant_stand_in import StandIn, qdrant_stand_in

ROOT = Path(__file__).parents[2]
REAL_SERVER = "SENTINEL_TEST_QDRANT_URL"


def vector(*parts: tuple[int, float]) -> NDArray[np.float32]:
    """A unit vector with these components."""
    numbers = np.zeros(DIMENSIONS, dtype=np.float32)
    for index, value in parts:
        numbers[index] = value
    return numbers / np.float32(np.linalg.norm(numbers))


def memory_of(n: int, numbers: NDArray[np.float32] | None = None) -> Memory:
    """The memory of the n-th incident; each lies on an axis of its own unless given a vector."""
    return Memory(
        incident_id=IncidentId(f"inc-20250101-aaaaaaaa-{n}"),
        vector=vector((n % DIMENSIONS, 1.0)) if numbers is None else numbers,
        title=f"payments: cpu high ({n})",
        services=("payments", "checkout"),
        opened_at_ms=1_700_000_000_000 + n,
        outcome="fixed by its plan",
        runbook="scale-out",
        fixed_by=("ecs.scale payments",),
        recovery_ms=42_000,
    )


def ids_of(found) -> list[str]:
    return [each.memory.incident_id.rpartition("-")[2] for each in found]


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with qdrant_stand_in() as running:
        yield running


@pytest.fixture(params=["in memory", "embedded", "server stand-in", "server"])
def memory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[IncidentMemory]:
    opened: IncidentMemory
    if request.param == "in memory":
        opened = InMemoryIncidentMemory()
    elif request.param == "embedded":
        opened = QdrantMemory.embedded(tmp_path / "qdrant")
    elif request.param == "server stand-in":
        opened = QdrantMemory.server("127.0.0.1", request.getfixturevalue("stand_in").port)
    else:
        url = urlsplit(os.environ.get(REAL_SERVER, ""))
        if not url.hostname:
            # Never a failure, not even under CI: no package of a Qdrant server exists to install there.
            pytest.skip(f"no Qdrant server: set {REAL_SERVER} to its URL")
        collection = f"sentinel_test_{os.getpid()}_{tmp_path.name}"
        opened = QdrantMemory.server(url.hostname, url.port or 6333, https=url.scheme == "https", collection=collection)
        request.addfinalizer(lambda: QdrantClient(url=url.geturl()).delete_collection(collection))
    yield opened
    opened.close()


class TestContract:
    def test_nothing_remembered_recalls_nothing(self, memory: IncidentMemory):
        assert memory.similar(vector((0, 1.0)), 5) == []

    def test_a_memory_comes_back_whole(self, memory: IncidentMemory):
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

    def test_the_nearest_come_first_and_no_more_than_asked(self, memory: IncidentMemory):
        for n, share in ((1, 0.2), (2, 3.0), (3, 1.0)):
            memory.remember(memory_of(n, vector((0, share), (1, 1.0))))
        query = vector((0, 1.0))
        assert ids_of(memory.similar(query, 5)) == ["2", "3", "1"]
        assert ids_of(memory.similar(query, 2)) == ["2", "3"]
        assert memory.similar(query, 0) == []
        found = memory.similar(query, 5)
        assert [each.similarity for each in found] == pytest.approx([3 / 10**0.5, 0.5**0.5, 0.2 / 1.04**0.5], abs=1e-5)

    def test_opposites_are_negative(self, memory: IncidentMemory):
        memory.remember(memory_of(1))
        assert memory.similar(-memory_of(1).vector, 1)[0].similarity == pytest.approx(-1, abs=1e-5)

    def test_remembering_again_replaces(self, memory: IncidentMemory):
        memory.remember(memory_of(1))
        memory.remember(replace(memory_of(1), outcome="not resolved yet", vector=vector((9, 1.0))))
        (only,) = memory.similar(vector((9, 1.0)), 5)
        assert only.memory.outcome == "not resolved yet"
        assert only.similarity == pytest.approx(1, abs=1e-5)

    def test_a_vector_of_another_length_is_refused(self, memory: IncidentMemory):
        memory.remember(memory_of(1))
        short = np.ones(3, dtype=np.float32)
        with pytest.raises(Invalid, match="vector"):
            memory.remember(replace(memory_of(2), vector=short))
        with pytest.raises(Invalid, match="vector"):
            memory.similar(short, 1)

    def test_four_threads_lose_nothing(self, memory: IncidentMemory):
        def work(worker: int) -> int:
            for n in range(worker * 25, worker * 25 + 25):
                memory.remember(memory_of(n))
                assert memory.similar(memory_of(n).vector, 1)[0].similarity == pytest.approx(1, abs=1e-5)
            return worker

        with ThreadPoolExecutor(4) as pool:
            assert sorted(pool.map(work, range(4))) == [0, 1, 2, 3]
        found = memory.similar(vector((0, 1.0)), 1000)
        assert sorted(map(int, ids_of(found))) == list(range(100))

    def test_all_is_well_and_closing_twice_is_harmless(self, memory: IncidentMemory):
        memory.remember(memory_of(1))
        assert memory.note == ""
        memory.close()
        memory.close()


class TestEmbedded:
    def test_memories_outlive_a_reopening(self, tmp_path: Path):
        for n in (1, 2):
            opened = QdrantMemory.embedded(tmp_path)
            opened.remember(memory_of(n))
            opened.close()
        opened = QdrantMemory.embedded(tmp_path)
        assert sorted(ids_of(opened.similar(vector((1, 1.0)), 9))) == ["1", "2"]
        opened.close()

    def test_what_was_acknowledged_outlives_a_kill(self, tmp_path: Path):
        child = _start(
            "for n in range(100000):\n    memory.remember(memory_of(n % 200, vector((n % 200, 1.0))))\n    print(n)",
            tmp_path,
        )
        assert child.stdout
        acknowledged = -1
        while acknowledged < 30:
            acknowledged = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        acknowledged = max([acknowledged, *map(int, child.stdout.read().split("\n")[:-1])])
        child.wait(timeout=30)
        opened = QdrantMemory.embedded(tmp_path)
        found = {int(each) for each in ids_of(opened.similar(vector((1, 1.0)), 1000))}
        opened.close()
        assert set(range(min(acknowledged + 1, 200))) <= found

    def test_a_second_process_is_told_whom_to_stop(self, tmp_path: Path):
        child = _start("print('open')\nsys.stdin.read()", tmp_path)
        assert child.stdout
        assert child.stdin
        assert child.stdout.readline() == "open\n"
        with pytest.raises(Unavailable, match=rf"in use by process {child.pid}: stop that process"):
            QdrantMemory.embedded(tmp_path)
        child.stdin.close()
        assert child.wait(timeout=30) == 0
        QdrantMemory.embedded(tmp_path).close()

    def test_a_second_opener_in_this_process_is_refused_too(self, tmp_path: Path):
        first = QdrantMemory.embedded(tmp_path)
        with pytest.raises(Unavailable, match=f"in use by process {os.getpid()}"):
            QdrantMemory.embedded(tmp_path)
        first.remember(memory_of(1))
        assert ids_of(first.similar(vector((1, 1.0)), 9)) == ["1"]
        first.close()

    def test_the_directory_is_ours_alone(self, tmp_path: Path):
        QdrantMemory.embedded(tmp_path / "a" / "qdrant").close()
        assert (tmp_path / "a" / "qdrant").stat().st_mode & 0o777 == 0o700
        shared = tmp_path / "shared"
        shared.mkdir()
        shared.chmod(0o777)
        with pytest.raises(Invalid, match=r"qdrant\.path: .*mode 777.*only its owner may write"):
            QdrantMemory.embedded(shared)

    def test_a_path_that_is_a_file_is_unavailable(self, tmp_path: Path):
        (tmp_path / "qdrant").write_text("")
        with pytest.raises(Unavailable, match="cannot be opened"):
            QdrantMemory.embedded(tmp_path / "qdrant")

    @pytest.mark.parametrize("damage", ["meta.json", "collection/sentinel_incidents/storage.sqlite"])
    def test_a_damaged_store_is_unavailable_and_frees_its_lock(self, tmp_path: Path, damage: str):
        opened = QdrantMemory.embedded(tmp_path)
        opened.remember(memory_of(1))
        opened.close()
        whole = (tmp_path / damage).read_bytes()
        (tmp_path / damage).write_bytes(b"no such format" * 100)
        with pytest.raises(Unavailable, match="the embedded Qdrant in"):
            QdrantMemory.embedded(tmp_path)
        (tmp_path / damage).write_bytes(whole)
        QdrantMemory.embedded(tmp_path).close()

    def test_another_embedder_is_refused_with_what_to_do(self, tmp_path: Path):
        QdrantMemory.embedded(
            tmp_path, embedder={"embedder": "signature", "dim": DIMENSIONS, "version": "sig-0"}
        ).close()
        with pytest.raises(Invalid, match=r"sig-0.*expected one made by .*sig-1.*name another collection"):
            QdrantMemory.embedded(tmp_path)
        QdrantMemory.embedded(tmp_path, collection="other").close()

    def test_a_closed_memory_says_so(self, tmp_path: Path):
        opened = QdrantMemory.embedded(tmp_path)
        opened.close()
        with pytest.raises(Unavailable, match="is closed"):
            opened.remember(memory_of(1))

    @pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
    def test_a_vector_without_a_direction_is_refused(self, tmp_path: Path, bad: float):
        opened = QdrantMemory.embedded(tmp_path)
        numbers = np.zeros(DIMENSIONS, dtype=np.float32)
        numbers[0] = bad
        with pytest.raises(Invalid, match="vector"):
            opened.remember(replace(memory_of(1), vector=numbers))
        opened.close()

    def test_a_point_of_somebody_else_costs_only_itself(self, tmp_path: Path):
        opened = QdrantMemory.embedded(tmp_path)
        opened.remember(memory_of(1))
        opened.close()
        client = open_embedded(tmp_path)
        client.upsert(
            "sentinel_incidents",
            points=[{"id": 7, "vector": {"sig": vector((1, 1.0)).tolist()}, "payload": {"by": "hand"}}],
        )
        client.close()
        opened = QdrantMemory.embedded(tmp_path)
        assert ids_of(opened.similar(vector((1, 1.0)), 9)) == ["1"]
        opened.close()


class TestServer:
    def test_the_collection_is_made_once_with_its_indexes(self, stand_in: StandIn):
        for _ in range(2):
            QdrantMemory.server("127.0.0.1", stand_in.port).close()
        (made,) = stand_in.collections.values()
        assert made["config"]["vectors"] == {"sig": {"size": DIMENSIONS, "distance": "Cosine"}}
        assert made["config"]["metadata"] == {"embedder": "signature", "dim": DIMENSIONS, "version": "sig-1"}
        assert made["indexes"] == {
            "incident_id": "keyword",
            "services": "keyword",
            "outcome": "keyword",
            "opened_at_ms": "integer",
        }

    def test_another_embedder_is_refused(self, stand_in: StandIn):
        QdrantMemory.server("127.0.0.1", stand_in.port).close()
        stand_in.collections["sentinel_incidents"]["config"]["metadata"] = None
        with pytest.raises(Invalid, match=r"qdrant\.collection sentinel_incidents"):
            QdrantMemory.server("127.0.0.1", stand_in.port)

    def test_a_server_that_is_down_is_noted_and_asked_again(self, stand_in: StandIn):
        stand_in.fail_with = 503
        opened = QdrantMemory.server("127.0.0.1", stand_in.port)
        assert "it answered 503" in opened.note
        with pytest.raises(Unavailable, match="it answered 503"):
            opened.remember(memory_of(1))
        stand_in.fail_with = None
        opened.remember(memory_of(1))
        assert opened.note == ""
        assert ids_of(opened.similar(vector((1, 1.0)), 9)) == ["1"]
        opened.close()

    def test_nobody_listening_is_unavailable(self, stand_in: StandIn):
        with qdrant_stand_in() as gone:
            port = gone.port
        opened = QdrantMemory.server("127.0.0.1", port)
        with pytest.raises(Unavailable, match=rf"the Qdrant server at 127\.0\.0\.1:{port} .*ConnectError"):
            opened.similar(vector((1, 1.0)), 1)
        opened.close()

    def test_a_server_that_hangs_is_given_up_on(self, stand_in: StandIn):
        opened = QdrantMemory.server("127.0.0.1", stand_in.port, timeout_s=1)
        stand_in.hang.clear()
        with pytest.raises(Unavailable, match="ReadTimeout"):
            opened.similar(vector((1, 1.0)), 1)
        stand_in.hang.set()
        opened.close()

    def test_the_key_is_sent_and_shown_nowhere(self, stand_in: StandIn):
        stand_in.api_key = "right-key"
        right = QdrantMemory.server("127.0.0.1", stand_in.port, api_key="right-key")
        right.remember(memory_of(1))
        right.close()
        wrong = QdrantMemory.server("127.0.0.1", stand_in.port, api_key="wrong-key")
        with pytest.raises(Unavailable, match="it answered 401") as refused:
            wrong.remember(memory_of(1))
        assert refused.value.__cause__ is None
        for shown in (str(refused.value), repr(refused.value), wrong.note, repr(wrong)):
            assert "wrong-key" not in shown
        wrong.close()


class TestOpening:
    def test_a_switched_off_memory_says_so_and_does_nothing(self):
        off = open_memory(settings.Qdrant(enabled=False))
        assert isinstance(off, DisabledMemory)
        assert (
            off.note
            == DISABLED_NOTE
            == ("memory is off (SENTINEL_QDRANT_ENABLED=false): no similar incidents are recalled")
        )
        off.remember(memory_of(1))
        assert off.similar(vector((1, 1.0)), 5) == []
        off.close()

    def test_without_a_host_it_is_embedded_at_the_path(self, tmp_path: Path):
        opened = open_memory(settings.Qdrant(path=str(tmp_path / "here")))
        opened.remember(memory_of(1))
        opened.close()
        assert (tmp_path / "here" / "collection" / "sentinel_incidents").is_dir()

    def test_with_a_host_it_is_a_server(self, stand_in: StandIn):
        opened = open_memory(settings.Qdrant(host="127.0.0.1", port=stand_in.port, collection="mine"))
        opened.remember(memory_of(1))
        opened.close()
        assert list(stand_in.collections["mine"]["points"]) == [point_id(memory_of(1).incident_id)]

    def test_an_incident_has_one_point_for_ever(self):
        assert point_id(IncidentId("inc-20250101-aaaaaaaa-1")) == "PINNED"


def _start(body: str, path: Path) -> subprocess.Popen[str]:
    """Another process with `memory` open at `path`, that then runs `body`."""
    program = (
        "import sys\n"
        "from sentinel.adapters.qdrant import QdrantMemory\n"
        "from tests.contract.test_incident_memory import memory_of, vector\n"
        "memory = QdrantMemory.embedded(sys.argv[1])\n" + body
    )
    return subprocess.Popen(
        [sys.executable, "-u", "-c", program, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
