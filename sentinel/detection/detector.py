"""The detector of one partition: samples in, anomalies out. No clock, no Ray, no I/O."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from sentinel.detection import score as scoring
from sentinel.detection.alarm import Scored, advance
from sentinel.detection.anomaly import Anomaly, Condition, SeriesHealth
from sentinel.detection.columns import NEVER_MS, Alarm, Rows, put, take
from sentinel.detection.config import DetectorConfig
from sentinel.detection.state import State, restored
from sentinel.ids import Fingerprint
from sentinel.telemetry.batch import SampleBatch
from sentinel.telemetry.series import Series

# A series that has just cried wolf must be further out to be believed again: each anomaly doubles its opening
# threshold, which comes back halfway every 1400 samples. On the NAB files this removes a third of the anomalies
# outside windows and a sixth of the hits.
CAUTION_STEP = 2.0
CAUTION_CAP = 8.0
CAUTION_FADES = 0.9995


class Refusal(StrEnum):
    """Why a sample was not scored."""

    LATE = "late"
    UNKNOWN_SERIES = "unknown_series"
    SERIES_LIMIT = "series_limit"
    NOT_FINITE = "not_finite"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one batch told. accepted + the sum of refused = samples in the batch.

    unknown: ids of series without a description, whose samples must be sent again with one. changes: anomalies
    that opened, became twice as bad as last told, or closed (`ended_at_ms` is set), in order of time.
    """

    accepted: int = 0
    refused: Mapping[Refusal, int] = field(default_factory=dict)
    unknown: tuple[int, ...] = ()
    changes: tuple[Anomaly, ...] = ()


