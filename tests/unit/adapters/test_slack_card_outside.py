"""The card of an incident that another system reported, and of what people changed before it."""

from dataclasses import replace

from sentinel.adapters.slack_card import card
from sentinel.incidents.nouns import Alert, Change
from tests.unit.correlation.make import T0, alert, incident

HOSTILE = "<!channel> *Approved* <https://evil.example|run 42> `x`"


def outside(note: str = "One in ten fails", metric: str = "HighErrorRate") -> Alert:
    made = alert("payments", "errors")
    return replace(
        made, metric=metric, value=None, expected_low=None, expected_high=None, origin="alertmanager", note=note
    )


def shown(*alerts: Alert, changes: tuple[Change, ...] = ()) -> str:
    blocks, _ = card(replace(incident("inc-1", *alerts), changes=changes), public_url="")
    return "\n".join(str(block["text"]["text"]) for block in blocks if "text" in block)  # type: ignore[index]


def test_it_is_shown_without_numbers_and_with_who_says_so() -> None:
    text = shown(outside())
    assert "`HighErrorRate` of payments fires in alertmanager: One in ten fails" in text
    assert "One in ten fails" in text
    assert "expected" not in text


def test_changes_are_a_line_each_the_latest_first() -> None:
    changes = tuple(
        Change(at_ms=T0 - 60_000 * n, service="payments", title=f"deployed v{n}", source="ci") for n in (3, 2, 1)
    )
    text = shown(alert("payments"), changes=changes)
    assert text.index("deployed v1 on payments") < text.index("deployed v2") < text.index("deployed v3")
    assert "Changed before" in text
    assert "Changed before" not in shown(alert("payments"))


def test_what_others_wrote_neither_mentions_nor_links() -> None:
    change = Change(at_ms=T0, service=HOSTILE, title=HOSTILE, source=HOSTILE)
    text = shown(outside(HOSTILE, HOSTILE), changes=(change,))
    assert "<!channel>" not in text
    assert "<https" not in text
    assert "*Approved*" not in text
