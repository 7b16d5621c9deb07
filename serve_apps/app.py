"""The Serve application: `serve_apps.app:app`, for `serve run`, the RayService manifest and `sentinel up`.

Importing this module starts nothing. The replica builds the door inside its own process, and sees to it
that the actors behind it run: so whoever deploys the application gets the whole of Sentinel.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from ray import serve
from ray.serve.context import _get_global_client
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from actors import handles, wiring, wiring_approval
from actors.api import Correlation, Events, Silences
from actors.following import keep_running
from sentinel import logs
from sentinel.clock import Clock, SystemClock
from sentinel.errors import SentinelError
from sentinel.settings import Settings
from sentinel.settings_loader import load, retuned
from sentinel.telemetry.admission import Allowance
from sentinel.telemetry.interning import Interner
from serve_apps import errors
from serve_apps.api import Application, Backend, build_router
from serve_apps.audit import build_audit_router
from serve_apps.auth import check_exposure
from serve_apps.bodies import Bodies
from serve_apps.correlation import correlation_router
from serve_apps.events import event_routes
from serve_apps.explaining import Explaining, explaining_router
from serve_apps.ingest import Telemetry
from serve_apps.intake import Intake
from serve_apps.kill_switch import switch_router, told_to_all
from serve_apps.lanes import Scorer
from serve_apps.metrics import Meter
from serve_apps.slack import slack_routes
from serve_apps.slack_people import web_client
from serve_apps.slack_quieting import SlackQuieting
from serve_apps.slack_switch import SlackSwitch

APP_NAME = "sentinel"
_DESCRIPTION = "Telemetry in, incidents out, and plans that run only when people agree."


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """What stands behind the door."""

    backend: Backend
    correlation: Correlation
    silences: Silences
    events: Events
    scorer: Scorer
    explaining: Explaining
    clock: Clock


def on_ray(settings: Settings) -> Behind:
    """The actors of a running system."""
    namespace = settings.ray.namespace
    journal, approval = handles.JournalHandle(namespace), handles.ApprovalHandle(namespace)
    correlation, detectors = handles.CorrelationHandle(namespace), wiring.detectors(settings)

    async def notes() -> list[str]:
        found = [await correlation.memory_state(), told_to_all(await journal.kill_switch())]
        if settings.executor.dry_run:
            found.append("executor.dry_run is on: approved plans are rehearsed, nothing is sent to AWS")
        if settings.approval.policy.open_to_all:
            found.append("approval.approvers is empty: every verified principal may approve")
        if settings.approval.auto.enabled:
            found.append("approval.auto is enabled: rules may approve plans that can be undone, with no person asked")
        if settings.slack.active and not settings.slack.bot_token and not settings.approval.approvers:
            found.append(
                "with only a webhook Slack does not say who is a guest: name who may approve in approval.approvers"
            )
        if not settings.slack.active:
            found.append("Slack is off: plans are decided by API only")
        return [note for note in found if note]

    backend = Backend(
        journal=journal,
        approval=approval,
        pings={
            "journal": journal.ping,
            "detection": detectors.ping,
            "correlation": correlation.ping,
            "approval": approval.ping,
            "execution": handles.ExecutionHandle(namespace).ping,
        },
        notes=notes,
    )
    return Behind(
        backend=backend,
        correlation=correlation,
        silences=journal,
        events=journal,
        scorer=detectors,
        explaining=Explaining(detectors, wiring.curve_png),
        clock=SystemClock(),
    )


def build_door(settings: Settings, behind: Behind) -> FastAPI:
    """The whole HTTP door before what stands behind it."""
    backend, events, clock, meter = behind.backend, behind.events, behind.clock, Meter()
    door = Application(title="Sentinel", version="0.1.0", description=_DESCRIPTION)
    # Before the small API, whose `/incidents/{incident_id}/{verb}` would take its paths.
    door.include_router(correlation_router(settings, backend.journal, behind.correlation, behind.silences, clock))
    door.include_router(build_router(settings, backend, clock))
    door.include_router(explaining_router(settings, backend.journal, behind.explaining, clock))
    door.include_router(switch_router(settings, backend.journal, clock))
    door.include_router(build_audit_router(settings, backend, clock))
    detection = settings.detection
    interner = Interner(
        settings.api.service_labels,
        detection.partitions,
        detection.max_series,
        detection.actors,
        watching=detection.watching,
        allowance=Allowance(settings.api.max_new_series_per_minute),
    )
    bodies = Bodies()
    intake = Intake(behind.scorer, interner, meter, clock, settings.api.max_samples_per_series)
    door.router.routes.extend(Telemetry(settings, intake, bodies, clock).routes())
    alarms = wiring.alarms(settings, events, clock)
    door.router.routes.extend(event_routes(settings, events, alarms, meter, bodies, clock))
    door.router.routes.append(meter.route())
    if settings.slack.active:
        token = settings.slack.bot_token
        door.router.routes.extend(
            slack_routes(
                verify=wiring_approval.slack_verifier(settings),
                decisions=backend.approval,
                incidents=backend.journal,
                views=wiring_approval.slack_views(),
                switch=SlackSwitch(
                    journal=backend.journal,
                    policy=settings.approval.policy,
                    directory=wiring_approval.slack_directory(settings, clock),
                    clock=clock,
                    admins=frozenset(settings.approval.admins),
                ),
                quieting=SlackQuieting(
                    approval=backend.approval,
                    correlation=behind.correlation,
                    incidents=backend.journal,
                    silenced=behind.silences,
                ),
                clock=clock,
                client=web_client(token.get_secret_value(), settings.slack.api_url) if token else None,
                team_id=settings.slack.team_id,
            )
        )
    door.add_exception_handler(SentinelError, errors.handle)
    door.add_exception_handler(RequestValidationError, errors.explain)
    door.add_exception_handler(HTTPException, errors.handle_http)
    door.add_exception_handler(Exception, errors.handle_unforeseen)
    return door


def listens_on() -> str:
    """The address that this cluster's Serve listens on. What a manifest says, not our settings, decides that."""
    client = _get_global_client()
    assert client is not None  # this runs in a replica
    return str(client.get_serve_details()["http_options"]["host"])


