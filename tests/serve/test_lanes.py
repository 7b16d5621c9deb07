"""The way to one detection actor: who travels together, who waits, and who is refused."""

import asyncio

import pytest

from actors.detection import Scored
from sentinel.errors import Overloaded, Unavailable
from sentinel.telemetry.batch import MAX_PACKED_BYTES
from serve_apps.lanes import HOLD_S, MAX_DEPTH, MAX_WAITING_BYTES, Lane


class Actor:
    """Takes parcels of equal size and counts how many came in each call; answers when told."""

    def __init__(self, size: int = 100) -> None:
        self.size = size
        self.calls: list[int] = []
        self.open = asyncio.Event()
        self.open.set()
        self.fails: Exception | None = None

    async def score(self, actor: int, packed: bytes) -> list[Scored]:
        count = len(packed) // self.size
        self.calls.append(count)
        await self.open.wait()
        if self.fails:
            raise self.fails
        return [Scored(scored=each, held=0, refused={}, unknown=()) for each in range(count)]


async def test_a_quiet_lane_sends_at_once() -> None:
    actor = Actor()
    asked = Lane(actor, 0).send(bytes(100), 1)
    for _ in range(10):  # turns of the loop, without a wait
        await asyncio.sleep(0)
    assert actor.calls == [1]
    assert (await asked).scored == 0


async def test_what_arrives_during_a_call_or_just_after_travels_together() -> None:
    actor, loop = Actor(), asyncio.get_running_loop()
    lane = Lane(actor, 0)
    await lane.send(bytes(100), 1)
    begun = loop.time()
    first = lane.send(bytes(100), 1)
    await asyncio.sleep(0)
    rest = [lane.send(bytes(100), 1) for _ in range(3)]
    answers = await asyncio.gather(first, *rest)
    assert actor.calls == [1, 4]
    assert [answer.scored for answer in answers] == [0, 1, 2, 3], "each has the answer to its own"
    assert loop.time() - begun >= HOLD_S


@pytest.mark.parametrize(
    ("size", "depth", "together"),
    [(100, MAX_DEPTH // 4, 4), (100, MAX_DEPTH, 1), (MAX_PACKED_BYTES // 2, 1, 2), (MAX_PACKED_BYTES, 1, 1)],
)
async def test_a_call_holds_no_more_than_an_actor_may_be_held_by(size: int, depth: int, together: int) -> None:
    actor = Actor(size)
    lane = Lane(actor, 0)
    await asyncio.gather(*(lane.send(bytes(size), depth) for _ in range(8)))
    assert actor.calls == [together] * (8 // together)


async def test_what_does_not_fit_is_refused_and_the_rest_is_scored() -> None:
    size = MAX_WAITING_BYTES // 4
    actor = Actor(size)
    actor.open.clear()
    lane = Lane(actor, 0)
    waiting = []
    for _ in range(4):
        lane.check(size)
        waiting.append(lane.send(bytes(size), 1))
    with pytest.raises(Overloaded, match="bytes wait for detection actor 0"):
        lane.check(size)
    actor.open.set()
    assert len(await asyncio.gather(*waiting)) == 4
    lane.check(size)


def test_a_request_larger_than_a_lane_is_taken_where_nothing_waits() -> None:
    Lane(Actor(), 0).check(2 * MAX_WAITING_BYTES)


async def test_a_call_that_failed_is_told_to_all_in_it_and_the_lane_goes_on() -> None:
    actor = Actor()
    lane = Lane(actor, 0)
    actor.fails = Unavailable("gone")
    failed = await asyncio.gather(*(lane.send(bytes(100), 1) for _ in range(3)), return_exceptions=True)
    assert [str(each) for each in failed] == ["gone"] * 3
    actor.fails = None
    assert (await lane.send(bytes(100), 1)).scored == 0
