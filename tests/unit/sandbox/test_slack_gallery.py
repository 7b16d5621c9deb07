"""The gallery shows every state there is, each within Slack's limits."""

import pytest

from sentinel.adapters.slack_card import card
from sentinel.incidents.nouns import PlanState
from sentinel.sandbox.slack.gallery import Scene, doubles, scenes, views
from sentinel.sandbox.slack.validation import problems, total_text, view_problems

NOW = 1_700_000_000_000
SCENES = scenes(NOW)


@pytest.mark.parametrize("name", SCENES)
def test_every_card_is_one_that_slack_takes(name: str) -> None:
    policy, facts = SCENES[name]
    blocks, _ = card(Scene(NOW).incident(facts), public_url="https://sentinel.example", key=b"k", policy=policy)
    assert problems(blocks) == []
    assert total_text(blocks) < 11_000


def test_the_states_that_people_wait_for_are_all_there() -> None:
    seen = {record.state for _, facts in SCENES.values() for record in Scene(NOW).incident(facts).plans}
    assert seen >= set(PlanState) - {PlanState.PROPOSED, PlanState.VERIFYING, PlanState.ROLLING_BACK}


def test_every_view_is_one_that_slack_takes() -> None:
    waiting, over = (Scene(NOW).incident(SCENES[name][1]) for name in ("similar-past", "expired"))
    for name, view in views(waiting, over).items():
        assert view_problems(view()) == [], name


def test_there_is_a_page_for_each() -> None:
    assert {*SCENES, "home", "modal-edit", "modal-silence", "modal-unlike", "kill-switch-on", "kill-switch-off"} <= set(
        doubles(NOW)
    )
