"""`/sentinel kill-switch`: the same switch as `PUT /api/v1/kill-switch`, for people in Slack. Nothing is kept here."""

import asyncio
from dataclasses import dataclass

import structlog

from actors.api import Journal
from sentinel.clock import Clock
from sentinel.errors import Conflict, Forbidden, Invalid, SentinelError
from sentinel.incidents.nouns import Principal
from sentinel.ports import Directory
from sentinel.remediation.approval_policy import GROUP, ApprovalPolicy, Members, may_resume, may_stop
from sentinel.remediation.switch import Switch

_GROUPS_WITHIN_S = 1.0
_LONGEST_REASON = 1000
_SIGNED_WITHIN_MS = 1000  # Slack's signature tells whole seconds
_OTHER_WAYS = "resume with `sentinel kill-switch --resume` or PUT /api/v1/kill-switch and a key of scope admin"
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackSwitch:
    """Shows and turns the kill switch for people whom Slack calls full members; the caller sees to that.

    admins: who may resume, `slack:TEAM/USER` or `group:ID`; nobody unless named.
    """

    journal: Journal
    policy: ApprovalPolicy
    directory: Directory | None
    clock: Clock
    admins: frozenset[str] = frozenset()

    async def answer(self, words: tuple[str, ...], principal: Principal, signed_ms: int) -> Switch:
        """What then holds. No words show it; `stop REASON` stops, `resume REASON` resumes.

        signed_ms: when Slack signed the request. Raises Invalid, Forbidden, Conflict, or as the journal does.
        """
        match words:
            case ():
                return await self.journal.kill_switch()
            case ("stop", *said):
                if why := may_stop(principal, self.policy, await self._members(self.policy.groups)):
                    raise Forbidden(f"not stopped: {why}")
                reason = " ".join(said)[:_LONGEST_REASON]
                return await self.journal.turn_kill_switch(True, principal, reason, self.clock.now_ms())
            case ("resume", *said):
                return await self._resumed(" ".join(said)[:_LONGEST_REASON], principal, signed_ms)
            case _:
                raise Invalid("kill-switch", words[0], "nothing, stop REASON, or resume REASON")

    async def _resumed(self, reason: str, principal: Principal, signed_ms: int) -> Switch:
        groups = frozenset(each.removeprefix(GROUP) for each in self.admins if each.startswith(GROUP))
        if why := may_resume(principal, self.admins, await self._members(groups)):
            raise Forbidden(f"not resumed: {why}; {_OTHER_WAYS}")
        standing = await self.journal.kill_switch()
        if not standing.stopped:
            raise Conflict("not resumed: the kill switch is off")
        # The same bytes sent again within the five minutes that a signature is good for must not lift a later stop.
        if standing.at_ms >= signed_ms + _SIGNED_WITHIN_MS:
            raise Conflict("not resumed: it was stopped after you typed that; look with /sentinel kill-switch")
        return await self.journal.turn_kill_switch(False, principal, reason, self.clock.now_ms())

    async def _members(self, named: frozenset[str]) -> Members:
        """Of each of these groups that can be read in time: one that cannot lets nobody in."""
        if self.directory is None:
            return {}
        groups = sorted(named)
        try:
            async with asyncio.timeout(_GROUPS_WITHIN_S):
                found = await asyncio.gather(*map(self.directory.members, groups), return_exceptions=True)
        except TimeoutError:
            log.warning("user groups not read in time", groups=groups)
            return {}
        members: dict[str, frozenset[str]] = {}
        for group, each in zip(groups, found, strict=True):
            if isinstance(each, SentinelError):
                log.warning("user group not read", group=group, error=str(each))
            elif isinstance(each, BaseException):
                raise each
            else:
                members[group] = each
        return members
