"""What moves together: services that turn unusual in the same bursts, time and again, may depend on one another.

Such an edge has no direction and is weak: it lets a faint echo join, and explains nothing away.
"""

from collections import Counter, deque
from collections.abc import Iterable
from itertools import combinations

from sentinel.correlation.topology import Edge, Source

LEAST_TOGETHER = 3
LEAST_SHARE = 0.6  # of the bursts of either service
MOST_SERVICES = 12  # a burst of more is a storm, and says nothing about who belongs to whom
MOST_BURSTS = 500


class Moving:
    """Soft state: the services of the last bursts. It is learned anew after a restart."""

    def __init__(self) -> None:
        self._bursts: deque[tuple[str, ...]] = deque()
        self._alone: Counter[str] = Counter()
        self._together: Counter[tuple[str, str]] = Counter()

    def burst(self, services: Iterable[str]) -> None:
        """Take in the services of one burst."""
        found = tuple(sorted(set(services)))
        if not 1 <= len(found) <= MOST_SERVICES:
            return
        self._bursts.append(found)
        self._alone.update(found)
        self._together.update(combinations(found, 2))
        if len(self._bursts) > MOST_BURSTS:
            gone = self._bursts.popleft()
            self._alone -= Counter(gone)
            self._together -= Counter(combinations(gone, 2))

    def edges(self) -> tuple[Edge, ...]:
        """Pairs seen together LEAST_TOGETHER times and in LEAST_SHARE of the bursts of either, in order."""
        return tuple(
            Edge(one, other, Source.MOVES_TOGETHER)
            for (one, other), count in sorted(self._together.items())
            if count >= LEAST_TOGETHER and count >= LEAST_SHARE * max(self._alone[one], self._alone[other])
        )
