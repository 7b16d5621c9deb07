"""10,000 forged, mutated, replayed, expired, stale and wrong clicks: none counts, no 5xx, no secret in a log."""

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from structlog.testing import capture_logs

from actors.corrections import Corrections
from sentinel.adapters import slack_card
from sentinel.adapters.slack_views import SlackViews
from sentinel.correlation.silences import Silence
from sentinel.correlation.topology import topology_of
from sentinel.incidents.nouns import Plan, PlanState
from sentinel.remediation.approval_policy import ApprovalPolicy
from sentinel.remediation.sealing import CARD, modal_for, value_mac
from sentinel.sandbox.slack import SlackDouble, running
from sentinel.sandbox.slack.clicks import command_body, form_body, home_body, payload, signed_headers, submission
from sentinel.sandbox.slack.workspace import Message, Modal
from serve_apps.slack import slack_routes
from serve_apps.slack_payloads import About, metadata_of
from serve_apps.slack_people import web_client
from serve_apps.slack_quieting import SlackQuieting
from serve_apps.slack_switch import SlackSwitch
from tests.actors.rig import KEY, Rig, eventually
from tests.actors.test_approval import waiting
from tests.serve.slack_rig import SECRET, TOKEN, check
from tests.unit.incidents.make import ID, opened

CLICKS = 10_000
DECIDED = ID.replace("-1", "-2")


class Silenced:
    """What would be kept quiet."""

    def __init__(self) -> None:
        self.kept: list[Silence] = []

    async def add_silence(self, silence: Silence) -> Silence:
        self.kept.append(silence)
        return silence


class World:
    """A door before a real approval stage with two plans: one waits for people, one was decided."""

    def __init__(self, rig: Rig, stage: Any, double: SlackDouble, http: httpx.AsyncClient, plan: Plan, old: Plan):
        self.rig, self.stage, self.double, self.http, self.plan, self.old = rig, stage, double, http, plan, old
        self.random = random.Random(6)
        self.silenced = Silenced()
        self.replayed: tuple[bytes, dict[str, str]] = (b"", {})

    def value(self, **changes: str) -> str:
        mac = value_mac(KEY, self.plan.plan_id, self.plan.digest, CARD)
        return msgspec.json.encode(
            {"plan": self.plan.plan_id, "digest": self.plan.digest, "mac": mac, **changes}
        ).decode()

    def body(self, value: str = "", user: str = "U0ANN", **changes: Any) -> bytes:
        button = {
            "type": "button",
            "action_id": changes.pop("action_id", slack_card.APPROVE),
            "text": {"type": "plain_text", "text": "Approve"},
            "value": value or self.value(),
        }
        at = {"channel": "C0MEMORY", "ts": "1.000000"} | changes.pop("at", {})
        message = Message(text="", blocks=[{"type": "actions", "elements": [button]}], **at)
        who = self.double.workspace.users[user]
        return form_body({**payload(message, button, who, "sentinel", self.double.workspace.next_ts()), **changes})

    def signed(self, body: bytes, *, secret: str = SECRET, skew_s: int = 0, kind: str = "") -> dict[str, str]:
        return signed_headers(secret, body, self.rig.clock.now_ms() + skew_s * 1000, kind)


@contextlib.asynccontextmanager
async def world() -> AsyncIterator[World]:
    rig, app = Rig(), Starlette()
    stage, plan = await waiting(rig)
    await rig.tell(opened(), incident=DECIDED)
    for _ in range(8):
        rig.clock.advance(1.1)
        await stage.settle(await rig.incident(DECIDED))
    old = (await rig.plan(DECIDED)).plan
    double = SlackDouble(signing_secret=SECRET, token=TOKEN, clock=rig.clock)
    double.workspace.channels["C0MEMORY"] = "memory"
    async with (
        running(double) as url,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sentinel") as http,
    ):
        made = World(rig, stage, double, http, plan, old)
        app.router.routes += slack_routes(
            verify=check,
            decisions=stage,
            incidents=rig.journal,
            views=SlackViews(),
            switch=SlackSwitch(journal=rig.journal, policy=ApprovalPolicy(), directory=None, clock=rig.clock),
            quieting=SlackQuieting(
                approval=stage,
                correlation=Corrections(rig.journal, lambda: topology_of({}), rig.clock),
                incidents=rig.journal,
                silenced=made.silenced,
            ),
            clock=rig.clock,
            client=web_client(TOKEN, f"{url}/api/"),
            team_id="T0ACME",
        )
        yield made