class Door:
    """One replica of the door. Hard state: none."""

    def __init__(self, settings: Settings | None = None) -> None:
        logs.set_up()
        self._given = self._settings = settings or load(os.environ)
        check_exposure(self._settings.api, listens_on())

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Ray Serve hands `user_config` of the deployment over: its section `detection` lies over that of the settings.

        Raises Invalid for what is wrong with it, or takes a restart; detection then goes on as before.
        """
        self._settings = retuned(self._given, user_config)
        wiring.start_actors(self._settings)
        await wiring.detectors(self._settings).configure(self._settings.detection.detector)

    async def __serve_build_asgi_app__(self) -> ASGIApp:
        """Ray Serve asks for the ASGI application here, once the replica is made."""
        clock = SystemClock()
        # `reconfigure` comes later, and the replicas that are here already have had theirs.
        over = serve.get_replica_context()._deployment_config.user_config
        if over is not None:
            self._settings = retuned(self._given, over)
        await wiring.bring_up(self._settings)
        self._watching = keep_running(wiring.watchdog(self._settings, clock).run, "watchdog", clock)
        return build_door(self._settings, on_ray(self._settings))


def build(settings: Settings | None = None) -> serve.Application:
    """The application with these settings; without, each replica reads its own environment."""
    deployment: Any = serve.deployment(
        serve.ingress()(Door),
        name="door",
        ray_actor_options={"num_cpus": 0.1},
        max_ongoing_requests=200,
        max_queued_requests=400,
        health_check_period_s=5,
        logging_config={"enable_access_log": False},
    )
    application: serve.Application = deployment.bind(settings)
    return application


app = build()
