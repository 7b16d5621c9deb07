"""The kill switch at the door: its scopes, what it keeps, and what it holds."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from actors.journal import JournalActor
from sentinel.adapters.in_memory import InMemoryJournalStore
from sentinel.clock import ManualClock
from sentinel.errors import SentinelError
from sentinel.incidents.nouns import Principal
from sentinel.remediation.budget import Budget
from sentinel.remediation.ledger import Rules
from sentinel.remediation.safety import Limits
from sentinel.remediation.switch import Switch
from sentinel.settings import Api, ApiKey, Settings
from serve_apps import errors
from serve_apps.kill_switch import PATH, switch_router, told_to_all


def hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


SETTINGS = Settings(
    api=Api(
        keys=(
            ApiKey(name="rita", sha256=hashed("reader"), scopes=("read",)),
            ApiKey(name="ann", sha256=hashed("approver"), scopes=("approve", "read")),
            ApiKey(name="root", sha256=hashed("admin"), scopes=("admin",)),
        )
    )
)


@pytest.fixture
def journal(tmp_path: Path) -> JournalActor:
    return JournalActor(
        InMemoryJournalStore(),
        rules=Rules(budget=Budget(), limits=Limits(), stop_file=str(tmp_path / "STOP")),
    )


@pytest.fixture
async def door(journal: JournalActor) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    app.include_router(switch_router(SETTINGS, journal, ManualClock()))
    app.add_exception_handler(SentinelError, errors.handle)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://door") as client:
        yield client


def by(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    ("token", "stop", "resume"), [("reader", 403, 403), ("approver", 200, 403), ("admin", 200, 200)]
)
async def test_who_may_approve_may_stop_and_only_admins_resume(
    door: httpx.AsyncClient, token: str, stop: int, resume: int
) -> None:
    assert (await door.put(PATH, json={"stopped": True}, headers=by(token))).status_code == stop
    assert (await door.put(PATH, json={"stopped": False}, headers=by(token))).status_code == resume
    assert (await door.put(PATH, json={"stopped": True})).status_code == 401


def test_who_has_no_key_hears_that_it_is_on_and_not_who_said_so_and_why() -> None:
    ann = Principal(id="api:ann", name="Ann Arbor", via="api")
    said = told_to_all(Switch(stopped=True, principal=ann, reason="the leak at payments"))
    assert said.startswith("the kill switch is on")
    assert not any(word in said for word in ("Ann", "ann", "leak"))
    assert told_to_all(Switch(stopped=False, principal=ann, reason="mended")) == ""


async def test_it_keeps_who_and_why(door: httpx.AsyncClient) -> None:
    assert (await door.get(PATH, headers=by("reader"))).json() == {
        "stopped": False,
        "reason": "",
        "principal": None,
        "at": None,
    }
    await door.put(PATH, json={"stopped": True, "reason": "it scales the wrong way"}, headers=by("approver"))
    said = (await door.get(PATH, headers=by("reader"))).json()
    assert (said["stopped"], said["reason"], said["principal"]["name"]) == (True, "it scales the wrong way", "ann")
    await door.put(PATH, json={"stopped": False, "reason": "mended"}, headers=by("admin"))
    assert (await door.get(PATH, headers=by("reader"))).json()["stopped"] is False


@pytest.mark.parametrize("body", [{}, {"stopped": True, "more": 1}, {"stopped": True, "reason": "x" * 1001}])
async def test_a_body_of_another_form_turns_nothing(door: httpx.AsyncClient, body: dict[str, object]) -> None:
    assert (await door.put(PATH, json=body, headers=by("admin"))).status_code in (400, 422)
    assert (await door.get(PATH, headers=by("admin"))).json()["stopped"] is False


async def test_the_file_wins_over_a_resume(door: httpx.AsyncClient, tmp_path: Path) -> None:
    (tmp_path / "STOP").touch()
    assert (await door.put(PATH, json={"stopped": False}, headers=by("admin"))).json()["stopped"] is True
    assert "STOP is there" in (await door.get(PATH, headers=by("admin"))).json()["reason"]


async def test_its_history_is_part_of_the_audit(door: httpx.AsyncClient, journal: JournalActor) -> None:
    await door.put(PATH, json={"stopped": True}, headers=by("approver"))
    assert await journal.audit() == []
    store = journal._store
    assert isinstance(store, InMemoryJournalStore)
    store._switches[0] = replace(store._switches[0], kind="resumed")
    [broken] = await journal.audit()
    assert broken.incident_id == "kill-switch"
