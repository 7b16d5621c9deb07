"""What the forms of actions say on either side of each comparison, of values as they come from an API."""

import pytest

from sentinel.remediation.action import Action, Moves, Param, Place, Replaces, Sets, Settled, Shakes
from sentinel.remediation.actions import CATALOG, action_named
from tests.unit.incidents.make import CLUSTER, scale
from tests.unit.remediation.test_actions import MADE, step_of

HOME = Place(account="123456789012", region="us-east-1")


def spelt(text: str) -> str:
    """The same text as another object, as it comes from an API."""
    return "".join(list(text))


def form(kind: type[Action]) -> list[Action]:
    return [action for action in CATALOG.values() if isinstance(action, kind)]


def test_a_parameter_without_bounds_is_nought() -> None:
    assert (Param(meaning="a number").low, Param(meaning="a number").high) == (0, 0)


@pytest.mark.parametrize(
    ("params", "place"),
    [
        ({"a": "arn:aws:ecs:eu-west-1:222222222222:cluster/prod"}, Place(account="222222222222", region="eu-west-1")),
        ({"a": "arn:aws:rds:eu-west-1:222222222222:db:main"}, Place(account="222222222222", region="eu-west-1")),
        ({"a": "arn:aws:x:eu-west-1:222222222222:a:b:c:d"}, Place(account="222222222222", region="eu-west-1")),
        ({"a": "arn:aws:x:eu-west-1:222222222222"}, Place()),
        ({"a": 7, "b": "arn"}, Place()),
        ({"a": "urn:aws:ecs:eu-west-1:222222222222:cluster/prod"}, Place()),
        (
            {"account": "1", "region": "r", "a": "arn:aws:ecs:eu-west-1:222222222222:cluster/prod"},
            Place(account="1", region="r"),
        ),
        ({"account": "1", "a": "arn:aws:ecs:eu-west-1:2:cluster/prod"}, Place(account="1", region="eu-west-1")),
    ],
)
def test_where_a_resource_is_follows_from_its_parameters(params: dict[str, str | int], place: Place) -> None:
    assert action_named("ec2.reboot_instance").place_of(params) == place


@pytest.mark.parametrize("default", [Place(account="123456789012"), Place(region="us-east-1"), Place()])
def test_without_account_and_region_there_is_no_arn(default: Place) -> None:
    assert action_named("ec2.reboot_instance").arn_of({"instance_id": "i-1"}, default) == ""
    assert action_named("ec2.reboot_instance").arn_of({"instance_id": "i-1"}, HOME).endswith(":instance/i-1")


def test_the_arn_of_a_service_holds_the_name_of_its_cluster() -> None:
    params = {"cluster": CLUSTER, "service": "checkout", "desired_count": 4}
    arn = action_named("ecs.scale_service").arn_of(params, HOME)
    assert arn.endswith(f":service/{CLUSTER.rpartition('/')[2]}/checkout")


@pytest.mark.parametrize(
    ("desired", "running", "holds", "seen"),
    [(400, 400, True, True), (400, 500, True, False), (400, 399, True, False), (399, 399, False, False)],
)
def test_a_value_is_set_and_then_followed(desired: int, running: int, holds: bool, seen: bool) -> None:
    (step,) = scale(400)
    action = action_named(step.action)
    now = {"desired": int(f"{desired}"), "running": int(f"{running}")}
    assert action.holds(step, now) is holds
    assert action.effect_seen(step, {}, now) is seen


@pytest.mark.parametrize(
    ("before", "now", "settled"),
    [
        ({"desired": 300}, {"desired": 400}, Settled.DONE),
        ({"desired": 300}, {"desired": int("300")}, Settled.NOT_DONE),
        ({"desired": 300}, {"desired": 350}, Settled.UNKNOWN),
        ({}, {"desired": 300}, Settled.UNKNOWN),
        ({}, {}, Settled.UNKNOWN),
        ({"desired": 300}, {}, Settled.UNKNOWN),
    ],
)
def test_a_value_tells_what_became_of_a_call(before: dict[str, int], now: dict[str, int], settled: Settled) -> None:
    (step,) = scale(400)
    assert action_named(step.action).settle(step, before, now, MADE) is settled


@pytest.mark.parametrize("action", form(Moves), ids=lambda action: action.name)
def test_a_state_is_known_by_its_name(action: Moves) -> None:
    step = step_of(action)
    assert action.holds(step, {action.status: spelt(action.to)})
    assert not action.holds(step, {action.status: f"{action.to}!"})
    if action.undone_by:
        assert action.inverse(step, {action.status: spelt(action.undone_from)}) is not None
        assert action.inverse(step, {action.status: f"{action.undone_from}!"}) is None


@pytest.mark.parametrize("action", form(Shakes), ids=lambda action: action.name)
def test_what_was_shaken_rests_where_it_should(action: Shakes) -> None:
    assert action.effect_seen(step_of(action), {}, {action.status: spelt(action.rests_at)})
    assert not action.effect_seen(step_of(action), {}, {action.status: f"{action.rests_at}!"})


@pytest.mark.parametrize("action", form(Replaces), ids=lambda action: action.name)
def test_something_new_is_told_by_its_mark(action: Replaces) -> None:
    step, old = step_of(action), {action.mark: "made before"}
    before = action.settle(step, old, {action.mark: spelt("made before")}, MADE)
    assert before in (Settled.NOT_DONE, Settled.NEVER_DONE)
    assert action.settle(step, old, {action.mark: "made now", action.mark_at: 1_500}, MADE) is Settled.DONE


def test_what_must_become_equal_must_be_equal() -> None:
    action = action_named("ecs.force_new_deployment")
    assert isinstance(action, Replaces)
    ((name, wanted),) = ((name, wanted) for name, wanted in action.complete.items() if isinstance(wanted, str))
    others = {name: wanted[0] for name, wanted in action.complete.items() if isinstance(wanted, tuple)}
    old = {action.mark: "old"}
    for live, seen in ((int("400"), True), (401, False), (399, False)):
        now = {action.mark: "new", name: live, wanted: 400, **others}
        assert action.effect_seen(step_of(action), old, now) is seen


def test_every_form_is_in_the_catalog() -> None:
    assert all(form(kind) for kind in (Sets, Moves, Replaces, Shakes))
