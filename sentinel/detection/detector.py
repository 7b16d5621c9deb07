"""The detector of one actor: samples in, anomalies out. No clock, no Ray, no I/O."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from sentinel.detection import baseline as tier
from sentinel.detection import checkpoint as checkpoints
from sentinel.detection import engine, explain, judge, kernel, silence, telling
from sentinel.detection.alarm import Book
from sentinel.detection.anomaly import Anomaly, Condition, SeriesHealth
from sentinel.detection.columns import NEVER_MS, Alarm, Rows, take
from sentinel.detection.config import DetectorConfig
from sentinel.detection.explanation import Band, Explanation
from sentinel.detection.parts import Part
from sentinel.detection.state import State
from sentinel.detection.weighing import OPEN_SCORE, SCORE_CAP
from sentinel.ids import Fingerprint
from sentinel.telemetry.batch import SampleBatch
from sentinel.telemetry.series import Series


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
        self._state = State(config)

    @classmethod
    def restore(cls, checkpoint: bytes, config: DetectorConfig) -> "Detector":
        """A detector that goes on as if it had never stopped. Raises Invalid if `checkpoint` is damaged.

        Only `configure` begins to look for patterns in more series: first come those of every part that is adopted.
        """
        detector = cls(config)
        detector._state = checkpoints.load(checkpoint, config)
        return detector

    def checkpoint(self) -> bytes:
        """All that `restore` needs."""
        return checkpoints.dump(self._state)

    def configure(self, config: DetectorConfig) -> tuple[Anomaly, ...]:
        """Judge by `config` from the next sample on. Nothing that was learned is lost.

        Answers the end of anomalies that no sample can end any more, since what raised them is watched no longer.
        """
        self._config = config
        state = self._state
        state.configure(config)
        state.choose_patterns(config)
        places = state.book.opened()
        place = state.policies.place[state.book.alarm.row[places]]
        mute = np.isinf(state.policies.silence_s[place]) & (state.book.alarm.part[places] == Part.NO_DATA)
        ended = [*self._ended(places[mute | ~state.policies.watched[place]])]
        if not config.service_score:
            ended += self._services_ended(state.service_book.opened())
        return tuple(sorted(ended, key=telling.when))

    def services(self) -> tuple[str, ...]:
        """Every service of which a series is known."""
        return tuple(self._state.rows_of)

    def heard_ms(self, service: str) -> int:
        """The time of the newest sample of a service; NEVER_MS before the first."""
        rows = self._state.rows_of.get(service)
        return int(self._state.baseline.last_ms[np.asarray(rows)].max()) if rows else NEVER_MS

    def part(self, services: Iterable[str]) -> "Detector":
        """A copy that knows these services alone, in no way touched by what becomes of this one."""
        copy = Detector(self._config)
        rows = [self._state.rows_of[service] for service in services if service in self._state.rows_of]
        if rows:
            copy._state.adopt(self._state, np.sort(np.concatenate(rows)), self._config)
        return copy

    def checkpoint_of(self, services: Iterable[str]) -> Callable[[], bytes]:
        """The checkpoint of these services as they are now, to be encoded in any thread when it is called.

        A service that is not known is left out.
        """
        known = self._state.rows_of
        rows = [np.asarray(known[service]) for service in services if service in known]
        copy = State(self._config)
        if rows:
            copy.copy(self._state, np.sort(np.concatenate(rows)), self._config)
        return lambda: checkpoints.dump(copy)

    def keep_services(self, wanted: Callable[[str], bool]) -> None:
        """Forget every service that is not wanted."""
        kept = [service for service in self._state.rows_of if wanted(service)]
        if len(kept) < len(self._state.rows_of):
            self._state = self.part(kept)._state

    def adopt(self, other: "Detector") -> None:
        """Go on with the series of another as if they had always been here; one that is known stays as it is here.

        All are taken, be there more than `max_series`; shapes up to `pattern_series`. Beyond the first 256 services
        what the metrics of one usually do together is learned no longer, and is dropped.
        """
        theirs = other._state
        new = [row for row, series in enumerate(theirs.series) if series.id not in self._state.index]
        if new:
            self._state.adopt(theirs, np.array(new, np.int64), self._config)

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
        state = self._state
        over = state.add(batch.new_series.values(), self._config) if batch.new_series else frozenset()
        rows, times = engine.formed(state.rows(batch.series_ids)), engine.formed(batch.timestamps_ms)
        values = engine.formed(batch.values)
        refused: dict[Refusal, int] = {}
        unknown: tuple[int, ...] = ()
        if not kernel.is_good(rows, values):
            good, refused, unknown = _sifted(batch, rows, over)
            rows, times, values = rows[good], times[good], values[good]
        accepted = len(rows)
        if not state.policies.all_watched:
            watched = state.policies.watched[state.policies.place[rows]]
            rows, times, values = rows[watched], times[watched], values[watched]
        told = judge.Told()
        engine.run(state, rows, times, values, self._config, told)
        if told.late:
            refused[Refusal.LATE] = told.late
        return Observation(
            accepted=accepted - told.late,
            refused=refused,
            unknown=unknown,
            changes=tuple(sorted(self._changes(told), key=telling.when)),
        )

    def silences(self, now_ms: int, listening_since_ms: int = NEVER_MS) -> tuple[Anomaly, ...]:
        """Series that have fallen silent for longer than their policy allows: an anomaly opens, once a silence.

        And those that speak again, whose anomaly ends. Silence before `listening_since_ms` is nobody's fault.
        """
        over = tuple(self._ended(silence.broken(self._state)))
        return (*over, *self._anomalies(silence.fallen(self._state, now_ms, listening_since_ms, self._config), None))

    def open_anomalies(self) -> tuple[Anomaly, ...]:
        """Every anomaly that is open now, in order of start."""
        state = self._state
        found = [
            *self._anomalies(take(state.book.alarm, state.book.opened()), None),
            *self._service_anomalies(take(state.service_book.alarm, state.service_book.opened()), None),
        ]
        return tuple(sorted(found, key=lambda anomaly: (anomaly.started_at_ms, anomaly.series.fingerprint)))

    def health(self, fingerprints: Iterable[Fingerprint], now_ms: int) -> tuple[SeriesHealth, ...]:
        """How each series is, in the order asked.

        NO_DATA where the series is unknown or silent for no_data_after_s, or still in its grace: without a baseline
        there is no word that it is well. The series of a whole service (SERVICE_METRIC) is asked for like any other.
        """
        return tuple(self._health(each, now_ms) for each in fingerprints)

    def anomaly(self, fingerprint: Fingerprint) -> Anomaly | None:
        """The anomaly of this series that is open now."""
        state, row = self._state, self._state.row(int(fingerprint, 16))
        if row is not None:
            return next(self._open_at(state.book, int(state.baseline.watch[row]), self._anomalies), None)
        service = self._service_of(fingerprint, state.services.slots)
        if service is None:
            return None
        return next(
            self._open_at(state.service_book, int(state.service_watch[service[1]]), self._service_anomalies), None
        )

    def explain(self, fingerprint: Fingerprint, of: Anomaly | None = None) -> Explanation | None:
        """Why the anomaly `of` is one, by default the one open now, or how the series is; None for an unknown series.

        True to the moment only when asked right after the `observe` that told of it: baselines move on.
        """
        state, of = self._state, of or self.anomaly(fingerprint)
        row = state.row(int(fingerprint, 16))
        if row is not None:
            return explain.of_series(state, row, self._config, of)[0]
        service = self._service_of(fingerprint, (of.series.service,) if of else state.services.slots)
        if service is None:
            return None
        return explain.of_service(state, telling.service_series(service[0]), service[1], self._config, of)

    def band(self, fingerprint: Fingerprint, of: Anomaly | None = None) -> tuple[Series, Band] | None:
        """The series and what is expected of it, as in `explain`; None for an unknown one or a whole service."""
        row = self._state.row(int(fingerprint, 16))
        if row is None:
            return None
        return self._state.series[row], explain.of_series(self._state, row, self._config, of)[1]

    def retire(self, before_ms: int) -> int:
        """Forget series without a sample since `before_ms`, and answer how many.

        One with an open anomaly stays, and so does a service with one.
        """
        count, state = len(self), self._state
        stays = state.baseline.last_ms[:count] >= before_ms
        stays[state.book.alarm.row[state.book.opened()]] = True
        alarmed = set(state.service_book.alarm.row[state.service_book.opened()].tolist())
        for service in [name for name, slot in state.services.slots.items() if slot in alarmed]:
            stays[np.asarray(state.rows_of[service])] = True
        if not stays.all():
            self._state = State(self._config)
            self._state.adopt(state, np.flatnonzero(stays), self._config)
        return count - len(self)

    def _health(self, fingerprint: Fingerprint, now_ms: int) -> SeriesHealth:
        state = self._state
        row = state.row(int(fingerprint, 16))
        if row is None:
            return self._service_health(fingerprint, now_ms)
        base = take(state.baseline, np.array([row]))
        last_ms = int(base.last_ms[0])
        if last_ms == NEVER_MS:
            return SeriesHealth(fingerprint=fingerprint, condition=Condition.NO_DATA, last_at_ms=None, last_score=0.0)
        place = int(base.watch[0])
        if now_ms - last_ms > self._config.no_data_after_s * 1000:
            condition = Condition.NO_DATA
        elif place >= 0 and state.book.alarm.open[place]:
            condition = Condition.ANOMALOUS
        elif base.seen[0] < self._config.grace_samples:
            condition = Condition.NO_DATA
        else:
            condition = Condition.NORMAL
        if base.seen[0] < self._config.grace_samples:
            return SeriesHealth(fingerprint=fingerprint, condition=condition, last_at_ms=last_ms, last_score=0.0)
        per_day = state.policies.alarms_per_day[state.policies.place[[row]]]
        spoken = judge.samples_a_day(base.seen, base.since_ms, base.last_ms)
        needed = tier.threshold(base.q99, base.excess, spoken, per_day)
        score = float(min(OPEN_SCORE * base.z[0] / needed[0], SCORE_CAP))
        return SeriesHealth(fingerprint=fingerprint, condition=condition, last_at_ms=last_ms, last_score=score)

    def _service_of(self, fingerprint: Fingerprint, among: Iterable[str]) -> tuple[str, int] | None:
        """The service that this series stands for, and its slot, once it has been judged."""
        services = self._state.services
        for service in among:
            slot = services.slots.get(service)
            if slot is None or not services.group.frames[slot]:
                continue
            if telling.service_series(service).fingerprint == fingerprint:
                return service, slot
        return None

    def _service_health(self, fingerprint: Fingerprint, now_ms: int) -> SeriesHealth:
        state, service = self._state, self._service_of(fingerprint, self._state.services.slots)
        if service is not None:
            slot = service[1]
            last_ms = int(state.services.group.frame_ms[slot])
            place = int(state.service_watch[slot])
            opened = place >= 0 and bool(state.service_book.alarm.open[place])
            silent = now_ms - last_ms > self._config.no_data_after_s * 1000
            condition = Condition.NO_DATA if silent else Condition.ANOMALOUS if opened else Condition.NORMAL
            score = float(state.services.group.score[slot])
            return SeriesHealth(fingerprint=fingerprint, condition=condition, last_at_ms=last_ms, last_score=score)
        return SeriesHealth(fingerprint=fingerprint, condition=Condition.NO_DATA, last_at_ms=None, last_score=0.0)

    def _ended(self, places: Rows) -> Iterator[Anomaly]:
        state = self._state
        alarm = take(state.book.alarm, places)
        state.book.drop(places)
        state.baseline.watch[alarm.row] = -1
        return self._anomalies(alarm, state.baseline.last_ms[alarm.row])

    def _services_ended(self, places: Rows) -> Iterator[Anomaly]:
        state = self._state
        alarm = take(state.service_book.alarm, places)
        state.service_book.drop(places)
        state.service_watch[alarm.row] = -1
        return self._service_anomalies(alarm, state.services.group.frame_ms[alarm.row])

    def _changes(self, told: judge.Told) -> Iterator[Anomaly]:
        for found, anomalies in ((told.series, self._anomalies), (told.services, self._service_anomalies)):
            for alarm, verdict, at_ms in found:
                ongoing, over = telling.news(verdict)
                yield from anomalies(take(alarm, ongoing), None)
                yield from anomalies(take(alarm, over), at_ms[over])

    def _open_at(self, book: Book, place: int, told: Callable[[Alarm, None], Iterator[Anomaly]]) -> Iterator[Anomaly]:
        if place >= 0 and book.alarm.open[place]:
            yield from told(take(book.alarm, np.array([place])), None)

    def _anomalies(self, alarm: Alarm, ended_ms: NDArray[np.int64] | None) -> Iterator[Anomaly]:
        return telling.told([self._state.series[row] for row in alarm.row.tolist()], alarm, ended_ms)

    def _service_anomalies(self, alarm: Alarm, ended_ms: NDArray[np.int64] | None) -> Iterator[Anomaly]:
        names = {slot: name for name, slot in self._state.services.slots.items()}
        return telling.told([telling.service_series(names[slot]) for slot in alarm.row.tolist()], alarm, ended_ms)


def _sifted(
    batch: SampleBatch, rows: Rows, over: frozenset[int]
) -> tuple[NDArray[np.bool_], dict[Refusal, int], tuple[int, ...]]:
    """Which samples can be scored, why the others cannot, and the ids that need describing.

    over: ids that were described and are over the limit.
    """
    known, finite = rows >= 0, np.isfinite(batch.values)
    limited = ~known & np.isin(batch.series_ids, np.fromiter(over, np.uint64, len(over)))
    unknown = ~known & ~limited
    refused = {
        Refusal.UNKNOWN_SERIES: int(unknown.sum()),
        Refusal.SERIES_LIMIT: int(limited.sum()),
        Refusal.NOT_FINITE: int((known & ~finite).sum()),
    }
    ids = tuple(np.unique(batch.series_ids[unknown]).tolist())
    return known & finite, {reason: count for reason, count in refused.items() if count}, ids
