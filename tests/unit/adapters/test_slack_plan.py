"""What the card says of a plan before anybody approves it, and the story in its thread."""

from dataclasses import replace
from typing import Any

import pytest

from sentinel.adapters.slack_blocks import mention
from sentinel.adapters.slack_card import NARROW, card
from sentinel.adapters.slack_thread import narrate
from sentinel.ids import IncidentId
from sentinel.incidents import facts as f
from sentinel.incidents.nouns import Incident, PlanState, Principal, Seen
from sentinel.remediation.approval_policy import ApprovalPolicy, Demand, Rule
from sentinel.remediation.binding import bound, notes_on
from sentinel.sandbox.slack.validation import problems, summons, total_text
from tests.unit.incidents.make import (
    ANN,
    BOB,
    CARLA,
    T0,
    after,
    alert,
    approved,
    opened,
    plan,
    reboot,
    scale,
    told,
    verdict,
)

LIVE = {"status": "ACTIVE", "desired": 2, "running": 1, "pending": 1, "deployment_id": "ecs-svc/1"}
SEEN = Seen(
    target=scale()[0].target,
    account="123456789012",
    region="us-east-1",
    observed=LIVE,
    notes=tuple(notes_on(scale()[0], LIVE, 50, 0.05)),
)
CLOSED = ApprovalPolicy(
    default=Demand(
        approvers=frozenset({"slack:T1/U1", "group:S0OPS", "api:deploy"}),
        escalate_to=("slack:T1/U3",),
        escalate_after_ms=600_000,
    )
)


def asked(policy: ApprovalPolicy, **changes: Any) -> Incident:
    made = bound(plan(**changes), (SEEN,), policy, "scale-out worked 7 of 8 times here, median 4 min to recover")
    return after(
        opened(), f.PlanProposed(plan=made), f.ApprovalRequested(plan_id=made.plan_id, asked="in Slack and by API")
    )


def text_of(incident: Incident, policy: ApprovalPolicy) -> str:
    blocks, _ = card(incident, key=b"k", policy=policy)
    assert problems(blocks) == []
    assert total_text(blocks) < 11_000
    return "\n".join(str(block.get("text", {}).get("text", "")) for block in blocks if block["type"] == "section")  # type: ignore[attr-defined]


def test_the_card_says_what_is_there_what_will_be_and_what_it_costs() -> None:
    text = text_of(asked(CLOSED), CLOSED)
    assert "› tasks: 1 running, 2 wanted now; 4 wanted after (at most 50)" in text
    assert "› cost: +0.10 USD an hour" in text
    assert "› a deployment is in progress: 1 task pending" in text
    assert "\n`cluster/prod/checkout` in account 123456789012, us-east-1 · desired_count = `4` · can be undone" in text
    assert text.count("123456789012") == text.count("us-east-1") == 1
    assert "scale-out worked 7 of 8 times here, median 4 min to recover" in text


def test_the_card_says_who_may_and_who_is_asked_next() -> None:
    text = text_of(asked(CLOSED), CLOSED)
    assert "*May approve:* deploy (API key), <!subteam^S0OPS>, <@U1>" in text
    assert "risk low" in text
    assert "<@U3> is asked as well at <!date^1700000603^" in text


@pytest.mark.parametrize(
    ("seen", "shown"),
    [
        (replace(SEEN, account="999999999999"), f"`{SEEN.target}` in account 999999999999, us-east-1 ·"),
        (replace(SEEN, region="eu-west-1"), f"`{SEEN.target}` in account 123456789012, eu-west-1 ·"),
        (replace(SEEN, account=""), f"`{SEEN.target}` in account unknown, us-east-1 ·"),
        (replace(SEEN, account="", region=""), f"`{SEEN.target}` ·"),
    ],
    ids=["another account", "another region", "no account", "beside AWS"],
)
def test_a_name_is_shortened_only_by_what_stands_beside_it(seen: Seen, shown: str) -> None:
    made = bound(plan(), (seen,), CLOSED, "")
    incident = after(opened(), f.PlanProposed(plan=made), f.ApprovalRequested(plan_id=made.plan_id, asked="in Slack"))
    assert f"\n{shown} desired_count" in text_of(incident, CLOSED)


