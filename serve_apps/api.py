"""The small API: incidents, decisions, audit and health."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response

from actors.api import Approval, Journal
from sentinel.clock import Clock
from sentinel.errors import NotFound, SentinelError
from sentinel.ids import IncidentId
from sentinel.incidents.nouns import IncidentState, Principal
from sentinel.settings import Settings
from serve_apps import schemas
from serve_apps.auth import Scope, authenticate


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """What the door hands over to."""

    journal: Journal
    approval: Approval
    pings: dict[str, Callable[[], Awaitable[str]]]
    notes: Callable[[], Awaitable[list[str]]]


def caller(settings: Settings, scope: Scope, clock: Clock) -> Callable[[Request], Principal]:
    """A FastAPI dependency: the principal that calls, who must have `scope`."""

    def principal(request: Request) -> Principal:
        return authenticate(request, settings.api.keys, scope, clock.now_ms())

    return principal


def build_router(settings: Settings, backend: Backend, clock: Clock) -> APIRouter:
    """Routes of DESIGN.md section 6 that are not telemetry."""
    router = APIRouter()
    reader = Depends(caller(settings, "read", clock))
    Approver = Annotated[Principal, Depends(caller(settings, "approve", clock))]
    Operator = Annotated[Principal, Depends(caller(settings, "operate", clock))]

    @router.get("/api/v1/incidents", dependencies=[reader], tags=["incidents"])
    async def list_incidents(
        state: IncidentState | None = None,
        service: str | None = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        cursor: str | None = None,
    ) -> schemas.IncidentPage:
        """Incidents, newest first."""
        before = IncidentId(cursor) if cursor else None
        found = await backend.journal.incidents(state, service, limit + 1, before)
        more = len(found) > limit
        return schemas.IncidentPage(incidents=found[:limit], next=found[limit - 1].id if more else None)

    @router.get("/api/v1/incidents/{incident_id}", dependencies=[reader], tags=["incidents"])
    async def show_incident(incident_id: str) -> schemas.IncidentDetail:
        """One incident whole: alerts, suspects, similar, plan, verdicts, steps and timeline."""
        incident = await backend.journal.incident(IncidentId(incident_id))
        if incident is None:
            raise NotFound(f"there is no incident {incident_id}")
        entries = await backend.journal.entries(incident.id)
        return schemas.IncidentDetail(
            incident=incident, timeline=[schemas.TimelineEntry.of(entry) for entry in entries]
        )

    @router.post("/api/v1/incidents/{incident_id}/{verb}", tags=["incidents"])
    async def close_incident(
        incident_id: str, verb: Literal["resolve", "escalate"], body: schemas.Reason, principal: Operator
    ) -> schemas.Answer:
        """Resolve or escalate an incident by hand; refused while a plan is live."""
        return schemas.Answer(answer=await backend.approval.close(incident_id, verb, principal, body.reason))

    @router.post("/api/v1/plans/{plan_id}/{verb}", tags=["plans"])
    async def decide_plan(
        plan_id: str,
        verb: Literal["approve", "reject", "cancel", "abort"],
        body: schemas.Decision,
        principal: Approver,
    ) -> schemas.Answer:
        """Say yes or no to a plan, withdraw it before its first step, or abort it after."""
        if verb == "cancel" or verb == "abort":
            answer = await backend.approval.withdraw(plan_id, body.digest, verb, principal, body.reason)
        else:
            evidence = f"HTTP API as {principal.id}"
            answer = await backend.approval.decide(plan_id, body.digest, verb, principal, body.reason, evidence)
        return schemas.Answer(answer=answer)

    @router.get("/api/v1/audit", dependencies=[reader], tags=["audit"])
    async def audit() -> schemas.AuditReport:
        """Check the hash chain of every incident."""
        breaks = await backend.journal.audit()
        return schemas.AuditReport(intact=not breaks, breaks=breaks)

    @router.get("/health/live", tags=["health"])
    async def live() -> dict[str, bool]:
        """This replica's loop turns."""
        return {"live": True}

    @router.get("/health", tags=["health"])
    async def health() -> schemas.Health:
        """Every part, whether or not it is well."""
        return await _health(backend)

    @router.get("/health/ready", tags=["health"])
    async def ready(response: Response) -> schemas.Health:
        """200 when every actor answers, else 503."""
        report = await _health(backend)
        response.status_code = 200 if report.healthy else 503
        return report

    return router


async def _health(backend: Backend) -> schemas.Health:
    async def ask(ping: Callable[[], Awaitable[str]]) -> str:
        try:
            await ping()
        except SentinelError as error:
            return str(error)
        return "ok"

    answers = await asyncio.gather(*(ask(ping) for ping in backend.pings.values()))
    components = dict(zip(backend.pings, answers, strict=True))
    healthy = all(answer == "ok" for answer in answers)
    return schemas.Health(healthy=healthy, components=components, notes=await backend.notes() if healthy else [])
