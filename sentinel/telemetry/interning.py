"""From what a decoder read to one batch a receiver: labels are looked at once a series, not once a sample."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sentinel.telemetry.admission import Allowance, Watching
from sentinel.telemetry.batch import SampleBatch
from sentinel.telemetry.decoded import Decoded, SeriesKey
from sentinel.telemetry.series import Series, identify, partition_of

Longs = NDArray[np.int64]
# Instead of a row, for a series that is not taken: past the limit, too many new ones just now, not watched at all.
_OVER_LIMIT, _OVER_RATE, _IGNORED = -1, -2, -3
_NEVER_MS = np.iinfo(np.int64).min
_FIRST_ROWS = 64
_MEMORIES = 5  # one more than there are decoders; a decoder that forgot its series brings a new list
WATCH_ALL = Watching()
_NONE: Longs = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Split:
    """One batch a receiver, in the order the samples came, and how many samples are in none.

    over_limit: of series past the limit. over_rate: of new series, while too many are new. ignored: not watched.
    """

    batches: Mapping[int, SampleBatch]
    over_limit: int = 0
    over_rate: int = 0
    ignored: int = 0


class Interner:
    """Maps series keys to series and receivers, and remembers which ones each receiver has been told of.

    Soft state, owned by one sender. A receiver that lost its series, or a batch that did not arrive, is mended by
    `forget` (all are described again with the next samples) or `describe` (just these, now). A receiver holds the
    partitions that leave its number when divided by `receivers`; without `receivers`, each partition is one.
    """

    def __init__(
        self,
        service_labels: Sequence[str],
        partitions: int,
        max_series: int,
        receivers: int | None = None,
        *,
        watching: Watching = WATCH_ALL,
        allowance: Allowance | None = None,
    ) -> None:
        self._service_labels = tuple(service_labels)
        self._partitions = partitions
        self._receivers = receivers or partitions
        self._max_series = max_series
        self._watching = watching
        self._allowance = allowance
        self._series: list[Series] = []
        self._keys: list[SeriesKey] = []
        self._rows: dict[SeriesKey, int] = {}
        self._by_id: dict[int, int] = {}
        # Columns by row: id, receiver, last sample, whether its receiver was told of it.
        self._ids = np.zeros(_FIRST_ROWS, np.uint64)
        self._receiver = np.zeros(_FIRST_ROWS, np.int64)
        self._last_ms = np.zeros(_FIRST_ROWS, np.int64)
        self._described = np.zeros(_FIRST_ROWS, np.bool_)
        # By the identity of a decoder's list of keys: the list, which is thereby kept alive, and the row of each.
        self._memories: dict[int, tuple[Sequence[SeriesKey], Longs]] = {}

    def __len__(self) -> int:
        return len(self._series)

    @property
    def nearly_full(self) -> bool:
        """Whether new series will soon be refused."""
        return len(self) >= 0.9 * self._max_series

    def split(self, decoded: Decoded, now_ms: int = 0) -> Split:
        """One batch for each receiver that has samples; `new_series` holds what was not described there before.

        A series over a limit is refused with its samples; those already known go on unharmed.
        """
        if not len(decoded):
            return Split({})
        rows = self._rows_of(decoded, now_ms)[decoded.index]
        at_ms, values = decoded.timestamps_ms, decoded.values
        over_limit = over_rate = ignored = 0
        taken = rows >= 0
        if not taken.all():
            over_limit, over_rate, ignored = (
                int(np.count_nonzero(rows == why)) for why in (_OVER_LIMIT, _OVER_RATE, _IGNORED)
            )
            rows, at_ms, values = rows[taken], at_ms[taken], values[taken]
        # Of several samples of one series the last written stays: near enough to tell which series are silent.
        self._last_ms[rows] = at_ms
        undescribed = self._undescribed(rows)
        receiver = self._receiver[rows]
        batches: dict[int, SampleBatch] = {}
        for each in np.unique(receiver).tolist() if self._receivers > 1 else [0] if len(rows) else []:
            at = np.flatnonzero(receiver == each) if self._receivers > 1 else slice(None)
            batches[each] = SampleBatch(self._ids[rows[at]], at_ms[at], values[at], undescribed.get(each, {}))
        return Split(batches, over_limit, over_rate, ignored)

    def forget(self, receiver: int) -> None:
        """Take it that this receiver knows no series: describe each again with its next samples."""
        self._described &= self._receiver != receiver

    def describe(self, series_ids: Iterable[int]) -> dict[int, Series]:
        """The series of those ids that are known here, for a receiver that asked."""
        return {each: self._series[self._by_id[each]] for each in series_ids if each in self._by_id}

    def retire(self, before_ms: int) -> int:
        """Drop series without a sample since `before_ms`, and answer how many: pods come and go, the limit stays."""
        count = len(self)
        stays = np.flatnonzero(self._last_ms[:count] >= before_ms)
        if len(stays) < count:
            self._series = [self._series[row] for row in stays.tolist()]
            self._keys = [self._keys[row] for row in stays.tolist()]
            self._rows = {key: row for row, key in enumerate(self._keys)}
            self._by_id = {series.id: row for row, series in enumerate(self._series)}
            self._ids, self._receiver = self._ids[stays], self._receiver[stays]
            self._last_ms, self._described = self._last_ms[stays], self._described[stays]
            self._memories.clear()
        return count - len(self)

    def _undescribed(self, rows: Longs) -> dict[int, dict[int, Series]]:
        """By receiver, the series of these rows that it was not told of; from now on it counts as told."""
        news = rows[~self._described[rows]]
        undescribed: dict[int, dict[int, Series]] = {}
        for row in dict.fromkeys(news.tolist()):
            series = self._series[row]
            undescribed.setdefault(int(self._receiver[row]), {})[series.id] = series
        self._described[news] = True
        return undescribed

    def _rows_of(self, decoded: Decoded, now_ms: int) -> Longs:
        """The row of each key, int64[k]; below 0 for one that is not taken, and for one without samples not known.

        A decoder that keeps its list of keys from body to body has most of them found before they are looked at.
        """
        keys = decoded.keys
        held, rows = self._memories.get(id(keys), (keys, _NONE))
        if len(rows) < len(keys):
            rows = np.concatenate((rows, np.full(len(keys) - len(rows), _OVER_LIMIT, np.int64)))
            if isinstance(held, list):
                if len(self._memories) >= _MEMORIES:
                    self._memories.clear()
                self._memories[id(keys)] = held, rows
        found = rows[decoded.index]
        # What is not watched never will be; what was refused may be taken now.
        sampled = decoded.index[(found < 0) & (found != _IGNORED)]
        for position in dict.fromkeys(sampled.tolist()):
            rows[position] = self._row(keys[position], now_ms)
        return rows

    def _row(self, key: SeriesKey, now_ms: int) -> int:
        row = self._rows.get(key)
        if row is not None:
            return row
        if not self._watching.watches(key):
            return _IGNORED
        if len(self) >= self._max_series:
            return _OVER_LIMIT
        if self._allowance is not None and not self._allowance.take(now_ms):
            return _OVER_RATE
        return self._add(key)

    def _add(self, key: SeriesKey) -> int:
        metric, labels = key
        series = identify(metric, dict(labels), self._service_labels)
        row = len(self._series)
        if row >= len(self._ids):
            more = max(row, _FIRST_ROWS)
            self._ids = np.concatenate((self._ids, np.zeros(more, np.uint64)))
            self._receiver = np.concatenate((self._receiver, np.zeros(more, np.int64)))
            self._last_ms = np.concatenate((self._last_ms, np.zeros(more, np.int64)))
            self._described = np.concatenate((self._described, np.zeros(more, np.bool_)))
        self._ids[row] = series.id
        self._receiver[row] = partition_of(series.service, self._partitions) % self._receivers
        self._last_ms[row], self._described[row] = _NEVER_MS, False
        self._series.append(series)
        self._keys.append(key)
        self._rows[key] = self._by_id[series.id] = row
        return row