def test_several_who_are_asked_next_are_named_as_several() -> None:
    policy = replace(CLOSED, default=replace(CLOSED.default, escalate_to=("slack:T1/U3", "group:S0OPS")))
    incident = asked(policy)
    assert "<@U3>, <!subteam^S0OPS> are asked as well at" in text_of(incident, policy)
    plan_id = incident.plans[-1].plan.plan_id
    reminded = f.ApprovalReminded(plan_id=plan_id, to=("slack:T1/U3",), escalated=True, reason="nobody decided")
    for which, said in ((policy, "were"), (CLOSED, "was")):
        made = bound(plan(), (SEEN,), which, "")
        facts = [f.PlanProposed(plan=made), f.ApprovalRequested(plan_id=made.plan_id, asked="in Slack"), reminded]
        assert f"{said} asked as well at" in text_of(after(opened(), *facts), which)


def test_what_can_be_undone_is_said_only_while_it_tells_what_may_come() -> None:
    made = plan(*scale(), *reboot())
    begun: list[f.Fact] = [*approved(made), f.ExecutionStarted(plan_id=made.plan_id, owner="a")]
    running = text_of(after(opened(), *begun, f.StepStarted(plan_id=made.plan_id, index=0, previous={})), CLOSED)
    assert running.count("can be undone\n*running*") == 1
    assert running.count("cannot be undone") == 1
    done = [
        f.StepStarted(plan_id=made.plan_id, index=0, previous={}),
        f.StepSucceeded(plan_id=made.plan_id, index=0, detail="desired 4"),
    ]
    over = [
        f.RollbackStarted(plan_id=made.plan_id, reason="aborted", undo=True),
        f.UndoStarted(plan_id=made.plan_id, index=0),
        f.UndoFailed(plan_id=made.plan_id, index=0, detail="somebody changed it since"),
        f.PlanRollbackFailed(plan_id=made.plan_id, reason="step 1 could not be undone"),
    ]
    ended = text_of(after(opened(), *begun, *done, *over), CLOSED)
    assert "*could not be undone*: somebody changed it since" in ended
    assert ended.count("*not carried out*") == 1
    assert "· can" not in ended


def test_where_nobody_is_named_the_card_says_that_everybody_may() -> None:
    text = text_of(asked(ApprovalPolicy()), ApprovalPolicy())
    assert "*Every member of this workspace may approve*, for `approval.approvers` is empty." in text


def test_a_plan_that_was_not_checked_says_so() -> None:
    incident = after(opened(), f.PlanProposed(plan=plan()), f.ApprovalRequested(plan_id=plan().plan_id, asked="by API"))
    assert "*Not checked against AWS:*" in text_of(incident, ApprovalPolicy())


def test_a_plan_that_can_be_narrowed_has_a_button_for_it() -> None:
    def actions(incident: Incident) -> list[Any]:
        blocks, _ = card(incident, key=b"k")
        return [each["action_id"] for block in blocks if block["type"] == "actions" for each in block["elements"]]  # type: ignore[attr-defined]

    assert NARROW in actions(asked(CLOSED))
    made = bound(plan(*scale(3)), (SEEN,), CLOSED)
    close = after(opened(), f.PlanProposed(plan=made), f.ApprovalRequested(plan_id=made.plan_id, asked="x"))
    assert NARROW not in actions(close)


RULE = Principal(id="rule:undoable", name="rule undoable", via="rule")


def test_what_no_person_approved_is_loud_on_card_and_in_thread() -> None:
    policy = ApprovalPolicy(rules=(Rule(name="undoable", demand=Demand(auto=True)),))
    incident = asked(policy)
    made = incident.plans[0].plan
    given = f.VerdictGiven(plan_id=made.plan_id, verdict=verdict(made, RULE, method="rule"))
    incident = replace(
        incident, plans=(replace(incident.plans[0], verdicts=(given.verdict,), state=PlanState.APPROVED),)
    )
    assert "*AUTO-APPROVED by rule undoable: no person has looked at this plan.*" in text_of(incident, policy)
    said = narrate(told([given]))
    assert said
    assert "AUTO-APPROVED by *rule undoable* (rule)" in said[1]


def test_a_plan_that_took_anothers_place_says_why() -> None:
    first, second = plan(), bound(plan(attempt=2), (SEEN,), CLOSED)
    incident = after(
        opened(),
        f.PlanProposed(plan=first),
        f.ApprovalRequested(plan_id=first.plan_id, asked="x"),
        f.PlanCancelled(plan_id=first.plan_id, reason="the plan changed: desired 2 → 3"),
        f.PlanProposed(plan=second),
        f.ApprovalRequested(plan_id=second.plan_id, asked="again"),
    )
    text = text_of(incident, CLOSED)
    assert "*Review this plan again, it is a new one:* the plan changed: desired 2 → 3" in text


