"""The Cloud port on AWS: several accounts and regions, one attempt per effect, one short session per step."""

import contextlib
import json
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any

import boto3
import structlog
from botocore.config import Config
from botocore.exceptions import ClientError, NoCredentialsError

from sentinel.adapters import aws_ec2, aws_ecs, aws_others
from sentinel.adapters.aws_calls import AwsCall, shown
from sentinel.adapters.aws_errors import classified, classify, usable_endpoint
from sentinel.adapters.aws_trail import bearing, marked, trail_of
from sentinel.adapters.in_memory_cloud import refuse_unless_callable
from sentinel.clock import Clock, SystemClock
from sentinel.errors import Forbidden, Invalid, OutcomeUnknown, SentinelError
from sentinel.ids import StepKey
from sentinel.incidents.nouns import Step
from sentinel.remediation.action import Observed, Place, Window
from sentinel.remediation.actions import action_named
from sentinel.remediation.iam import Policy, look_policy, session_policy
from sentinel.remediation.trail import Trail

__all__ = ["AwsCloud", "Role", "StaticCredentials", "classify"]

_log = structlog.get_logger(__name__)

CONNECT_TIMEOUT_S = 5.0
LONGEST_READ_S = 60.0
LOOK_READ_S = 10.0  # a look costs nothing to repeat, so it waits less than an effect
_SESSION_S = 900  # the least that STS gives
_EXTENSIONS = "sentinel.aws_calls"


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticCredentials:
    """A fixed pair, for doubles. Real AWS is reached through boto3's own chain, whose roles expire by themselves."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """The role to assume in another account, and the external id that its owner asks for."""

    arn: str
    external_id: str = ""


def longest_call_s(call_timeout_s: float) -> float:
    """How long one effectful call can at most be on its way."""
    return CONNECT_TIMEOUT_S + min(LONGEST_READ_S, call_timeout_s)


class AwsCloud:
    """Keeps `ports.Cloud` on AWS. Safe from any thread; clients are made at the first call and kept.

    A step's account and region are those that it names, else `home`. Where `roles` has a role for the account, each
    effect gets a session of its own that may do its one action on its one ARN, and only for as long as we would send.
    Where it has none, our own credentials must be of that account.
    """

    def __init__(
        self,
        region: str,
        endpoint_url: str = "",
        *,
        call_timeout_s: float,
        credentials: StaticCredentials | None = None,
        account: str = "",
        regions: frozenset[str] = frozenset(),
        roles: Mapping[str, Role] | None = None,
        send_within_s: float = 30.0,
        clock: Clock | None = None,
    ) -> None:
        self._home = Place(account=account, region=region)
        self._regions = regions | {region}
        self._endpoint_url = endpoint_url or None
        self._credentials = credentials
        self._roles = dict(roles or {})
        self._good_for_ms = round((send_within_s + longest_call_s(call_timeout_s)) * 1000)
        self._clock = clock or SystemClock()
        # One attempt: with boto3's own retries one reboot whose reply was lost was carried out three times.
        self._effect_config = Config(
            retries={"total_max_attempts": 1},
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=min(LONGEST_READ_S, call_timeout_s),
        )
        self._look_config = Config(
            retries={"total_max_attempts": 3, "mode": "standard"},
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=min(LOOK_READ_S, call_timeout_s),
        )
        self._lock = threading.Lock()
        self._made_session: boto3.session.Session | None = None
        self._own_account = ""
        self._looking: dict[str, tuple[boto3.session.Session, float]] = {}  # by account, with its monotonic end
        self._clients: dict[tuple[str, str, str, int], Any] = {}

    def observe(self, step: Step) -> Observed:
        """The target of `step` as it is now; the catalog says which values an action reads."""
        call, place = self._asked(step)
        doing = f"look at {step.target}"
        with classified(doing, effect=False):
            return call.look(self._look_client(call.service, place, doing), step)

    def send(self, step: Step, key: StepKey) -> str:
        """Make the one effectful call of `step`'s action, and answer what AWS said, in a line."""
        call, place = self._asked(step)
        doing = f"{step.action} on {step.target}"
        # Two phases, so that a failure to build a client or to get credentials is never taken for a sent call.
        with classified(doing, effect=False):
            client = self._effect_client(call, step, key, place, doing)
        with classified(doing, effect=True), bearing(key):
            answer = call.answer(getattr(client, call.method)(**call.request(step, key)))
        if not answer:
            raise OutcomeUnknown(f"{doing}: sent, but the answer is incomplete")
        _log.info("aws_call", step_key=key, action=step.action, target=step.target, answer=answer)
        return answer

    def rehearse(self, step: Step) -> str:
        """What `send` would send. EC2 is asked by DryRun whether it would do it; the others cannot be asked."""
        call, place = self._asked(step)
        doing = f"rehearse {step.action} on {step.target}"
        text = shown(call, step, StepKey("rehearsal"))
        with classified(doing, effect=False):
            client = self._look_client(call.service, place, doing)
            if not call.can_rehearse:
                return text
            try:
                getattr(client, call.method)(**call.request(step, StepKey("rehearsal")), DryRun=True)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") != "DryRunOperation":
                    raise
        return f"{text}; AWS says that it would"

    def trail(self, step: Step, key: StepKey, made: Window) -> Trail:
        """What CloudTrail has of this step's calls."""
        call, place = self._asked(step)
        doing = f"ask CloudTrail for {step.action} on {step.target}"
        with classified(doing, effect=False):
            operation = self._look_client(call.service, place, doing).meta.method_to_api_mapping[call.method]
            return trail_of(self._look_client("cloudtrail", place, doing), operation, key, made)

    def whoami(self) -> str:
        """The account these credentials belong to. Raises as `observe` does."""
        doing = "ask AWS who we are"
        with classified(doing, effect=False):
            session = self._session()
            with usable_endpoint(doing), self._lock:
                sts = session.client("sts", endpoint_url=self._endpoint_url, config=self._look_config)
            self._own_account = str(sts.get_caller_identity()["Account"])
        return self._own_account

    def get_ready(self, actions: Iterable[str]) -> None:
        """Make what these actions call AWS with ahead of the first call, which would else wait for seconds.

        Asks AWS nothing. What cannot be made is left to the first call, which says why.
        """
        for service in sorted({CALLS[action].service for action in actions if action in CALLS}):
            for use in ("look", "effect"):
                with contextlib.suppress(SentinelError):
                    self._client(self._session(), use, service, self._home.region, "get ready")

    def _asked(self, step: Step) -> tuple[AwsCall, Place]:
        refuse_unless_callable(step)
        call = CALLS.get(step.action)
        if call is None:
            raise Invalid("step.action", step.action, "an action that the AWS adapter can carry out")
        named = action_named(step.action).place_of(step.params)
        place = Place(account=named.account or self._home.account, region=named.region or self._home.region)
        if place.region not in self._regions:
            listed = ", ".join(sorted(self._regions))
            raise Forbidden(f"{step.target} is not in {listed}: executor.aws_region and aws_regions allow no other")
        return call, place

    def _session(self) -> boto3.session.Session:
        with self._lock:
            if self._made_session is None:
                self._made_session = self._session_of(self._credentials)
            return self._made_session

    def _session_of(self, pair: StaticCredentials | None) -> boto3.session.Session:
        return boto3.session.Session(
            region_name=self._home.region,
            aws_access_key_id=pair.access_key_id if pair else None,
            aws_secret_access_key=pair.secret_access_key if pair else None,
            aws_session_token=pair.session_token if pair else None,
        )

    def _look_client(self, service: str, place: Place, doing: str) -> Any:
        if place.account not in self._roles:
            self._require_own(place, doing)
            return self._client(self._session(), "look", service, place.region, doing)
        session, ends_at = self._looking.get(place.account, (None, 0.0))
        if session is None or self._clock.monotonic() >= ends_at:
            session = self._assumed(place.account, "sentinel-look", look_policy(), doing)
            self._looking[place.account] = (session, self._clock.monotonic() + _SESSION_S / 2)
        return self._client(session, "look", service, place.region, doing)

    def _effect_client(self, call: AwsCall, step: Step, key: StepKey, place: Place, doing: str) -> Any:
        if place.account in self._roles:
            policy = session_policy(step, self._home, self._clock.now_ms() + self._good_for_ms)
            maker: Any = self._assumed(place.account, key, policy, doing).client
            with usable_endpoint(doing):
                return marked(
                    maker(
                        call.service,
                        region_name=place.region,
                        endpoint_url=self._endpoint_url,
                        config=self._effect_config,
                    )
                )
        self._require_own(place, doing)
        client = self._client(self._session(), "effect", call.service, place.region, doing)
        found = self._session().get_credentials()
        if found is None:
            raise NoCredentialsError
        found.get_frozen_credentials()
        return client

    def _client(self, session: boto3.session.Session, use: str, service: str, region: str, doing: str) -> Any:
        config = self._effect_config if use == "effect" else self._look_config
        kept = (use, service, region, id(session))
        with self._lock:  # clients are thread-safe, making one from a session is not
            if kept not in self._clients:
                with usable_endpoint(doing):
                    maker: Any = session.client
                    self._clients[kept] = marked(
                        maker(service, region_name=region, endpoint_url=self._endpoint_url, config=config)
                    )
            return self._clients[kept]

    def _require_own(self, place: Place, doing: str) -> None:
        """Our own credentials are of the account that the step names, asked once. Raises Forbidden if not."""
        if place.account and place.account != (self._own_account or self.whoami()):
            raise Forbidden(
                f"{doing}: our credentials are of account {self._own_account}, and executor.aws_accounts names no role "
                f"in {place.account}"
            )

    def _assumed(self, account: str, name: str, policy: Policy, doing: str) -> boto3.session.Session:
        """A session of the account's role, narrowed by `policy`. Its name shows in CloudTrail."""
        role = self._roles[account]
        if f":{account}:" not in role.arn:
            raise Forbidden(f"{doing}: the role {role.arn} is not of account {account}")
        base = self._session()
        with usable_endpoint(doing), self._lock:
            sts = base.client("sts", endpoint_url=self._endpoint_url, config=self._look_config)
        asked: dict[str, Any] = {
            "RoleArn": role.arn,
            # At most 64 characters; the end of a step key tells steps apart.
            "RoleSessionName": re.sub(r"[^\w+=,.@-]", "-", name)[-64:],
            "Policy": json.dumps(policy),
            "DurationSeconds": _SESSION_S,
        }
        if role.external_id:
            asked["ExternalId"] = role.external_id
        given = sts.assume_role(**asked)["Credentials"]
        return self._session_of(
            StaticCredentials(
                access_key_id=given["AccessKeyId"],
                secret_access_key=given["SecretAccessKey"],
                session_token=given["SessionToken"],
            )
        )


def _with_extensions(ours: Mapping[str, AwsCall]) -> Mapping[str, AwsCall]:
    calls = dict(ours)
    for entry in entry_points(group=_EXTENSIONS):
        call = entry.load()
        if not isinstance(call, AwsCall) or entry.name in calls:
            raise Invalid(
                f"entry point {entry.name} in {_EXTENSIONS}", entry.value, "an AwsCall of a name that is free"
            )
        calls[entry.name] = call
    return calls


CALLS: Mapping[str, AwsCall] = _with_extensions({**aws_ec2.CALLS, **aws_ecs.CALLS, **aws_others.CALLS})
