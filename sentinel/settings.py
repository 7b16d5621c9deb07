"""One frozen tree of settings. `settings_loader.load` reads it once, from YAML and the environment."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AwareDatetime, Field, SecretStr, field_validator, model_validator

from sentinel.correlation.grouping import MAX_AGE_S
from sentinel.correlation.policy import CorrelationPolicy
from sentinel.correlation.topology import topology_of
from sentinel.errors import Invalid
from sentinel.incidents.nouns import Direction, Severity
from sentinel.remediation.runbooks import Runbook, Use
from sentinel.settings_approval import Approval, check_rules
from sentinel.settings_base import LOOPBACK_HOSTS, Positive, Section, Share
from sentinel.settings_detection import Detection
from sentinel.settings_executor import REGION, AllowRule, AwsAccount, FreezeEntry, KubernetesEntry, known_actions
from sentinel.telemetry.series import DEFAULT_SERVICE_LABELS
from sentinel.telemetry.sns import TOPIC_ARN

# Declared elsewhere, and part of the settings all the same.
__all__ = ["LOOPBACK_HOSTS", "Approval", "Detection", "Positive", "Section", "Share"]


class ApiKey(Section):
    """A bearer token as we keep it: its SHA-256 in hex, what it may do, and until when.

    `name` is the principal that acts with it; two keys of one name are both good while one replaces the other.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    scopes: Annotated[tuple[Literal["ingest", "read", "operate", "approve", "admin"], ...], Field(min_length=1)]
    expires_at: AwareDatetime | None = None

    @property
    def expires_at_ms(self) -> int | None:
        """`expires_at` in Unix milliseconds."""
        return None if self.expires_at is None else round(self.expires_at.timestamp() * 1000)


class Api(Section):
    """The HTTP door."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    keys: tuple[ApiKey, ...] = ()
    max_body_bytes: Annotated[int, Field(gt=0)] = 8 * 1024 * 1024
    max_decompressed_bytes: Annotated[int, Field(gt=0)] = 20 * 1024 * 1024  # the figure of OTLP's specification
    max_samples_per_series: Annotated[int, Field(ge=1)] = 1000  # in one body
    max_new_series_per_minute: Annotated[int, Field(ge=1)] = 50_000
    service_labels: tuple[str, ...] = DEFAULT_SERVICE_LABELS
    public_url: str = ""


class Sns(Section):
    """CloudWatch alarms by Amazon SNS. An empty list of topics refuses them all."""

    topic_arns: tuple[str, ...] = ()
    sqs_queue_url: str = ""
    poll_s: Positive = 1.0

    @field_validator("topic_arns")
    @classmethod
    def _arns(cls, arns: tuple[str, ...]) -> tuple[str, ...]:
        for arn in arns:
            if not TOPIC_ARN.fullmatch(arn):
                raise ValueError(f"{arn!r} is not of the form arn:aws:sns:REGION:ACCOUNT:NAME")
        return arns

    @model_validator(mode="after")
    def _queue_of_topics(self) -> "Sns":
        if self.sqs_queue_url and not self.topic_arns:
            raise ValueError("topic_arns beside sqs_queue_url: a message of a topic that is not listed is refused")
        if self.sqs_queue_url:
            parts = urlsplit(self.sqs_queue_url)
            if parts.scheme != "https" and parts.hostname not in LOOPBACK_HOSTS:
                raise ValueError("an https sqs_queue_url")
        return self


class Store(Section):
    """The journal's database."""

    url: str = Field(default="sqlite:///.sentinel/journal.db", repr=False)  # may hold a password
    # Since they were settled. An event that is told again after that is a new one.
    keep_events_days: Annotated[float, Field(ge=1, le=36_500, allow_inf_nan=False)] = 30
    keep_dead_letters_days: Annotated[float, Field(ge=1, le=36_500, allow_inf_nan=False)] = 90

    @field_validator("url")
    @classmethod
    def _known_database(cls, url: str) -> str:
        if not url.startswith(("sqlite:///", "postgresql+psycopg://")):
            scheme = url.split("://", maxsplit=1)[0]
            raise ValueError(f"sqlite:///PATH or postgresql+psycopg://…, got scheme {scheme!r}")
        return url

    @property
    def file(self) -> Path | None:
        """The file of SQLite; None for a server, which several machines may share."""
        path = self.url.removeprefix("sqlite:///")
        return None if path == self.url else Path(path.partition("?")[0] or ":memory:").absolute()


