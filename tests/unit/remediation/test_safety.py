"""What may be touched: only what is listed, and only by so much."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.errors import Invalid
from sentinel.incidents.nouns import Step
from sentinel.remediation.actions import CATALOG, steps_of
from sentinel.remediation.safety import Limits, first_refusal, refusal, refusal_now
from tests.unit.incidents.make import CLUSTER, INSTANCE, reboot, redeploy, restart, scale

ALL = Limits(ec2_instances=frozenset({INSTANCE}), ecs_clusters=frozenset({CLUSTER}))
ACTIVE = {"status": "ACTIVE", "desired": 2, "running": 2}
INSTANCES = st.from_regex(r"i-[0-9a-z]{1,17}", fullmatch=True)
CLUSTERS = st.from_regex(r"arn:aws:ecs:us-east-1:\d{12}:cluster/[A-Za-z0-9_-]{1,12}", fullmatch=True)


@st.composite
def any_step(draw: st.DrawFn) -> Step:
    """Some use of some action of the catalog."""
    action = CATALOG[draw(st.sampled_from(sorted(CATALOG)))]
    params = dict(action.example)
    if "instance_id" in params:
        params["instance_id"] = draw(INSTANCES)
    elif action.name.startswith("ecs."):
        params["cluster"] = draw(CLUSTERS)
    if "desired_count" in params:
        params["desired_count"] = draw(st.integers(1, 1000))
    return draw(st.sampled_from(steps_of(action.name, params)))


@given(any_step())
def test_an_empty_list_allows_nothing(step: Step) -> None:
    assert re.search(r"is not in executor\.|account of .* is not known", refusal(step, Limits(max_desired_count=1000)))


@given(any_step(), st.frozensets(INSTANCES, max_size=3), st.frozensets(CLUSTERS, max_size=3))
def test_only_what_is_listed_to_the_letter_is_allowed(
    step: Step, instances: frozenset[str], clusters: frozenset[str]
) -> None:
    limits = Limits(ec2_instances=instances, ecs_clusters=clusters, max_desired_count=1000)
    on_ecs = step.action.startswith("ecs.")
    listed = step.params.get("instance_id") in instances or (on_ecs and step.params["cluster"] in clusters)
    assert (refusal(step, limits) == "") == listed


@pytest.mark.parametrize("near", [CLUSTER.upper(), CLUSTER + "x", CLUSTER[:-1], "*", "arn:aws:ecs:*"])
def test_a_near_miss_is_a_miss(near: str) -> None:
    assert "whitelist" in refusal(scale()[0], replace(ALL, ecs_clusters=frozenset({near})))


def test_the_bound_itself_is_allowed_and_one_more_is_not() -> None:
    assert refusal(scale(50)[0], ALL) == ""
    assert refusal(scale(51)[0], ALL) == "desired_count 51 is above executor.max_desired_count 50"


def test_a_step_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(Invalid, match=r"action: got 'ec2\.terminate'"):
        refusal(Step(action="ec2.terminate", target="x", params={}), ALL)
    with pytest.raises(Invalid, match=r"params\.instance_id: got 'nothing'"):
        refusal(Step(action="ec2.reboot_instance", target="x", params={}), ALL)


NOW = {
    "a step of as many as is allowed": (scale(7)[0], ACTIVE, ""),
    "a step of one more": (scale(8)[0], ACTIVE, "from 2 to 8 is more than executor.max_scale_step 5 at once"),
    "a step down of too many": (scale(1)[0], {**ACTIVE, "desired": 9}, "from 9 to 1 is more than"),
    "a service that is going away": (
        scale()[0],
        {**ACTIVE, "status": "DRAINING"},
        "the service is DRAINING, not ACTIVE",
    ),
    "a service of which nothing is known": (redeploy()[0], {}, "the service is None, not ACTIVE"),
    "an instance that is stopped, to be rebooted": (reboot()[0], {"state": "stopped"}, "the instance is stopped, not"),
    "an instance that is gone": (restart()[0], {"state": "terminated"}, "the instance is terminated, not running or"),
    "an instance that runs": (reboot()[0], {"state": "running"}, ""),
}


@pytest.mark.parametrize("case", NOW)
def test_the_resource_as_it_is_has_a_say(case: str) -> None:
    step, now, said = NOW[case]
    assert refusal_now(step, now, ALL).startswith(said)
    assert bool(refusal_now(step, now, ALL)) == bool(said)


def test_the_list_has_the_first_word_over_the_resource() -> None:
    assert "whitelist" in refusal_now(scale()[0], {"status": "INACTIVE"}, Limits())


def test_of_several_steps_the_first_reason_is_told() -> None:
    assert first_refusal([*scale(), *scale(60), *reboot("i-other")], ALL).startswith("desired_count 60")
    assert first_refusal([*scale(), *restart()], ALL) == ""
