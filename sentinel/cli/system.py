"""Starts and ends the whole system on a Ray cluster: its own, or one that is already there."""

import atexit
import contextlib
import logging
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import ray
from ray import serve

from actors import handles, wiring
from sentinel.cli.client import Client
from sentinel.cli.locks import claimed
from sentinel.cli.waiting import wait_until
from sentinel.errors import Conflict, Invalid, Unavailable
from sentinel.settings import Settings
from serve_apps.app import APP_NAME, build
from serve_apps.auth import check_exposure

_READY_WITHIN_S = 120.0
_END_WITHIN_S = 25.0


@dataclass(frozen=True, slots=True)
class Running:
    """A system that is up: where its door is, and what it noted at start."""

    url: str
    notes: tuple[str, ...]


@contextlib.contextmanager
def system(settings: Settings, say: Callable[[str], None], key: str = "") -> Iterator[Running]:
    """The whole system for the length of the block; what was started is ended after it, in reverse.

    Raises Conflict where the port or the files are another's, Invalid for settings that cannot work, and
    Unavailable where something needed does not come up; each says what to do.
    """
    url = f"http://{_shown_host(settings.api.host)}:{settings.api.port}"
    check_exposure(settings.api, settings.api.host)
    if not settings.ray.address:
        _require_port(settings, url)
    with contextlib.ExitStack() as ends:
        for lock in _own_files(settings):
            ends.enter_context(claimed(lock, f"the files beside {lock} are"))
        wiring.check_files(settings)
        ends.callback(_end_haproxy, settings.api.port)
        _connect_to_ray(settings, say)
        ends.callback(_leave_ray, settings)
        if settings.ray.address:
            _require_room(settings, url)
        say("starting the actors and the HTTP door")
        serve.start(http_options={"host": settings.api.host, "port": settings.api.port})
        # Serve itself is left to the cluster: others may use it there, and our own ends with its Serve.
        ends.callback(_while_alive, settings, lambda: wiring.stop_actors(settings))
        ends.callback(_while_alive, settings, lambda: serve.delete(APP_NAME))
        serve.run(build(settings), name=APP_NAME, route_prefix="/")
        client = Client(url, key)
        report = wait_until(client.ready, _READY_WITHIN_S)
        if report is None:
            raise Unavailable(_why_not_ready(client, url))
        yield Running(url=url, notes=tuple(report["notes"]))
        say("ending the HTTP door and the actors")


def _require_port(settings: Settings, url: str) -> None:
    """The door's port is free. Raises Conflict or Invalid, which say what to do."""
    if _port_free(settings.api.host, settings.api.port):
        return
    if Client(url, timeout_s=2.0).ready() is not None:
        raise Conflict(
            f"Sentinel is already running at {url}: use that one, end it with Ctrl-C where it runs, "
            "or start another with its own SENTINEL_API_PORT and its own files"
        )
    raise Conflict(
        f"port {settings.api.port} of {settings.api.host} is taken by another program: "
        "end that, or choose another with SENTINEL_API_PORT"
    )


def _require_room(settings: Settings, url: str) -> None:
    """The joined cluster has no Sentinel yet, and the port is its own Serve's or free.

    Actors and the application are found by name: a second Sentinel would act through those of the first, and
    end them when it ends. Raises Conflict or Invalid, which say what to do.
    """
    serving = serve.status()
    if APP_NAME in serving.applications or handles.JOURNAL in ray.util.list_named_actors():
        raise Conflict(
            f"Sentinel already runs on the Ray cluster at {settings.ray.address} in the namespace "
            f"{settings.ray.namespace}: use that one at its --api-url, or a Ray cluster of its own"
        )
    if not serving.proxies:
        _require_port(settings, url)


