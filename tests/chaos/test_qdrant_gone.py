"""The memory of incidents is a server that is gone or hangs: people are told, and everything else goes on."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.running import running


@contextlib.contextmanager
def port_of(kind: str) -> Iterator[int]:
    """A port at which nothing listens, or one that takes connections and never answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == "hangs":
            taken.listen(128)
        yield taken.getsockname()[1]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["is gone", "hangs"])
def test_an_approved_plan_is_carried_out_without_a_memory(kind: str, tmp_path: Path) -> None:
    with (
        port_of(kind) as port,
        running(tmp_path, SENTINEL_QDRANT_HOST="127.0.0.1", SENTINEL_QDRANT_PORT=str(port)) as shop,
    ):
        story = shop.story("traffic_surge", "payments")
        story.learned()
        story.injected()
        story.detected()
        story.asked()
        assert story._incident()["memory_note"].startswith("no history: ")
        story.approved()
        story.executed()
        story.resolved()
        story.told()
        story.audited()
        assert shop.aws_calls() == ["UpdateService payments"]
