"""Who calls whom, kept up to date: settings, what the detectors' series tell, and what moves together."""

from collections.abc import Iterable, Sequence

import structlog

from actors.api import Detectors
from sentinel.clock import Clock
from sentinel.correlation.moving import Moving
from sentinel.correlation.topology import Edge, Seen, Topology, extended
from sentinel.errors import SentinelError

_EVERY_S = 30.0
log = structlog.get_logger(__name__)


class CallGraph:
    """Soft state: the edges that telemetry tells, asked of the detectors again and again, and what moved together."""

    def __init__(self, settled: Topology, detectors: Detectors, clock: Clock) -> None:
        self.topology = settled
        self._settled = settled
        self._detectors = detectors
        self._clock = clock
        self._seen = Seen(frozenset(), frozenset())
        self._moving = Moving()
        self._learned: tuple[Edge, ...] = ()
        self._told_unseen: tuple[str, ...] = ()

    async def run(self) -> None:
        """Look for ever."""
        while True:
            try:
                await self.look()
            except SentinelError as error:
                log.warning("calls not asked", error=str(error))
            await self._clock.sleep(_EVERY_S)

    async def look(self) -> None:
        """Ask the detectors which calls their series tell of."""
        seen = await self._detectors.seen()
        if seen != self._seen:
            self._seen = seen
            self._renew()
        unseen = self.unseen()
        if unseen and unseen != self._told_unseen:
            log.warning("correlation.topology names services without telemetry", services=unseen)
        self._told_unseen = unseen

    def burst(self, services: Iterable[str]) -> None:
        """Learn from the services of one burst."""
        self._moving.burst(services)
        learned = self._moving.edges()
        if learned != self._learned:
            self._learned = learned
            self._renew()

    def edges(self) -> Sequence[Edge]:
        """Every edge with where it comes from."""
        return self.topology.edges()

    def unseen(self) -> tuple[str, ...]:
        """Services of the settings that no telemetry speaks of, once any is there: a name may be misspelt."""
        if not self._seen.services:
            return ()
        named = {name for edge in self._settled.edges() for name in (edge.caller, edge.callee)}
        known = self._seen.services | {name for edge in self._seen.edges for name in (edge.caller, edge.callee)}
        return tuple(sorted(named - known))

    def _renew(self) -> None:
        self.topology = extended(self._settled, (*sorted(self._seen.edges), *self._learned), self._seen.services)