class Qdrant(Section):
    """The memory of incidents: embedded at `path` unless a host is named."""

    enabled: bool = True
    host: str = ""
    port: Annotated[int, Field(ge=1, le=65535)] = 6333
    api_key: SecretStr | None = None
    https: bool = False
    path: str = ".sentinel/qdrant"
    engine: Literal["client", "edge"] = "client"  # of the embedded one; edge is an extra, the server's own engine
    collection: str = "sentinel_incidents"
    timeout_s: Positive = 5
    text_model: str = ""  # a model of fastembed that makes the text vectors; none: the words are hashed
    text_model_path: str = ""  # a directory with its files, so that nothing is downloaded

    @model_validator(mode="after")
    def _fits_together(self) -> "Qdrant":
        if self.text_model_path and not self.text_model:
            raise ValueError("text_model_path holds the files of a model: name it in qdrant.text_model")
        if self.api_key and self.host and not self.https and self.host not in LOOPBACK_HOSTS:
            raise ValueError("an api_key over plain HTTP can be read on the way: set qdrant.https to true")
        return self


class Slack(Section):
    """Where people are asked. A bot token updates its messages; a webhook URL only posts new ones."""

    enabled: bool | None = None  # unset: on as soon as a token or a webhook is given
    channel: str = "#sentinel"
    bot_token: SecretStr | None = None
    webhook_url: SecretStr | None = None
    signing_secret: SecretStr | None = None
    previous_signing_secret: SecretStr | None = None  # accepted beside the other one while it is rotated
    # Makes the value of each button and seals each verdict; made and kept beside SQLite when unset. With a server as
    # the store it must be set: what one machine seals another must know as its own.
    value_key: Annotated[SecretStr, Field(min_length=32)] | None = None
    api_url: str = "https://slack.com/api/"
    team_id: Annotated[str, Field(pattern=r"^([A-Z0-9]{2,32})?$")] = ""

    @model_validator(mode="after")
    def _complete(self) -> "Slack":
        if not self.active:
            return self
        if not self.signing_secret:
            raise ValueError("a signing_secret beside it: without one, clicks could not be told from forgeries")
        if not (self.bot_token or self.webhook_url):
            raise ValueError("a bot_token or a webhook_url beside enabled: true")
        return self

    @property
    def active(self) -> bool:
        """Whether people are asked in Slack."""
        return bool(self.bot_token or self.webhook_url) if self.enabled is None else self.enabled


class Webhooks(Section):
    """Doors to chat systems."""

    slack: Slack = Slack()


class Executor(Section):
    """What acts on AWS, and on what it may act. An empty allow-list allows nothing."""

    backend: Literal["sandbox", "aws"] = "sandbox"
    dry_run: bool = True
    aws_region: Annotated[str, Field(pattern=REGION)] = "us-east-1"
    aws_endpoint_url: str = ""
    aws_account: Annotated[str, Field(pattern=r"^(\d{12})?$")] = ""
    aws_regions: tuple[Annotated[str, Field(pattern=REGION)], ...] = ()
    aws_accounts: tuple[AwsAccount, ...] = ()
    kubernetes: tuple[KubernetesEntry, ...] = ()
    allow: tuple[AllowRule, ...] = ()
    aws_ec2_instance_whitelist: tuple[Annotated[str, Field(pattern=r"^i-[0-9a-z]+$")], ...] = ()
    aws_ecs_cluster_whitelist: tuple[str, ...] = ()
    call_timeout_s: Annotated[float, Field(gt=0, le=300)] = 300
    request_timeout_s: Annotated[float, Field(gt=0, le=60)] = 20
    poll_s: Positive = 2.0
    cloudtrail_within_s: Annotated[float, Field(ge=0, le=7200)] = 900
    max_scale_step: Annotated[int, Field(ge=1)] = 5
    min_desired_count: Annotated[int, Field(ge=1)] = 1
    max_desired_count: Annotated[int, Field(ge=1)] = 50
    dry_run_actions: tuple[str, ...] = ()
    cooldown_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 300
    max_actions_per_hour: Annotated[int, Field(ge=1)] = 20
    max_actions_per_day: Annotated[int, Field(ge=1)] = 100
    max_group_share: Share = 0.1
    freeze: tuple[FreezeEntry, ...] = ()
    breaker_after: Annotated[int, Field(ge=1)] = 3
    kill_switch_file: str = ""

    @model_validator(mode="after")
    def _sandbox_stays_here(self) -> "Executor":
        if self.backend == "sandbox" and self.aws_endpoint_url:
            host = urlsplit(self.aws_endpoint_url).hostname
            if host not in LOOPBACK_HOSTS:
                raise ValueError(f"a loopback aws_endpoint_url, not one on {host}, as long as backend is sandbox")
        return self

    @field_validator("dry_run_actions")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return known_actions(names)

    @field_validator("aws_ecs_cluster_whitelist")
    @classmethod
    def _arns(cls, arns: tuple[str, ...]) -> tuple[str, ...]:
        for arn in arns:
            if not re.fullmatch(r"arn:aws[a-z-]*:ecs:[a-z0-9-]+:\d{12}:cluster/[A-Za-z0-9_-]+", arn):
                raise ValueError(f"{arn!r} is not of the form arn:aws:ecs:REGION:ACCOUNT:cluster/NAME")
        return arns


