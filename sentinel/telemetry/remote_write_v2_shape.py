"""Where the parts of a remote-write 2.0 series lie, for all series of a body at once, without parsing each."""

import numpy as np
from numpy.typing import NDArray

from sentinel.telemetry.remote_write import SAMPLE, SAMPLE_HEAD, ZERO_HEAD, begins_with, read_samples

_LABELS_REFS, _METADATA, _CREATED = 0x0A, 0x2A, 0x30  # tags of TimeSeries
_TYPE, _HELP, _UNIT = 0x08, 0x18, 0x20  # tags of Metadata
_KNOWN_TYPES = 8

_Longs = NDArray[np.int64]
_Bools = NDArray[np.bool_]


class Shape:
    """The series of one body, n >= 1, as far as they are what a sender of fresh samples writes.

    That is: references to labels (field 1, packed), one Sample (field 2: value and time, or the time alone when the
    value is 0.0), perhaps Metadata (field 5) and a created time (field 6), in this order and nothing else. What a
    series of this shape holds is exactly what a full parse would find. plain bool[n]: has the shape; kind int64[n]:
    the number of its type, 0 if unknown; at_ms int64[n] and values float64[n]: its sample. What the columns hold of
    other series is meaningless.
    """

    def __init__(self, raws: list[bytes]) -> None:
        sizes = np.fromiter(map(len, raws), np.int64, len(raws))
        self._ends = np.cumsum(sizes)
        begins = self._ends - sizes
        # Zeros behind the last series: no read at a fixed distance leaves the array.
        self._bytes = data = np.frombuffer(b"".join(raws) + bytes(64), np.uint8)
        low, high = data[begins + 1].astype(np.int64), data[begins + 2].astype(np.int64)
        long = low >= 0x80
        self._from = begins + 2 + long
        sample = self._from + np.where(long, low & 0x7F | high << 7, low)
        plain = (data[begins] == _LABELS_REFS) & ~(long & (high >= 0x80)) & (sample + 9 <= self._ends)
        self._to = sample = np.where(plain, sample, 0)
        plain &= self._sample(sample)
        self._metadata(plain)

    def _sample(self, at: _Longs) -> _Bools:
        data = self._bytes
        block = data[at[:, None] + np.arange(SAMPLE.itemsize)]
        read = block.view(SAMPLE)[:, 0]
        zero = np.flatnonzero(begins_with(ZERO_HEAD, read))
        self._tail = at + SAMPLE.itemsize
        if len(zero):
            self._tail[zero] -= 9
            block[zero, 11:] = block[zero, 2:9]
            block[zero, :11] = np.frombuffer(SAMPLE_HEAD + bytes(8), np.uint8)
        fits, self.at_ms = read_samples(read)
        self.values = read["value"].astype(np.float64)
        return fits & (self._tail <= self._ends)

    def _metadata(self, plain: _Bools) -> None:
        data = self._bytes
        at = np.where(plain, self._tail, 0)
        told = plain & (at < self._ends) & (data[at] == _METADATA)
        inside = at + 2
        size = np.where(told, data[at + 1], 0)
        end = np.where(told, inside + size, at)
        self.kind = np.zeros(len(at), np.int64)
        has_type = told & (size >= 2) & (data[inside] == _TYPE)
        self.kind[has_type] = data[inside + 1][has_type]
        at = np.where(told, inside, at) + 2 * has_type
        at = self._behind(_UNIT, 3, self._behind(_HELP, 3, at, end), end)
        plain &= (size < 0x80) & (at == end) & (self.kind < _KNOWN_TYPES)
        self.plain = plain & (self._behind(_CREATED, 6, at, self._ends) == self._ends)

    def _behind(self, tag: int, longest: int, at: _Longs, end: _Longs) -> _Longs:
        """`at`, moved behind the field `tag` where a varint of up to `longest` bytes stands there before `end`."""
        data = self._bytes
        present = np.flatnonzero((at < end) & (data[at] == tag))
        if not len(present):
            return at
        start = at[present] + 1
        more = data[start] >= 0x80
        behind = start + 1
        for byte in range(1, longest):
            behind += more
            more &= data[start + byte] >= 0x80
        whole = ~more & (behind <= end[present])
        moved = at.copy()
        moved[present[whole]] = behind[whole]
        return moved

    def refs(self, symbols: int) -> tuple[_Longs, _Longs]:
        """The references of all plain series one after the other, and how many each series has, int64[n].

        A series with one that needs over three bytes or is beyond `symbols`, or whose varints do not end where the
        field ends, is plain no more.
        """
        lengths = np.where(self.plain, self._to - self._from, 0)
        to = np.cumsum(lengths)
        packed = self._bytes[np.arange(to[-1]) + np.repeat(self._from - (to - lengths), lengths)]
        closes = packed < 0x80
        last = np.flatnonzero(closes)
        width = np.diff(last, prepend=-1)
        value = packed[last].astype(np.int64)
        for extra in (1, 2):
            wide = np.flatnonzero(width > extra)
            value[wide] = value[wide] << 7 | (packed[last[wide] - extra] & 0x7F)
        counts = np.diff(np.searchsorted(last, to), prepend=0)
        filled = np.flatnonzero(lengths)
        unclosed = ~closes[to[filled] - 1]
        odd = (width > 3) | (value >= symbols)
        if not (odd.any() or unclosed.any()):
            return value, counts
        owner = np.searchsorted(to, last, side="right")
        bad = np.zeros(len(lengths), np.bool_)
        bad[owner[odd]] = True
        # An unclosed varint runs into the next series, whose first reference is then wrong as well.
        bad[filled[unclosed]] = True
        bad[filled[1:][unclosed[:-1]]] = True
        self.plain = self.plain & ~bad
        kept = ~bad[owner]
        return value[kept], np.where(bad, 0, counts)
