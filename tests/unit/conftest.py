"""In tests/unit the world is forbidden: fast tests stay fast, and deterministic ones deterministic, by force."""

import socket
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from sentinel.clock import SystemClock

_OURS = ("sentinel", "tests")


def _refuse(what: str) -> Callable[..., NoReturn]:
    def refused(*_args: object, **_kwargs: object) -> NoReturn:
        raise AssertionError(f"tests/unit may not use {what}: pass a ManualClock or a port's twin in memory")

    return refused


def _refuse_ours(what: str, real: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse our own code only: logging and pytest themselves read the time."""

    def guarded(*args: object, **kwargs: object) -> object:
        caller = str(sys._getframe(1).f_globals.get("__name__", ""))
        if caller.partition(".")[0] in _OURS:
            _refuse(f"{what}, as {caller} does")()
        return real(*args, **kwargs)

    return guarded


@pytest.fixture(autouse=True)
def _no_world(monkeypatch: pytest.MonkeyPatch) -> None:
    for method in ("connect", "connect_ex", "bind", "sendto"):
        monkeypatch.setattr(socket.socket, method, _refuse(f"sockets (socket.{method})"))
    for method in ("now_ms", "monotonic", "sleep"):
        monkeypatch.setattr(SystemClock, method, _refuse(f"the real clock (SystemClock.{method})"))
    for name in ("time", "time_ns", "monotonic", "perf_counter", "sleep"):
        monkeypatch.setattr(time, name, _refuse_ours(f"the real clock (time.{name})", getattr(time, name)))
    if "ray" in sys.modules:
        monkeypatch.setattr(sys.modules["ray"], "init", _refuse("Ray (ray.init)"))
    else:
        # None makes an import fail; importing Ray here to patch it would cost every run of these tests a second.
        monkeypatch.setitem(sys.modules, "ray", None)
