"""The queue of alarms on moto: nothing leaves it before it is kept."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from actors.alarms import AlarmPoller, Alarms
from actors.journal import JournalActor
from sentinel.adapters.aws import StaticCredentials
from sentinel.adapters.in_memory import InMemoryJournalStore
from sentinel.adapters.in_memory_events import InMemoryEventStore
from sentinel.adapters.sns import SnsTopics
from sentinel.adapters.sqs import SqsQueue
from sentinel.clock import ManualClock
from sentinel.errors import SentinelError, Unavailable
from sentinel.ports import Queued
from sentinel.telemetry.events import Event
from tests.contract.sns_rig import NOW, TOPIC, Certificates, key, message
from tests.unit.telemetry.test_cloudwatch import alarm

PAIR = StaticCredentials(access_key_id="testing", secret_access_key="testing")


class Store(InMemoryEventStore):
    """One that can be down."""

    down = False

    def receive(self, events: Any, received_at_ms: int) -> list[bool]:
        if self.down:
            raise Unavailable("the store is down")
        return super().receive(events, received_at_ms)


class World:
    """A queue on moto, and a poller before an event store."""

    def __init__(self) -> None:
        self.client: Any = boto3.client("sqs", region_name="eu-west-1")
        self.url = self.client.create_queue(QueueName="alarms", Attributes={"VisibilityTimeout": "0"})["QueueUrl"]
        self.queue = SqsQueue(self.url, "eu-west-1", credentials=PAIR, wait_s=0)
        self.store = Store()
        clock = ManualClock(NOW)
        journal = JournalActor(InMemoryJournalStore(), self.store)
        topics = SnsTopics([TOPIC], fetch=Certificates())
        alarms = Alarms(topics=topics, events=journal, service_labels=("ServiceName",), clock=clock)
        self.poller = AlarmPoller(queue=self.queue, alarms=alarms, poll_s=1, clock=clock)

    def send(self, *bodies: bytes) -> None:
        for body in bodies:
            self.client.send_message(QueueUrl=self.url, MessageBody=body.decode())

    def left(self) -> int:
        attributes = self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=["All"])["Attributes"]
        return int(attributes["ApproximateNumberOfMessages"])

    def kept(self) -> list[Event]:
        return [each.event for each in self.store.pending(100) if each.event]


@pytest.fixture
def world() -> Iterator[World]:
    with mock_aws():
        yield World()


async def test_an_alarm_is_kept_and_leaves_the_queue(world: World) -> None:
    world.send(message(alarm()), message(alarm(NewStateValue="OK"), MessageId="2"))
    assert await world.poller.poll() == 2
    assert world.left() == 0
    assert sorted(event.status for event in world.kept()) == ["firing", "resolved"]


async def test_a_message_that_waited_for_days_is_still_taken(world: World) -> None:
    world.send(message(alarm(), at_ms=NOW - 3 * 86_400_000))
    assert await world.poller.poll() == 1
    assert len(world.kept()) == 1


async def test_nothing_leaves_the_queue_before_it_is_kept(world: World) -> None:
    world.store.down = True
    world.send(message(alarm()))
    with pytest.raises(Unavailable):
        await world.poller.poll()
    assert world.left() == 1
    world.store.down = False
    assert await world.poller.poll() == 1
    assert (world.left(), len(world.kept())) == (0, 1)


async def test_a_message_delivered_twice_is_kept_once(world: World) -> None:
    world.send(message(alarm()), message(alarm()))
    assert await world.poller.poll() == 2
    assert (world.left(), len(world.kept())) == (0, 1)


async def test_what_sns_did_not_sign_stays_for_the_redrive_policy(world: World) -> None:
    world.send(message(alarm(), signed_by=key(2048, "other")), alarm().encode(), message(alarm(), MessageId="good"))
    assert await world.poller.poll() == 1
    assert world.left() == 2
    assert [event.event_id for event in world.kept()] == ["good"]


async def test_what_is_no_alarm_is_a_dead_letter_and_leaves_the_queue(world: World) -> None:
    world.send(message("If you can read this, it works"))
    assert await world.poller.poll() == 1
    assert (world.left(), world.kept()) == (0, [])
    (letter,) = world.store.dead_letters(10)
    assert "a CloudWatch alarm as JSON" in letter.reason
    assert letter.body == "If you can read this, it works"


async def test_no_data_leaves_the_queue_and_opens_nothing(world: World) -> None:
    world.send(message(alarm(NewStateValue="INSUFFICIENT_DATA")))
    assert await world.poller.poll() == 1
    assert (world.left(), world.kept()) == (0, [])


async def test_an_empty_queue_is_no_news(world: World) -> None:
    assert await world.poller.poll() == 0


def test_a_queue_that_is_not_there_says_so(world: World) -> None:
    gone = SqsQueue(f"{world.url}-gone", "eu-west-1", credentials=PAIR, wait_s=0)
    for ask in (gone.receive, lambda: gone.delete("receipt")):
        with pytest.raises(SentinelError, match=r"sqs\."):
            ask()


def test_a_message_is_its_receipt_and_its_body(world: World) -> None:
    world.send(message(alarm()))
    (found,) = world.queue.receive()
    assert isinstance(found, Queued)
    assert json.loads(found.body)["TopicArn"] == TOPIC
    world.queue.delete(found.receipt)
    assert world.left() == 0
