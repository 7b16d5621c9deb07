"""The doors of outside events: status codes as in DESIGN's table, counts that add up, and nothing lost after a 2xx."""

import gzip
import hashlib
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from starlette.applications import Starlette

from actors.alarms import Alarms
from actors.journal import JournalActor
from sentinel.adapters.in_memory import InMemoryJournalStore
from sentinel.adapters.in_memory_events import InMemoryEventStore
from sentinel.adapters.sns import SnsTopics
from sentinel.clock import ManualClock
from sentinel.errors import Forbidden, Overloaded, SentinelError, Unavailable
from sentinel.ports import Standing
from sentinel.settings import Api, ApiKey, Settings
from sentinel.telemetry.events import Event
from serve_apps.bodies import Bodies
from serve_apps.events import event_routes
from serve_apps.metrics import Meter
from tests.contract.sns_rig import NOW, TOPIC, Certificates, confirmation, headers, key, message
from tests.unit.telemetry.test_alertmanager import alert, webhook
from tests.unit.telemetry.test_change_events import BINARY, CLOUD_EVENT
from tests.unit.telemetry.test_cloudwatch import alarm
from tests.unit.telemetry.test_sns import HOSTILE

WEBHOOK, API, SNS, EVENTS = "/api/v1/alerts/alertmanager", "/api/v2/alerts", "/api/v1/sns", "/api/v1/events"
STRUCTURED = {"content-type": "application/cloudevents+json"}
JSON = {"content-type": "application/json"}


class Topics(SnsTopics):
    """One whose subscriptions are confirmed on paper."""

    def __init__(self, certificates: Certificates) -> None:
        super().__init__([TOPIC], fetch=certificates)
        self.confirmed: list[str] = []
        self.refuses: SentinelError | None = None

    def confirm(self, envelope: Any) -> str:
        if self.refuses:
            raise self.refuses
        self.confirmed.append(envelope.token)
        return f"{envelope.topic_arn}:1"


class Door:
    """The doors before a store in memory."""

    def __init__(self, settings: Settings) -> None:
        self.clock = ManualClock(NOW)
        self.store = InMemoryEventStore()
        self.journal: Any = JournalActor(InMemoryJournalStore(), self.store)
        self.certificates = Certificates()
        self.topics = Topics(self.certificates)
        self.meter = Meter()
        self.fails: SentinelError | None = None
        alarms = Alarms(topics=self.topics, events=self, service_labels=("ServiceName",), clock=self.clock)
        routes = event_routes(settings, self, alarms, self.meter, Bodies(), self.clock)
        transport = httpx.ASGITransport(app=Starlette(routes=[*routes, self.meter.route()]))
        self.http = httpx.AsyncClient(transport=transport, base_url="http://door")

    async def receive(self, events: Any, received_at_ms: int) -> list[bool]:
        if self.fails:
            raise self.fails
        received: list[bool] = await self.journal.receive(events, received_at_ms)
        return received

    def __getattr__(self, name: str) -> Any:
        return getattr(self.journal, name)

    async def post(self, path: str, body: Any, **given: str) -> httpx.Response:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.http.post(path, content=raw, headers={name.replace("_", "-"): given[name] for name in given})

    async def sns(self, body: bytes, **changes: str) -> httpx.Response:
        return await self.http.post(SNS, content=body, headers={**headers(body), **changes})

    def kept(self) -> list[Event]:
        return [each.event for each in self.store.pending(1000) if each.event]

    async def counts(self, source: str) -> dict[str, int]:
        text = (await self.http.get("/metrics")).text
        found = re.findall(rf'sentinel_events_total{{outcome="(\w+)",source="{source}"}} (\S+)', text)
        return {outcome: int(float(count)) for outcome, count in found if float(count)}


@pytest_asyncio.fixture
async def door() -> AsyncIterator[Door]:
    made = Door(Settings())
    yield made
    for source in ("alertmanager", "cloudwatch", "cloudevents", "change"):
        counts = await made.counts(source)
        assert counts.pop("received", 0) == sum(counts.values()), f"the counts of {source} add up"
    await made.http.aclose()


# --- Alertmanager -----------------------------------------------------------------------------------------------


