"""Whether a new incident is one that is already known: folded into it, or distinct, and why."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sentinel.correlation.grouping import seen_at_ms
from sentinel.correlation.signature import similarity, token_of
from sentinel.ids import IncidentId
from sentinel.incidents.nouns import Alert, Incident, IncidentState


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """An incident of the hot window and its signature (float32[256], unit length)."""

    incident: Incident
    vector: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """The candidate is counted in `incident_id`."""

    incident_id: IncidentId
    similarity: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Distinct:
    """The candidate is an incident of its own; `previous_id` names a resolved one that was the same fault.

    `similarity` is that of the nearest incident in the window, None if there was none.
    """

    similarity: float | None
    previous_id: IncidentId | None
    reason: str


def judge(
    vector: NDArray[np.float32],
    alerts: Sequence[Alert],
    known: Sequence[Known],
    now_ms: int,
    window_s: float,
    threshold: float,
) -> Folded | Distinct:
    """Compare the candidate's signature and alerts with the incidents seen within `window_s`.

    The most similar unresolved incident at or above `threshold` takes the candidate in. A resolved one
    never reopens: where it is the same fault, the new incident names it instead.
    """
    near = sorted(
        (
            (similarity(vector, each.vector), each.incident)
            for each in known
            if now_ms - _last_ms(each.incident, now_ms) <= window_s * 1000
        ),
        key=lambda pair: (-pair[0], -pair[1].opened_at_ms, pair[1].id),
    )
    if not near:
        return Distinct(
            similarity=None, previous_id=None, reason=f"no incident was seen within {window_s:g} s to compare with"
        )
    same = [pair for pair in near if pair[0] >= threshold]
    for score, incident in same:
        if incident.state is not IncidentState.RESOLVED:
            return Folded(
                incident_id=incident.id,
                similarity=score,
                reason=f"the same fault as {incident.id}: similarity {score:.2f}, threshold {threshold:.2f}, "
                f"last seen {_ago_s(incident, now_ms)} s ago; {_compared(alerts, incident.alerts)}",
            )
    if same:
        score, incident = same[0]
        return Distinct(
            similarity=score,
            previous_id=incident.id,
            reason=f"the fault of {incident.id} is back {_ago_s(incident, now_ms)} s after that was resolved: "
            f"similarity {score:.2f}, threshold {threshold:.2f}; {_compared(alerts, incident.alerts)}",
        )
    score, incident = near[0]
    return Distinct(
        similarity=score,
        previous_id=None,
        reason=f"new: the nearest incident {incident.id} has similarity {score:.2f}, below the threshold "
        f"{threshold:.2f}; {_compared(alerts, incident.alerts)}",
    )


def _last_ms(incident: Incident, now_ms: int) -> int:
    # A resolved incident may keep an alert whose end nobody recorded; it is not seen "now" for ever.
    if incident.resolved_at_ms is not None:
        return max(incident.resolved_at_ms, incident.last_seen_ms)
    return seen_at_ms(incident, now_ms)


def _ago_s(incident: Incident, now_ms: int) -> int:
    return max(now_ms - _last_ms(incident, now_ms), 0) // 1000


def _compared(alerts: Sequence[Alert], others: Sequence[Alert]) -> str:
    ours, theirs = {token_of(alert) for alert in alerts}, {token_of(alert) for alert in others}
    parts = (("in both", ours & theirs), ("only now", ours - theirs), ("only then", theirs - ours))
    return "; ".join(
        f"{name}: {', '.join(token.replace('|', ' ') for token in sorted(tokens)) or 'nothing'}"
        for name, tokens in parts
    )
