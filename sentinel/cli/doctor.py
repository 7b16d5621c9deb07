"""`sentinel doctor`: one line a part, and for what is wrong, how to mend it."""

import asyncio
from collections.abc import Callable, Mapping

import ray
from rich.console import Console
from rich.markup import escape

from actors import wiring, wiring_approval, wiring_execution
from sentinel.adapters.aws import AwsCloud
from sentinel.adapters.clouds import Clouds
from sentinel.adapters.qdrant import open_memory
from sentinel.adapters.sql_journal import SqlJournalStore
from sentinel.cli.checking import approval_lines, never_runs
from sentinel.cli.client import Client
from sentinel.cli.system import require_reachable
from sentinel.errors import SentinelError, Unavailable
from sentinel.settings import Settings
from sentinel.settings_loader import load
from serve_apps.auth import check_exposure

Check = Callable[[Settings], str]


def run(environ: Mapping[str, str], console: Console) -> int:
    """Run every check; answers 0 if all are well, else 1."""
    try:
        settings = load(environ)
    except SentinelError as error:
        console.print(f"[red]✗ settings[/red]  {escape(str(error))}")
        return 1
    source = environ.get("SENTINEL_CONFIG") or "the environment and defaults"
    console.print(f"[green]✓ settings[/green]  from {source}")
    failed = 0
    for name, check in _CHECKS.items():
        try:
            console.print(f"[green]✓ {name}[/green]  {escape(check(settings))}")
        except SentinelError as error:
            failed += 1
            console.print(f"[red]✗ {name}[/red]  {escape(str(error))}")
            console.print(f"    {_MEND[name]}")
    return 1 if failed else 0


def _door(settings: Settings) -> str:
    check_exposure(settings.api, settings.api.host)
    keys = f"{len(settings.api.keys)} API keys" if settings.api.keys else "no keys, so only this machine may call"
    return f"{settings.api.host}:{settings.api.port}, {keys}"


def _store(settings: Settings) -> str:
    store = SqlJournalStore(settings.store.url)
    try:
        return f"{settings.store.url.partition(':')[0]}, {len(store.incident_ids())} incidents"
    finally:
        store.close()


def _qdrant(settings: Settings) -> str:
    url = f"http://{settings.api.host}:{settings.api.port}"
    if not settings.qdrant.host and Client(url, timeout_s=2.0).ready() is not None:
        return f"embedded in {settings.qdrant.path}, held by the Sentinel that runs at {url}"
    memory = open_memory(settings.qdrant)
    try:
        where = settings.qdrant.host or f"embedded in {settings.qdrant.path}"
        return memory.note or where
    finally:
        memory.close()


def _checkpoints(settings: Settings) -> str:
    kept, probe = wiring.checkpoints(settings), b"written by sentinel doctor"
    kept.save("doctor", probe)
    if kept.load("doctor") != probe:
        raise Unavailable(f"{settings.detection.checkpoint_path} does not give back what was written")
    shelves = sum(name.startswith("sentinel-detection-p") for name in kept.names())
    return f"written to {settings.detection.checkpoint_path}, {shelves} partitions there"


def _slack(settings: Settings) -> str:
    messenger = wiring_approval.slack_messenger(settings)
    if messenger is None:
        return "off: plans are decided by API; set SENTINEL_SLACK_BOT_TOKEN and SENTINEL_SLACK_SIGNING_SECRET for Slack"
    return asyncio.run(messenger.check())


def _approval(settings: Settings) -> str:
    lines = approval_lines(settings)
    wiring_approval.value_key(settings)
    return "; ".join(lines) if lines else f"policy {settings.approval.policy.version}"


def _aws(settings: Settings) -> str:
    cloud = wiring_execution.cloud(settings)
    executor = settings.executor
    dry = ", dry run: nothing is sent" if executor.dry_run else ""
    allowed = len(executor.aws_ec2_instance_whitelist) + len(executor.aws_ecs_cluster_whitelist) + len(executor.allow)
    cloud = cloud.aws if isinstance(cloud, Clouds) else cloud
    if not isinstance(cloud, AwsCloud):
        return "no AWS is connected: set SENTINEL_EXECUTOR_BACKEND=aws to act on one"
    return f"account {cloud.whoami()} in {executor.aws_region}, {allowed} allow-list entries{dry}"


def _runbooks(settings: Settings) -> str:
    runbooks = [entry.runbook for entry in settings.runbooks]
    allowed = wiring_execution.limits(settings)
    dead = [each.name for index, each in enumerate(runbooks) if never_runs(each, runbooks[:index], allowed)]
    return f"{len(runbooks)} runbooks" + (f"; can never run: {', '.join(dead)} (see `sentinel check`)" if dead else "")


def _ray(settings: Settings) -> str:
    if not settings.ray.address:
        return f"version {ray.__version__}; `sentinel up` starts a cluster of its own on this machine"
    require_reachable(settings.ray.address)
    return f"version {ray.__version__}; `sentinel up` joins the cluster at {settings.ray.address}"


_CHECKS: Mapping[str, Check] = {
    "door": _door,
    "store": _store,
    "checkpoints": _checkpoints,
    "qdrant": _qdrant,
    "slack": _slack,
    "approval": _approval,
    "aws": _aws,
    "runbooks": _runbooks,
    "ray": _ray,
}
_MEND: Mapping[str, str] = {
    "door": "set SENTINEL_API_HOST=127.0.0.1, or add api.keys to the configuration",
    "store": "set SENTINEL_STORE_URL to sqlite:///PATH on a local disk or postgresql+psycopg://USER@HOST/DATABASE",
    "checkpoints": "set SENTINEL_DETECTION_CHECKPOINT_PATH to a directory that may be written, or to s3://BUCKET/PREFIX",
    "qdrant": "end the process that is named, set SENTINEL_QDRANT_HOST to a server, or SENTINEL_QDRANT_ENABLED=false",
    "slack": "check SENTINEL_SLACK_BOT_TOKEN (xoxb-…, scopes chat:write and users:read) and SENTINEL_SLACK_CHANNEL",
    "approval": "name who may approve in approval.approvers, or mend what is named; `sentinel check` tells more",
    "aws": "check credentials (aws sts get-caller-identity), SENTINEL_EXECUTOR_AWS_REGION and AWS_ENDPOINT_URL",
    "runbooks": "run `sentinel check`",
    "ray": "start it with `ray start --head`, and set RAY_AUTH_MODE as it has it",
}