class Detector:
    """Scores every series of a partition against its own past, then learns from what it did not flag.

    Soft state: lost without a checkpoint, it grows again within the grace of each series. Results depend on each
    series' samples alone, in their order, and not on how they were put into batches. Not safe for several threads.
    """

    def __init__(self, config: DetectorConfig) -> None:
        self._config = config
        self._state = State()

    @classmethod
    def restore(cls, checkpoint: bytes, config: DetectorConfig) -> "Detector":
        """A detector that goes on as if it had never stopped. Raises Invalid if `checkpoint` is damaged."""
        detector = cls(config)
        detector._state = restored(checkpoint)
        return detector

    def checkpoint(self) -> bytes:
        """All that `restore` needs."""
        return self._state.checkpoint()

    def __len__(self) -> int:
        """How many series are known."""
        return len(self._state)

    def series(self) -> tuple[Series, ...]:
        """Every series that is known."""
        return tuple(self._state.series)

    @property
    def nearly_full(self) -> bool:
        """Whether new series will soon be refused."""
        return len(self) >= 0.9 * self._config.max_series

    def observe(self, batch: SampleBatch) -> Observation:
        """Score and learn `batch`, each series in increasing time; a late or repeated sample is refused."""
        over = self._state.add(batch.new_series.values(), self._config.max_series)
        rows = self._state.rows(batch.series_ids)
        finite = np.isfinite(batch.values)
        known = rows >= 0
        limited = ~known & np.isin(batch.series_ids, np.fromiter(over, np.uint64, len(over)))
        unknown = ~known & ~limited
        good = np.flatnonzero(known & finite)
        late = 0
        changes: list[Anomaly] = []
        for each in _ranks(rows[good]):
            at = good[each]
            late += self._pass(rows[at], batch.timestamps_ms[at], batch.values[at], changes)
        refused = {
            Refusal.LATE: late,
            Refusal.UNKNOWN_SERIES: int(unknown.sum()),
            Refusal.SERIES_LIMIT: int(limited.sum()),
            Refusal.NOT_FINITE: int((known & ~finite).sum()),
        }
        return Observation(
            accepted=len(good) - late,
            refused={reason: count for reason, count in refused.items() if count},
            unknown=tuple(np.unique(batch.series_ids[unknown]).tolist()),
            changes=tuple(sorted(changes, key=_when)),
        )

    def open_anomalies(self) -> tuple[Anomaly, ...]:
        """Every anomaly that is open now, in order of start."""
        rows = np.flatnonzero(self._state.alarm.open[: len(self)])
        found = self._anomalies(rows, take(self._state.alarm, rows), None)
        return tuple(sorted(found, key=lambda anomaly: (anomaly.started_at_ms, anomaly.series.fingerprint)))

    def health(self, fingerprints: Iterable[Fingerprint], now_ms: int) -> tuple[SeriesHealth, ...]:
        """How each series is, in the order asked.

        NO_DATA where the series is unknown or silent for no_data_after_s, or still in its grace: without a baseline
        there is no word that it is well.
        """
        return tuple(self._health(each, now_ms) for each in fingerprints)

    def retire(self, before_ms: int) -> int:
        """Forget series without a sample since `before_ms`, and answer how many; one with an open anomaly stays."""
        count = len(self)
        stays = (self._state.baseline.last_ms[:count] >= before_ms) | self._state.alarm.open[:count]
        if not stays.all():
            self._state.keep(np.flatnonzero(stays))
        return count - len(self)

    def _health(self, fingerprint: Fingerprint, now_ms: int) -> SeriesHealth:
        row = self._state.row(int(fingerprint, 16))
        last_ms = NEVER_MS if row is None else int(self._state.baseline.last_ms[row])
        if row is None or last_ms == NEVER_MS:
            return SeriesHealth(fingerprint=fingerprint, condition=Condition.NO_DATA, last_at_ms=None, last_score=0.0)
        if now_ms - last_ms > self._config.no_data_after_s * 1000:
            condition = Condition.NO_DATA
        elif self._state.alarm.open[row]:
            condition = Condition.ANOMALOUS
        elif self._state.baseline.seen[row] < self._config.grace_samples:
            condition = Condition.NO_DATA
        else:
            condition = Condition.NORMAL
        score = float(self._state.baseline.last_score[row])
        return SeriesHealth(fingerprint=fingerprint, condition=condition, last_at_ms=last_ms, last_score=score)

    def _pass(self, rows: Rows, at_ms: NDArray[np.int64], raw: NDArray[np.float64], changes: list[Anomaly]) -> int:
        """One sample each of different series: score, raise alarms, learn. Answers how many were late."""
        on_time = at_ms > self._state.baseline.last_ms[rows]
        late = len(rows) - int(np.count_nonzero(on_time))
        if late:
            rows, at_ms, raw = rows[on_time], at_ms[on_time], raw[on_time]
        config = self._config
        base = take(self._state.baseline, rows)
        value = np.clip(raw, -scoring.VALUE_CAP, scoring.VALUE_CAP)
        unit = scoring.scale(base.level, base.spread)
        scored = base.seen >= config.grace_samples
        score = np.where(scored, scoring.score(value, base.level, unit), 0.0)
        hot = scored & (score >= config.open_score * base.caution)

        learns = np.ones(len(rows), np.bool_)
        caution = 1.0 + (base.caution - 1.0) * CAUTION_FADES
        watched = np.flatnonzero(hot | (base.flagged > 0))
        if len(watched):
            band = config.open_score * unit[watched]
            now = Scored(
                at_ms=at_ms[watched],
                value=raw[watched],
                score=score[watched],
                low=base.level[watched] - band,
                high=base.level[watched] + band,
                up=value[watched] > base.level[watched],
                hot=hot[watched],
                scored=scored[watched],
            )
            alarm, flagged, verdict = advance(
                take(self._state.alarm, rows[watched]), base.flagged[watched], now, config
            )
            put(self._state.alarm, rows[watched], alarm)
            base.flagged[watched] = flagged
            base.seen[watched[verdict.relearn]] = 0
            learns[watched] = ~verdict.flagged | verdict.relearn | ~now.scored
            opened = watched[verdict.opened]
            caution[opened] = np.minimum(caution[opened] * CAUTION_STEP, CAUTION_CAP)
            self._report(rows[watched], alarm, verdict.opened | verdict.worsened, verdict.closed, now.at_ms, changes)

        level, spread = scoring.learn(value, base.seen, base.level, base.spread, unit)
        base.level = np.where(learns, level, base.level)
        base.spread = np.where(learns, spread, base.spread)
        base.seen += learns
        base.last_ms = at_ms
        base.last_score = score
        base.caution = caution
        put(self._state.baseline, rows, base)
        return late

    def _report(
        self,
        rows: Rows,
        alarm: Alarm,
        news: NDArray[np.bool_],
        closed: NDArray[np.bool_],
        at_ms: NDArray[np.int64],
        changes: list[Anomaly],
    ) -> None:
        ongoing = np.flatnonzero(news & ~closed)
        changes.extend(self._anomalies(rows[ongoing], take(alarm, ongoing), None))
        over = np.flatnonzero(closed)
        changes.extend(self._anomalies(rows[over], take(alarm, over), at_ms[over]))

    def _anomalies(self, rows: Rows, alarm: Alarm, ended_ms: NDArray[np.int64] | None) -> Iterator[Anomaly]:
        for position, row in enumerate(rows.tolist()):
            yield Anomaly(
                series=self._state.series[row],
                direction="up" if alarm.up[position] else "down",
                score=float(alarm.peak[position]),
                value=float(alarm.peak_value[position]),
                expected_low=float(alarm.peak_low[position]),
                expected_high=float(alarm.peak_high[position]),
                started_at_ms=int(alarm.started_ms[position]),
                last_at_ms=int(alarm.unusual_ms[position]),
                ended_at_ms=None if ended_ms is None else int(ended_ms[position]),
            )


def _ranks(rows: Rows) -> Iterator[NDArray[np.int64]]:
    """Positions of the first occurrence of every row, then of the second, and so on."""
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    if len(starts) == len(rows):
        if len(rows):
            yield np.arange(len(rows))
        return
    lengths = np.diff(starts, append=len(rows))
    rank = np.arange(len(rows)) - np.repeat(starts, lengths)
    by_rank = order[np.argsort(rank, kind="stable")]
    yield from np.split(by_rank, np.cumsum(np.bincount(rank))[:-1])


def _when(anomaly: Anomaly) -> tuple[int, str]:
    return anomaly.ended_at_ms or anomaly.last_at_ms, anomaly.series.fingerprint
