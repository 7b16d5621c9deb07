"""Decoded samples -> detection actors, and what became of each of them."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from actors.detection import Scored
from sentinel.clock import Clock
from sentinel.errors import Overloaded, SentinelError, Unavailable
from sentinel.telemetry.admission import SERIES_RATE, TOO_MANY_SAMPLES, thin
from sentinel.telemetry.batch import MAX_PACKED_SAMPLES, SampleBatch
from sentinel.telemetry.decoded import Decoded
from sentinel.telemetry.interning import Interner
from sentinel.telemetry.rates import SERIES_LIMIT
from serve_apps.lanes import Lane, Scorer
from serve_apps.metrics import Meter

_SPLITS_BETWEEN_RETIREMENTS = 1000
_RETIRE_AFTER_MS = 6 * 3_600_000


@dataclass(slots=True)
class Tally:
    """What became of one request's samples: received = scored + held + ignored + the refused.

    held: taken without a score, as the first value of a counter, which only the next one turns into a rate.
    ignored: of series that the settings do not watch.
    """

    received: int = 0
    scored: int = 0
    held: int = 0
    ignored: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    @property
    def answered(self) -> int:
        """How many samples it is known of what became of them."""
        return self.scored + self.held + self.ignored + self.refused.total()


class Intake:
    """Soft state: which series each actor was told of, and the lanes to the actors.

    The interner's receivers are the actors, by number.
    """

    def __init__(
        self, scorer: Scorer, interner: Interner, meter: Meter, clock: Clock, max_samples_per_series: int
    ) -> None:
        self._scorer = scorer
        self._interner = interner
        self._meter = meter
        self._clock = clock
        self._most = max_samples_per_series
        self._lanes: dict[int, Lane] = {}
        self._splits = 0
        self._newest_ms = 0

    async def take(self, decoded: Decoded, source: str) -> Tally:
        """Have every good sample scored, and count all of them.

        Raises what the first failing actor raised, and Overloaded where a lane is full; sending all of it again is
        harmless, for a series takes each time once.
        """
        tally = Tally(received=len(decoded) + decoded.rejected_count + decoded.stale)
        tally.refused.update(malformed=decoded.rejected_count, stale=decoded.stale)
        try:
            await self._take(decoded, tally)
        except SentinelError:
            # The sender sends all of it again, so this delivery counts as refused as far as nothing came of it.
            tally.refused["try_again"] += tally.received - tally.answered
            raise
        finally:
            self._meter.count(source, tally.received, tally.scored, tally.held, tally.ignored, +tally.refused)
        return tally

    async def _take(self, decoded: Decoded, tally: Tally) -> None:
        self._retire_now_and_then(decoded)
        decoded, too_many, depth = thin(decoded, self._most)
        split = self._interner.split(decoded, self._clock.now_ms())
        tally.refused.update({TOO_MANY_SAMPLES: too_many, SERIES_LIMIT: split.over_limit, SERIES_RATE: split.over_rate})
        tally.ignored += split.ignored
        try:
            await self._send(split.batches, depth, tally)
        except BaseException:
            # Labels that were on their way may not have arrived: every series of these parts is described anew.
            for actor in split.batches:
                self._interner.forget(actor)
            raise

    async def _send(self, batches: Mapping[int, SampleBatch], depth: int, tally: Tally) -> None:
        """Raises the first failure once it is known of every part what became of it."""
        failed: BaseException | None = None
        sent = []
        for actor, batch in batches.items():
            lane = self._lanes.setdefault(actor, Lane(self._scorer, actor))
            packed = [(part, part.pack()) for part in _parts(batch)]
            try:
                lane.check(sum(len(each) for _, each in packed))
            except Overloaded as error:  # the parts of other actors go all the same: those must not go blind with it
                failed = failed or error
                continue
            # Without a turn of the loop: no other request comes between the check and the last of them.
            sent += [self._heard(lane, part, lane.send(each, depth), depth, tally) for part, each in packed]
        results = await asyncio.gather(*sent, return_exceptions=True)
        failed = failed or next((result for result in results if isinstance(result, BaseException)), None)
        if failed is not None:
            raise failed

    async def _heard(
        self, lane: Lane, part: SampleBatch, answer: asyncio.Future[Scored], depth: int, tally: Tally
    ) -> None:
        answers = [await answer]
        if answers[0].unknown:
            # The actor forgot some series, as after a restart: send theirs once more, with their labels.
            again = replace(part.only(answers[0].unknown), new_series=self._interner.describe(answers[0].unknown))
            answers.append(await lane.send(again.pack(), depth))
        for each in answers:
            tally.scored += each.scored
            tally.held += each.held
            tally.refused.update(each.refused)
        if answers[-1].unknown:
            raise Unavailable("detection does not know series that were just described to it")

    def _retire_now_and_then(self, decoded: Decoded) -> None:
        """Pods come and go; without this their series would fill the limit for ever.

        Only where room is short: a history that is replayed is long past from its first sample to its last.
        """
        self._splits += 1
        if len(decoded):
            self._newest_ms = max(self._newest_ms, int(decoded.timestamps_ms.max()))
        if self._splits % _SPLITS_BETWEEN_RETIREMENTS == 0 and self._interner.nearly_full:
            self._interner.retire(self._newest_ms - _RETIRE_AFTER_MS)


def _parts(batch: SampleBatch) -> list[SampleBatch]:
    """The batch in pieces of one actor call each; the first carries the new series."""
    if len(batch) <= MAX_PACKED_SAMPLES:
        return [batch]
    return [
        SampleBatch(
            series_ids=batch.series_ids[start : start + MAX_PACKED_SAMPLES],
            timestamps_ms=batch.timestamps_ms[start : start + MAX_PACKED_SAMPLES],
            values=batch.values[start : start + MAX_PACKED_SAMPLES],
            new_series=batch.new_series if start == 0 else {},
        )
        for start in range(0, len(batch), MAX_PACKED_SAMPLES)
    ]
