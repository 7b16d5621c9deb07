"""The Cloud port on AWS: one attempt per effect, and every failure classified once.

Whether a failed call may have had an effect is decided here and nowhere else. Error codes are those of the EC2
API reference ("Error codes for the Amazon EC2 API") and of the ECS service model that botocore carries.
"""

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import boto3
import structlog
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    LoginError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    ProxyConnectionError,
    SSOError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError

from sentinel.adapters.in_memory import refuse_unless_callable
from sentinel.errors import Forbidden, Invalid, OutcomeUnknown, SentinelError, Unavailable
from sentinel.ids import StepKey
from sentinel.incidents.nouns import Step
from sentinel.ports import Observed

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ec2.type_defs import InstanceStateChangeTypeDef
    from mypy_boto3_ecs.client import ECSClient

_log = structlog.get_logger(__name__)

CONNECT_TIMEOUT_S = 5.0
LONGEST_READ_S = 60.0
LOOK_READ_S = 10.0  # a look costs nothing to repeat, so it waits less than an effect

_THROTTLED = re.compile(
    r"Throttl|RequestLimitExceeded|TooManyRequests|BandwidthLimitExceeded|SlowDown|PriorRequestNotComplete"
    r"|Insufficient\w*Capacity"
)
_CREDENTIALS = re.compile(
    r"Signature|AuthFailure|AccessKeyId|AuthenticationToken|ClientTokenId|UnrecognizedClient|InvalidToken"
    r"|ExpiredToken|RequestExpired|OptInRequired"
)
_REFUSED = re.compile(r"AccessDenied|Unauthorized|NotFound|OperationNotPermitted|Blocked|PendingVerification")
_NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    LoginError,
    TokenRetrievalError,
)
_NOT_CONNECTED = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError)
_BOTO_ERRORS = (BotoCoreError, ClientError, ResponseParserError)

_CREDENTIALS_HINT = "check the AWS credentials of this process (role, profile or environment) and its clock"
_CONNECT_HINT = "check the network, executor.aws_region and executor.aws_endpoint_url"


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticCredentials:
    """A fixed pair, for doubles. Real AWS is reached through boto3's own chain, whose roles expire by themselves."""

    access_key_id: str
    secret_access_key: str = field(repr=False)


def classify(error: Exception, doing: str, *, effect: bool) -> SentinelError:
    """What a failure of boto3 means to the caller; `effect` says that a request with an effect may have gone out.

    Forbidden or Invalid: refused, for good. Unavailable: no effect, may be repeated. OutcomeUnknown: only with
    `effect`, where neither AWS's refusal nor a failure to connect proves that nothing happened.
    """
    if isinstance(error, ClientError):
        return _classify_answer(error, doing, effect=effect)
    if isinstance(error, _NO_CREDENTIALS):
        return Forbidden(f"{doing}: no usable AWS credentials ({type(error).__name__}); {_CREDENTIALS_HINT}")
    if isinstance(error, _NOT_CONNECTED):
        return Unavailable(f"{doing}: cannot connect to AWS ({type(error).__name__}); {_CONNECT_HINT}")
    if isinstance(error, ParamValidationError):
        return Invalid(doing, _one_line(str(error)), "parameters of the form that the AWS API declares")
    # Everything left is a connection that broke, a reply that never came or one that could not be read.
    # boto3's own text is not shown: for connection errors it holds the endpoint's URL, user part and all.
    if effect:
        return OutcomeUnknown(f"{doing}: sent, but no readable answer came ({type(error).__name__})")
    return Unavailable(f"{doing}: no readable answer from AWS ({type(error).__name__}); {_CONNECT_HINT}")


