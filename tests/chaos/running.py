"""A whole system with its sandbox in a process of its own, and what a test needs to try it and to hurt it.

`python -m tests.chaos.running TICK` starts both from the current directory, tells where they are in one line of JSON,
and serves until SIGTERM. A process of its own, because a Ray cluster belongs to the process that started it.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import boto3
import httpx
import pytest

from sentinel import logs
from sentinel.cli.client import Client
from sentinel.cli.sandbox import Addresses, sandbox
from sentinel.cli.story import Story
from sentinel.cli.system import system
from sentinel.cli.up import stopping
from sentinel.cli.waiting import wait_until
from sentinel.sandbox.aws_double import ACCESS_KEY_ID, CLUSTER, REGION, SECRET_ACCESS_KEY
from tests.scenarios.ray_head import free_ports

T = TypeVar("T")
ROOT = Path(__file__).parents[2]


@dataclass(slots=True, kw_only=True)
class System:
    """A running system: its API, its shop and its AWS."""

    addresses: Addresses
    aws_url: str
    pid: int
    client: Client
    http: httpx.Client

    def story(self, fault: str, service: str) -> Story:
        """One play of a fault, whose steps a test calls in its own order."""
        where = {"client": self.client, "sandbox": self.addresses, "http": self.http}
        return Story(**where, manual=False, fault=fault, service=service)

    def world(self) -> dict[str, Any]:
        """The shop and everything that AWS was asked to do."""
        world: dict[str, Any] = self.http.get(f"{self.addresses.control_url}/").json()
        return world

    def aws_calls(self) -> list[str]:
        """Every call that had an effect on AWS, in order: operation and target."""
        return [f"{call['operation']} {' '.join(call['targets'])}" for call in self.world()["aws_calls"]]

    def calm(self) -> None:
        """End every fault, and set every service to the tasks it started with."""
        self.http.request("DELETE", f"{self.addresses.control_url}/fault").raise_for_status()
        session = boto3.session.Session(ACCESS_KEY_ID, SECRET_ACCESS_KEY, region_name=REGION)
        ecs = session.client("ecs", endpoint_url=self.aws_url)
        for name in ("payments", "shipping"):
            ecs.update_service(cluster=CLUSTER, service=name, desiredCount=2)
        ecs.close()

    def pid_of(self, actor: str) -> int:
        """The process of one actor."""
        title = f"ray::{actor.capitalize()}"
        found = wait_until(lambda: next(iter(self._processes(title)), None), 20)
        assert found is not None, f"no process of this system is called {title}"
        return found

    def kill(self, actor: str) -> int:
        """End the process of one actor by SIGKILL, and answer the process id it had."""
        found = self.pid_of(actor)
        os.kill(found, signal.SIGKILL)
        return found

    def back(self, actor: str, killed: int) -> None:
        """Wait until the actor has a new process and the system answers as a whole."""
        title = f"ray::{actor.capitalize()}"
        assert wait_until(lambda: any(pid != killed for pid in self._processes(title)) or None, 30), f"{actor} is gone"
        assert wait_until(self.client.ready, 60), f"the system did not come back after {actor}"

    def _processes(self, title: str) -> list[int]:
        return [pid for pid in descendants(self.pid) if _title(pid).startswith(title)]


def begun(
    directory: Path, env: dict[str, str], said: str, *module: str, piped: bool = False
) -> "subprocess.Popen[str]":
    """A Python module that runs in `directory`, and says what it says into the file `said` there.

    A group of its own, as a terminal or a supervisor gives it; stdin is nobody's. `piped`: its stdout is read here.
    """
    with (directory / said).open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", *module],
            cwd=directory,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if piped else out,
            stderr=out,
            text=True,
            start_new_session=True,
        )


@contextlib.contextmanager
def running(directory: Path, *, tick_s: float = 0.5, **extra: str) -> Iterator[System]:
    """A system and its sandbox for the length of the block, with files in `directory` and `extra` environment."""
    [api_port] = free_ports(1)
    process = begun(directory, environ(api_port) | extra, "said", "tests.chaos.running", str(tick_s), piped=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            pytest.fail(f"the system did not start: {(directory / 'said').read_text(errors='replace')[-3000:]}")
        started = json.loads(line)
        addresses = Addresses(**started["addresses"])
        with contextlib.ExitStack() as ends:
            http = ends.enter_context(httpx.Client(timeout=20, trust_env=False))
            client = Client(addresses.api_url)
            ends.callback(client._http.close)
            yield System(addresses=addresses, aws_url=started["aws_url"], pid=process.pid, client=client, http=http)
    finally:
        end(process)


def environ(api_port: int) -> dict[str, str]:
    """The environment without what would lead elsewhere, and with compiled modules, which halve every start."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SENTINEL_", "RAY_", "AWS_")) and name != "PYTHONDONTWRITEBYTECODE"
    }
    return {**kept, "SENTINEL_API_PORT": str(api_port), "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled"}


def end(process: "subprocess.Popen[Any]") -> None:
    """Ask the process to end, as Ctrl-C does; whatever of it is still there after a while is killed."""
    below = descendants(process.pid)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(60)
    for pid in (process.pid, *below):
        if _title(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    process.wait(10)
    if process.stdout:
        process.stdout.close()


def descendants(pid: int) -> list[int]:
    """Every process that `pid` started, and those that they started."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # "pid (name) state ppid …"; a name may hold anything, brackets and blanks included.
                stat = (entry / "stat").read_text(errors="replace")
                parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found, border = [], [pid]
    while border:
        border = [child for each in border for child in parents.get(each, [])]
        found += border
    return found


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def waited(look: Callable[[], T | None], within_s: float, what: str, every_s: float = 0.3) -> T:
    """The first answer of `look` that is not None; the test fails if there is none in time."""
    found = wait_until(look, within_s, every_s)
    assert found is not None, f"never seen: {what}"
    return found


def main() -> None:
    """Serve until SIGTERM."""
    logs.set_up("warning")  # to stderr: stdout is for the one line
    with stopping() as stop, contextlib.ExitStack() as ends:
        world = ends.enter_context(sandbox(os.environ, float(sys.argv[1])))
        ends.enter_context(system(world.settings, lambda line: sys.stderr.write(f"{line}\n")))
        started = {"addresses": asdict(world.addresses), "aws_url": world.settings.executor.aws_endpoint_url}
        sys.stdout.write(json.dumps(started) + "\n")
        sys.stdout.flush()
        stop.wait()


if __name__ == "__main__":
    main()
