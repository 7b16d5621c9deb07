from dataclasses import replace

import pytest

from sentinel.correlation.silences import Matcher, Silence, covers, ended, preview, silence, silencing
from sentinel.errors import Conflict, Invalid
from sentinel.incidents.nouns import IncidentState, Severity
from tests.unit.correlation.make import T0, alert, incident

HOUR = 3_600_000


def quiet(*matchers: Matcher, start_ms: int = T0, end_ms: int | None = T0 + HOUR, **changes: str) -> Silence:
    given = {"author": "Ann", "comment": "a deploy", **changes}
    return silence(matchers or (Matcher(name="service", value="payments"),), start_ms, end_ms, now_ms=T0, **given)


@pytest.mark.parametrize(
    ("rule", "matcher", "matches"),
    [
        ("a service by name", Matcher(name="service", value="payments"), True),
        ("a star stands for anything", Matcher(name="service", value="pay*"), True),
        ("another service", Matcher(name="service", value="checkout"), False),
        ("a label", Matcher(name="env", value="prod"), True),
        ("a label that must not be so", Matcher(name="env", value="prod", equal=False), False),
        ("a label that the alert lacks is empty", Matcher(name="zone", value="*a*"), False),
        ("one that must be empty", Matcher(name="zone", value=""), True),
        ("a kind", Matcher(name="kind", value="latency"), True),
        ("a severity", Matcher(name="severity", value="critical"), False),
    ],
)
def test_what_a_matcher_means(rule: str, matcher: Matcher, matches: bool):
    assert matcher.matches(alert("payments", labels={"env": "prod"})) is matches, rule


def test_a_call_is_matched_by_the_one_called_as_well():
    assert quiet().matches(alert("web", labels={"peer.service": "payments"}))


@pytest.mark.parametrize(
    ("rule", "changes", "field"),
    [
        ("no silence without an end", {"end_ms": None}, "ends_at"),
        ("an end that is past", {"start_ms": T0 - 2 * HOUR, "end_ms": T0 - HOUR}, "ends_at"),
        ("an end before its start", {"start_ms": T0 + 2 * HOUR}, "ends_at"),
        ("an end beyond a year", {"end_ms": T0 + 400 * 24 * HOUR}, "ends_at"),
        ("nobody said so", {"author": " "}, "author"),
        ("nobody said why", {"comment": ""}, "comment"),
    ],
)
def test_what_is_no_silence(rule: str, changes: dict, field: str):
    with pytest.raises(Invalid) as refused:
        quiet(**changes)
    assert refused.value.field == field, rule


@pytest.mark.parametrize(
    ("matchers", "field"),
    [
        ((), "matchers"),
        ((Matcher(name="service", value="*"), Matcher(name="env", value="")), "matchers"),
        ((Matcher(name="", value="x"),), "matchers.0.name"),
        ((Matcher(name="a", value="*a*b*c*d*"),), "matchers.0.value"),
        ((Matcher(name="a", value="[ab]"),), "matchers.0.value"),
        ((Matcher(name="a", value="x" * 201),), "matchers.0.value"),
    ],
)
def test_matchers_that_are_refused(matchers: tuple[Matcher, ...], field: str):
    with pytest.raises(Invalid) as refused:
        silence(matchers, T0, T0 + HOUR, "Ann", "why", T0)
    assert refused.value.field == field


def test_the_same_silence_has_the_same_id():
    assert quiet().id == quiet().id
    assert quiet().id != quiet(comment="another").id


class TestSilencing:
    def test_every_harmful_alert_must_be_covered(self):
        assert silencing([alert("payments")], [quiet()], T0) == quiet()
        assert silencing([alert("payments"), alert("web")], [quiet()], T0) is None

    def test_several_silences_may_share_the_work(self):
        web = quiet(Matcher(name="service", value="web"), end_ms=T0 + 2 * HOUR)
        assert silencing([alert("payments"), alert("web")], [quiet(), web], T0) == web

    def test_information_only_does_not_break_a_silence(self):
        calm = alert("web", severity=Severity.INFO)
        assert silencing([alert("payments"), calm], [quiet()], T0) == quiet()
        assert silencing([calm], [quiet()], T0) is None

    @pytest.mark.parametrize("at_ms", [T0 - 1, T0 + HOUR])
    def test_it_holds_from_its_start_until_its_end(self, at_ms: int):
        assert silencing([alert("payments")], [quiet()], at_ms) is None


def test_ending_it_says_by_whom_and_only_once():
    over = ended(quiet(), T0 + 60_000, "Bob")
    assert (over.ends_at_ms, over.ended_by) == (T0 + 60_000, "Bob")
    with pytest.raises(Conflict):
        ended(over, T0 + 60_000, "Bob")


def test_one_that_was_to_start_later_ends_at_once():
    planned = quiet(start_ms=T0 + 1000)
    assert ended(planned, T0 + 10, "Bob").starts_at_ms == T0 + 10


def test_a_preview_shows_open_alerts_of_unresolved_incidents():
    open_one = incident("inc-1", alert("payments"), alert("web"))
    closed = incident("inc-2", alert("payments", ended=True))
    over = replace(incident("inc-3", alert("payments")), state=IncidentState.RESOLVED)
    assert dict(preview(quiet(), [open_one, closed, over])) == {"inc-1": (alert("payments"),)}
    assert not covers(quiet(), open_one.alerts)
    assert covers(quiet(), [alert("payments"), alert("web", ended=True)])
