"""Every route of the built application has a policy, and every policy is kept: who may call what, generated."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import pytest
from fastapi.routing import iter_route_contexts
from pydantic import SecretStr
from structlog.testing import capture_logs

from sentinel.clock import ManualClock
from sentinel.errors import Invalid
from sentinel.incidents.nouns import Principal
from sentinel.settings import Api, ApiKey, Settings, Slack, Webhooks
from serve_apps.auth import Scope, check_exposure
from tests.serve.door_rig import EVENTS, NOW, SAMPLES, Door

Policy = Scope | Literal["open", "signed"]

# What a stranger may reach, and why: probes and scrapers carry no key; SNS and Slack prove themselves by signatures.
POLICIES: dict[str, Policy] = {
    "GET /openapi.json": "open",
    "GET /docs": "open",
    "GET /docs/oauth2-redirect": "open",
    "GET /redoc": "open",
    "GET /health": "open",
    "GET /health/live": "open",
    "GET /health/ready": "open",
    "GET /metrics": "open",
    "POST /api/v1/sns": "signed",
    "POST /slack/events": "signed",
    "POST /api/v1/samples": "ingest",
    "POST /api/v1/write": "ingest",
    "POST /v1/metrics": "ingest",
    "POST /api/v1/alerts/alertmanager": "ingest",
    "POST /api/v2/alerts": "ingest",
    "POST /api/v1/events": "ingest",
    "OPTIONS /api/v1/events": "ingest",
    "GET /api/v1/events/dead-letters": "read",
    "GET /api/v1/incidents": "read",
    "GET /api/v1/incidents/{incident_id}": "read",
    "GET /api/v1/incidents/{incident_id}/alerts/{fingerprint}": "read",
    "GET /api/v1/incidents/{incident_id}/alerts/{fingerprint}/curve.png": "read",
    "GET /api/v1/audit": "read",
    "GET /api/v1/kill-switch": "read",
    "PUT /api/v1/kill-switch": "approve",  # stopping; resuming takes admin, see test_kill_switch.py
    "GET /api/v1/audit/records": "read",
    "GET /api/v1/audit/switch": "read",
    "GET /api/v1/topology": "read",
    "GET /api/v1/silences": "read",
    "POST /api/v1/silences": "operate",
    "POST /api/v1/silences/preview": "operate",
    "POST /api/v1/silences/{silence_id}/end": "operate",
    "POST /api/v1/memory/rebuild": "operate",
    "POST /api/v1/incidents/{incident_id}/not-duplicate": "operate",
    "POST /api/v1/incidents/{incident_id}/same-as": "operate",
    "POST /api/v1/incidents/{incident_id}/{verb}": "operate",
    "POST /api/v1/plans/{plan_id}/narrow": "approve",
    "POST /api/v1/plans/{plan_id}/{verb}": "approve",
}
SCOPES: tuple[Scope, ...] = get_args(Scope)
GUARDED = [route for route, policy in POLICIES.items() if policy in SCOPES]


def token(name: str) -> str:
    return f"token-of-{name}"


def key(name: str, *scopes: Scope, of: str = "", expires_ms: int | None = None) -> ApiKey:
    """A key of that name; its token is that of `of`, or of the name."""
    at = None if expires_ms is None else datetime.fromtimestamp(expires_ms / 1000, UTC)
    digest = hashlib.sha256(token(of or name).encode()).hexdigest()
    return ApiKey(name=name, sha256=digest, scopes=scopes, expires_at=at)


KEYS = (
    *(key(scope, scope) for scope in SCOPES),
    key("expired", *SCOPES, expires_ms=NOW),
    key("turning", *SCOPES, of="old", expires_ms=NOW + 1000),
    key("turning", *SCOPES, of="new"),
)
SLACK = Slack(bot_token=SecretStr("xoxb-x"), signing_secret=SecretStr("s"), api_url="http://127.0.0.1:9/api/")


def settings(*keys: ApiKey) -> Settings:
    return Settings(api=Api(keys=keys), webhooks=Webhooks(slack=SLACK))


def routes(door: Door) -> Iterator[str]:
    """Every method and path of the application, those that no document shows among them."""
    for route in iter_route_contexts(door.app.routes):
        for method in route.methods or {"GET"}:
            yield f"{'GET' if method == 'HEAD' else method} {route.path}"


@pytest.fixture(scope="module")
def door() -> Door:
    return Door(settings(*KEYS))


async def call(door: Door, route: str, authorization: str | None) -> Any:
    """A well-formed request, so that nothing but the caller can be refused."""
    method, _, path = route.partition(" ")
    path = path.replace("{verb}", "approve" if "plans" in path else "resolve")
    path = path.replace("{incident_id}", "inc-20231114-1a2b3c4d-1").replace("{plan_id}", "inc-20231114-1a2b3c4d-1.p1")
    headers = [(b"webhook-request-origin", b"ci.example")]
    if authorization is not None:
        headers.append((b"authorization", authorization.encode("latin-1")))
    word: Any = {"digest": "0" * 64}
    if path.endswith("/narrow"):
        word |= {"step": 0, "parameter": "desired_count", "value": 3}
    body: Any = word if "plans" in path else {} if "resolve" in path else [] if path == SAMPLES else None
    return await door.http.request(method, path, json=body, headers=headers)


def test_every_route_has_a_policy(door: Door) -> None:
    assert set(routes(door)) == set(POLICIES), "a new route says here who may call it"


@pytest.mark.parametrize("route", GUARDED)
@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic YWRtaW46YWRtaW4=",
        "Bearer guessed",
        f"Token {token('admin')}",
        f"Bearer {token('admin')} {token('admin')}",
        f"Bearer {hashlib.sha256(token('admin').encode()).hexdigest()}",
        f"Bearer {token('expired')}",
        "Bearer \u00e4\u00f6",
    ],
)
async def test_who_does_not_prove_himself_is_a_401(door: Door, route: str, authorization: str | None) -> None:
    answer = await call(door, route, authorization)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("route", GUARDED)
@pytest.mark.parametrize("scope", SCOPES)
async def test_a_key_opens_what_its_scope_says_and_admin_everything(door: Door, route: str, scope: Scope) -> None:
    answer = await call(door, route, f"Bearer {token(scope)}")
    if scope == "admin" or scope == POLICIES[route]:
        # Past the guard: an empty body or an unknown plan may still be refused for what it is.
        assert answer.status_code in (200, 202, 204, 400, 404)
    else:
        assert answer.status_code == 403
        assert f"lacks the scope {POLICIES[route]}" in answer.text


@pytest.mark.parametrize("route", [route for route, policy in POLICIES.items() if policy == "signed"])
async def test_a_key_is_no_signature(door: Door, route: str) -> None:
    answers = [await call(door, route, given) for given in (None, f"Bearer {token('admin')}")]
    assert all(400 <= answer.status_code < 500 for answer in answers)
    assert answers[0].status_code == answers[1].status_code


@pytest.mark.parametrize("route", [route for route, policy in POLICIES.items() if policy == "open"])
async def test_what_is_open_needs_no_key(door: Door, route: str) -> None:
    assert (await call(door, route, None)).status_code == 200


async def test_two_keys_of_one_name_are_both_good_until_the_old_one_ends() -> None:
    door = Door(settings(*KEYS))
    for each in ("old", "new"):
        assert (await call(door, f"POST {SAMPLES}", f"Bearer {token(each)}")).status_code == 202
    assert isinstance(door.clock, ManualClock)
    door.clock.advance(1.0)
    told = [(await call(door, f"POST {SAMPLES}", f"Bearer {token(each)}")).status_code for each in ("old", "new")]
    assert told == [401, 202]


async def test_the_one_who_acts_is_the_name_of_the_key(door: Door) -> None:
    seen: list[Principal] = []

    class Approval:
        async def decide(self, *args: Any) -> str:
            seen.append(args[3])
            return "done"

    made = Door(settings(*KEYS), approval=Approval())
    for each in ("approve", "old", "new"):
        await call(made, "POST /api/v1/plans/{plan_id}/{verb}", f"bearer {token(each)}")
    assert [principal.id for principal in seen] == ["api:approve", "api:turning", "api:turning"]


@pytest.mark.parametrize("route", GUARDED)
@pytest.mark.parametrize("client", ["203.0.113.9", "::ffff:203.0.113.9", "2001:db8::1", "0.0.0.0"])
async def test_without_keys_nobody_calls_from_elsewhere(route: str, client: str) -> None:
    answer = await call(Door(settings(), client=client), route, f"Bearer {token('admin')}")
    assert answer.status_code == 403
    assert "only this machine may call" in answer.text


@pytest.mark.parametrize("client", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
async def test_without_keys_this_machine_may_call(client: str) -> None:
    assert (await call(Door(settings(), client=client), f"OPTIONS {EVENTS}", None)).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "sentinel.example"])
def test_a_door_to_the_network_needs_a_key(host: str) -> None:
    with pytest.raises(Invalid, match="at least one key"):
        check_exposure(Api(), host)
    check_exposure(Api(keys=KEYS), host)
    check_exposure(Api(), "127.0.0.1")


async def test_no_answer_and_no_log_tells_a_token(door: Door) -> None:
    with capture_logs() as logs:
        answers = [await call(door, route, f"Bearer {token(each)}") for route in GUARDED for each in ("read", "wrong")]
    told = repr(logs) + "".join(answer.text + repr(answer.headers) for answer in answers)
    assert logs
    assert "token-of-" not in told
    assert not any(each.sha256 in told for each in KEYS)
