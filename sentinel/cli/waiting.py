"""Waiting for something to become true, with an end."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from sentinel.clock import SystemClock

T = TypeVar("T")


def wait_until(look: Callable[[], T | None], within_s: float, every_s: float = 0.3) -> T | None:
    """The first answer of `look` that is not None, or None once `within_s` has passed."""
    clock = SystemClock()
    deadline = clock.monotonic() + within_s
    while True:
        found = look()
        if found is not None or clock.monotonic() >= deadline:
            return found
        pause(every_s)


def pause(seconds: float) -> None:
    """Let `seconds` pass in a command, which has no loop of its own."""
    asyncio.run(SystemClock().sleep(seconds))