async def test_a_webhook_is_kept_before_it_is_answered(door: Door) -> None:
    answer = await door.post(WEBHOOK, webhook(alert(), alert(status="resolved", endsAt="2023-11-14T22:12:00Z")))
    assert answer.status_code == 200
    assert (answer.json()["accepted"], answer.json()["refused"]) == (2, 0)
    assert [event.status for event in door.kept()] == ["firing", "resolved"]


async def test_the_same_webhook_of_another_replica_is_a_duplicate(door: Door) -> None:
    first, second = [await door.post(WEBHOOK, webhook(alert())) for _ in range(2)]
    assert (first.json()["accepted"], second.json()["accepted"], second.json()["duplicate"]) == (1, 0, 1)
    assert second.status_code == 200
    assert len(door.kept()) == 1
    assert await door.counts("alertmanager") == {"received": 2, "accepted": 1, "duplicate": 1}


async def test_prometheus_may_post_by_itself(door: Door) -> None:
    assert (await door.post(API, [alert()])).status_code == 200
    assert (await door.post(WEBHOOK, webhook(alert()))).json()["duplicate"] == 1
    assert (await door.post(API, [alert(endsAt="2023-11-14T22:13:00Z")])).json()["accepted"] == 1
    assert [event.status for event in door.kept()] == ["firing", "resolved"]


async def test_one_bad_alert_does_not_sink_the_rest(door: Door) -> None:
    answer = await door.post(WEBHOOK, webhook(alert(startsAt="noon"), alert()))
    assert answer.status_code == 200
    assert (answer.json()["accepted"], answer.json()["refused"]) == (1, 1)
    assert answer.json()["rejected"][0]["field"] == "startsAt"


async def test_only_bad_alerts_are_a_400_in_one_line(door: Door) -> None:
    answer = await door.post(API, [alert(startsAt="noon")])
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("startsAt: got 'noon', expected")


async def test_no_alerts_are_fine(door: Door) -> None:
    assert (await door.post(WEBHOOK, webhook())).status_code == 200
    assert (await door.post(API, [])).status_code == 200


@pytest.mark.parametrize("path", [WEBHOOK, API])
@pytest.mark.parametrize("body", [b"", b"nonsense", b"5", b"\xff\xfe", b"[" * 100_000, b'"' + b"a" * 10_000])
async def test_malformed_alerts_are_a_400(door: Door, path: str, body: bytes) -> None:
    answer = await door.post(path, body)
    assert answer.status_code == 400
    assert "\n" not in answer.json()["error"]
    assert await door.counts("alertmanager") == {"received": 1, "refused_malformed": 1}


@pytest.mark.parametrize("path", [WEBHOOK, API, EVENTS])
async def test_a_body_that_is_too_large_is_a_413(door: Door, path: str) -> None:
    assert (await door.post(path, b"[" + b" " * (8 * 1024 * 1024) + b"]")).status_code == 413


async def test_a_compressed_bomb_is_a_413(door: Door) -> None:
    bomb = gzip.compress(b" " * (33 * 1024 * 1024))
    assert (await door.post(WEBHOOK, bomb, content_encoding="gzip")).status_code == 413
    assert (await door.post(WEBHOOK, gzip.compress(webhook(alert())), content_encoding="gzip")).status_code == 200


@pytest.mark.parametrize("error", [Unavailable("down"), Overloaded("busy", 7)])
@pytest.mark.parametrize("path", [WEBHOOK, API])
async def test_alertmanager_is_told_503_and_never_429(door: Door, path: str, error: SentinelError) -> None:
    door.fails = error
    answer = await door.post(path, webhook(alert()) if path == WEBHOOK else [alert()])
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert await door.counts("alertmanager") == {"received": 1, "refused_try_again": 1}
    door.fails = None
    assert (await door.post(WEBHOOK, webhook(alert()))).json()["accepted"] == 1


# --- change events ----------------------------------------------------------------------------------------------


async def test_a_change_is_kept(door: Door) -> None:
    answers = [
        await door.post(EVENTS, CLOUD_EVENT, **STRUCTURED),
        await door.post(EVENTS, [{**CLOUD_EVENT, "id": "2"}], content_type="application/cloudevents-batch+json"),
        await door.post(EVENTS, b"{}", **{**BINARY, "ce-id": "3"}),
        await door.post(EVENTS, {"service": "payments", "title": "deploy"}, **JSON),
    ]
    assert [answer.status_code for answer in answers] == [202] * 4
    assert all(answer.json()["accepted"] == 1 for answer in answers)
    assert len(door.store.changes(["payments"], 0, NOW)) == 4
    assert (await door.counts("cloudevents"))["accepted"] == 3
    assert (await door.counts("change"))["accepted"] == 1


