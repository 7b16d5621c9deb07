"""The samples that went by lately, and the curves of anomalies, so that people can be shown what the detector saw.

A batch costs one append. It is read again only when curves are due: when somebody asks, or before what anomalies need
is dropped, at most once each quarter of `max_bytes`, for all anomalies together.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sentinel.detection.anomaly import Anomaly
from sentinel.detection.explanation import Band, Explanation
from sentinel.ids import Fingerprint
from sentinel.telemetry.batch import SampleBatch
from sentinel.telemetry.series import Series

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]

MOST_ANOMALIES = 256
MOST_POINTS = 1000  # of one curve: a longer one loses every second, and keeps what stands out
MOST_CURVES = 3  # of one anomaly: of a whole service, the metrics that moved most
BEFORE = 300  # samples before an anomaly's start that its curve begins with
_BYTES_A_SAMPLE = 24
_BYTES_A_BATCH = 600  # what three small arrays take beside their numbers
_TABLE_BITS = 16
_CHUNK = 4096  # samples
_MOST_PIECES = 32


@dataclass(frozen=True, slots=True)
class Curve:
    """One series around an anomaly: at_ms int64[n], increasing; values, low and high float64[n], its expected band."""

    series: Series
    at_ms: Longs
    values: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, slots=True)
class Explained:
    """An anomaly as it is now, why it opened, and its curves; none where its samples had gone by."""

    anomaly: Anomaly
    explanation: Explanation
    curves: tuple[Curve, ...]


@dataclass(slots=True)
class _Line:
    series: Series
    band: Band
    at_ms: Longs = field(default_factory=lambda: np.empty(0, np.int64))
    values: Floats = field(default_factory=lambda: np.empty(0, np.float64))
    found: list[tuple[Longs, Floats]] = field(default_factory=list)  # newer, as they came; settled when there are many
    waiting: int = 0

    def add(self, at_ms: Longs, values: Floats, anomaly: Anomaly) -> None:
        """Take samples on in the order in which they came."""
        self.found.append((at_ms.copy(), values.copy()))  # a view would keep those of all other lines
        self.waiting += len(at_ms)
        if self.waiting > MOST_POINTS or len(self.found) > _MOST_PIECES:
            self.settle(anomaly)

    def settle(self, anomaly: Anomaly) -> None:
        """Bring what was found into the curve: in order, of the anomaly, and not too much."""
        if self.found:
            at_ms, values = (np.concatenate(columns) for columns in zip(*self.found, strict=True))
            _append(self, at_ms, values, anomaly)
            self.found, self.waiting = [], 0


@dataclass(slots=True)
class _Followed:
    """`begun`: whether its curves have what was before it; `done`: whether they are whole."""

    anomaly: Anomaly
    explanation: Explanation
    lines: list[_Line]
    begun: bool = False
    done: bool = False


class Curves:
    """Samples in at most `max_bytes`, 0 for none, and MOST_ANOMALIES anomalies with curves, the newest.

    The anomalies take at most 32 MB more, and 20 KB each as a rule. Soft state, lost with its actor. Not safe for
    several threads.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._batches: deque[SampleBatch] = deque()
        self._bytes = 0
        self._fresh = 0  # batches since the last look
        self._fresh_bytes = 0
        self._followed: OrderedDict[tuple[Fingerprint, int], _Followed] = OrderedDict()

    @property
    def held_bytes(self) -> int:
        """What the samples take, at most `max_bytes`."""
        return self._bytes

    def __len__(self) -> int:
        """How many anomalies have curves."""
        return len(self._followed)

    def keep(self, batch: SampleBatch) -> None:
        """Keep the samples of a batch as it was scored, until newer ones need the room."""
        if not self._max_bytes or not len(batch):
            return
        kept = SampleBatch(batch.series_ids, batch.timestamps_ms, batch.values)
        if batch.new_series:  # views would keep the descriptions alive that the batch was packed with
            kept = SampleBatch(kept.series_ids.copy(), kept.timestamps_ms.copy(), kept.values.copy())
        self._batches.append(kept)
        self._fresh += 1
        self._bytes += _size(kept)
        self._fresh_bytes += _size(kept)
        if self._fresh_bytes > self._max_bytes // 4:
            self._look()
        while self._bytes > self._max_bytes:
            self._bytes -= _size(self._batches.popleft())
        self._fresh = min(self._fresh, len(self._batches))

    def told(self, anomaly: Anomaly) -> bool:
        """Take on how an anomaly went on; false for one that is not followed."""
        followed = self._followed.get(_key(anomaly))
        if followed is None:
            return False
        followed.anomaly = anomaly
        followed.explanation = followed.explanation.worse(anomaly)
        return True

    def follow(self, anomaly: Anomaly, explanation: Explanation, series: Iterable[tuple[Series, Band]]) -> None:
        """Keep why `anomaly` opened and the curves of up to MOST_CURVES series, each beside its band."""
        lines = [_Line(each, band) for each, band in series][:MOST_CURVES]
        self._followed[_key(anomaly)] = _Followed(anomaly, explanation, lines)
        while len(self._followed) > MOST_ANOMALIES:
            self._followed.popitem(last=False)

    def find(self, fingerprint: Fingerprint, from_ms: int, to_ms: int) -> Explained | None:
        """The newest anomaly of this series that began in the span, as far as it is followed."""
        for (known, started_ms), each in reversed(self._followed.items()):
            if known == fingerprint and from_ms <= started_ms <= to_ms:
                self._look()
                for line in each.lines:
                    line.settle(each.anomaly)
                curves = tuple(
                    Curve(line.series, line.at_ms, line.values, *line.band.at(line.at_ms))
                    for line in each.lines
                    if len(line.at_ms)
                )
                return Explained(each.anomaly, each.explanation, curves)
        return None

    def _look(self) -> None:
        """Give every curve that is not whole the samples that it lacks."""
        begun = [each for each in self._followed.values() if each.begun and not each.done]
        new = [each for each in self._followed.values() if not each.begun]
        batches = list(self._batches)
        _extend(batches[len(batches) - self._fresh :], begun)
        _extend(batches, new)
        for each in (*begun, *new):
            each.begun, each.done = True, each.anomaly.ended_at_ms is not None
        self._fresh = self._fresh_bytes = 0


