"""Service tier: all metrics of a service judged together, for a fault that no single one of them shows.

Each series has a slow and a fast mean and spread. A frame is one round of samples of a service. Its slow score is the
mean of the three largest slow residuals, its fast score the mean of all fast residuals; each is divided by its own
running 99th percentile, and the larger of the two opens an incident. Mahalanobis' distance of the residuals, which
knows what usually moves together, keeps it open. Float32 columns; a score depends on the past alone.
"""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sentinel.detection import frames
from sentinel.detection.columns import Rows, roomier
from sentinel.detection.frames_judged import Judged, judge_frames
from sentinel.detection.movement import LEAST_WIDTH, Movements
from sentinel.telemetry.series import Series

Singles = NDArray[np.float32]
Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Bools = NDArray[np.bool_]

LEAST_MEMBERS = 4  # fewer series say nothing that they do not say alone
MOST_MEMBERS = 64
FIRST_EXCESS = 0.2


@dataclass(slots=True)
class Member:
    """Residuals of one series, float32 columns; 32 bytes a series. `service`: its slot, -1 outside of any."""

    service: Ints
    stamp: Ints
    seen: Singles
    slow: Singles
    slow_spread: Singles
    fast: Singles
    fast_spread: Singles
    slow_z: Singles
    fast_z: Singles


@dataclass(slots=True)
class Group:
    """One service. frame: the number of the frame being filled; fresh: samples in it; live: samples the one before had.

    scored: whether that frame was judged. slow_q99, fast_q99: running percentiles of the two scores; excess: mean of
    what their larger ratio passes 1 by; score: that ratio in the newest frame.
    """

    count: NDArray[np.int64]
    frame: NDArray[np.int64]
    fresh: NDArray[np.int64]
    live: NDArray[np.int64]
    scored: NDArray[np.bool_]
    frames: NDArray[np.int64]
    frame_ms: NDArray[np.int64]
    since_ms: NDArray[np.int64]
    slow_q99: NDArray[np.float64]
    fast_q99: NDArray[np.float64]
    excess: NDArray[np.float64]
    score: NDArray[np.float64]


Record = TypeVar("Record", Member, Group)


