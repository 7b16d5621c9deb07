"""The composition root: settings -> adapters -> actors, with their names, restarts and limits.

Nothing else builds an adapter for a running system, names an actor or decorates a class. Each adapter is
made inside the process of the actor that owns it, so connections and engines never cross a process.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import ray
import structlog

from actors import handles
from actors.alarms import AlarmPoller, Alarms
from actors.api import Events
from actors.approval import ApprovalActor
from actors.correlation import CorrelationActor
from actors.detection import DetectionActor
from actors.execution import ExecutionActor
from actors.following import keep_running
from actors.journal import JournalActor
from actors.opening import OpenedWhenNeeded
from actors.outside import OutsideEvents, Retention
from actors.shelves import Share, within_reach
from actors.watchdog import Watchdog
from actors.wiring_approval import approval_actor
from actors.wiring_execution import DOUBLES_CREDENTIALS, cloud, execution_actor, limits, rules
from sentinel import logs
from sentinel.adapters.checkpoints import FileCheckpoints
from sentinel.adapters.qdrant import open_memory
from sentinel.adapters.s3_checkpoints import S3Checkpoints
from sentinel.adapters.sns import SnsTopics
from sentinel.adapters.sql_events import SqlEventStore
from sentinel.adapters.sql_journal import SqlJournalStore
from sentinel.adapters.sql_silences import SqlSilenceStore
from sentinel.adapters.sqs import SqsQueue
from sentinel.clock import Clock, SystemClock
from sentinel.correlation.topology import topology_of
from sentinel.detection.config import DetectorConfig
from sentinel.detection.curves import Explained
from sentinel.errors import NextStep, SentinelError, Unavailable
from sentinel.ports import Checkpoints
from sentinel.settings import Settings

_CHECKPOINTS_WITHIN_S = 30.0
_CONFIGURED_WITHIN_S = 90.0
log = structlog.get_logger(__name__)


class Configurable(Protocol):
    """What can be told how to judge."""

    async def configure(self, config: DetectorConfig) -> None:
        """Judge by `config`. Raises Unavailable or Overloaded where that may go better later."""


class Journal(JournalActor):
    """The journal in its own process."""

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]  # Ray awaits it
        logs.set_up()
        clock = SystemClock()
        while True:
            try:
                store = SqlJournalStore(settings.store.url)
                super().__init__(store, SqlEventStore(store.database), rules(settings), SqlSilenceStore(store.database))
                return
            except Unavailable as error:
                # An actor whose constructor raises never comes back; a database that is away does.
                log.error("the store is not reached", error=str(error))
                await clock.sleep(1.0)


class Detection(DetectionActor):
    """A detection actor in its own process."""

    async def __init__(self, settings: Settings, index: int) -> None:  # type: ignore[misc]  # Ray awaits it
        logs.set_up()
        clock, detection, kept = SystemClock(), settings.detection, checkpoints(settings)
        await within_reach(kept, clock, _CHECKPOINTS_WITHIN_S)
        super().__init__(
            name=handles.detection_name(index),
            config=detection.detector,
            correlation=handles.CorrelationHandle(settings.ray.namespace),
            checkpoints=kept,
            checkpoint_every_s=detection.checkpoint_every_s,
            curve_bytes=detection.curve_bytes,
            clock=clock,
            share=Share(index, detection.actors, detection.partitions),
        )
        self._running = keep_running(self.run, "detection", clock)


class Correlation(CorrelationActor):
    """The correlation actor in its own process."""

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]  # Ray awaits it
        logs.set_up()
        clock, correlation = SystemClock(), settings.correlation
        journal = handles.JournalHandle(settings.ray.namespace)
        super().__init__(
            journal=journal,
            events=journal,
            silences=journal,
            detectors=detectors(settings),
            memory=OpenedWhenNeeded(lambda: open_memory(settings.qdrant)),
            topology=topology_of(correlation.topology),
            policy=correlation.policy,
            clock=clock,
        )
        self._running = keep_running(self.run, "correlation", clock)
        outside = OutsideEvents(journal=journal, events=journal, room=self, clock=clock, retention=retention(settings))
        self._looking = keep_running(outside.run, "outside events", clock)
        queue = alarm_queue(settings)
        if queue:
            taking = alarms(settings, journal, clock)
            poller = AlarmPoller(queue=queue, alarms=taking, poll_s=settings.sns.poll_s, clock=clock)
            self._polling = keep_running(poller.run, "alarm queue", clock)


class Approval(ApprovalActor):
    """The approval actor in its own process."""

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]  # Ray awaits it
        logs.set_up()
        clock, journal = SystemClock(), handles.JournalHandle(settings.ray.namespace)
        approval_actor(
            self,
            settings,
            journal=journal,
            cloud=cloud(settings),
            credentials=DOUBLES_CREDENTIALS if settings.executor.backend == "sandbox" else None,
            limits=limits(settings),
            clock=clock,
            detectors=detectors(settings),
            draw=curve_png,
        )
        self._running = keep_running(self.run, "approval", clock)


class Execution(ExecutionActor):
    """The execution actor in its own process."""

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]  # Ray awaits it
        logs.set_up()
        clock = SystemClock()
        execution_actor(
            self,
            settings,
            journal=handles.JournalHandle(settings.ray.namespace),
            detectors=detectors(settings),
            clock=clock,
        )
        self._running = keep_running(self.run, "execution", clock)


async def bring_up(settings: Settings) -> None:
    """See that every actor of this Sentinel runs, and that detection is as `settings` say.

    Detection actors that live already keep what they learned: they judge by the new settings, and partitions move
    between them where their number has changed. The other actors that live are left as they are. Raises Unavailable
    where detection does not become so.
    """
    living = handles.detection_actors(settings.ray.namespace)
    for handle in living.values():
        try:
            await handle.call("checkpoint")
        except SentinelError as error:
            log.warning("a detection actor keeps its last checkpoint", error=str(error))
    for index in living:
        if index >= settings.detection.actors:
            _end(handles.detection_name(index), settings)
    start_actors(settings)
    # Made anew or not: an actor may find beside its checkpoints what it was told long ago.
    await surely_configured(detectors(settings), settings.detection.detector, SystemClock())


async def surely_configured(detection: Configurable, config: DetectorConfig, clock: Clock) -> None:
    """Have detection judge by `config`, and hold the partitions that the door will ask it for.

    Raises Unavailable where that cannot be done within a while: no door may open that asks the wrong actors.
    """
    until = clock.monotonic() + _CONFIGURED_WITHIN_S
    while True:
        try:
            return await detection.configure(config)
        except SentinelError as error:
            if error.next_step is not NextStep.RETRY:
                raise
            if clock.monotonic() >= until:
                raise Unavailable(f"detection does not take its settings, so the door stays shut: {error}") from None
            log.warning("detection has not taken its settings yet", error=str(error))
            await clock.sleep(1.0)


def start_actors(settings: Settings) -> None:
    """See that every actor of this Sentinel runs; those that do are left as they are."""
    _ensure(Journal, handles.JOURNAL, settings, pending=4096)
    _ensure(Correlation, handles.CORRELATION, settings, pending=1024)
    _ensure(Approval, handles.APPROVAL, settings, pending=1024)
    _ensure(Execution, handles.EXECUTION, settings, pending=64)
    for index in range(settings.detection.actors):
        name = handles.detection_name(index)
        _ensure(Detection, name, settings, index, pending=settings.detection.max_pending_calls)


def watchdog(settings: Settings, clock: Clock) -> Watchdog:
    """What ends actors that stand still. It runs in each replica of the door, which Serve itself looks after."""
    names = [handles.JOURNAL, handles.CORRELATION, handles.APPROVAL, handles.EXECUTION]
    names += [handles.detection_name(index) for index in range(settings.detection.actors)]
    each = {name: handles.named(name, settings.ray.namespace) for name in names}
    return Watchdog({name: (handle.ping, handle.end) for name, handle in each.items()}, clock)


def check_files(settings: Settings) -> None:
    """Open and close the journal and the memory once. Raises what is wrong with them, before any actor is made."""
    SqlJournalStore(settings.store.url).close()
    open_memory(settings.qdrant).close()


def stop_actors(settings: Settings) -> None:
    """End every actor of this Sentinel. What they hold is in the journal and in checkpoints."""
    try:
        asyncio.run(detectors(settings).checkpoint())
    except SentinelError as error:
        log.warning("the last checkpoint is some seconds old", error=str(error))
    names = [handles.detection_name(index) for index in range(settings.detection.actors)]
    names += [handles.EXECUTION, handles.APPROVAL, handles.CORRELATION, handles.JOURNAL]
    for name in names:
        _end(name, settings)


def _end(name: str, settings: Settings) -> None:
    try:
        ray.kill(ray.get_actor(name, settings.ray.namespace), no_restart=True)
    except ValueError:
        log.debug("was not running", actor=name)


def _ensure(cls: Callable[..., object], name: str, settings: Settings, *args: object, pending: int) -> None:
    """An actor of that name, made if there is none. One that died comes back by itself and rebuilds its state.

    No task is retried: a method body that Ray ran twice could have its effect twice.
    """
    remote_class: Any = ray.remote(cls)
    options = remote_class.options(
        name=name,
        namespace=settings.ray.namespace,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0.05,
        max_restarts=-1,
        max_task_retries=0,
        max_concurrency=1000,
        max_pending_calls=pending,
    )
    handles.create(options, settings, *args)


def detectors(settings: Settings) -> handles.DetectorsHandle:
    """The detection actors of these settings as one."""
    return handles.DetectorsHandle(
        settings.ray.namespace, actors=settings.detection.actors, partitions=settings.detection.partitions
    )


def checkpoints(settings: Settings) -> Checkpoints:
    """Where detection keeps what it has learned."""
    detection = settings.detection
    if detection.checkpoint_path.startswith("s3://"):
        return S3Checkpoints(
            detection.checkpoint_path, settings.executor.aws_region, endpoint_url=detection.checkpoint_endpoint_url
        )
    return FileCheckpoints(detection.checkpoint_path)


def alarms(settings: Settings, events: Events, clock: Clock) -> Alarms:
    """What takes the messages of the topics in `sns.topic_arns`."""
    topics = SnsTopics(settings.sns.topic_arns, endpoint_url=settings.executor.aws_endpoint_url)
    return Alarms(topics=topics, events=events, service_labels=settings.api.service_labels, clock=clock)


def alarm_queue(settings: Settings) -> SqsQueue | None:
    """The queue that SNS fills, or None where it is not set up."""
    executor, url = settings.executor, settings.sns.sqs_queue_url
    if not url:
        return None
    # Reading alarms is no effect: the sandbox may, unless its AWS is a double, which never sees real credentials.
    at_double = executor.backend == "sandbox" and executor.aws_endpoint_url
    credentials = DOUBLES_CREDENTIALS if at_double else None
    return SqsQueue(url, executor.aws_region, endpoint_url=executor.aws_endpoint_url, credentials=credentials)


def curve_png(explained: Explained) -> bytes:
    """The curve of an anomaly as a picture. Slow; the drawing library is loaded by the first that asks for one."""
    from sentinel.adapters.curve_png import draw  # noqa: PLC0415 Matplotlib takes half a second and 40 MB

    return draw(explained)


def retention(settings: Settings) -> Retention:
    """How long outside events are kept."""
    day_ms, store = 86_400_000, settings.store
    return Retention(round(store.keep_events_days * day_ms), round(store.keep_dead_letters_days * day_ms))
