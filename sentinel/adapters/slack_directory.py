"""`ports.Directory` on Slack's user groups: read live, kept for a minute at most, and shut while Slack is away."""

from typing import Any

from sentinel.adapters.slack import answered, web_client
from sentinel.clock import Clock
from sentinel.errors import Unavailable

KEPT_S = 60.0


class SlackDirectory:
    """Members of user groups (`usergroups.users.list`, scope usergroups:read), as principals of one workspace."""

    def __init__(self, *, token: str, api_url: str, clock: Clock, team_id: str = "", timeout_s: float = 5) -> None:
        self._web = web_client(token, api_url, timeout_s)
        self._clock = clock
        self._team_id = team_id
        self._known: dict[str, tuple[float, frozenset[str]]] = {}

    async def members(self, group: str) -> frozenset[str]:
        """The members as they were at most a minute ago.

        Raises Unavailable, Overloaded or Forbidden: then nobody is taken for a member.
        """
        kept = self._known.get(group)
        now = self._clock.monotonic()
        if kept and now - kept[0] < KEPT_S:
            return kept[1]
        self._known.pop(group, None)
        if not self._team_id:
            self._team_id = str((await answered(self._web.auth_test()))["team_id"])
        answer: Any = await answered(self._web.usergroups_users_list(usergroup=group, include_disabled=False))
        users = answer.get("users")
        if not isinstance(users, list):
            raise Unavailable("Slack gave an answer that cannot be read (no list of users)")
        found = frozenset(f"slack:{self._team_id}/{user}" for user in users)
        self._known[group] = (now, found)
        return found
