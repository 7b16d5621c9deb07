"""What tests/unit/conftest.py forbids is forbidden."""

import importlib
import logging
import socket
import time

import pytest

from sentinel.clock import ManualClock, SystemClock


def test_no_socket_connects():
    with socket.socket() as sock, pytest.raises(AssertionError, match="sockets"):
        sock.connect(("127.0.0.1", 9))


def test_the_real_clock_does_not_tick():
    with pytest.raises(AssertionError, match="real clock"):
        SystemClock().now_ms()
    with pytest.raises(AssertionError, match="real clock"):
        time.time()
    with pytest.raises(AssertionError, match="real clock"):
        time.sleep(0)


def test_ray_does_not_start():
    with pytest.raises((AssertionError, ImportError)):
        importlib.import_module("ray").init()


async def test_what_is_left_works():
    clock = ManualClock()
    await clock.sleep(2)
    assert clock.monotonic() == 2.0
    assert logging.makeLogRecord({}).created >= 0