def forged(at: World) -> tuple[bytes, dict[str, str]]:
    """Signed with another secret, or not at all, or oddly."""
    body = at.body()
    good, pick = at.signed(body), at.random
    signature = good["x-slack-signature"]
    position = pick.randrange(3, len(signature))
    other = pick.choice("0123456789abcdef".replace(signature[position], ""))
    flipped = signature[:position] + other + signature[position + 1 :]
    left_out = pick.choice(["x-slack-signature", "x-slack-request-timestamp"])
    misshapen = ["", "v0=", "v1=" + signature[3:], signature.upper(), f"{signature}0", signature[:-1]]
    odd: list[dict[str, str]] = [
        at.signed(body, secret=pick.choice(["", "another", SECRET.upper(), SECRET + " "])),
        {**good, "x-slack-signature": flipped},
        {**good, "x-slack-signature": pick.choice(misshapen)},
        {**good, "x-slack-signature": f"{signature}, {signature}"},
        {**good, "x-slack-request-timestamp": pick.choice(["", "now", "1e9", "-1", "1.5", "00000000000"])},
        {name: value for name, value in good.items() if name != left_out},
    ]
    headers = pick.choice(odd)
    return body, headers


def mutated(at: World) -> tuple[bytes, dict[str, str]]:
    """The body of a good click with a byte changed, its signature kept."""
    body = at.body()
    headers = at.signed(body)
    position = at.random.randrange(len(body))
    other = bytes([body[position] ^ (1 << at.random.randrange(8))])
    return body[:position] + other + body[position + 1 :], headers


def expired(at: World) -> tuple[bytes, dict[str, str]]:
    """A good click from too long ago, or from the future."""
    body = at.body()
    return body, at.signed(body, skew_s=at.random.choice([-301, -302, -3600, -86_400 * 365, 31, 32, 300, 86_400]))


def replayed(at: World) -> tuple[bytes, dict[str, str]]:
    """The very bytes of the click that counted on the other plan."""
    return at.replayed


def stale(at: World) -> tuple[bytes, dict[str, str]]:
    """Signed by Slack, on a digest that is not the plan's, with every mac that somebody might have seen."""
    digest = "".join(at.random.choice("0123456789abcdef") for _ in range(64))
    seen = value_mac(KEY, at.plan.plan_id, at.plan.digest, CARD)
    true = value_mac(KEY, at.plan.plan_id, digest, CARD)
    body = at.body(at.value(digest=digest, mac=at.random.choice([seen, true])))
    return body, at.signed(body)


def without_our_key(at: World) -> tuple[bytes, dict[str, str]]:
    """Signed with Slack's stolen secret, on the true digest, without Sentinel's own key."""
    made = [
        "",
        "0" * 64,
        value_mac(b"guess", at.plan.plan_id, at.plan.digest, CARD),
        value_mac(KEY, at.plan.plan_id, at.plan.digest, modal_for("U0ANN")),
        value_mac(KEY, at.old.plan_id, at.old.digest, CARD),
        value_mac(KEY, at.plan.plan_id, "", CARD),
    ]
    action = at.random.choice([slack_card.APPROVE, slack_card.CANCEL, slack_card.ABORT])
    body = at.body(at.value(mac=at.random.choice(made)), action_id=action)
    return body, at.signed(body)


def of_an_incident(at: World) -> tuple[bytes, dict[str, str]]:
    """Signed with Slack's stolen secret: a button about the true incident pressed, or its form sent filled in, without
    Sentinel's own key, or with what protects another button."""
    pick = at.random
    action = pick.choice([slack_card.ACKNOWLEDGE, slack_card.UNLIKE, slack_card.SILENCE])
    audience, mac = pick.choice(
        [
            (CARD, ""),
            (CARD, "0" * 64),
            (CARD, value_mac(b"guess", ID, "", CARD)),
            (CARD, value_mac(KEY, DECIDED, "", CARD)),
            (CARD, value_mac(KEY, ID, "", modal_for("U0ANN"))),
            (CARD, value_mac(KEY, at.plan.plan_id, at.plan.digest, CARD)),
            (modal_for("U0ANN"), value_mac(KEY, ID, "", CARD)),
            (modal_for("U0BOB"), value_mac(KEY, ID, "", modal_for("U0BOB"))),
        ]
    )
    if audience == CARD and pick.random() < 0.5:
        body = at.body(msgspec.json.encode({"incident": ID, "mac": mac}).decode(), action_id=action)
        return body, at.signed(body)
    return filled(at, action, About(incident=ID, mac=mac, audience=audience, channel="C0MEMORY", ts="1.000000"))


def filled(at: World, action: str, about: About) -> tuple[bytes, dict[str, str]]:
    """Ann's form about an incident, filled in and signed by Slack."""
    select = {"type": "static_select", "action_id": "choice", "options": [{"value": each} for each in ("30", "last")]}
    reason = {"type": "plain_text_input", "action_id": "reason"}
    blocks = [{"type": "input", "block_id": f"b{n}", "element": each} for n, each in enumerate((select, reason))]
    view = {"type": "modal", "callback_id": action, "private_metadata": metadata_of(about), "blocks": blocks}
    given = {"choice": at.random.choice(["30", "last"]) if action != slack_card.SILENCE else "30", "reason": "so"}
    ann = at.double.workspace.users["U0ANN"]
    body = form_body(submission(Modal(id="V1", user="U0ANN", view=view), ann, given))
    return body, at.signed(body)


