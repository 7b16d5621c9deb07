"""How each action is done on AWS: how its target is looked at, and the one request that has the effect.

What is sent is data, made by `request`, so that a rehearsal can show exactly what would have been sent.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sentinel.ids import StepKey
from sentinel.incidents.nouns import Step
from sentinel.remediation.action import Observed

Request = Mapping[str, Any]
Reply = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsCall:
    """One action on AWS.

    `look` is given a boto3 client of `service` and a step. `method` is the client's method with the effect and
    `request` its arguments; `answer` reads the reply in a line, and is empty for one that was cut short.
    `can_rehearse`: the method takes DryRun.
    """

    service: str
    look: Callable[[Any, Step], Observed]
    method: str
    request: Callable[[Step, StepKey], Request]
    answer: Callable[[Reply], str]
    can_rehearse: bool = False


def tags_of(pairs: object, name: str = "Key", value: str = "Value") -> dict[str, str]:
    """AWS's list of name and value as a mapping."""
    if not isinstance(pairs, list):
        return {}
    return {str(each.get(name, "")): str(each.get(value, "")) for each in pairs}


def shown(call: AwsCall, step: Step, key: StepKey) -> str:
    """The request as people read it: service, method and arguments."""
    request = call.request(step, key)
    arguments = ", ".join(f"{name}={value!r}" for name, value in request.items())
    return f"{call.service}.{call.method}({arguments})"
