"""Detection: scores every sample of its partitions, and tells correlation what turned unusual."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from actors.api import Correlation
from actors.shelves import Share, Shelves
from actors.standing import Standing, StandingOrders
from sentinel.clock import Clock
from sentinel.detection.anomaly import Anomaly, SeriesHealth
from sentinel.detection.config import DetectorConfig
from sentinel.detection.detector import Observation, Refusal
from sentinel.detection.merging import merged
from sentinel.errors import SentinelError
from sentinel.ids import Fingerprint
from sentinel.ports import Checkpoints
from sentinel.telemetry.batch import SampleBatch, unpack_all
from sentinel.telemetry.rates import RateKeeper

log = structlog.get_logger(__name__)
_RETRY_S = 0.5
_RATES_PER_SERIES = 4  # the buckets of a histogram are kept for rates and not scored
_RETIRE_AFTER_MS = 6 * 3_600_000
_SILENCE_EVERY_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What became of one batch: `scored` + `held` + the refused = what was sent. `unknown` need describing first.

    held: taken to make a rate with a later one.
    """

    scored: int
    held: int
    refused: Mapping[str, int]
    unknown: tuple[int, ...]


class DetectionActor:
    """Hard state: none. Soft state: what is normal for each series, kept in checkpoints every few seconds.

    `score` that returned has scored every sample it did not report as refused or unknown; one that failed may
    have scored them, and sending them again is harmless, for a series takes each timestamp once. A change is
    told to correlation until correlation has taken it, so correlation may hear of it twice.
    """

    def __init__(
        self,
        *,
        name: str,
        config: DetectorConfig,
        correlation: Correlation,
        checkpoints: Checkpoints,
        checkpoint_every_s: float,
        clock: Clock,
        share: Share = Share(),  # noqa: B008 frozen
    ) -> None:
        self._name = name
        self._correlation = correlation
        self._checkpoint_every_s = checkpoint_every_s
        self._clock = clock
        self._told = asyncio.Event()
        self._configuring = asyncio.Lock()
        self._standing = StandingOrders(checkpoints, name, Standing(config, share))
        now = self._standing.now
        self._shelves = Shelves(checkpoints, now.share)
        self._rates = RateKeeper(_RATES_PER_SERIES * config.max_series)
        self._detector = self._shelves.restore(now.config)
        self._rates.describe(self._detector.series())
        self._listening_since_ms = clock.now_ms()
        # A change that was not told before the end would else never be.
        ended = self._detector.configure(now.config)
        self._untold = [*ended, *self._detector.open_anomalies()]

    async def configure(self, config: DetectorConfig, share: Share) -> None:
        """Judge by `config` from the next sample on, and hold the partitions of `share`; nothing learned is lost.

        A restart of this actor goes on with both. Raises Unavailable where that, or a partition that is given away,
        cannot be written; then nothing has changed.
        """
        async with self._configuring:
            moves = share != self._shelves.share
            if moves:
                await self.checkpoint()
            await asyncio.to_thread(self._standing.change, Standing(config, share))
            if moves:
                await self._move(config, share)
            self._hear(self._detector.configure(config))

    async def _move(self, config: DetectorConfig, share: Share) -> None:
        before = self._shelves.share
        await self._shelves.take(share)
        found = await asyncio.to_thread(self._shelves.restore, config)
        # What came in of others' services meanwhile began from nothing, and would pass for what was heard last.
        self._detector.keep_services(before.holds)
        self._detector = merged([self._detector, found], share.holds, config)
        self._rates.describe(self._detector.series())
        self._listening_since_ms = self._clock.now_ms()
        self._hear(self._detector.open_anomalies())
        log.info("partitions moved", actor=self._name, share=share, series=len(self._detector))

    async def run(self) -> None:
        """Tell changes and keep checkpoints for ever."""
        # A group ends the one when the other fails: a second `_tell` beside a new one would drop what it never told.
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._tell())
            loops.create_task(self._keep_checkpoints())
            loops.create_task(self._notice_silence())

    async def score(self, packed: bytes) -> list[Scored]:
        """Score packed SampleBatches that were joined, then learn from them, and answer for each in order.

        Raises Invalid for bytes that are none.
        """
        return [self._score(batch) for batch in unpack_all(packed)]

    def _score(self, batch: SampleBatch) -> Scored:
        rated = self._rates.apply(batch)
        observed = self._observe(rated.batch)
        if len(rated.derived):
            self._observe(rated.derived)
        # Samples of unknown series are neither scored nor refused: the sender describes them and sends them again.
        refused = Counter(rated.refused)
        refused.update({str(reason): count for reason, count in observed.refused.items()})
        refused.pop(Refusal.UNKNOWN_SERIES, None)
        return Scored(
            scored=observed.accepted,
            held=rated.held,
            refused=dict(refused),
            unknown=tuple({*rated.unknown, *observed.unknown}),
        )

    def _observe(self, batch: SampleBatch) -> Observation:
        observed = self._detector.observe(batch)
        self._hear(observed.changes)
        return observed

    def _hear(self, changes: Sequence[Anomaly]) -> None:
        if changes:
            self._untold.extend(changes)
            self._told.set()

    async def open_anomalies(self) -> list[Anomaly]:
        """What is unusual now."""
        return list(self._detector.open_anomalies())

    async def health(self, fingerprints: Sequence[Fingerprint]) -> list[SeriesHealth]:
        """How these series are now."""
        return list(self._detector.health(fingerprints, self._clock.now_ms()))

    async def ping(self) -> str:
        """Answers while the actor's loop turns."""
        return self._name

    async def _tell(self) -> None:
        while True:
            if not self._untold:
                self._told.clear()
                await self._told.wait()
            telling = tuple(self._untold)
            try:
                await self._correlation.submit(telling)
            except SentinelError as error:
                log.warning("changes wait", actor=self._name, changes=len(telling), error=str(error))
                await self._clock.sleep(_RETRY_S)
                continue
            del self._untold[: len(telling)]

    async def checkpoint(self) -> None:
        """Keep what is known now, as before an orderly end. Raises Unavailable where it cannot be written."""
        await self._shelves.keep(self._detector)

    def _retire(self) -> None:
        """Make room where it is short: pods come and go, and their series stay silent."""
        if self._detector.nearly_full:
            before_ms = self._clock.now_ms() - _RETIRE_AFTER_MS
            gone = self._detector.retire(before_ms)
            self._rates.retire(before_ms)
            log.info("series retired", actor=self._name, series=gone, left=len(self._detector))

    async def _notice_silence(self) -> None:
        while True:
            await self._clock.sleep(_SILENCE_EVERY_S)
            self._hear(self._detector.silences(self._clock.now_ms(), self._listening_since_ms))

    async def _keep_checkpoints(self) -> None:
        while True:
            await self._clock.sleep(self._checkpoint_every_s)
            self._retire()
            try:
                await self.checkpoint()
            except SentinelError as error:
                log.error("checkpoint not written", actor=self._name, error=str(error))
