"""The kill switch at the door: who may approve may stop, only admins resume."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from actors.api import Journal
from sentinel.clock import Clock, iso
from sentinel.incidents.nouns import Principal
from sentinel.remediation.switch import Switch
from sentinel.settings import Settings
from serve_apps import schemas
from serve_apps.api import BoundedRoute, caller
from serve_apps.auth import authenticate
from serve_apps.errors import documented

PATH = "/api/v1/kill-switch"


def switch_router(settings: Settings, journal: Journal, clock: Clock) -> APIRouter:
    """GET and PUT of the kill switch."""
    router = APIRouter(route_class=BoundedRoute)
    reader = Depends(caller(settings, "read", clock))
    Approver = Annotated[Principal, Depends(caller(settings, "approve", clock))]

    @router.get(PATH, dependencies=[reader], tags=["safety"], responses=documented(401, 403, 503))
    async def show_switch() -> schemas.SwitchState:
        """Whether anything may be sent, and who said so last."""
        return _state(await journal.kill_switch())

    @router.put(PATH, tags=["safety"], responses=documented(400, 401, 403, 409, 413, 503))
    async def turn_switch(request: Request, body: schemas.SwitchTurn, principal: Approver) -> schemas.SwitchState:
        """Stop everything that is not yet sent; or resume, which takes the scope admin."""
        if not body.stopped:
            authenticate(request, settings.api.keys, "admin", clock.now_ms())
        return _state(await journal.turn_kill_switch(body.stopped, principal, body.reason, clock.now_ms()))

    return router


def told_to_all(switch: Switch) -> str:
    """What those may read who have no key: that it is on, and not who said so and why. Empty where it is off."""
    return f"the kill switch is on: GET {PATH} says who turned it and why" if switch.stopped else ""


def _state(switch: Switch) -> schemas.SwitchState:
    return schemas.SwitchState(
        stopped=switch.stopped,
        reason=switch.reason,
        principal=switch.principal,
        at=iso(switch.at_ms) if switch.at_ms else None,
    )
