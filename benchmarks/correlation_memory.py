"""The part of the benchmark of correlation that is about knowing a fault again: duplicates and recall."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.correlation_hand_over import OPENS, groups, handed_over, topology
from benchmarks.fault_sets import Case
from benchmarks.report import table
from sentinel.adapters.worded_memory import TextEmbedder
from sentinel.correlation import dedup, grouping, suspects
from sentinel.correlation.alerts import harmful
from sentinel.correlation.recall import fused, title_of
from sentinel.correlation.signature import Vectors, vectors
from sentinel.correlation.window import HotWindow
from sentinel.ids import IncidentId
from sentinel.incidents.nouns import Alert, Incident, IncidentState, Suspect, merge

WINDOW_S = 1800.0
THRESHOLD = 0.8


@dataclass(frozen=True)
class Candidate:
    """What one minute of a fault would open, and which fault it truly is."""

    case: str
    group: str
    truth: str
    at_ms: int
    alerts: tuple[Alert, ...]
    root: str
    ranked: tuple[Suspect, ...]
    vectors: Vectors


def candidates(cases: Iterable[Case]) -> list[Candidate]:
    """One candidate for each minute of each fault in which something opens."""
    found = []
    for case in cases:
        for minute in range(len(case.window)):
            of_minute = replace(case, window=case.window[minute : minute + 1], at_ms=case.at_ms + minute * case.step_ms)
            parts = grouping.components(handed_over(of_minute, OPENS), topology(case))
            if not parts or not any(map(harmful, parts[0])):
                continue
            found.append(candidate(of_minute, parts[0]))
    return found


def candidate(case: Case, alerts: Sequence[Alert]) -> Candidate:
    """The candidate of these alerts. Two ways to burn a processor look alike and are one kind of fault."""
    ranked = suspects.rank(alerts, topology(case))
    kind = "cpu" if case.fault.startswith("cpu") else case.fault
    root = ranked[0].service
    return Candidate(
        case.name, case.group, f"{case.root} {kind}", case.at_ms, tuple(alerts), root, ranked, vectors(alerts, root)
    )


def duplicates(found: Sequence[Candidate]) -> str:
    """The table of duplicates: each candidate joins the most alike of the last 30 minutes, or begins an incident."""
    ways: dict[str, Callable[[Sequence[Candidate]], list[int]]] = {
        "**signature at 0.8, as the actor decides**": _by_the_window,
        "signature at 0.7": lambda those: _by_vector(those, "sig", 0.7),
        "signature at 0.9": lambda those: _by_vector(those, "sig", 0.9),
        "words (hashed) at 0.8": lambda those: _by_vector(those, "text", 0.8),
        "words (hashed) at 0.9": lambda those: _by_vector(those, "text", 0.9),
        "same service": _by_service,
    }
    rows = []
    for group, chosen in groups(found):
        truths = [each.truth for each in chosen]
        for name, way in ways.items():
            labels = way(chosen)
            shares = [f"{share:.3f}" for share in b_cubed(labels, truths)]
            rows.append((group, name, str(len(chosen)), str(len(set(truths))), str(len(set(labels))), *shares))
    head = ("set", "grouped by", "candidates", "true groups", "incidents", "B-cubed P", "R", "F")
    return table(head, rows)


def _by_the_window(those: Sequence[Candidate]) -> list[int]:
    window, labels, opened = HotWindow(WINDOW_S), [], dict[IncidentId, int]()
    for each in those:
        near = window.near(each.vectors.sig, each.at_ms, WINDOW_S)
        judged = dedup.judge(each.vectors.sig, each.alerts, near, each.at_ms, WINDOW_S, THRESHOLD)
        if isinstance(judged, dedup.Folded):
            known = window.get(judged.incident_id)
            assert known is not None
            window.put(_grown(known, each))
            labels.append(opened[judged.incident_id])
        else:
            incident_id = IncidentId(f"inc-{len(opened)}")
            opened[incident_id] = len(opened)
            window.put(_opened(incident_id, each))
            labels.append(opened[incident_id])
    return labels


def _opened(incident_id: IncidentId, of: Candidate) -> Incident:
    # Each minute is a candidate of its own: the alerts of the one before are over.
    return Incident(
        id=incident_id,
        state=IncidentState.OPEN,
        seq=1,
        title=title_of(of.alerts, of.ranked),
        severity=of.alerts[0].severity,
        services=tuple(dict.fromkeys(alert.service for alert in of.alerts)),
        alerts=tuple(replace(alert, ended_at_ms=alert.last_at_ms) for alert in of.alerts),
        suspects=of.ranked,
        similar=(),
        reason="",
        memory_note="",
        previous_id=None,
        opened_at_ms=of.at_ms,
        updated_at_ms=of.at_ms,
    )


def _grown(known: Incident, by: Candidate) -> Incident:
    alerts = {alert.fingerprint: alert for alert in known.alerts}
    for alert in by.alerts:
        over = replace(alert, ended_at_ms=alert.last_at_ms)
        alerts[alert.fingerprint] = merge(alerts[alert.fingerprint], over) if alert.fingerprint in alerts else over
    return replace(known, seq=known.seq + 1, alerts=tuple(alerts.values()))


def _by_vector(those: Sequence[Candidate], name: str, threshold: float) -> list[int]:
    members: list[list[Candidate]] = []
    labels = []
    for each in those:
        best, chosen = threshold, len(members)
        for number, group in enumerate(members):
            if each.at_ms - group[-1].at_ms > WINDOW_S * 1000:
                continue
            alike = max(float(getattr(each.vectors, name) @ getattr(o.vectors, name)) for o in (group[0], group[-1]))
            if alike >= best:
                best, chosen = alike, number
        if chosen == len(members):
            members.append([])
        members[chosen].append(each)
        labels.append(chosen)
    return labels


def _by_service(those: Sequence[Candidate]) -> list[int]:
    roots = list(dict.fromkeys(each.root for each in those))
    return [roots.index(each.root) for each in those]


def b_cubed(labels: Sequence[int], truths: Sequence[str]) -> tuple[float, float, float]:
    """Precision, recall and F of a clustering (Bagga and Baldwin, 1998)."""
    own, true = np.array(labels), np.array(truths)
    together, belong = own[:, None] == own[None, :], true[:, None] == true[None, :]
    both = (together & belong).sum(axis=1)
    precision, recall = np.mean(both / together.sum(axis=1)), np.mean(both / belong.sum(axis=1))
    return float(precision), float(recall), float(2 * precision * recall / (precision + recall))


def recalls(cases: Sequence[Case], text: TextEmbedder | None = None) -> str:
    """The table of recall: the first minute of a fault asks what is remembered of faults by other minutes of theirs.

    Within a day every fault is remembered by its later minutes; between days, by all minutes of the other day, and
    only faults that the other day has are asked for. With `text` that model makes the text vectors.
    "At best" is what nobody could surpass who is told the same alerts.
    """
    rows = []
    days = [
        (group, _remembered(chosen, text)) for group, chosen in groups([c for c in cases if c.group[:5] == "Nezha"])
    ]
    for group, faults in days:
        asked = [first for first, rest, _ in faults if rest]
        known = [(rest, first.truth) for first, rest, _ in faults if rest]
        rows.append(_hits(f"{group}: first minute -> later minutes", asked, known))
    for group, faults in days:
        for other, others in days:
            truths = {first.truth for first, _, _ in others}
            asked = [first for first, _, _ in faults if first.truth in truths]
            if group != other and len(asked) > 1:
                known = [(whole, first.truth) for first, _, whole in others]
                rows.append(_hits(f"{group} -> {other}", asked, known))
    return table(("asked -> remembered", "asked", "remembered", "hit@1", "at best", "hit@3"), rows)


Remembered = tuple[Candidate, Vectors | None, Vectors]


def _remembered(cases: Sequence[Case], text: TextEmbedder | None) -> list[Remembered]:
    """For each fault with an opening: its first minute, its later minutes (None if there is none), and all."""
    found = []
    for case in cases:
        minutes = candidates([case])
        if not minutes:
            continue
        later = _worded(_together(case, minutes[1:]), text) if len(minutes) > 1 else None
        first = replace(minutes[0], vectors=_worded(minutes[0].vectors, text))
        found.append((first, later, _worded(_together(case, minutes), text)))
    return found


def _worded(made: Vectors, text: TextEmbedder | None) -> Vectors:
    return replace(made, text=text.embed([made.words])[0]) if text else made


def _together(case: Case, minutes: Sequence[Candidate]) -> Vectors:
    alerts: dict[str, Alert] = {}
    for minute in minutes:
        for alert in minute.alerts:
            known = alerts.get(alert.fingerprint)
            alerts[alert.fingerprint] = merge(known, alert) if known else alert
    return candidate(case, list(alerts.values())).vectors


def _hits(name: str, asked: Sequence[Candidate], known: Sequence[tuple[Vectors | None, str]]) -> tuple[str, ...]:
    first, third = 0, 0
    for asking in asked:
        order = sorted(known, key=lambda each: -fused(asking.vectors, each[0])[0] if each[0] else 0.0)
        first += order[0][1] == asking.truth
        third += asking.truth in [each[1] for each in order[:3]]
    told = [frozenset((alert.fingerprint, alert.direction) for alert in each.alerts) for each in asked]
    best = at_best(told, [each.truth for each in asked]) / len(asked)
    shares = (f"{share:.3f}" for share in (first / len(asked), best, third / len(asked)))
    return name, str(len(asked)), str(len(known)), *shares


def at_best(told: Sequence[Hashable], truths: Sequence[str]) -> int:
    """How many can be answered right by whoever gives the same answer to the same question."""
    answers: dict[Hashable, Counter[str]] = {}
    for question, truth in zip(told, truths, strict=True):
        answers.setdefault(question, Counter())[truth] += 1
    return sum(max(counts.values()) for counts in answers.values())
