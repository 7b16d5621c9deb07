"""The part of the composition root that is about asking people: Slack, the policy, the key, the look before."""

from collections.abc import Callable, Mapping

from actors.api import Explainer, Journal
from actors.approval import ApprovalActor
from actors.cards import Cards
from actors.pictures import Pictures
from actors.proposing import Proposing
from sentinel.adapters.aws import AwsCloud, StaticCredentials
from sentinel.adapters.clouds import Clouds
from sentinel.adapters.key_file import key_in
from sentinel.adapters.preflight import CloudPreflight, Ec2DryRun
from sentinel.adapters.slack import SlackMessenger
from sentinel.adapters.slack_card import card
from sentinel.adapters.slack_directory import SlackDirectory
from sentinel.adapters.slack_pictures import SlackPictures
from sentinel.adapters.slack_signature import verify
from sentinel.adapters.slack_thread import narrate
from sentinel.adapters.slack_views import SlackViews
from sentinel.clock import Clock
from sentinel.detection.curves import Explained
from sentinel.ports import Cloud, Preflight
from sentinel.remediation.planner import PlanPolicy
from sentinel.remediation.safety import Limits
from sentinel.settings import Settings

_KEY_FILE = "slack-value.key"


def approval_actor(
    actor: ApprovalActor,
    settings: Settings,
    *,
    journal: Journal,
    cloud: Cloud,
    credentials: StaticCredentials | None,
    limits: Limits,
    clock: Clock,
    detectors: Explainer,
    draw: Callable[[Explained], bytes],
) -> None:
    """Build `actor` from the settings, in its own process."""
    messenger, policy, key = slack_messenger(settings), settings.approval.policy, value_key(settings)
    public_url, forms = settings.api.public_url, settings.slack.bot_token is not None
    cards = None
    if messenger:
        cards = Cards(
            journal,
            messenger,
            lambda incident: card(incident, public_url=public_url, key=key, policy=policy, forms=forms),
            clock,
            narrate,
        )
    proposing = Proposing(
        journal=journal,
        runbooks=[entry.runbook for entry in settings.runbooks],
        limits=limits,
        plan_policy=PlanPolicy(
            approvals_required=settings.approval.required,
            expires_after_ms=round(settings.approval.expires_after_s * 1000),
            dry_run=settings.executor.dry_run,
        ),
        policy=policy,
        preflight=preflight(settings, cloud, credentials),
        directory=slack_directory(settings, clock),
        key=key,
        clock=clock,
    )
    gallery = slack_pictures(settings)
    pictures = Pictures(detectors, draw, gallery, clock) if gallery else None
    ApprovalActor.__init__(
        actor, journal=journal, cards=cards, proposing=proposing, key=key, clock=clock, pictures=pictures
    )


def slack_views() -> SlackViews:
    """What the Slack door shows besides cards."""
    return SlackViews()


def value_key(settings: Settings) -> bytes:
    """The key that protects buttons and seals verdicts: the one of the settings, or one kept beside the file of SQLite.

    Raises Invalid where there is neither, and Unavailable where it cannot be kept.
    """
    given = settings.slack.value_key
    if given:
        return given.get_secret_value().encode()
    settings.require_shared_key()
    assert settings.store.file is not None  # what was required is for a store without one
    return key_in(settings.store.file.parent / _KEY_FILE)


def preflight(settings: Settings, cloud: Cloud, credentials: StaticCredentials | None) -> Preflight | None:
    """The look at targets before people are asked, or None where no cloud is connected."""
    aws = cloud.aws if isinstance(cloud, Clouds) else cloud
    beside_aws = cloud.beside_aws if isinstance(cloud, Clouds) else frozenset[str]()
    if not isinstance(aws, AwsCloud) and not beside_aws:
        return None
    executor = settings.executor
    return CloudPreflight(
        cloud,
        region=executor.aws_region,
        whoami=aws.whoami if isinstance(aws, AwsCloud) else None,
        beside_aws=beside_aws,
        accounts=frozenset(each.account for each in executor.aws_accounts),
        max_desired=executor.max_desired_count,
        hourly_cost=settings.approval.hourly_cost,
        rehearsal=Ec2DryRun(executor.aws_region, executor.aws_endpoint_url, credentials),
    )


def slack_messenger(settings: Settings) -> SlackMessenger | None:
    """Slack, or None where it is not set up."""
    slack = settings.slack
    if not slack.active:
        return None
    return SlackMessenger(
        channel=slack.channel,
        token=slack.bot_token.get_secret_value() if slack.bot_token else "",
        webhook_url=slack.webhook_url.get_secret_value() if slack.webhook_url else "",
        api_url=slack.api_url,
    )


def slack_pictures(settings: Settings) -> SlackPictures | None:
    """Slack's files, or None without a bot token."""
    slack = settings.slack
    if not slack.active or not slack.bot_token:
        return None
    return SlackPictures(token=slack.bot_token.get_secret_value(), api_url=slack.api_url)


def slack_directory(settings: Settings, clock: Clock) -> SlackDirectory | None:
    """Slack's user groups, or None without a bot token: then no group lets anybody in."""
    slack = settings.slack
    if not slack.active or not slack.bot_token:
        return None
    token = slack.bot_token.get_secret_value()
    return SlackDirectory(token=token, api_url=slack.api_url, clock=clock, team_id=slack.team_id)


def slack_verifier(settings: Settings) -> Callable[[Mapping[str, str], bytes, int], None]:
    """Checks that a request comes from Slack: headers in lower case, raw body, now. Raises Unauthenticated."""
    given = (settings.slack.signing_secret, settings.slack.previous_signing_secret)
    secrets = tuple(each.get_secret_value() for each in given if each)

    def check(headers: Mapping[str, str], body: bytes, now_ms: int) -> None:
        verify(headers, body, secrets, now_ms)

    return check
