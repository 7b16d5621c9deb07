"""What only the Qdrant adapter promises: its directory and owner, its server, its settings."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from sentinel import settings
from sentinel.adapters.qdrant import DISABLED_NOTE, DisabledMemory, QdrantMemory, open_memory
from sentinel.adapters.qdrant_calls import OPEN_FOR_S, OPENS_AFTER
from sentinel.adapters.qdrant_embedded import open_embedded
from sentinel.adapters.qdrant_points import EMBEDDER, point_id
from sentinel.clock import ManualClock
from sentinel.correlation.signature import DIMENSIONS
from sentinel.errors import Invalid, Unavailable
from sentinel.ids import IncidentId
from tests.contract.memories import ids_of, memory_of, vectors
from tests.contract.qdrant_stand_in import StandIn, qdrant_stand_in

ROOT = Path(__file__).parents[2]


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with qdrant_stand_in() as running:
        yield running


class TestEmbedded:
    def test_memories_outlive_a_reopening(self, tmp_path: Path):
        for n in (1, 2):
            opened = QdrantMemory.embedded(tmp_path)
            opened.remember([memory_of(n)])
            opened.close()
        opened = QdrantMemory.embedded(tmp_path)
        assert sorted(ids_of(opened.similar(vectors((1, 1.0)), 9))) == ["1", "2"]
        opened.close()

    def test_what_was_acknowledged_outlives_a_kill(self, tmp_path: Path):
        child = _start(
            "for n in range(100000):\n    memory.remember([memory_of(n % 200)])\n    print(n)",
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
        found = {int(each.rpartition("-")[2]) for each in opened.held()}
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
        first.remember([memory_of(1)])
        assert ids_of(first.similar(vectors((1, 1.0)), 9)) == ["1"]
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
        opened.remember([memory_of(1)])
        opened.close()
        whole = (tmp_path / damage).read_bytes()
        (tmp_path / damage).write_bytes(b"no such format" * 100)
        with pytest.raises(Unavailable, match=r"the embedded Qdrant in .*move the directory away: the journal fills"):
            QdrantMemory.embedded(tmp_path)
        (tmp_path / damage).write_bytes(whole)
        QdrantMemory.embedded(tmp_path).close()

    def test_what_an_earlier_version_embedded_is_made_anew(self, tmp_path: Path):
        older = QdrantMemory.embedded(tmp_path, embedder={"embedder": "signature", "dim": 256, "version": "sig-1"})
        older.remember([memory_of(1)])
        older.close()
        opened = QdrantMemory.embedded(tmp_path)
        assert opened.held() == {}  # whoever has the journal fills it again
        opened.remember([memory_of(2)])
        opened.close()
        opened = QdrantMemory.embedded(tmp_path)
        assert list(opened.held()) == [memory_of(2).incident_id]
        opened.close()

    @pytest.mark.parametrize("made_by", [{}, {"embedder": "somebody-else/MiniLM", "dim": 384}])
    def test_a_collection_that_is_not_ours_is_refused_and_left_as_it_is(self, tmp_path: Path, made_by: dict[str, Any]):
        client = open_embedded(tmp_path)
        size = models.VectorParams(size=3, distance=models.Distance.COSINE)
        client.create_collection("sentinel_incidents", vectors_config={"sig": size}, metadata=made_by)
        client.upsert("sentinel_incidents", [models.PointStruct(id=1, vector={"sig": [1, 0, 0]}, payload={})])
        client.close()
        with pytest.raises(Invalid, match=r"qdrant\.collection sentinel_incidents.*name another collection"):
            QdrantMemory.embedded(tmp_path)
        QdrantMemory.embedded(tmp_path, collection="other").close()
        client = open_embedded(tmp_path)
        assert client.count("sentinel_incidents").count == 1
        client.close()

    def test_a_closed_memory_says_so(self, tmp_path: Path):
        opened = QdrantMemory.embedded(tmp_path)
        opened.close()
        with pytest.raises(Unavailable, match="is closed"):
            opened.remember([memory_of(1)])

    @pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
    def test_a_vector_without_a_direction_is_refused(self, tmp_path: Path, bad: float):
        opened = QdrantMemory.embedded(tmp_path)
        numbers = np.zeros(DIMENSIONS, dtype=np.float32)
        numbers[0] = bad
        with pytest.raises(Invalid, match="vector sig"):
            opened.remember([replace(memory_of(1), vectors=replace(memory_of(1).vectors, sig=numbers))])
        opened.close()

    def test_a_point_of_somebody_else_costs_only_itself(self, tmp_path: Path):
        opened = QdrantMemory.embedded(tmp_path)
        opened.remember([memory_of(1)])
        opened.close()
        client = open_embedded(tmp_path)
        client.upsert(
            "sentinel_incidents",
            points=[
                models.PointStruct(id=7, vector={"sig": memory_of(1).vectors.sig.tolist()}, payload={"by": "hand"})
            ],
        )
        client.close()
        opened = QdrantMemory.embedded(tmp_path)
        assert ids_of(opened.similar(vectors((1, 1.0)), 9)) == ["1"]
        opened.close()


class TestServer:
    def test_the_collection_is_made_once_with_its_indexes(self, stand_in: StandIn):
        for _ in range(2):
            QdrantMemory.server("127.0.0.1", stand_in.port).close()
        (made,) = stand_in.collections.values()
        assert made["config"]["vectors"] == {
            name: {"size": size, "distance": "Cosine"} for name, size in (("sig", 256), ("shape", 128), ("text", 256))
        }
        assert made["config"]["metadata"] == EMBEDDER
        strict = made["config"]["strict_mode_config"]
        assert (strict["enabled"], strict["unindexed_filtering_retrieve"]) == (True, False)
        assert made["indexes"]["tenant"] == {"type": "keyword", "is_tenant": True}
        assert made["indexes"]["last_seen_s"]["is_principal"] is True
        assert set(made["indexes"]) >= {"environment", "incident_id", "services", "outcome", "opened_at_ms"}
        # Before anything is in it: an index that is made later blocks writers.
        assert next(path for method, path in stand_in.asked if method == "PUT").endswith("/sentinel_incidents")

    def test_writes_are_strongly_ordered_and_waited_for(self, stand_in: StandIn):
        opened = QdrantMemory.server("127.0.0.1", stand_in.port)
        opened.remember([memory_of(1)])
        opened.close()
        (written,) = [path for method, path in stand_in.asked if method == "PUT" and "/points" in path]
        assert "wait=true" in written
        assert "ordering=strong" in written

    @pytest.mark.parametrize("made_by", [None, {"embedder": "somebody-else"}])
    def test_a_collection_that_is_not_ours_is_refused(self, stand_in: StandIn, made_by: object):
        QdrantMemory.server("127.0.0.1", stand_in.port).close()
        stand_in.collections["sentinel_incidents"]["config"]["metadata"] = made_by
        with pytest.raises(Invalid, match=r"qdrant\.collection sentinel_incidents"):
            QdrantMemory.server("127.0.0.1", stand_in.port)
        assert "sentinel_incidents" in stand_in.collections

    def test_what_passes_is_tried_again_and_what_does_not_is_not(self, stand_in: StandIn):
        opened = QdrantMemory.server("127.0.0.1", stand_in.port)
        stand_in.fail_with, stand_in.fail_times = 503, 2
        opened.remember([memory_of(1)])
        assert opened.note == ""
        stand_in.fail_with, stand_in.fail_times = 400, 1
        with pytest.raises(Unavailable, match="it answered 400"):
            opened.remember([memory_of(2)])
        opened.remember([memory_of(2)])
        stand_in.fail_with, stand_in.fail_times = 503, 1
        with pytest.raises(Unavailable, match="it answered 503"):
            opened.similar(memory_of(1).vectors, 1)  # an incident waits for it
        opened.close()

    def test_what_does_not_answer_is_left_alone_for_a_while(self, stand_in: StandIn):
        clock = ManualClock()
        opened = QdrantMemory.server("127.0.0.1", stand_in.port, clock=clock)
        stand_in.fail_with, stand_in.fail_times = 503, -1
        for _ in range(OPENS_AFTER):
            with pytest.raises(Unavailable):
                opened.similar(memory_of(1).vectors, 1)
        asked = len(stand_in.asked)
        with pytest.raises(Unavailable, match="it answered 503"):
            opened.similar(memory_of(1).vectors, 1)
        assert len(stand_in.asked) == asked
        stand_in.fail_with = None
        clock.advance(OPEN_FOR_S)
        opened.remember([memory_of(1)])
        assert opened.note == ""
        opened.close()

    def test_a_key_goes_over_tls_or_loopback_only(self):
        with pytest.raises(Invalid, match=r"qdrant\.https.*can be read on the way") as refused:
            QdrantMemory.server("qdrant.example", api_key="right-key")
        assert "right-key" not in str(refused.value)

    def test_a_server_that_is_down_is_noted_and_asked_again(self, stand_in: StandIn):
        stand_in.fail_with, stand_in.fail_times = 503, -1
        opened = QdrantMemory.server("127.0.0.1", stand_in.port)
        assert "it answered 503" in opened.note
        with pytest.raises(Unavailable, match="it answered 503"):
            opened.remember([memory_of(1)])
        stand_in.fail_with = None
        opened.remember([memory_of(1)])
        assert opened.note == ""
        assert ids_of(opened.similar(vectors((1, 1.0)), 9)) == ["1"]
        opened.close()

    def test_nobody_listening_is_unavailable(self, stand_in: StandIn):
        with qdrant_stand_in() as gone:
            port = gone.port
        opened = QdrantMemory.server("127.0.0.1", port)
        with pytest.raises(Unavailable, match=rf"the Qdrant server at 127\.0\.0\.1:{port} .*ConnectError"):
            opened.similar(vectors((1, 1.0)), 1)
        opened.close()

    def test_a_server_that_hangs_is_given_up_on(self, stand_in: StandIn):
        opened = QdrantMemory.server("127.0.0.1", stand_in.port, timeout_s=1)
        stand_in.hang.clear()
        with pytest.raises(Unavailable, match="ReadTimeout"):
            opened.similar(vectors((1, 1.0)), 1)
        stand_in.hang.set()
        opened.close()

    def test_the_key_is_sent_and_shown_nowhere(self, stand_in: StandIn):
        stand_in.api_key = "right-key"
        right = QdrantMemory.server("127.0.0.1", stand_in.port, api_key="right-key")
        right.remember([memory_of(1)])
        right.close()
        wrong = QdrantMemory.server("127.0.0.1", stand_in.port, api_key="wrong-key")
        with pytest.raises(Unavailable, match="it answered 401") as refused:
            wrong.remember([memory_of(1)])
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
        off.remember([memory_of(1)])
        assert off.similar(vectors((1, 1.0)), 5) == []
        off.close()

    def test_without_a_host_it_is_embedded_at_the_path(self, tmp_path: Path):
        opened = open_memory(settings.Qdrant(path=str(tmp_path / "here")))
        opened.remember([memory_of(1)])
        opened.close()
        assert (tmp_path / "here" / "collection" / "sentinel_incidents").is_dir()

    def test_with_a_host_it_is_a_server(self, stand_in: StandIn):
        opened = open_memory(settings.Qdrant(host="127.0.0.1", port=stand_in.port, collection="mine"))
        opened.remember([memory_of(1)])
        opened.close()
        assert list(stand_in.collections["mine"]["points"]) == [point_id(memory_of(1).incident_id)]

    def test_an_incident_has_one_point_for_ever(self):
        assert point_id(IncidentId("inc-20250101-aaaaaaaa-1")) == "c98b4e8e-1755-56c1-c194-f2ae39373e12"


def _start(body: str, path: Path) -> subprocess.Popen[str]:
    """Another process with `memory` open at `path`, that then runs `body`."""
    program = (
        "import sys\n"
        "from sentinel.adapters.qdrant import QdrantMemory\n"
        "from tests.contract.memories import memory_of\n"
        "memory = QdrantMemory.embedded(sys.argv[1])\n" + body
    )
    return subprocess.Popen(
        [sys.executable, "-u", "-c", program, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
