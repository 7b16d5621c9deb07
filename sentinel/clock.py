"""The clock: the only file that reads the time."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What the shell may ask about time. The core is handed `now_ms` and asks nothing."""

    def now_ms(self) -> int:
        """Wall-clock time in integer milliseconds since the Unix epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never steps back; only differences mean anything."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class ManualClock:
    """A clock that stands still until a test calls `advance`."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = now_ms
        self._monotonic = 0.0

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Move both clocks forward by `seconds`."""
        self._now_ms += round(seconds * 1000)
        self._monotonic += seconds

    async def sleep(self, seconds: float) -> None:
        """Advance at once, and give other tasks a turn."""
        self.advance(seconds)
        await asyncio.sleep(0)


def iso(at_ms: int) -> str:
    """`at_ms` as an ISO 8601 time in UTC with milliseconds, for people and JSON."""
    seconds, millis = divmod(at_ms, 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{millis:03d}Z"


def day(at_ms: int) -> str:
    """The UTC day of `at_ms` as `yyyymmdd`."""
    return time.strftime("%Y%m%d", time.gmtime(at_ms // 1000))
