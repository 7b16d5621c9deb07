"""Which plan is proposed, and why none is."""

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.incidents import facts as f
from sentinel.incidents.nouns import Alert, Direction, Incident, Plan, Seen, Severity, Similar, Step, Suspect
from sentinel.remediation.planner import PlanPolicy, digest_of, propose
from sentinel.remediation.runbooks import Runbook, Use
from sentinel.remediation.safety import Limits
from tests.unit.incidents.make import CLUSTER, ID, INSTANCE, T0, after, alert, opened, plan, restart, scale

LIMITS = Limits(ec2_instances=frozenset({INSTANCE}), ecs_clusters=frozenset({CLUSTER}))
POLICY = PlanPolicy(approvals_required=2, expires_after_ms=900_000, dry_run=False)
SCALE = Runbook(
    name="scale-out",
    uses=(Use(action="ecs.scale_service", params={"cluster": CLUSTER, "service": "{service}", "desired_count": 4}),),
)
RESTART = Runbook(
    name="restart", uses=(Use(action="ec2.restart_instance", params={"instance_id": "{labels.instance_id}"}),)
)


def incident(*alerts: Alert, suspects: tuple[str, ...] = ("checkout",), similar: tuple[Similar, ...] = ()) -> Incident:
    ranked = tuple(Suspect(service=name, score=1.0, reasons=()) for name in suspects)
    return after(replace(opened(*(alerts or (alert(),))), suspects=ranked, similar=similar))


def alike(runbook: str | None, *fixed_by: str, similarity: float = 0.9) -> Similar:
    return Similar(
        incident_id=ID,
        similarity=similarity,
        title="",
        at_ms=T0,
        outcome="fixed by its plan",
        runbook=runbook,
        fixed_by=fixed_by,
        recovery_ms=1000,
    )


def proposed(found: Incident, *runbooks: Runbook, limits: Limits = LIMITS, policy: PlanPolicy = POLICY) -> Plan:
    proposal = propose(found, runbooks, limits, policy, T0)
    assert proposal.plan is not None, proposal.reason
    return proposal.plan


def why_not(found: Incident, *runbooks: Runbook, limits: Limits = LIMITS) -> str:
    proposal = propose(found, runbooks, limits, POLICY, T0)
    assert proposal.plan is None
    assert proposal.reason
    assert "\n" not in proposal.reason
    return proposal.reason


def test_a_plan_carries_what_the_policy_and_the_runbook_say() -> None:
    found = incident(alert(), alert("web"))
    made = proposed(found, replace(SCALE, verify_within_s=77, rollback=False))
    assert made.plan_id == f"{ID}.p1"
    assert made.steps == scale()
    assert made.verify == (alert().fingerprint, alert("web").fingerprint)
    assert (made.verify_within_s, made.rollback, made.dry_run, made.approvals_required) == (77, False, False, 2)
    assert (made.created_at_ms, made.expires_at_ms) == (T0, T0 + 900_000)
    assert made.digest == digest_of(made)
    assert "checkout is suspected and its latency is up" in made.reason


def test_the_likeliest_suspect_comes_first() -> None:
    found = incident(alert("web", score=90.0), alert("payments", score=9.0), suspects=("payments", "web"))
    assert proposed(found, SCALE).steps == scale(service="payments")


def test_the_strongest_alert_of_a_suspect_comes_first() -> None:
    weak, strong = alert(kind="cpu", metric="cpu_percent", score=7.0), alert(score=70.0)
    by_cpu = replace(RESTART, name="by-cpu", kind="cpu", uses=SCALE.uses)
    assert proposed(incident(weak, strong), by_cpu, SCALE).runbook == "scale-out"


def test_the_first_runbook_declared_comes_first() -> None:
    assert proposed(incident(), SCALE, replace(SCALE, name="other")).runbook == "scale-out"


def test_a_runbook_that_fixed_the_like_comes_before_those_declared_earlier() -> None:
    found = incident(similar=(alike("second", "ecs.scale_service x"),))
    made = proposed(found, SCALE, replace(SCALE, name="second"))
    assert made.runbook == "second"
    assert f"it fixed {ID}, which is 0.90 alike" in made.reason


@pytest.mark.parametrize("similar", [alike("second"), alike(None, "by hand")], ids=["did not fix it", "no runbook"])
def test_a_runbook_that_did_not_fix_the_like_has_no_advantage(similar: Similar) -> None:
    made = proposed(incident(similar=(similar,)), SCALE, replace(SCALE, name="second"))
    assert made.runbook == "scale-out"
    assert "it fixed" not in made.reason


def test_of_two_past_successes_the_most_alike_is_told() -> None:
    found = incident(similar=(alike("scale-out", "x", similarity=0.95), alike("scale-out", "x", similarity=0.6)))
    assert "0.95 alike" in proposed(found, SCALE).reason


def test_past_success_does_not_beat_suspicion() -> None:
    found = incident(
        alert("payments"), alert("web"), suspects=("payments", "web"), similar=(alike("for-web", "x", similarity=1.0),)
    )
    assert proposed(found, replace(SCALE, name="for-web", service="web"), SCALE).steps == scale(service="payments")


