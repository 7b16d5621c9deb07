"""Detection: scores every sample of its partitions, and tells correlation what turned unusual."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import structlog

from actors.api import Correlation
from actors.shelves import Share, Shelves
from actors.standing import Standing, StandingOrders
from sentinel.clock import Clock
from sentinel.correlation.topology import Edge, Seen, edge_of
from sentinel.detection.anomaly import Anomaly, SeriesHealth
from sentinel.detection.config import DetectorConfig
from sentinel.detection.curves import MOST_ANOMALIES, Curves, Explained
from sentinel.detection.detector import Observation, Refusal
from sentinel.detection.explanation import Band, Explanation
from sentinel.detection.merging import merged
from sentinel.detection.warm import warm
from sentinel.errors import SentinelError
from sentinel.ids import Fingerprint
from sentinel.ports import Checkpoints
from sentinel.telemetry.batch import SampleBatch, unpack_all
from sentinel.telemetry.rates import RateKeeper
from sentinel.telemetry.series import Series

log = structlog.get_logger(__name__)
_RETRY_S = 0.5
_RATES_PER_SERIES = 4  # the buckets of a histogram are kept for rates and not scored
CURVE_BYTES = 32 * 1024 * 1024  # samples kept so that people can be shown what the detector saw
_MOST_EDGES = 20_000
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
        curve_bytes: int = CURVE_BYTES,
        share: Share = Share(),  # noqa: B008 frozen
    ) -> None:
        self._name = name
        self._correlation = correlation
        self._checkpoint_every_s = checkpoint_every_s
        self._clock = clock
        self._told = asyncio.Event()
        self._configuring = asyncio.Lock()
        # Held while partitions are written, moved or thinned out: none is written from a detector that lacks its past.
        self._writing = asyncio.Lock()
        self._standing = StandingOrders(checkpoints, name, Standing(config, share))
        now = self._standing.now
        self._shelves = Shelves(checkpoints, now.share)
        self._rates = RateKeeper(_RATES_PER_SERIES * config.max_series)
        self._curves = Curves(curve_bytes)
        warm()  # here, and not while the first samples wait
        self._detector = self._shelves.restore(now.config)
        self._rates.describe(self._detector.series())
        self._listening_since_ms = clock.now_ms()
        self._services: set[str] = set()
        self._edges: set[Edge] = set()
        self._learn_calls(self._detector.series())
        # A change that was not told before the end would else never be.
        ended = self._detector.configure(now.config)
        self._untold: list[Anomaly] = [*ended, *self._detector.open_anomalies()]
        self._follow(self._untold)

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
        async with self._writing:
            before = self._shelves.share
            self._shelves.take(share)
            found = await asyncio.to_thread(self._shelves.restore, config)
            # What came in of others' services meanwhile began from nothing, and would pass for what was heard last.
            self._detector.keep_services(before.holds)
            self._detector = merged([self._detector, found], share.holds, config)
        self._rates.describe(self._detector.series())
        self._learn_calls(self._detector.series())
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
        self._learn_calls(batch.new_series.values())
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
        self._curves.keep(batch)
        observed = self._detector.observe(batch)
        self._hear(observed.changes)
        return observed

    def _hear(self, changes: Sequence[Anomaly]) -> None:
        if changes:
            self._follow(changes)
            self._untold.extend(changes)
            self._told.set()

    async def seen(self) -> Seen:
        """The services and calls that the series speak of."""
        return Seen(frozenset(self._services), frozenset(self._edges))

    def _learn_calls(self, series: Iterable[Series]) -> None:
        for each in series:
            self._services.add(each.service)
            edge = edge_of(each.service, each.labels)
            if edge is not None and len(self._edges) < _MOST_EDGES:
                self._edges.add(edge)

    async def open_anomalies(self) -> list[Anomaly]:
        """What is unusual now."""
        return list(self._detector.open_anomalies())

    async def health(self, fingerprints: Sequence[Fingerprint]) -> list[SeriesHealth]:
        """How these series are now."""
        return list(self._detector.health(fingerprints, self._clock.now_ms()))

    async def explain(self, fingerprint: Fingerprint, from_ms: int, to_ms: int) -> Explained | None:
        """Why the newest anomaly of this series that began in the span is one, with its curves; None if forgotten."""
        current = self._detector.anomaly(fingerprint)
        if current is not None:
            self._curves.told(current)
        return self._curves.find(fingerprint, from_ms, to_ms)

    def _follow(self, changes: Sequence[Anomaly]) -> None:
        """Keep why anomalies open while the detector still knows, the newest if there are many at once."""
        first = len(changes) - MOST_ANOMALIES
        for number, anomaly in enumerate(changes):
            if not self._curves.told(anomaly) and number >= first:
                explanation = self._detector.explain(anomaly.series.fingerprint, anomaly)
                if explanation is not None:
                    self._curves.follow(anomaly, explanation, self._bands(anomaly, explanation))

    def _bands(self, anomaly: Anomaly, explanation: Explanation) -> Iterator[tuple[Series, Band]]:
        """The series to show: its own, or for a whole service those that moved most."""
        shown = [self._detector.band(each.fingerprint) for each in explanation.moved]
        shown = shown or [self._detector.band(anomaly.series.fingerprint, anomaly)]
        yield from (each for each in shown if each is not None)

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
        async with self._writing:
            await self._shelves.keep(self._detector)

    async def _retire(self) -> None:
        """Make room where it is short: pods come and go, and their series stay silent."""
        async with self._writing:
            if not self._detector.nearly_full:
                return
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
            await self._retire()
            try:
                await self.checkpoint()
            except SentinelError as error:
                log.error("checkpoint not written", actor=self._name, error=str(error))
