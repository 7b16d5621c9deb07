"""The whole story as a Ray job: the house moves to a cluster as it stands, without being installed there."""

import re
import subprocess
import sys

import pytest

from tests.scenarios.ray_head import ROOT, free_ports, ray_head


@pytest.mark.timeout(240)
def test_the_story_passes_as_a_ray_job():
    [api_port] = free_ports(1)
    with ray_head({"SENTINEL_API_PORT": str(api_port)}) as head:
        submitted = subprocess.run(
            [
                *(sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--address", head.dashboard_url),
                *("--working-dir", ".", "--", "python", "-m", "sentinel", "e2e", "--auto-approve"),
            ],
            cwd=ROOT,
            env=dict(head.environ),
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
    said = submitted.stdout[-4000:] + submitted.stderr[-2000:]
    assert submitted.returncode == 0, said
    passed = re.search(r"PASSED (\d+) of (\d+) steps", submitted.stdout)
    assert passed, said
    assert passed[1] == passed[2], said
    assert f"joining the Ray cluster at {head.address}" in submitted.stdout, said