def _connect_to_ray(settings: Settings, say: Callable[[str], None]) -> None:
    """Join the cluster that is named, or start one of our own."""
    _hush()
    address = settings.ray.address
    if address:
        require_reachable(address)
        say(f"joining the Ray cluster at {address}")
        try:
            ray.init(
                address=address,
                namespace=settings.ray.namespace,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise Unavailable(
                f"the Ray cluster at {address} is not reached: {_first_line(error)}; "
                "start it with `ray start --head`, give its address in SENTINEL_RAY_ADDRESS, "
                "and set RAY_AUTH_MODE as it has it"
            ) from None
        return
    running = Path("/tmp/ray/ray_current_cluster")  # noqa: S108 where Ray itself notes a cluster of `ray start`
    if running.is_file():
        say(
            f"a Ray cluster is already running at {running.read_text(encoding='utf-8').strip()}; starting our own "
            "beside it (to use that one, set SENTINEL_RAY_ADDRESS=auto)"
        )
    _end_haproxy(settings.api.port)
    _give_haproxy_its_own_place(settings.api.port)
    say("starting Ray on this machine")
    ray.init(
        address="local",
        namespace=settings.ray.namespace,
        num_cpus=settings.ray.num_cpus,
        include_dashboard=False,
        object_store_memory=100 * 1024 * 1024,
        _node_ip_address="127.0.0.1",
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    _hide_token()


def _give_haproxy_its_own_place(port: int) -> None:
    """Files and ports of this door's HAProxy, so that two systems on one machine do not share a socket."""
    if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") != "1":
        return
    folder = _haproxy_folder(port)
    # Its admin socket re-routes the door, so nobody else on this machine may reach it.
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise Conflict(f"{folder} belongs to another user: remove it, or choose another SENTINEL_API_PORT")
    folder.chmod(0o700)
    for name, value in {
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": folder / "haproxy.cfg",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": folder / "admin.sock",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": folder,
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": folder / "server-state",
        "RAY_SERVE_HAPROXY_METRICS_PORT": _free_port(),
        "RAY_SERVE_HAPROXY_STATS_PORT": _free_port(),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": folder / "metrics.sock",
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": _free_port(),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": _free_port(),
    }.items():
        os.environ.setdefault(name, str(value))


def _haproxy_folder(port: int) -> Path:
    return Path(tempfile.gettempdir()) / f"sentinel-haproxy-{os.getuid()}-{port}"


def _end_haproxy(port: int) -> None:
    """End what is left of this door's HAProxy.

    Where a signal reached all our processes at once, Ray's manager of it died first and could not end it; it would
    keep the port, and pass requests on to whoever has the replica's port next.
    """
    marker = str(_haproxy_folder(port)).encode()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes()
            if marker in command and b"haproxy" in command.partition(b"\0")[0]:
                os.kill(int(entry.name), signal.SIGTERM)


def _own_files(settings: Settings) -> list[Path]:
    """The locks that keep a second system off this one's files; a database server has its own fence."""
    at = settings.detection.checkpoint_path
    locks = [] if at.startswith("s3://") else [Path(at) / "system.lock"]
    if settings.store.url.startswith("sqlite:///"):
        locks.append(Path(settings.store.url.removeprefix("sqlite:///") + ".lock"))
    return locks


def _while_alive(settings: Settings, end: Callable[[], object]) -> None:
    """Call `end` unless our cluster died before us; and go on without it where it takes too long."""
    if not cluster_died(settings):
        ending = threading.Thread(target=end, daemon=True)
        ending.start()
        ending.join(_END_WITHIN_S)


def _leave_ray(settings: Settings) -> None:
    if cluster_died(settings):
        # Ray would wait a minute for its dead head, and then end this process before it has ended its others.
        atexit.unregister(ray.shutdown)
        _end_below_raylet()
    else:
        ray.shutdown()


def cluster_died(settings: Settings) -> bool:
    """Whether a server of the cluster that we started is gone: its GCS, or its raylet with all its workers."""
    if settings.ray.address or not Path("/proc/self").exists():
        return False
    alive = {name for _, name, state, parent in _processes() if parent == os.getpid() and state != "Z"}
    return not alive >= {"gcs_server", "raylet"}


def _end_below_raylet() -> None:
    """End the workers and agents of our raylet: without its GCS it does not, and its agents would outlive it."""
    processes = list(_processes())
    raylets = {pid for pid, name, _, parent in processes if name == "raylet" and parent == os.getpid()}
    for pid, _, _, parent in processes:
        if parent in raylets:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _processes() -> Iterator[tuple[int, str, str, int]]:
    """Of every process here: its id, its name, its state and its parent."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # "pid (name) state ppid …"; a name may hold anything, brackets and blanks included.
            name, _, fields = (entry / "stat").read_text(errors="replace").partition(" (")[2].rpartition(") ")
            state, parent = fields.split()[:2]
            yield int(entry.name), name, state, int(parent)


def require_reachable(address: str) -> None:
    """A Ray cluster listens at `address`. Raises Unavailable, which Ray itself says only after five minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # `auto` and the like, which Ray looks up by itself
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
    except OSError as error:
        raise Unavailable(
            f"no Ray cluster answers at {address} ({error.strerror or error}): start it with `ray start --head`, "
            "or give its address in SENTINEL_RAY_ADDRESS"
        ) from None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _hush() -> None:
    """Ray's own chatter stays in its log files; a user is shown ours."""
    for name in ("ray", "ray.serve"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _hide_token() -> None:
    """Ray writes its cluster token readable for everyone on the machine."""
    token = Path.home() / ".ray" / "auth_token"
    with contextlib.suppress(OSError):
        token.chmod(0o600)


def _port_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            raise Invalid("api.port", port, "a port from 1024 up, or the right to use a lower one") from None
        except OSError as error:
            if error.errno in (99, -2):
                raise Invalid("api.host", host, "an address of this machine") from None
            return False
    return True


def _shown_host(host: str) -> str:
    """An address that a browser on this machine can open."""
    if host in ("0.0.0.0", "::"):  # noqa: S104 only compared
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _why_not_ready(client: Client, url: str) -> str:
    try:
        components: dict[str, str] = client.get("/health")["components"]
    except Unavailable:
        return (
            f"nothing answers at {url} after {_READY_WITHIN_S:.0f} s: if Ray Serve already ran on this cluster "
            "with another host or port, set SENTINEL_API_HOST and SENTINEL_API_PORT to those"
        )
    bad = "; ".join(f"{name}: {state}" for name, state in components.items() if state != "ok")
    return f"not ready after {_READY_WITHIN_S:.0f} s: {bad}"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
