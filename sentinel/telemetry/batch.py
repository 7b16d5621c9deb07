"""SampleBatch: samples in columns, and its packed form for one actor call."""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from sentinel.errors import Invalid
from sentinel.ids import Fingerprint
from sentinel.telemetry.series import Series

# What one actor call carries. Ray copies an argument of up to RAY_max_direct_call_object_size bytes into the call; a
# longer one goes through its object store, for 2 ms more.
MAX_PACKED_BYTES = 400_000
MAX_PACKED_SAMPLES = 16_000  # at up to 24 bytes each
_MAGIC = b"SSB2"
_HEAD = struct.Struct("<4sIIIq")  # magic; how many samples, bytes of descriptions, bytes a time; the earliest time
_WORD = 8  # every packed batch is a multiple of it, so that columns are aligned wherever a batch begins
_TIMES: Mapping[int, str] = {0: "", 4: "<u4", 8: "<u8"}


@dataclass(frozen=True, slots=True)
class SampleBatch:
    """Samples as columns of equal length n.

    series_ids: uint64[n], `Series.id`. timestamps_ms: int64[n], Unix milliseconds. values: float64[n], finite.
    new_series: the series that this sender has not described to this receiver before, by id.
    """

    series_ids: NDArray[np.uint64]
    timestamps_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    new_series: Mapping[int, Series] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.series_ids)

    def only(self, series_ids: Iterable[int]) -> "SampleBatch":
        """The samples of these series, in the same order, without descriptions."""
        kept = np.isin(self.series_ids, np.fromiter(series_ids, np.uint64))
        return SampleBatch(self.series_ids[kept], self.timestamps_ms[kept], self.values[kept])

    def pack(self) -> bytes:
        """One bytes object: sizes, the columns, described series as MessagePack.

        Times are given from the earliest on, in as many bytes as they need: none where all are the same.
        """
        described = b""
        if self.new_series:
            described = msgspec.msgpack.encode(
                [(s.fingerprint, s.metric, s.service, s.labels) for s in self.new_series.values()]
            )
        first = int(self.timestamps_ms.min()) if len(self) else 0
        since = self.timestamps_ms - first
        latest = int(since.max()) if len(self) else 0
        width = 0 if not latest else 4 if latest < 1 << 32 else 8
        parts = [
            _HEAD.pack(_MAGIC, len(self), len(described), width, first),
            self.series_ids.astype("<u8", copy=False).tobytes(),
            self.values.astype("<f8", copy=False).tobytes(),
            since.astype(_TIMES[width]).tobytes() if width else b"",
            described,
        ]
        parts.append(bytes(-sum(map(len, parts)) % _WORD))
        return b"".join(parts)


def unpack_all(packed: bytes) -> list[SampleBatch]:
    """The batches whose packed forms were joined, in order; columns are read-only. Raises Invalid for anything else."""
    batches: list[SampleBatch] = []
    at = 0
    while at < len(packed):
        batch, at = _unpack(packed, at)
        batches.append(batch)
    return batches


def _unpack(packed: bytes, at: int) -> tuple[SampleBatch, int]:
    """The batch that begins at `at`, and where it ends."""
    if len(packed) - at < _HEAD.size or packed[at : at + 4] != _MAGIC:
        raise Invalid("packed", packed[at : at + 4], "a packed SampleBatch")
    _, n, described_size, width, first = _HEAD.unpack_from(packed, at)
    ids = at + _HEAD.size
    values = ids + 8 * n
    times = values + 8 * n
    start = times + width * n
    end = start + described_size
    end += (at - end) % _WORD
    if width not in _TIMES or end > len(packed):
        raise Invalid("packed", f"{len(packed) - at} bytes", f"{end - at} bytes")
    described: list[tuple[str, str, str, dict[str, str]]] = []
    if described_size:
        try:
            described = msgspec.msgpack.decode(
                packed[start : start + described_size], type=list[tuple[str, str, str, dict[str, str]]]
            )
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Invalid("packed", packed[start : start + 16], f"described series ({error})") from None
    series = [Series(Fingerprint(fp), metric, service, labels) for fp, metric, service, labels in described]
    since = np.frombuffer(packed, _TIMES[width], n, times) if width else np.zeros(n, np.uint8)
    batch = SampleBatch(
        series_ids=np.frombuffer(packed, "<u8", n, ids),
        timestamps_ms=since.astype(np.int64) + first,
        values=np.frombuffer(packed, "<f8", n, values),
        new_series={s.id: s for s in series},
    )
    return batch, end
