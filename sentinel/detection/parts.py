"""The parts of a score: what made a series unusual."""

from enum import IntEnum


class Part(IntEnum):
    """Each with what it says in `SAYS`."""

    LEVEL = 0
    SEASON = 1
    FLAT = 2
    PATTERN = 3
    RULE = 4
    NO_DATA = 5
    SERVICE = 6
    CHANGE = 7
    SHIFT = 8

    @property
    def label(self) -> str:
        """As people read it."""
        return self.name.lower()


SAYS = {
    Part.LEVEL: "far from its level",
    Part.SEASON: "far from what is usual at this time of day",
    Part.FLAT: "one value for longer than ever",
    Part.PATTERN: "a shape or a range never seen in its past",
    Part.RULE: "beyond a threshold that people set",
    Part.NO_DATA: "silent, though it used to speak",
    Part.CHANGE: "moved faster than it ever does",
    Part.SHIFT: "its level has moved",
    Part.SERVICE: "several metrics of the service moved together",
}
