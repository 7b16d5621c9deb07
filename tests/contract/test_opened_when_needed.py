"""The memory as the correlation actor holds it: opened by whoever first needs it, once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from actors.opening import OpenedWhenNeeded
from sentinel.adapters.qdrant import open_memory
from sentinel.settings import Qdrant
from tests.contract.memories import memory_of


def test_threads_that_need_it_at_once_open_it_once(tmp_path: Path):
    memory = OpenedWhenNeeded(lambda: open_memory(Qdrant(path=str(tmp_path / "qdrant"))))
    with ThreadPoolExecutor(8) as pool:
        assert [dict(each.result()) for each in [pool.submit(memory.held) for _ in range(8)]] == [{}] * 8
    memory.remember([memory_of(1)])
    assert list(memory.held()) == [memory_of(1).incident_id]
    assert memory.note == ""
    memory.close()
