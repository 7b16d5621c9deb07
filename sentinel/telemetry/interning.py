"""From what a decoder read to batches by partition, so that labels are looked at once a series, not once a sample."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sentinel.telemetry.batch import SampleBatch
from sentinel.telemetry.decoded import Decoded, SeriesKey
from sentinel.telemetry.series import Series, identify, partition_of

_ENTRY = np.dtype([("id", "<u8"), ("partition", "<i8"), ("last_ms", "<i8"), ("described", "?")])
_NEVER_MS = np.iinfo(np.int64).min
_FIRST_ROWS = 64


@dataclass(frozen=True, slots=True)
class Split:
    """One batch a partition, in the order the samples came; `over_limit` samples were of series past the limit."""

    batches: Mapping[int, SampleBatch]
    over_limit: int


class Interner:
    """Maps series keys to series and partitions, and remembers which ones each receiver has been told of.

    Soft state, owned by one sender. A receiver that lost its series, or a batch that did not arrive, is mended by
    `forget` (all are described again with the next samples) or `describe` (just these, now).
    """

    def __init__(self, service_labels: Sequence[str], partitions: int, max_series: int) -> None:
        self._service_labels = tuple(service_labels)
        self._partitions = partitions
        self._max_series = max_series
        self._series: list[Series] = []
        self._table = np.zeros(_FIRST_ROWS, _ENTRY)
        self._rows: dict[SeriesKey, int] = {}
        self._by_id: dict[int, int] = {}
        # Most decoders hand over the same key object each time: finding it by identity spares hashing all its texts.
        # The object last seen of each row is kept alive in `_keys`, so that its identity cannot pass to another.
        self._keys: list[SeriesKey] = []
        self._same: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._series)

    @property
    def nearly_full(self) -> bool:
        """Whether new series will soon be refused."""
        return len(self) >= 0.9 * self._max_series

    def split(self, decoded: Decoded) -> Split:
        """One batch for each partition that has samples; `new_series` holds what was not described there before.

        A series over the limit is refused with its samples; those already known go on unharmed.
        """
        if not len(decoded):
            return Split({}, 0)
        rows = self._rows_of(decoded)
        of_sample = rows[decoded.index]
        taken = of_sample >= 0
        known = np.unique(of_sample[taken])
        np.maximum.at(self._table["last_ms"], of_sample[taken], decoded.timestamps_ms[taken])
        undescribed: dict[int, dict[int, Series]] = {}
        for row in known[~self._table["described"][known]].tolist():
            series = self._series[row]
            undescribed.setdefault(int(self._table["partition"][row]), {})[series.id] = series
        self._table["described"][known] = True
        where = np.where(taken, self._table["partition"][of_sample], -1)
        order = np.argsort(where, kind="stable")
        present, starts = np.unique(where[order], return_index=True)
        batches: dict[int, SampleBatch] = {}
        over_limit = 0
        for partition, at in zip(present.tolist(), np.split(order, starts[1:]), strict=True):
            if partition < 0:
                over_limit = len(at)
                continue
            batches[partition] = SampleBatch(
                series_ids=self._table["id"][of_sample[at]],
                timestamps_ms=decoded.timestamps_ms[at],
                values=decoded.values[at],
                new_series=undescribed.get(partition, {}),
            )
        return Split(batches, over_limit)

    def forget(self, partition: int) -> None:
        """Take it that the receiver of `partition` knows no series: describe each again with its next samples."""
        self._table["described"] &= self._table["partition"] != partition

    def describe(self, series_ids: Iterable[int]) -> dict[int, Series]:
        """The series of those ids that are known here, for a receiver that asked."""
        return {each: self._series[self._by_id[each]] for each in series_ids if each in self._by_id}

    def retire(self, before_ms: int) -> int:
        """Drop series without a sample since `before_ms`, and answer how many: pods come and go, the limit stays."""
        count = len(self)
        stays = np.flatnonzero(self._table["last_ms"][:count] >= before_ms)
        if len(stays) < count:
            self._series = [self._series[row] for row in stays.tolist()]
            self._table = self._table[stays]
            self._keys = [self._keys[row] for row in stays.tolist()]
            self._rows = {key: row for row, key in enumerate(self._keys)}
            self._same = {id(key): row for row, key in enumerate(self._keys)}
            self._by_id = {series.id: row for row, series in enumerate(self._series)}
        return count - len(self)

    def _rows_of(self, decoded: Decoded) -> NDArray[np.int64]:
        """The row of each key, int64[k]; -1 for one over the limit, and for one without samples that is not known."""
        same = self._same
        rows = np.array([same.get(id(key), -1) for key in decoded.keys], np.int64)
        strange = np.flatnonzero(rows < 0)
        if len(strange):
            sampled = np.bincount(decoded.index, minlength=len(rows)) > 0
            for position in strange[sampled[strange]].tolist():
                rows[position] = self._row(decoded.keys[position])
        return rows

    def _row(self, key: SeriesKey) -> int:
        row = self._rows.get(key)
        if row is None:
            return -1 if len(self) >= self._max_series else self._add(key)
        del self._same[id(self._keys[row])]
        self._keys[row] = key
        self._same[id(key)] = row
        return row

    def _add(self, key: SeriesKey) -> int:
        metric, labels = key
        series = identify(metric, dict(labels), self._service_labels)
        row = len(self._series)
        if row == len(self._table):
            self._table = np.concatenate((self._table, np.zeros(max(row, _FIRST_ROWS), _ENTRY)))
        self._table[row] = (series.id, partition_of(series.service, self._partitions), _NEVER_MS, False)
        self._series.append(series)
        self._keys.append(key)
        self._rows[key] = self._same[id(key)] = self._by_id[series.id] = row
        return row
