"""The catalog of actions: those that Sentinel brings, and those of entry points in the group `sentinel.actions`.

An entry point names an `Action`; one of the same name in the group `sentinel.aws_calls` says how it is done.
"""

from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points

from sentinel.errors import Invalid
from sentinel.incidents.nouns import Step
from sentinel.remediation.action import Action, Idempotency, Param, Place, Settled, Values, Window
from sentinel.remediation.catalog import DECLARED

__all__ = [
    "CATALOG",
    "Action",
    "Idempotency",
    "Param",
    "Place",
    "Settled",
    "Values",
    "Window",
    "action_named",
    "catalog_of",
    "steps_of",
    "target_of",
]

GROUP = "sentinel.actions"


def catalog_of(declared: Iterable[Action], added: Iterable[EntryPoint]) -> Mapping[str, Action]:
    """All actions by name. Raises Invalid for an entry point that is no action, or takes the name of one."""
    catalog = {action.name: action for action in declared}
    for entry in added:
        action = entry.load()
        if not isinstance(action, Action) or action.name != entry.name or action.name in catalog:
            raise Invalid(f"entry point {entry.name} in {GROUP}", entry.value, "an Action of that name, which is free")
        catalog[action.name] = action
    return catalog


CATALOG: Mapping[str, Action] = catalog_of(DECLARED, entry_points(group=GROUP))


def action_named(name: str, field: str = "action") -> Action:
    """The action of that name. Raises Invalid, which lists the names there are."""
    action = CATALOG.get(name)
    if action is None:
        raise Invalid(field, name, f"one of {', '.join(sorted(CATALOG))}")
    return action


def steps_of(name: str, params: Values, field: str = "steps") -> tuple[Step, ...]:
    """The primitive steps of one use of an action. Raises Invalid for a wrong name or parameter."""
    action = action_named(name, f"{field}.action")
    action.check(params, f"{field}.params")
    names = action.expands_to or (action.name,)
    return tuple(Step(action=each, target=target_of(each, params), params=dict(params)) for each in names)


def target_of(action: str, params: Values) -> str:
    """What the step touches, in the words of its API: an instance id, or cluster ARN and service name."""
    return action_named(action).target_of(params)
