"""moto's AWS API as a child process: apart from ours, as AWS is, and gone when it is told to go."""

import socket
import subprocess
import sys
import tempfile
import threading
from types import TracebackType

import httpx

from sentinel.clock import Clock
from sentinel.errors import Unavailable

START_WITHIN_S = 30.0
_SEED = 42  # moto's ids are drawn from this, so that an allow-list written yesterday names today's instances


def free_port() -> int:
    """A loopback port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class MotoProcess:
    """`python -m moto.server` on a loopback port, with ids that are the same after every start and reset."""

    def __init__(self, clock: Clock, port: int = 0) -> None:
        self._clock = clock
        self._port = port or free_port()
        self._child: subprocess.Popen[bytes] | None = None
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child, closed by stop()
        self._http = httpx.Client(base_url=self.url, timeout=5, trust_env=False)

    @property
    def url(self) -> str:
        """Where the API answers."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return self._child.pid if self._child and self._child.poll() is None else None

    def start(self) -> None:
        """Start the child and wait until it answers. Raises Unavailable with what moto said if it does not."""
        self._refuse_taken_port()
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self._port)]
        self._child = subprocess.Popen(  # noqa: S603 - our own interpreter and a port number
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._said
        )
        give_up = self._clock.monotonic() + START_WITHIN_S
        pause = threading.Event()
        while self._clock.monotonic() < give_up and self._child.poll() is None:
            try:
                self.reset()
            except httpx.TransportError:
                pause.wait(0.05)
            else:
                return
        self._said.seek(0)
        last = self._said.read().decode(errors="replace").strip().splitlines()[-1:]
        self.stop()
        raise Unavailable(
            f"moto did not start on {self.url}: {' '.join(last) or 'no answer'} (moto comes with the extra 'sandbox')"
        )

    def _refuse_taken_port(self) -> None:
        # Without this, a stranger that answers on the port would be taken for our child, and reset.
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self._port))
            except OSError as error:
                raise Unavailable(f"port {self._port} for moto is taken ({error.strerror})") from None

    def reset(self) -> None:
        """Forget every resource."""
        self._http.post("/moto-api/reset").raise_for_status()
        self._http.post("/moto-api/seed", params={"a": str(_SEED)}).raise_for_status()

    def stop(self) -> None:
        """End the child and wait for it. Calling it twice is harmless."""
        self._http.close()
        self._said.close()
        child, self._child = self._child, None
        if child is None:
            return
        child.terminate()
        try:
            child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def __enter__(self) -> "MotoProcess":
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
