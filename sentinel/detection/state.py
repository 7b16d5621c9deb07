"""All series of one detector: who they are, their dense rows, and the checkpoint of both."""

from collections.abc import Iterable

import msgspec
import numpy as np
from numpy.typing import NDArray

from sentinel.detection.columns import Alarm, Baseline, Rows, dump, fresh, grown, load, take
from sentinel.errors import Invalid
from sentinel.ids import Fingerprint
from sentinel.telemetry.series import Series
from sentinel.telemetry.series_index import SeriesIndex

CHECKPOINT_VERSION = 1  # raise it whenever a column is added or means something else
_MAGIC = b"SDET"
_FIRST_ROWS = 64


class _Checkpoint(msgspec.Struct):
    version: int
    series: list[tuple[str, str, str, dict[str, str]]]
    baseline: dict[str, bytes]
    alarm: dict[str, bytes]


class State:
    """Rows 0 to len(self) - 1 are series in the order they were first described; the arrays have spare room behind."""

    def __init__(self) -> None:
        self.series: list[Series] = []
        self.baseline = fresh(Baseline, _FIRST_ROWS)
        self.alarm = fresh(Alarm, _FIRST_ROWS)
        self._index = SeriesIndex()

    def __len__(self) -> int:
        return len(self.series)

    def row(self, series_id: int) -> int | None:
        """The row of one series, if it is known."""
        return self._index.row(series_id)

    def rows(self, series_ids: NDArray[np.uint64]) -> Rows:
        """The row of each id, int64[n]; -1 for one that was never described."""
        return self._index.rows(series_ids)

    def add(self, described: Iterable[Series], limit: int) -> frozenset[int]:
        """Give a row to each series that has none, up to `limit` in all, and answer the ids left out."""
        refused: set[int] = set()
        new: dict[int, Series] = {}
        for series in described:
            if series.id in self._index or series.id in new:
                continue
            if len(self) + len(new) >= limit:
                refused.add(series.id)
                continue
            new[series.id] = series
        if new:
            self.series.extend(new.values())
            self._make_room()
            self._index.extend(new)
        return frozenset(refused)

    def keep(self, rows: Rows) -> None:
        """Drop every series but these, in this order."""
        self.series = [self.series[row] for row in rows.tolist()]
        self.baseline = take(self.baseline, rows)
        self.alarm = take(self.alarm, rows)
        self._index = SeriesIndex(series.id for series in self.series)

    def checkpoint(self) -> bytes:
        """The whole state as bytes; `restored` gives it back to the last bit."""
        return _MAGIC + msgspec.msgpack.encode(
            _Checkpoint(
                version=CHECKPOINT_VERSION,
                series=[(s.fingerprint, s.metric, s.service, dict(s.labels)) for s in self.series],
                baseline=dump(self.baseline, len(self)),
                alarm=dump(self.alarm, len(self)),
            )
        )

    def _make_room(self) -> None:
        capacity = max(len(self.baseline.seen), _FIRST_ROWS)
        while capacity < len(self):
            capacity *= 2
        if capacity > len(self.baseline.seen):
            self.baseline = grown(self.baseline, capacity)
            self.alarm = grown(self.alarm, capacity)


def restored(checkpoint: bytes) -> State:
    """The state that `State.checkpoint` wrote. Raises Invalid if it is damaged or of another version."""
    if checkpoint[: len(_MAGIC)] != _MAGIC:
        raise Invalid("checkpoint", checkpoint[:4], "a detector checkpoint")
    try:
        version = _version(checkpoint)
        read = msgspec.msgpack.decode(checkpoint[len(_MAGIC) :], type=_Checkpoint)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid("checkpoint", f"{len(checkpoint)} bytes", f"a whole checkpoint ({error})") from None
    if version != CHECKPOINT_VERSION:
        raise Invalid("checkpoint.version", version, str(CHECKPOINT_VERSION))
    series = [Series(_fingerprint(text), metric, service, labels) for text, metric, service, labels in read.series]
    index = SeriesIndex(each.id for each in series)
    if len(index) != len(series):
        raise Invalid("checkpoint.series", len(series), f"{len(index)} different series")
    state = State()
    state.series = series
    state.baseline = load(Baseline, read.baseline, len(series))
    state.alarm = load(Alarm, read.alarm, len(series))
    state._index = index
    return state


def _version(checkpoint: bytes) -> int:
    class OnlyVersion(msgspec.Struct):
        version: int

    return msgspec.msgpack.decode(checkpoint[len(_MAGIC) :], type=OnlyVersion).version


def _fingerprint(text: str) -> Fingerprint:
    if len(text) != 16 or any(digit not in "0123456789abcdef" for digit in text):
        raise Invalid("checkpoint.series", text, "16 hex digits")
    return Fingerprint(text)
