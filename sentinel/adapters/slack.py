"""The Messenger on Slack: a bot token posts and updates, a webhook URL only posts.

Each failure is classified once, here. A reply that was lost counts as Unavailable and may be repeated:
the second card asks for the same plan by the same digest, so that it can only be decided once.
"""

import logging
import re
from collections.abc import Awaitable, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse
from slack_sdk.webhook import WebhookResponse
from slack_sdk.webhook.async_client import AsyncWebhookClient

from sentinel.errors import Forbidden, Invalid, Overloaded, SentinelError, Unavailable
from sentinel.incidents.nouns import Card

DEFAULT_API_URL = "https://slack.com/api/"

# Codes of docs.slack.dev/reference/methods/chat.postMessage. What stands in neither set is a refusal
# that repeating does not mend (a scope, a token, a channel): Forbidden.
_TRANSIENT = frozenset(
    {"internal_error", "fatal_error", "request_timeout", "service_unavailable", "team_added_to_org", "accesslimited"}
)
_MALFORMED = frozenset(
    {
        "invalid_blocks",
        "invalid_blocks_format",
        "invalid_payload",
        "msg_too_long",
        "msg_blocks_too_long",
        "no_text",
        "invalid_arguments",
        "invalid_arg_name",
        "invalid_array_arg",
        "invalid_charset",
        "invalid_form_data",
        "invalid_post_type",
        "missing_post_type",
        "invalid_json",
        "json_not_object",
    }
)
_RATE_LIMITED = frozenset({"ratelimited", "rate_limited", "message_limit_exceeded"})
_LOOKED_THROUGH = 200
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class SlackMessenger:
    """`sentinel.ports.Messenger` on Slack. Give a bot token, or else the URL of an incoming webhook.

    Raises Invalid when built without either. Token and URL are secrets: no message or log line has them.
    """

    def __init__(
        self,
        *,
        channel: str,
        token: str = "",
        webhook_url: str = "",
        api_url: str = DEFAULT_API_URL,
        timeout_s: float = 10,
    ) -> None:
        if not token and not webhook_url:
            raise Invalid("slack", "neither", "a bot_token or a webhook_url")
        self._channel = channel
        timeout: Any = timeout_s
        self._web = web_client(token, api_url, timeout_s) if token else None
        # Not httpx here: it logs every URL at INFO, and this URL is the secret.
        self._hook = AsyncWebhookClient(webhook_url, timeout=timeout, logger=_quiet(), retry_handlers=[])
        if urlsplit(webhook_url).hostname in _LOOPBACK:
            self._hook.proxy = None

    @property
    def can_update(self) -> bool:
        """True with a bot token."""
        return self._web is not None

    async def post(self, blocks: Sequence[Mapping[str, object]], text: str, about: str = "") -> Card:
        """Post to the channel. Raises Unavailable, Overloaded (rate limit), Forbidden or Invalid."""
        if self._web is None:
            await self._post_to_webhook(blocks, text)
            return Card(channel=self._channel, ts="")
        return await self._posted(self._web, self._channel, blocks, text, about=about)

    async def find(self, channel: str, about: str, since_ms: int) -> tuple[Card, ...]:
        """Messages of `post` about this. Raises as `post` does; Forbidden without the scope that lets an app read."""
        if self._web is None:
            return ()
        answer = await answered(
            self._web.conversations_history(
                channel=channel, oldest=f"{since_ms / 1000:.6f}", limit=_LOOKED_THROUGH, include_all_metadata=True
            )
        )
        return tuple(
            Card(channel=channel, ts=str(message["ts"]))
            for message in answer["messages"]
            if message.get("metadata", {}) == _metadata(about)
        )

    async def update(self, card: Card, blocks: Sequence[Mapping[str, object]], text: str) -> None:
        """Replace the message. Raises as `post` does; Invalid with only a webhook, or for a card without `ts`."""
        if self._web is None or not card.ts:
            raise Invalid("card", (card.channel, card.ts), "a message that was posted with a bot token")
        await answered(
            self._web.chat_update(
                channel=card.channel,
                ts=card.ts,
                blocks=[dict(block) for block in blocks],
                text=text,
                parse="none",
                link_names=False,
            )
        )

    async def reply(self, card: Card, blocks: Sequence[Mapping[str, object]], text: str) -> Card:
        """Post in the thread below a message. Raises as `update` does."""
        if self._web is None or not card.ts:
            raise Invalid("card", (card.channel, card.ts), "a message that was posted with a bot token")
        return await self._posted(self._web, card.channel, blocks, text, card.ts)

    async def check(self) -> str:
        """A line that says whom Slack takes us for (auth.test). Raises as `post` does."""
        if self._web is None:
            return f"Slack: webhook set, posts to {self._channel}; it cannot be checked without posting"
        answer = await answered(self._web.auth_test())
        return f"Slack: {answer.get('user')} in workspace {answer.get('team')} ({answer.get('team_id')})"

    async def _posted(
        self,
        web: AsyncWebClient,
        channel: str,
        blocks: Sequence[Mapping[str, object]],
        text: str,
        thread_ts: str | None = None,
        about: str = "",
    ) -> Card:
        answer = await answered(
            web.chat_postMessage(
                channel=channel,
                thread_ts=thread_ts,
                metadata=_metadata(about) if about else None,
                blocks=[dict(block) for block in blocks],
                text=text,
                parse="none",
                link_names=False,
                unfurl_links=False,
                unfurl_media=False,
            )
        )
        return Card(channel=str(answer["channel"]), ts=str(answer["ts"]))

    async def _post_to_webhook(self, blocks: Sequence[Mapping[str, object]], text: str) -> None:
        # The last three are fields of the webhook's JSON that `send` has no arguments for.
        body = {
            "text": text,
            "blocks": [dict(block) for block in blocks],
            "unfurl_links": False,
            "unfurl_media": False,
            "parse": "none",
            "link_names": False,
        }
        answer: WebhookResponse = await answered(self._hook.send_dict(body))
        if answer.status_code != HTTPStatus.OK or answer.body.strip() != "ok":
            raise _classify(answer.status_code, _code(answer.body), dict(answer.headers))


