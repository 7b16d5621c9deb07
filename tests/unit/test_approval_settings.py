"""The `approval:` section: what it comes to, and what is refused by name."""

from typing import Any

import pytest
import yaml

from sentinel.cli.checking import approval_lines
from sentinel.errors import Invalid
from sentinel.remediation.approval_policy import Demand, Risk
from sentinel.settings import Settings
from sentinel.settings_approval import never_fits
from sentinel.settings_loader import load

WHOLE = """
approval:
  required: 1
  approvers: [group:S0OPS, "slack:T0ACME/U0ANN", api:deploy, ci]
  requester_may: false
  expires_after_s: 600
  remind_every_s: 120
  escalate_to: ["slack:T0ACME/U0BOB"]
  escalate_after_s: 300
  environments:
    prod: ["*:cluster/prod/*"]
    lab: ["i-*"]
  business_hours: {days: [mon, tue], start: "08:30", end: "17:00", timezone: Europe/Berlin}
  freezes:
    - {name: year end, start: 2026-12-23T00:00:00Z, end: 2027-01-03T00:00:00Z, environments: [prod]}
  auto: {enabled: true, budget: 2, per_s: 3600}
  hourly_cost: {"*:cluster/prod/*": 0.05}
  rules:
    - name: undoable-at-night
      match: {action: ecs.scale_service, environment: lab, hours: outside}
      auto: true
    - name: risky
      match: {environment: prod, risk: high}
      required: 2
      approvers: ["group:S0LEADS"]
      expires_after_s: 3600
"""


@pytest.fixture
def read(tmp_path: Any) -> Any:
    def written(text: str) -> Settings:
        path = tmp_path / "sentinel.yaml"
        path.write_text(text)
        return load({"SENTINEL_CONFIG": str(path)})

    return written


def test_admins_are_people_in_slack_and_no_part_of_what_a_plan_is_shown_under(read: Any) -> None:
    with_admins = read(
        WHOLE.replace("  requester_may", '  admins: ["slack:T0ACME/U0ANN", group:S0LEADS]\n  requester_may', 1)
    )
    assert with_admins.approval.admins == ("slack:T0ACME/U0ANN", "group:S0LEADS")
    assert with_admins.approval.policy.version == read(WHOLE).approval.policy.version
    with pytest.raises(Invalid, match=r"approval\.admins.*scope admin of a key decides"):
        read("approval: {admins: [api:deploy]}")


def test_a_whole_policy_is_read(read: Any) -> None:
    policy = read(WHOLE).approval.policy
    assert policy.default == Demand(
        approvers=frozenset({"group:S0OPS", "slack:T0ACME/U0ANN", "api:deploy", "ci"}),
        required=1,
        requester_may=False,
        expires_after_ms=600_000,
        remind_every_ms=120_000,
        escalate_to=("slack:T0ACME/U0BOB",),
        escalate_after_ms=300_000,
    )
    night, risky = policy.rules
    assert (night.demand.auto, night.hours, night.environment) == (True, "outside", "lab")
    assert night.demand.approvers == policy.default.approvers, "what a rule leaves out is as the section says"
    assert (risky.risk, risky.demand.required, risky.demand.auto) == (Risk.HIGH, 2, False)
    assert risky.demand.expires_after_ms == 3_600_000
    assert policy.auto is not None
    assert (policy.auto.most, policy.auto.per_ms) == (2, 3_600_000)
    assert policy.business_hours is not None
    assert (policy.business_hours.from_min, policy.business_hours.to_min) == (510, 1020)
    assert policy.freezes[0].from_ms == 1_797_984_000_000


def test_without_a_word_everybody_may_and_nothing_is_automatic() -> None:
    policy = Settings().approval.policy
    assert policy.open_to_all
    assert policy.auto is None
    assert not policy.default.auto


