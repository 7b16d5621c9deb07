"""Block Kit's limits, as Slack enforces them: break one, and the whole message is lost. Pure.

Limits from docs.slack.dev/reference/block-kit and slack_sdk's models; the sum of a message's texts from
slackapi/bolt-js issue 2509. Lengths are counted in UTF-16 units, the strictest reading.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

MAX_BLOCKS = 50
MAX_TOTAL_TEXT = 12_000
MAX_MESSAGE_TEXT = 40_000
MAX_VIEW_BLOCKS = 100
MAX_METADATA = 3000

Value = object
Problems = Iterator[str]

_PING = re.compile(r"<([@#!][^>]*)>")
_LINK = re.compile(r"<((?:https?|mailto|tel|slack|javascript|data|file):[^>]*)>", re.IGNORECASE)
_BARE_URL = re.compile(r"\b(?:https?://|www\.)\S+", re.IGNORECASE)


def problems(blocks: object) -> list[str]:
    """What is wrong with the blocks of a message, in Slack's manner with the place; empty if nothing is."""
    if not isinstance(blocks, list):
        return ["must be an array [json-pointer:/blocks]"]
    found = [f"no more than {MAX_BLOCKS} items allowed [json-pointer:/blocks]"] if len(blocks) > MAX_BLOCKS else []
    seen: set[str] = set()
    for index, block in enumerate(blocks):
        found += _block(block, f"/blocks/{index}", seen)
    return found


def view_problems(view: Mapping[str, Value]) -> list[str]:
    """What is wrong with a modal or a home page; limits from docs.slack.dev/reference/views."""
    known = ("type", "callback_id", "title", "submit", "close", "private_metadata", "blocks")
    found = list(_only(view, "/view", *known))
    blocks = view.get("blocks")
    if not isinstance(blocks, list) or len(blocks) > MAX_VIEW_BLOCKS:
        return [*found, _wrong(f"must be an array of at most {MAX_VIEW_BLOCKS}", "/view/blocks")]
    seen: set[str] = set()
    for index, block in enumerate(blocks):
        found += _block(block, f"/view/blocks/{index}", seen, inputs=view.get("type") == "modal")
    if view.get("type") == "modal":
        for name in ("title", "submit", "close"):
            found += _text(view.get(name), f"/view/{name}", 24, kinds=("plain_text",))
        found += _string(view.get("callback_id"), "/view/callback_id", 255)
    metadata = view.get("private_metadata", "")
    if not isinstance(metadata, str) or width(metadata) > MAX_METADATA:
        found.append(_wrong(f"must be no more than {MAX_METADATA} characters", "/view/private_metadata"))
    return found


def total_text(blocks: Value) -> int:
    """The length of every text in the blocks together."""
    return sum(width(text) for _, text, _ in texts(blocks))


def texts(node: Value) -> Iterator[tuple[str, str, bool]]:
    """Every text object below `node` as (type, text, verbatim)."""
    if isinstance(node, Mapping):
        text = node.get("text")
        if node.get("type") in ("plain_text", "mrkdwn") and isinstance(text, str):
            yield str(node["type"]), text, node.get("verbatim") is True
        for value in node.values():
            yield from texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from texts(value)


def summons(blocks: Value, text: str = "") -> list[str]:
    """What a reader would see as a mention, a broadcast, a channel or a link; a date is none of them."""
    found: list[str] = []
    for kind, content, verbatim in [*texts(blocks), ("mrkdwn", text, True)]:
        if kind == "mrkdwn":
            found += [ping for ping in _PING.findall(content) if not ping.startswith("!date^")]
            found += _LINK.findall(content)
            if not verbatim:
                found += _BARE_URL.findall(_LINK.sub("", content))
    return found