async def test_the_same_change_is_a_duplicate_and_a_202(door: Door) -> None:
    for duplicate in (0, 1, 1):
        answer = await door.post(EVENTS, CLOUD_EVENT, **STRUCTURED)
        assert (answer.status_code, answer.json()["duplicate"]) == (202, duplicate)


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"{}", "application/cloudevents+json", 400),
        (b"[5]", "application/cloudevents-batch+json", 400),
        (b"x", "text/plain", 415),
        (b"<x/>", "application/cloudevents+xml", 415),
    ],
)
async def test_bad_changes(door: Door, body: bytes, content_type: str, status: int) -> None:
    assert (await door.post(EVENTS, body, content_type=content_type)).status_code == status


async def test_too_many_changes_are_a_429_with_a_time(door: Door) -> None:
    door.fails = Overloaded("busy", 7)
    answer = await door.post(EVENTS, CLOUD_EVENT, **STRUCTURED)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    door.fails = Unavailable("down")
    assert (await door.post(EVENTS, CLOUD_EVENT, **STRUCTURED)).status_code == 503


async def test_a_sender_may_ask_whether_it_is_welcome(door: Door) -> None:
    asked = {"WebHook-Request-Origin": "events.example", "WebHook-Request-Rate": "120"}
    answer = await door.http.options(EVENTS, headers=asked)
    assert (answer.status_code, answer.headers["webhook-allowed-origin"]) == (200, "events.example")
    assert answer.headers["webhook-allowed-rate"] == "*"
    assert "POST" in answer.headers["allow"]
    assert (await door.http.options(EVENTS)).status_code == 400


# --- SNS --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1", "2"])
async def test_a_signed_alarm_is_kept(door: Door, version: str) -> None:
    answer = await door.sns(message(alarm(), version=version))
    assert (answer.status_code, answer.json()) == (200, {"answer": "accepted"})
    assert [event.title for event in door.kept()] == ["payments-cpu"]


async def test_a_replay_is_a_duplicate(door: Door) -> None:
    answers = [(await door.sns(message(alarm()))).json()["answer"] for _ in range(3)]
    assert answers == ["accepted", "duplicate", "duplicate"]
    assert len(door.kept()) == 1


async def test_no_data_is_taken_and_opens_nothing(door: Door) -> None:
    answer = await door.sns(message(alarm(NewStateValue="INSUFFICIENT_DATA")))
    assert (answer.status_code, door.kept()) == (200, [])
    assert await door.counts("cloudwatch") == {"received": 1, "refused_insufficient_data": 1}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (message(alarm(), signed_by=key(2048, "other")), 401),
        (message(alarm(), TopicArn=f"{TOPIC}-x"), 403),
        (message(alarm(), at_ms=NOW - 3_600_001), 401),
        (message(alarm()).replace(b"payments-cpu", b"payments-mem"), 401),
        *((message(alarm(), SigningCertURL=url), 401) for url in HOSTILE),
    ],
)
async def test_forgeries_are_refused(door: Door, body: bytes, status: int) -> None:
    assert (await door.sns(body)).status_code == status
    assert door.kept() == []
    assert await door.counts("cloudwatch") == {"received": 1, "refused_unverified": 1}


