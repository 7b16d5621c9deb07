"""The part of the composition root that is about acting: the cloud, the limits, the proof of approval, the executor."""

import os
import threading

import ray

from actors.api import Detectors, Journal
from actors.execution import ExecutionActor
from actors.steps import SELF_FENCE_S, StepRunner
from actors.wiring_approval import value_key
from sentinel.adapters.aws import AwsCloud, Role, StaticCredentials, longest_call_s
from sentinel.adapters.clouds import Clouds
from sentinel.adapters.kubernetes_cloud import KubernetesCloud, KubernetesCluster
from sentinel.adapters.unconnected import UnconnectedCloud
from sentinel.clock import Clock
from sentinel.incidents.nouns import PlanRecord, Verdict
from sentinel.ports import Cloud
from sentinel.remediation.action import Place
from sentinel.remediation.budget import Budget
from sentinel.remediation.ledger import Rules
from sentinel.remediation.proof import unproven
from sentinel.remediation.safety import Limits
from sentinel.remediation.sealing import seal_holds
from sentinel.settings import Settings

DOUBLES_CREDENTIALS = StaticCredentials(access_key_id="sandbox", secret_access_key="sandbox")  # noqa: S106 no secret
_SKEW_S = 5.0


def execution_actor(
    actor: ExecutionActor, settings: Settings, *, journal: Journal, detectors: Detectors, clock: Clock
) -> None:
    """Build `actor` from the settings, in its own process."""
    executor, key = settings.executor, value_key(settings)

    def witness(plan_id: str, verdict: Verdict) -> str:
        return "" if seal_holds(key, plan_id, verdict) else "it does not bear our seal"

    def prove(record: PlanRecord) -> str:
        return unproven(record, witness)

    ExecutionActor.__init__(
        actor,
        journal=journal,
        detectors=detectors,
        runner=StepRunner(cloud(settings), clock, effect_within_s=executor.call_timeout_s, poll_s=executor.poll_s),
        limits=limits(settings),
        prove=prove,
        clock=clock,
        # Names this process and no other: a plan owned by another name is one to take over.
        owner=f"{ray.get_runtime_context().get_node_id()[:8]}-{os.getpid()}-{clock.now_ms()}",
        start_within_ms=round(settings.approval.start_within_s * 1000),
        poll_s=executor.poll_s,
        takeover_s=SELF_FENCE_S + longest_call_s(executor.request_timeout_s) + _SKEW_S,
        trail_within_s=executor.cloudtrail_within_s,
    )


def rules(settings: Settings) -> Rules:
    """What the journal holds every plan to."""
    executor = settings.executor
    budget = Budget(
        cooldown_ms=round(executor.cooldown_s * 1000),
        per_hour=executor.max_actions_per_hour,
        per_day=executor.max_actions_per_day,
        group_share=executor.max_group_share,
        freezes=tuple(entry.freeze for entry in executor.freeze),
        breaker_after=executor.breaker_after,
    )
    return Rules(budget=budget, limits=limits(settings), stop_file=executor.kill_switch_file)


def limits(settings: Settings) -> Limits:
    """What may be touched, and by how much."""
    executor = settings.executor
    return Limits(
        allowed=tuple(entry.rule for entry in executor.allow),
        home=Place(account=executor.aws_account, region=executor.aws_region),
        min_desired_count=executor.min_desired_count,
        rehearsed=frozenset(executor.dry_run_actions),
        ec2_instances=frozenset(executor.aws_ec2_instance_whitelist),
        ecs_clusters=frozenset(executor.aws_ecs_cluster_whitelist),
        max_desired_count=executor.max_desired_count,
        max_scale_step=executor.max_scale_step,
    )


def cloud(settings: Settings) -> Cloud:
    """AWS, or the sandbox's double of it, which never sees real credentials; and the Kubernetes of the settings."""
    executor = settings.executor
    connected = executor.backend == "aws" or bool(executor.aws_endpoint_url)
    aws: Cloud = _aws(settings) if connected else UnconnectedCloud()
    if isinstance(aws, AwsCloud):
        actions = [step.action for entry in settings.runbooks for step in entry.steps]
        # Beside the start, which need not wait for it: reading AWS's models takes up to seconds.
        threading.Thread(target=aws.get_ready, args=(actions,), name="aws-ready", daemon=True).start()
    clusters = {
        each.name: KubernetesCluster(name=each.name, context=each.context, kubeconfig=each.kubeconfig)
        for each in executor.kubernetes
    }
    if not clusters:
        return aws
    return Clouds(aws, {"kubernetes": KubernetesCloud(clusters, call_timeout_s=executor.request_timeout_s)})


def _aws(settings: Settings) -> AwsCloud:
    executor = settings.executor
    return AwsCloud(
        region=executor.aws_region,
        endpoint_url=executor.aws_endpoint_url,
        call_timeout_s=executor.request_timeout_s,
        credentials=DOUBLES_CREDENTIALS if executor.backend == "sandbox" else None,
        account=executor.aws_account,
        regions=frozenset(executor.aws_regions),
        roles={each.account: Role(arn=each.role_arn, external_id=each.external_id) for each in executor.aws_accounts},
        send_within_s=SELF_FENCE_S,
    )
