"""The watchdog: finds actors whose loop stands still, which Ray does not notice, and has them started anew."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from sentinel.clock import Clock
from sentinel.errors import SentinelError

MISSES, MISSES_AT_START = 3, 15
log = structlog.get_logger(__name__)

Ask = Callable[[], Awaitable[str]]
End = Callable[[], Awaitable[bool]]


class Watchdog:
    """Hard state: none. Soft state: how often in a row each actor did not answer.

    An actor that answered before and then misses MISSES pings in a row is ended; Ray starts it again, and it takes its
    unfinished work up from the journal. One that was not heard yet may still be starting, and gets MISSES_AT_START: so
    an actor is ended once for each time it stood still. Ending one that was only slow costs a restart and no more,
    since nothing is done twice after a death.
    """

    def __init__(self, watched: Mapping[str, tuple[Ask, End]], clock: Clock, *, every_s: float = 1.0) -> None:
        self._watched = dict(watched)
        self._clock = clock
        self._every_s = every_s
        self._missed = dict.fromkeys(watched, 0)
        self._heard: set[str] = set()  # since they last started

    async def run(self) -> None:
        """Look at every actor again and again."""
        while True:
            await self.look()
            await self._clock.sleep(self._every_s)

    async def look(self) -> None:
        """Ask every actor once, and end those that stood still for too long.

        Where most of them do not answer, it is the cluster or this machine that stands still: then none is to blame.
        """
        names = list(self._watched)
        answers = await asyncio.gather(*(self._why_silent(name) for name in names))
        silent = {name: why for name, why in zip(names, answers, strict=True) if why}
        if 2 * len(silent) > len(names):
            log.warning("most actors do not answer", actors=sorted(silent), error=next(iter(silent.values())))
            return
        for name in names:
            if name not in silent:
                self._missed[name] = 0
                self._heard.add(name)
                continue
            self._missed[name] += 1
            log.warning("no heartbeat", actor=name, missed=self._missed[name], error=silent[name])
            if self._missed[name] >= (MISSES if name in self._heard else MISSES_AT_START):
                await self._end(name, self._watched[name][1])

    async def _why_silent(self, name: str) -> str:
        try:
            await self._watched[name][0]()
        except SentinelError as error:
            return str(error)
        return ""

    async def _end(self, name: str, end: End) -> None:
        try:
            ended = await end()
        except SentinelError as error:
            log.warning("a hung actor could not be ended", actor=name, error=str(error))
            return
        log.error("a hung actor was ended and starts anew", actor=name, ended=ended)
        self._missed[name] = 0
        self._heard.discard(name)
