"""The curve of the alert that weighs most, as a picture below the card. It may fail: the card never waits for it."""

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from actors.api import Explainer
from sentinel.clock import Clock
from sentinel.detection.curves import Explained
from sentinel.errors import SentinelError
from sentinel.ids import IncidentId
from sentinel.incidents.nouns import Alert, Card, Incident, IncidentState

_TRIES = 2
_AGAIN_S = 5.0
_WITHIN_S = 30.0
_NEWS_MS = 900_000  # an older incident had its picture before a restart, or goes without
_REMEMBERED = 1000
log = structlog.get_logger(__name__)


class Gallery(Protocol):
    """Where pictures are shown; see `sentinel.adapters.slack_pictures.SlackPictures`."""

    async def add(self, card: Card, png: bytes, title: str) -> None: ...


class Pictures:
    """Soft state: which incidents had theirs. Losing it costs one picture more for an incident of the last minutes.

    `draw` is slow and is called in a worker thread.
    """

    def __init__(
        self, detectors: Explainer, draw: Callable[[Explained], bytes], gallery: Gallery, clock: Clock
    ) -> None:
        self._detectors, self._draw, self._gallery, self._clock = detectors, draw, gallery, clock
        self._begun: dict[IncidentId, None] = {}
        self._under_way: set[asyncio.Task[None]] = set()

    def look(self, incident: Incident) -> None:
        """Begin the picture of an incident whose card is posted; returns at once, and does so once an incident."""
        card = next((each for each in incident.cards if each.ts), None)
        old = self._clock.now_ms() - incident.opened_at_ms > _NEWS_MS
        if card is None or old or incident.state is IncidentState.RESOLVED or incident.id in self._begun:
            return
        alert = heaviest(incident)
        if alert is None:
            return
        self._begun[incident.id] = None
        if len(self._begun) > _REMEMBERED:
            del self._begun[next(iter(self._begun))]
        task = asyncio.create_task(self._show(incident.id, alert, card))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _show(self, incident_id: IncidentId, alert: Alert, card: Card) -> None:
        for attempt in range(1, _TRIES + 1):
            try:
                async with asyncio.timeout(_WITHIN_S):
                    await self._try(alert, card)
            except TimeoutError:
                why = "it took too long"
            except SentinelError as error:
                why = str(error)
            except Exception:
                # Nobody waits for this task: what a drawing library raises must not be lost with it.
                log.exception("picture failed", incident_id=incident_id)
                return
            else:
                return
            log.warning("picture not shown", incident_id=incident_id, attempt=attempt, error=why)
            if attempt < _TRIES:
                await self._clock.sleep(_AGAIN_S)

    async def _try(self, alert: Alert, card: Card) -> None:
        found = await self._detectors.explain(alert.service, alert.fingerprint, alert.started_at_ms, alert.last_at_ms)
        if found is None or not found.curves:
            log.info("no curve was kept for a picture", service=alert.service, metric=alert.metric)
            return
        png = await asyncio.to_thread(self._draw, found)
        await self._gallery.add(card, png, f"{alert.metric} of {alert.service}"[:200])


def heaviest(incident: Incident) -> Alert | None:
    """The alert of the gravest severity and then the highest score that a detector of ours raised; None without one."""
    ours = [alert for alert in incident.alerts if not alert.from_outside]
    return max(ours, key=lambda alert: (alert.severity.rank, alert.score), default=None)
