"""Kubernetes, EKS and others: deployments and pods. The cluster is one that `executor.kubernetes` names."""

from collections.abc import Mapping

from sentinel.remediation.action import Action, Idempotency, Param, Replaces, Scaling, Sets, Values

_NAME = r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"
_WHERE: Mapping[str, Param] = {
    "cluster": Param(meaning="the name of a cluster in executor.kubernetes", pattern=r"[A-Za-z0-9_.-]{1,100}"),
    "namespace": Param(meaning="a namespace", pattern=r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"),
}
_DEPLOYMENT: Mapping[str, Param] = {**_WHERE, "deployment": Param(meaning="the name of a deployment", pattern=_NAME)}
_EXAMPLE: Values = {"cluster": "prod", "namespace": "shop", "deployment": "checkout"}
_TARGET = "{cluster}/{namespace}/deployment/{deployment}"

ACTIONS: tuple[Action, ...] = (
    Replaces(
        name="kubernetes.restart_deployment",
        summary="replace every pod of a deployment, as kubectl rollout restart does",
        params=_DEPLOYMENT,
        example=_EXAMPLE,
        permissions=("kubernetes:get deployments.apps", "kubernetes:patch deployments.apps"),
        target=_TARGET,
        arn=f"kubernetes:{_TARGET}",
        noun="deployment",
        blast_radius="every pod of one deployment, at the pace of its strategy",
        # The annotation is the step's token: a template patched twice alike rolls out once.
        idempotency=Idempotency.TOKEN,
        starts_from=("active",),
        mark="restarted_by",
        complete={"updated": "desired", "running": "desired"},
    ),
    Sets(
        name="kubernetes.scale_deployment",
        summary="set the number of pods of a deployment",
        params={**_DEPLOYMENT, "replicas": Param(meaning="the number of pods wanted", low=1, high=1000)},
        example={**_EXAMPLE, "replicas": 4},
        permissions=("kubernetes:get deployments.apps", "kubernetes:patch deployments.apps/scale"),
        target=_TARGET,
        arn=f"kubernetes:{_TARGET}",
        noun="deployment",
        blast_radius="one deployment, by executor.max_scale_step pods at most",
        idempotency=Idempotency.ABSOLUTE,
        starts_from=("active",),
        reversible=True,
        scaling=Scaling(param="replicas", live="desired"),
        param="replicas",
        value="desired",
        follows="running",
    ),
    Replaces(
        name="kubernetes.delete_pod",
        summary="delete one pod, which its owner replaces",
        params={**_WHERE, "pod": Param(meaning="the name of a pod", pattern=_NAME)},
        example={"cluster": "prod", "namespace": "shop", "pod": "checkout-0"},
        permissions=("kubernetes:get pods", "kubernetes:delete pods"),
        target="{cluster}/{namespace}/pod/{pod}",
        arn="kubernetes:{cluster}/{namespace}/pod/{pod}",
        noun="pod",
        blast_radius="one pod",
        # A pod of a StatefulSet comes back under its name, and a second call would delete the new one.
        idempotency=Idempotency.AT_MOST_ONCE,
        starts_from=("Pending", "Running", "Succeeded", "Failed", "Unknown"),
        mark="uid",
        proof=("Terminating",),
        complete={},
    ),
)