def test_the_thread_tells_who_said_that_something_is_not_the_same() -> None:
    apart = f.ToldApart(other_id=IncidentId("inc-2"), alerts=(alert("web"),), suspects=(), reason="<!here> a *deploy*")
    made = narrate(told([apart], by=BOB))
    assert made
    assert made[1] == "not the same, says *Bob*, 1 alert went to `inc-2`: &lt;!here&gt; a ∗deploy∗"
    alone = narrate(told([f.ToldApart(other_id=IncidentId("inc-0"), alerts=(), suspects=(), reason="")], by=BOB))
    assert alone
    assert alone[1] == "not the same, says *Bob*, no return of `inc-0`"


def test_the_thread_tells_the_story_in_order_and_summons_nobody() -> None:
    hostile = "<!channel> <https://evil.example|x> \u202e *Approved by Ann*\n> quoted"
    pid = plan().plan_id
    history: list[f.Fact] = [
        opened(),
        f.AlertRaised(alert=alert("web"), suspects=(), reason=hostile),
        *approved(plan()),
        f.ExecutionStarted(plan_id=pid, owner="a"),
        f.StepStarted(plan_id=pid, index=0, previous={}),
        f.StepSucceeded(plan_id=pid, index=0, detail=hostile),
        f.VerificationStarted(plan_id=pid),
        f.PlanSucceeded(plan_id=pid, reason=hostile),
        f.IncidentResolved(reason=hostile),
    ]
    made = narrate(told(history))
    assert made
    blocks, text = made
    assert problems(blocks) == []
    assert summons(blocks, text) == []
    lines = str(blocks[0]["text"]["text"]).split("\n")  # type: ignore[index]
    told_of = [line.partition("  ")[2][:20].strip() for line in lines]
    assert told_of == [
        "`latency_seconds` of",
        "plan `scale-out` pro",
        "approved by *Ann* (s",
        "carrying out the pla",
        "step 1 done: &lt;!ch",
        "every step is done,",
        "the plan worked: &lt",
        "*resolved*: &lt;!cha",
    ]
    assert all(line.startswith("<!date^17000000") for line in lines)


def test_a_long_story_fits_into_a_message() -> None:
    many = [f.IncidentEscalated(reason="x" * 2000 + str(n)) for n in range(200)]
    made = narrate([replace(entry, at_ms=T0) for entry in told(many)])
    assert made
    blocks, _ = made
    assert problems(blocks) == []
    assert total_text(blocks) <= 9_000
    assert "more entries" in str(blocks[-1])


def test_where_nothing_is_worth_a_line_the_thread_is_left_alone() -> None:
    assert narrate(told([opened()])) is None
    assert narrate([]) is None


def test_an_approved_plan_that_must_wait_says_why() -> None:
    held = narrate(told([opened(), *approved(plan()), f.PlanHeld(plan_id=plan().plan_id, reason="the <kill> switch")]))
    assert held is not None
    assert held[1] == "approved, and held: the &lt;kill&gt; switch"


@pytest.mark.parametrize(
    ("who", "shown"),
    [("slack:T1/U2", "<@U2>"), ("group:S9", "<!subteam^S9>"), ("api:ops", "ops (API key)"), ("ops", "ops (API key)")],
)
def test_approvers_are_shown_as_slack_knows_them(who: str, shown: str) -> None:
    assert mention(who) == shown


def test_a_reminder_calls_those_who_may() -> None:
    reminded = f.ApprovalReminded(plan_id=plan().plan_id, to=(ANN.id, "group:S9"), escalated=False, reason="waiting")
    made = narrate(told([reminded]))
    assert made
    assert summons(made[0]) == ["@U1", "!subteam^S9"]
    assert {BOB.id, CARLA.id}.isdisjoint(reminded.to)


def test_a_target_beside_aws_has_no_account() -> None:
    made = bound(plan(), [replace(SEEN, account="", region="")], ApprovalPolicy())
    text = str(card(after(opened(), *approved(made)[:2]))[0])
    assert "account" not in text
    assert SEEN.notes[0] in text
