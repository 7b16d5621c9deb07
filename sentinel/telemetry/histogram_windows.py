"""Mean and quantile of histograms whose buckets arrive as single running totals, window by window.

The buckets of one histogram come as series of their own, in requests that need not travel together. So a window of a
fixed length is judged once every member of the histogram has moved beyond it, from what each gained in that window.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sentinel.ids import fingerprint
from sentinel.telemetry.histograms import MAX_MEMBERS, MEAN, QUANTILE, QUANTILE_ENDING, Floats, quantile
from sentinel.telemetry.readings import BOUND_LABEL, TYPE_LABEL, Reading, bound_of, family_of
from sentinel.telemetry.series import NAME_LABEL, Series

WINDOW_MS = 30_000
STALE_MS = 300_000  # as in Prometheus: a member silent for so long is not waited for

_NEVER = -1
_MEMBER = np.dtype(
    [
        ("group", "<i8"),
        ("reading", "u1"),
        ("bound", "<f8"),
        ("window", "<i8"),  # that of its newest sample
        ("value", "<f8"),  # its newest sample
        ("base", "<f8"),  # its last sample of the window it had samples in before; nan if it was reset since
        ("base_window", "<i8"),
        ("gain", "<f8"),  # in the last window that is over for it, since `gain_since`, the window before
        ("gain_window", "<i8"),
        ("gain_since", "<i8"),
    ]
)

Longs = NDArray[np.int64]
Derived = tuple[Series, int, float]  # series, Unix milliseconds, value


@dataclass(frozen=True, slots=True)
class _Group:
    """One histogram or summary: the series that are made of it."""

    mean: Series
    quantile: Series


class HistogramWindows:
    """Soft state of every histogram: what its members gained in the present window and the one before.

    A window gives one mean and one quantile, stamped with its end; none where it had no observation, where a member
    was reset or first seen in it, or where members did not take part in the same two windows. Members may be one
    window apart; a sender that catches up with more between them gives nothing until they run together again.
    """

    def __init__(self, window_ms: int = WINDOW_MS) -> None:
        self._window_ms = window_ms
        self._stale = max(2, STALE_MS // window_ms)
        self._members = np.zeros(0, _MEMBER)
        self._series: list[Series] = []
        self._groups: list[_Group] = []
        self._group_of: dict[tuple[str, tuple[tuple[str, str], ...]], int] = {}
        self._sizes: list[int] = []
        self._told: list[int] = []  # the last window judged, by group
        self._order: Longs | None = None  # members by group, and where each group begins
        self._starts: Longs = np.zeros(1, np.int64)

    def __len__(self) -> int:
        return len(self._series)

    def add(self, series: Series, reading: Reading) -> int:
        """Number of a new member; -1 if its histogram has too many."""
        family = family_of(series.metric, reading)
        labels = {name: value for name, value in series.labels.items() if name not in (BOUND_LABEL, TYPE_LABEL)}
        key = (family, tuple(sorted(labels.items())))
        group = self._group_of.setdefault(key, len(self._groups))
        if group == len(self._groups):
            made = (_derived(family + ending, labels, series.service) for ending in (MEAN, QUANTILE_ENDING))
            self._groups.append(_Group(*made))
            self._sizes.append(0)
            self._told.append(_NEVER)
        if self._sizes[group] >= MAX_MEMBERS:
            return -1
        self._sizes[group] += 1
        bound = bound_of(series.labels) if reading is Reading.BUCKET else None
        member = len(self._series)
        if member == len(self._members):
            self._members = np.concatenate((self._members, np.zeros(max(64, member), _MEMBER)))
        self._members[member] = (
            *(group, reading, np.inf if bound is None else bound),
            *(_NEVER, np.nan, np.nan, _NEVER, np.nan, _NEVER, _NEVER),
        )
        self._series.append(series)
        self._order = None
        return member

    def kept(self, members: Longs) -> "HistogramWindows":
        """The same with these members only, renumbered in the order given."""
        other = HistogramWindows(self._window_ms)
        for member in members.tolist():
            other.add(self._series[member], Reading(int(self._members["reading"][member])))
        for name in _MEMBER.names or ():
            if name != "group":
                other._members[name][: len(members)] = self._members[name][members]
        for key, group in other._group_of.items():
            other._told[group] = self._told[self._group_of[key]]
        return other

    def feed(self, members: Longs, at_ms: Longs, values: Floats, broken: NDArray[np.bool_]) -> list[Derived]:
        """Take samples, those of a member together and in increasing time, and answer what windows they completed.

        All arrays have length n; broken[n]: the sample does not continue the one before, as after a reset.
        """
        windows = at_ms // self._window_ms
        found: list[Derived] = []
        for window in np.unique(windows).tolist():
            at = np.flatnonzero(windows == window)
            found += self._step(window, members[at], values[at], broken[at])
        return found

    def _step(self, window: int, members: Longs, values: Floats, broken: NDArray[np.bool_]) -> list[Derived]:
        last = np.flatnonzero(np.diff(members, append=-1))
        first = np.concatenate(([0], last[:-1] + 1))
        who = members[last]
        state = self._members[who]
        moved = state["window"] != window
        state["gain"] = np.where(moved, state["value"] - state["base"], state["gain"])
        state["gain_window"] = np.where(moved, state["window"], state["gain_window"])
        state["gain_since"] = np.where(moved, state["base_window"], state["gain_since"])
        state["base"] = np.where(moved, state["value"], state["base"])
        state["base_window"] = np.where(moved, state["window"], state["base_window"])
        state["base"][np.logical_or.reduceat(broken, first)] = np.nan
        state["window"] = window
        state["value"] = values[last]
        self._members[who] = state
        return self._judge(np.unique(state["group"][moved]))

    def _judge(self, groups: Longs) -> list[Derived]:
        """What these groups say of a window that all their live members have left."""
        if not len(groups):
            return []
        members, present = self._table(groups)
        state = self._members[members]
        newest = np.where(present, state["window"], _NEVER).max(axis=1)
        live = present & (state["window"] > newest[:, None] - self._stale)
        window, whole = _common(state["gain_window"], live)
        _, same_base = _common(state["gain_since"], live)
        told = np.array([self._told[group] for group in groups.tolist()])
        due = np.flatnonzero(whole & same_base & (window > told))
        for row in due.tolist():
            self._told[int(groups[row])] = int(window[row])
        means = _means(state[due], live[due])
        quantiles = _quantiles(state[due], live[due])
        found: list[Derived] = []
        for row, mean, middle in zip(due.tolist(), means.tolist(), quantiles.tolist(), strict=True):
            group = self._groups[int(groups[row])]
            at_ms = (int(window[row]) + 1) * self._window_ms
            found += [
                (series, at_ms, value)
                for series, value in ((group.mean, mean), (group.quantile, middle))
                if np.isfinite(value)
            ]
        return found

    def _table(self, groups: Longs) -> tuple[Longs, NDArray[np.bool_]]:
        """The members of each group, int64[g, m], and which of these places are filled, bool[g, m]."""
        if self._order is None:
            group = self._members["group"][: len(self)]
            self._order = np.argsort(group, kind="stable")
            self._starts = np.concatenate(([0], np.cumsum(np.bincount(group, minlength=len(self._groups)))))
        sizes = self._starts[groups + 1] - self._starts[groups]
        place = np.arange(sizes.max())
        present = place < sizes[:, None]
        return self._order[np.where(present, self._starts[groups][:, None] + place, 0)], present


def _common(column: Longs, live: NDArray[np.bool_]) -> tuple[Longs, NDArray[np.bool_]]:
    """The greatest of the live values in each row, and whether all are equal to it and were ever set."""
    high = np.where(live, column, _NEVER).max(axis=1)
    low = np.where(live, column, np.iinfo(np.int64).max).min(axis=1)
    return high, (low == high) & (high > _NEVER)


def _means(state: NDArray[np.void], live: NDArray[np.bool_]) -> Floats:
    """float64[g], nan where a group has not exactly one sum and one count, or no observation."""
    gains = []
    for reading in (Reading.SUM, Reading.COUNT):
        part = live & (state["reading"] == reading)
        gain = np.where(part, state["gain"], 0.0).sum(axis=1)
        gains.append(np.where(part.sum(axis=1) == 1, gain, np.nan))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(gains[1] > 0, gains[0] / gains[1], np.nan)


def _quantiles(state: NDArray[np.void], live: NDArray[np.bool_]) -> Floats:
    """float64[g], nan where a group has under two buckets, no +Inf one, a reset one, or no observation."""
    bucket = live & (state["reading"] == Reading.BUCKET)
    bounds = np.where(bucket, state["bound"], np.inf)
    gains = np.where(bucket, state["gain"], -np.inf)
    complete = (
        (bucket.sum(axis=1) >= 2) & (bucket & np.isinf(state["bound"])).any(axis=1) & ~np.isnan(gains).any(axis=1)
    )
    rows = np.flatnonzero(complete)
    # What is no bucket goes behind the last one, where it repeats it.
    order = np.argsort(np.where(bucket, bounds, np.nan)[rows], axis=1)
    found = np.full(len(state), np.nan)
    found[rows] = quantile(
        QUANTILE, np.take_along_axis(bounds[rows], order, 1), np.take_along_axis(gains[rows], order, 1)
    )
    return found


def _derived(metric: str, labels: Mapping[str, str], service: str) -> Series:
    return Series(fingerprint({**labels, NAME_LABEL: metric}), metric, service, labels)
