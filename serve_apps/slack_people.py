"""What the Slack door asks of Slack itself: who clicked, and to tell them what came of it."""

import logging
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import structlog
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from sentinel.incidents.nouns import Principal
from sentinel.settings import LOOPBACK_HOSTS
from serve_apps.slack_payloads import Person

_TIMEOUT_S = 5
# What a call of slack_sdk may raise; the last where it takes a plain text for a mapping.
SLACK_FAILS = (SlackClientError, aiohttp.ClientError, OSError, AttributeError)

log = structlog.get_logger(__name__)


def web_client(bot_token: str, api_url: str) -> AsyncWebClient:
    quiet = logging.getLogger("serve_apps.slack.wire")
    quiet.setLevel(logging.WARNING)
    client = AsyncWebClient(token=bot_token, base_url=api_url, timeout=_TIMEOUT_S, logger=quiet, retry_handlers=[])
    if urlsplit(api_url).hostname in LOOPBACK_HOSTS:
        client.proxy = None  # slack_sdk takes HTTPS_PROXY for every address
    return client


def principal_of(person: Person, name: str) -> Principal:
    """Who the journal says did it; `name` is what Slack calls them."""
    return Principal(id=f"slack:{person.team}/{person.user}", name=name or person.user, via="slack")


async def look_up(client: AsyncWebClient, user_id: str, team_id: str) -> tuple[str, str]:
    """Why Slack's word on the user rules them out (empty if it does not), and their name.

    No answer rules them out too: a guest must not decide because Slack was slow. The API remains.
    """
    try:
        answer = await client.users_info(user=user_id)
    except SLACK_FAILS as error:
        log.warning("clicker not looked up", user=user_id, error=failure(error))
        return f"not decided: Slack did not tell who you are ({failure(error)}); decide by API instead", ""
    user: Mapping[str, Any] = answer.get("user") or {}
    barred = ("deleted", "is_bot", "is_restricted", "is_ultra_restricted", "is_stranger")
    if user.get("id") != user_id or user.get("team_id", team_id) != team_id or any(map(user.get, barred)):
        return "not decided: only full members of this workspace may decide", ""
    return "", str(user.get("real_name") or "")


async def whisper(client: AsyncWebClient, channel: str, user: str, line: str) -> None:
    """Tell one person something in a channel; where that fails, the card still tells the truth."""
    try:
        await client.chat_postEphemeral(channel=channel, user=user, **_plain(line))
    except SLACK_FAILS as error:
        log.warning("clicker not told", user=user, error=failure(error))


async def tell_thread(client: AsyncWebClient, channel: str, ts: str, line: str) -> None:
    """Tell those who follow a card; for what no incident's history has, so that where it fails it is not told."""
    try:
        await client.chat_postMessage(channel=channel, thread_ts=ts, **_plain(line))
    except SLACK_FAILS as error:
        log.warning("thread not told", channel=channel, ts=ts, error=failure(error))


def _plain(line: str) -> dict[str, Any]:
    """A line of which nothing is taken for a mention, a link or a format."""
    block = {"type": "section", "text": {"type": "plain_text", "text": line[:1500], "emoji": False}}
    text = line[:1500].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {"text": text, "blocks": [block], "parse": "none", "link_names": False}


def failure(error: Exception) -> str:
    """A failure in a word; the texts of slack_sdk carry whole answers."""
    code = str(error.response.get("error")) if isinstance(error, SlackApiError) else ""
    return code if re.fullmatch(r"[a-z_]{1,64}", code) else type(error).__name__
