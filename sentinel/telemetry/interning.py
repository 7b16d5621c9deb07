"""From what a decoder read to batches by partition, so that labels are looked at once a series, not once a sample."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sentinel.telemetry.batch import SampleBatch
from sentinel.telemetry.decoded import Decoded, SeriesKey
from sentinel.telemetry.series import Series, identify, partition_of


@dataclass(frozen=True, slots=True)
class Split:
    """One batch a partition, in the order the samples came; `over_limit` samples were of series past the limit."""

    batches: Mapping[int, SampleBatch]
    over_limit: int


@dataclass(slots=True)
class _Entry:
    series: Series
    partition: int
    last_ms: int
    described: bool = False


class Interner:
    """Maps series keys to series and partitions, and remembers which ones each receiver has been told of.

    Soft state, owned by one sender. A receiver that lost its series, or a batch that did not arrive, is mended by
    `forget` (all are described again with the next samples) or `describe` (just these, now).
    """

    def __init__(self, service_labels: Sequence[str], partitions: int, max_series: int) -> None:
        self._service_labels = tuple(service_labels)
        self._partitions = partitions
        self._max_series = max_series
        self._entries: dict[SeriesKey, _Entry] = {}
        self._by_id: dict[int, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def split(self, decoded: Decoded) -> Split:
        """One batch for each partition that has samples; `new_series` holds what was not described there before.

        A series over the limit is refused with its samples; those already known go on unharmed.
        """
        if not len(decoded):
            return Split({}, 0)
        latest = np.full(len(decoded.keys), np.iinfo(np.int64).min)
        np.maximum.at(latest, decoded.index, decoded.timestamps_ms)
        ids = np.zeros(len(decoded.keys), np.uint64)
        partitions = np.full(len(decoded.keys), -1, np.int64)
        undescribed: dict[int, dict[int, Series]] = {}
        for position in np.unique(decoded.index):
            entry = self._entry(decoded.keys[position])
            if entry is None:
                continue
            series_id = entry.series.id
            ids[position], partitions[position] = series_id, entry.partition
            entry.last_ms = max(entry.last_ms, int(latest[position]))
            if not entry.described:
                entry.described = True
                undescribed.setdefault(entry.partition, {})[series_id] = entry.series
        where = partitions[decoded.index]
        order = np.argsort(where, kind="stable")
        present, starts = np.unique(where[order], return_index=True)
        batches: dict[int, SampleBatch] = {}
        over_limit = 0
        for partition, rows in zip(present.tolist(), np.split(order, starts[1:]), strict=True):
            if partition < 0:
                over_limit = len(rows)
                continue
            batches[partition] = SampleBatch(
                series_ids=ids[decoded.index[rows]],
                timestamps_ms=decoded.timestamps_ms[rows],
                values=decoded.values[rows],
                new_series=undescribed.get(partition, {}),
            )
        return Split(batches, over_limit)

    def forget(self, partition: int) -> None:
        """Take it that the receiver of `partition` knows no series: describe each again with its next samples."""
        for entry in self._entries.values():
            if entry.partition == partition:
                entry.described = False

    def describe(self, series_ids: Iterable[int]) -> dict[int, Series]:
        """The series of those ids that are known here, for a receiver that asked."""
        return {each: self._by_id[each].series for each in series_ids if each in self._by_id}

    def retire(self, before_ms: int) -> int:
        """Drop series without a sample since `before_ms`, and answer how many: pods come and go, the limit stays."""
        silent = [key for key, entry in self._entries.items() if entry.last_ms < before_ms]
        for key in silent:
            self._by_id.pop(self._entries.pop(key).series.id, None)
        return len(silent)

    def _entry(self, key: SeriesKey) -> _Entry | None:
        entry = self._entries.get(key)
        if entry is None and len(self._entries) < self._max_series:
            metric, labels = key
            series = identify(metric, dict(labels), self._service_labels)
            entry = _Entry(series, partition_of(series.service, self._partitions), np.iinfo(np.int64).min)
            self._entries[key] = self._by_id[series.id] = entry
        return entry
