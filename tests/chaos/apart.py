"""A sandbox in one process and `sentinel up` in another, so that a test can end the system and start it again.

`python -m tests.chaos.apart world TICK` starts the sandbox from the current directory, leaves the settings of its
Sentinel in a file and tells where it is in one line of JSON; `python -m tests.chaos.apart up` is `sentinel up` with
those settings. Each serves until SIGTERM.
"""

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from sentinel.cli import up
from sentinel.cli.client import Client
from sentinel.cli.sandbox import Addresses, sandbox
from sentinel.cli.up import stopping
from sentinel.cli.waiting import wait_until
from sentinel.errors import SentinelError
from tests.chaos.running import System, begun, descendants, end, environ, waited
from tests.scenarios.ray_head import free_ports

SETTINGS = Path("settings.pickle")


class Apart:
    """The sandbox of a test, and the life of Sentinel that now watches it."""

    def __init__(self, directory: Path, env: dict[str, str], started: dict[str, Any], http: httpx.Client) -> None:
        self._directory, self._env = directory, env
        addresses = Addresses(**started["addresses"])
        client = Client(addresses.api_url)
        self.system = System(addresses=addresses, aws_url=started["aws_url"], pid=0, client=client, http=http)
        self._process: subprocess.Popen[Any] | None = None
        self._below: list[int] = []

    def start(self) -> None:
        """Start Sentinel on the store that there is, and wait until it is ready."""
        self._process = begun(self._directory, self._env, self.said.name, "tests.chaos.apart", "up")
        self.system.pid = self._process.pid
        waited(lambda: self._ready(self._process), 150, f"Sentinel ready; see {self.said}")
        self._below = descendants(self.system.pid)

    def kill(self, name: str) -> None:
        """SIGKILL the one process of that name below this Sentinel."""
        [found] = [pid for pid in descendants(self.system.pid) if name_of(pid) == name]
        self._below = descendants(self.system.pid)
        os.kill(found, signal.SIGKILL)

    def kill_all(self) -> None:
        """SIGKILL the whole process group at once: Sentinel, Ray's servers and every worker."""
        self._below = descendants(self.system.pid)
        os.killpg(self.system.pid, signal.SIGKILL)

    def ended(self, within_s: float) -> int:
        """The exit code of Sentinel, which ends by itself; nothing of it is left after that."""
        assert self._process is not None
        code = self._process.wait(within_s)
        wait_until(lambda: None if self.left() else True, 20)
        assert self.left() == [], "a dead cluster leaves nothing behind"
        return code

    def left(self) -> list[str]:
        """The processes of this life that still run."""
        return [f"{pid} {name_of(pid)}" for pid in self._below if name_of(pid)]

    def told(self) -> str:
        """What Sentinel printed in this life: what a user sees."""
        return self.said.read_text(errors="replace")

    @property
    def said(self) -> Path:
        """The file that Sentinel prints to."""
        return self._directory / "said"

    def end(self) -> None:
        """End this life, whatever is left of it."""
        if self._process is not None:
            end(self._process)
        for pid in self._below:
            if name_of(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _ready(self, process: "subprocess.Popen[Any] | None") -> bool | None:
        if process is None or process.poll() is not None:
            pytest.fail(f"Sentinel did not start: {self.told()[-3000:]}")
        return True if "Sentinel is up" in self.told() and self.system.client.ready() else None


@contextlib.contextmanager
def apart(directory: Path, *, tick_s: float = 0.5, **extra: str) -> Iterator[Apart]:
    """A sandbox for the length of the block, with a Sentinel that the test starts; files are in `directory`."""
    [api_port] = free_ports(1)
    env = environ(api_port) | extra
    world = begun(directory, env, "world-said", "tests.chaos.apart", "world", str(tick_s), piped=True)
    try:
        assert world.stdout is not None
        line = world.stdout.readline()
        if not line:
            pytest.fail(f"no sandbox: {(directory / 'world-said').read_text(errors='replace')[-3000:]}")
        with httpx.Client(timeout=20, trust_env=False) as http:
            made = Apart(directory, env, json.loads(line), http)
            try:
                yield made
            finally:
                made.end()
                made.system.client._http.close()
    finally:
        end(world)


def name_of(pid: int) -> str:
    """The name of a process that runs; empty for none and for one that is dead and waits for its parent."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return ""
    name, _, fields = stat.partition(" (")[2].rpartition(") ")
    return "" if fields.startswith("Z") else name


def main() -> None:
    """Be the sandbox or the system, until SIGTERM."""
    if sys.argv[1] == "up":
        try:
            up.run(pickle.loads(SETTINGS.read_bytes()), Console())
        except SentinelError as error:
            sys.exit(f"sentinel: {error}")
        return
    with stopping() as stop, sandbox(os.environ, float(sys.argv[2])) as world:
        SETTINGS.write_bytes(pickle.dumps(world.settings))
        started = {"addresses": asdict(world.addresses), "aws_url": world.settings.executor.aws_endpoint_url}
        sys.stdout.write(json.dumps(started) + "\n")
        sys.stdout.flush()
        stop.wait()


if __name__ == "__main__":
    main()
