"""A Ray head node of a test's own, started by `ray start` on free loopback ports and ended by its process group."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from sentinel.cli.waiting import wait_until

ROOT = Path(__file__).parents[2]
_UP_WITHIN_S = 90.0
_PORTS = (
    "port",
    "dashboard-port",
    "node-manager-port",
    "object-manager-port",
    "ray-client-server-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "metrics-export-port",
)


@dataclass(frozen=True, slots=True)
class Head:
    """A running head: where it is, the environment it was started with, and what proves who calls."""

    address: str
    dashboard_url: str
    agent_url: str
    environ: Mapping[str, str]
    headers: Mapping[str, str]


def free_ports(count: int) -> list[int]:
    """That many different loopback ports that nobody listened on a moment ago."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@contextlib.contextmanager
def ray_head(extra: Mapping[str, str]) -> Iterator[Head]:
    """A head with its dashboard for the length of the block; `extra` is added to its environment."""
    # Ray's socket paths must stay under 108 bytes, which pytest's directories do not.
    directory = Path(tempfile.mkdtemp(prefix="ray-"))
    token = os.urandom(32).hex()
    (directory / "token").write_text(token, encoding="utf-8")
    environ = _environ(directory, extra)
    ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
    url = f"http://127.0.0.1:{ports['dashboard-port']}"
    headers = {"Authorization": f"Bearer {token}"}
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
        *("--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", "--include-dashboard=true"),
        *("--num-cpus=2", f"--object-store-memory={100 * 1024 * 1024}", f"--temp-dir={directory}"),
        *(f"--{name}={port}" for name, port in ports.items()),
    ]
    try:
        with (directory / "said").open("wb") as said:
            process = subprocess.Popen(
                command, cwd=directory, env=environ, stdout=said, stderr=said, start_new_session=True
            )
        try:
            if wait_until(lambda: _up(process, url, headers), _UP_WITHIN_S) is not True:
                pytest.fail(f"ray start did not come up: {(directory / 'said').read_text(errors='replace')[-2000:]}")
            yield Head(
                address=f"127.0.0.1:{ports['port']}",
                dashboard_url=url,
                agent_url=f"http://127.0.0.1:{ports['dashboard-agent-listen-port']}",
                environ=environ,
                headers=headers,
            )
        finally:
            _end(process)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _environ(directory: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """The environment without what would lead elsewhere, and with compiled modules, which halve every start."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SENTINEL_", "RAY_", "AWS_")) and name != "PYTHONDONTWRITEBYTECODE"
    }
    return {
        **kept,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}",  # a job's `python` is this one
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(directory / "token"),
        "RAY_USAGE_STATS_ENABLED": "0",
        # Without these, a head listens on the machine's own address, and waits half a minute for traffic to move away.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
        "NO_PROXY": "127.0.0.1,localhost",
        **_haproxy(directory),
        **extra,
    }


def _haproxy(directory: Path) -> dict[str, str]:
    """Files and ports of its own for Serve's HAProxy, should it be switched on: a pod has them to itself."""
    metrics, stats, fallback_http, fallback_grpc, replicas = free_ports(5)
    return {
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(directory / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(directory / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(directory),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(directory / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(directory / "metrics.sock"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback_http),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(fallback_grpc),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(replicas),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(replicas + 20),
    }


def _up(process: "subprocess.Popen[bytes]", url: str, headers: Mapping[str, str]) -> bool | None:
    if process.poll() is not None:
        return False
    try:
        answer = httpx.get(f"{url}/api/version", headers=dict(headers), timeout=2, trust_env=False)
    except httpx.HTTPError:
        return None
    return answer.is_success or None


def _end(process: "subprocess.Popen[bytes]") -> None:
    """With --block, Ray ends its own daemons on SIGTERM, and a raylet its workers; the group catches what is left."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(30)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
