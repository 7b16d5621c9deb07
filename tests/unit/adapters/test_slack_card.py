"""The card in every state, within Slack's limits, and deaf to what hostile text asks for."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.adapters import slack_text
from sentinel.adapters.slack_card import ABORT, ACKNOWLEDGE, APPROVE, CANCEL, REJECT, SILENCE, card
from sentinel.ids import Fingerprint, IncidentId, PlanId
from sentinel.incidents.nouns import (
    Alert,
    Direction,
    Incident,
    IncidentState,
    Plan,
    PlanRecord,
    PlanState,
    Principal,
    Severity,
    Similar,
    Step,
    StepRecord,
    StepState,
    Suspect,
    Verdict,
)
from sentinel.remediation.sealing import CARD, value_mac
from sentinel.sandbox.slack.validation import problems, summons, total_text

T0 = 1_700_000_000_000
ID = IncidentId("inc-20231114-1a2b3c4d-1")
CLUSTER = "arn:aws:ecs:us-east-1:123456789012:cluster/prod"
DIGEST = "3f9ac1d2" * 8
URL = "https://sentinel.example"
KEY = b"key"


def an_alert(**changes: Any) -> Alert:
    alert = Alert(
        fingerprint=Fingerprint("f" * 16),
        service="checkout",
        metric="latency_p99_seconds",
        kind="latency",
        direction=Direction.UP,
        severity=Severity.CRITICAL,
        score=14.0,
        value=2.31,
        expected_low=0.12,
        expected_high=0.18,
        labels={"service": "checkout"},
        started_at_ms=T0,
        last_at_ms=T0 + 60_000,
    )
    return replace(alert, **changes)


SCALE = Step(
    action="ecs.scale_service",
    target=f"{CLUSTER}/checkout",
    params={"cluster": CLUSTER, "service": "checkout", "desired_count": 6},
)
PLAN = Plan(
    plan_id=PlanId(f"{ID}.p1"),
    incident_id=ID,
    runbook="scale-out",
    reason="latency went up on checkout",
    steps=(SCALE,),
    verify=(Fingerprint("f" * 16),),
    verify_within_s=300,
    rollback=True,
    dry_run=False,
    approvals_required=1,
    created_at_ms=T0,
    expires_at_ms=T0 + 900_000,
    digest=DIGEST,
)
APPROVED = Verdict(
    principal=Principal(id="slack:T1/U1", name="Ann", via="slack"),
    decision="approve",
    digest=DIGEST,
    reason="go",
    at_ms=T0,
    evidence="",
)
INCIDENT = Incident(
    id=ID,
    state=IncidentState.OPEN,
    seq=1,
    title="checkout is slow",
    severity=Severity.CRITICAL,
    services=("checkout", "payments"),
    alerts=(an_alert(),),
    suspects=(Suspect(service="payments", score=0.9, reasons=("first to fail", "checkout calls it")),),
    similar=(
        Similar(
            incident_id=IncidentId("inc-20231101-9f8e7d6c-1"),
            similarity=0.914,
            title="checkout was slow",
            at_ms=T0 - 86_400_000,
            outcome="resolved",
            runbook="scale-out",
            fixed_by=("ecs.scale_service",),
            recovery_ms=252_000,
        ),
    ),
    reason="",
    memory_note="",
    previous_id=None,
    opened_at_ms=T0,
    updated_at_ms=T0,
)


def planned(state: PlanState, *, incident: IncidentState = IncidentState.MITIGATING, **changes: Any) -> Incident:
    record = PlanRecord(plan=PLAN, state=state, steps=(StepRecord(),))
    return replace(INCIDENT, state=incident, plans=(replace(record, **changes),))


def shown(incident: Incident) -> str:
    """Every text of the card, top to bottom."""
    blocks, _ = card(incident, public_url=URL)
    return "\n".join(_texts(blocks))


def _texts(node: object) -> list[str]:
    if isinstance(node, dict):
        own = [node["text"]] if isinstance(node.get("text"), str) else []
        return own + [text for value in node.values() for text in _texts(value)]
    return [text for value in node for text in _texts(value)] if isinstance(node, list) else []


def buttons(incident: Incident) -> list[dict[str, Any]]:
    blocks, _ = card(incident, public_url=URL, key=KEY)
    return [element for block in blocks if block["type"] == "actions" for element in block["elements"]]  # type: ignore[attr-defined]


ENDED = IncidentState.ESCALATED
STATES: dict[str, tuple[Incident, str]] = {
    "open": (replace(INCIDENT, state_reason="no runbook matches"), "*No plan yet*: no runbook matches"),
    "escalated": (
        replace(INCIDENT, state=ENDED, state_reason="no runbook matches"),
        "*A person must look*: no runbook matches",
    ),
    "proposed": (planned(PlanState.PROPOSED), "*A plan is being checked*"),
    "awaiting": (planned(PlanState.AWAITING_APPROVAL), "*Waiting for approval (0 of 1)*"),
    "approved": (planned(PlanState.APPROVED, verdicts=(APPROVED,)), "*Approved, about to start*"),
    "held": (
        planned(PlanState.APPROVED, verdicts=(APPROVED,), held_reason="the kill switch is on"),
        "*Approved, and held*: the kill switch is on",
    ),
    "executing": (
        planned(PlanState.EXECUTING, steps=(StepRecord(state=StepState.STARTED),)),
        "*Carrying out the plan, step 1 of 1*",
    ),
    "verifying": (planned(PlanState.VERIFYING), "*Steps done, watching whether the fault goes away*"),
    "rolling back": (
        planned(PlanState.ROLLING_BACK, rollback_reason="latency is still high"),
        "*Undoing the plan*: latency is still high",
    ),
    "worked": (
        planned(PlanState.SUCCEEDED, incident=IncidentState.OPEN, ended_reason="back to normal"),
        "*The plan worked*: back to normal",
    ),
    "rejected": (
        planned(PlanState.REJECTED, incident=ENDED, ended_reason="rejected by Bob"),
        "*A person must look. Plan rejected*: rejected by Bob",
    ),
    "expired": (planned(PlanState.EXPIRED, incident=ENDED), "*A person must look. Plan expired*"),
    "cancelled": (planned(PlanState.CANCELLED, incident=ENDED), "*A person must look. Plan cancelled*"),
    "rolled back": (planned(PlanState.ROLLED_BACK, incident=ENDED), "*A person must look. Plan undone*"),
    "rollback failed": (
        planned(PlanState.ROLLBACK_FAILED, incident=ENDED),
        "*A person must look. THE PLAN COULD NOT BE UNDONE*",
    ),
    "resolved": (
        replace(
            planned(PlanState.SUCCEEDED),
            state=IncidentState.RESOLVED,
            resolved_at_ms=T0 + 725_000,
            state_reason="all alerts are over",
        ),
        "*Resolved after 12 min 5 s*: all alerts are over",
    ),
    "dry run": (
        planned(PlanState.AWAITING_APPROVAL, plan=replace(PLAN, dry_run=True)),
        "*DRY RUN: waiting for approval (0 of 1)*",
    ),
}


@pytest.mark.parametrize("state", STATES)
def test_each_state_says_where_it_stands_and_is_a_message_that_slack_takes(state: str) -> None:
    incident, expected = STATES[state]
    blocks, text = card(incident, public_url=URL)
    assert problems(blocks) == []
    assert summons(blocks, text) == [f"{URL}/incidents/{ID}|open in Sentinel"]
    assert expected in shown(incident)
    assert text.startswith("RESOLVED: checkout is slow" if state == "resolved" else "CRITICAL: checkout is slow")


@pytest.mark.parametrize("state", STATES)
def test_buttons_only_while_they_can_do_something(state: str) -> None:
    incident, _ = STATES[state]
    asked, running = [APPROVE, REJECT], [ABORT]
    by_state = {"awaiting": asked, "dry run": asked, "executing": running, "verifying": running}
    by_state |= {"approved": [CANCEL], "held": [CANCEL]}
    expected = by_state.get(state, [])
    more = [] if state == "resolved" else [ACKNOWLEDGE, SILENCE]
    assert [button["action_id"] for button in buttons(incident)] == expected + more
    seen = replace(incident, acknowledged_by="Ann")
    assert [button["action_id"] for button in buttons(seen)] == expected + more[1:]


def test_every_plan_state_is_covered() -> None:
    covered = {record.state for incident, _ in STATES.values() for record in incident.plans}
    assert covered == set(PlanState)


def test_the_first_line_says_what_and_how_bad() -> None:
    blocks, _ = card(INCIDENT, public_url=URL)
    assert blocks[0]["type"] == "header"
    assert shown(INCIDENT).startswith("CRITICAL: checkout is slow\n")
    assert "\non checkout, payments · since" in shown(INCIDENT)
    assert "\nwas critical on checkout, payments · began" in shown(replace(INCIDENT, state=IncidentState.RESOLVED))


def test_the_button_carries_plan_and_digest_and_asks_again() -> None:
    approve, reject, acknowledge, silence = buttons(planned(PlanState.AWAITING_APPROVAL))
    mac = value_mac(KEY, PLAN.plan_id, DIGEST, CARD)
    carried = {"plan": PLAN.plan_id, "digest": DIGEST, "mac": mac}
    assert json.loads(approve["value"]) == carried == json.loads(reject["value"])
    assert json.loads(acknowledge["value"]) == {"incident": ID, "mac": value_mac(KEY, ID, "", CARD)}
    assert silence["value"] == acknowledge["value"]
    assert DIGEST[:12] in approve["confirm"]["text"]["text"]
    assert "This changes AWS" in approve["confirm"]["text"]["text"]
    assert "confirm" not in reject


def test_evidence_suspects_memory_and_plan_are_there() -> None:
    text = shown(planned(PlanState.AWAITING_APPROVAL))
    assert "`latency_p99_seconds` of checkout went up to *2.31*, expected 0.12 to 0.18" in text
    assert "1. *payments*: first to fail; checkout calls it" in text
    assert "91% like checkout was slow" in text
    assert "resolved, fixed by scale-out in 4 min 12 s" in text
    assert f"Set the number of tasks of an ECS service\n`{CLUSTER}/checkout` · desired_count = `6`" in text
    assert "what can be undone is undone" in text
    assert "Expires <!date^1700000900^" in text
    assert f"digest `{DIGEST[:12]}`" in text


def test_an_alert_that_came_later_says_when() -> None:
    late = an_alert(started_at_ms=T0 + 600_000)
    assert "expected 0.12 to 0.18, since <!date^1700000600^" in shown(replace(INCIDENT, alerts=(late,)))
    assert "expected 0.12 to 0.18\n" in shown(INCIDENT)


def test_the_question_comes_before_the_background() -> None:
    text = shown(planned(PlanState.AWAITING_APPROVAL))
    assert text.index("*Evidence*") < text.index("*Plan scale-out*") < text.index("*Suspects*")


def test_a_memory_note_stands_where_nothing_is_similar() -> None:
    assert "memory cannot be reached" in shown(replace(INCIDENT, similar=(), memory_note="memory cannot be reached"))


def test_a_dry_run_is_loud() -> None:
    incident = STATES["dry run"][0]
    assert "DRY RUN: nothing on AWS is changed by this plan." in shown(incident)
    assert buttons(incident)[0]["text"]["text"] == "Approve dry run"


def test_at_most_six_alerts_the_worst_first() -> None:
    over = an_alert(metric="over", score=99.0, ended_at_ms=T0 + 5000)
    alerts = (*(an_alert(metric=f"m{n}", score=float(n)) for n in range(9)), over)
    text = shown(replace(INCIDENT, alerts=alerts))
    assert re.findall(r"`(m\d|over)`", text) == ["m8", "m7", "m6", "m5", "m4", "m3"]
    assert "… and 4 more" in text


@pytest.mark.parametrize("state", [state for state in StepState if state is not StepState.PENDING])
def test_each_step_says_how_it_went(state: StepState) -> None:
    text = shown(planned(PlanState.EXECUTING, steps=(StepRecord(state=state, detail="as AWS said"),)))
    assert re.search(r"\n\*[a-z ]+\*: as AWS said", text)


def test_verdicts_and_earlier_plans() -> None:
    earlier = PlanRecord(plan=replace(PLAN, runbook="reboot"), state=PlanState.REJECTED, ended_reason="too rough")
    now = planned(PlanState.APPROVED, verdicts=(APPROVED,))
    text = shown(replace(now, plans=(earlier, *now.plans)))
    assert "• approved by *Ann* <!date^1700000000^" in text
    assert "• `reboot` rejected: too rough" in text


def test_a_parameter_that_is_not_part_of_the_target_is_always_shown() -> None:
    odd = replace(SCALE, params={**SCALE.params, "service": "check"})
    assert "service = `check`" in shown(planned(PlanState.AWAITING_APPROVAL, plan=replace(PLAN, steps=(odd,))))


@pytest.mark.parametrize(
    "step",
    [
        replace(SCALE, params={**SCALE.params, "note": "x" * 400}),
        replace(SCALE, params={**SCALE.params, "note": "a\u202eb"}),
        replace(SCALE, params={**SCALE.params, "note": "a  b"}),
        replace(SCALE, params={**SCALE.params, "note": "a`b"}),
        replace(SCALE, target="t" * 600),
    ],
    ids=["too long", "bidi", "two spaces", "backtick", "long target"],
)
def test_what_cannot_be_shown_whole_cannot_be_approved_here(step: Step) -> None:
    incident = planned(PlanState.AWAITING_APPROVAL, plan=replace(PLAN, steps=(step,)))
    assert [button["action_id"] for button in buttons(incident)] == [REJECT, ACKNOWLEDGE, SILENCE]
    assert "cannot be shown whole" in shown(incident)


def test_forty_true_steps_are_shown_whole_or_not_approved() -> None:
    for count in (10, 40):
        plan = replace(PLAN, steps=(SCALE,) * count)
        incident = planned(PlanState.AWAITING_APPROVAL, plan=plan, steps=(StepRecord(),) * count)
        whole = f"*{count}.*" in shown(incident)
        assert (buttons(incident)[0]["action_id"] == APPROVE) is whole


def test_without_a_public_url_there_is_no_link() -> None:
    blocks, text = card(INCIDENT, public_url="")
    assert summons(blocks, text) == []


HOSTILE = (
    "<!channel> <!here> <!everyone> <@U0ANN> <#C0SENTINEL> <!subteam^S1>",
    "<https://evil.example|Approve here> https://evil.example www.evil.example",
    "a\n\n*Approved by Ann*\n> quoted\r\n\u2028line\u2029paragraph",
    "\u202edesrever\u202c \u200bzero\u2060width \ufeffbom \u2066isolate\u2069",
    "`` ``` ` * ** ~ _ & &lt;!channel&gt; &amp; <script>alert(1)</script>",
    "\x00\x07\x1b[31m\x7f\x85",
    "😀" * 400,
    "&" * 4000,
    "<" * 4000,
    "",
    "   ",
    "\ud800\udfff",
)

hostile = st.one_of(
    st.sampled_from(HOSTILE), st.text(max_size=60), st.text(alphabet="<>&*`~_|@!#: \n\u202e😀", max_size=5000)
)
values = st.floats(allow_nan=True, allow_infinity=True)
scalars = st.one_of(hostile, st.integers(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False))


@st.composite
def hostile_incidents(draw: st.DrawFn) -> Incident:
    few = {"max_size": 9}
    text = draw(st.lists(hostile, min_size=12, max_size=12))
    alerts = draw(
        st.lists(
            st.builds(
                an_alert, service=hostile, metric=hostile, value=values, expected_low=values, expected_high=values
            ),
            **few,
        )
    )
    steps = draw(
        st.lists(
            st.builds(Step, action=hostile, target=hostile, params=st.dictionaries(hostile, scalars, max_size=4)),
            min_size=1,
            max_size=40,
        )
    )
    plan = replace(PLAN, runbook=text[0], reason=text[1], steps=tuple(steps), dry_run=draw(st.booleans()))
    said = replace(APPROVED, reason=text[2], principal=Principal(id="x", name=text[3], via="slack"))
    records = [StepRecord(state=draw(st.sampled_from(StepState)), detail=text[4]) for _ in steps]
    record = PlanRecord(
        plan=plan,
        state=draw(st.sampled_from(PlanState)),
        verdicts=(said,) * draw(st.integers(0, 12)),
        steps=tuple(records),
        ended_reason=text[5],
        rollback_reason=text[6],
    )
    past = replace(INCIDENT.similar[0], title=text[7], outcome=text[8], fixed_by=(text[9],) * 3)
    return replace(
        INCIDENT,
        state=draw(st.sampled_from(IncidentState)),
        title=text[10],
        services=tuple(draw(st.lists(hostile, max_size=5))),
        alerts=tuple(alerts),
        suspects=tuple(
            draw(
                st.lists(st.builds(Suspect, service=hostile, score=values, reasons=st.tuples(hostile, hostile)), **few)
            )
        ),
        similar=(past,) * draw(st.integers(0, 5)),
        memory_note=text[11],
        state_reason=text[5],
        plans=(record,) * draw(st.integers(0, 6)),
    )


@given(hostile_incidents())
@settings(max_examples=120, deadline=None)
def test_hostile_text_keeps_the_limits_and_summons_nobody(incident: Incident) -> None:
    blocks, text = card(incident, public_url="")
    assert problems(blocks) == []
    assert total_text(blocks) <= 11_000
    assert slack_text.width(text) < 1000
    assert summons(blocks, text) == []
    json.dumps([blocks, text]).encode()
    for line in "\n".join(_texts(blocks)).split("\n"):
        assert line.isprintable()
    for button in (element for block in blocks if block["type"] == "actions" for element in block["elements"]):  # type: ignore[attr-defined]
        about = json.loads(button["value"])
        assert (about.get("plan"), about.get("digest")) == (PLAN.plan_id, DIGEST) or about.get("incident") == ID


def test_the_largest_card_stays_below_what_slack_takes_in_all() -> None:
    long = "&" * 5000
    step = Step(action=long, target="t" * 400, params={})
    verdict = replace(APPROVED, reason=long, principal=Principal(id="x", name=long, via="slack"))
    record = PlanRecord(
        plan=replace(PLAN, runbook=long, reason=long, steps=(step,) * 40, dry_run=True),
        state=PlanState.AWAITING_APPROVAL,
        verdicts=(verdict,) * 10,
        steps=(StepRecord(state=StepState.UNKNOWN, detail=long),) * 40,
    )
    earlier = replace(record, state=PlanState.REJECTED, ended_reason=long)
    incident = replace(
        INCIDENT,
        title=long,
        services=(long,),
        alerts=(an_alert(service=long, metric=long, ended_at_ms=T0),) * 9,
        suspects=(Suspect(service=long, score=1.0, reasons=(long,)),) * 9,
        similar=(replace(INCIDENT.similar[0], title=long, outcome=long, fixed_by=(long,)),) * 9,
        plans=(earlier, earlier, record),
    )
    blocks, _ = card(incident, public_url=URL)
    assert problems(blocks) == []
    assert 8_000 < total_text(blocks) <= 11_000
