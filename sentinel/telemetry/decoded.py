"""What every decoder answers: samples in columns over distinct series, and what was refused with its reason."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from sentinel.telemetry.series import NAME_LABEL

SeriesKey = tuple[str, tuple[tuple[str, str], ...]]  # metric, labels sorted by name
Fault = tuple[str, object, str]  # field, value, expected

MAX_LABELS = 40
MAX_METRIC_BYTES = 256
MAX_LABEL_NAME_BYTES = 128
MAX_LABEL_VALUE_BYTES = 1024
KEPT_REJECTIONS = 20

# Outside these years a timestamp is a unit mistaken for another (seconds read as milliseconds), not a time.
EARLIEST_MS = 946_684_800_000  # 2000-01-01
LATEST_MS = 4_102_444_800_000  # 2100-01-01
TIMESTAMP_EXPECTED = "a time between 2000 and 2100"


@dataclass(frozen=True, slots=True)
class Rejected:
    """One refused sample: its place in the body, the field, the value as shown, and what was expected."""

    index: int
    field: str
    value: str
    expected: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """Samples of one body as columns of equal length n, over the distinct series `keys`.

    keys: a tuple, or the list that a decoder keeps and only ever appends to; either may hold series without a sample
    in this body. index: int64[n], position in `keys`. timestamps_ms: int64[n]. values: float64[n], finite.
    rejected: the first refusals, `rejected_count` all of them. stale: markers that end a series.
    skipped: histograms and exemplars, which are not scored.
    """

    keys: Sequence[SeriesKey]
    index: NDArray[np.int64]
    timestamps_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    rejected: tuple[Rejected, ...] = ()
    rejected_count: int = 0
    stale: int = 0
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.index)

    @property
    def present(self) -> tuple[SeriesKey, ...]:
        """The keys that have a sample in this body, in order of their first."""
        return tuple(self.keys[position] for position in dict.fromkeys(self.index.tolist()))


@dataclass(slots=True)
class Rejections:
    """Counts refusals and keeps the first few, so that a wholly bad body costs no memory."""

    count: int = 0
    kept: list[Rejected] = field(default_factory=list)

    def add(self, index: int, fault: Fault, samples: int = 1) -> None:
        self.count += samples
        if len(self.kept) < KEPT_REJECTIONS:
            name, value, expected = fault
            shown = repr(value)
            self.kept.append(Rejected(index, name, shown if len(shown) <= 80 else shown[:77] + "...", expected))

    def first(self) -> tuple[Rejected, ...]:
        return tuple(sorted(self.kept, key=lambda rejected: rejected.index))


def key_or_fault(metric: str, labels: Mapping[str, str]) -> tuple[SeriesKey | None, Fault | None]:
    """The canonical key of a series, or why it is refused.

    A label with an empty value is the same as no label, as in Prometheus's data model.
    """
    if not metric or _longer(metric, MAX_METRIC_BYTES):
        return None, ("metric", metric, f"a name of 1 to {MAX_METRIC_BYTES} bytes")
    if len(labels) > MAX_LABELS:
        return None, ("labels", f"{len(labels)} labels", f"at most {MAX_LABELS}")
    for name, value in labels.items():
        if not name or _longer(name, MAX_LABEL_NAME_BYTES):
            return None, ("labels", name, f"label names of 1 to {MAX_LABEL_NAME_BYTES} bytes")
        if _longer(value, MAX_LABEL_VALUE_BYTES):
            return None, (f"labels.{name}", value, f"at most {MAX_LABEL_VALUE_BYTES} bytes")
    if NAME_LABEL in labels:
        return None, (f"labels.{NAME_LABEL}", labels[NAME_LABEL], "the name in `metric` only")
    return (metric, tuple(sorted((name, value) for name, value in labels.items() if value))), None


def _longer(text: str, most_bytes: int) -> bool:
    # No character takes more than four bytes: most labels are told short without being encoded.
    return len(text) * 4 > most_bytes and len(text.encode()) > most_bytes


def refuse_after(decoded: Decoded, latest_ms: int) -> Decoded:
    """`decoded` without samples later than `latest_ms`, which are counted as rejected.

    A series takes samples in increasing time only: one from a clock far ahead would silence it until then.
    """
    ahead = np.flatnonzero(decoded.timestamps_ms > latest_ms)
    if not len(ahead):
        return decoded
    rejections = Rejections(decoded.rejected_count, list(decoded.rejected))
    for position in ahead[:KEPT_REJECTIONS]:
        at_ms = int(decoded.timestamps_ms[position])
        rejections.add(int(position), ("timestamp", at_ms, f"not later than {latest_ms}"))
    keep = decoded.timestamps_ms <= latest_ms
    return replace(
        decoded,
        index=decoded.index[keep],
        timestamps_ms=decoded.timestamps_ms[keep],
        values=decoded.values[keep],
        rejected=rejections.first(),
        rejected_count=decoded.rejected_count + len(ahead),
    )
