"""A walk through the catalog: every action is whole, and its judgements are total over what can be observed."""

import re
from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest

from sentinel.adapters.in_memory_cloud import InMemoryCloud
from sentinel.clock import ManualClock
from sentinel.errors import Invalid
from sentinel.ids import PlanId, step_key
from sentinel.incidents.nouns import Scalar, Step
from sentinel.remediation.action import Action, Place, Replaces, Sets
from sentinel.remediation.actions import CATALOG, Idempotency, Settled, Window, action_named, steps_of, target_of
from sentinel.remediation.binding import VOLATILE
from tests.unit.incidents.make import redeploy, restart, scale

Values = Mapping[str, Scalar]
HOME = Place(account="123456789012", region="us-east-1")
LOOK = re.compile(r":(Describe|Get|List|Lookup|get)")
SERVICE: Values = {
    "status": "ACTIVE",
    "desired": 2,
    "running": 2,
    "pending": 0,
    "deployment_id": "ecs-svc/1",
    "deployment_at_ms": 1,
    "task_definition": "checkout:44",
}
GROUP: Values = {
    "status": "active",
    "desired": 2,
    "running": 2,
    "least": 1,
    "most": 9,
    "refresh_id": "r1",
    "refresh_at_ms": 1,
    "refresh_status": "Successful",
}
DEPLOYMENT: Values = {"status": "active", "desired": 2, "running": 2, "updated": 2, "restarted_by": ""}
# By the first word of an action: how its resource looks before anything is done. What a test needs of a world.
BEFORE: Mapping[str, Values] = {
    "ec2.start_instance": {"state": "stopped", "launch_time_ms": 1},
    "ec2": {"state": "running", "launch_time_ms": 1},
    "ecs.stop_task": {"status": "RUNNING"},
    "ecs": SERVICE,
    "autoscaling": GROUP,
    "rds": {"status": "available"},
    "lambda": {"status": "Active", "concurrency": 10},
    "ssm": {"document": "Active", "execution_id": "e1", "execution_status": "Success"},
    "kubernetes.delete_pod": {"status": "Running", "uid": "u1"},
    "kubernetes": DEPLOYMENT,
}
STRANGE = ("terminated", "shutting-down", "DRAINING", "INACTIVE", "deleting", "terminating", "gone")
PRIMITIVE = [action for action in CATALOG.values() if not action.expands_to]
MADE = Window(from_ms=1000, until_ms=2000)
KEY = step_key(PlanId("inc-20231114-1a2b3c4d-1.p1"), 0)


def step_of(action: Action) -> Step:
    return Step(action=action.name, target=target_of(action.name, action.example), params=action.example)


def observations(action: Action) -> list[Values]:
    """Every kind of observation there is: each value that matters, as it was, as it is wanted, and as neither."""
    before = before_of(action)
    choices: dict[str, list[Scalar]] = {name: [value] for name, value in before.items()}
    choices[action.status] = [
        *action.starts_from,
        *STRANGE,
        *getattr(action, "through", ()),
        *getattr(action, "proof", ()),
    ]
    if isinstance(action, Sets):
        wanted = action.example[action.param]
        other: Scalar = wanted + 3 if isinstance(wanted, int) else f"{wanted}7"
        for name in filter(None, (action.value, action.follows)):
            choices[name] = [before[name], wanted, other]
    if isinstance(action, Replaces):
        choices[action.mark] = [before[action.mark], "fresh"]
        if action.mark_at:
            choices[action.mark_at] = [MADE.from_ms - 1, MADE.from_ms, MADE.until_ms, MADE.until_ms + 1]
        for name, reached in action.complete.items():
            choices[name] = [before[name], *((0, 4) if isinstance(reached, str) else ("Failed", *reached))]
    found = [dict(zip(choices, values, strict=True)) for values in product(*choices.values())]
    return [*found, {}]


def before_of(action: Action) -> Values:
    return BEFORE.get(action.name) or BEFORE[action.name.partition(".")[0]]


@pytest.mark.parametrize("action", CATALOG.values(), ids=CATALOG)
def test_an_action_is_whole(action: Action) -> None:
    action.check(action.example)
    assert set(action.example) == {name for name, param in action.params.items() if param.required}
    assert action.target_of(action.example)
    assert action.arn_of(action.example, HOME).startswith(("arn:aws:", "kubernetes:"))
    assert action.blast_radius
    assert not action.blast_radius.endswith(".")
    assert action.starts_from or action.expands_to or action.status == "document"
    assert action.summary
    assert not action.summary.endswith(".")
    assert all(param.meaning for param in action.params.values())
    service = action.name.partition(".")[0]
    assert action.permissions
    allowed = (f"{service}:", "iam:PassRole", "cloudtrail:LookupEvents")
    assert all(permission.startswith(allowed) for permission in action.permissions)
    looks = [permission for permission in action.permissions if LOOK.search(permission)]
    assert looks, "it is looked at before it is changed"
    assert len(looks) < len(action.permissions)


