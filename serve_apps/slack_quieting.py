"""Not the same, and Silence, from a card in Slack: by the same parts, and kept in the same places, as by API."""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sentinel.clock import iso
from sentinel.correlation import apart, silences
from sentinel.correlation.silences import Silence
from sentinel.errors import Conflict, Invalid, NotFound, OutcomeUnknown
from sentinel.ids import IncidentId
from sentinel.incidents.nouns import Incident, Principal
from sentinel.remediation.approval import Provenance

_LONGEST_MIN = 7 * 24 * 60


class Proving(Protocol):
    """The approval actor: it alone has the key of the buttons."""

    def prove(self, incident_id: str, principal: Principal, came: Provenance) -> Awaitable[None]: ...


class Correcting(Protocol):
    """The correlation actor."""

    def not_duplicate(
        self, incident_id: str, fingerprints: Sequence[str], principal: Principal, reason: str
    ) -> Awaitable[str]: ...


class Known(Protocol):
    """The journal."""

    def incident(self, incident_id: IncidentId) -> Awaitable[Incident | None]: ...


class Keeping(Protocol):
    """The journal's side that keeps silences."""

    def add_silence(self, silence: Silence) -> Awaitable[Silence]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackQuieting:
    """For people whom Slack calls full members; the caller sees to that. Each answers in a line for people."""

    approval: Proving
    correlation: Correcting
    incidents: Known
    silenced: Keeping

    async def not_same(self, incident_id: str, choice: str, reason: str, principal: Principal, came: Provenance) -> str:
        """Take what was chosen (see `sentinel.correlation.apart`) out of the incident.

        Raises Forbidden for a button that is not ours, Conflict where that cannot leave any more, or as correlation.
        """
        await self.approval.prove(incident_id, principal, came)
        if choice not in apart.choices(await self._incident(incident_id)):
            raise Conflict(f"incident {incident_id} changed since it was shown: look at the card again")
        try:
            return await self.correlation.not_duplicate(incident_id, apart.fingerprints(choice), principal, reason)
        except OutcomeUnknown as error:
            # Said again, "what was folded in last" would be another thing.
            return f"nobody knows whether it counted, look at the card: {error}"

    async def silence(
        self, incident_id: str, minutes: str, comment: str, principal: Principal, came: Provenance, now_ms: int
    ) -> str:
        """Keep alerts of the incident's services from people, from `now_ms` on; the same call again adds nothing.

        Raises Forbidden for a button that is not ours, Invalid for a time or a comment that is none, Conflict where
        the incident is over.
        """
        await self.approval.prove(incident_id, principal, came)
        if not (minutes.isascii() and minutes.isdigit() and len(minutes) < 6 and 1 <= int(minutes) <= _LONGEST_MIN):
            raise Invalid("for", minutes, f"1 to {_LONGEST_MIN} minutes")
        incident = await self._incident(incident_id)
        author = f"{principal.name} ({principal.id})"
        made = silences.of_services(incident, now_ms + int(minutes) * 60_000, author, comment, now_ms)
        for each in made:
            await self.silenced.add_silence(each)
        services = ", ".join(silences.services_of(incident))
        held = ", ".join(each.id for each in made)
        said = f"silenced by {principal.name}: alerts of {services} until {iso(made[0].ends_at_ms)[:16]}Z"
        return f"{said}: {comment} ({held}; `sentinel silence end` ends it)"

    async def _incident(self, incident_id: str) -> Incident:
        incident = await self.incidents.incident(IncidentId(incident_id))
        if incident is None:
            raise NotFound(f"there is no incident {incident_id}")
        return incident
