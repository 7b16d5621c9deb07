"""One lane a detection actor: what arrives while a call is under way travels together in the next one.

A call of an actor costs close to a millisecond of CPU at both ends whatever it carries, so many small requests must
share one. A quiet lane sends at once. A busy one waits two milliseconds for company: a tenth less CPU a sample.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from actors.detection import Scored
from sentinel.errors import Overloaded
from sentinel.telemetry.batch import MAX_PACKED_BYTES

IN_FLIGHT = 1  # with two, requests rarely met: 20 % more CPU a sample at both ends
HOLD_S = 0.002
BUSY_S = 0.02  # a lane is busy if a call came back in the last so many seconds
MAX_DEPTH = 1000  # samples one after the other: 50 to 80 us each, in which the actor answers nobody
MAX_WAITING_BYTES = 16 * 1024 * 1024


class Scorer(Protocol):
    """The detection actors, as `actors.handles.DetectorsHandle` offers them."""

    async def score(self, actor: int, packed: bytes) -> list[Scored]:
        """Have one actor score packed batches that were joined, and answer for each in order."""
        ...


@dataclass(frozen=True, slots=True)
class _Parcel:
    packed: bytes
    depth: int
    answer: asyncio.Future[Scored]


class Lane:
    """The way to one actor. Bounded: what does not fit is refused before anything of it was taken."""

    def __init__(self, scorer: Scorer, actor: int) -> None:
        self._scorer = scorer
        self._actor = actor
        self._waiting: deque[_Parcel] = deque()
        self._waiting_bytes = 0
        self._calls: set[asyncio.Task[None]] = set()
        self._departure: asyncio.TimerHandle | None = None
        self._arrived_s = 0.0

    def check(self, size: int) -> None:
        """Raises Overloaded where so many bytes more are too many.

        A lane in which nothing waits takes a request of any size, for sent again that would be no smaller.
        """
        if self._waiting and self._waiting_bytes + size > MAX_WAITING_BYTES:
            raise Overloaded(f"{self._waiting_bytes} bytes wait for detection actor {self._actor}")

    def send(self, packed: bytes, depth: int) -> asyncio.Future[Scored]:
        """What will become of one packed batch, which has up to `depth` samples of one series; `check` comes first.

        Raises, when it is awaited, what the call raised.
        """
        parcel = _Parcel(packed, depth, asyncio.get_running_loop().create_future())
        self._waiting.append(parcel)
        self._waiting_bytes += len(packed)
        self._depart_soon()
        return parcel.answer

    def _depart_soon(self) -> None:
        if self._departure is None and self._waiting and len(self._calls) < IN_FLIGHT:
            loop = asyncio.get_running_loop()
            busy = loop.time() - self._arrived_s < BUSY_S
            self._departure = loop.call_later(HOLD_S if busy else 0, self._depart)

    def _depart(self) -> None:
        self._departure = None
        self._send()

    def _send(self) -> None:
        while self._waiting and len(self._calls) < IN_FLIGHT:
            load = [self._waiting.popleft()]
            size, depth = len(load[0].packed), load[0].depth
            while self._waiting:
                size, depth = size + len(self._waiting[0].packed), depth + self._waiting[0].depth
                if size > MAX_PACKED_BYTES or depth > MAX_DEPTH:
                    break
                load.append(self._waiting.popleft())
            self._waiting_bytes -= sum(len(parcel.packed) for parcel in load)
            call = asyncio.create_task(self._call(load))
            self._calls.add(call)
            call.add_done_callback(self._arrived)

    def _arrived(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._arrived_s = asyncio.get_running_loop().time()
        self._depart_soon()

    async def _call(self, load: list[_Parcel]) -> None:
        try:
            scored = await self._scorer.score(self._actor, b"".join(parcel.packed for parcel in load))
        except BaseException as error:
            # Whatever it was, each sender must hear of it: an answer that never comes would hold its request for ever.
            for parcel in load:
                if not parcel.answer.done():
                    parcel.answer.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        for parcel, each in zip(load, scored, strict=True):
            if not parcel.answer.done():
                parcel.answer.set_result(each)
