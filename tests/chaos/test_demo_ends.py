"""`sentinel demo`, as it goes on serving after its story, ends and says so when Ray is killed below it."""

import os
import signal
from pathlib import Path

import pytest

from tests.chaos.apart import name_of
from tests.chaos.running import begun, descendants, end, environ, waited
from tests.scenarios.ray_head import free_ports


@pytest.mark.timeout(400)
def test_a_demo_whose_ray_is_killed_says_so(tmp_path: Path) -> None:
    [api_port] = free_ports(1)
    process = begun(tmp_path, environ(api_port), "said", "sentinel", "demo")

    def told() -> str:
        return " ".join((tmp_path / "said").read_text(errors="replace").split())

    try:
        waited(lambda: ("Still serving" in told() or process.poll() is not None) or None, 300, "the story's end")
        assert process.poll() is None, told()
        [gcs] = [pid for pid in descendants(process.pid) if name_of(pid) == "gcs_server"]
        os.kill(gcs, signal.SIGKILL)
        assert process.wait(60) != 0
        assert "start Sentinel again" in told()
    finally:
        end(process)
