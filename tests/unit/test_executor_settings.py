"""The lists of `executor:`: accounts, clusters, the allow-list and freezes."""

import json
from typing import Any

import pytest

from sentinel.errors import Invalid
from sentinel.incidents.nouns import Step
from sentinel.remediation.actions import steps_of
from sentinel.remediation.safety import Limits, is_rehearsed, refusal
from sentinel.settings_loader import load

ARN = "arn:aws:rds:eu-west-1:123456789012:db:orders"
INSTANCE_ARN = "arn:aws:ec2:us-east-1:123456789012:instance/i-0abc"
PLACE = {"account": "123456789012", "region": "us-east-1"}


def executor(**fields: Any) -> Any:
    return load({f"SENTINEL_EXECUTOR_{name.upper()}": json.dumps(value) for name, value in fields.items()}).executor


def limits(rules: list[dict[str, Any]]) -> Limits:
    return Limits(allowed=tuple(entry.rule for entry in executor(allow=rules).allow))


def test_a_compound_action_allows_what_it_is_made_of() -> None:
    allowed = limits([{"actions": ["ec2.restart_instance"], "arns": [INSTANCE_ARN]}])
    steps = steps_of("ec2.restart_instance", {"instance_id": "i-0abc", **PLACE})
    assert [refusal(step, allowed) for step in steps] == ["", ""]
    [reboot] = steps_of("ec2.reboot_instance", {"instance_id": "i-0abc", **PLACE})
    assert refusal(reboot, allowed)


@pytest.mark.parametrize("elsewhere", [{"account": "210987654321"}, {"region": "eu-west-1"}, {"instance_id": "i-0abd"}])
def test_the_same_id_elsewhere_is_not_meant(elsewhere: dict[str, str]) -> None:
    allowed = limits([{"actions": ["ec2.reboot_instance"], "arns": [INSTANCE_ARN]}])
    [step] = steps_of("ec2.reboot_instance", {"instance_id": "i-0abc", **PLACE})
    assert refusal(step, allowed) == ""
    [other] = steps_of("ec2.reboot_instance", {"instance_id": "i-0abc", **PLACE, **elsewhere})
    assert refusal(other, allowed)


def test_the_old_list_of_instances_is_of_the_own_account_and_region() -> None:
    ours = Limits(ec2_instances=frozenset({"i-0abc"}))
    plain = Step(action="ec2.reboot_instance", target="i-0abc", params={"instance_id": "i-0abc"})
    assert refusal(plain, ours) == ""
    there = Step(action="ec2.reboot_instance", target="i-0abc", params={**plain.params, "region": "eu-west-1"})
    assert "of region eu-west-1 is not in executor.allow" in refusal(there, ours)


def test_a_rule_may_be_for_rehearsals_only() -> None:
    allowed = limits([{"actions": ["rds.reboot_instance"], "arns": [ARN], "dry_run": True}])
    [step] = steps_of(
        "rds.reboot_instance", {"db_instance": "orders", "account": "123456789012", "region": "eu-west-1"}
    )
    assert refusal(step, allowed) == ""
    assert is_rehearsed(step, allowed)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"allow": [{"actions": [], "arns": [ARN]}]}, "at least 1 item"),
        ({"allow": [{"actions": ["rds.reboot_instance"]}]}, "arns or tags: a rule without either allows nothing"),
        ({"allow": [{"actions": ["rds.delete"], "arns": [ARN]}]}, "one of autoscaling"),
        ({"allow": [{"actions": ["rds.reboot_instance"], "arns": ["*"]}]}, "whole ARNs without wildcards"),
        ({"allow": [{"actions": ["rds.reboot_instance"], "arns": [ARN[:-6] + "*"]}]}, "whole ARNs without wildcards"),
        ({"allow": [{"actions": ["rds.reboot_instance"], "tags": {"a": "b"}}]}, "account and region beside tags"),
        ({"allow": [{"actions": ["rds.reboot_instance"], "arn": [ARN]}]}, "known key"),
        ({"aws_accounts": [{"account": "1", "role_arn": "arn:aws:iam::1:role/r"}]}, "aws_accounts"),
        (
            {"aws_accounts": [{"account": "123456789012", "role_arn": "arn:aws:iam::210987654321:role/r"}]},
            "a role_arn of account 123456789012",
        ),
        ({"dry_run_actions": ["ec2.terminate"]}, "one of autoscaling"),
        ({"freeze": [{"reason": "x"}]}, "either starts and ends, or days"),
        ({"freeze": [{"reason": "x", "days": ["sat"], "from_time": "18:00", "until_time": "08:00"}]}, "two entries"),
        (
            {"freeze": [{"reason": "x", "starts": "2026-12-27T00:00:00Z", "ends": "2026-12-24T00:00:00Z"}]},
            "starts before ends",
        ),
        ({"max_actions_per_hour": 0}, "greater than or equal to 1"),
    ],
)
def test_what_could_never_work_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid) as refused:
        executor(**fields)
    assert said in str(refused.value)