def _classify_answer(error: ClientError, doing: str, *, effect: bool) -> SentinelError:
    code = error.response.get("Error", {}).get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    said = f"{code}: {_one_line(error.response.get('Error', {}).get('Message', ''))}"
    if status == 429 or _THROTTLED.search(code):
        return Unavailable(f"{doing}: AWS asks to wait ({code})")
    if _CREDENTIALS.search(code):
        # Not AWS's message: for a wrong signature it repeats signed headers, the session token among them.
        return Forbidden(f"{doing}: AWS does not accept the credentials ({code}); {_CREDENTIALS_HINT}")
    if _REFUSED.search(code):
        return Forbidden(f"{doing}: {said}")
    if 400 <= status < 500 and status != 408 and code != "RequestTimeout":
        return Invalid(doing, said, "a call that AWS accepts")
    if effect:
        return OutcomeUnknown(f"{doing}: AWS failed with {status} ({code}), and may have acted")
    return Unavailable(f"{doing}: AWS failed with {status} ({code})")


def _one_line(text: str) -> str:
    """AWS's words as one short line, without access key ids."""
    line = re.sub(r"\b(AKIA|ASIA)[A-Z0-9]{8,}", r"\1…", " ".join(text.split()))
    return line if len(line) <= 240 else line[:239] + "…"


@contextmanager
def _classified(doing: str, *, effect: bool) -> Iterator[None]:
    try:
        yield
    except _BOTO_ERRORS as error:
        raise classify(error, doing, effect=effect) from None


@dataclass(frozen=True, slots=True)
class _Clients:
    ecs: "ECSClient"
    ec2: "EC2Client"


class AwsCloud:
    """Keeps `ports.Cloud` on AWS. Safe from any thread; clients are made at the first call and kept."""

    def __init__(
        self,
        region: str,
        endpoint_url: str = "",
        *,
        call_timeout_s: float,
        credentials: StaticCredentials | None = None,
    ) -> None:
        self._region = region
        self._endpoint_url = endpoint_url or None
        self._credentials = credentials
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
        self._made_clients: dict[str, _Clients] = {}

    def observe(self, step: Step) -> Observed:
        """The target of `step` as it is now: of a service status, desired, running, pending, deployment_id; of an
        instance state, launch_time_ms."""
        refuse_unless_callable(step, self._region)
        doing = f"look at {step.target}"
        with _classified(doing, effect=False):
            clients = self._clients("look", self._look_config, doing)
            if step.action.startswith("ecs."):
                return _observed_service(clients.ecs, step)
            return _observed_instance(clients.ec2, step)

    def send(self, step: Step, key: StepKey) -> str:
        """Make the one effectful call of `step`'s action, and answer what AWS said, in a line.

        None of these calls takes an idempotency token; `key` ties our log to the request id in CloudTrail.
        """
        refuse_unless_callable(step, self._region)
        doing = f"{step.action} on {step.target}"
        # Two phases, so that a failure to build a client or to refresh credentials is never taken for a sent call.
        with _classified(doing, effect=False):
            clients = self._clients("effect", self._effect_config, doing)
            self._refresh_credentials()
        with _classified(doing, effect=True):
            answer = _call(clients, step, doing)
        _log.info("aws_call", step_key=key, action=step.action, target=step.target, answer=answer)
        return answer

    def whoami(self) -> str:
        """The account these credentials belong to. Raises as `observe` does."""
        doing = "ask AWS who we are"
        with _classified(doing, effect=False):
            session = self._session()
            with _usable_endpoint(doing), self._lock:
                sts = session.client("sts", endpoint_url=self._endpoint_url, config=self._look_config)
            return str(sts.get_caller_identity()["Account"])

    def _session(self) -> boto3.session.Session:
        with self._lock:
            if self._made_session is None:
                pair = self._credentials
                self._made_session = boto3.session.Session(
                    region_name=self._region,
                    aws_access_key_id=pair.access_key_id if pair else None,
                    aws_secret_access_key=pair.secret_access_key if pair else None,
                )
            return self._made_session

    def _clients(self, use: str, config: Config, doing: str) -> _Clients:
        session = self._session()
        with self._lock:  # clients are thread-safe, making one from a session is not
            if use not in self._made_clients:
                with _usable_endpoint(doing):
                    self._made_clients[use] = _Clients(
                        session.client("ecs", endpoint_url=self._endpoint_url, config=config),
                        session.client("ec2", endpoint_url=self._endpoint_url, config=config),
                    )
            return self._made_clients[use]

    def _refresh_credentials(self) -> None:
        found = self._session().get_credentials()
        if found is None:
            raise NoCredentialsError
        found.get_frozen_credentials()


