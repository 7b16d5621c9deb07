"""Whether a new incident is one that is already known: folded into it, or distinct, and why.

What people said of such a pair before goes ahead of any similarity.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sentinel.correlation.grouping import MAX_AGE_S, age_s, touching
from sentinel.correlation.scope import scope_of
from sentinel.correlation.signature import DIMENSIONS, Vector, signature, similarity, token_of
from sentinel.correlation.suspects import rank
from sentinel.correlation.topology import Topology, topology_of
from sentinel.correlation.window import Near, last_seen_ms
from sentinel.ids import IncidentId
from sentinel.incidents.nouns import Alert, Correction, Incident, IncidentState

_ONE_AND_THE_SAME = 0.98
_NO_CALLS = topology_of({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A pair that people told apart, or told to be the same (`same`), by their signatures; `said` names them and it.

    Where two that were told apart have one and the same signature, nothing is learned of others like them: then it
    concerns the incident `about` alone, in which they were.
    """

    same: bool
    about: IncidentId
    one: Vector
    other: Vector
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """The candidate is counted in `incident_id`."""

    incident_id: IncidentId
    similarity: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Distinct:
    """The candidate is an incident of its own; `previous_id` names a resolved or overlong one that was the same fault.

    `similarity` is that of the nearest incident in the window, None if there was none.
    """

    similarity: float | None
    previous_id: IncidentId | None
    reason: str


def example_of(incident_id: IncidentId, correction: Correction, topology: Topology) -> Example:
    """The example that a correction of an incident is."""
    verb = "the same as" if correction.same else "not the same as"
    because = f": {correction.reason}" if correction.reason else ""
    return Example(
        same=correction.same,
        about=incident_id,
        one=_signature_of(correction.alerts, topology),
        other=_signature_of(correction.against, topology),
        said=f"{correction.principal.name} said that the like of {correction.other_id} is {verb} "
        f"{incident_id}{because}",
    )


def _signature_of(alerts: Sequence[Alert], topology: Topology) -> Vector:
    if not alerts:
        return np.zeros(DIMENSIONS, dtype=np.float32)
    return signature(alerts, rank(alerts, topology)[0].service)


def judge(
    vector: Vector,
    alerts: Sequence[Alert],
    near: Sequence[Near],
    now_ms: int,
    window_s: float,
    threshold: float,
    *,
    examples: Sequence[Example] = (),
    max_age_s: float = MAX_AGE_S,
    topology: Topology | None = None,
) -> Folded | Distinct:
    """Compare the candidate's signature and alerts with the incidents seen within `window_s`, the most alike first.

    The most similar unresolved incident of the same tenant and environment, at or above `threshold`, takes the
    candidate in, if the two touch: they share a service, or `topology` knows a call between them. A resolved one never
    reopens, and one older than `max_age_s` grows no more: where it is the same fault, the new incident names it
    instead. Where people told such a pair apart, or said that it is the same, that decides.
    """
    scope = scope_of(alerts)
    comparable = [each for each in near if scope.meets(scope_of(each.incident.alerts))]
    if not comparable:
        return Distinct(
            similarity=None, previous_id=None, reason=f"no incident was seen within {window_s:g} s to compare with"
        )
    same: list[tuple[Near, str]] = []
    told_apart: list[str] = []
    for each in comparable:
        example = _said_of(vector, each, examples, threshold)
        alike = f"similarity {each.similarity:.2f}, threshold {threshold:.2f}"
        if example is not None and example.same:
            same.append((each, f"{example.said}; {alike}"))
        elif example is not None and each.similarity >= threshold:
            told_apart.append(f"not counted in {each.incident.id}, {alike}: {example.said}")
        elif each.similarity >= threshold and touching(alerts, each.incident.alerts, topology or _NO_CALLS):
            same.append((each, alike))
    for each, why in same:
        incident = each.incident
        if incident.state is not IncidentState.RESOLVED and age_s(incident, now_ms) <= max_age_s:
            return Folded(
                incident_id=incident.id,
                similarity=each.similarity,
                reason=f"the same fault as {incident.id}: {why}, last seen {_ago_s(incident, now_ms)} s ago; "
                f"{_compared(alerts, incident.alerts)}",
            )
    apart = "".join(f"; {each}" for each in told_apart)
    if same:
        each, why = same[0]
        incident = each.incident
        back = (
            f"the fault of {incident.id} is back {_ago_s(incident, now_ms)} s after that was resolved"
            if incident.state is IncidentState.RESOLVED
            else f"the fault of {incident.id} goes on, and that is older than {max_age_s:g} s"
        )
        return Distinct(
            similarity=each.similarity,
            previous_id=incident.id,
            reason=f"{back}: {why}; {_compared(alerts, incident.alerts)}{apart}",
        )
    nearest = comparable[0]
    if told_apart:
        return Distinct(similarity=nearest.similarity, previous_id=None, reason=f"new: {'; '.join(told_apart)}")
    return Distinct(
        similarity=nearest.similarity,
        previous_id=None,
        reason=f"new: the nearest incident {nearest.incident.id} has similarity {nearest.similarity:.2f}, below the "
        f"threshold {threshold:.2f}; {_compared(alerts, nearest.incident.alerts)}",
    )


def _said_of(ours: Vector, near: Near, examples: Sequence[Example], threshold: float) -> Example | None:
    """The example whose pair is most like this one, if both sides of it are alike; the later of equals."""
    best, found = threshold, None
    for example in examples:
        alike = similarity(example.one, example.other)
        if not example.same and alike >= _ONE_AND_THE_SAME and near.incident.id != example.about:
            continue
        fits = max(
            min(similarity(ours, example.one), similarity(near.vector, example.other)),
            min(similarity(ours, example.other), similarity(near.vector, example.one)),
        )
        if fits >= best:
            best, found = fits, example
    return found


def _ago_s(incident: Incident, now_ms: int) -> int:
    return max(now_ms - last_seen_ms(incident, now_ms), 0) // 1000


def _compared(alerts: Sequence[Alert], others: Sequence[Alert]) -> str:
    ours, theirs = {token_of(alert) for alert in alerts}, {token_of(alert) for alert in others}
    parts = (("in both", ours & theirs), ("only now", ours - theirs), ("only then", theirs - ours))
    return "; ".join(
        f"{name}: {', '.join(token.replace('|', ' ') for token in sorted(tokens)) or 'nothing'}"
        for name, tokens in parts
    )
