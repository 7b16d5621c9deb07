"""Silences and maintenance windows: what people do not want to be told of, until when, who said so and why.

An alert that a silence matches still opens or joins an incident; an incident of nothing but such alerts is kept from
people, and planned for by nobody, until the silence ends or something else joins it. An incident that is open already
stays as it is: people were told of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from sentinel.correlation.alerts import harmful, subject
from sentinel.errors import Conflict, Invalid
from sentinel.ids import IncidentId, content_digest
from sentinel.incidents.nouns import Alert, Incident, IncidentState

LONGEST_MS = 366 * 86_400_000
_MOST_MATCHERS = 20
_LONGEST_TEXT = 1000
_LONGEST_VALUE = 200
_MOST_STARS = 4
_MOST_SERVICES = 5
_OWN = ("service", "metric", "kind", "severity", "direction", "origin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Matcher:
    """`name` is (or, with `equal` false, is not) `value`, in which `*` stands for anything.

    Names are service, metric, kind, severity, direction and origin of the alert, else one of its labels; a label that
    an alert lacks is empty.
    """

    name: str
    value: str
    equal: bool = True

    def matches(self, alert: Alert) -> bool:
        """Whether `alert` is one of those meant."""
        if self.name == "service":
            found = any(fnmatchcase(each, self.value) for each in (alert.service, subject(alert)))
        elif self.name in _OWN:
            found = fnmatchcase(str(getattr(alert, self.name)), self.value)
        else:
            found = fnmatchcase(alert.labels.get(self.name, ""), self.value)
        return found is self.equal


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """All `matchers` must match. It holds from `starts_at_ms` until `ends_at_ms`, or until somebody ended it before."""

    id: str
    matchers: tuple[Matcher, ...]
    starts_at_ms: int
    ends_at_ms: int
    author: str
    comment: str
    created_at_ms: int
    ended_by: str = ""

    def active(self, at_ms: int) -> bool:
        """Whether it holds at that time."""
        return self.starts_at_ms <= at_ms < self.ends_at_ms

    def matches(self, alert: Alert) -> bool:
        """Whether every matcher matches."""
        return all(matcher.matches(alert) for matcher in self.matchers)


def silence(
    matchers: Sequence[Matcher], starts_at_ms: int, ends_at_ms: int | None, author: str, comment: str, now_ms: int
) -> Silence:
    """A silence with the id that follows from its content.

    Raises Invalid for one without an end or an end that is past, without a matcher or with nothing but `*`, without an
    author or a comment, or longer than LONGEST_MS.
    """
    if ends_at_ms is None:
        raise Invalid("ends_at", None, "a time: no silence is without an end")
    if ends_at_ms <= max(starts_at_ms, now_ms):
        raise Invalid("ends_at", ends_at_ms, f"a time after its start {starts_at_ms} and after now {now_ms}")
    if ends_at_ms - starts_at_ms > LONGEST_MS:
        raise Invalid("ends_at", ends_at_ms, "at most 366 days after its start")
    if not 1 <= len(matchers) <= _MOST_MATCHERS:
        raise Invalid("matchers", len(matchers), f"1 to {_MOST_MATCHERS} of them")
    for number, matcher in enumerate(matchers):
        where = f"matchers.{number}"
        if not matcher.name:
            raise Invalid(f"{where}.name", matcher.name, "a label, or one of " + ", ".join(_OWN))
        if len(matcher.value) > _LONGEST_VALUE or matcher.value.count("*") > _MOST_STARS or "[" in matcher.value:
            expected = f"at most {_LONGEST_VALUE} letters with at most {_MOST_STARS} stars, and no ["
            raise Invalid(f"{where}.value", matcher.value, expected)
    if all(matcher.equal and not matcher.value.strip("*") for matcher in matchers):
        raise Invalid("matchers", [matcher.value for matcher in matchers], "one that does not match everything")
    for name, text in (("author", author), ("comment", comment)):
        if not text.strip() or len(text) > _LONGEST_TEXT:
            raise Invalid(name, text, f"1 to {_LONGEST_TEXT} letters")
    kept = tuple(matchers)
    digest = content_digest([kept, starts_at_ms, ends_at_ms, author, comment, now_ms])
    return Silence(
        id=f"sil-{digest[:12]}",
        matchers=kept,
        starts_at_ms=starts_at_ms,
        ends_at_ms=ends_at_ms,
        author=author,
        comment=comment,
        created_at_ms=now_ms,
    )


def services_of(incident: Incident) -> tuple[str, ...]:
    """The services that a silence made from the incident names; none where it is over.

    None as well where there are more than five, or where a name would match others than itself.
    """
    names = incident.services
    fit = all(len(name) <= _LONGEST_VALUE and not any(char in name for char in "*?[") for name in names)
    if incident.state is IncidentState.RESOLVED or not fit or len(names) > _MOST_SERVICES:
        return ()
    return names


def of_services(incident: Incident, ends_at_ms: int, author: str, comment: str, now_ms: int) -> tuple[Silence, ...]:
    """A silence for each service of the incident. Raises Conflict where there is none to name, or as `silence`."""
    names = services_of(incident)
    if not names:
        raise Conflict(f"incident {incident.id} is over, or its services cannot be named here: silence by API or CLI")
    return tuple(
        silence([Matcher(name="service", value=name)], now_ms, ends_at_ms, author, comment, now_ms) for name in names
    )


def ended(one: Silence, at_ms: int, by: str) -> Silence:
    """The silence ended by `by` before its time. Raises Conflict for one that is over."""
    if at_ms >= one.ends_at_ms:
        raise Conflict(f"silence {one.id} is over")
    return replace(one, ends_at_ms=at_ms, starts_at_ms=min(one.starts_at_ms, at_ms), ended_by=by)


def silencing(alerts: Iterable[Alert], silences: Iterable[Silence], at_ms: int) -> Silence | None:
    """The silence that keeps these alerts from people: each harmful one must be matched by some silence that holds.

    The one that ends last is named. None if an alert is left that people want to hear of, or nothing is harmful.
    """
    holding = sorted((each for each in silences if each.active(at_ms)), key=lambda each: (-each.ends_at_ms, each.id))
    told = [alert for alert in alerts if harmful(alert)]
    if not holding or not told:
        return None
    found: list[Silence] = []
    for alert in told:
        by = next((each for each in holding if each.matches(alert)), None)
        if by is None:
            return None
        found.append(by)
    return min(found, key=holding.index)


def covers(one: Silence, alerts: Iterable[Alert]) -> bool:
    """Whether the silence alone matches everything harmful that is still going on, and something is."""
    told = [alert for alert in alerts if alert.open and harmful(alert)]
    return bool(told) and all(map(one.matches, told))


def preview(meant: Silence, incidents: Iterable[Incident]) -> Mapping[IncidentId, tuple[Alert, ...]]:
    """What the silence matches of what is open: the open alerts, by unresolved incident.

    Those incidents stay as they are: a silence takes hold of an incident that opens while it holds.
    """
    found: dict[IncidentId, tuple[Alert, ...]] = {}
    for incident in incidents:
        if incident.state is not IncidentState.RESOLVED:
            matched = tuple(alert for alert in incident.alerts if alert.open and meant.matches(alert))
            if matched:
                found[incident.id] = matched
    return found