def wrong_user(at: World) -> tuple[bytes, dict[str, str]]:
    """Guests, bots, strangers and people of nowhere."""
    body = at.random.choice(
        [
            at.body(user="U0GUEST"),
            at.body(user="U0EVE"),
            at.body(user="U0SENTINEL"),
            at.body(team={"id": "T0OTHER"}),
            at.body(team={"id": "T1"}),
        ]
    )
    return body, at.signed(body)


def elsewhere(at: World) -> tuple[bytes, dict[str, str]]:
    """Payloads of other shapes, all signed."""
    pick = at.random
    ann = at.double.workspace.users["U0ANN"]
    odd: list[tuple[bytes, str]] = [
        (at.body(actions=[]), ""),
        (at.body(type=pick.choice(["view_submission", "shortcut", "x"])), ""),
        (at.body(pick.choice(["{}", "[]", "1", '{"plan":1}', "{" * 50, '{"incident":"x","mac":""}'])), ""),
        (at.body(container=pick.choice([None, {}, {"message_ts": "x"}])), ""),
        (command_body("launch", ann, "C0MEMORY", "memory", "1.2.trigger"), ""),
        (home_body(ann, "1.2", at.rig.clock.now_ms()), "application/json"),
        (b"payload=%7B" + bytes(pick.randrange(256) for _ in range(40)), ""),
        (bytes(pick.randrange(256) for _ in range(40)), pick.choice(["", "text/plain", "application/json"])),
    ]
    body, kind = pick.choice(odd)
    return body, at.signed(body, kind=kind)


KINDS: dict[Callable[[World], tuple[bytes, dict[str, str]]], int] = {
    forged: 30,
    mutated: 20,
    expired: 15,
    replayed: 9,
    stale: 9,
    without_our_key: 9,
    of_an_incident: 9,
    wrong_user: 4,
    elsewhere: 4,
}


async def decided(rig: Rig) -> bool:
    return (await rig.plan(DECIDED)).state is PlanState.APPROVED


@pytest.mark.timeout(300)
async def test_ten_thousand_clicks_that_must_not_count(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.WARNING, logger="httpx")
    statuses: dict[str, Counter[int]] = {kind.__name__: Counter() for kind in KINDS}
    async with world() as at:
        with capture_logs() as logs:
            mac = value_mac(KEY, at.old.plan_id, at.old.digest, CARD)
            good = at.value(plan=at.old.plan_id, digest=at.old.digest, mac=mac)
            body = at.body(good, at={"ts": (await at.rig.incident(DECIDED)).cards[-1].ts})
            at.replayed = (body, at.signed(body))
            assert (await at.http.post("/slack/events", content=body, headers=at.replayed[1])).status_code == 200
            await eventually(lambda: decided(at.rig), turns=2000)
            before = {each: at.rig.store.read(each) for each in at.rig.store.incident_ids()}
            kinds = at.random.choices([*KINDS], [*KINDS.values()], k=CLICKS)
            for start in range(0, CLICKS, 20):
                sent = [(kind, *kind(at)) for kind in kinds[start : start + 20]]
                answers = await asyncio.gather(
                    *(at.http.post("/slack/events", content=body, headers=headers) for _, body, headers in sent)
                )
                for (kind, _, _), answer in zip(sent, answers, strict=True):
                    statuses[kind.__name__][answer.status_code] += 1
            await asyncio.sleep(1.0)  # what was acknowledged is settled after its answer
        after = {each: at.rig.store.read(each) for each in at.rig.store.incident_ids()}
        assert at.silenced.kept == []
        ours = About(incident=ID, mac=value_mac(KEY, ID, "", CARD), channel="C0MEMORY", ts="1.000000")
        body, headers = filled(at, slack_card.SILENCE, ours)
        assert (await at.http.post("/slack/events", content=body, headers=headers)).status_code == 200
        await eventually(lambda: bool(at.silenced.kept), turns=2000)  # so this form would have counted
    assert sum(sum(counts.values()) for counts in statuses.values()) == CLICKS
    assert {status for counts in statuses.values() for status in counts} <= {200, 400, 401}, statuses
    for kind in ("forged", "expired"):
        assert set(statuses[kind]) == {401}, statuses[kind]
    assert after == before, "no click left a trace in the journal"
    written = repr(logs) + caplog.text
    secrets = [SECRET, TOKEN, KEY.decode(), "verification-token-of-old", mac, at.plan.digest]
    secrets += [value_mac(KEY, at.plan.plan_id, at.plan.digest, CARD), at.replayed[1]["x-slack-signature"][3:]]
    assert [secret for secret in secrets if secret in written] == []