@pytest.mark.parametrize("url", HOSTILE)
async def test_a_hostile_url_makes_no_connection(door: Door, url: str) -> None:
    await door.sns(message(alarm(), SigningCertURL=url, UnsubscribeURL=url))
    assert door.certificates.fetched == []
    await door.sns(confirmation(SigningCertURL=url, SubscribeURL=url))
    assert (door.certificates.fetched, door.topics.confirmed) == ([], [])


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff", alarm().encode(), b"[" * 50_000])
async def test_what_is_no_envelope_is_a_400(door: Door, body: bytes) -> None:
    answer = await door.post(SNS, body, x_amz_sns_message_type="Notification")
    assert answer.status_code == 400


async def test_headers_of_another_message_are_a_400(door: Door) -> None:
    assert (await door.sns(message(alarm()), **{"x-amz-sns-message-type": "x"})).status_code == 400
    assert (await door.post(SNS, message(alarm()))).status_code == 400


async def test_raw_delivery_is_refused_with_a_hint(door: Door) -> None:
    answer = await door.sns(message(alarm()), **{"x-amz-sns-rawdelivery": "true"})
    assert answer.status_code == 400
    assert "raw message delivery off" in answer.json()["error"]


async def test_a_message_over_a_megabyte_is_a_413(door: Door) -> None:
    assert (await door.post(SNS, b" " * (1024 * 1024 + 1))).status_code == 413


async def test_a_subscription_is_confirmed_by_its_token(door: Door) -> None:
    answer = await door.sns(confirmation())
    assert (answer.status_code, answer.json()["answer"]) == (200, "subscription confirmed")
    assert door.topics.confirmed == [json.loads(confirmation())["Token"]]


async def test_a_forged_subscription_is_not_confirmed(door: Door) -> None:
    for forged in (
        confirmation(signed_by=key(2048, "other")),
        confirmation(TopicArn=f"{TOPIC}-x"),
        confirmation(at_ms=NOW - 3_600_001),
    ):
        assert (await door.sns(forged)).status_code in (401, 403)
    assert door.topics.confirmed == []


async def test_aws_may_refuse_a_confirmation_or_be_away(door: Door) -> None:
    for error, status in ((Forbidden("no such topic"), 403), (Unavailable("no answer"), 503)):
        door.topics.refuses = error
        assert (await door.sns(confirmation())).status_code == status


async def test_the_end_of_a_subscription_is_taken_note_of(door: Door) -> None:
    body = confirmation(Type="UnsubscribeConfirmation")
    assert (await door.sns(body)).json()["answer"] == "subscription ended"
    assert door.topics.confirmed == []


async def test_a_signed_message_that_is_no_alarm_is_a_400_and_a_dead_letter(door: Door) -> None:
    answer = await door.sns(message("Hello"))
    assert answer.status_code == 400
    seen = (await door.http.get(f"{EVENTS}/dead-letters")).json()
    assert seen["standing"] == {"cloudwatch": {"pending": 0, "placed": 0, "dead": 1}}
    assert seen["dead_letters"][0]["body"] == "Hello"
    assert door.store.standing() == {"cloudwatch": Standing(dead=1)}


@pytest.mark.parametrize("error", [Unavailable("down"), Overloaded("busy")])
async def test_sns_is_told_503(door: Door, error: SentinelError) -> None:
    door.fails = error
    assert (await door.sns(message(alarm()))).status_code == 503
    door.fails = None
    assert (await door.sns(message(alarm()))).json()["answer"] == "accepted"


async def test_a_certificate_that_cannot_be_fetched_is_a_503(door: Door) -> None:
    door.certificates.pem = Unavailable("no route")
    assert (await door.sns(message(alarm()))).status_code == 503


# --- who may ----------------------------------------------------------------------------------------------------


@pytest.fixture
def keys() -> Settings:
    made = tuple(
        ApiKey(name=name, sha256=hashlib.sha256(name.encode()).hexdigest(), scopes=(scope,))
        for name, scope in (("sender", "ingest"), ("reader", "read"))
    )
    return Settings(api=Api(keys=made))


async def test_each_door_asks_for_its_scope(keys: Settings) -> None:
    door = Door(keys)
    for path in (WEBHOOK, API, EVENTS):
        for token, status in ((None, 401), ("wrong", 401), ("reader", 403)):
            given = {"authorization": f"Bearer {token}"} if token else {}
            assert (await door.post(path, b"[]", **given)).status_code == status
    for token, status in (("reader", 200), ("sender", 403)):
        answer = await door.http.get(f"{EVENTS}/dead-letters", headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == status
    assert (await door.post(API, [], authorization="Bearer sender")).status_code == 200
    asked = {"WebHook-Request-Origin": "events.example"}
    assert (await door.http.options(EVENTS, headers=asked)).status_code == 401
    # SNS knows no tokens: its signature is its proof.
    assert (await door.sns(message(alarm()))).status_code == 200
    await door.http.aclose()
