"""Why an alert is one: the parts of its score, its threshold and its curve, as JSON and as a picture."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Depends, Response

from actors.api import Explainer, Journal
from sentinel.clock import Clock
from sentinel.detection.curves import Curve, Explained
from sentinel.errors import NotFound
from sentinel.ids import Fingerprint, IncidentId
from sentinel.incidents.nouns import Alert
from sentinel.settings import Settings
from serve_apps import schemas
from serve_apps.api import caller
from serve_apps.errors import documented

_PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {}}, "description": "The curve with its band, and where it opened"}
}


@dataclass(frozen=True, slots=True)
class Explaining:
    """Who knows why an alert opened, and what draws its curve (slow: it is called in a worker thread)."""

    detectors: Explainer
    draw: Callable[[Explained], bytes]


def explaining_router(settings: Settings, journal: Journal, behind: Explaining, clock: Clock) -> APIRouter:
    """Routes below an incident's alerts, for the scope read."""
    router = APIRouter(tags=["incidents"], dependencies=[Depends(caller(settings, "read", clock))])
    refusals = documented(401, 403, 404, 503)

    async def explained(incident_id: str, fingerprint: str) -> tuple[Alert, Explained]:
        incident = await journal.incident(IncidentId(incident_id))
        if incident is None:
            raise NotFound(f"there is no incident {incident_id}")
        alert = next((each for each in incident.alerts if each.fingerprint == fingerprint), None)
        if alert is None:
            raise NotFound(f"incident {incident_id} has no alert {fingerprint}")
        if alert.from_outside:
            raise NotFound(f"the alert came from {alert.origin}, so no detector can explain it: it has no curve here")
        found = await behind.detectors.explain(
            alert.service, Fingerprint(fingerprint), alert.started_at_ms, alert.last_at_ms
        )
        if found is None:
            raise NotFound(
                f"the detector no longer knows why alert {fingerprint} opened: it keeps the newest anomalies, "
                "and loses them when it restarts"
            )
        return alert, found

    @router.get("/api/v1/incidents/{incident_id}/alerts/{fingerprint}", responses=refusals)
    async def explain_alert(incident_id: str, fingerprint: str) -> schemas.AlertExplained:
        """Why an alert is one: its parts, its threshold and the reason for it, and its curve with the expected band."""
        alert, found = await explained(incident_id, fingerprint)
        return schemas.AlertExplained(
            why=found.explanation.why,
            alert=alert,
            explanation=found.explanation,
            curves=[_shown(curve) for curve in found.curves],
        )

    @router.get(
        "/api/v1/incidents/{incident_id}/alerts/{fingerprint}/curve.png",
        response_class=Response,
        responses={**_PICTURE, **refusals},
    )
    async def draw_alert(incident_id: str, fingerprint: str) -> Response:
        """The curve of an alert as a picture, 640 pixels wide."""
        _, found = await explained(incident_id, fingerprint)
        if not found.curves:
            kept = "" if settings.detection.curve_bytes else " (detection.curve_bytes is 0)"
            raise NotFound(f"the samples of alert {fingerprint} were not kept{kept}")
        return Response(await asyncio.to_thread(behind.draw, found), media_type="image/png")

    return router


def _shown(curve: Curve) -> schemas.Curve:
    return schemas.Curve(
        fingerprint=curve.series.fingerprint,
        metric=curve.series.metric,
        labels=dict(curve.series.labels),
        at_ms=curve.at_ms.tolist(),
        values=curve.values.tolist(),
        expected_low=curve.low.tolist(),
        expected_high=curve.high.tolist(),
    )
