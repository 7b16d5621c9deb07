"""Clicks: a true `block_actions` body, signed over its exact bytes, sent as Slack sends it.

Payload as docs.slack.dev/reference/interaction-payloads/block_actions-payload shows it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx
import msgspec

from sentinel.adapters.slack_signature import SIGNATURE_HEADER, TIMESTAMP_HEADER, sign
from sentinel.clock import Clock
from sentinel.sandbox.slack.workspace import APP, OTHER_TEAM, TEAM, Message, Modal, User, as_json

ANSWER_WITHIN_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Clicked:
    """What came of a click: the HTTP status, None if no answer came within three seconds or at all."""

    user: str
    action_id: str
    channel: str
    ts: str
    at_ms: int
    status: int | None
    answer: str
    elapsed_ms: int


def button(message: Message, action_id: str) -> Mapping[str, Any] | None:
    """The button of that action id in the message as it now is."""
    elements = (element for block in message.blocks for element in block.get("elements", []))
    return next((each for each in elements if each.get("action_id") == action_id), None)


def payload(
    message: Message, pressed: Mapping[str, Any], user: User, channel_name: str, ts: str, trigger: str = ""
) -> dict[str, Any]:
    """The interaction payload for one press; `ts` is the time of the press, in Slack's form."""
    block = next((each for each in message.blocks if pressed in each.get("elements", [])), {})
    return {
        "type": "block_actions",
        "user": {"id": user.id, "username": user.name, "name": user.name, "team_id": user.team_id},
        "api_app_id": APP,
        "token": "verification-token-of-old",
        "container": {
            "type": "message",
            "message_ts": message.ts,
            "channel_id": message.channel,
            "is_ephemeral": False,
        },
        "trigger_id": trigger or f"{ts}.trigger",
        "team": {"id": TEAM, "domain": "acme"},
        "enterprise": None,
        "is_enterprise_install": False,
        "channel": {"id": message.channel, "name": channel_name},
        "message": as_json(message),
        "state": {"values": {}},
        "response_url": f"https://hooks.slack.com/actions/{TEAM}/{OTHER_TEAM}/never-used",
        "actions": [
            {
                "type": "button",
                "action_id": pressed["action_id"],
                "block_id": block.get("block_id", ""),
                "text": pressed["text"],
                "value": pressed.get("value", ""),
                "style": pressed.get("style", "default"),
                "action_ts": ts,
            }
        ],
    }


def submission(modal: Modal, user: User, values: Mapping[str, str]) -> dict[str, Any]:
    """The payload of a modal that `user` submits; `values` by action id.

    Payload as docs.slack.dev/reference/interaction-payloads/view-interactions-payload shows it.
    """
    state: dict[str, dict[str, Any]] = {}
    for block in modal.view["blocks"]:
        if block["type"] == "input":
            element = block["element"]
            state[block["block_id"]] = {element["action_id"]: _given(element, values.get(element["action_id"]))}
    return {
        "type": "view_submission",
        "team": {"id": TEAM, "domain": "acme"},
        "user": {"id": user.id, "username": user.name, "name": user.name, "team_id": user.team_id},
        "api_app_id": APP,
        "token": "verification-token-of-old",
        "trigger_id": "",
        "view": {**modal.view, "id": modal.id, "team_id": TEAM, "state": {"values": state}, "hash": "1.abc"},
        "response_urls": [],
        "is_enterprise_install": False,
        "enterprise": None,
    }


def _given(element: Mapping[str, Any], value: str | None) -> dict[str, Any]:
    if element["type"] != "static_select":
        return {"type": element["type"], "value": (element.get("initial_value") if value is None else value) or None}
    option = next((each for each in element["options"] if each["value"] == value), element.get("initial_option"))
    return {"type": "static_select", "selected_option": option}


def command_body(text: str, user: User, channel: str, channel_name: str, trigger: str) -> bytes:
    """A slash command as the form that Slack sends."""
    fields = {
        "token": "verification-token-of-old",
        "team_id": user.team_id,
        "team_domain": "acme",
        "channel_id": channel,
        "channel_name": channel_name,
        "user_id": user.id,
        "user_name": user.name,
        "command": "/sentinel",
        "text": text,
        "api_app_id": APP,
        "is_enterprise_install": "false",
        "response_url": f"https://hooks.slack.com/commands/{TEAM}/never-used",
        "trigger_id": trigger,
    }
    return urlencode(fields).encode()


def home_body(user: User, event_id: str, at_ms: int) -> bytes:
    """The event of somebody who opens the app's own page."""
    event = {"type": "app_home_opened", "user": user.id, "channel": "D0HOME", "tab": "home", "event_ts": event_id}
    sent = {
        "token": "verification-token-of-old",
        "team_id": TEAM,
        "api_app_id": APP,
        "event": event,
        "type": "event_callback",
        "event_id": f"Ev{event_id.replace('.', '')}",
        "event_time": at_ms // 1000,
        "authorizations": [{"team_id": TEAM, "user_id": user.id, "is_bot": True}],
    }
    return msgspec.json.encode(sent)


def form_body(content: Mapping[str, Any]) -> bytes:
    """A payload as the one form field Slack sends it in."""
    return urlencode({"payload": msgspec.json.encode(content).decode()}).encode()


def signed_headers(secret: str, body: bytes, at_ms: int, content_type: str = "") -> dict[str, str]:
    """The headers of a signed request whose clock says `at_ms`."""
    timestamp = str(at_ms // 1000)
    return {
        "content-type": content_type or "application/x-www-form-urlencoded",
        "user-agent": "Slackbot 1.0 (+https://api.slack.com/robots)",
        TIMESTAMP_HEADER: timestamp,
        SIGNATURE_HEADER: sign(secret, timestamp, body),
    }


async def deliver(
    client: httpx.AsyncClient, url: str, body: bytes, headers: Mapping[str, str], clock: Clock
) -> tuple[int | None, str, int]:
    """Send a click; answers (status or None, text, elapsed milliseconds)."""
    started = clock.monotonic()
    status: int | None = None
    try:
        response = await client.post(url, content=body, headers=dict(headers), timeout=ANSWER_WITHIN_S)
        status, text = response.status_code, response.text[:20_000]
    except httpx.TimeoutException:
        text = "no answer within 3 seconds"
    except httpx.HTTPError as error:
        text = f"not delivered ({type(error).__name__})"
    return status, text, round((clock.monotonic() - started) * 1000)
