"""Text for Slack: cleaned, escaped and cut, so that what others wrote can neither mention, link nor mislead.

Escaping as docs.slack.dev, "Formatting message text", asks: `&`, `<` and `>` only.
Lengths are counted in UTF-16 units, the largest of the ways in which Slack may count.
"""

import math
import unicodedata
from collections.abc import Sequence

from sentinel.clock import iso

_ESCAPED = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# Marks that would format the text; the look-alikes do not. An underscore stays: names are full of them.
_UNMARKED = {"*": "∗", "~": "∼", "`": "ˋ"}
_FORMS = {**_ESCAPED, **_UNMARKED}
_CUT = "…"


def width(text: str) -> int:
    """The length of `text` in UTF-16 units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def clean(text: str) -> str:
    """`text` on one line, without control, bidi and other invisible characters; never empty."""
    if text.isascii() and text.isprintable():  # as nearly every text: a rush of cards is mostly this
        return " ".join(text.split()) or "(empty)"
    kept = (
        " " if char.isspace() or unicodedata.category(char) in ("Cc", "Zl", "Zp") else char
        for char in text
        if unicodedata.category(char) not in ("Cf", "Cs", "Co", "Cn")
    )
    return " ".join("".join(kept).split()) or "(empty)"


def plain(text: str, limit: int) -> str:
    """`text` for a plain_text object of at most `limit` units."""
    return _cut([*clean(text)], limit)


def escape(text: str, limit: int) -> str:
    """`text` for a mrkdwn object: at most `limit` units after escaping, and never cut inside an escape."""
    return _cut([_FORMS.get(char, char) for char in clean(text)], limit)


def code(text: str, limit: int) -> str:
    """`text` as code in mrkdwn, at most `limit` units with its marks."""
    return f"`{escape(text, limit - 2)}`"


def exact(text: str, limit: int) -> tuple[str, bool]:
    """`text` as code, and whether people see it whole and unchanged."""
    shown = code(text, limit)
    whole = clean(text) == text and not any(mark in text for mark in _UNMARKED) and not shown.endswith(f"{_CUT}`")
    return shown, whole


def lines(title: str, entries: Sequence[str], *, most: int, limit: int) -> str:
    """A bold title over whole entries: up to `most`, as many as fit into `limit`, then how many more there are."""
    text = f"*{title}*"
    for index, entry in enumerate(entries):
        more = f"\n… and {len(entries) - index} more"
        if index == most or width(text) + 1 + width(entry) + width(more) > limit:
            return text + more
        text += f"\n{entry}"
    return text


def titled(title: str, services: Sequence[str], limit: int) -> str:
    """A title, and in brackets the services that it does not name itself."""
    others = [clean(service) for service in services if clean(service) not in title]
    return escape(title, limit) + (f" ({escape(', '.join(others), limit)})" if others else "")


def when(at_ms: int) -> str:
    """A time that Slack shows in the reader's own zone, with UTC where it cannot."""
    utc = iso(at_ms)
    return f"<!date^{at_ms // 1000}^{{date_short_pretty}} {{time}}|{utc[:10]} {utc[11:19]} UTC>"


def number(value: float) -> str:
    """`value` to four significant digits, with thousands separated."""
    if not math.isfinite(value):
        return str(value)
    if abs(value) < 1:
        return f"{value:.4g}"
    if abs(value) >= 1e12:
        return f"{value:.3e}"
    whole = len(str(int(abs(value))))
    text = f"{value:,.{max(0, 4 - whole)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def duration(milliseconds: int) -> str:
    """A span in its two largest units, such as `1 h 5 min`."""
    seconds = max(0, milliseconds) // 1000
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    first = next((index for index, (count, _) in enumerate(parts) if count), 3)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count) or "0 s"


def _cut(pieces: Sequence[str], limit: int) -> str:
    whole = "".join(pieces)
    if width(whole) <= limit:
        return whole
    text = ""
    for piece in pieces:
        if width(text) + width(piece) + 1 > limit:
            break
        text += piece
    return text + _CUT
