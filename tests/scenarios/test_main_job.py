"""The main job as a user runs it, and the way back where a plan does not help."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sentinel.cli.story import Story
from tests.chaos.running import System, environ, running, waited
from tests.scenarios.ray_head import free_ports

STEPS = (
    *("health", "telemetry", "inject anomaly", "detected", "plan and Slack message", "forged clicks", "approval"),
    *("execution on AWS", "resolved", "Slack updated", "audit"),
)


def sentinel(directory: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The command `sentinel` with a port and a directory of its own."""
    [port] = free_ports(1)
    return subprocess.run(
        [sys.executable, "-m", "sentinel", *arguments],
        cwd=directory,
        env=environ(port),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def seen(said: str) -> list[str]:
    """The steps that were seen, in order."""
    return re.findall(r"^✓ (.+?) \d+\.\d s", said, re.MULTILINE)


@pytest.mark.timeout(300)
def test_the_main_job(tmp_path: Path) -> None:
    ran = sentinel(tmp_path, "e2e", "--auto-approve")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert tuple(seen(ran.stdout)) == STEPS
    assert f"PASSED {len(STEPS)} of {len(STEPS)} steps" in ran.stdout
    assert "Traceback" not in ran.stderr


@pytest.mark.timeout(300)
def test_a_second_fault_recalls_the_first_and_what_fixed_it(tmp_path: Path) -> None:
    ran = sentinel(tmp_path, "e2e", "--test", "qdrant", "--tick", "0.5")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert seen(ran.stdout)[-1] == "recalled"
    recalled = re.search(r"✓ recalled .*?(inc-\S+), (\d\.\d\d) alike, fixed by (.+)", ran.stdout)
    assert recalled, ran.stdout
    assert float(recalled[2]) >= 0.8
    assert "ec2.stop_instance i-" in recalled[3]
    assert "ec2.start_instance i-" in recalled[3]


@pytest.mark.timeout(300)
def test_a_plan_that_does_not_help_is_undone_and_people_are_called(tmp_path: Path) -> None:
    with running(tmp_path) as shop:
        story = shop.story("latent", "shipping")
        story.learned()
        story.injected()
        story.detected()
        assert "scale-out-shipping: ecs.scale_service" in story.asked()
        story.approved()
        story.executed()
        assert shop.world()["services"]["shipping"]["desired"] == 4
        incident = waited(lambda: story._incident_if("escalated"), 120, "the incident in the hands of people")
        put_back(shop, story)
        assert incident["plans"][0]["state"] == "rolled_back"
        assert "did not recover within 30 s" in incident["state_reason"]
        waited(lambda: "A person must look" in str(story._message(False)) or None, 20, "the message that calls people")
        story.audited()


def put_back(shop: System, story: Story) -> None:
    """AWS was asked twice, and is as it was."""
    assert shop.aws_calls() == ["UpdateService shipping"] * 2
    assert shop.world()["services"]["shipping"]["desired"] == 2
    [step] = story._plan()["steps"]
    assert (step["state"], step["previous"]["desired"]) == ("undone", 2)
