"""The short form of the campaign: some kills and pauses, on both stores. `make chaos` runs a thousand."""

import subprocess
import sys

import pytest

from tests.contract.postgres import postgres_server

__all__ = ["postgres_server"]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_random_kills_and_pauses_lose_nothing_double_nothing_and_run_nothing_unapproved(
    store: str, request: pytest.FixtureRequest
) -> None:
    url = "sqlite" if store == "sqlite" else request.getfixturevalue("postgres_server")
    # A process of its own: it forks, and a test process has threads.
    command = [sys.executable, "-m", "tests.chaos.campaign", "--kills", "20", "--pauses", "5", "--store", url]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr[-2000:]
    assert "20 kills, 5 pauses" in ran.stdout
