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


GROUPS = {"S0OPS": ("U0ANN", "U0BOB"), "S0EMPTY": ()}
GROUP_NAMES = {"S0OPS": "ops-oncall", "S0EMPTY": "nobody"}
TRIGGER_LIVES_MS = 3000


@dataclass(slots=True, kw_only=True)
class Message:
    """A message as it now is, with what it was before each edit. `thread_ts` names the one it stands below."""

    channel: str
    ts: str
    text: str
    blocks: Blocks
    by_webhook: bool = False
    thread_ts: str | None = None
    edited_ts: str | None = None
    file: str = ""  # the id of a file that it shows
    metadata: Mapping[str, Any] = field(default_factory=dict)
    earlier: list[tuple[str, Blocks]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Whisper:
    """An ephemeral message: only `user` sees it."""

    channel: str
    user: str
    ts: str
    text: str
    blocks: Blocks


@dataclass(slots=True, kw_only=True)
class File:
    """A file on its way: a place for `length` bytes, the bytes once they came, a title once it is shown."""

    id: str
    length: int
    content: bytes = b""
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Modal:
    """A form that stands open before one person."""

    id: str
    user: str
    view: Mapping[str, Any]


@dataclass(slots=True, kw_only=True)
class Trigger:
    """What a click or a command gives the app: the right to open one modal within three seconds."""

    user: str
    at_ms: int
    used: bool = False


class Workspace:
    """One team. `version` grows with each change, so that a page knows when to look."""

    def __init__(self, clock: Clock, channels: Sequence[str] = ("sentinel",)) -> None:
        self.users = {user.id: user for user in USERS}
        self.channels = {f"C0{name.upper().replace('-', '')}": name for name in channels}
        self.messages: list[Message] = []
        self.whispers: list[Whisper] = []
        self.groups = {group: list(members) for group, members in GROUPS.items()}
        self.modals: dict[str, Modal] = {}  # by user: a new one takes the old one's place
        self.homes: dict[str, Mapping[str, Any]] = {}
        self.files: dict[str, File] = {}
        self._triggers: dict[str, Trigger] = {}
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

    def post(
        self, channel: str, text: str, blocks: Blocks, *, by_webhook: bool = False, thread_ts: str | None = None
    ) -> Message:
        """Add a message at the end of a channel or of a thread."""
        ts = self.next_ts()
        message = Message(channel=channel, ts=ts, text=text, blocks=blocks, by_webhook=by_webhook, thread_ts=thread_ts)
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

    def replies(self, message: Message) -> list[Message]:
        """What stands below a message, oldest first."""
        return [each for each in self.messages if each.channel == message.channel and each.thread_ts == message.ts]

    def trigger(self, user: str) -> str:
        """The right to show `user` one modal, soon."""
        name = f"{self.next_ts()}.{len(self._triggers)}.trigger"
        self._triggers[name] = Trigger(user=user, at_ms=self._clock.now_ms())
        return name

    def use_trigger(self, name: str) -> str | None:
        """Take a trigger and answer whose it was; or None, and `why_not` says why."""
        found = self._triggers.get(name)
        if found is None or self.why_not(name):
            return None
        found.used = True
        return found.user

    def why_not(self, name: str) -> str:
        """Slack's code for a trigger that opens nothing; empty for one that does."""
        found = self._triggers.get(name)
        if found is None:
            return "invalid_trigger_id"
        if found.used:
            return "exchanged_trigger_id"
        return "expired_trigger_id" if self._clock.now_ms() - found.at_ms > TRIGGER_LIVES_MS else ""

    def next_ts(self) -> str:
        """A `ts` later than every one before: Slack's id of a message is its time, made unique."""
        self.version += 1
        self._last_ts_us = max(self._clock.now_ms() * 1000, self._last_ts_us + 1)
        return f"{self._last_ts_us // 1_000_000}.{self._last_ts_us % 1_000_000:06d}"


def as_json(message: Message) -> dict[str, Any]:
    """A message in Slack's words."""
    shown: dict[str, Any] = {
        "type": "message",
        "ts": message.ts,
        "user": BOT_USER,
        "bot_id": BOT,
        "app_id": APP,
        "team": TEAM,
        "text": message.text,
        "blocks": message.blocks,
    }
    if message.thread_ts:
        shown["thread_ts"] = message.thread_ts
    if message.edited_ts:
        shown["edited"] = {"user": BOT_USER, "ts": message.edited_ts}
    return shown