@contextmanager
def _usable_endpoint(doing: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:  # boto3's word for a malformed endpoint URL or region; the text may hold a password
        raise Unavailable(f"{doing}: no AWS endpoint can be made ({type(error).__name__}); {_CONNECT_HINT}") from None


def _call(clients: _Clients, step: Step, doing: str) -> str:
    params = step.params
    match step.action:
        case "ecs.scale_service":
            reply = clients.ecs.update_service(
                cluster=str(params["cluster"]),
                service=str(params["service"]),
                desiredCount=int(params["desired_count"]),
            )
        case "ecs.force_new_deployment":
            reply = clients.ecs.update_service(
                cluster=str(params["cluster"]), service=str(params["service"]), forceNewDeployment=True
            )
        case "ec2.reboot_instance":
            clients.ec2.reboot_instances(InstanceIds=[str(params["instance_id"])])
            return "reboot accepted"
        case "ec2.stop_instance":
            stopped = clients.ec2.stop_instances(InstanceIds=[str(params["instance_id"])])
            return _state_change(stopped.get("StoppingInstances", []), doing)
        case "ec2.start_instance":
            started = clients.ec2.start_instances(InstanceIds=[str(params["instance_id"])])
            return _state_change(started.get("StartingInstances", []), doing)
        case _:
            raise Invalid("step.action", step.action, "an action that the AWS adapter can carry out")
    if "service" not in reply:  # botocore reads a JSON reply that was cut short as one without members
        raise OutcomeUnknown(f"{doing}: sent, but the answer is incomplete")
    service = reply["service"]
    deployments = ", ".join(each["id"] for each in service.get("deployments", []) if each.get("status") == "PRIMARY")
    return f"desired {service.get('desiredCount')}, running {service.get('runningCount')}, deployment {deployments}"


def _state_change(changes: "Sequence[InstanceStateChangeTypeDef]", doing: str) -> str:
    if not changes:
        raise OutcomeUnknown(f"{doing}: sent, but the answer is incomplete")
    before = changes[0].get("PreviousState", {}).get("Name", "unknown")
    return f"{before} -> {changes[0].get('CurrentState', {}).get('Name', 'unknown')}"


def _observed_service(ecs: "ECSClient", step: Step) -> Observed:
    reply = ecs.describe_services(cluster=str(step.params["cluster"]), services=[str(step.params["service"])])
    service = next(iter(reply.get("services", [])), None)
    if service is None:
        why = next((failure.get("reason", "") for failure in reply.get("failures", [])), "")
        if not why:  # a JSON reply that was cut short reads as one without members: it says nothing of the service
            raise Unavailable(f"look at {step.target}: the answer is incomplete")
        raise Forbidden(f"no such ECS service: {step.target} ({why})")
    primary = (each["id"] for each in service.get("deployments", []) if each.get("status") == "PRIMARY")
    return Observed(
        values={
            "status": service["status"],
            "desired": service["desiredCount"],
            "running": service["runningCount"],
            "pending": service["pendingCount"],
            "deployment_id": next(primary, ""),
        }
    )


def _observed_instance(ec2: "EC2Client", step: Step) -> Observed:
    reply = ec2.describe_instances(InstanceIds=[str(step.params["instance_id"])])
    found = (each for reservation in reply.get("Reservations", []) for each in reservation.get("Instances", []))
    instance = next(found, None)
    if instance is None:
        raise Forbidden(f"no such EC2 instance: {step.target}")
    return Observed(
        values={
            "state": instance["State"]["Name"],
            "launch_time_ms": round(instance["LaunchTime"].timestamp() * 1000),
        }
    )