def width(text: str) -> int:
    """The length of `text` in UTF-16 units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _block(block: Value, at: str, seen: set[str], *, inputs: bool = False) -> Problems:
    if not isinstance(block, Mapping):
        yield _wrong("must be an object", at)
        return
    kind = block.get("type")
    check = _BLOCKS.get(kind) if isinstance(kind, str) else None
    if kind == "input" and inputs:
        check = _input
    if check is None:
        yield _wrong(f"unsupported type: {str(kind)[:40]}", f"{at}/type")
        return
    yield from _id(block, "block_id", at, seen)
    yield from check(block, at)


def _header(block: Mapping[str, Value], at: str) -> Problems:
    yield from _only(block, at, "type", "block_id", "text")
    yield from _text(block.get("text"), f"{at}/text", 150, kinds=("plain_text",))


def _section(block: Mapping[str, Value], at: str) -> Problems:
    yield from _only(block, at, "type", "block_id", "text", "fields", "accessory", "expand")
    if "text" not in block and "fields" not in block:
        yield _wrong("missing required field: text or fields", at)
    if "text" in block:
        yield from _text(block["text"], f"{at}/text", 3000)
    if "fields" in block:
        for index, each in _items(block["fields"], 10):
            yield from _text(each, f"{at}/fields/{index}", 2000)
        yield from _count(block["fields"], f"{at}/fields", 10)
    if "accessory" in block:
        yield from _button(block["accessory"], f"{at}/accessory", set())


def _divider(block: Mapping[str, Value], at: str) -> Problems:
    yield from _only(block, at, "type", "block_id")


def _context(block: Mapping[str, Value], at: str) -> Problems:
    yield from _only(block, at, "type", "block_id", "elements")
    yield from _count(block.get("elements"), f"{at}/elements", 10)
    for index, each in _items(block.get("elements"), 10):
        yield from _text(each, f"{at}/elements/{index}", 3000)


def _actions(block: Mapping[str, Value], at: str) -> Problems:
    yield from _only(block, at, "type", "block_id", "elements")
    yield from _count(block.get("elements"), f"{at}/elements", 25)
    seen: set[str] = set()
    for index, each in _items(block.get("elements"), 25):
        yield from _button(each, f"{at}/elements/{index}", seen)


_INPUTS = ("plain_text_input", "number_input", "static_select")


def _input(block: Mapping[str, Value], at: str) -> Problems:
    yield from _only(block, at, "type", "block_id", "label", "element", "optional", "hint")
    yield from _text(block.get("label"), f"{at}/label", 2000, kinds=("plain_text",))
    element = block.get("element")
    if not isinstance(element, Mapping) or element.get("type") not in _INPUTS:
        yield _wrong("unsupported element", f"{at}/element")
        return
    yield from _string(element.get("action_id"), f"{at}/element/action_id", 255)
    if element["type"] == "static_select":
        yield from _select(element, f"{at}/element")
    longest = element.get("max_length", 3000)
    if not isinstance(longest, int) or not 1 <= longest <= 3000:
        yield _wrong("must be from 1 to 3000", f"{at}/element/max_length")
    if element["type"] == "number_input":
        if not isinstance(element.get("is_decimal_allowed"), bool):
            yield _wrong("missing required field", f"{at}/element/is_decimal_allowed")
        for name in ("min_value", "max_value", "initial_value"):
            if name in element and not re.fullmatch(r"-?\d+(\.\d+)?", str(element[name])):
                yield _wrong("must be a number as text", f"{at}/element/{name}")


def _select(element: Mapping[str, Value], at: str) -> Problems:
    yield from _only(element, at, "type", "action_id", "options", "initial_option", "placeholder", "focus_on_load")
    options = element.get("options")
    yield from _count(options, f"{at}/options", 100)
    for index, each in _items(options, 100):
        yield from _option(each, f"{at}/options/{index}")
    if "initial_option" in element and (not isinstance(options, list) or element["initial_option"] not in options):
        yield _wrong("must be one of the options", f"{at}/initial_option")


def _option(option: Value, at: str) -> Problems:
    if not isinstance(option, Mapping):
        yield _wrong("must be an object", at)
        return
    yield from _only(option, at, "text", "value", "description", "url")
    yield from _text(option.get("text"), f"{at}/text", 75, kinds=("plain_text",))
    yield from _string(option.get("value"), f"{at}/value", 150)


_BLOCKS: Mapping[str, Callable[[Mapping[str, Value], str], Problems]] = {
    "header": _header,
    "section": _section,
    "divider": _divider,
    "context": _context,
    "actions": _actions,
}


def _button(element: Value, at: str, seen: set[str]) -> Problems:
    if not isinstance(element, Mapping) or element.get("type") != "button":
        yield _wrong("unsupported element type", f"{at}/type")
        return
    yield from _only(
        element, at, "type", "action_id", "text", "value", "url", "style", "confirm", "accessibility_label"
    )
    yield from _id(element, "action_id", at, seen)
    yield from _text(element.get("text"), f"{at}/text", 75, kinds=("plain_text",))
    if "value" in element:
        yield from _string(element["value"], f"{at}/value", 2000)
    if "url" in element:
        yield from _string(element["url"], f"{at}/url", 3000)
    if "style" in element and element["style"] not in ("primary", "danger"):
        yield _wrong("must be primary or danger", f"{at}/style")
    if "confirm" in element:
        yield from _confirm(element["confirm"], f"{at}/confirm")


def _confirm(dialog: Value, at: str) -> Problems:
    if not isinstance(dialog, Mapping):
        yield _wrong("must be an object", at)
        return
    yield from _only(dialog, at, "title", "text", "confirm", "deny", "style")
    yield from _text(dialog.get("title"), f"{at}/title", 100, kinds=("plain_text",))
    yield from _text(dialog.get("text"), f"{at}/text", 300)
    yield from _text(dialog.get("confirm"), f"{at}/confirm", 30, kinds=("plain_text",))
    yield from _text(dialog.get("deny"), f"{at}/deny", 30, kinds=("plain_text",))


def _text(node: Value, at: str, limit: int, kinds: Sequence[str] = ("plain_text", "mrkdwn")) -> Problems:
    if not isinstance(node, Mapping):
        yield _wrong("missing required field", at)
        return
    if node.get("type") not in kinds:
        yield _wrong(f"must be {' or '.join(kinds)}", f"{at}/type")
    yield from _only(node, at, "type", "text", "emoji" if node.get("type") == "plain_text" else "verbatim")
    yield from _string(node.get("text"), f"{at}/text", limit)


def _string(value: Value, at: str, limit: int) -> Problems:
    if not isinstance(value, str) or not value:
        yield _wrong("must be more than 0 characters", at)
    elif width(value) > limit:
        yield _wrong(f"must be no more than {limit} characters", at)


def _id(holder: Mapping[str, Value], name: str, at: str, seen: set[str]) -> Problems:
    given = holder.get(name)
    if given is None:
        return
    yield from _string(given, f"{at}/{name}", 255)
    if isinstance(given, str) and given in seen:
        yield _wrong(f"{name} already exists", f"{at}/{name}")
    seen.add(str(given))


def _count(value: Value, at: str, most: int) -> Problems:
    if not isinstance(value, list) or not value:
        yield _wrong("must have at least 1 item", at)
    elif len(value) > most:
        yield _wrong(f"no more than {most} items allowed", at)


def _items(value: Value, most: int) -> Iterator[tuple[int, Value]]:
    return enumerate(value[:most] if isinstance(value, list) else [])


def _only(holder: Mapping[str, Value], at: str, *known: str) -> Problems:
    for name in holder:
        if name not in known:
            yield _wrong("invalid additional property", f"{at}/{str(name)[:40]}")


def _wrong(what: str, at: str) -> str:
    return f"{what} [json-pointer:{at}]"
