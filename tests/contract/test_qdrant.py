"""What only the Qdrant adapter promises: its directory and owner, its server, its settings."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import models

from sentinel import settings
from sentinel.adapters.qdrant import DISABLED_NOTE, DisabledMemory, QdrantMemory, open_memory, point_id
from sentinel.adapters.qdrant_embedded import open_embedded
from sentinel.correlation.signature import DIMENSIONS
from sentinel.errors import Invalid, Unavailable
from sentinel.ids import IncidentId
from tests.contract.memories import ids_of, memory_of, vector
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
            points=[models.PointStruct(id=7, vector={"sig": vector((1, 1.0)).tolist()}, payload={"by": "hand"})],
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
        assert point_id(IncidentId("inc-20250101-aaaaaaaa-1")) == "c98b4e8e-1755-56c1-c194-f2ae39373e12"


def _start(body: str, path: Path) -> subprocess.Popen[str]:
    """Another process with `memory` open at `path`, that then runs `body`."""
    program = (
        "import sys\n"
        "from sentinel.adapters.qdrant import QdrantMemory\n"
        "from tests.contract.memories import memory_of, vector\n"
        "memory = QdrantMemory.embedded(sys.argv[1])\n" + body
    )
    return subprocess.Popen(
        [sys.executable, "-u", "-c", program, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