@pytest.mark.parametrize("action", CATALOG.values(), ids=CATALOG)
def test_an_action_becomes_primitive_steps_with_targets(action: Action) -> None:
    steps = steps_of(action.name, action.example)
    assert [step.action for step in steps] == list(action.expands_to or (action.name,))
    for step in steps:
        assert not CATALOG[step.action].expands_to
        assert set(CATALOG[step.action].permissions) <= set(action.permissions)
        assert step.target == action.target_of(action.example)
        assert CATALOG[step.action].arn == action.arn


@pytest.mark.parametrize("action", CATALOG.values(), ids=CATALOG)
def test_the_judgements_are_total(action: Action) -> None:
    step = step_of(action)
    for before in observations(action):
        said = action.may_start(before)
        assert isinstance(said, str)
        assert "\n" not in said
        inverse = action.inverse(step, before)
        assert inverse is None or CATALOG[inverse.action].check(inverse.params) is None
        for now in observations(action):
            assert isinstance(action.holds(step, now), bool)
            assert isinstance(action.effect_seen(step, before, now), bool)
            assert isinstance(action.still_ours(step, now), bool)
            assert action.settle(step, before, now, MADE) in Settled


@pytest.mark.parametrize("action", CATALOG.values(), ids=CATALOG)
def test_nothing_starts_on_what_tells_nothing_or_is_going_away(action: Action) -> None:
    assert action.may_start({})
    if action.starts_from:
        for strange in STRANGE:
            assert action.may_start({**before_of(action), action.status: strange})


@pytest.mark.parametrize("action", PRIMITIVE, ids=lambda action: action.name)
def test_what_may_not_be_sent_twice_is_never_found_not_done(action: Action) -> None:
    # NOT_DONE is what lets the executor send again.
    step = step_of(action)
    seen = observations(action)
    found = {action.settle(step, before, now, MADE) for before in seen for now in seen}
    assert (Settled.NOT_DONE in found) == (action.idempotency is not Idempotency.AT_MOST_ONCE)
    if action.idempotency is Idempotency.AT_MOST_ONCE:
        assert Settled.UNKNOWN in found


@pytest.mark.parametrize("action", PRIMITIVE, ids=lambda action: action.name)
def test_an_effect_that_is_seen_is_found_done_where_it_can_be_known(action: Action) -> None:
    step = step_of(action)
    for before in observations(action):
        for now in observations(action):
            if now and action.effect_seen(step, before, now):
                assert action.settle(step, before, now, MADE) not in (Settled.NOT_DONE, Settled.NEVER_DONE)
            if action.holds(step, now):
                assert action.settle(step, before, now, MADE) is Settled.DONE


@pytest.mark.parametrize("name", ["ecs.force_new_deployment", "autoscaling.start_instance_refresh"])
@pytest.mark.parametrize(
    ("at_ms", "settled"), [(999, Settled.UNKNOWN), (1000, Settled.DONE), (2000, Settled.DONE), (2001, Settled.UNKNOWN)]
)
def test_something_new_that_somebody_else_made_is_not_taken_for_ours(name: str, at_ms: int, settled: Settled) -> None:
    action = CATALOG[name]
    assert isinstance(action, Replaces)
    before = before_of(action)
    now = {**before, action.mark: "another", action.mark_at: at_ms}
    assert action.settle(step_of(action), before, now, MADE) is settled


@pytest.mark.parametrize("action", [action for action in PRIMITIVE if isinstance(action, Replaces)])
def test_when_something_new_was_made_is_no_change_beside_what_it_is(action: Replaces) -> None:
    assert not action.mark_at or action.mark_at in VOLATILE
    assert action.mark not in VOLATILE


@pytest.mark.parametrize("action", [action for action in PRIMITIVE if isinstance(action, Replaces)])
def test_where_nothing_new_is_in_place_the_call_was_never_made(action: Replaces) -> None:
    step, before = step_of(action), before_of(action)
    never = Settled.NOT_DONE if action.idempotency is Idempotency.TOKEN else Settled.NEVER_DONE
    assert action.settle(step, before, before, MADE) is never
    assert action.settle(step, before, {}, MADE) is Settled.UNKNOWN


def test_a_pod_that_is_going_away_was_deleted() -> None:
    action = CATALOG["kubernetes.delete_pod"]
    before = before_of(action)
    assert action.settle(step_of(action), before, {**before, "status": "Terminating"}, MADE) is Settled.DONE


