"""Bodies that say again what bodies before them said, but for the samples: read by comparing, not by parsing.

A sender of remote-write sends its series in the same order from scrape to scrape, cut into bodies anywhere. A body
that was read once is kept with a mask over its samples; the next is compared with it, bytes with bytes, from the series
on that it begins with. What is equal outside the mask is the same series at the same places, proven by its bytes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FULL, ZERO = 18, 9  # bytes of a Sample message with its tag: value and time; the time alone, for 0.0 is left out
_FIRST_STEP, _LAST_STEP = 64, 256  # series compared at once: more and more, but never more than the cache holds
_WORTH_KEEPING = 32
_BREAKS, _SERIES_A_BREAK = 8, 48  # a break costs as much as reading that many series one by one
_SPARE_BYTES, _BYTES_A_SERIES = 4 * 1024 * 1024, 1024
_TAG = 0x0A
_PIECE = 1024 * 1024
_FULL, _ZERO = np.dtype(f"V{FULL}"), np.dtype(f"V{ZERO}")

Longs = NDArray[np.int64]
Bytes = NDArray[np.uint8]
Lookup = Callable[[bytes], tuple[int, bytes] | None]  # a series as bytes -> its number and its sample in FULL bytes


@dataclass(frozen=True, slots=True)
class Followed:
    """The first series of a body as far as it repeats others: n of them, up to byte `end`.

    numbers: int64[n]. begins: int64[n], where the field of each begins. tails: 18 bytes each, its Sample message as
    it stands, or with 0.0 put in where the value was left out; whether it is one is for the caller to see.
    """

    numbers: Longs
    begins: Longs
    tails: bytes
    end: int


class _Template:
    """One body that was read: `told` is true where its bytes name a series, and false where a sample stands."""

    def __init__(self, body: Bytes, begins: Longs, numbers: Longs, full: NDArray[np.bool_], in_use: int) -> None:
        self.body = body
        self.begins = begins  # int64[n + 1], the end last
        self.numbers = numbers
        self.full = full
        self.in_use = in_use  # series that lead here
        ends = begins[1:]
        self.told = np.ones(len(body), np.bool_)
        strided(self.told, _FULL)[ends[full] - FULL] = np.void(bytes(FULL))
        strided(self.told, _ZERO)[ends[~full] - ZERO] = np.void(bytes(ZERO))

    def equal_until(self, data: Bytes, at: int, first: int) -> int:
        """The first series from `first` on that differs from what stands at `at` in `data`, or does not fit into it."""
        begins, shift = self.begins, at - int(self.begins[first])
        room = int(np.searchsorted(begins, len(data) - shift, "right")) - 1
        step = _FIRST_STEP
        while first < room:
            until = min(first + step, room)
            begin, end = int(begins[first]), int(begins[until])
            other = data[begin + shift : end + shift] != self.body[begin:end]
            other &= self.told[begin:end]
            if other.any():
                return int(np.searchsorted(begins, begin + int(other.argmax()), "right")) - 1
            first, step = until, min(4 * step, _LAST_STEP)
        return first

    def tails(self, data: Bytes, shift: int, first: int, until: int) -> bytes:
        """The samples of these series, which stand `shift` bytes further on in `data`."""
        ends, full = self.begins[first + 1 : until + 1] + shift, self.full[first:until]
        if full.all():
            return bytes(strided(data, _FULL)[ends - FULL].tobytes())
        tails = np.zeros((until - first, FULL), np.uint8)
        tails[full] = strided(data, _FULL)[ends[full] - FULL].view(np.uint8).reshape(-1, FULL)
        bare = strided(data, _ZERO)[ends[~full] - ZERO].view(np.uint8).reshape(-1, ZERO)
        tails[~full] = with_zero(bare)
        return tails.tobytes()


class Repeats:
    """What is kept of bodies, for a decoder that numbers its series from 0. Not safe for several threads.

    Memory is bounded by that of the labels themselves: about twice 1 KiB a series, or all of it is forgotten.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all, as when numbers are given anew."""
        self._kept: dict[int, _Template] = {}
        self._learned = 0
        self._bytes = 0
        # By number: which template tells of the series, and where in it.
        self._template = np.zeros(0, np.int64)
        self._place = np.zeros(0, np.int64)

    def follow(self, body: bytes, lookup: Lookup) -> Followed:
        """Read `body` from its beginning for as long as it pays."""
        numbers, begins, tails = [], [], []
        at, read, breaks = 0, 0, 0
        data = np.frombuffer(body, np.uint8)
        while at < len(body) and self._kept and breaks <= _BREAKS + read // _SERIES_A_BREAK:
            start, end = field_at(body, at)
            found = lookup(body[start:end]) if start and end <= len(body) else None
            if found is None or found[0] >= len(self._template) or self._template[found[0]] < 0:
                break
            number, tail = found
            template = self._kept[int(self._template[number])]
            first = int(self._place[number]) + 1
            until = template.equal_until(data, end, first)
            numbers += [np.array([number]), template.numbers[first:until]]
            shift = end - int(template.begins[first])
            begins += [np.array([at]), template.begins[first:until] + shift]
            tails += [tail, template.tails(data, shift, first, until)]
            at = int(template.begins[until]) + shift
            read, breaks = read + 1 + until - first, breaks + 1
        none = np.zeros(0, np.int64)
        return Followed(np.concatenate((none, *numbers)), np.concatenate((none, *begins)), b"".join(tails), at)

    def learn(self, body: bytes, sizes: Longs, numbers: Longs, full: NDArray[np.bool_]) -> None:
        """Keep a body whose fields are series of these sizes, n of them, each its labels and one sample.

        full: bool[n], whether the sample is of FULL bytes, else of ZERO. Nothing is kept of a body with other fields.
        """
        if len(sizes) < _WORTH_KEEPING:
            return
        data = np.frombuffer(body, np.uint8)
        wide = sizes >= 1 << 7
        begins = np.concatenate(([0], np.cumsum(sizes + 2 + wide)))
        if begins[-1] != len(body) or int(sizes.max()) >= 1 << 14:
            return
        heads = begins[:-1]
        length = np.where(wide, data[heads + 1] & 0x7F | data[heads + 2].astype(np.int64) << 7, data[heads + 1])
        # By induction: the first field begins at 0, and each that is a series of its size ends where the next begins.
        if not ((data[heads] == _TAG) & ((data[heads + 1] >= 1 << 7) == wide) & (length == sizes)).all():
            return
        if self._bytes > _SPARE_BYTES + _BYTES_A_SERIES * (len(self._template) + len(numbers)):
            self.clear()
        self._room(int(numbers.max()) + 1)
        series = np.unique(numbers)
        self._release(series)
        self._template[series] = self._learned
        self._place[numbers] = np.arange(len(numbers))
        self._kept[self._learned] = _Template(data, begins, numbers, full, in_use=len(series))
        self._learned += 1
        self._bytes += 2 * len(body)

    def _room(self, numbers: int) -> None:
        more = numbers - len(self._template)
        if more > 0:
            more = max(more, len(self._template))
            self._template = np.concatenate((self._template, np.full(more, -1, np.int64)))
            self._place = np.concatenate((self._place, np.zeros(more, np.int64)))

    def _release(self, series: Longs) -> None:
        """Take these, each once, from the templates that tell of them now, and drop those that tell of none."""
        led = self._template[series]
        templates, counts = np.unique(led[led >= 0], return_counts=True)
        for each, count in zip(templates.tolist(), counts.tolist(), strict=True):
            self._kept[each].in_use -= count
            if not self._kept[each].in_use:
                self._bytes -= 2 * len(self._kept.pop(each).body)


def strided(data: Bytes | NDArray[np.bool_], item: np.dtype[np.void]) -> NDArray[np.void]:
    """`data` as items that begin at every byte, a view."""
    return np.ndarray(max(len(data) - item.itemsize + 1, 0), item, data, strides=(1,))


def with_zero(bare: Bytes) -> Bytes:
    """Samples without their value, uint8[n, ZERO], with it, uint8[n, FULL]; what is no such sample becomes none."""
    full = np.zeros((len(bare), FULL), np.uint8)
    full[:, 0], full[:, 2] = bare[:, 0], 0x09
    full[:, 1] = np.where(bare[:, 1] == ZERO - 2, FULL - 2, 0)
    full[:, 11:] = bare[:, 2:]
    return full


def pieces(body: bytes, at: int) -> Iterator[tuple[int, int]]:
    """Where to cut what follows `at` so that it is parsed a MiB or so at a time: parsed, it takes three times its size.

    The last piece begins where a field is none of a series; what is wrong with it is for its parser to say.
    """
    while at < len(body):
        end = at
        while end < len(body) and end - at < _PIECE:
            start, behind = field_at(body, end)
            if not start or behind > len(body):
                end = len(body)
                break
            end = behind
        yield at, end
        at = end


def field_at(body: bytes, at: int) -> tuple[int, int]:
    """Where the content of the field at `at` begins and ends; (0, 0) if it is no series of under 16 KiB."""
    if body[at] != _TAG or at + 3 > len(body):
        return 0, 0
    size = body[at + 1]
    if size < 1 << 7:
        return at + 2, at + 2 + size
    high = body[at + 2]
    return (at + 3, at + 3 + (size & 0x7F | high << 7)) if high < 1 << 7 else (0, 0)
