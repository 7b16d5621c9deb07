"""Not the same and Silence on the card: there while they can do something."""

from dataclasses import replace

import pytest

from sentinel.adapters.slack_card import ACKNOWLEDGE, SILENCE, UNLIKE, card
from sentinel.ids import IncidentId
from sentinel.incidents import facts as f
from sentinel.incidents.nouns import Incident
from tests.unit.incidents.make import after, alert, opened, plan


def pressable(incident: Incident, **kwargs: bool) -> list[object]:
    """The action ids of the card's buttons."""
    rows = [block["elements"] for block in card(incident, key=b"key", **kwargs)[0] if block["type"] == "actions"]
    return [button["action_id"] for row in rows for button in row]  # type: ignore[attr-defined]


def test_not_the_same_where_alerts_joined_were_folded_in_or_it_is_a_return() -> None:
    joined = after(opened(alert(), alert("web")))
    assert UNLIKE in pressable(joined)
    folded = f.DuplicateFolded(alerts=(alert("web"),), similarity=0.9, threshold=0.8, reason="alike")
    assert UNLIKE in pressable(after(opened(), folded))
    returned = replace(after(opened()), previous_id=IncidentId("inc-1"))
    assert UNLIKE in pressable(returned)
    for other in (
        after(opened()),
        after(opened(alert(), alert("web")), f.PlanProposed(plan=plan())),
        after(opened(alert(), alert("web")), f.IncidentResolved(reason="over")),
        after(opened(), replace(folded, alerts=(alert(),))),
        replace(returned, occurrences=2),
    ):
        assert UNLIKE not in pressable(other)


@pytest.mark.parametrize("services", [("pay*",), ("a?",), ("[ab]",), ("x" * 201,), tuple("abcdef")])
def test_no_silence_for_names_that_would_match_others_or_too_many(services: tuple[str, ...]) -> None:
    incident = after(opened())
    assert pressable(incident) == [ACKNOWLEDGE, SILENCE]
    assert pressable(replace(incident, services=services)) == [ACKNOWLEDGE]


def test_without_a_bot_token_no_button_needs_a_form() -> None:
    assert pressable(after(opened(alert(), alert("web"))), forms=False) == [ACKNOWLEDGE]
