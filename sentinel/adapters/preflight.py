"""The look before people are asked: where a target is, how it is, and what EC2's own DryRun says."""

import threading
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Protocol

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from sentinel.adapters.aws import StaticCredentials, classify
from sentinel.errors import Forbidden
from sentinel.incidents.nouns import Seen, Step
from sentinel.ports import Cloud
from sentinel.remediation.actions import action_named
from sentinel.remediation.binding import notes_on

_EC2_CALLS = {
    "ec2.reboot_instance": "reboot_instances",
    "ec2.stop_instance": "stop_instances",
    "ec2.start_instance": "start_instances",
}


class Rehearsal(Protocol):
    """Asks whether a call would be taken, without making it."""

    def would(self, step: Step) -> str:
        """A line for people, empty where nobody can tell. Raises as `Preflight.look` does."""
        ...


class CloudPreflight:
    """Keeps `ports.Preflight` on any `ports.Cloud`. `whoami` tells the account that the credentials belong to.

    `hourly_cost` tells by glob of targets what one task costs an hour, in USD. `accounts` are others, which a role
    leads to. Actions whose name begins with a word of `beside_aws` act in a place that has neither account nor region,
    and need no credentials of AWS.
    """

    def __init__(
        self,
        cloud: Cloud,
        *,
        region: str,
        whoami: Callable[[], str] | None = None,
        max_desired: int = 50,
        hourly_cost: Mapping[str, float] | None = None,
        rehearsal: Rehearsal | None = None,
        accounts: frozenset[str] = frozenset(),
        beside_aws: frozenset[str] = frozenset(),
    ) -> None:
        self._cloud = cloud
        self._accounts = accounts
        self._beside_aws = beside_aws
        self._region = region
        self._whoami = whoami
        self._account = ""
        self._max_desired = max_desired
        self._hourly_cost = dict(hourly_cost or {})
        self._rehearsal = rehearsal

    def look(self, step: Step) -> Seen:
        """The target of `step` as it is."""
        observed = self._cloud.observe(step).values
        cost = next((usd for glob, usd in self._hourly_cost.items() if fnmatchcase(step.target, glob)), None)
        notes = notes_on(step, observed, self._max_desired, cost)
        if step.action.partition(".")[0] in self._beside_aws:
            return Seen(target=step.target, account="", region="", observed=observed, notes=tuple(notes))
        if self._whoami and not self._account:
            self._account = self._whoami()
        named = action_named(step.action).place_of(step.params)
        region, account = named.region or self._region, named.account or self._account
        at_home = (region, account) == (self._region, self._account)
        if self._account and account not in (self._account, *self._accounts):
            raise Forbidden(f"{step.target} is in account {account}, these credentials are of {self._account}")
        if at_home and self._rehearsal and (line := self._rehearsal.would(step)):
            notes.append(line)
        return Seen(target=step.target, account=account, region=region, observed=observed, notes=tuple(notes))


class Ec2DryRun:
    """`Rehearsal` on EC2: its DryRun is the one native rehearsal among the actions; ECS has none.

    Blocking; safe from any thread. The client is made at the first call and kept.
    """

    def __init__(self, region: str, endpoint_url: str = "", credentials: StaticCredentials | None = None) -> None:
        self._region, self._endpoint_url, self._credentials = region, endpoint_url or None, credentials
        self._lock = threading.Lock()
        self._client: Any = None

    def would(self, step: Step) -> str:
        """What EC2 says. Raises Forbidden where it would refuse for want of rights."""
        call = _EC2_CALLS.get(step.action)
        if call is None:
            return ""
        doing = f"EC2 DryRun of {step.action} on {step.target}"
        try:
            getattr(self._made_client(), call)(InstanceIds=[str(step.params["instance_id"])], DryRun=True)
        except (ClientError, BotoCoreError) as error:
            code = error.response.get("Error", {}).get("Code", "") if isinstance(error, ClientError) else ""
            if code == "DryRunOperation":
                return f"EC2 DryRun: {step.action} would be taken"
            raise classify(error, doing, effect=False) from None
        return ""  # an endpoint that knows no DryRun: it says nothing

    def _made_client(self) -> Any:
        with self._lock:
            if self._client is None:
                pair = self._credentials
                session = boto3.session.Session(
                    region_name=self._region,
                    aws_access_key_id=pair.access_key_id if pair else None,
                    aws_secret_access_key=pair.secret_access_key if pair else None,
                )
                config = Config(
                    retries={"total_max_attempts": 2, "mode": "standard"}, connect_timeout=3, read_timeout=5
                )
                self._client = session.client("ec2", endpoint_url=self._endpoint_url, config=config)
            return self._client
