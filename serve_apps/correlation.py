"""What people say to correlation: not the same, the same, quiet please; and what it knows of calls and of the past."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StrictBool

from actors.api import Correlation, Journal, Silences
from sentinel.clock import Clock, iso
from sentinel.correlation import silences
from sentinel.correlation.silences import Matcher, Silence
from sentinel.correlation.topology import Source
from sentinel.errors import Invalid
from sentinel.incidents.nouns import Principal
from sentinel.settings import Settings
from serve_apps.api import BoundedRoute, caller
from serve_apps.errors import documented
from serve_apps.schemas import Answer

_Reason = Annotated[str, Field(max_length=1000)]
_IncidentId = Annotated[str, Field(min_length=1, max_length=100)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NotDuplicate(_Body):
    """Which alerts are another fault; none named means those that were folded in last."""

    fingerprints: Annotated[tuple[str, ...], Field(max_length=1000)] = ()
    reason: _Reason = ""


class SameAs(_Body):
    """The incident that this one is the same as, which goes on."""

    of: _IncidentId
    reason: _Reason = ""


class MatcherBody(_Body):
    """What an alert must (`equal`), or must not, have; `*` in the value stands for anything."""

    name: Annotated[str, Field(max_length=200)]
    value: Annotated[str, Field(max_length=200)]
    equal: StrictBool = True


class SilenceBody(_Body):
    """A silence as people ask for it. `starts_at` is now unless it is given; there is none without an end."""

    matchers: Annotated[tuple[MatcherBody, ...], Field(min_length=1, max_length=20)]
    starts_at: AwareDatetime | None = None
    ends_at: AwareDatetime
    comment: Annotated[str, Field(max_length=1000)]

    def silence(self, author: str, now_ms: int) -> Silence:
        """The same as correlation knows it. Raises Invalid."""
        matchers = [Matcher(name=each.name, value=each.value, equal=each.equal) for each in self.matchers]
        starts_at_ms = now_ms if self.starts_at is None else _ms("starts_at", self.starts_at)
        return silences.silence(matchers, starts_at_ms, _ms("ends_at", self.ends_at), author, self.comment, now_ms)


class SilenceView(BaseModel):
    """A silence, whether it holds now, and how many incidents it has kept from people."""

    silence: Silence
    starts_at: str
    ends_at: str
    active: bool
    suppressed: int


class AddedSilence(SilenceView):
    """A new silence. It takes hold of incidents that open while it holds.

    `still_told`: those that it matches and that are open already, so that people go on being told of them.
    """

    still_told: list[str]


class SilenceList(BaseModel):
    """Silences that hold, will hold and are over, the newest first."""

    silences: list[SilenceView]


class Muted(BaseModel):
    """An open incident that a silence matches: its open alerts that match, and whether that is all of it.

    `still_told`: people go on being told of it, since a silence takes hold only of incidents that open while it holds.
    """

    incident_id: str
    title: str
    alerts: list[str]
    whole: bool
    still_told: bool


class Preview(BaseModel):
    """What is open and matches: of its like a silence would keep quiet what opens while it holds."""

    muted: list[Muted]


class EdgeView(BaseModel):
    """A call, and how it is known."""

    caller: str
    callee: str
    source: Source


class TopologyView(BaseModel):
    """The call graph. `never_seen`: services of the settings that no telemetry speaks of; a name may be misspelt."""

    edges: list[EdgeView]
    never_seen: list[str]


def correlation_router(
    settings: Settings, journal: Journal, correlation: Correlation, silenced: Silences, clock: Clock
) -> APIRouter:
    """Routes of corrections, silences, topology and memory."""
    router = APIRouter(route_class=BoundedRoute)
    refusals = documented(401, 403, 503)
    decisions = documented(400, 401, 403, 404, 409, 413, 503)
    reader = Depends(caller(settings, "read", clock))
    Operator = Annotated[Principal, Depends(caller(settings, "operate", clock))]

    @router.post("/api/v1/incidents/{incident_id}/not-duplicate", tags=["incidents"], responses=decisions)
    async def not_duplicate(incident_id: str, body: NotDuplicate, principal: Operator) -> Answer:
        """Split alerts off that are not the same fault, or undo that this incident is the return of another."""
        return Answer(answer=await correlation.not_duplicate(incident_id, body.fingerprints, principal, body.reason))

    @router.post("/api/v1/incidents/{incident_id}/same-as", tags=["incidents"], responses=decisions)
    async def same_as(incident_id: str, body: SameAs, principal: Operator) -> Answer:
        """Count this incident in another one; of one that is over it becomes the return."""
        return Answer(answer=await correlation.same_as(incident_id, body.of, principal, body.reason))

    @router.get("/api/v1/topology", dependencies=[reader], tags=["correlation"], responses=refusals)
    async def topology() -> TopologyView:
        """Who calls whom, and how each call is known."""
        edges, never_seen = await correlation.call_graph()
        views = [EdgeView(caller=each.caller, callee=each.callee, source=each.source) for each in edges]
        return TopologyView(edges=views, never_seen=list(never_seen))

    @router.post("/api/v1/memory/rebuild", tags=["correlation"], responses=documented(401, 403, 503))
    async def rebuild(_principal: Operator) -> Answer:
        """Forget all that is remembered of incidents, and fill the memory from the journal."""
        count = await correlation.rebuild_memory()
        return Answer(answer=f"{count} incidents are remembered, as the journal tells them")

    @router.get("/api/v1/silences", dependencies=[reader], tags=["silences"], responses=refusals)
    async def list_silences() -> SilenceList:
        """Every silence with what it has kept from people."""
        return await _listing(await silenced.silences())

    @router.post("/api/v1/silences", tags=["silences"], responses=documented(400, 401, 403, 413, 503))
    async def add_silence(body: SilenceBody, principal: Operator) -> AddedSilence:
        """Keep matching alerts from people until the end; incidents are still opened, and counted.

        It takes hold of incidents that open while it holds, not of those that are open already.
        """
        made = await silenced.add_silence(body.silence(principal.name, clock.now_ms()))
        view = (await _listing([made])).silences[0]
        still_told = [each.incident_id for each in await _muted(made) if each.still_told]
        return AddedSilence(**dict(view), still_told=still_told)

    @router.post("/api/v1/silences/preview", tags=["silences"], responses=documented(400, 401, 403, 413, 503))
    async def preview_silence(body: SilenceBody, principal: Operator) -> Preview:
        """What the silence matches of what is open now; nothing is kept.

        It would take hold of the like that open while it holds; people go on being told of what is open already.
        """
        return Preview(muted=await _muted(body.silence(principal.name, clock.now_ms())))

    @router.post(
        "/api/v1/silences/{silence_id}/end", tags=["silences"], responses=documented(400, 401, 403, 404, 409, 503)
    )
    async def end_silence(
        silence_id: Annotated[str, Path(pattern=r"^sil-[0-9a-f]{12}$")], principal: Operator
    ) -> SilenceView:
        """End a silence before its time."""
        after = await silenced.end_silence(silence_id, clock.now_ms(), principal.name)
        return (await _listing([after])).silences[0]

    async def _muted(meant: Silence) -> list[Muted]:
        unresolved = {each.id: each for each in await journal.unresolved()}
        found = silences.preview(meant, unresolved.values())
        muted = []
        for incident_id, alerts in found.items():
            incident = unresolved[incident_id]
            whole = silences.covers(meant, incident.alerts)
            told = [f"{alert.service} {alert.metric} {alert.direction}" for alert in alerts]
            muted.append(
                Muted(
                    incident_id=incident_id,
                    title=incident.title,
                    alerts=told,
                    whole=whole,
                    still_told=not incident.silenced,
                )
            )
        return muted

    async def _listing(found: Sequence[Silence]) -> SilenceList:
        counts, now_ms = await silenced.silenced_counts(), clock.now_ms()
        return SilenceList(
            silences=[
                SilenceView(
                    silence=each,
                    starts_at=iso(each.starts_at_ms),
                    ends_at=iso(each.ends_at_ms),
                    active=each.active(now_ms),
                    suppressed=counts.get(each.id, 0),
                )
                for each in found
            ]
        )

    return router


def _ms(field: str, at: datetime) -> int:
    try:
        return round(at.astimezone(UTC).timestamp() * 1000)
    except (OverflowError, ValueError):
        raise Invalid(field, at.isoformat(), "a time that this machine can tell") from None
