"""Qdrant Edge beyond the contract: what it keeps over a restart, whose directory it is, and what it refuses."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from sentinel import settings
from sentinel.adapters.qdrant import open_memory
from sentinel.adapters.qdrant_edge import EdgeMemory
from sentinel.adapters.qdrant_points import EMBEDDER
from sentinel.errors import Invalid, Unavailable
from tests.contract.memories import ids_of, memory_of

ROOT = Path(__file__).parents[2]
needs_edge = pytest.mark.skipif(
    importlib.util.find_spec("qdrant_edge") is None, reason="qdrant-edge-py is not installed: pip install '.[edge]'"
)


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qdrant_edge", None)
    with pytest.raises(Unavailable, match=r"pip install 'sentinel-aiops\[edge\]'"):
        open_memory(settings.Qdrant(path=str(tmp_path / "qdrant"), engine="edge"))
    assert not (tmp_path / "qdrant").exists()


@needs_edge
def test_the_settings_open_it_and_it_keeps_what_it_was_told(tmp_path: Path) -> None:
    named = settings.Qdrant(path=str(tmp_path), engine="edge")
    first = open_memory(named)
    first.remember([memory_of(1), memory_of(2)])
    first.close()
    again = open_memory(named)
    assert ids_of(again.similar(memory_of(2).vectors, 1)) == ["2"]
    again.close()


@needs_edge
def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from sentinel.adapters.qdrant_edge import EdgeMemory\n"
        "from tests.contract.memories import memory_of\n"
        "memory = EdgeMemory.open(sys.argv[1])\n"
        "for n in range(40):\n"
        "    memory.remember([memory_of(n)])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, timeout=60, check=False)
    assert killed.returncode == -9
    opened = EdgeMemory.open(tmp_path)
    assert len(opened.held()) == 40
    opened.close()


@needs_edge
def test_a_second_owner_is_told_who_has_it(tmp_path: Path) -> None:
    first = EdgeMemory.open(tmp_path)
    with pytest.raises(Unavailable, match="in use by process"):
        EdgeMemory.open(tmp_path)
    first.close()
    EdgeMemory.open(tmp_path).close()


@needs_edge
def test_other_vectors_of_ours_are_made_anew_and_a_half_made_shard_too(tmp_path: Path) -> None:
    older = EdgeMemory.open(tmp_path, embedder={**EMBEDDER, "version": "sig-1"})
    older.remember([memory_of(1)])
    older.close()
    (tmp_path / "edge" / "sentinel_incidents.making").mkdir()
    opened = EdgeMemory.open(tmp_path)
    assert opened.held() == {}
    opened.remember([memory_of(2)])
    opened.close()
    opened = EdgeMemory.open(tmp_path)
    assert list(opened.held()) == [memory_of(2).incident_id]
    opened.close()


@needs_edge
def test_what_is_not_ours_is_refused_and_left(tmp_path: Path) -> None:
    EdgeMemory.open(tmp_path).close()
    record = tmp_path / "edge" / "sentinel_incidents.json"
    record.write_text(json.dumps({"embedder": "somebody-else"}), encoding="utf-8")
    with pytest.raises(Invalid, match="name another collection"):
        EdgeMemory.open(tmp_path)
    record.unlink()
    with pytest.raises(Invalid, match="name another collection"):
        EdgeMemory.open(tmp_path)
    EdgeMemory.open(tmp_path, collection="other").close()


@needs_edge
def test_a_closed_or_damaged_memory_is_unavailable(tmp_path: Path) -> None:
    opened = EdgeMemory.open(tmp_path)
    opened.close()
    with pytest.raises(Unavailable, match="is closed"):
        opened.held()
    (config,) = (tmp_path / "edge" / "sentinel_incidents").glob("*.json")
    config.write_text("no such format", encoding="utf-8")
    with pytest.raises(Unavailable, match="move the directory away: the journal fills"):
        EdgeMemory.open(tmp_path)
