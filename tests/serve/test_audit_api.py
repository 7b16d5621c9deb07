"""The audit record by API, and the words that people give by API: all through the one code path."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sentinel.cli.audit import check_file, export, show
from sentinel.errors import Invalid
from sentinel.ids import IncidentId
from sentinel.incidents import facts as f
from sentinel.incidents.audit import Record, verify
from sentinel.incidents.nouns import Plan, PlanState, Principal
from tests.serve.door_rig import Door, given
from tests.unit.incidents.make import ID, opened


@pytest.fixture
def door() -> Door:
    return Door()


async def waiting(door: Door) -> Plan:
    await door.rig.tell(opened())
    stage = door.rig.approval(cards=False)
    for _ in range(4):
        incident = await door.journal.incident(ID)
        assert incident is not None
        await stage.settle(incident)
    incident = await door.journal.incident(ID)
    assert incident is not None
    return incident.plans[-1].plan


async def say(door: Door, plan: Plan, verb: str, **body: Any) -> Any:
    return await door.http.post(f"/api/v1/plans/{plan.plan_id}/{verb}", json={"digest": plan.digest, **body})


async def records(door: Door, limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = (await door.http.get("/api/v1/audit/records", params={"after": after, "limit": limit})).json()
        found += page["records"]
        after = page["next"]
    return found


async def test_the_record_is_handed_out_whole_in_pages_and_its_chain_holds(door: Door) -> None:
    plan = await waiting(door)
    assert (await say(door, plan, "approve", reason="go")).status_code == 200
    whole = await records(door, 1000)
    assert await records(door, 1) == await records(door, 2) == whole
    assert [each["kind"] for each in whole] == [
        *("incident_opened", "plan_proposed", "approval_requested", "verdict_given", "plan_approved"),
    ]
    chain = [Record(**{name: value for name, value in each.items() if name != "position"}) for each in whole]
    assert verify(chain) is None
    word = json.loads(whole[3]["body"])["verdict"]
    assert (word["method"], word["evidence"], word["reason"]) == (
        "this machine, without a key",
        "HTTP API as api:local",
        "go",
    )
    assert len(word["seal"]) == 64


@pytest.mark.parametrize("params", [{"after": -1}, {"limit": 0}, {"limit": 1001}, {"after": "x"}])
async def test_a_page_that_is_none_is_a_400(door: Door, params: dict[str, Any]) -> None:
    assert (await door.http.get("/api/v1/audit/records", params=params)).status_code == 400


async def test_an_export_is_checked_on_another_machine(door: Door, tmp_path: Path) -> None:
    await say(door, await waiting(door), "reject", reason="no")
    lines = [json.dumps(each) for each in await records(door, 100)]
    file, console = tmp_path / "export.jsonl", Console(file=(tmp_path / "out").open("w"), width=200)
    file.write_text("\n".join(lines))
    assert check_file(console, file) == 0
    for tampered in ([*lines[:2], *lines[3:]], [lines[1], lines[0], *lines[2:]], [lines[0].replace("slow", "fast")]):
        file.write_text("\n".join(tampered))
        changed = tampered != lines[: len(tampered)]
        assert check_file(console, file) == (1 if changed else 0)
    for nonsense in ("{", '{"x": 1}', "[]", '"x"'):
        file.write_text(nonsense)
        with pytest.raises(Invalid, match="line 1"):
            check_file(console, file)
    with pytest.raises(Invalid, match="a readable export"):
        check_file(console, tmp_path / "nowhere")


async def test_a_plan_is_narrowed_by_api(door: Door) -> None:
    plan = await waiting(door)
    answer = await say(door, plan, "narrow", step=0, parameter="desired_count", value=3)
    assert (answer.status_code, answer.json()["answer"]) == (
        200,
        "narrowed by local user: desired_count 4 → 3; the new plan waits for approval",
    )
    incident = await door.journal.incident(ID)
    assert incident is not None
    assert [record.state for record in incident.plans] == [PlanState.CANCELLED, PlanState.AWAITING_APPROVAL]
    assert (await say(door, plan, "approve")).status_code == 409, "the old digest decides nothing"
    assert (await say(door, incident.plans[1].plan, "approve")).status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"step": 0, "parameter": "desired_count", "value": 9}, 400),
        ({"step": 7, "parameter": "desired_count", "value": 3}, 400),
        ({"step": 0, "parameter": "cluster", "value": 3}, 400),
        ({"step": 0, "parameter": "desired_count", "value": "3 tasks"}, 400),
        ({"step": 0, "parameter": "desired_count"}, 400),
        ({"step": 0, "parameter": "desired_count", "value": 3, "digest": "0" * 64}, 409),
    ],
)
async def test_what_is_no_narrowing_is_refused(door: Door, body: dict[str, Any], status: int) -> None:
    plan = await waiting(door)
    answer = await say(door, plan, "narrow", **body)
    assert answer.status_code == status, answer.text
    incident = await door.journal.incident(ID)
    assert incident is not None
    assert len(incident.plans) == 1


async def test_an_incident_is_acknowledged_by_api(door: Door) -> None:
    await waiting(door)
    path = f"/api/v1/incidents/{ID}/acknowledge"
    assert (await door.http.post(path, json={"reason": "on it"})).json()["answer"] == (
        "acknowledged by local user: on it"
    )
    assert (await door.http.post(path, json={})).status_code == 409
    assert (await door.http.post("/api/v1/incidents/inc-x/acknowledge", json={})).status_code == 404


async def test_the_words_of_people_and_the_turns_of_the_switch_are_in_the_record(door: Door, tmp_path: Path) -> None:
    anna = Principal(id="anna", name="Anna", via="api")
    first = await door.rig.tell(opened())
    other = IncidentId("inc-20231114-00000002-1")
    second = await door.rig.tell(opened(), incident=other)
    now_ms = door.clock.now_ms()
    told = f.ToldSame(other_id=other, alerts=(), suspects=(), occurrences=0, similarity=0.5, reason="one node")
    await door.journal.append(ID, first.seq, [told], anna, now_ms)
    merged = f.IncidentMerged(into=ID, reason="the same, says Anna")
    await door.journal.append(other, second.seq, [merged], anna, now_ms + 1)
    await door.journal.turn_kill_switch(True, anna, "AWS is odd", now_ms + 2)
    resolved = f.IncidentResolved(reason="by hand")
    await door.journal.append(ID, first.seq + 1, [resolved], anna, now_ms + 3)
    await door.rig.tell(opened(), f.IncidentResolved(reason="quiet"), incident=IncidentId("inc-20231114-00000003-1"))
    client = given(
        {
            "/api/v1/audit/records": {"records": await records(door, 100), "next": None},
            "/api/v1/audit/switch": (await door.http.get("/api/v1/audit/switch")).json(),
        }
    )

    def shown(incident: str = "") -> list[str]:
        with (tmp_path / "out").open("w") as out:
            show(client, Console(file=out, width=200), incident)
        return (tmp_path / "out").read_text().splitlines()

    assert [line[4:] if line.startswith(" ") else line[21:] for line in shown()] == [
        *(f"told same  {ID}, {other}  by Anna (anna)", "one node"),
        *(f"incident merged  {other}, {ID}  by Anna (anna)", "the same, says Anna"),
        *("stopped  kill-switch  by Anna (anna)", "AWS is odd"),
        *(f"incident resolved  {ID}  by Anna (anna)", "by hand"),
    ]
    assert len(shown(other)) == 2
    file, console = tmp_path / "export.jsonl", Console(file=(tmp_path / "said").open("w"), width=200)
    export(client, console, file)
    assert "AWS is odd" in file.read_text()
    assert check_file(console, file) == 0
    file.write_text(file.read_text().replace("AWS is odd", "AWS is fine"))
    assert check_file(console, file) == 1
