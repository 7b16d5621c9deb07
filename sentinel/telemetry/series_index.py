"""Series id -> row of a dense table, for whole columns of ids at once."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

# A sender repeats its series in the same order, and the search for them costs more than scoring them. Lookups that are
# remembered take 16 bytes an id: up to 64 MB for four million.
_REMEMBERED_IDS = 4_000_000

Longs = NDArray[np.int64]


class SeriesIndex:
    """Ids in the order of their rows, 0 to len - 1. Not safe for several threads."""

    def __init__(self, ids: Iterable[int] = ()) -> None:
        self._rows: dict[int, int] = {each: row for row, each in enumerate(ids)}
        self._remembered = 0  # ids in the lookups that are remembered
        self._sort()

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, series_id: int) -> bool:
        return series_id in self._rows

    def __iter__(self) -> Iterator[int]:
        return iter(self._rows)

    def row(self, series_id: int) -> int | None:
        """The row of one id, if it is known."""
        return self._rows.get(series_id)

    def extend(self, ids: Iterable[int]) -> None:
        """Give the next rows to these ids, none of which is known yet."""
        before = len(self._rows)
        for each in ids:
            self._rows[each] = len(self._rows)
        if len(self._rows) > before:
            self._sort()

    def rows(self, series_ids: NDArray[np.uint64]) -> Longs:
        """The row of each id, int64[n]; -1 for one that is not known."""
        if not self._rows:
            return np.full(len(series_ids), -1, np.int64)
        asked = series_ids.tobytes()
        found = self._looked_up.get(asked)
        if found is None:
            at = np.minimum(np.searchsorted(self._sorted_ids, series_ids), len(self._rows) - 1)
            found = np.where(self._sorted_ids[at] == series_ids, self._sorted_rows[at], -1)
            self._remembered += len(found)
            if self._remembered > _REMEMBERED_IDS:
                self._looked_up.clear()
                self._remembered = len(found)
            self._looked_up[asked] = found
        return found

    def _sort(self) -> None:
        self._looked_up: dict[bytes, Longs] = {}
        self._remembered = 0
        ids = np.fromiter(self._rows, np.uint64, len(self._rows))
        self._sorted_rows = np.argsort(ids)
        self._sorted_ids = ids[self._sorted_rows]
