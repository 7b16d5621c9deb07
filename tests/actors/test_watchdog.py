"""The watchdog as a plain object: whom it ends, and when."""

from actors.watchdog import MISSES, MISSES_AT_START, Watchdog
from sentinel.clock import ManualClock
from sentinel.errors import Unavailable


class Actor:
    """Answers while it is well; counts how often it was ended."""

    def __init__(self, well: bool = True) -> None:
        self.well, self.ended, self.can_end = well, 0, True

    async def ask(self) -> str:
        if not self.well:
            raise Unavailable("did not answer")
        return "well"

    async def end(self) -> bool:
        if not self.can_end:
            raise Unavailable("the node is away")
        self.ended += 1
        return True


async def looks(dog: Watchdog, count: int) -> None:
    for _ in range(count):
        await dog.look()


def dog_of(**actors: Actor) -> Watchdog:
    others = {f"well-{n}": Actor() for n in range(3)}
    return Watchdog({name: (each.ask, each.end) for name, each in (others | actors).items()}, ManualClock())


async def test_one_that_stands_still_is_ended_once_and_its_neighbour_is_not() -> None:
    hung, well = Actor(), Actor()
    dog = dog_of(hung=hung, well=well)
    await looks(dog, 2)
    hung.well = False
    await looks(dog, MISSES - 1)
    assert hung.ended == 0
    await looks(dog, 10)  # it is starting now, and not heard yet
    assert (hung.ended, well.ended) == (1, 0)


async def test_it_is_ended_again_if_it_hangs_again() -> None:
    hung = Actor()
    dog = dog_of(hung=hung)
    for _ in range(2):
        hung.well = True
        await looks(dog, 1)
        hung.well = False
        await looks(dog, MISSES)
    assert hung.ended == 2


async def test_an_answer_in_between_starts_the_count_anew() -> None:
    slow = Actor()
    dog = dog_of(slow=slow)
    for _ in range(5):
        slow.well = True
        await looks(dog, 1)
        slow.well = False
        await looks(dog, MISSES - 1)
    assert slow.ended == 0


async def test_one_that_was_never_heard_is_given_more_time_to_start_and_not_for_ever() -> None:
    starting = Actor(well=False)
    dog = dog_of(starting=starting)
    await looks(dog, MISSES_AT_START - 1)
    assert starting.ended == 0
    await looks(dog, 1)
    assert starting.ended == 1


async def test_one_that_could_not_be_ended_is_tried_again() -> None:
    hung = Actor()
    dog = dog_of(hung=hung)
    await looks(dog, 1)
    hung.well, hung.can_end = False, False
    await looks(dog, MISSES + 2)
    hung.can_end = True
    await looks(dog, 1)
    assert hung.ended == 1


async def test_where_most_do_not_answer_none_is_to_blame() -> None:
    all_of_them = {f"a{n}": Actor() for n in range(5)}
    dog = dog_of(**all_of_them)
    await looks(dog, 1)
    for actor in all_of_them.values():
        actor.well = False
    await looks(dog, 50)
    assert [actor.ended for actor in all_of_them.values()] == [0] * 5
