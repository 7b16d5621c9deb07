"""What the Slack door reads for people: modals, the app's own page, answers to the slash command."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

import structlog
from slack_sdk.web.async_client import AsyncWebClient

from sentinel.correlation.apart import choices
from sentinel.correlation.silences import services_of
from sentinel.errors import Conflict, Invalid, NotFound, SentinelError
from sentinel.ids import IncidentId, incident_of_plan
from sentinel.incidents.nouns import Incident, IncidentState, PlanRecord, PlanState, Principal
from sentinel.remediation.approval import Provenance
from sentinel.remediation.sealing import modal_for
from sentinel.remediation.switch import Switch
from serve_apps.slack_payloads import About, Person, Pressed, Typed, metadata_of, printable
from serve_apps.slack_people import SLACK_FAILS, failure, look_up, principal_of
from serve_apps.slack_switch import SlackSwitch

_ANSWER_WITHIN_S = 2.5  # of the three seconds that Slack waits
_LISTED = 200
_REFUSED = "only full members of this workspace may ask"

Blocks = Sequence[dict[str, Any]]
log = structlog.get_logger(__name__)


class Decisions(Protocol):
    """Who takes words: the approval actor, behind its handle. Each answers in a line for people, or raises one."""

    def decide(
        self,
        plan_id: str,
        digest: str,
        decision: Literal["approve", "reject"],
        principal: Principal,
        reason: str,
        came: Provenance,
    ) -> Awaitable[str]: ...

    def narrow(
        self, plan_id: str, digest: str, index: int, name: str, value: int, principal: Principal, came: Provenance
    ) -> Awaitable[str]: ...

    def withdraw(
        self,
        plan_id: str,
        digest: str,
        verb: Literal["cancel", "abort"],
        principal: Principal,
        reason: str,
        came: Provenance | None = None,
    ) -> Awaitable[str]: ...

    def acknowledge(
        self, incident_id: str, principal: Principal, reason: str, came: Provenance | None = None
    ) -> Awaitable[str]: ...

    def offer(self, plan_id: str, audience: str) -> Awaitable[str]: ...


class Incidents(Protocol):
    """Who knows what goes on: the journal, behind its handle."""

    def incident(self, incident_id: IncidentId) -> Awaitable[Incident | None]: ...

    def incidents(
        self,
        state: IncidentState | None = None,
        service: str | None = None,
        limit: int = 50,
        before: IncidentId | None = None,
    ) -> Awaitable[list[Incident]]: ...


class Views(Protocol):
    """How it looks; see `sentinel.adapters.slack_views.SlackViews`."""

    @property
    def help(self) -> str: ...

    def reject_modal(self, metadata: str) -> dict[str, Any]: ...

    def narrowing(self, record: PlanRecord) -> tuple[int, str, int, int] | None: ...

    def narrow_modal(
        self, record: PlanRecord, metadata: str, index: int, name: str, low: int, high: int
    ) -> dict[str, Any]: ...

    def whole(self, record: PlanRecord) -> bool: ...

    def plan_modal(self, incident: Incident, record: PlanRecord, metadata: str) -> dict[str, Any]: ...

    def unlike_modal(self, incident: Incident, metadata: str) -> dict[str, Any]: ...

    def silence_modal(self, incident: Incident, metadata: str) -> dict[str, Any]: ...

    def home(self, incidents: Sequence[Incident]) -> dict[str, Any]: ...

    def listing(self, incidents: Sequence[Incident]) -> list[dict[str, Any]]: ...

    def status(self, incidents: Sequence[Incident]) -> list[dict[str, Any]]: ...

    def summary(self, incident: Incident) -> list[dict[str, Any]]: ...

    def switch(self, switch: Switch) -> list[dict[str, Any]]: ...


class ReadingDesk:
    """Holds nothing. Every answer is of what the journal says now."""

    def __init__(
        self,
        decisions: Decisions,
        incidents: Incidents,
        views: Views,
        switch: SlackSwitch,
        client: AsyncWebClient | None,
    ) -> None:
        self._decisions, self._incidents, self._views, self._client = decisions, incidents, views, client
        self._switch = switch

    async def modal(self, pressed: Pressed) -> dict[str, Any]:
        """What a button opens. Raises NotFound, or Conflict where what it is about is another by now."""
        about = pressed.about
        if about.incident:
            return await self._about_incident(pressed)
        if pressed.action == "sentinel_reject":
            return self._views.reject_modal(metadata_of(about))
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            _, record = await self._find(about.plan)
        found = self._views.narrowing(record)
        if record.plan.digest != about.digest or record.state is not PlanState.AWAITING_APPROVAL or found is None:
            raise Conflict("the plan changed since it was shown, or nothing in it can be narrowed: review it again")
        index, name, low, high = found
        metadata = metadata_of(replace(about, index=index, name=name))
        return self._views.narrow_modal(record, metadata, index, name, low, high)

    async def _about_incident(self, pressed: Pressed) -> dict[str, Any]:
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            incident = await self._incidents.incident(IncidentId(pressed.about.incident))
        if incident is None:
            raise NotFound(f"there is no incident {pressed.about.incident}")
        metadata = metadata_of(pressed.about)
        if pressed.action == "sentinel_silence" and services_of(incident):
            return self._views.silence_modal(incident, metadata)
        if pressed.action == "sentinel_unlike" and choices(incident):
            return self._views.unlike_modal(incident, metadata)
        raise Conflict(f"incident {incident.id} changed since it was shown: look at the card again")

    async def answer(self, typed: Typed, signed_ms: int) -> tuple[Blocks, str]:
        """The answer to a slash command that Slack signed at `signed_ms`, blocks and text, while Slack waits."""
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                name = typed.person.name
                if self._client:
                    barred, real_name = await look_up(self._client, typed.person.user, typed.person.team)
                    if barred:
                        return [], _REFUSED
                    name = printable(real_name)[:80] or name
                return await self._answer(typed, name, signed_ms)
        except TimeoutError:
            if typed.words[:1] == ("kill-switch",) and len(typed.words) > 1:
                did = "resumed" if typed.words[1] == "resume" else "stopped"
                return [], f"Sentinel is busy and cannot tell whether it {did}: look with /sentinel kill-switch"
            return [], "Sentinel is busy and could not answer in time: ask again"
        except SentinelError as error:
            return [], str(error)

    async def publish_home(self, person: Person) -> None:
        """Show the app's own page to one person."""
        if self._client is None:
            return
        try:
            barred, _ = await look_up(self._client, person.user, person.team)
            if barred:
                return
            view = self._views.home(await self._incidents.incidents(limit=_LISTED))
            await self._client.views_publish(user_id=person.user, view=view)
        except SentinelError as error:
            log.warning("home not shown", user=person.user, error=str(error))
        except SLACK_FAILS as error:
            log.warning("home not shown", user=person.user, error=failure(error))

    async def _answer(self, typed: Typed, name: str, signed_ms: int) -> tuple[Blocks, str]:
        match typed.words:
            case ("status",):
                return self._views.status(await self._incidents.incidents(limit=_LISTED)), "status"
            case ("incidents",):
                return self._views.listing(await self._incidents.incidents(limit=_LISTED)), "incidents"
            case ("show", incident_id):
                incident = await self._incidents.incident(IncidentId(incident_id))
                if incident is None:
                    raise NotFound(f"there is no incident {incident_id}")
                return self._views.summary(incident), incident.title
            case ("approve", plan_id):
                return [], await self._offered(typed, plan_id)
            case ("kill-switch", *rest):
                turned = await self._turned(typed.person, name, tuple(rest), signed_ms)
                return self._views.switch(turned), "kill switch"
            case _:
                return [{"type": "section", "text": {"type": "mrkdwn", "text": self._views.help}}], "help"

    async def _turned(self, person: Person, name: str, rest: tuple[str, ...], signed_ms: int) -> Switch:
        if rest and self._client is None:
            raise Invalid("kill-switch", rest[0], "a bot token, for Slack must say who is a guest: use the API or CLI")
        return await self._switch.answer(rest, principal_of(person, name), signed_ms)

    async def _offered(self, typed: Typed, plan_id: str) -> str:
        """Show a plan in a modal, from which alone it can be approved: nobody says yes to what they have not seen."""
        if self._client is None:
            raise Invalid("approve", plan_id, "a bot token: without one, decide by API or CLI")
        incident, record = await self._find(plan_id)
        if record.state is not PlanState.AWAITING_APPROVAL:
            raise Conflict(f"the plan does not wait for approval: it is {record.state.replace('_', ' ')}")
        if not self._views.whole(record):
            raise Conflict("the plan cannot be shown whole here: read and approve it by API or CLI")
        audience = modal_for(typed.person.user)
        mac = await self._decisions.offer(record.plan.plan_id, audience)
        channel = next((card.channel for card in reversed(incident.cards) if card.ts), typed.channel)
        about = About(plan=record.plan.plan_id, digest=record.plan.digest, mac=mac, audience=audience, channel=channel)
        view = self._views.plan_modal(incident, record, metadata_of(about))
        try:
            await self._client.views_open(trigger_id=typed.trigger, view=view)
        except SLACK_FAILS as error:
            return f"Slack could not show the plan ({failure(error)}): ask again"
        return f"{record.plan.plan_id} is shown to you"

    async def _find(self, plan_id: str) -> tuple[Incident, PlanRecord]:
        incident = await self._incidents.incident(incident_of_plan(plan_id))
        record = incident.plan(plan_id) if incident else None
        if incident is None or record is None:
            raise NotFound(f"there is no plan {plan_id}")
        return incident, record
