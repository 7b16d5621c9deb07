"""The few Block Kit shapes that Sentinel uses, each within its limit."""

from urllib.parse import quote

from sentinel.adapters.slack_text import clean, escape, plain
from sentinel.incidents.nouns import Incident

Block = dict[str, object]


def plain_text(text: str, limit: int) -> Block:
    """A plain_text object of at most `limit` units."""
    return {"type": "plain_text", "text": plain(text, limit), "emoji": False}


def mrkdwn(text: str) -> Block:
    """A mrkdwn object; verbatim, so that Slack neither links nor mentions what merely looks like it."""
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def section(text: str) -> Block:
    """A section of mrkdwn, which takes 3000 units."""
    return {"type": "section", "text": mrkdwn(text)}


def context(text: str) -> Block:
    """Small print."""
    return {"type": "context", "elements": [mrkdwn(text)]}


def button(
    action_id: str, text: str, value: str, *, style: str = "", confirm: tuple[str, str, str] | None = None
) -> Block:
    """A button; `confirm` is title, text and the word of its own confirmation."""
    made: Block = {"type": "button", "action_id": action_id, "text": plain_text(text, 75), "value": value}
    if style:
        made["style"] = style
    if confirm:
        title, body, word = confirm
        made["confirm"] = {
            "title": plain_text(title, 100),
            "text": plain_text(body, 300),
            "confirm": plain_text(word, 30),
            "deny": plain_text("Not yet", 30),
        }
    return made


def link(incident: Incident, public_url: str) -> str:
    """Where to read all of it, as mrkdwn."""
    url = f"{quote(public_url.rstrip('/'), safe=':/?=%@[]')}/incidents/{quote(incident.id, safe='')}"
    return f"<{url}|open in Sentinel>"


def mention(who: str) -> str:
    """An approver of the settings as Slack shows them: a person, a group, or the name of a key."""
    if who.startswith("slack:"):
        return f"<@{who.rpartition('/')[2]}>"
    if who.startswith("group:"):
        return f"<!subteam^{who.removeprefix('group:')}>"
    return escape(clean(f"{who.removeprefix('api:')} (API key)"), 80)
