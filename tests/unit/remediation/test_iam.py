"""The policies that are made from the catalog: nothing without a resource, nothing that could widen itself."""

import json
from typing import Any

import pytest

from sentinel.ids import PlanId, client_token, step_key
from sentinel.incidents.nouns import Step
from sentinel.remediation.action import Place
from sentinel.remediation.actions import CATALOG, steps_of
from sentinel.remediation.iam import TAG, effects, look_policy, role_policy, session_policy
from tests.unit.incidents.make import reboot

HOME = Place(account="123456789012", region="us-east-1")
ON_AWS = [action for action in CATALOG.values() if action.arn.startswith("arn:") and not action.expands_to]


def statements(policy: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(json.dumps(policy))["Statement"]
    return found


def test_every_effect_of_the_catalog_is_allowed_on_a_kind_of_resource_only() -> None:
    allowed = [each for each in statements(role_policy()) if each["Effect"] == "Allow" and each["Sid"] != "Look"]
    granted = {change for each in allowed for change in each["Action"] if isinstance(each["Action"], list)}
    assert granted == {change for action in ON_AWS for change in effects(action)}
    assert all(each["Resource"] != "*" for each in allowed)
    for each in allowed:
        if each["Sid"] not in ("PassTaskRoles",) and "ssm:StartAutomationExecution" not in each["Action"]:
            assert each["Condition"]["StringEquals"] == {f"aws:ResourceTag/{TAG}": "true"}


def test_what_is_never_allowed_is_denied_and_asked_for_by_no_action() -> None:
    [denied] = [each for each in statements(role_policy()) if each["Effect"] == "Deny"]
    assert denied["Resource"] == "*"
    assert "ec2:CreateTags" in denied["Action"]
    wanted = {permission for action in CATALOG.values() for permission in action.permissions}
    assert wanted.isdisjoint(denied["Action"])


def test_names_of_statements_are_unique_and_plain() -> None:
    names = [each["Sid"] for each in statements(role_policy())]
    assert len(set(names)) == len(names)
    assert all(name.isalnum() for name in names)


@pytest.mark.parametrize("action", ON_AWS, ids=lambda action: action.name)
def test_a_session_may_do_one_thing_to_one_resource_until_then(action: Any) -> None:
    [step] = steps_of(action.name, action.example)
    first, *more = statements(session_policy(step, HOME, 1_700_000_000_000))
    assert first["Action"] == effects(action)
    assert first["Resource"] == action.arn_of(action.example, HOME)
    assert first["Condition"] == {"DateLessThan": {"aws:CurrentTime": "2023-11-14T22:13:20.000Z"}}
    assert all(each["Action"] == "iam:PassRole" for each in more)


def test_a_session_is_of_the_place_that_the_step_names() -> None:
    there = Step(action="ec2.reboot_instance", target="i-1", params={**reboot()[0].params, "account": "210987654321"})
    assert ":210987654321:" in statements(session_policy(there, HOME, 0))[0]["Resource"]


def test_a_look_changes_nothing() -> None:
    [only] = statements(look_policy())
    assert all(each.split(":")[1].startswith(("Describe", "Get", "List", "Lookup")) for each in only["Action"])


def test_a_client_token_is_a_uuid_and_the_same_for_the_same_step() -> None:
    keys = [step_key(PlanId(f"inc-20260101-00000000-1.p{n}"), 0) for n in range(100)]
    tokens = [client_token(key) for key in keys]
    assert len(set(tokens)) == 100
    assert tokens == [client_token(key) for key in keys]
    assert all(__import__("uuid").UUID(token).version == 8 for token in tokens)