WRONG: dict[str, tuple[str, str]] = {
    "a rule that asks nobody": ("rules: [{name: a, required: 0}]", "greater than or equal to 1"),
    "an approver by a name in Slack": ("approvers: ['@ann']", "slack:TEAM/USER, group:ID"),
    "an approver with spaces": ("approvers: ['Ann Arbor']", "slack:TEAM/USER, group:ID"),
    "a time zone that is none": ("business_hours: {timezone: Mars/Base}", "a time zone such as Europe/Berlin"),
    "a path as a time zone": ("business_hours: {timezone: ../../etc/passwd}", "a time zone such as"),
    "hours that end before they start": ("business_hours: {start: '18:00', end: '09:00'}", "a start before the end"),
    "an hour that is none": ("business_hours: {start: '25:00'}", "pattern"),
    "a freeze without a zone": (
        "freezes: [{name: x, start: 2026-12-23T00:00:00, end: 2027-01-03T00:00:00}]",
        "timezone",
    ),
    "a freeze that ends before it starts": (
        "freezes: [{name: x, start: 2027-12-23T00:00:00Z, end: 2027-01-03T00:00:00Z}]",
        "a start before the end",
    ),
    "a freeze of an unknown environment": (
        "freezes: [{name: x, start: 2026-12-23T00:00:00Z, end: 2027-01-03T00:00:00Z, environments: [prod]}]",
        "'prod' is not in approval.environments",
    ),
    "two rules of one name": ("rules: [{name: a}, {name: a}]", "the name 'a' is used twice"),
    "a rule for an unknown action": ("rules: [{name: a, match: {action: ecs.destroy}}]", "expected one of ecs."),
    "a rule for an unknown environment": (
        "rules: [{name: a, match: {environment: prod}}]",
        "expected one of approval.environments (none is declared)",
    ),
    "a rule for hours that are not declared": (
        "rules: [{name: a, match: {hours: outside}}]",
        "expected approval.business_hours beside it",
    ),
    "automatic approval that is not turned on": (
        "rules: [{name: a, auto: true}]",
        "expected approval.auto.enabled: true beside it",
    ),
    "automatic approval by two": (
        "{auto: {enabled: true}, rules: [{name: a, auto: true, required: 2}]}",
        "the rule is one principal",
    ),
    "automatic approval of what cannot be undone": (
        "{auto: {enabled: true}, rules: [{name: a, auto: true, match: {action: ec2.reboot_instance}}]}",
        "expected actions that can be undone",
    ),
    "a misspelt key": ("rules: [{name: a, aprovers: []}]", "did you mean approvers?"),
    "a cost below nothing": ("hourly_cost: {'*': -1}", "greater than or equal to 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named(read: Any, case: str) -> None:
    text, said = WRONG[case]
    tree = yaml.safe_dump({"approval": yaml.safe_load(text)})
    if "freeze without a zone" in case:
        tree = f"approval:\n  {text}"
    with pytest.raises(Invalid) as error:
        read(tree)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_rule_for_an_unknown_runbook_is_refused(read: Any) -> None:
    with pytest.raises(Invalid, match="expected one of scale-out"):
        read(
            """
runbooks:
  - name: scale-out
    steps: [{action: ec2.reboot_instance, params: {instance_id: i-1}}]
approval:
  rules: [{name: a, match: {runbook: "scale-in*"}}]
"""
        )


def test_a_rule_behind_a_wider_one_is_found(read: Any) -> None:
    scaling = {"action": "ecs.scale_service"}
    rules = [{"name": "wide", "match": scaling}, {"name": "same", "match": {**scaling, "risk": "high"}}, {"name": "x"}]
    settings = read(yaml.safe_dump({"approval": {"rules": rules}}))
    assert never_fits(settings.approval) == {"same": "wide"}


def test_check_says_who_is_nobody_and_what_stands_open(read: Any) -> None:
    lines = "\n".join(approval_lines(read(WHOLE)))
    assert "group:S0OPS is nobody, for without a bot token no group can be read" in lines
    assert "ci is nobody, for no key in api.keys has that name" in lines
    assert "api:deploy is nobody" in lines
    assert "rules undoable-at-night may approve up to 2 plans in 3600 s" in lines
    assert "every verified member may approve" in "\n".join(approval_lines(Settings()))