class Correlation(Section):
    """How anomalies become incidents."""

    group_wait_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 10
    group_window_s: Positive = 300
    resolve_after_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 60
    dedup_window_s: Positive = 1800
    dedup_similarity: Share = 0.8
    recall_limit: Annotated[int, Field(ge=0, le=50)] = 3
    max_incident_age_s: Positive = MAX_AGE_S
    topology: Mapping[str, tuple[str, ...]] = {}

    @property
    def policy(self) -> CorrelationPolicy:
        """The same as correlation knows it."""
        return CorrelationPolicy(
            group_wait_s=self.group_wait_s,
            group_window_s=self.group_window_s,
            resolve_after_s=self.resolve_after_s,
            dedup_window_s=self.dedup_window_s,
            dedup_similarity=self.dedup_similarity,
            recall_limit=self.recall_limit,
            max_incident_age_s=self.max_incident_age_s,
        )

    @field_validator("topology")
    @classmethod
    def _services(cls, calls: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
        try:
            topology_of(calls)
        except Invalid as error:
            raise ValueError(f"{error.expected} ({error.field}: {error.value!r})") from None
        return calls


class RunbookMatch(Section):
    """When a runbook applies. What is left out matches anything."""

    service: str = "*"
    kind: Literal["latency", "errors", "traffic", "cpu", "memory", "disk", "availability", "other"] | None = None
    direction: Direction | None = None
    severity: Severity = Severity.INFO


class RunbookStep(Section):
    """One action of a runbook with its parameters."""

    action: str
    params: Mapping[str, str | int | float | bool] = {}


class RunbookEntry(Section):
    """A declared remedy as written in YAML."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    match: RunbookMatch = RunbookMatch()
    steps: Annotated[tuple[RunbookStep, ...], Field(min_length=1, max_length=20)]
    verify_within_s: Annotated[int, Field(gt=0)] = 300
    rollback: bool = True

    @property
    def runbook(self) -> Runbook:
        """The same as the planner knows it."""
        return Runbook(
            name=self.name,
            **dict(self.match),
            uses=tuple(Use(action=step.action, params=step.params) for step in self.steps),
            verify_within_s=self.verify_within_s,
            rollback=self.rollback,
        )

    @model_validator(mode="after")
    def _known_actions(self) -> "RunbookEntry":
        try:
            self.runbook.check()
        except Invalid as error:
            raise ValueError(str(error)) from None
        return self


class RaySettings(Section):
    """Where the actors live."""

    address: str = ""
    namespace: str = "sentinel"
    num_cpus: Annotated[int, Field(ge=1)] | None = None


class Settings(Section):
    """The whole tree."""

    api: Api = Api()
    sns: Sns = Sns()
    store: Store = Store()
    qdrant: Qdrant = Qdrant()
    webhooks: Webhooks = Webhooks()
    executor: Executor = Executor()
    detection: Detection = Detection()
    correlation: Correlation = Correlation()
    approval: Approval = Approval()
    runbooks: tuple[RunbookEntry, ...] = ()
    ray: RaySettings = RaySettings()

    @property
    def slack(self) -> Slack:
        """`webhooks.slack`, whose environment names are SENTINEL_SLACK_…"""
        return self.webhooks.slack

    def require_shared_key(self) -> None:
        """Raise Invalid where machines that share the store would each seal with a key of their own."""
        if self.store.file is None and not self.slack.value_key:
            raise Invalid(
                "webhooks.slack.value_key",
                "unset",
                "a secret of at least 32 characters, the same for every machine (SENTINEL_SLACK_VALUE_KEY), "
                "as store.url names a server: what people said is sealed with it, Slack or not",
            )

    @model_validator(mode="after")
    def _rules_that_fit(self) -> "Settings":
        check_rules(self.approval, {runbook.name for runbook in self.runbooks})
        return self

    @model_validator(mode="after")
    def _runbook_names(self) -> "Settings":
        names = [runbook.name for runbook in self.runbooks]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"runbooks: the name {twice[0]!r} is used twice")
        return self
