"""What the papers tell people to paste is what the code takes."""

import re
from pathlib import Path

import yaml

from sentinel.settings_loader import load

DOCS = Path(__file__).parents[2] / "docs"


def test_the_policy_in_the_papers_is_one_that_is_read(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.+?)```", (DOCS / "approval.md").read_text("utf-8"), re.DOTALL)
    path = tmp_path / "sentinel.yaml"
    path.write_text(block)
    policy = load({"SENTINEL_CONFIG": str(path)}).approval.policy
    assert [rule.name for rule in policy.rules] == ["nights-by-oncall", "two-for-risk"]
    assert policy.auto is None


def test_every_picture_that_is_named_is_there() -> None:
    named = set(re.findall(r"\((screenshots/[^)]+)\)", (DOCS / "approval.md").read_text("utf-8")))
    assert len(named) >= 16
    assert {name for name in named if not (DOCS / name).is_file()} == set()
    assert {f"screenshots/{each.name}" for each in (DOCS / "screenshots").iterdir()} == named


def test_the_app_manifest_asks_for_what_the_door_serves() -> None:
    manifest = yaml.safe_load((DOCS / "slack-app-manifest.yaml").read_text("utf-8"))
    urls = {
        manifest["settings"]["interactivity"]["request_url"],
        manifest["settings"]["event_subscriptions"]["request_url"],
        *(each["url"] for each in manifest["features"]["slash_commands"]),
    }
    assert urls == {"https://YOUR-HOST/slack/events"}
    assert set(manifest["oauth_config"]["scopes"]["bot"]) == {
        "channels:history",
        "chat:write",
        "commands",
        "files:write",
        "groups:history",
        "users:read",
        "usergroups:read",
    }
    assert manifest["settings"]["event_subscriptions"]["bot_events"] == ["app_home_opened"]
