"""The small API: incidents, decisions, audit and health."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request, Response, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.requests import ClientDisconnect
from starlette.types import Message

from actors.api import Approval, Journal
from sentinel.clock import Clock
from sentinel.errors import Conflict, NotFound, SentinelError
from sentinel.ids import IncidentId, incident_of_plan
from sentinel.incidents.nouns import Incident, IncidentState, Principal
from sentinel.remediation.approval import Provenance
from sentinel.settings import Settings
from serve_apps import schemas
from serve_apps.auth import Scope, authenticate
from serve_apps.bodies import read_body
from serve_apps.documented import PATHS
from serve_apps.errors import documented

MAX_BODY_BYTES = 64 * 1024  # a decision with the longest reason takes a tenth
PLAN_ID = r"^[^/]+\.p[0-9]+$"
_BEARER = HTTPBearer(auto_error=False, description="A token whose SHA-256 is in api.keys; not asked for without keys")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """What the door hands over to."""

    journal: Journal
    approval: Approval
    pings: Mapping[str, Callable[[], Awaitable[str]]]
    notes: Callable[[], Awaitable[list[str]]]


def caller(settings: Settings, scope: Scope, clock: Clock) -> Callable[..., Principal]:
    """A FastAPI dependency: the principal that calls, who must have `scope`."""

    # The scheme is declared for the reader of OpenAPI; `authenticate` reads the header itself.
    def principal(request: Request, _declared: Annotated[object, Security(_BEARER)]) -> Principal:
        return authenticate(request, settings.api.keys, scope, clock.now_ms())

    return principal


class Application(FastAPI):
    """FastAPI whose OpenAPI document is true: our word for a bad request is 400, never its own 422."""

    def openapi(self) -> dict[str, Any]:
        """The document, without what FastAPI adds of its own accord."""
        document = super().openapi()
        for operations in document["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)
        for name in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(name, None)
        document["paths"] |= PATHS
        return document


class BoundedRoute(APIRoute):
    """Refuses a body over MAX_BODY_BYTES while it streams: FastAPI by itself would hold whatever is sent."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def bounded(request: Request) -> Response:
            try:
                body = await read_body(request, MAX_BODY_BYTES)
            except ClientDisconnect:
                return Response(status_code=499)

            async def again() -> Message:
                return {"type": "http.request", "body": body, "more_body": False}

            return await handle(Request(request.scope, again))

        return bounded


def build_router(settings: Settings, backend: Backend, clock: Clock) -> APIRouter:
    """Routes of DESIGN.md section 6 that are not telemetry."""
    router = APIRouter(route_class=BoundedRoute)
    refusals = documented(401, 403, 503)
    decisions = documented(400, 401, 403, 404, 409, 413, 503)
    reader = Depends(caller(settings, "read", clock))
    Approver = Annotated[Principal, Depends(caller(settings, "approve", clock))]
    Operator = Annotated[Principal, Depends(caller(settings, "operate", clock))]

    @router.get(
        "/api/v1/incidents", dependencies=[reader], tags=["incidents"], responses={**documented(400), **refusals}
    )
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

    @router.get(
        "/api/v1/incidents/{incident_id}",
        dependencies=[reader],
        tags=["incidents"],
        responses={**documented(404), **refusals},
    )
    async def show_incident(incident_id: str) -> schemas.IncidentDetail:
        """One incident whole: alerts, suspects, similar, plan, verdicts, steps and timeline."""
        incident = await backend.journal.incident(IncidentId(incident_id))
        if incident is None:
            raise NotFound(f"there is no incident {incident_id}")
        entries = await backend.journal.entries(incident.id)
        return schemas.IncidentDetail(
            incident=incident, timeline=[schemas.TimelineEntry.of(entry) for entry in entries]
        )

    @router.post("/api/v1/incidents/{incident_id}/{verb}", tags=["incidents"], responses=decisions)
    async def close_incident(
        incident_id: str, verb: Literal["acknowledge", "resolve", "escalate"], body: schemas.Reason, principal: Operator
    ) -> schemas.Answer:
        """Say that you look after an incident; or resolve or escalate it by hand, refused while a plan is live."""
        if verb == "acknowledge":
            return schemas.Answer(answer=await backend.approval.acknowledge(incident_id, principal, body.reason))
        return schemas.Answer(answer=await backend.approval.close(incident_id, verb, principal, body.reason))

    @router.post("/api/v1/plans/{plan_id}/narrow", tags=["plans"], responses=decisions)
    async def narrow_plan(
        plan_id: Annotated[str, Path(pattern=PLAN_ID)], body: schemas.Narrowing, principal: Approver
    ) -> schemas.Answer:
        """Have a plan that does less take this one's place; it waits for approval anew."""
        answer = await backend.approval.narrow(
            plan_id, body.digest, body.step, body.parameter, body.value, principal, came_by_api(settings, principal)
        )
        if not answer.startswith("narrowed by"):
            raise Conflict(answer)
        return schemas.Answer(answer=answer)

    @router.post("/api/v1/plans/{plan_id}/{verb}", tags=["plans"], responses=decisions)
    async def decide_plan(
        plan_id: Annotated[str, Path(pattern=PLAN_ID)],
        verb: Literal["approve", "reject", "cancel", "abort"],
        body: schemas.Decision,
        principal: Approver,
    ) -> schemas.Answer:
        """Say yes or no to a plan, withdraw it before its first step, or abort it after."""
        if verb == "cancel" or verb == "abort":
            answer = await backend.approval.withdraw(plan_id, body.digest, verb, principal, body.reason)
        else:
            came = came_by_api(settings, principal)
            answer = await backend.approval.decide(plan_id, body.digest, verb, principal, body.reason, came)
            incident = await backend.journal.incident(incident_of_plan(plan_id))
            if not _counted(incident, plan_id, body.digest, verb, principal):
                raise Conflict(answer)
        return schemas.Answer(answer=answer)

    @router.get("/health/live", tags=["health"])
    async def live() -> dict[str, bool]:
        """This replica's loop turns."""
        return {"live": True}

    @router.get("/health", tags=["health"])
    async def health() -> schemas.Health:
        """Every part, whether or not it is well."""
        return await _health(backend)

    @router.get("/health/ready", tags=["health"], responses={503: {"model": schemas.Health}})
    async def ready(response: Response) -> schemas.Health:
        """200 when every actor answers, else 503."""
        report = await _health(backend)
        response.status_code = 200 if report.healthy else 503
        return report

    return router


def came_by_api(settings: Settings, principal: Principal) -> Provenance:
    """How a word by this API was authenticated."""
    method = "API key" if settings.api.keys else "this machine, without a key"
    return Provenance(method=method, evidence=f"HTTP API as {principal.id}")


def _counted(incident: Incident | None, plan_id: str, digest: str, decision: str, principal: Principal) -> bool:
    """Whether the journal has this principal's word on the digest; a repeated request is answered like the first."""
    record = incident.plan(plan_id) if incident else None
    return record is not None and any(
        (verdict.principal.id, verdict.digest, verdict.decision) == (principal.id, digest, decision)
        for verdict in record.verdicts
    )


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