class ServiceTier:
    """Soft state of all services of a detector; a series is named by its row, a service by its slot."""

    def __init__(self) -> None:
        self.slots: dict[str, int] = {}
        self.members = np.full((8, 8), -1, np.int32)
        self.member = _members(64)
        self.group = _groups(8)
        self.movements = Movements()

    def add(self, row: int, service: str) -> None:
        """Make the series of `row` a member of its service, unless that is full."""
        slot = self.slots.setdefault(service, len(self.slots))
        count = int(self.group.count[slot]) if slot < len(self.group.count) else 0
        self._make_room(row + 1, slot + 1, _width(count + 1))
        if count < MOST_MEMBERS:
            self.members[slot, count] = row
            self.member.service[row] = slot
            self.group.count[slot] += 1

    def adopt(self, other: "ServiceTier", rows: Rows, series: Sequence[Series], first: int) -> tuple[Rows, Rows]:
        """Take `rows` of another over, each the series named, as rows from `first` on, with what is known of services.

        Answers the slots of the services that are new here: there, and here. One that was here goes on as it is.
        """
        names = dict.fromkeys(each.service for each in series)
        met = {name for name in names if name in self.slots}
        new = [name for name in names if name not in met]
        mine = np.arange(len(self.slots), len(self.slots) + len(new))
        self.slots.update(zip(new, mine.tolist(), strict=True))
        theirs = np.array([other.slots[name] for name in new], np.int64)
        count = other.group.count[theirs]
        width = _width(int(count.max(initial=1)))
        self._make_room(first + len(rows), len(self.slots), width)
        for each_field in fields(Member):
            column = getattr(other.member, each_field.name)[rows]
            getattr(self.member, each_field.name)[first : first + len(rows)] = column
        for each_field in fields(Group):
            getattr(self.group, each_field.name)[mine] = getattr(other.group, each_field.name)[theirs]
        slot_here = np.full(len(other.slots) + 1, -1, np.int32)  # the last is that of slot -1
        slot_here[theirs] = mine
        self.member.service[first : first + len(rows)] = slot_here[other.member.service[rows]]
        row_here = np.full(len(other.member.seen) + 1, -1, np.int32)
        row_here[rows] = np.arange(first, first + len(rows))
        members = row_here[other.members[theirs, :width]]
        self.members[mine, : members.shape[1]] = members
        whole = (members >= 0).sum(axis=1) == count
        changed = met.union(new[place] for place in np.flatnonzero(~whole).tolist())
        if changed:
            self.group.count[mine[~whole]] = 0
            self.members[mine[~whole]] = -1
            self._rejoin(changed, met, series, first)
        self.movements.adopt(other.movements, theirs, mine, self._columns(other, theirs, mine, whole, row_here))
        return theirs, mine

    def _rejoin(self, names: AbstractSet[str], met: AbstractSet[str], series: Sequence[Series], first: int) -> None:
        """Give the series of these services their places anew; `met`: those that have frames of their own here."""
        for row, each in enumerate(series, first):
            if each.service in names:
                self.member.service[row] = -1
                if each.service in met:
                    self.member.stamp[row] = -1
                self.add(row, each.service)

    def _columns(self, other: "ServiceTier", theirs: Rows, mine: Rows, whole: Bools, row_here: Ints) -> Rows:
        """Which metric there each metric here is, int64[n, width]; -1 for one that was no member there."""
        width = min(other.movements.rounds.shape[2], self.members.shape[1])
        columns = np.tile(np.arange(width), (len(mine), 1))
        for place in np.flatnonzero(~whole).tolist():
            there = row_here[other.members[theirs[place]]].tolist()
            here = self.members[mine[place], :width].tolist()
            columns[place] = [there.index(row) if row >= 0 and row in there[:width] else -1 for row in here]
        return columns

    def step(
        self,
        rows: Rows,
        x: Singles,
        low: Singles,
        high: Singles,
        at_ms: NDArray[np.int64],
        caution: Floats,
        watch: Ints,
        alarms_per_day: float,
    ) -> Iterator[Judged]:
        """Learn one sample each of different series, and judge every service whose frame that ends or makes whole.

        x: in the units of each series, whose range so far is low to high. caution, watch: of each service, as they are
        when the next judgement is asked for.
        """
        late, whole = self._enter(rows, x, low, high, at_ms)
        if len(late):
            yield self._judge(late, caution, watch, alarms_per_day)
            _, whole = self._enter(rows, x, low, high, at_ms)
        if len(whole):
            yield self._judge(whole, caution, watch, alarms_per_day)

    def rescale(self, rows: Rows, shift: Singles, ratio: Singles) -> None:
        """Tell these series in x' = (x - shift) / ratio."""
        member = self.member
        for name in ("slow", "fast"):
            getattr(member, name)[rows] = (getattr(member, name)[rows] - shift) / ratio
            getattr(member, f"{name}_spread")[rows] /= ratio

    def _enter(
        self, rows: Rows, x: Singles, low: Singles, high: Singles, at_ms: NDArray[np.int64]
    ) -> tuple[Rows, Rows]:
        members, groups = self._member_columns(), self._group_columns()
        late, whole = frames.enter(rows, x, low, high, at_ms, members, groups, LEAST_MEMBERS)
        return late, whole

    def _judge(self, slots: Rows, caution: Floats, watch: Ints, alarms_per_day: float) -> Judged:
        found: Judged = self._judged(slots, caution, watch, alarms_per_day)
        if found.lacking:
            self.movements.make_room(slots, self.group.count[slots])
            found = self._judged(slots, caution, watch, alarms_per_day)
        if len(found.due):
            self.movements.look(found.due, self.group.count[found.due])
        return found

    def _judged(self, slots: Rows, caution: Floats, watch: Ints, alarms_per_day: float) -> Judged:
        judged: Judged = judge_frames(
            slots,
            self.members,
            self._member_columns(),
            self._group_columns(),
            self.movements.columns(),
            caution,
            watch,
            float(alarms_per_day),  # for another type all of it would be compiled once more
        )
        return judged

    def _member_columns(self) -> frames.MemberColumns:
        return frames.MemberColumns(*frames.member_columns(self.member))

    def _group_columns(self) -> frames.GroupColumns:
        return frames.GroupColumns(*frames.group_columns(self.group))

    def _make_room(self, rows: int, slots: int, width: int) -> None:
        if rows > len(self.member.seen):
            self.member = _grown(self.member, _members(roomier(len(self.member.seen), rows)))
        if slots > len(self.group.count):
            self.group = _grown(self.group, _groups(max(2 * len(self.group.count), slots)))
        tall, wide = self.members.shape
        if slots > tall or width > wide:
            bigger = np.full((len(self.group.count), max(width, wide)), -1, np.int32)
            bigger[:tall, :wide] = self.members[: len(bigger)]
            self.members = bigger


def _width(members: int) -> int:
    """Places that are kept for so many members, a power of two."""
    return min(max(LEAST_WIDTH, 1 << (members - 1).bit_length()), MOST_MEMBERS)


def _members(rows: int) -> Member:
    def zeros() -> Singles:
        return np.zeros(rows, np.float32)

    none = np.full(rows, -1, np.int32)
    return Member(none, none.copy(), zeros(), zeros(), zeros(), zeros(), zeros(), zeros(), zeros())


def _groups(slots: int) -> Group:
    def zeros() -> NDArray[np.int64]:
        return np.zeros(slots, np.int64)

    return Group(
        count=zeros(),
        frame=zeros(),
        fresh=zeros(),
        live=np.full(slots, MOST_MEMBERS + 1, np.int64),  # the first frame is of unknown size, and not judged
        scored=np.ones(slots, np.bool_),
        frames=zeros(),
        frame_ms=zeros(),
        since_ms=zeros(),
        slow_q99=np.full(slots, 3.0),
        fast_q99=np.ones(slots),
        excess=np.full(slots, FIRST_EXCESS),
        score=np.zeros(slots),
    )


def _grown(old: Record, bigger: Record) -> Record:
    for each in fields(old):
        values = getattr(old, each.name)
        getattr(bigger, each.name)[: len(values)] = values
    return bigger
