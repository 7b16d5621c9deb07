"""Why an alert is one, over HTTP: from samples at the door to numbers, a curve and a picture; and every way to miss."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from sentinel.correlation.alerts import alert_of
from sentinel.errors import Unavailable
from sentinel.incidents.nouns import Alert
from sentinel.settings import Detection, Settings
from tests.serve.door_rig import JSON, NOW, SAMPLES, SMALL, Door
from tests.unit.incidents.make import ID, alert, opened

CALM = [1.0, 1.1, 0.9, 1.0, 1.05, 0.95] * 8
WILD = [5.0, 6.0, 5.5]


async def send(door: Door, values: Sequence[float], first: int = 0, metric: str = "latency") -> None:
    rows = ", ".join(
        f'{{"metric": "{metric}", "labels": {{"service": "checkout"}}, "timestamp": {NOW + 1000 * (first + n)},'
        f' "value": {value}}}'
        for n, value in enumerate(values)
    )
    answer = await door.post(SAMPLES, f"[{rows}]".encode(), JSON)
    assert answer.status_code == 202, answer.text


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    made = Door()
    yield made
    await made.http.aclose()


async def alarmed(door: Door) -> Alert:
    """The alert of an incident that samples at the door opened."""
    await send(door, CALM)
    await send(door, WILD, len(CALM))
    (anomaly,) = door.detectors.heard or await door.detectors.open_anomalies()
    found = alert_of(anomaly)
    await door.rig.tell(opened(found))
    return found


def path(fingerprint: str, incident: str = ID) -> str:
    return f"/api/v1/incidents/{incident}/alerts/{fingerprint}"


async def test_an_alert_is_explained_with_its_curve(door: Door) -> None:
    found = await alarmed(door)
    answer = await door.http.get(path(found.fingerprint))
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["why"].startswith(f"6 is {told['explanation']['distance']:.1f} spreads above what is usual (1")
    assert told["alert"]["fingerprint"] == found.fingerprint
    assert told["explanation"]["policy"] == "default"
    assert told["explanation"]["distance"] > told["explanation"]["threshold"]
    (curve,) = told["curves"]
    assert curve["values"] == CALM + WILD
    assert curve["at_ms"] == [NOW + 1000 * n for n in range(len(CALM + WILD))]
    assert all(low < 1 < high for low, high in zip(curve["expected_low"], curve["expected_high"], strict=True))
    assert max(curve["expected_high"]) < 5


async def test_the_curve_goes_on_while_the_alert_is_open(door: Door) -> None:
    found = await alarmed(door)
    await send(door, [7.0, 9.0], len(CALM + WILD))
    told = (await door.http.get(path(found.fingerprint))).json()
    assert told["curves"][0]["values"][-2:] == [7.0, 9.0]
    assert told["explanation"]["value"] == 9.0


async def test_an_alert_is_drawn(door: Door) -> None:
    found = await alarmed(door)
    answer = await door.http.get(f"{path(found.fingerprint)}/curve.png")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.content[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("tail", ["", "/curve.png"], ids=["json", "png"])
@pytest.mark.parametrize(
    ("incident", "fingerprint", "error"),
    [
        ("inc-none", "0" * 16, "there is no incident inc-none"),
        (ID, "0" * 16, f"incident {ID} has no alert 0000000000000000"),
        (ID, "not hex", f"incident {ID} has no alert not hex"),
        (ID, "%00", f"incident {ID} has no alert"),
    ],
)
async def test_what_is_not_there_is_named(door: Door, tail: str, incident: str, fingerprint: str, error: str) -> None:
    await door.rig.tell(opened())
    answer = await door.http.get(path(fingerprint, incident) + tail)
    assert answer.status_code == 404
    assert answer.json()["error"].startswith(error)


@pytest.mark.parametrize("tail", ["", "/curve.png"], ids=["json", "png"])
async def test_an_alert_from_outside_has_no_curve_and_it_is_said(door: Door, tail: str) -> None:
    outside = alert(origin="alertmanager", value=None, expected_low=None, expected_high=None)
    await door.rig.tell(opened(outside))
    answer = await door.http.get(path(outside.fingerprint) + tail)
    assert answer.status_code == 404
    assert "came from alertmanager" in answer.json()["error"]


async def test_an_alert_that_the_detector_forgot_is_not_explained_by_how_the_series_is_now(door: Door) -> None:
    found = await alarmed(door)
    door.detectors.restart()
    await send(door, CALM, len(CALM + WILD))
    answer = await door.http.get(path(found.fingerprint))
    assert answer.status_code == 404
    assert "no longer knows" in answer.json()["error"]


async def test_a_detector_that_is_away_is_asked_again_later(door: Door) -> None:
    found = await alarmed(door)
    door.detectors.fails = Unavailable("sentinel-detection-0 is restarting")
    answer = await door.http.get(path(found.fingerprint))
    assert answer.status_code == 503
    assert "Retry-After" in answer.headers


async def test_without_curves_there_is_a_reason_and_no_picture() -> None:
    none = Door(Settings(detection=Detection(**{**dict(SMALL.detection), "curve_bytes": 0})))
    found = await alarmed(none)
    told = (await none.http.get(path(found.fingerprint))).json()
    assert told["why"]
    assert told["curves"] == []
    answer = await none.http.get(f"{path(found.fingerprint)}/curve.png")
    assert answer.status_code == 404
    assert "detection.curve_bytes is 0" in answer.json()["error"]
    await none.http.aclose()


async def test_pictures_asked_for_at_once_are_all_drawn(door: Door) -> None:
    found = await alarmed(door)
    asked = [door.http.get(f"{path(found.fingerprint)}/curve.png") for _ in range(4)]
    pictures = {answer.content for answer in await asyncio.gather(*asked)}
    assert len(pictures) == 1
