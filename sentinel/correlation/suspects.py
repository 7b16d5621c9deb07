"""Which service is the likely cause, ranked and explained.

The method is "v3" of our measurements on PetShop, Sock Shop and Nezha as far as alerts carry it; what
needs the raw series (change beside level, the noise of normal times) is the detector's part. Of single
injected faults the services ranked first were right in .58 (PetShop), .98 (Sock Shop) and .84 (Online
Boutique with per-call metrics) of the cases, with constants chosen on the same data: expect less.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sentinel.correlation.alerts import evidence, harmful, measure, pressure, subject, time_of_day
from sentinel.correlation.topology import Topology
from sentinel.incidents.nouns import Alert, Change, Direction, Suspect
from sentinel.telemetry.kinds import AVAILABILITY, CPU, ERRORS, LATENCY, MEMORY, TRAFFIC

MAX_SUSPECTS = 5
_CONSEQUENCE = 0.3  # a waiting service serves less, works less and may even answer faster
_KIND: Mapping[str, float] = {TRAFFIC: 0.5, CPU: 1.1, MEMORY: 1.1}
_EXPLAINED = 0.8
_FURTHER = 0.25  # weight of the second and third alert of a service
_FIRST_BONUS = 0.2  # onsets are seldom measured exactly, so being first decides only between equals
_FIRST_SPAN_MS = 60_000
CHANGE_WINDOW_MS = 1_800_000
_CHANGED = 0.5  # decides between suspects that are near each other, and never against clear evidence
_CONSEQUENCES = frozenset(
    {
        (TRAFFIC, Direction.DOWN),
        (LATENCY, Direction.DOWN),
        (CPU, Direction.DOWN),
        (ERRORS, Direction.DOWN),
        (AVAILABILITY, Direction.UP),
    }
)


def rank(alerts: Sequence[Alert], topology: Topology, changes: Sequence[Change] = ()) -> tuple[Suspect, ...]:
    """Up to MAX_SUSPECTS services, the likeliest cause first, each with its reasons in words.

    An alert weighs its evidence, less if it looks like a consequence. Latency and errors of a service
    are explained away by the loudest of its callees; cpu and memory never are, for nothing downstream
    burns another's cpu. Latency and errors of a call count for the one called. A service scores its
    best alert, a quarter of the next two, and slightly more for starting first or having been changed before.
    """
    if not alerts:
        return ()
    by_service: dict[str, list[Alert]] = {}
    for alert in alerts:
        by_service.setdefault(subject(alert), []).append(alert)
    # A consequence explains nothing: a callee that lost its traffic did not slow its caller.
    loudest = {
        service: max((_weight(alert) for alert in theirs if not _is_consequence(alert)), default=0.0)
        for service, theirs in by_service.items()
    }
    first_ms = min(alert.started_at_ms for alert in alerts)
    ranked = [
        _judge(service, theirs, loudest, first_ms if len(by_service) > 1 else None, topology)
        for service, theirs in by_service.items()
    ]
    ranked = [_after_change(suspect, changes, first_ms) for suspect in ranked]
    ranked.sort(key=lambda suspect: (-suspect.score, suspect.service))
    return tuple(ranked[:MAX_SUSPECTS])


def _judge(
    service: str, alerts: Sequence[Alert], loudest: Mapping[str, float], first_ms: int | None, topology: Topology
) -> Suspect:
    callee = max(
        (callee for callee in loudest if loudest[callee] > 0 and topology.calls(service, callee)),
        key=lambda callee: (loudest[callee], callee),
        default=None,
    )
    explained = _EXPLAINED * loudest[callee] if callee else 0.0
    weighed = sorted(
        ((max(_weight(alert) - (explained if _can_be_explained(alert) else 0.0), 0.0), alert) for alert in alerts),
        key=lambda pair: (-pair[0], pair[1].started_at_ms, pair[1].fingerprint),
    )
    score = weighed[0][0] + _FURTHER * sum(weight for weight, _ in weighed[1:3])
    started_ms = min(alert.started_at_ms for alert in alerts)
    reasons = [_sentence(service, alert) for _, alert in weighed[:3]]
    if callee and any(_can_be_explained(alert) for alert in alerts):
        reasons.append(f"its latency and errors may come from {callee}, which it calls")
    callers = [caller for caller in loudest if topology.calls(caller, service)]
    if callers:
        verb = "calls" if len(callers) == 1 else "call"
        reasons.append(f"{', '.join(callers)} {verb} it")
    if first_ms is not None and score > 0:
        score += _FIRST_BONUS * max(1 - (started_ms - first_ms) / _FIRST_SPAN_MS, 0.0)
        if started_ms == first_ms:
            reasons.append("nothing else turned unusual before it")
    return Suspect(service=service, score=round(score, 3), reasons=tuple(reasons))


def change_window(alerts: Sequence[Alert]) -> tuple[tuple[str, ...], int, int]:
    """Where to look for changes that could have caused `alerts`: services, from when, and until when."""
    first_ms = min(alert.started_at_ms for alert in alerts)
    services = {service for alert in alerts for service in (alert.service, subject(alert))}
    return tuple(sorted(services)), first_ms - CHANGE_WINDOW_MS, first_ms


def _after_change(suspect: Suspect, changes: Sequence[Change], first_ms: int) -> Suspect:
    own = [change for change in changes if change.service == suspect.service]
    if not own or suspect.score <= 0:
        return suspect
    latest = max(own, key=lambda change: change.at_ms)
    minutes = max(first_ms - latest.at_ms, 0) // 60_000
    ago = f"{minutes} min before" if minutes else "less than a minute before"
    reason = f"{latest.title}, {ago} ({latest.source})"
    return replace(suspect, score=round(suspect.score + _CHANGED, 3), reasons=(reason, *suspect.reasons))


def _weight(alert: Alert) -> float:
    return evidence(alert) * _KIND.get(alert.kind, 1.0) * (_CONSEQUENCE if _is_consequence(alert) else 1.0)


def _is_consequence(alert: Alert) -> bool:
    return (alert.kind, pressure(alert)) in _CONSEQUENCES


def _can_be_explained(alert: Alert) -> bool:
    return alert.kind in (LATENCY, ERRORS) and harmful(alert)


def _sentence(service: str, alert: Alert) -> str:
    if alert.from_outside:
        return f"{alert.metric} of {service} fires in {alert.origin} since {time_of_day(alert.started_at_ms)}"
    seen_by = f", as {alert.service} sees it" if alert.service != service else ""
    where = "above" if alert.direction is Direction.UP else "below"
    sentence = (
        f"{measure(alert)} of {service}{seen_by} {alert.score:.1f} spreads {where} normal, "
        f"first at {time_of_day(alert.started_at_ms)}"
    )
    if _is_consequence(alert):
        sentence += " (more likely a consequence)"
    return sentence
