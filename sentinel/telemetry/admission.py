"""Which series are watched at all, how many new ones a minute, and how many samples of one in a body. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

import numpy as np

from sentinel.telemetry.decoded import Decoded, SeriesKey

TOO_MANY_SAMPLES, SERIES_RATE = "too_many_samples", "series_rate"
_MINUTE_MS = 60_000
_GRACE_MS = 5 * _MINUTE_MS


@dataclass(frozen=True, slots=True)
class Matcher:
    """A series matches if its metric and each of these labels match their patterns (`*`, `?`, `[...]`, by case).

    A label that a series does not have is empty, as in Prometheus.
    """

    metric: str = "*"
    labels: Mapping[str, str] = field(default_factory=dict)

    def matches(self, metric: str, labels: Mapping[str, str]) -> bool:
        """Whether all of it holds."""
        return fnmatchcase(metric, self.metric) and all(
            fnmatchcase(labels.get(name, ""), pattern) for name, pattern in self.labels.items()
        )


@dataclass(frozen=True, slots=True)
class Watching:
    """A series is watched if a matcher of `watch` matches it, or there is none, and none of `ignore` does."""

    watch: Sequence[Matcher] = ()
    ignore: Sequence[Matcher] = ()

    def watches(self, key: SeriesKey) -> bool:
        """Whether the series of this key is to be scored."""
        if not (self.watch or self.ignore):
            return True
        metric, labels = key[0], dict(key[1])
        if any(each.matches(metric, labels) for each in self.ignore):
            return False
        return not self.watch or any(each.matches(metric, labels) for each in self.watch)


class Allowance:
    """How many new series a minute are taken. In its first five minutes it counts nothing.

    A door that has just started has met no series yet, and must not take for new what has been watched for months.
    """

    def __init__(self, per_minute: int, grace_ms: int = _GRACE_MS) -> None:
        self._per_minute = per_minute
        self._grace_ms = grace_ms
        self._opened_ms: int | None = None
        self._minute_ms = -_MINUTE_MS
        self._taken = 0

    def take(self, now_ms: int) -> bool:
        """Whether one more new series may be taken now; if so, it is counted."""
        if self._opened_ms is None:
            self._opened_ms = now_ms
        if now_ms - self._opened_ms < self._grace_ms:
            return True
        if now_ms - self._minute_ms >= _MINUTE_MS:
            self._minute_ms, self._taken = now_ms, 0
        if self._taken >= self._per_minute:
            return False
        self._taken += 1
        return True


def thin(decoded: Decoded, most: int) -> tuple[Decoded, int, int]:
    """`decoded` with no more than the first `most` samples of each series, how many went, and the most one still has.

    A detector takes the samples of one series one after the other, however many series it takes at once.
    """
    if not len(decoded):
        return decoded, 0, 0
    index = np.sort(decoded.index)
    again = index[1:] == index[:-1]
    if not again.any():
        return decoded, 0, 1
    begins = np.flatnonzero(np.concatenate(([True], ~again)))
    lengths = np.diff(begins, append=len(index))
    deepest = int(lengths.max())
    if deepest <= most:
        return decoded, 0, deepest
    nth = np.arange(len(index)) - np.repeat(begins, lengths)
    keep = np.sort(np.argsort(decoded.index, kind="stable")[nth < most])
    fewer = replace(
        decoded, index=decoded.index[keep], timestamps_ms=decoded.timestamps_ms[keep], values=decoded.values[keep]
    )
    return fewer, len(decoded) - len(fewer), most
