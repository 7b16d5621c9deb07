"""The Slack door as an ASGI application: forged, stale and malformed requests, and bursts."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import pytest
from structlog.testing import capture_logs

from sentinel.adapters import slack_card
from sentinel.incidents.nouns import Principal
from sentinel.sandbox.slack.clicks import form_body, signed_headers
from serve_apps.slack import MAX_BODY
from tests.serve.slack_rig import DIGEST, PLAN, SECRET, TOKEN, VALUE, Rig, rig, silent, until  # noqa: F401 the fixtures of this module


@pytest.mark.parametrize("skew_s", [-300, -299, 0, 30])
async def test_within_the_window(rig: Rig, skew_s: int) -> None:
    assert (await rig.double.click(rig.message, slack_card.APPROVE, "U0ANN", skew_s=skew_s)).status == 200
    await rig.notes()


@pytest.mark.parametrize("skew_s", [-301, -86_400, 31, 300])
async def test_stale_and_future_clicks_are_refused(silent: Rig, skew_s: int) -> None:
    assert (await silent.double.click(silent.message, slack_card.APPROVE, "U0ANN", skew_s=skew_s)).status == 401


async def test_forgeries_are_refused_in_one_line_and_leave_no_trace_of_the_body(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    body = form_body(rig.body())
    good = signed_headers(SECRET, body, rig.clock.now_ms())
    signature = good["x-slack-signature"]
    forged = [
        (body + b"&a=1", good),
        (body.replace(b"approve", b"rejects", 1), good),
        (body, {**good, "x-slack-signature": signature.upper()}),
        (body, {**good, "x-slack-signature": "v0=" + "0" * 64}),
        (body, {**good, "x-slack-request-timestamp": "now"}),
        (body, {name: value for name, value in good.items() if name != "x-slack-signature"}),
        (body, signed_headers("another secret", body, rig.clock.now_ms())),
        (b"", {}),
        (b"\xff" * 100, {}),
    ]
    with capture_logs() as logs:
        for forged_body, headers in forged:
            answer = await rig.send(forged_body, headers)
            assert answer.status_code == 401
            assert set(answer.json()) >= {"error"}
            assert "\n" not in answer.text
    assert rig.decisions.calls == []
    written = repr(logs) + caplog.text
    assert len([entry for entry in logs if entry["event"] == "slack request refused"]) == len(forged)
    for secret in (SECRET, TOKEN, signature[3:], DIGEST, "verification-token-of-old", quote(DIGEST)):
        assert secret not in written


async def test_a_header_that_came_twice_is_refused(rig: Rig) -> None:
    body = form_body(rig.body())
    headers = [*signed_headers(SECRET, body, rig.clock.now_ms()).items()]
    twice = [*headers, ("x-slack-signature", "v0=" + "0" * 64)]
    assert (await rig.http.post("/slack/events", content=body, headers=twice)).status_code == 401
    assert (await rig.http.post("/slack/events", content=body, headers=headers)).status_code == 200
    await rig.notes()


FORM = "application/x-www-form-urlencoded"


def _value(value: object) -> dict[str, Any]:
    action = {"type": "button", "action_id": slack_card.APPROVE, "value": value, "action_ts": "1.1"}
    return {"actions": [action]}


MALFORMED_PAYLOADS: dict[str, dict[str, Any]] = {
    "another type": {"type": "message_action"},
    "a submission without a view": {"type": "view_submission"},
    "a value whose mac is none": _value(msgspec.json.encode({"plan": PLAN, "digest": DIGEST, "mac": "x"}).decode()),
    "a digest that is none": _value(msgspec.json.encode({"plan": PLAN, "digest": "<!channel>"}).decode()),
    "no type": {"type": None},
    "no user": {"user": None},
    "user without id": {"user": {"name": "x"}},
    "user id of another form": {"user": {"id": "u/../x"}},
    "team id of another form": {"team": {"id": "T1/../T2"}},
    "no channel": {"channel": None},
    "no container": {"container": {}},
    "a container that is a list": {"container": []},
    "a ts that is no ts": {"container": {"message_ts": "yesterday"}},
    "no actions": {"actions": []},
    "two actions": {"actions": [_value(VALUE)["actions"][0]] * 2},
    "an unknown action": {"actions": [{"type": "button", "action_id": "launch", "value": VALUE}]},
    "no value": {"actions": [{"type": "button", "action_id": slack_card.APPROVE}]},
    "an empty value": _value(""),
    "a value that is a number": _value(3),
    "a value that is no JSON": _value("{"),
    "a value of a list": _value("[]"),
    "a value with more": _value(msgspec.json.encode({"plan": PLAN, "digest": DIGEST, "x": 1}).decode()),
    "a value without digest": _value(msgspec.json.encode({"plan": PLAN}).decode()),
    "an empty digest": _value(msgspec.json.encode({"plan": PLAN, "digest": ""}).decode()),
    "a plan that is none": _value(msgspec.json.encode({"plan": "x", "digest": DIGEST}).decode()),
    "a plan too long": _value(msgspec.json.encode({"plan": f"{'i' * 300}.p1", "digest": DIGEST}).decode()),
    "a value nested deeply": _value("[" * 100_000),
}


@pytest.mark.parametrize("case", MALFORMED_PAYLOADS)
async def test_a_malformed_payload_is_a_400(silent: Rig, case: str) -> None:
    answer = await silent.send_signed(form_body(silent.body(**MALFORMED_PAYLOADS[case])))
    assert answer.status_code == 400
    assert silent.decisions.calls == []
    assert silent.double.workspace.whispers == []
    assert "verification-token-of-old" not in answer.text


MALFORMED_BODIES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", FORM),
    "empty JSON": (b"", "application/json"),
    "not UTF-8": (b"payload=\xff\xfe", FORM),
    "not UTF-8 after escapes": (b"payload=%ff%fe", FORM),
    "JSON not UTF-8": (b'{"type":"url_verification","challenge":"x","y":"\xff"}', "application/json"),
    "no payload": (b"a=1", FORM),
    "empty payload": (b"payload=", FORM),
    "payload twice": (b"payload=%7B%7D&payload=%7B%7D", FORM),
    "payload no JSON": (b"payload=%7B", FORM),
    "payload a list": (b"payload=%5B%5D", FORM),
    "payload NaN": (b"payload=NaN", FORM),
    "payload nested deeply": (b"payload=" + b"%5B" * 100_000, FORM),
    "payload nested deeply inside": (b'payload={"x":' + b"[" * 100_000, FORM),
    "a lone surrogate": (b'payload={"type":"\\ud800"}', FORM),
    "many fields": (b"&".join(b"a=1" for _ in range(1000)), FORM),
    "semicolons": (b"payload;payload", FORM),
    "form sent as JSON": (b"payload=%7B%7D", "application/json"),
    "JSON sent as a form": (b'{"type":"url_verification","challenge":"x"}', FORM),
    "an event": (b'{"type":"event_callback","event":{}}', "application/json"),
    "a challenge without challenge": (b'{"type":"url_verification"}', "application/json"),
    "a challenge that is an object": (b'{"type":"url_verification","challenge":{}}', "application/json"),
    "half a slash command": (b"command=%2Fsentinel&text=approve&user_id=U0ANN", FORM),
    "another slash command": (b"command=%2Fother&user_id=U0ANN&team_id=T0ACME&channel_id=C1", FORM),
    "a field of a command twice": (
        b"command=%2Fsentinel&user_id=U0ANN&user_id=U0BOB&team_id=T0ACME&channel_id=C1",
        FORM,
    ),
    "text": (b"hello", "text/plain"),
    "multipart": (b"--x", "multipart/form-data; boundary=x"),
}


@pytest.mark.parametrize("case", MALFORMED_BODIES)
async def test_a_malformed_body_is_a_400(silent: Rig, case: str) -> None:
    body, content_type = MALFORMED_BODIES[case]
    answer = await silent.send_signed(body, content_type)
    assert answer.status_code == 400
    assert "\n" not in answer.text
    assert silent.decisions.calls == []


async def test_slacks_own_checks_are_answered(silent: Rig) -> None:
    challenge = (
        b'{"token":"x","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P","type":"url_verification"}'
    )
    answer = await silent.send_signed(challenge, "application/json")
    assert (answer.status_code, answer.json()) == (200, {"challenge": msgspec.json.decode(challenge)["challenge"]})
    assert (await silent.send_signed(urlencode({"ssl_check": "1", "token": "x"}).encode())).status_code == 200
    assert (await silent.send(challenge, {"content-type": "application/json"})).status_code == 401


async def test_a_body_too_large_is_a_413_and_is_not_read_to_its_end(silent: Rig) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while taken < 64:
            taken += 1
            yield b"x" * (MAX_BODY // 4)

    answer = await silent.http.post("/slack/events", content=b"x" * (MAX_BODY + 1))
    assert answer.status_code == 413
    answer = await silent.http.post("/slack/events", content=endless())
    assert answer.status_code == 413
    assert taken < 64


async def test_other_methods_are_refused(silent: Rig) -> None:
    assert (await silent.http.get("/slack/events")).status_code == 405


async def test_with_a_webhook_only_a_click_still_counts(silent: Rig) -> None:
    assert (await silent.double.click(silent.message, slack_card.APPROVE, "U0ANN")).status == 200
    await until(lambda: bool(silent.decisions.calls))
    assert silent.decisions.calls[0][3] == Principal(id="slack:T0ACME/U0ANN", name="ann", via="slack")


async def test_with_a_webhook_only_another_team_still_does_not(silent: Rig) -> None:
    with capture_logs() as logs:
        assert (await silent.double.click(silent.message, slack_card.APPROVE, "U0EVE")).status == 200
        await until(lambda: any(entry["event"] == "slack click" for entry in logs))
    assert silent.decisions.calls == []


async def test_fifty_clicks_at_once_are_all_answered_in_time(rig: Rig) -> None:
    users = ["U0ANN", "U0BOB", "U0CARLA"]
    clicks = [rig.double.click(rig.message, slack_card.APPROVE, users[n % 3]) for n in range(50)]
    answered = await asyncio.gather(*clicks)
    assert {clicked.status for clicked in answered} == {200}
    told = await rig.notes(50)
    assert sum(text.startswith("already decided") for _, text in told) == 49