def test_a_refused_runbook_gives_way_to_the_next() -> None:
    too_many = replace(
        SCALE, name="too-many", uses=(replace(SCALE.uses[0], params={**SCALE.uses[0].params, "desired_count": 51}),)
    )
    assert proposed(incident(), too_many, SCALE).runbook == "scale-out"


def test_a_compound_action_becomes_its_steps() -> None:
    found = incident(alert(labels={"service": "checkout", "instance_id": INSTANCE}))
    assert proposed(found, RESTART).steps == restart()


def test_the_second_plan_of_an_incident_has_the_second_number() -> None:
    first = plan()
    found = after(opened(), f.PlanProposed(plan=first), f.PlanCancelled(plan_id=first.plan_id, reason=""))
    assert proposed(found, SCALE).plan_id == f"{ID}.p2"


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(), "is not in executor.aws_ecs_cluster_whitelist"),
        (replace(LIMITS, ecs_clusters=frozenset({CLUSTER + "2"})), "is not in executor.aws_ecs_cluster_whitelist"),
        (replace(LIMITS, max_desired_count=3), "desired_count 4 is above executor.max_desired_count 3"),
    ],
)
def test_what_is_not_allowed_is_not_proposed(limits: Limits, said: str) -> None:
    reason = why_not(incident(), SCALE, limits=limits)
    assert reason.startswith("no runbook may run: scale-out: ")
    assert said in reason


def test_an_instance_that_is_not_allowed_is_named() -> None:
    found = incident(alert(labels={"instance_id": "i-other"}))
    assert "instance i-other is not in executor.aws_ec2_instance_whitelist" in why_not(found, RESTART)


def test_an_unknown_label_is_named() -> None:
    reason = why_not(incident(), RESTART)
    assert "runbooks.restart.steps.0.params.instance_id" in reason
    assert "a label 'instance_id' on latency_seconds of checkout" in reason


def test_a_label_that_is_no_instance_id_is_refused() -> None:
    found = incident(alert(labels={"instance_id": "i-1; rm -rf"}))
    assert "expected an EC2 instance id" in why_not(found, RESTART)


def test_without_runbooks_that_is_the_reason() -> None:
    assert why_not(incident()) == "no runbooks are configured"


@pytest.mark.parametrize(
    "change",
    [
        {"service": "other*"},
        {"kind": "cpu"},
        {"direction": Direction.DOWN},
        {"severity": Severity.CRITICAL},
    ],
)
def test_a_runbook_that_does_not_match_is_not_used(change: dict[str, Any]) -> None:
    assert why_not(incident(), replace(SCALE, **change)) == "no runbook matches what is wrong with checkout"


@pytest.mark.parametrize(
    "change",
    [
        {"service": "check*"},
        {"kind": "latency"},
        {"direction": Direction.UP},
        {"severity": Severity.WARNING},
    ],
)
def test_a_runbook_that_matches_is_used(change: dict[str, Any]) -> None:
    assert proposed(incident(), replace(SCALE, **change)).runbook == "scale-out"


def test_an_alert_that_is_over_asks_for_nothing() -> None:
    assert why_not(incident(alert(ended_at_ms=T0 + 9_000)), SCALE) == "no runbook matches what is wrong with checkout"


def test_services_beyond_the_first_three_suspects_are_left_alone() -> None:
    found = incident(alert("fourth"), suspects=("a", "b", "c", "fourth"))
    assert why_not(found, SCALE) == "no runbook matches what is wrong with a, b, c"


_OTHERS: dict[str, Any] = {
    "plan_id": "inc-20231114-1a2b3c4d-1.p2",
    "incident_id": "inc-20231114-1a2b3c4d-2",
    "runbook": "other",
    "reason": "other",
    "steps": scale(5),
    "verify": (),
    "verify_within_s": 121,
    "rollback": False,
    "dry_run": True,
    "approvals_required": 2,
    "created_at_ms": T0 + 1,
    "expires_at_ms": T0 + 900_001,
    "targets": (Seen(target="x", observed={"desired": 2}),),
    "policy": "0123456789abcdef",
    "requested_by": "slack:T1/U1",
    "track_record": "worked 7 of 8 times",
}


def test_every_field_of_a_plan_has_a_change_to_try() -> None:
    assert {field.name for field in fields(Plan)} == {*_OTHERS, "digest"}


@given(st.lists(st.sampled_from(sorted(_OTHERS)), min_size=1, unique=True))
def test_another_plan_has_another_digest(names: list[str]) -> None:
    made = plan()
    assert digest_of(replace(made, **{name: _OTHERS[name] for name in names})) != made.digest


@given(
    st.sampled_from(["action", "target", "params"]),
    st.dictionaries(st.sampled_from(["cluster", "service", "desired_count"]), st.text(max_size=3) | st.integers()),
)
def test_another_step_has_another_digest(field: str, params: dict[str, Any]) -> None:
    step: Step = scale()[0]
    changed = replace(step, **{field: params if field == "params" else getattr(step, field) + "x"})
    assert (digest_of(plan(changed)) != plan(step).digest) == (changed != step)


def test_a_digest_does_not_depend_on_itself_nor_on_the_order_of_parameters() -> None:
    made, step = plan(), scale()[0]
    turned = replace(step, params=dict(reversed(step.params.items())))
    assert digest_of(replace(made, digest="anything")) == digest_of(replace(made, steps=(turned,))) == made.digest
