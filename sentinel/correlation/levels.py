"""Where a series was just before: the one history that ranking needs, kept in memory and small.

The detector tells when a series turns unusual, and then its score says it all: before, it was normal. Only a series
that was told of shortly before was not, as one that is on its way back or flaps; then the change is what it moved
since. The last value told of each series is kept for an hour, and nothing else.
"""

from dataclasses import dataclass, replace

from sentinel.ids import Fingerprint
from sentinel.incidents.nouns import Alert

KEPT_MS = 3_600_000
MOST_SERIES = 20_000


@dataclass(frozen=True, slots=True)
class _Told:
    """The last span told of a series, and the value of the span before it where that was within the hour."""

    started_at_ms: int
    at_ms: int
    value: float
    before: float | None


class Levels:
    """Soft state: the last span of each series. Without it every alert counts as a change from normal."""

    def __init__(self) -> None:
        self._told: dict[Fingerprint, _Told] = {}

    def __len__(self) -> int:
        return len(self._told)

    def seen(self, alert: Alert) -> Alert:
        """`alert` with its change, where the series was unusual within the hour before; and remember it.

        The spread follows from the alert itself: its score is the distance of value and expected middle in spreads.
        """
        if alert.value is None or alert.expected_low is None or alert.expected_high is None:
            return alert
        told = self._told.pop(alert.fingerprint, None)
        if told is not None and alert.started_at_ms < told.started_at_ms:
            self._told[alert.fingerprint] = told
            return alert
        before = told.before if told else None
        if told is not None and told.started_at_ms != alert.started_at_ms:
            before = told.value if alert.started_at_ms - told.at_ms <= KEPT_MS else None
        self._told[alert.fingerprint] = _Told(alert.started_at_ms, alert.last_at_ms, alert.value, before)
        if len(self._told) > MOST_SERIES:
            # The one told of longest ago: a dictionary keeps the order in which series came last.
            del self._told[next(iter(self._told))]
        distance = abs(alert.value - (alert.expected_low + alert.expected_high) / 2)
        if before is None or not distance or not alert.score:
            return alert
        spread = distance / alert.score
        return replace(alert, change=min(abs(alert.value - before) / spread, alert.score))