def _metadata(about: str) -> dict[str, object]:
    """What a message is about, for ourselves: nobody sees it."""
    return {"event_type": "sentinel_card", "event_payload": {"about": about}}


def web_client(token: str, api_url: str, timeout_s: float) -> AsyncWebClient:
    """Slack's Web API, one attempt a call."""
    # Retries are the caller's: slack_sdk's own handler posted a message twice after a lost reply.
    # The timeout goes to aiohttp as it is; the annotation of slack_sdk knows whole seconds only.
    timeout: Any = timeout_s
    client = AsyncWebClient(token=token, base_url=api_url, timeout=timeout, logger=_quiet(), retry_handlers=[])
    # slack_sdk takes HTTPS_PROXY for everything; a double on this machine is not behind it.
    if urlsplit(api_url).hostname in _LOOPBACK:
        client.proxy = None
    return client


def _quiet() -> logging.Logger:
    """A logger for slack_sdk that never reaches its DEBUG lines, which hold URLs and bodies."""
    logger = logging.getLogger("sentinel.adapters.slack.wire")
    logger.setLevel(logging.WARNING)
    return logger


async def answered(call: Awaitable[Any]) -> Any:
    """The answer of `call`, or its failure as one of ours.

    Ours is raised outside the handlers, without theirs as its context: what the libraries raise carries the
    URL and the request.
    """
    try:
        return await call
    except SlackApiError as error:
        failure = _of_api_error(error)
    except TimeoutError:
        failure = Unavailable("Slack did not answer in time")
    except (aiohttp.ClientError, OSError) as error:
        failure = Unavailable(f"Slack cannot be reached ({type(error).__name__})")
    except (SlackClientError, AttributeError) as error:  # slack_sdk takes a plain text for a mapping
        failure = Unavailable(f"Slack gave an answer that cannot be read ({type(error).__name__})")
    raise failure


def _of_api_error(error: SlackApiError) -> SentinelError:
    answer = error.response
    if not isinstance(answer, AsyncSlackResponse) or not isinstance(answer.data, dict):
        status = getattr(answer, "status_code", None) or getattr(answer, "status", None)
        return _classify(int(status or HTTPStatus.BAD_GATEWAY), "", dict(getattr(answer, "headers", {})))
    data: dict[str, Any] = answer.data
    metadata = data.get("response_metadata")
    details = metadata.get("messages", []) if isinstance(metadata, dict) else []
    return _classify(answer.status_code, _code(str(data.get("error", ""))), dict(answer.headers), details)


def _classify(status: int, code: str, headers: Mapping[str, str], details: Sequence[object] = ()) -> SentinelError:
    """What an unsuccessful answer means for the caller. Slack says most with HTTP 200 and a code."""
    if status == HTTPStatus.TOO_MANY_REQUESTS or code in _RATE_LIMITED:
        return Overloaded("Slack: rate limit reached", retry_after_s=_retry_after(headers))
    if code in _MALFORMED:
        said = "; ".join(str(detail) for detail in details[:3])
        return Invalid("slack message", code, f"blocks that Slack accepts{f' ({said[:300]})' if said else ''}")
    if code in _TRANSIENT or status >= HTTPStatus.INTERNAL_SERVER_ERROR or (status == HTTPStatus.OK and not code):
        return Unavailable(f"Slack: {code or f'HTTP {status}'}")
    return Forbidden(f"Slack refuses: {code or f'HTTP {status}'}")


def _code(text: str) -> str:
    """`text` if it is one of Slack's error codes, else nothing: a page of HTML is no message for people."""
    return text.strip() if re.fullmatch(r"[a-z][a-z_]{1,63}", text.strip()) else ""


def _retry_after(headers: Mapping[str, str]) -> int:
    given = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    return min(int(given), 3600) if re.fullmatch(r"[0-9]{1,9}", given) else 1
