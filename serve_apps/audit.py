"""The audit side of the API: whether the record holds, and the record itself."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from sentinel.clock import Clock
from sentinel.settings import Settings
from serve_apps import schemas
from serve_apps.api import Backend, BoundedRoute, caller
from serve_apps.errors import documented


def build_audit_router(settings: Settings, backend: Backend, clock: Clock) -> APIRouter:
    """Routes below /api/v1/audit."""
    reader = Depends(caller(settings, "read", clock))
    router = APIRouter(route_class=BoundedRoute, dependencies=[reader], tags=["audit"])
    refusals = documented(401, 403, 503)

    @router.get("/api/v1/audit", responses=refusals)
    async def audit() -> schemas.AuditReport:
        """Check the hash chain of every incident."""
        breaks = await backend.journal.audit()
        return schemas.AuditReport(intact=not breaks, breaks=breaks)

    @router.get("/api/v1/audit/records", responses={**documented(400), **refusals})
    async def audit_records(
        after: Annotated[int, Query(ge=0, le=2**62)] = 0, limit: Annotated[int, Query(ge=1, le=1000)] = 200
    ) -> schemas.AuditPage:
        """Every entry of the journal as it lies in the store, with its hashes, oldest first."""
        found = await backend.journal.records(after, limit + 1)
        page = [schemas.AuditRecord(position=each.position, **asdict(each.record)) for each in found[:limit]]
        return schemas.AuditPage(records=page, next=page[-1].position if len(found) > limit else None)

    @router.get("/api/v1/audit/switch", responses=refusals)
    async def audit_switch() -> schemas.SwitchTurns:
        """Every turn of the kill switch as it lies in the store, with its hashes."""
        turns = await backend.journal.switch_turns()
        return schemas.SwitchTurns(records=[schemas.ChainedRecord(**asdict(each)) for each in turns])

    return router
