"""The picture below a card: once, from the alert that weighs most, and never in the way of the card."""

import asyncio
from typing import Any

import pytest

from actors.pictures import Pictures, heaviest
from sentinel.adapters.slack_pictures import SlackPictures
from sentinel.clock import ManualClock
from sentinel.errors import Forbidden, SentinelError, Unavailable
from sentinel.incidents import facts as f
from sentinel.incidents.nouns import Card, Severity
from sentinel.sandbox.slack import SlackDouble, running
from sentinel.sandbox.slack.faults import Fault
from tests.unit.incidents.make import T0, after, alert, opened, posted

PNG = b"\x89PNG\r\n\x1a\n and the rest"
TOKEN = "xoxb-token-for-tests"
MOST = alert("web", "errors", severity=Severity.CRITICAL)


class Kept:
    """A detector that kept a curve, and a gallery that takes pictures or fails as ordered."""

    def __init__(self, curves: tuple[object, ...] = ("curve",)) -> None:
        self.curves, self.asked, self.shown = curves, list[Any](), list[tuple[Card, bytes, str]]()
        self.failing: list[Exception] = []

    async def explain(self, service: str, fingerprint: str, from_ms: int, to_ms: int) -> Any:
        self.asked.append((service, fingerprint))
        return self

    async def add(self, card: Card, png: bytes, title: str) -> None:
        if self.failing:
            raise self.failing.pop(0)
        self.shown.append((card, png, title))


def pictures(kept: Kept, clock: ManualClock | None = None) -> Pictures:
    return Pictures(kept, lambda _found: PNG, kept, clock or ManualClock(T0 + 10_000))


async def ended(made: Pictures) -> None:
    async with asyncio.timeout(5):
        while made._under_way:
            await asyncio.gather(*made._under_way)


async def test_the_heaviest_alert_is_shown_once_below_the_card() -> None:
    kept = Kept()
    made = pictures(kept)
    incident = after(opened(alert(score=90.0), MOST), posted())
    for _ in range(3):
        made.look(incident)
    await ended(made)
    made.look(incident)
    await ended(made)
    assert [(card.ts, png, title) for card, png, title in kept.shown] == [("1.0", PNG, "errors of web")]
    assert kept.asked == [("web", MOST.fingerprint)]


@pytest.mark.parametrize("failure", [Unavailable("Slack is away"), Forbidden("missing_scope"), ValueError("no curve")])
async def test_a_failure_is_tried_twice_at_most_and_raises_nowhere(failure: Exception) -> None:
    kept, clock = Kept(), ManualClock(T0 + 10_000)
    made = pictures(kept, clock)
    kept.failing = [failure] * 5
    made.look(after(opened(), posted()))
    await ended(made)
    assert len(kept.failing) == (3 if isinstance(failure, SentinelError) else 4)
    assert kept.shown == []


async def test_nothing_is_begun_without_a_card_for_what_is_over_old_or_from_outside() -> None:
    kept = Kept()
    made, late = pictures(kept), pictures(kept, ManualClock(T0 + 3_600_000))
    made.look(after(opened()))
    made.look(after(opened(), posted(), f.IncidentResolved(reason="over")))
    made.look(after(opened(alert(origin="alertmanager")), posted()))
    late.look(after(opened(), posted()))
    await ended(made)
    assert kept.asked == []
    assert heaviest(after(opened(alert(origin="alertmanager")))) is None


async def test_without_a_kept_curve_there_is_no_picture() -> None:
    kept = Kept(curves=())
    made = pictures(kept)
    made.look(after(opened(), posted()))
    await ended(made)
    assert (len(kept.asked), kept.shown) == (1, [])


async def test_slack_shows_the_picture_in_the_thread() -> None:
    double = SlackDouble(signing_secret="", token=TOKEN)
    async with running(double) as url:
        card = double.workspace.post("C0SENTINEL", "card", [])
        slack = SlackPictures(token=TOKEN, api_url=f"{url}/api/")
        await slack.add(Card(channel=card.channel, ts=card.ts), PNG, "errors of web")
        (reply,) = double.workspace.replies(card)
        assert (reply.text, double.workspace.files[reply.file].content) == ("errors of web", PNG)


@pytest.mark.parametrize("method", ["files.getUploadURLExternal", "files.completeUploadExternal"])
@pytest.mark.parametrize("fault", [Fault.SERVER_ERROR, Fault.RATE_LIMITED])
async def test_what_slack_refuses_is_one_of_our_errors(method: str, fault: Fault) -> None:
    double = SlackDouble(signing_secret="", token=TOKEN)
    async with running(double) as url:
        card = double.workspace.post("C0SENTINEL", "card", [])
        double.faults.order(method, fault, 1)
        slack = SlackPictures(token=TOKEN, api_url=f"{url}/api/")
        with pytest.raises(SentinelError):
            await slack.add(Card(channel=card.channel, ts=card.ts), PNG, "x")
        assert double.workspace.replies(card) == []


@pytest.mark.parametrize(
    "url", ["http://files.slack.com/x", "https://slack.com.evil.example/x", "https://evil.example"]
)
def test_bytes_go_to_slack_alone(url: str) -> None:
    slack = SlackPictures(token=TOKEN, api_url="https://slack.com/api/")
    with pytest.raises(Forbidden):
        slack._check(url)
    slack._check("https://files.slack.com/upload/v1/x")
