"""The double refuses what Slack refuses: each limit at its edge and one past it."""

from typing import Any

import pytest

from sentinel.sandbox.slack.validation import problems, summons, total_text


def plain(length: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": "x" * length}


def mrkdwn(text: str, **extra: Any) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text, **extra}


def section(length: int) -> dict[str, Any]:
    return {"type": "section", "text": mrkdwn("x" * length)}


def button(n: int = 0, **changes: Any) -> dict[str, Any]:
    return {"type": "button", "action_id": f"a{n}", "text": plain(5), "value": "v", **changes}


def actions(*elements: dict[str, Any], **extra: Any) -> dict[str, Any]:
    return {"type": "actions", "elements": list(elements), **extra}


def confirm(**changes: Any) -> dict[str, Any]:
    return {"title": plain(100), "text": plain(300), "confirm": plain(30), "deny": plain(30), **changes}


AT_THE_EDGE: dict[str, list[Any]] = {
    "no block": [],
    "fifty blocks": [{"type": "divider"}] * 50,
    "header": [{"type": "header", "text": plain(150)}],
    "section": [section(3000)],
    "section in astral characters": [{"type": "section", "text": mrkdwn("😀" * 1500)}],
    "fields": [{"type": "section", "fields": [plain(2000)] * 10}],
    "context": [{"type": "context", "elements": [mrkdwn("x")] * 10}],
    "actions": [actions(*(button(n) for n in range(25)))],
    "button": [actions(button(text=plain(75), value="v" * 2000, action_id="a" * 255, style="primary"))],
    "confirm": [actions(button(confirm=confirm()))],
    "verbatim": [{"type": "section", "text": mrkdwn("x", verbatim=True)}],
    "block ids": [{"type": "divider", "block_id": "a"}, {"type": "divider", "block_id": "b" * 255}],
}

PAST_IT: dict[str, tuple[Any, str]] = {
    "not a list": ({"type": "divider"}, "/blocks]"),
    "a block that is no object": (["divider"], "/blocks/0]"),
    "51 blocks": ([{"type": "divider"}] * 51, "/blocks]"),
    "an unknown block": ([{"type": "carousel"}], "/blocks/0/type]"),
    "no type": ([{}], "/blocks/0/type]"),
    "a type that is no text": ([{"type": ["section"]}], "/blocks/0/type]"),
    "header too long": ([{"type": "header", "text": plain(151)}], "/blocks/0/text/text]"),
    "header in mrkdwn": ([{"type": "header", "text": mrkdwn("x")}], "/blocks/0/text/type]"),
    "header without text": ([{"type": "header"}], "/blocks/0/text]"),
    "empty text": ([section(0)], "/blocks/0/text/text]"),
    "section too long": ([section(3001)], "/blocks/0/text/text]"),
    "section too long in UTF-16": ([{"type": "section", "text": mrkdwn("😀" * 1501)}], "/blocks/0/text/text]"),
    "section of nothing": ([{"type": "section"}], "/blocks/0]"),
    "section with a stray key": ([{**section(1), "colour": "red"}], "/blocks/0/colour]"),
    "eleven fields": ([{"type": "section", "fields": [plain(1)] * 11}], "/blocks/0/fields]"),
    "no fields": ([{"type": "section", "fields": []}], "/blocks/0/fields]"),
    "a field too long": ([{"type": "section", "fields": [plain(2001)]}], "/blocks/0/fields/0/text]"),
    "emoji on mrkdwn": ([{"type": "section", "text": mrkdwn("x", emoji=True)}], "/blocks/0/text/emoji]"),
    "eleven context elements": ([{"type": "context", "elements": [plain(1)] * 11}], "/blocks/0/elements]"),
    "no context elements": ([{"type": "context", "elements": []}], "/blocks/0/elements]"),
    "26 buttons": ([actions(*(button(n) for n in range(26)))], "/blocks/0/elements]"),
    "no buttons": ([actions()], "/blocks/0/elements]"),
    "same action id": ([actions(button(1), button(1))], "/blocks/0/elements/1/action_id]"),
    "same block id": ([{"type": "divider", "block_id": "a"}] * 2, "/blocks/1/block_id]"),
    "block id too long": ([{"type": "divider", "block_id": "a" * 256}], "/blocks/0/block_id]"),
    "action id too long": ([actions(button(action_id="a" * 256))], "/blocks/0/elements/0/action_id]"),
    "button text too long": ([actions(button(text=plain(76)))], "/blocks/0/elements/0/text/text]"),
    "button text in mrkdwn": ([actions(button(text=mrkdwn("x")))], "/blocks/0/elements/0/text/type]"),
    "value too long": ([actions(button(value="v" * 2001))], "/blocks/0/elements/0/value]"),
    "unknown style": ([actions(button(style="green"))], "/blocks/0/elements/0/style]"),
    "another element": ([actions({"type": "datepicker"})], "/blocks/0/elements/0/type]"),
    "confirm title": ([actions(button(confirm=confirm(title=plain(101))))], "/confirm/title/text]"),
    "confirm text": ([actions(button(confirm=confirm(text=plain(301))))], "/confirm/text/text]"),
    "confirm yes": ([actions(button(confirm=confirm(confirm=plain(31))))], "/confirm/confirm/text]"),
    "confirm no": ([actions(button(confirm=confirm(deny=plain(31))))], "/confirm/deny/text]"),
    "confirm is a text": ([actions(button(confirm="sure?"))], "/elements/0/confirm]"),
}


@pytest.mark.parametrize("case", AT_THE_EDGE)
def test_what_slack_takes(case: str) -> None:
    assert problems(AT_THE_EDGE[case]) == []


@pytest.mark.parametrize("case", PAST_IT)
def test_what_slack_refuses_is_told_with_its_place(case: str) -> None:
    blocks, place = PAST_IT[case]
    found = problems(blocks)
    assert len(found) == 1
    assert found[0].endswith(place)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<!channel> and <@U1> and <#C1|general>", ["!channel", "@U1", "#C1|general"]),
        ("<https://evil.example|Approve>", ["https://evil.example|Approve"]),
        ("<javascript:alert(1)|x>", ["javascript:alert(1)|x"]),
        ("&lt;!channel&gt; <!date^1^{time}|then>", []),
        ("see https://evil.example/x", ["https://evil.example/x"]),
    ],
)
def test_summons_are_what_a_reader_would_see(text: str, expected: list[str]) -> None:
    assert summons([{"type": "section", "text": mrkdwn(text)}]) == expected


def test_verbatim_text_makes_no_links_and_plain_text_summons_nobody() -> None:
    assert summons([{"type": "section", "text": mrkdwn("https://evil.example", verbatim=True)}]) == []
    assert summons([{"type": "header", "text": {"type": "plain_text", "text": "<!channel>"}}]) == []


def test_the_notification_text_counts_too() -> None:
    assert summons([], "<!here> wake up") == ["!here"]


def test_the_total_counts_every_text_in_utf_16() -> None:
    assert total_text([section(3), actions(button(text={"type": "plain_text", "text": "😀"}))]) == 5
