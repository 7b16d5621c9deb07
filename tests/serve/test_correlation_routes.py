"""Corrections, silences, topology and memory through the door."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sentinel.cli.quiet import add as command_add
from sentinel.cli.quiet import preview as command_preview
from sentinel.correlation.topology import Edge, Seen, Source
from sentinel.incidents import facts as f
from tests.actors.rig import anomaly
from tests.serve.door_rig import NOW, Door, given

SILENCES = "/api/v1/silences"


def at(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()


def quiet(**changes: Any) -> dict[str, Any]:
    body = {
        "matchers": [{"name": "service", "value": "payments"}],
        "ends_at": at(NOW + 3_600_000),
        "comment": "a deploy",
    }
    return {name: value for name, value in (body | changes).items() if value is not None}


@pytest.fixture
async def door() -> Door:
    """A door behind which payments and somewhere else have an incident each."""
    made = Door()
    for each in (anomaly("payments"), anomaly("somewhere-else", "memory_usage", started_s=60)):
        await made.correlation.submit([each])
        await made.correlation.group()
    return made


async def ids(door: Door) -> list[str]:
    found = (await door.http.get("/api/v1/incidents")).json()["incidents"]
    return [each["id"] for each in sorted(found, key=lambda each: (each["services"], each["id"]))]


async def test_the_same_as_and_not_the_same(door: Door) -> None:
    one, other = await ids(door)
    answer = await door.http.post(f"/api/v1/incidents/{other}/same-as", json={"of": one, "reason": "one node"})
    assert (answer.status_code, answer.json()) == (200, {"answer": f"{other} is counted in {one}"})
    merged = (await door.http.get(f"/api/v1/incidents/{other}")).json()["incident"]
    assert (merged["state"], merged["merged_into"]) == ("resolved", one)
    detail = (await door.http.get(f"/api/v1/incidents/{one}")).json()
    assert detail["incident"]["corrections"][0]["same"] is True
    assert detail["timeline"][-1]["kind"] == "told_same"
    leaving = [detail["incident"]["alerts"][1]["fingerprint"]]
    split = await door.http.post(f"/api/v1/incidents/{one}/not-duplicate", json={"fingerprints": leaving})
    assert split.status_code == 200
    assert split.json()["answer"].startswith(f"1 alert of {one} are incident inc-")
    assert len(await ids(door)) == 3


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("inc-0/not-duplicate", {}, 404, "there is no incident inc-0"),
        ("ONE/not-duplicate", {}, 400, "nothing was folded into"),
        ("ONE/not-duplicate", {"fingerprints": ["0" * 16]}, 400, "fingerprints.0: got"),
        ("ONE/not-duplicate", {"fingerprint": "x"}, 400, "extra inputs are not permitted"),
        ("ONE/same-as", {"of": "inc-0"}, 404, "there is no incident inc-0"),
        ("ONE/same-as", {}, 400, "field required"),
        ("ONE/same-as", {"of": "ONE"}, 409, "is the same as itself"),
    ],
)
async def test_what_is_refused(door: Door, path: str, body: dict[str, Any], status: int, says: str) -> None:
    one = (await ids(door))[0]
    body = {name: one if value == "ONE" else value for name, value in body.items()}
    answer = await door.http.post(f"/api/v1/incidents/{path.replace('ONE', one)}", json=body)
    assert answer.status_code == status
    assert says in answer.json()["error"]


async def test_a_silence_from_its_preview_to_its_end(door: Door) -> None:
    previewed = (await door.http.post(f"{SILENCES}/preview", json=quiet())).json()["muted"]
    told = [(each["alerts"], each["whole"], each["still_told"]) for each in previewed]
    assert told == [(["payments latency_seconds up"], True, True)]
    assert (await door.http.get(SILENCES)).json() == {"silences": []}
    made = (await door.http.post(SILENCES, json=quiet())).json()
    assert (made["active"], made["suppressed"], made["silence"]["author"]) == (True, 0, made["silence"]["author"])
    one = (await ids(door))[0]
    assert made["still_told"] == [one], "it was open already"
    await door.rig.tell(f.IncidentResolved(reason="by hand"), incident=one)  # type: ignore[arg-type]
    await door.correlation.submit([anomaly("payments", started_s=1200)])
    for _ in range(2):  # the first try takes the incident for open still
        await door.correlation.group()
    (listed,) = (await door.http.get(SILENCES)).json()["silences"]
    assert listed["suppressed"] == 1
    (again,) = (await door.http.post(f"{SILENCES}/preview", json=quiet())).json()["muted"]
    assert again["still_told"] is False
    ended = await door.http.post(f"{SILENCES}/{made['silence']['id']}/end", json={})
    assert ended.status_code == 200
    assert ended.json()["active"] is False
    assert (await door.http.post(f"{SILENCES}/{made['silence']['id']}/end", json={})).status_code == 409


async def test_the_command_says_what_a_silence_does_not_take_hold_of(door: Door, tmp_path: Path) -> None:
    one = (await ids(door))[0]
    client = given(
        {path: (await door.http.post(path, json=quiet())).json() for path in (f"{SILENCES}/preview", SILENCES)}
    )
    holds = "it takes hold of incidents that open while it holds"
    told = f"{holds}; people are still told of what is open already: {one}"
    for command, last in ((command_preview, holds), (command_add, told)):
        with (tmp_path / "out").open("w") as out:
            command(client, Console(file=out, width=300), quiet())
        lines = (tmp_path / "out").read_text().splitlines()
        assert (len(lines), lines[1]) == (2, last)
        assert ("it is open already, so people are still told" in lines[0]) is (command is command_preview)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"ends_at": None}, "ends_at"),
        ({"ends_at": at(NOW - 1)}, "ends_at"),
        ({"ends_at": "2023-11-14T22:10:00"}, "ends_at"),
        ({"ends_at": "9999-12-31T23:59:59-23:00"}, "ends_at"),
        ({"matchers": []}, "matchers"),
        ({"matchers": [{"name": "service", "value": "*"}]}, "matchers"),
        ({"comment": " "}, "comment"),
        ({"author": "somebody else"}, "author"),
    ],
)
async def test_what_is_no_silence(door: Door, changes: dict[str, Any], says: str) -> None:
    for path in (SILENCES, f"{SILENCES}/preview"):
        answer = await door.http.post(path, json=quiet(**changes))
        assert answer.status_code == 400
        assert says in answer.json()["error"]
    assert (await door.http.get(SILENCES)).json() == {"silences": []}


async def test_the_methods_of_a_path_are_all_named(door: Door) -> None:
    answer = await door.http.delete(SILENCES)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")


async def test_topology_tells_where_each_edge_comes_from(door: Door) -> None:
    door.rig.book.calls = Seen(frozenset({"web"}), frozenset({Edge("web", "checkout", Source.LABELS)}))
    await door.correlation._calls.look()
    view = (await door.http.get("/api/v1/topology")).json()
    assert {"caller": "web", "callee": "checkout", "source": "labels of calls"} in view["edges"]
    assert {"caller": "web", "callee": "checkout", "source": "settings"} in view["edges"]
    assert view["never_seen"] == ["payments"]


async def test_the_memory_is_rebuilt_from_the_journal(door: Door) -> None:
    one, _ = await ids(door)
    await door.rig.tell(f.IncidentResolved(reason="by hand"), incident=one)  # type: ignore[arg-type]
    answer = await door.http.post("/api/v1/memory/rebuild", json={})
    assert answer.json() == {"answer": "1 incidents are remembered, as the journal tells them"}
    assert list(door.rig.memory.held()) == [one]