def thinned(at_ms: Longs, values: Floats, middle: Floats) -> tuple[Longs, Floats]:
    """One sample of every two, the one farther from the middle of its band, so that what stands out stays."""
    count = len(values) // 2 * 2
    pairs = np.abs(values[:count] - middle[:count]).reshape(-1, 2)
    chosen = np.arange(0, count, 2) + (pairs[:, 1] > pairs[:, 0])
    if count < len(values):
        chosen = np.append(chosen, count)
    return at_ms[chosen], values[chosen]


def _extend(batches: Sequence[SampleBatch], followed: Sequence[_Followed]) -> None:
    lines = [(each, line) for each in followed for line in each.lines]
    if not batches or not lines:
        return
    wanted = np.unique(np.array([line.series.id for _, line in lines], np.uint64))
    # Ids are hashes: their low bits in a table leave so few candidates that the exact look costs nothing.
    low_bits = (1 << _TABLE_BITS) - 1
    table = np.zeros(low_bits + 1, np.bool_)
    table[wanted.view(np.int64) & low_bits] = True
    parts = []
    for ids, times, values in _chunks(batches):
        at = np.flatnonzero(table[ids.view(np.int64) & low_bits])
        place = np.minimum(np.searchsorted(wanted, ids[at]), len(wanted) - 1)
        at = at[wanted[place] == ids[at]]
        if len(at):
            parts.append((ids[at], times[at], values[at]))
    if not parts:
        return
    ids, times, values = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(ids, kind="stable")
    ids, times, values = ids[order], times[order], values[order]
    starts, ends = np.searchsorted(ids, wanted, "left"), np.searchsorted(ids, wanted, "right")
    spans = {key: slice(*span) for key, *span in zip(wanted.tolist(), starts.tolist(), ends.tolist(), strict=True)}
    for each, line in lines:
        span = spans[line.series.id]
        if span.start < span.stop:
            line.add(times[span], values[span], each.anomaly)


def _chunks(batches: Sequence[SampleBatch]) -> Iterator[tuple[NDArray[np.uint64], Longs, Floats]]:
    """The columns of the batches, small ones joined: each is then worth its calls, and fits the processor's cache."""
    joined: list[SampleBatch] = []
    samples = 0
    for number, batch in enumerate(batches, start=1):
        joined.append(batch)
        samples += len(batch)
        if samples >= _CHUNK or number == len(batches):
            columns = [(each.series_ids, each.timestamps_ms, each.values) for each in joined]
            ids, times, values = zip(*columns, strict=True)
            yield (
                (ids[0], times[0], values[0])
                if len(joined) == 1
                else (
                    np.concatenate(ids),
                    np.concatenate(times),
                    np.concatenate(values),
                )
            )
            joined, samples = [], 0


def _append(line: _Line, at_ms: Longs, values: Floats, anomaly: Anomaly) -> None:
    if not len(at_ms):
        return
    newest = int(line.at_ms[-1]) if len(line.at_ms) else np.iinfo(np.int64).min
    top = np.maximum.accumulate(at_ms)
    # As the detector takes them: what is late, repeated or not finite was refused.
    taken = (at_ms > np.concatenate(([newest], np.maximum(top[:-1], newest)))) & np.isfinite(values)
    if anomaly.ended_at_ms is not None:
        taken &= at_ms <= anomaly.ended_at_ms
    at_ms, values = at_ms[taken], values[taken]
    if not len(line.at_ms):
        first = max(int(np.searchsorted(at_ms, anomaly.started_at_ms)) - BEFORE, 0)
        at_ms, values = at_ms[first:], values[first:]
    line.at_ms, line.values = np.concatenate((line.at_ms, at_ms)), np.concatenate((line.values, values))
    while len(line.at_ms) > MOST_POINTS:
        low, high = line.band.at(line.at_ms)
        line.at_ms, line.values = thinned(line.at_ms, line.values, low / 2 + high / 2)


def _key(anomaly: Anomaly) -> tuple[Fingerprint, int]:
    return anomaly.series.fingerprint, anomaly.started_at_ms


def _size(batch: SampleBatch) -> int:
    return _BYTES_A_BATCH + _BYTES_A_SAMPLE * len(batch)
