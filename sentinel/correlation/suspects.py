"""Which service is the likely cause, ranked and explained.

An alert is evidence against the service it speaks of. What a service suffers is explained away by the services it
calls, and what nobody who suffers depends on is put last. The method is "v3" of our measurements on PetShop, Sock
Shop and Nezha, with a symptom that speaks in kinds; benchmarks/correlation.py measures this very function and says how
its constants were chosen.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sentinel.correlation.alerts import evidence, harmful, measure, outgoing, pressure, subject, time_of_day
from sentinel.correlation.topology import Topology
from sentinel.incidents.nouns import Alert, Change, Direction, Suspect
from sentinel.telemetry.kinds import AVAILABILITY, CPU, ERRORS, LATENCY, MEMORY, OTHER, TRAFFIC

MAX_SUSPECTS = 5
_CONSEQUENCE = 0.3  # a waiting service serves less, works less and may even answer faster
_KIND: Mapping[str, float] = {TRAFFIC: 0.5, CPU: 1.1, MEMORY: 1.1}
_EXPLAINED = 0.8
_UNRELATED = 2.0  # off for a service that nobody who suffers calls, directly or through others
_FURTHER = 0.25  # weight of the second and third alert of a service
_FIRST_BONUS = 0.2  # onsets are seldom measured exactly, so being first decides only between equals
_FIRST_SPAN_MS = 60_000
CHANGE_WINDOW_MS = 1_800_000
_CHANGED = 0.5  # decides between suspects that are near each other, and never against clear evidence
_OTHER_KIND = 0.15  # a symptom of another kind than the one users suffer from
_RATIO = 1.5  # "rose 3.2x" is said from here
_SYMPTOMS = frozenset({LATENCY, ERRORS, AVAILABILITY})
_CONSEQUENCES = frozenset(
    {
        (TRAFFIC, Direction.DOWN),
        (TRAFFIC, Direction.UP),
        (LATENCY, Direction.DOWN),
        (CPU, Direction.DOWN),
        (ERRORS, Direction.DOWN),
        (AVAILABILITY, Direction.UP),
    }
)


@dataclass(frozen=True, slots=True)
class _Clue:
    """One alert as evidence: its weight before anything explains it, and whether a callee could."""

    alert: Alert
    weight: float
    consequence: bool
    symptom: bool


def rank(alerts: Sequence[Alert], topology: Topology, changes: Sequence[Change] = ()) -> tuple[Suspect, ...]:
    """Up to MAX_SUSPECTS services, the likeliest cause first, each with its reasons in words and numbers.

    An alert weighs its evidence, less if it looks like a consequence. Latency, errors and availability of a call, or
    of a virtual node, count for the service called. Those of a service are explained away by the loudest of its
    callees; cpu and memory never are, for nothing downstream burns another's cpu. A service scores its best alert, a
    quarter of the next two, slightly more for starting first or having been changed before, and less if no service
    that suffers depends on it.
    """
    if not alerts:
        return ()
    by_service: dict[str, list[_Clue]] = {}
    for alert in alerts:
        by_service.setdefault(topology.of(subject(alert)), []).append(_clue(alert))
    for clues in by_service.values():
        clues.sort(key=lambda clue: (-clue.weight, clue.alert.started_at_ms, clue.alert.fingerprint))
    symptom = _symptom(by_service, topology)
    if symptom:
        spoken = _spoken(by_service[symptom])
        by_service = {
            service: sorted((_heard(clue, spoken) for clue in clues), key=lambda clue: -clue.weight)
            for service, clues in by_service.items()
        }
    related = _related(symptom, by_service, topology)
    # A consequence explains nothing: a callee that lost its traffic did not slow its caller.
    loudest = {
        service: next((clue for clue in clues if not clue.consequence), None) for service, clues in by_service.items()
    }
    first_ms = min(alert.started_at_ms for alert in alerts)
    ranked = [
        _judge(
            service,
            clues,
            loudest,
            first_ms if len(by_service) > 1 else None,
            topology,
            service in related,
        )
        for service, clues in by_service.items()
    ]
    ranked = [_after_change(suspect, changes, first_ms, topology) for suspect in ranked]
    ranked.sort(key=lambda suspect: (-suspect.score, suspect.service))
    return tuple(replace(suspect, score=max(suspect.score, 0.0)) for suspect in ranked[:MAX_SUSPECTS])


def change_window(alerts: Sequence[Alert]) -> tuple[tuple[str, ...], int, int]:
    """Where to look for changes that could have caused `alerts`: services, from when, and until when."""
    first_ms = min(alert.started_at_ms for alert in alerts)
    services = {service for alert in alerts for service in (alert.service, subject(alert))}
    return tuple(sorted(services)), first_ms - CHANGE_WINDOW_MS, first_ms


def _clue(alert: Alert) -> _Clue:
    consequence = is_consequence(alert)
    weight = evidence(alert) * _KIND.get(alert.kind, 1.0) * (_CONSEQUENCE if consequence else 1.0)
    return _Clue(alert, weight, consequence, alert.kind in _SYMPTOMS and not consequence and harmful(alert))


def is_consequence(alert: Alert) -> bool:
    """Whether the alert is likelier an effect than a cause.

    Such are what falls while one waits, traffic either way (others send it), an unknown quantity that falls, and calls
    that the service makes: those are slow where they arrive.
    """
    if alert.from_outside:
        return False
    falls = alert.kind == OTHER and alert.direction is Direction.DOWN
    return falls or (alert.kind, pressure(alert)) in _CONSEQUENCES or outgoing(alert)


def _symptom(by_service: Mapping[str, Sequence[_Clue]], topology: Topology) -> str | None:
    """The outermost service that suffers: of those that nobody who suffers calls, the one that most others are behind.

    A fault in what it does not reach is another story. None if nothing known to the topology suffers.
    """
    suffering = {service: clues for service, clues in by_service.items() if any(clue.symptom for clue in clues)}
    outermost = [
        service for service in suffering if topology.knows(service) and not topology.callers_among(service, suffering)
    ]
    return max(
        outermost,
        key=lambda service: (
            len(topology.downstream(service).intersection(by_service)),
            max(clue.weight for clue in suffering[service] if clue.symptom),
            service,
        ),
        default=None,
    )


def _related(symptom: str | None, services: Iterable[str], topology: Topology) -> frozenset[str]:
    """Which services may have to do with the symptom: those it depends on, those that lead to it, and the unknown."""
    if symptom is None:
        return frozenset(services)
    reached = topology.downstream(symptom) | topology.upstream(symptom) | {symptom}
    return frozenset(service for service in services if service in reached or not topology.knows(service))


def _spoken(clues: Sequence[_Clue]) -> frozenset[str]:
    """The kinds in which the symptom speaks: those at least half as loud as its loudest."""
    loudest = max(clue.weight for clue in clues if clue.symptom)
    return frozenset(clue.alert.kind for clue in clues if clue.symptom and clue.weight >= loudest / 2)


def _heard(clue: _Clue, spoken: frozenset[str]) -> _Clue:
    """The clue, fainter if it is a symptom of another kind: where users see errors, a slow answer is a side matter."""
    return clue if not clue.symptom or clue.alert.kind in spoken else replace(clue, weight=clue.weight * _OTHER_KIND)


def _judge(
    service: str,
    clues: Sequence[_Clue],
    loudest: Mapping[str, _Clue | None],
    first_ms: int | None,
    topology: Topology,
    related: bool,
) -> Suspect:
    callee, told = _explanation(service, loudest, topology)
    explained = _EXPLAINED * told.weight if told else 0.0
    weighed = sorted(
        ((max(clue.weight - (explained if clue.symptom else 0.0), 0.0), clue) for clue in clues),
        key=lambda pair: -pair[0],
    )
    score = weighed[0][0] + _FURTHER * sum(weight for weight, _ in weighed[1:3])
    started_ms = min(clue.alert.started_at_ms for clue in clues)
    reasons = [_sentence(service, clue) for _, clue in weighed[:3]]
    suffered = next((clue for _, clue in weighed if clue.symptom), None)
    if told and suffered:
        reasons.append(_explained_by(service, suffered.alert, callee, told.alert))
    callers = [caller for caller in loudest if topology.calls(caller, service)]
    if callers:
        verb = "calls" if len(callers) == 1 else "call"
        reasons.append(f"{', '.join(callers)} {verb} it")
    if first_ms is not None and score > 0:
        score += _FIRST_BONUS * max(1 - (started_ms - first_ms) / _FIRST_SPAN_MS, 0.0)
        if started_ms == first_ms:
            reasons.append("nothing else turned unusual before it")
    if not related:
        score -= _UNRELATED
        reasons.append("nothing that suffers here depends on it")
    return Suspect(service=service, score=round(score, 3), reasons=tuple(reasons))


def _explanation(service: str, loudest: Mapping[str, _Clue | None], topology: Topology) -> tuple[str, _Clue | None]:
    """The callee that speaks loudest, and its clue; none if no callee says anything."""
    best, told = "", None
    for callee in topology.callees_of(service):
        clue = loudest.get(callee)
        if clue and clue.weight > 0 and (told is None or (clue.weight, callee) > (told.weight, best)):
            best, told = callee, clue
    return best, told


def _after_change(suspect: Suspect, changes: Sequence[Change], first_ms: int, topology: Topology) -> Suspect:
    own = [change for change in changes if topology.of(change.service) == suspect.service]
    if not own or suspect.score <= 0:
        return suspect
    latest = max(own, key=lambda change: change.at_ms)
    minutes = max(first_ms - latest.at_ms, 0) // 60_000
    ago = f"{minutes} min before" if minutes else "less than a minute before"
    reason = f"{latest.title}, {ago} ({latest.source})"
    return replace(suspect, score=round(suspect.score + _CHANGED, 3), reasons=(reason, *suspect.reasons))


def _sentence(service: str, clue: _Clue) -> str:
    alert = clue.alert
    if alert.from_outside:
        return f"{alert.metric} of {service} fires in {alert.origin} since {time_of_day(alert.started_at_ms)}"
    seen_by = f", as {alert.service} sees it" if alert.service != service else ""
    where = "above" if alert.direction is Direction.UP else "below"
    moved = _moved(alert)
    sentence = (
        f"{measure(alert)} of {service}{seen_by} {moved}{alert.score:.1f} spreads {where} normal, "
        f"first at {time_of_day(alert.started_at_ms)}"
    )
    if alert.change is not None and alert.change < alert.score / 2:
        sentence += f" (only {alert.change:.1f} spreads from where it was before)"
    if clue.consequence:
        sentence += " (more likely a consequence)"
    return sentence


def _moved(alert: Alert) -> str:
    """`rose 3.2x, `: how many times the middle of the expected band, where that says something."""
    if alert.value is None or alert.expected_low is None or alert.expected_high is None:
        return ""
    usual = (alert.expected_low + alert.expected_high) / 2
    if usual <= 0 or alert.value < 0:
        return ""
    ratio = alert.value / usual
    if ratio >= _RATIO:
        return f"rose {ratio:.1f}x, "
    return f"fell to {ratio:.2f}x, " if ratio <= 1 / _RATIO else ""


def _explained_by(service: str, suffered: Alert, callee: str, told: Alert) -> str:
    """`checkout is explained by payments, which it calls: cpu of payments 9.1 spreads off, 5 s before`."""
    seconds = round((suffered.started_at_ms - told.started_at_ms) / 1000)
    when = f"{seconds} s before" if seconds > 0 else f"{-seconds} s after" if seconds < 0 else "at the same time"
    strength = f"{told.metric} fires" if told.from_outside else f"{measure(told)} {told.score:.1f} spreads off"
    return f"{service} is explained by {callee}, which it calls: {strength}, {when}"
