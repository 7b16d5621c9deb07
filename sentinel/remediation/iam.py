"""IAM policies, from the catalog: what the executor's role may do, and what one step's session may: `make iam`.

Kubernetes actions are not IAM's; their rights are in the cluster's RBAC.
"""

import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from sentinel.clock import iso
from sentinel.incidents.nouns import Step
from sentinel.remediation.action import Action, Place
from sentinel.remediation.actions import CATALOG, action_named
from sentinel.remediation.catalog import DECLARED

TAG = "sentinel:allowed"
_LOOK = re.compile(r":(Describe|Get|List|Lookup)")
# What would let a role widen itself, or undo what a tag forbids.
_NEVER = (
    "autoscaling:CreateOrUpdateTags",
    "ec2:CreateTags",
    "ec2:DeleteTags",
    "ec2:ModifyInstanceAttribute",
    "ec2:TerminateInstances",
    "ecs:TagResource",
    "ecs:UntagResource",
    "iam:Attach*",
    "iam:Create*",
    "iam:Put*",
    "iam:Update*",
    "lambda:TagResource",
    "organizations:*",
    "rds:AddTagsToResource",
    "rds:RemoveTagsFromResource",
)
# Looks that AWS lets nobody restrict to a resource, and effects whose resource takes no tag condition.
_UNTAGGED = re.compile(r"ssm:|iam:")

Policy = Mapping[str, object]


def looks(actions: Iterable[Action]) -> list[str]:
    """The permissions to look, sorted."""
    return sorted({each for action in actions for each in action.permissions if _LOOK.search(each)})


def effects(action: Action) -> list[str]:
    """The permissions to change, without iam:PassRole."""
    return [each for each in action.permissions if not _LOOK.search(each) and not each.startswith("iam:")]


def role_policy(actions: Iterable[Action] = DECLARED) -> Policy:
    """What the executor's role needs for these actions: looks everywhere, effects only on what carries the tag."""
    on_aws = [action for action in actions if action.arn.startswith("arn:")]
    by_resource: dict[str, set[str]] = {}
    for action in on_aws:
        resource = re.sub(r"\{[a-z_]+\}", "*", action.arn.replace("{partition}", "aws"))
        by_resource.setdefault(resource, set()).update(effects(action))
    statements: list[Policy] = [
        {"Sid": "Look", "Effect": "Allow", "Action": looks(on_aws), "Resource": "*"},
        *(_allowed(resource, sorted(changes)) for resource, changes in sorted(by_resource.items())),
    ]
    if any("iam:PassRole" in action.permissions for action in on_aws):
        statements.append(
            {
                "Sid": "PassTaskRoles",
                "Effect": "Allow",
                "Action": "iam:PassRole",
                "Resource": "arn:aws:iam::*:role/*",
                "Condition": {
                    "StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com", f"iam:ResourceTag/{TAG}": "true"}
                },
            }
        )
    statements.append({"Sid": "NeverWiden", "Effect": "Deny", "Action": list(_NEVER), "Resource": "*"})
    return {"Version": "2012-10-17", "Statement": statements}


def session_policy(step: Step, home: Place, until_ms: int) -> Policy:
    """What the session of one step may: its one action, on its one ARN, until then. AWS refuses a late call by it.

    STS takes the intersection of this and the role's own policy.
    """
    action = action_named(step.action)
    statements: list[Policy] = [
        {
            "Effect": "Allow",
            "Action": effects(action),
            "Resource": action.arn_of(step.params, home),
            "Condition": {"DateLessThan": {"aws:CurrentTime": iso(until_ms)}},
        }
    ]
    if "iam:PassRole" in action.permissions:
        statements.append({"Effect": "Allow", "Action": "iam:PassRole", "Resource": "*"})
    return {"Version": "2012-10-17", "Statement": statements}


def look_policy() -> Policy:
    """What a session that only looks may."""
    on_aws = [action for action in CATALOG.values() if action.arn.startswith("arn:")]
    statement = {"Effect": "Allow", "Action": looks(on_aws), "Resource": "*"}
    return {"Version": "2012-10-17", "Statement": [statement]}


def text_of(policy: Policy) -> str:
    """The policy as the file holds it."""
    return json.dumps(policy, indent=2) + "\n"


def _allowed(resource: str, changes: list[str]) -> Policy:
    service = resource.split(":")[2]
    words = re.findall(r"[A-Za-z0-9]+", service + " " + resource.split(":", 5)[5].split("/", maxsplit=1)[0])
    statement: dict[str, object] = {
        "Sid": "Change" + "".join(word[:1].upper() + word[1:] for word in words),
        "Effect": "Allow",
        "Action": changes,
        "Resource": resource,
    }
    if not any(_UNTAGGED.match(change) for change in changes):
        statement["Condition"] = {"StringEquals": {f"aws:ResourceTag/{TAG}": "true"}}
    return statement


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text_of(role_policy()), encoding="utf-8")
