"""A picture in the thread below a card: uploaded to Slack as a file, in the three steps that Slack asks for.

docs.slack.dev/reference/methods: files.getUploadURLExternal, a POST of the bytes, files.completeUploadExternal.
"""

from http import HTTPStatus
from urllib.parse import urlsplit

import aiohttp

from sentinel.adapters.slack import answered, web_client
from sentinel.errors import Forbidden, SentinelError, Unavailable
from sentinel.incidents.nouns import Card

_HOST = "slack.com"


class SlackPictures:
    """`actors.pictures.Gallery` on Slack, with a bot token (scope files:write)."""

    def __init__(self, *, token: str, api_url: str, timeout_s: float = 10) -> None:
        self._web = web_client(token, api_url, timeout_s)
        self._api = urlsplit(api_url)
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)

    async def add(self, card: Card, png: bytes, title: str) -> None:
        """Show `png` below a message. Raises Unavailable, Overloaded, Forbidden or Invalid.

        Where the answer to the last step is lost, the picture may be there all the same.
        """
        place = await answered(self._web.files_getUploadURLExternal(filename="curve.png", length=len(png)))
        url, file_id = str(place.get("upload_url")), str(place.get("file_id"))
        self._check(url)
        failure = await self._sent(url, png)
        if failure:
            raise failure
        await answered(
            self._web.files_completeUploadExternal(
                files=[{"id": file_id, "title": title}], channel_id=card.channel, thread_ts=card.ts
            )
        )

    def _check(self, url: str) -> None:
        """What is uploaded goes to Slack and nowhere else, whatever the answer names."""
        given = urlsplit(url)
        ours = (given.scheme, given.netloc) == (self._api.scheme, self._api.netloc)
        host = given.hostname or ""
        if not ours and not (given.scheme == "https" and (host == _HOST or host.endswith(f".{_HOST}"))):
            raise Forbidden("Slack named an address that is not Slack's for the upload")

    async def _sent(self, url: str, png: bytes) -> SentinelError | None:
        """Why the bytes did not arrive; raised by the caller, for what aiohttp raises carries the URL."""
        try:
            async with (
                aiohttp.ClientSession(timeout=self._timeout, trust_env=self._web.proxy is not None) as http,
                http.post(url, data=png, allow_redirects=False) as answer,
            ):
                if answer.status == HTTPStatus.OK:
                    return None
                return Unavailable(f"Slack: HTTP {answer.status} to an upload")
        except (aiohttp.ClientError, OSError) as error:
            return Unavailable(f"Slack cannot be reached ({type(error).__name__})")
