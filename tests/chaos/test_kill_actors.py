"""Each actor is killed between the question and the answer, and the plan is carried out all the same: once."""

import contextlib
import os
import signal
from collections import Counter
from collections.abc import Iterator

import pytest

from sentinel.cli.story import StepFailed, Story
from sentinel.errors import Overloaded, Unavailable
from tests.chaos.running import System, running, waited

# By turns: each anomaly of a series makes its detector more cautious for a while.
FAULTS = {
    "journal": ("memory_leak", "storage"),
    "detection": ("memory_leak", "search"),
    "correlation": ("traffic_surge", "payments"),
    "approval": ("memory_leak", "storage"),
    "execution": ("memory_leak", "search"),
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running(tmp_path_factory.mktemp("chaos"), SENTINEL_CORRELATION_RESOLVE_AFTER_S="3") as system:
        system.story("memory_leak", "storage").learned()
        yield system


@pytest.fixture(autouse=True)
def calm(shop: System) -> Iterator[None]:
    """Puts the shop back after each test."""
    yield
    shop.calm()

    def quiet() -> bool | None:
        incidents = shop.client.get("/api/v1/incidents", limit=100)["incidents"]
        return all(incident["state"] == "resolved" for incident in incidents) or None

    # Else the next fault may join what the last one shook.
    waited(quiet, 60, "every incident resolved")


def asked(shop: System, fault: str, service: str) -> Story:
    """A fault, as far as the question in Slack."""
    story = shop.story(fault, service)
    story.injected()
    story.detected()
    story.asked()
    return story


def clicked(story: Story) -> None:
    """A person clicks, is told that it did not count while a part was away, and clicks again."""

    assert story._click() == 200, "Slack is answered whatever is away"

    def decided() -> bool | None:
        # The API says so while a part is away, and the buttons may go between a look and a click.
        with contextlib.suppress(Overloaded, Unavailable, StepFailed):
            if story._decided() is not None:
                return True
            story._click()
        return None

    waited(decided, 60, "a decision", every_s=2.0)
    assert [verdict["principal"]["name"] for verdict in story._plan()["verdicts"]] == ["Ann Arbor"]


def effects(story: Story) -> Counter[str]:
    """What the plan's steps are on AWS."""
    operations = {
        "ec2.stop_instance": "StopInstances",
        "ec2.start_instance": "StartInstances",
        "ecs.scale_service": "UpdateService",
    }
    steps = story._plan()["plan"]["steps"]
    return Counter(f"{operations[step['action']]} {step['target'].rpartition('/')[2]}" for step in steps)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("actor", FAULTS)
def test_a_killed_actor_costs_nothing(shop: System, actor: str) -> None:
    before = Counter(shop.aws_calls())
    story = asked(shop, *FAULTS[actor])
    killed = shop.kill(actor)
    clicked(story)
    shop.back(actor, killed)
    story.executed()
    story.resolved()
    assert Counter(shop.aws_calls()) - before == effects(story)
    story.told()
    story.audited()


@pytest.mark.timeout(180)
def test_an_actor_that_stands_still_is_started_anew(shop: System) -> None:
    # Ray by itself does nothing about it. That what starts then does its work, the test below shows.
    hung = shop.pid_of("execution")
    os.kill(hung, signal.SIGSTOP)
    shop.back("execution", hung)


@pytest.mark.timeout(180)
def test_an_executor_killed_in_the_middle_of_a_step_does_it_once(shop: System) -> None:
    before = Counter(shop.aws_calls())
    story = asked(shop, "traffic_surge", "payments")
    clicked(story)
    waited(lambda: Counter(shop.aws_calls()) - before or None, 30, "the call", every_s=0.1)
    shop.kill("execution")
    story.executed()
    story.resolved()
    assert Counter(shop.aws_calls()) - before == effects(story)
    kinds = [entry["kind"] for entry in shop.client.get(f"/api/v1/incidents/{story.incident_id}")["timeline"]]
    # A busy machine may notice the call late, and kill after the outcome was recorded: once it is all the same.
    assert kinds.index("step_started") < kinds.index("execution_resumed")
    assert kinds.count("step_started") == kinds.count("step_succeeded") == len(effects(story))
    story.audited()
