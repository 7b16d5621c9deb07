"""`/sentinel kill-switch`: the same switch as `PUT /api/v1/kill-switch`, for who may approve. Nothing is kept here."""

import asyncio
from dataclasses import dataclass

import structlog

from actors.api import Journal
from sentinel.clock import Clock
from sentinel.errors import Forbidden, Invalid, SentinelError
from sentinel.incidents.nouns import Principal
from sentinel.ports import Directory
from sentinel.remediation.approval_policy import ApprovalPolicy, Members, may_stop
from sentinel.remediation.switch import Switch

_GROUPS_WITHIN_S = 1.0
_LONGEST_REASON = 1000
NO_ADMIN_HERE = (
    "not resumed: Slack does not know who is an admin of Sentinel; resume with `sentinel kill-switch --resume` or "
    "PUT /api/v1/kill-switch and a key of scope admin"
)
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackSwitch:
    """Shows and turns the kill switch for people whom Slack calls full members; the caller sees to that."""

    journal: Journal
    policy: ApprovalPolicy
    directory: Directory | None
    clock: Clock

    async def answer(self, words: tuple[str, ...], principal: Principal) -> Switch:
        """What then holds. No words show it; `stop REASON` stops. Raises Invalid, Forbidden, or as the journal does."""
        match words:
            case ():
                return await self.journal.kill_switch()
            case ("stop", *said):
                if why := may_stop(principal, self.policy, await self._members()):
                    raise Forbidden(f"not stopped: {why}")
                reason = " ".join(said)[:_LONGEST_REASON]
                return await self.journal.turn_kill_switch(True, principal, reason, self.clock.now_ms())
            case ("resume", *_):
                raise Forbidden(NO_ADMIN_HERE)
            case _:
                raise Invalid("kill-switch", words[0], "nothing, or stop REASON")

    async def _members(self) -> Members:
        """Of each group that the policy names and that can be read in time: one that cannot lets nobody in."""
        if self.directory is None:
            return {}
        groups = sorted(self.policy.groups)
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