def world(action: Action) -> InMemoryCloud:
    cloud = InMemoryCloud(clock=ManualClock(1_700_000_000_000))
    cloud.others[step_of(action).target] = dict(before_of(action))
    return cloud


@pytest.mark.parametrize("action", PRIMITIVE, ids=lambda action: action.name)
def test_an_inverse_brings_back_what_was(action: Action) -> None:
    cloud, step = world(action), step_of(action)
    before = cloud.observe(step).values
    assert action.may_start(before) == ""
    cloud.send(step, KEY)
    changed = cloud.observe(step).values
    assert action.effect_seen(step, before, changed)
    inverse = action.inverse(step, before)
    assert (inverse is not None) == action.reversible
    if inverse is None:
        return
    assert action.still_ours(step, changed)
    assert CATALOG[inverse.action].may_start(changed) == ""
    cloud.send(inverse, KEY)
    compared = ("desired", "running", "state", "task_definition", "concurrency")
    now = cloud.observe(step).values
    assert {name: now.get(name) for name in compared} == {name: before.get(name) for name in compared}
    assert CATALOG[inverse.action].holds(inverse, now)


@pytest.mark.parametrize(
    ("step", "previous"),
    [
        (scale()[0], {"desired": 0}),  # an undo that stops a service would be an outage of our own
        (scale()[0], {}),
        (scale()[0], {"desired": "2"}),
        (restart()[0], {"state": "stopped"}),
        (restart()[0], {"state": "stopping"}),
        (restart()[1], {"state": "stopped"}),
        (redeploy()[0], {"deployment_id": "ecs-svc/1"}),
    ],
)
def test_there_is_no_inverse_of_what_cannot_be_brought_back(step: Step, previous: Values) -> None:
    assert action_named(step.action).inverse(step, previous) is None


def test_somebody_elses_scaling_is_not_ours() -> None:
    assert not CATALOG["ecs.scale_service"].still_ours(scale(4)[0], {"desired": 6})


SEEN: dict[str, tuple[str, Values, Values, bool]] = {
    "tasks wanted and running": ("ecs.scale_service", {}, {"desired": 4, "running": 4}, True),
    "tasks wanted, not yet running": ("ecs.scale_service", {}, {"desired": 4, "running": 3}, False),
    "tasks running by chance": ("ecs.scale_service", {}, {"desired": 2, "running": 4}, False),
    "a new deployment, all running": (
        "ecs.force_new_deployment",
        {"deployment_id": "a"},
        {"deployment_id": "b", "desired": 2, "running": 2},
        True,
    ),
    "a new deployment, half running": (
        "ecs.force_new_deployment",
        {"deployment_id": "a"},
        {"deployment_id": "b", "desired": 2, "running": 1},
        False,
    ),
    "the old deployment": (
        "ecs.force_new_deployment",
        {"deployment_id": "a"},
        {"deployment_id": "a", "desired": 2, "running": 2},
        False,
    ),
    "an instance on its way down": ("ec2.stop_instance", {}, {"state": "stopping"}, False),
    "an instance that is down": ("ec2.stop_instance", {}, {"state": "stopped"}, True),
    "an instance on its way up": ("ec2.start_instance", {}, {"state": "pending"}, False),
    "an instance that is up": ("ec2.start_instance", {}, {"state": "running"}, True),
}


@pytest.mark.parametrize("case", SEEN)
def test_when_an_effect_has_come_about(case: str) -> None:
    name, previous, now, seen = SEEN[case]
    assert CATALOG[name].effect_seen(step_of(CATALOG[name]), previous, now) is seen


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"desired_count": 0}, "params.desired_count"),
        ({"desired_count": 1001}, "params.desired_count"),
        ({"desired_count": 2.0}, "params.desired_count"),
        ({"desired_count": True}, "params.desired_count"),
        ({"service": "a/b"}, "params.service"),
        ({"service": ""}, "params.service"),
        ({"service": "checkout\n"}, "params.service"),
        ({"cluster": "prod"}, "params.cluster"),
        ({"other": 1}, "params.other"),
    ],
)
def test_a_parameter_out_of_its_form_is_refused_by_name(changes: dict[str, Any], field: str) -> None:
    action = CATALOG["ecs.scale_service"]
    with pytest.raises(Invalid) as refused:
        action.check({**action.example, **changes})
    assert refused.value.field == field


def test_an_action_nobody_knows_is_refused_with_those_there_are() -> None:
    with pytest.raises(Invalid, match=r"one of autoscaling\.set.*ec2\.reboot_instance, .*ecs\.scale_service"):
        action_named("rm")


def test_a_compound_action_is_not_one_call() -> None:
    assert "ec2.stop_instance, ec2.start_instance" in CATALOG["ec2.restart_instance"].may_start({"state": "running"})
