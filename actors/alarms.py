"""Cloud alarms that Amazon SNS brings: proves each message, keeps it, and empties a queue of them if there is one."""

import asyncio
from collections.abc import Mapping, Sequence

import structlog

from actors.api import Events
from sentinel.clock import Clock
from sentinel.errors import Invalid, Overloaded, SentinelError
from sentinel.ports import AlarmQueue, AlarmTopics, DeadLetter, Queued
from sentinel.telemetry.cloudwatch import decode_alarm
from sentinel.telemetry.events import CLOUDWATCH
from sentinel.telemetry.sns import ONE_HOUR_MS, Envelope, check_headers, parse

_MOST_VERIFIED = 32
# SQS keeps a message two weeks at most; what is in it was sent by AWS to a queue that only its owner lets it write to.
_QUEUED_AGE_MS = 15 * 24 * ONE_HOUR_MS
ACCEPTED, DUPLICATE, NO_DATA = "accepted", "duplicate", "insufficient_data"
log = structlog.get_logger(__name__)


class Alarms:
    """Hard state: none; an alarm rests in the event store before anybody is answered.

    Taking one message twice is harmless: its id is unique in the store, and a subscription is confirmed once.
    """

    def __init__(self, *, topics: AlarmTopics, events: Events, service_labels: Sequence[str], clock: Clock) -> None:
        self._topics = topics
        self._events = events
        self._service_labels = tuple(service_labels)
        self._clock = clock
        self._verifying = 0

    async def verified(
        self, body: bytes, headers: Mapping[str, str] | None = None, max_age_ms: int = ONE_HOUR_MS
    ) -> Envelope:
        """The SNS message in `body`, proven to be SNS's own; `headers` (names in lower case) must tell of the same.

        Raises Invalid, Forbidden or Unauthenticated where it is not; Overloaded and Unavailable where that cannot be
        told now.
        """
        envelope = parse(body)
        if headers is not None:
            check_headers(headers, envelope)
        if self._verifying >= _MOST_VERIFIED:
            raise Overloaded("too many SNS messages are being verified")
        self._verifying += 1
        try:
            await asyncio.to_thread(self._topics.verify, envelope, self._clock.now_ms(), max_age_ms)
        finally:
            self._verifying -= 1
        return envelope

    async def take(self, envelope: Envelope) -> str:
        """What became of a verified message: ACCEPTED, DUPLICATE or NO_DATA of an alarm, else what was done.

        Raises Invalid for a notification that is no alarm, which is then a dead letter; Unavailable or Overloaded if
        it could not be kept, and what AWS says to a confirmation.
        """
        now_ms = self._clock.now_ms()
        if envelope.type == "SubscriptionConfirmation":
            arn = await asyncio.to_thread(self._topics.confirm, envelope)
            log.info("subscription confirmed", topic_arn=envelope.topic_arn, subscription_arn=arn)
            return "subscription confirmed"
        if envelope.type == "UnsubscribeConfirmation":
            log.warning("subscription ended, no more alarms come from here", topic_arn=envelope.topic_arn)
            return "subscription ended"
        try:
            event = decode_alarm(
                envelope.message, envelope.message_id, envelope.topic_arn, self._service_labels, now_ms
            )
        except Invalid as error:
            await self._events.bury(
                DeadLetter(
                    source=CLOUDWATCH,
                    event_id=envelope.message_id,
                    received_at_ms=now_ms,
                    reason=str(error),
                    body=envelope.message,
                )
            )
            raise
        if event is None:
            return NO_DATA
        (new,) = await self._events.receive([event], now_ms)
        return ACCEPTED if new else DUPLICATE


class AlarmPoller:
    """Empties a queue into `Alarms`. A message leaves the queue only once it is kept, or is kept as a dead letter.

    One that SNS did not sign stays, for the queue's own redrive policy: taking it out would hide a forger's work.
    """

    def __init__(self, *, queue: AlarmQueue, alarms: Alarms, poll_s: float, clock: Clock) -> None:
        self._queue = queue
        self._alarms = alarms
        self._poll_s = poll_s
        self._clock = clock

    async def run(self) -> None:
        """Poll for ever."""
        while True:
            try:
                taken = await self.poll()
            except SentinelError as error:
                log.warning("the queue of alarms waits", error=str(error))
                taken = 0
            if not taken:
                await self._clock.sleep(self._poll_s)

    async def poll(self) -> int:
        """Take what the queue gives now, and answer how many messages left it."""
        taken = 0
        for message in await asyncio.to_thread(self._queue.receive):
            if await self._take(message):
                await asyncio.to_thread(self._queue.delete, message.receipt)
                taken += 1
        return taken

    async def _take(self, message: Queued) -> bool:
        try:
            envelope = await self._alarms.verified(message.body.encode(), max_age_ms=_QUEUED_AGE_MS)
        except SentinelError as error:
            log.warning("message stays in the queue", error=str(error))
            return False
        try:
            what = await self._alarms.take(envelope)
        except Invalid as error:
            log.error("message is a dead letter", message_id=envelope.message_id, error=str(error))
        else:
            log.info("alarm taken from the queue", message_id=envelope.message_id, outcome=what)
        return True
