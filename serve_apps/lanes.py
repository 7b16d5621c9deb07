"""One lane a detection actor: what arrives while a call is under way travels together in the next one.

A call of an actor costs close to a millisecond of CPU at both ends whatever it carries up to 100 KiB, so many
small requests must share one. Nothing waits for company: a lane with nothing under way sends at once.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from actors.detection import Scored
from sentinel.errors import Overloaded
from sentinel.telemetry.batch import MAX_PACKED_BYTES

IN_FLIGHT = 1  # with two, requests rarely met: 20 % more CPU a sample at both ends
MAX_WAITING_BYTES = 16 * 1024 * 1024


class Scorer(Protocol):
    """The detection actors, as `actors.handles.DetectorsHandle` offers them."""

    async def score(self, actor: int, packed: bytes) -> list[Scored]:
        """Have one actor score packed batches that were joined, and answer for each in order."""
        ...


@dataclass(frozen=True, slots=True)
class _Parcel:
    packed: bytes
    answer: asyncio.Future[Scored]


class Lane:
    """The way to one actor. Bounded: what does not fit is refused before anything of it was taken."""

    def __init__(self, scorer: Scorer, actor: int) -> None:
        self._scorer = scorer
        self._actor = actor
        self._waiting: deque[_Parcel] = deque()
        self._waiting_bytes = 0
        self._calls: set[asyncio.Task[None]] = set()

    async def score(self, packed: bytes) -> Scored:
        """What became of one packed batch. Raises Overloaded if the lane is full, else what the call raised."""
        if self._waiting_bytes + len(packed) > MAX_WAITING_BYTES:
            raise Overloaded(f"{self._waiting_bytes} bytes wait for detection actor {self._actor}")
        parcel = _Parcel(packed, asyncio.get_running_loop().create_future())
        self._waiting.append(parcel)
        self._waiting_bytes += len(packed)
        self._send()
        return await parcel.answer

    def _send(self) -> None:
        while self._waiting and len(self._calls) < IN_FLIGHT:
            load = [self._waiting.popleft()]
            size = len(load[0].packed)
            while self._waiting and size + len(self._waiting[0].packed) <= MAX_PACKED_BYTES:
                load.append(self._waiting.popleft())
                size += len(load[-1].packed)
            self._waiting_bytes -= size
            call = asyncio.create_task(self._call(load))
            self._calls.add(call)
            call.add_done_callback(self._arrived)

    def _arrived(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._send()

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
