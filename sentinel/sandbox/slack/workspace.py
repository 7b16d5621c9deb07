"""What the double keeps: people, channels, messages with their edits, and notes only one person sees."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sentinel.clock import Clock

Blocks = Sequence[Mapping[str, Any]]

TEAM, TEAM_NAME, OTHER_TEAM = "T0ACME", "Acme", "T0OTHER"
APP, BOT, BOT_USER, BOT_NAME = "A0SENTINEL", "B0SENTINEL", "U0SENTINEL", "sentinel"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A member, a guest, a bot, or a stranger of another team in a shared channel."""

    id: str
    name: str
    real_name: str
    team_id: str = TEAM
    is_bot: bool = False
    deleted: bool = False
    is_restricted: bool = False
    is_stranger: bool = False


USERS = (
    User(id="U0ANN", name="ann", real_name="Ann Arbor"),
    User(id="U0BOB", name="bob", real_name="Bob Baxter"),
    User(id="U0CARLA", name="carla", real_name="Carla Costa"),
    User(id="U0GUEST", name="gil", real_name="Gil Guest", is_restricted=True),
    User(id="U0EVE", name="eve", real_name="Eve Elsewhere", team_id=OTHER_TEAM, is_stranger=True),
    User(id=BOT_USER, name=BOT_NAME, real_name="Sentinel", is_bot=True),
)


@dataclass(slots=True, kw_only=True)
class Message:
    """A message as it now is, with what it was before each edit."""

    channel: str
    ts: str
    text: str
    blocks: Blocks
    by_webhook: bool = False
    edited_ts: str | None = None
    earlier: list[tuple[str, Blocks]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Whisper:
    """An ephemeral message: only `user` sees it."""

    channel: str
    user: str
    ts: str
    text: str
    blocks: Blocks


class Workspace:
    """One team. `version` grows with each change, so that a page knows when to look."""

    def __init__(self, clock: Clock, channels: Sequence[str] = ("sentinel",)) -> None:
        self.users = {user.id: user for user in USERS}
        self.channels = {f"C0{name.upper().replace('-', '')}": name for name in channels}
        self.messages: list[Message] = []
        self.whispers: list[Whisper] = []
        self.version = 0
        self._clock = clock
        self._last_ts_us = 0

    def channel(self, name: str) -> str | None:
        """The id of a channel given by id, by name or by #name; None if there is none."""
        if name in self.channels:
            return name
        return next((key for key, each in self.channels.items() if each == name.removeprefix("#")), None)

    def message(self, channel: str, ts: str) -> Message | None:
        """The message of that channel and ts."""
        return next((each for each in self.messages if each.channel == channel and each.ts == ts), None)

    def post(self, channel: str, text: str, blocks: Blocks, *, by_webhook: bool = False) -> Message:
        """Add a message at the end of a channel."""
        message = Message(channel=channel, ts=self.next_ts(), text=text, blocks=blocks, by_webhook=by_webhook)
        self.messages.append(message)
        return message

    def edit(self, message: Message, text: str, blocks: Blocks) -> None:
        """Replace what a message says, and keep what it said."""
        message.earlier.append((message.text, message.blocks))
        message.text, message.blocks, message.edited_ts = text, blocks, self.next_ts()

    def whisper(self, channel: str, user: str, text: str, blocks: Blocks) -> Whisper:
        """Show something to one person."""
        whisper = Whisper(channel=channel, user=user, ts=self.next_ts(), text=text, blocks=blocks)
        self.whispers.append(whisper)
        return whisper

    def next_ts(self) -> str:
        """A `ts` later than every one before: Slack's id of a message is its time, made unique."""
        self.version += 1
        self._last_ts_us = max(self._clock.now_ms() * 1000, self._last_ts_us + 1)
        return f"{self._last_ts_us // 1_000_000}.{self._last_ts_us % 1_000_000:06d}"
