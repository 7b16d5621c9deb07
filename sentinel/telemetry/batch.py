"""SampleBatch: samples in columns, and its packed form for one actor call."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from sentinel.errors import Invalid
from sentinel.ids import Fingerprint
from sentinel.telemetry.series import Series

# Over 100 KiB an argument of an actor call goes through Ray's object store, which costs 2 ms more.
MAX_PACKED_BYTES = 100_000
MAX_PACKED_SAMPLES = 4000  # at 24 bytes each
_MAGIC = b"SSB1"


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
        """One bytes object: magic, sizes, described series as MessagePack, then the three columns."""
        described = msgspec.msgpack.encode(
            [(s.fingerprint, s.metric, s.service, s.labels) for s in self.new_series.values()]
        )
        header = _MAGIC + len(self).to_bytes(4, "little") + len(described).to_bytes(4, "little")
        columns = (
            self.series_ids.astype("<u8", copy=False),
            self.timestamps_ms.astype("<i8", copy=False),
            self.values.astype("<f8", copy=False),
        )
        return b"".join((header, described, *(column.tobytes() for column in columns)))


def unpack_all(packed: bytes) -> list[SampleBatch]:
    """The batches whose packed forms were joined, in order. Raises Invalid for anything else."""
    batches: list[SampleBatch] = []
    at = 0
    while at < len(packed):
        size = (
            12
            + int.from_bytes(packed[at + 8 : at + 12], "little")
            + 24 * int.from_bytes(packed[at + 4 : at + 8], "little")
        )
        batches.append(unpack(packed[at : at + size] if at or size < len(packed) else packed))
        at += size
    return batches


def unpack(packed: bytes) -> SampleBatch:
    """The batch that `pack` made; columns are read-only views. Raises Invalid for anything else."""
    if packed[:4] != _MAGIC or len(packed) < 12:
        raise Invalid("packed", packed[:4], "a packed SampleBatch")
    n = int.from_bytes(packed[4:8], "little")
    described_size = int.from_bytes(packed[8:12], "little")
    start = 12 + described_size
    if len(packed) != start + 24 * n:
        raise Invalid("packed", len(packed), f"{start + 24 * n} bytes")
    try:
        described = msgspec.msgpack.decode(packed[12:start], type=list[tuple[str, str, str, dict[str, str]]])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid("packed", packed[12:28], f"described series ({error})") from None
    series = [Series(Fingerprint(fp), metric, service, labels) for fp, metric, service, labels in described]
    return SampleBatch(
        series_ids=np.frombuffer(packed, "<u8", n, start),
        timestamps_ms=np.frombuffer(packed, "<i8", n, start + 8 * n),
        values=np.frombuffer(packed, "<f8", n, start + 16 * n),
        new_series={s.id: s for s in series},
    )
