"""What Slack sends, understood strictly: every request becomes one typed value or Invalid. Pure.

Shapes as docs.slack.dev, "Interaction payloads", "Slash commands" and "app_home_opened" show them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl

import msgspec

from sentinel.errors import Invalid
from sentinel.ids import incident_of_plan

FORM = "application/x-www-form-urlencoded"
Press = Literal[
    "sentinel_approve",
    "sentinel_reject",
    "sentinel_narrow",
    "sentinel_cancel",
    "sentinel_abort",
    "sentinel_acknowledge",
    "sentinel_unlike",
    "sentinel_silence",
]
_OF_INCIDENTS = ("sentinel_acknowledge", "sentinel_unlike", "sentinel_silence")  # the others are about a plan
CARD = "card"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who pressed, typed or opened something, as Slack vouches for it."""

    user: str
    name: str
    user_team: str
    is_bot: bool
    team: str


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a button or a modal is about, with the place where it was shown: `audience`, `channel` and `ts`."""

    plan: str = ""
    digest: str = ""
    incident: str = ""
    mac: str = ""
    audience: str = CARD
    channel: str = ""
    ts: str = ""
    index: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressed:
    """One press of a button on a card."""

    person: Person
    action: Press
    about: About
    trigger: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A modal that was filled in: what stood in its one field, and what was chosen in its one list."""

    person: Person
    action: Press
    about: About
    value: str
    choice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """A slash command: its words."""

    person: Person
    words: tuple[str, ...]
    channel: str
    trigger: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeOpened:
    """Somebody looks at the app's own page."""

    person: Person


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Slack's own check of the address, or an event that nobody here waits for."""


Interaction = Pressed | Submitted | Typed | HomeOpened | Check

_Id = Annotated[str, msgspec.Meta(pattern=r"^[A-Z0-9]{2,32}$")]
_Ts = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,12}\.[0-9]{1,9}$")]
_Mac = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{64})?$")]
_Trigger = Annotated[str, msgspec.Meta(max_length=200)]


class _User(msgspec.Struct):
    id: _Id
    name: str = ""
    team_id: _Id | None = None
    is_bot: bool = False


class _Named(msgspec.Struct):
    id: _Id


class _Container(msgspec.Struct):
    message_ts: _Ts


class _Action(msgspec.Struct):
    action_id: Press
    value: str


class _Actions(msgspec.Struct, tag_field="type", tag="block_actions"):
    user: _User
    channel: _Named
    container: _Container
    actions: Annotated[list[_Action], msgspec.Meta(min_length=1, max_length=1)]
    team: _Named | None = None
    trigger_id: _Trigger = ""


class _Option(msgspec.Struct):
    value: Annotated[str, msgspec.Meta(max_length=150)]


class _Field(msgspec.Struct):
    type: str = ""
    value: Annotated[str, msgspec.Meta(max_length=3000)] | None = None
    selected_option: _Option | None = None


class _State(msgspec.Struct):
    values: dict[str, dict[str, _Field]] = {}


class _View(msgspec.Struct):
    callback_id: Press
    private_metadata: Annotated[str, msgspec.Meta(max_length=3000)]
    state: _State


class _Submission(msgspec.Struct, tag_field="type", tag="view_submission"):
    user: _User
    view: _View
    team: _Named | None = None


class _PlanValue(msgspec.Struct, forbid_unknown_fields=True):
    plan: Annotated[str, msgspec.Meta(max_length=200)]
    digest: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{1,128}$")]
    mac: _Mac = ""


class _IncidentValue(msgspec.Struct, forbid_unknown_fields=True):
    incident: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    mac: _Mac = ""


_Audience = Annotated[str, msgspec.Meta(pattern=r"^(card|modal:[A-Z0-9]{2,32})$")]
_Channel = Annotated[str, msgspec.Meta(pattern=r"^([A-Z0-9]{2,32})?$")]
_At = Annotated[str, msgspec.Meta(pattern=r"^([0-9]{1,12}\.[0-9]{1,9})?$")]


class _IncidentMetadata(_IncidentValue, forbid_unknown_fields=True):
    audience: _Audience = CARD
    channel: _Channel = ""
    ts: _At = ""


class _Metadata(_PlanValue, forbid_unknown_fields=True):
    audience: _Audience = CARD
    channel: _Channel = ""
    ts: _At = ""
    index: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0
    name: Annotated[str, msgspec.Meta(max_length=100)] = ""


class _Command(msgspec.Struct):
    command: Literal["/sentinel"]
    team_id: _Id
    user_id: _Id
    channel_id: _Id
    user_name: str = ""
    text: Annotated[str, msgspec.Meta(max_length=1000)] = ""
    trigger_id: _Trigger = ""


class _Challenge(msgspec.Struct, tag_field="type", tag="url_verification"):
    challenge: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]


class _Event(msgspec.Struct):
    type: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    user: str = ""
    tab: str = "home"


class _Callback(msgspec.Struct, tag_field="type", tag="event_callback"):
    event: _Event
    team_id: _Id


