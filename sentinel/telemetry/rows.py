"""What the protobuf decoders share: the series they have met, and the columns of one body under construction."""

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sentinel.errors import TooLarge
from sentinel.telemetry.decoded import (
    EARLIEST_MS,
    LATEST_MS,
    TIMESTAMP_EXPECTED,
    Decoded,
    Fault,
    Rejections,
    SeriesKey,
)

# A label that was not met before takes some 200 bytes in memory, far more than on the wire.
MAX_NEW_LABELS = 150_000
_LABELS_A_SERIES, _ONE_OF_SEVERAL = 4, 3
STALE_BITS = 0x7FF0000000000002  # prometheus/prometheus model/value: the NaN that ends a series


class Known:
    """The series a decoder has met, numbered from 0, so that a sample carries a number and not a tuple of texts."""

    def __init__(self) -> None:
        self.keys: list[SeriesKey] = []
        self._numbers: dict[SeriesKey, int] = {}
        self._room = MAX_NEW_LABELS

    def __len__(self) -> int:
        return len(self.keys)

    def number(self, key: SeriesKey, one_of_several: bool = False) -> int:
        """The number of `key`, a new one if it was not met before; `one_of_several` that share most of their labels.

        Raises TooLarge for a body with over MAX_NEW_LABELS labels of series not met before, each series itself worth
        four, and one of several three together with its labels.
        """
        number = self._numbers.setdefault(key, len(self.keys))
        if number == len(self.keys):
            self.keys.append(key)
            self._room -= _ONE_OF_SEVERAL if one_of_several else _LABELS_A_SERIES + len(key[1])
            if self._room < 0:
                raise TooLarge("body: too many new series; send fewer series at a time")
        return number

    def begin(self) -> None:
        """A new body: its new series are counted from here."""
        self._room = MAX_NEW_LABELS

    def clear(self) -> None:
        """Forget all; numbers given before mean nothing now. Who holds the old list keeps it as it was."""
        self.keys = []
        self._numbers.clear()


class Rows:
    """Samples of one body as they are found, in any order; `decoded` puts them into the order of the body."""

    def __init__(self, latest_ms: int = LATEST_MS - 1) -> None:
        self.rejections = Rejections()
        self.skipped = 0
        self.stale = 0
        self._latest_ms = latest_ms
        self._few = (array("q"), array("q"), array("q"))
        self._few_values = array("d")
        self._many: list[tuple[NDArray[np.int64], ...]] = []
        self._many_values: list[NDArray[np.float64]] = []

    def add(self, number: int, place: int, at_ms: int, value: float) -> None:
        """One sample of series `number`, from item `place` of the body; |at_ms| below 2**63."""
        numbers, places, times = self._few
        numbers.append(number)
        places.append(place)
        times.append(at_ms)
        self._few_values.append(value)

    def add_several(self, several: "array[int]", place: int, at_ms: int, several_values: Sequence[float]) -> None:
        """One sample each of several series, numbers as array("q"), from one item of the body."""
        numbers, places, times = self._few
        numbers.extend(several)
        places.extend(array("q", (place,)) * len(several))
        times.extend(array("q", (at_ms,)) * len(several))
        self._few_values.extend(several_values)

    def extend(
        self,
        numbers: NDArray[np.int64],
        places: NDArray[np.int64],
        at_ms: NDArray[np.int64],
        values: NDArray[np.float64],
    ) -> None:
        """Many samples, as columns of equal length."""
        self._many.append((numbers, places, at_ms))
        self._many_values.append(values)

    def untimely(self, at_ms: int) -> Fault | None:
        """What is wrong with a time, if anything."""
        if EARLIEST_MS <= at_ms <= min(self._latest_ms, LATEST_MS - 1):
            return None
        ahead = self._latest_ms < at_ms < LATEST_MS
        return "timestamp", at_ms, f"not later than {self._latest_ms}" if ahead else TIMESTAMP_EXPECTED

    def decoded(self, known: Known) -> Decoded:
        """The columns, without what is stale, no finite number or at no sensible time, each counted once."""
        columns = [*self._many, tuple(np.frombuffer(column, np.int64) for column in self._few)]
        number, place, at_ms = (np.concatenate(parts) for parts in zip(*columns, strict=True))
        values = np.concatenate((*self._many_values, np.frombuffer(self._few_values, np.float64)))
        # Samples of one series must keep their order in the body, whichever way each was read.
        if len(columns) > 1 and len(self._few_values):
            order = np.argsort(place, kind="stable")
            number, place, at_ms, values = number[order], place[order], at_ms[order], values[order]
        real = np.isfinite(values)
        timed = (at_ms >= EARLIEST_MS) & (at_ms <= min(self._latest_ms, LATEST_MS - 1))
        good = real & timed
        stale = 0
        if not good.all():
            stale = self._refuse(place, at_ms, values, real, timed)
            number, at_ms, values = number[good], at_ms[good], values[good]
        return Decoded(
            known.keys,
            number,
            at_ms,
            values,
            rejected=self.rejections.first(),
            rejected_count=self.rejections.count,
            stale=self.stale + stale,
            skipped=self.skipped,
        )

    def _refuse(
        self,
        place: NDArray[np.int64],
        at_ms: NDArray[np.int64],
        values: NDArray[np.float64],
        real: NDArray[np.bool_],
        timed: NDArray[np.bool_],
    ) -> int:
        stale = values.view(np.uint64) == STALE_BITS
        # Of a sample with both faults the time is told, as where a point is read by itself.
        for position in np.flatnonzero(~timed & ~stale).tolist():
            fault = self.untimely(int(at_ms[position]))
            assert fault is not None
            self.rejections.add(int(place[position]), fault)
        for position in np.flatnonzero(timed & ~real & ~stale).tolist():
            self.rejections.add(int(place[position]), ("value", float(values[position]), "a finite number"))
        return int(stale.sum())
