"""The checkpoints of one detection actor: a blob for each partition, which whoever holds it next finds by its name.

A partition is held by one actor at a time, so its blob has one writer whatever the number of actors was or will be, and
nothing needs to be rewritten, renamed or removed when that number changes.
"""

import asyncio
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from sentinel.clock import Clock
from sentinel.detection.config import DetectorConfig
from sentinel.detection.detector import Detector
from sentinel.detection.merging import merged
from sentinel.errors import Invalid, Unavailable
from sentinel.ports import Checkpoints
from sentinel.telemetry.series import partition_of

log = structlog.get_logger(__name__)
_OURS = re.compile(r"sentinel-detection-(p\d+-of-\d+|\d+)")  # the second was that of a whole actor


@dataclass(frozen=True, slots=True)
class Share:
    """What one of several detection actors holds: every partition of which the remainder by `actors` is `index`."""

    index: int = 0
    actors: int = 1
    partitions: int = 64

    def holds(self, service: str) -> bool:
        """Whether a service is this actor's."""
        return partition_of(service, self.partitions) % self.actors == self.index

    def blob(self, partition: int) -> str:
        """The name of a partition's checkpoint."""
        return f"sentinel-detection-p{partition}-of-{self.partitions}"

    def blobs(self) -> list[str]:
        """The names of all checkpoints this actor writes."""
        return [self.blob(partition) for partition in range(self.index, self.partitions, self.actors)]


class Shelves:
    """Reads and writes the checkpoints of `share`. Its owner keeps, takes and restores one after the other."""

    def __init__(self, checkpoints: Checkpoints, share: Share) -> None:
        self.share = share
        self._checkpoints = checkpoints
        self._written: set[str] = set()
        self._partition: dict[str, int] = {}

    def take(self, share: Share) -> None:
        """Hold another share from now on. What was written of the old one is not ours to empty."""
        self.share = share
        self._written, self._partition = set(), {}

    def restore(self, config: DetectorConfig) -> Detector:
        """All that checkpoints know of this share, in any thread; what is damaged or out of reach is learned anew.

        Checkpoints of another number of partitions are read too; of two that know a service the one counts that
        heard it last.
        """
        try:
            names = self._checkpoints.names()
        except Unavailable as error:
            log.error("no checkpoints, learning from the start", error=str(error))
            return Detector(config)
        own = [name for name in self.share.blobs() if name in names]
        suffix = f"-of-{self.share.partitions}"
        others = sorted(name for name in names if _OURS.fullmatch(name) and not name.endswith(suffix))
        if others:
            log.info("checkpoints of another number of partitions are read", count=len(others))
        return merged(list(self._parts([*own, *others], config)), self.share.holds, config)

    def _parts(self, names: Iterable[str], config: DetectorConfig) -> Iterable[Detector]:
        for name in names:
            try:
                blob = self._checkpoints.load(name)
                if blob is not None:
                    part = Detector.restore(blob, config)
                    part.keep_services(self.share.holds)
                    yield part
            except (Invalid, Unavailable) as error:
                log.error("checkpoint refused, learning from the start", name=name, error=str(error))

    async def keep(self, detector: Detector) -> None:
        """Write every partition. Raises Unavailable where one cannot be written; those before it then are.

        Each is copied between two samples, and encoded and written in another thread.
        """
        share = self.share
        held: dict[str, list[str]] = {name: [] for name in self._written}
        for service in detector.services():
            partition = self._partition_of(service)
            if partition % share.actors == share.index:
                held.setdefault(share.blob(partition), []).append(service)
        for name, services in held.items():
            await asyncio.to_thread(self._write, name, detector.checkpoint_of(services))
            if services:
                self._written.add(name)
            else:
                self._written.discard(name)

    def _write(self, name: str, encode: Callable[[], bytes]) -> None:
        self._checkpoints.save(name, encode())

    def _partition_of(self, service: str) -> int:
        found = self._partition.get(service)
        if found is None:
            found = self._partition[service] = partition_of(service, self.share.partitions)
        return found


async def within_reach(checkpoints: Checkpoints, clock: Clock, within_s: float) -> None:
    """Return when checkpoints can be read, or after `within_s`: a start must not forget in haste, nor wait for ever."""
    until = clock.monotonic() + within_s
    while clock.monotonic() < until:
        try:
            checkpoints.names()
            return
        except Unavailable as error:
            log.error("checkpoints are not reached", error=str(error))
            await clock.sleep(1.0)
