"""Runbooks: what is filled in, and what is refused before any alert comes."""

import pytest

from sentinel.errors import Invalid
from sentinel.incidents.nouns import Scalar
from sentinel.remediation.runbooks import Runbook, Use, is_open
from tests.unit.incidents.make import CLUSTER, alert


def book(action: str = "ecs.scale_service", **params: Scalar) -> Runbook:
    return Runbook(name="mend", uses=(Use(action=action, params=params),))


FULL: dict[str, Scalar] = {"cluster": CLUSTER, "service": "{service}", "desired_count": 4}


def test_placeholders_are_filled_from_the_alert() -> None:
    seen = alert(labels={"ecs.service": "co", "zone": "b"})
    (step,) = book(**{**FULL, "service": "{service}-{labels.ecs.service}_{labels.zone}"}).steps(seen)
    assert step.params == {"cluster": CLUSTER, "service": "checkout-co_b", "desired_count": 4}
    assert step.target == f"{CLUSTER}/checkout-co_b"


def test_what_a_label_holds_is_not_filled_in_again() -> None:
    seen = alert(labels={"a": "{labels.b}", "b": "secret"})
    with pytest.raises(Invalid, match=r"params\.service"):
        book(**{**FULL, "service": "{labels.a}"}).steps(seen)


@pytest.mark.parametrize(
    ("runbook", "field", "said"),
    [
        (book("ecs.delete_cluster"), "runbooks.mend.steps.0.action", "one of autoscaling.set_desired_capacity"),
        (book(**FULL, color="red"), "runbooks.mend.steps.0.params.color", "one of cluster, service, desired_count"),
        (book(cluster=CLUSTER, service="x"), "runbooks.mend.steps.0.params.desired_count", "the number of tasks"),
        (book(**{**FULL, "desired_count": 0}), "runbooks.mend.steps.0.params.desired_count", "from 1 to 1000"),
        (book(**{**FULL, "desired_count": "4"}), "runbooks.mend.steps.0.params.desired_count", "a whole number"),
        (book(**{**FULL, "desired_count": True}), "runbooks.mend.steps.0.params.desired_count", "a whole number"),
        (book(**{**FULL, "cluster": "prod"}), "runbooks.mend.steps.0.params.cluster", "an ECS cluster ARN"),
    ],
)
def test_a_runbook_that_can_never_run_is_refused(runbook: Runbook, field: str, said: str) -> None:
    with pytest.raises(Invalid, match=said) as refused:
        runbook.check()
    assert refused.value.field == field


def test_an_open_parameter_is_not_judged_before_it_is_known() -> None:
    book(**{**FULL, "cluster": "{labels.cluster}"}).check()
    book("ec2.reboot_instance", instance_id="{labels.instance_id}").check()


@pytest.mark.parametrize(
    ("value", "opens"),
    [("{service}", True), ("x-{labels.a.b}", True), ("{other}", False), ("{labels.}", False), ("", False), (4, False)],
)
def test_what_is_open(value: Scalar, opens: bool) -> None:
    assert is_open(value) is opens
