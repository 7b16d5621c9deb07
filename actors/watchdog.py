"""The watchdog: finds actors whose loop stands still, which Ray does not notice, and has them started anew."""

from collections.abc import Awaitable, Callable, Mapping

import structlog

from sentinel.clock import Clock
from sentinel.errors import SentinelError

MISSES = 3
log = structlog.get_logger(__name__)

Ask = Callable[[], Awaitable[str]]
End = Callable[[], Awaitable[bool]]


class Watchdog:
    """Hard state: none. Soft state: how often in a row each actor did not answer.

    An actor that answered before and then misses MISSES pings in a row is ended; Ray starts it again, and it takes its
    unfinished work up from the journal. One that was never heard yet may still be starting, and is left alone: so an
    actor is ended once for each time it stood still. Ending one that was only slow costs a restart and no more, since
    nothing is done twice after a death.
    """

    def __init__(self, watched: Mapping[str, tuple[Ask, End]], clock: Clock, *, every_s: float = 4.0) -> None:
        self._watched = dict(watched)
        self._clock = clock
        self._every_s = every_s
        self._missed: dict[str, int] = {}  # only of actors that were heard since they last started

    async def run(self) -> None:
        """Look at every actor again and again."""
        while True:
            await self.look()
            await self._clock.sleep(self._every_s)

    async def look(self) -> None:
        """Ask every actor once, and end those that stood still for too long."""
        for name, (ask, end) in self._watched.items():
            try:
                await ask()
            except SentinelError as error:
                if name not in self._missed:
                    continue
                self._missed[name] += 1
                log.warning("no heartbeat", actor=name, missed=self._missed[name], error=str(error))
                if self._missed[name] >= MISSES:
                    await self._end(name, end)
            else:
                self._missed[name] = 0

    async def _end(self, name: str, end: End) -> None:
        try:
            ended = await end()
        except SentinelError as error:
            log.warning("a hung actor could not be ended", actor=name, error=str(error))
            return
        log.error("a hung actor was ended and starts anew", actor=name, ended=ended)
        del self._missed[name]
