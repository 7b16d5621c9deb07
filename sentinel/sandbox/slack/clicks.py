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
from sentinel.sandbox.slack.web_api import as_json
from sentinel.sandbox.slack.workspace import APP, OTHER_TEAM, TEAM, Message, User

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


def payload(message: Message, pressed: Mapping[str, Any], user: User, channel_name: str, ts: str) -> dict[str, Any]:
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
        "trigger_id": f"{ts}.trigger",
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
        status, text = response.status_code, response.text[:300]
    except httpx.TimeoutException:
        text = "no answer within 3 seconds"
    except httpx.HTTPError as error:
        text = f"not delivered ({type(error).__name__})"
    return status, text, round((clock.monotonic() - started) * 1000)
