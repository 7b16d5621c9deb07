"""A real PostgreSQL for tests: the one that the environment names, or one started from the machine's binaries."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest
from sqlalchemy import URL, make_url

_numbers = count(1)


def missing(what: str) -> NoReturn:
    """Skip the test that needs `what`; where CI=true fail it, for there nothing may be left out unseen."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing, and CI leaves nothing out")
    pytest.skip(f"needs {what}")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a database whose user may create others; the server ends with the session if it was started here."""
    given = os.environ.get("SENTINEL_TEST_POSTGRES_URL")
    if given:
        yield given
        return
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    found = binaries[-1] if binaries else shutil.which("postgres")
    if not found:
        missing("PostgreSQL (SENTINEL_TEST_POSTGRES_URL, or Debian's package postgresql)")
    with _started(Path(found).parent) as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of a database that is empty and this test's own."""
    name = f"sentinel_test_{os.getpid()}_{next(_numbers)}"
    server = make_url(postgres_server)
    _administer(server, f'CREATE DATABASE "{name}"')
    yield server.set(database=name).render_as_string(hide_password=False)
    _administer(server, f'DROP DATABASE "{name}" WITH (FORCE)')


def _administer(server: URL, statement: str) -> None:
    conninfo = server.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(statement.encode())


@contextlib.contextmanager
def _started(binaries: Path) -> Iterator[str]:
    # PostgreSQL refuses to run as root, and may not enter pytest's own directories when it runs as another user.
    user = "postgres" if os.geteuid() == 0 else None
    directory = Path(tempfile.mkdtemp(prefix="sentinel-postgres-"))
    try:
        if user:
            shutil.chown(directory, user, user)
        data = directory / "data"
        identity = {"user": user, "group": user, "extra_groups": []} if user else {}
        subprocess.run(
            [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=directory,
            **identity,
        )
        port = _free_port()
        options = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off"}
        with (directory / "log").open("wb") as log:
            server = subprocess.Popen(
                [binaries / "postgres", "-D", data, *(f"--{name}={value}" for name, value in options.items())],
                stdout=log,
                stderr=log,
                cwd=directory,
                **identity,
            )
        try:
            url = URL.create("postgresql+psycopg", "postgres", host="127.0.0.1", port=port, database="postgres")
            _await_answer(server, url, directory / "log")
            yield url.render_as_string()
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)
    finally:
        shutil.rmtree(directory)


def _await_answer(server: "subprocess.Popen[bytes]", url: URL, log: Path) -> None:
    for _ in range(300):
        if server.poll() is not None:
            break
        try:
            _administer(url, "SELECT 1")
        except psycopg.OperationalError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"PostgreSQL did not start: {log.read_text(errors='replace')[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class CommitCutter:
    """A TCP proxy before PostgreSQL that can lose the connection at the next COMMIT.

    After `cut(...)` the next COMMIT is either passed on, and its answer is lost (`forward`), or is lost itself.
    Without `reachable_after` nobody gets through any more.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._armed = self._forward = False
        self._reachable_after = True
        self.cuts = 0
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, *, forward: bool, reachable_after: bool) -> None:
        """Lose the next COMMIT, or the answer to it."""
        self._forward, self._reachable_after, self._armed = forward, reachable_after, True

    def close(self) -> None:
        """Close every socket, which ends the threads."""
        for each in (self._listener, *self._sockets):
            _shut(each)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                threading.Thread(target=self._upstream, args=(client, server), daemon=True).start()
                threading.Thread(target=self._downstream, args=(client, server), daemon=True).start()

    def _upstream(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self._armed and b"COMMIT\0" in data:  # the whole statement, not "READ COMMITTED"
                    self.cuts += 1
                    if not self._reachable_after:
                        _shut(self._listener)
                    if not self._forward:
                        self._armed = False
                        break
                server.sendall(data)
        if not self._armed:
            _shut(client)
            _shut(server)

    def _downstream(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if self._armed and self.cuts:
                    self._armed = False
                    break
                client.sendall(data)
        _shut(client)
        _shut(server)


@pytest.fixture
def cutter(postgres_url: str) -> Iterator[CommitCutter]:
    """A proxy before the database of `postgres_url`."""
    server = make_url(postgres_url)
    assert server.host
    proxy = CommitCutter(server.host, server.port or 5432)
    yield proxy
    proxy.close()


def _shut(each: socket.socket) -> None:
    # Closing alone would leave a thread that waits in recv or accept where it is.
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