def parse(headers: Mapping[str, str], body: bytes) -> tuple[Interaction, dict[str, object]]:
    """What a request is, and what bolt need see of it. Raises Invalid for anything that is not understood whole."""
    kind = headers.get("content-type", "").split(";", maxsplit=1)[0].strip().lower()
    try:
        text = body.decode()
        form = parse_qsl(text, keep_blank_values=True, max_num_fields=20) if kind == FORM else []
    except ValueError:
        raise Invalid("body", "(not shown)", "UTF-8, and few fields in a form") from None
    if kind == "application/json":
        return _event(text)
    if kind != FORM:
        raise Invalid("content-type", kind[:100], f"{FORM} or application/json")
    payloads = [value for name, value in form if name == "payload"]
    if not payloads and ("ssl_check", "1") in form:
        return Check(), {"ssl_check": "1"}
    if not payloads and any(name == "command" for name, _ in form):
        return _command(form)
    if len(payloads) != 1:
        raise Invalid("body", f"{len(payloads)} fields named payload", "one field named payload, or a command")
    payload: _Actions | _Submission = _decode(payloads[0], _Actions | _Submission, "payload")
    if isinstance(payload, _Submission):
        view = {"type": "modal", "callback_id": payload.view.callback_id}
        return _submitted(payload), {"type": "view_submission", "view": view}
    return _pressed(payload), {"type": "block_actions", "actions": [{"action_id": payload.actions[0].action_id}]}


def _event(text: str) -> tuple[Interaction, dict[str, object]]:
    sent: _Challenge | _Callback = _decode(text, _Challenge | _Callback, "body")
    if isinstance(sent, _Challenge):
        return Check(), {"type": "url_verification", "challenge": sent.challenge}
    if sent.event.type != "app_home_opened" or sent.event.tab != "home":
        return Check(), {"ssl_check": "1"}
    user = _decode(msgspec.json.encode(sent.event.user).decode(), _Id, "event.user")
    person = Person(user=user, name="", user_team=sent.team_id, is_bot=False, team=sent.team_id)
    return HomeOpened(person=person), {"type": "event_callback", "event": {"type": "app_home_opened"}}


def _command(form: list[tuple[str, str]]) -> tuple[Interaction, dict[str, object]]:
    names = [name for name, _ in form]
    if len(set(names)) != len(names):
        raise Invalid("body", "a field twice", "each field once")
    sent: _Command = _convert(dict(form), _Command, "command")
    person = Person(
        user=sent.user_id, name=printable(sent.user_name), user_team=sent.team_id, is_bot=False, team=sent.team_id
    )
    words = tuple(printable(sent.text).split())
    typed = Typed(person=person, words=words, channel=sent.channel_id, trigger=sent.trigger_id)
    return typed, {"command": "/sentinel"}


def _pressed(payload: _Actions) -> Pressed:
    action = payload.actions[0]
    where = "payload.actions[0].value"
    channel, ts = payload.channel.id, payload.container.message_ts
    if action.action_id in _OF_INCIDENTS:
        whole: _IncidentValue = _decode(action.value, _IncidentValue, where)
        about = About(incident=whole.incident, mac=whole.mac, channel=channel, ts=ts)
    else:
        value: _PlanValue = _decode(action.value, _PlanValue, where)
        incident_of_plan(value.plan)
        about = About(plan=value.plan, digest=value.digest, mac=value.mac, channel=channel, ts=ts)
    person = _person(payload.user, payload.team)
    return Pressed(person=person, action=action.action_id, about=about, trigger=payload.trigger_id)


def _submitted(payload: _Submission) -> Submitted:
    inputs = [each for block in payload.view.state.values.values() for each in block.values()]
    chosen = [each.selected_option for each in inputs if each.type == "static_select"]
    typed = [each.value for each in inputs if each.type != "static_select"]
    if len(typed) > 1 or len(chosen) > 1:
        raise Invalid("payload.view.state", f"{len(inputs)} fields", "one field and one list at most")
    return Submitted(
        person=_person(payload.user, payload.team),
        action=payload.view.callback_id,
        about=_carried(payload.view),
        value=(typed[0] or "") if typed else "",
        choice=chosen[0].value if chosen and chosen[0] else "",
    )


def _carried(view: _View) -> About:
    """What `metadata_of` had a modal carry."""
    where = "payload.view.private_metadata"
    if view.callback_id in _OF_INCIDENTS:
        whole: _IncidentMetadata = _decode(view.private_metadata, _IncidentMetadata, where)
        return About(**msgspec.structs.asdict(whole))
    meta: _Metadata = _decode(view.private_metadata, _Metadata, where)
    incident_of_plan(meta.plan)
    return About(**msgspec.structs.asdict(meta))


def _person(user: _User, team: _Named | None) -> Person:
    team_id = team.id if team else user.team_id
    if team_id is None:
        raise Invalid("payload.team", "nothing", "the workspace of the click")
    return Person(
        user=user.id,
        name=printable(user.name),
        user_team=user.team_id or team_id,
        is_bot=user.is_bot or user.id == "USLACKBOT",
        team=team_id,
    )


def metadata_of(about: About) -> str:
    """`about` as a modal carries it, to come back with its submission."""
    left_out = ("plan", "digest", "index", "name") if about.incident else ("incident",)
    carried = {each.name: getattr(about, each.name) for each in fields(about) if each.name not in left_out}
    return msgspec.json.encode(carried).decode()


def printable(text: str) -> str:
    """`text` without what does not print, on one line and of bearable length."""
    return "".join(char if char.isprintable() else " " for char in text).strip()[:1000]


def _decode(text: str, kind: Any, field: str) -> Any:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        # The error names the place and what was expected there; the text itself has tokens in it.
        raise Invalid(field, "(not shown)", f"Slack's JSON: {error}") from None


def _convert(form: dict[str, str], kind: Any, field: str) -> Any:
    try:
        return msgspec.convert(form, type=kind)
    except msgspec.ValidationError as error:
        raise Invalid(field, "(not shown)", f"Slack's fields: {error}") from None
