"""The Cloud port on Kubernetes: deployments and pods, through the official client, one attempt a call.

The client is the optional extra `kubernetes`; without it each call says so.
"""

import importlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sentinel.adapters.in_memory_cloud import refuse_unless_callable
from sentinel.errors import Forbidden, Invalid, OutcomeUnknown, SentinelError, Unavailable
from sentinel.ids import StepKey
from sentinel.incidents.nouns import Scalar, Step
from sentinel.remediation.action import Observed, Window
from sentinel.remediation.trail import Trail

# `kubectl rollout restart` sets an annotation too; ours holds the step's key: a second patch changes nothing.
RESTARTED_BY = "sentinel/restarted-by"


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesCluster:
    """How a cluster is reached: a context of a kubeconfig, or, without one, the pod's own service account."""

    name: str
    context: str = ""
    kubeconfig: str = ""


class KubernetesCloud:
    """Keeps `ports.Cloud` for the actions on Kubernetes. Safe from any thread."""

    def __init__(self, clusters: Mapping[str, KubernetesCluster], *, call_timeout_s: float) -> None:
        self._clusters = dict(clusters)
        self._timeout = (5.0, min(60.0, call_timeout_s))
        self._lock = threading.Lock()
        self._made: dict[str, Any] = {}

    def observe(self, step: Step) -> Observed:
        """The values of a deployment or a pod.

        Of a deployment: desired, running (available), updated, restarted_by; of a pod: its uid, and its phase or
        Terminating.
        """
        refuse_unless_callable(step)
        doing = f"look at {step.target}"
        namespace, apps, core = self._apis(step, doing)
        if "pod" in step.params:
            try:
                pod = self._ask(doing, False, core.read_namespaced_pod, str(step.params["pod"]), namespace)
            except _Missing:
                return Observed(values={"status": "gone", "uid": ""})
            phase = "Terminating" if pod.metadata.deletion_timestamp else pod.status.phase or "Unknown"
            return Observed(values={"status": phase, "uid": pod.metadata.uid}, tags=_labels(pod))
        found = self._ask(doing, False, apps.read_namespaced_deployment, str(step.params["deployment"]), namespace)
        status, annotations = found.status, found.spec.template.metadata.annotations or {}
        fresh = (status.observed_generation or 0) >= (found.metadata.generation or 0)
        values: dict[str, Scalar] = {
            "status": "deleting" if found.metadata.deletion_timestamp else "active",
            "desired": found.spec.replicas,
            "running": status.available_replicas or 0,
            # What the controller has not looked at yet is not updated, whatever the old numbers say.
            "updated": (status.updated_replicas or 0) if fresh else 0,
            "restarted_by": annotations.get(RESTARTED_BY, ""),
        }
        return Observed(values=values, tags=_labels(found))

    def send(self, step: Step, key: StepKey) -> str:
        """Make the one call of `step`'s action."""
        refuse_unless_callable(step)
        doing = f"{step.action} on {step.target}"
        namespace, apps, core = self._apis(step, doing)
        _, method, name, body = _request(step, key)
        call: Callable[..., Any] = getattr(core if "pod" in step.params else apps, method)
        arguments = (name, namespace) if body is None else (name, namespace, body)
        self._ask(doing, True, call, *arguments)
        return f"{step.action} accepted"

    def rehearse(self, step: Step) -> str:
        """What `send` would send, having asked the API server to try it without keeping it (dryRun=All)."""
        refuse_unless_callable(step)
        doing = f"rehearse {step.action} on {step.target}"
        namespace, apps, core = self._apis(step, doing)
        shown, method, name, body = _request(step, StepKey("rehearsal"))
        call: Callable[..., Any] = getattr(core if "pod" in step.params else apps, method)
        arguments = (name, namespace) if body is None else (name, namespace, body)
        self._ask(doing, False, call, *arguments, dry_run="All")
        return f"{shown}; the API server says that it would"

    def trail(self, step: Step, key: StepKey, made: Window) -> Trail:
        """Raises Forbidden: the audit log of a cluster, where it is kept at all, is not to be had by its API."""
        raise Forbidden(f"{step.action} on {step.target}: Kubernetes keeps no record of calls that could be asked")

    def _ask(self, doing: str, effect: bool, call: Callable[..., Any], *arguments: object, **more: object) -> Any:
        """One attempt. Raises what the port says."""
        client = importlib.import_module("kubernetes.client.exceptions")
        pool = importlib.import_module("urllib3.exceptions")
        try:
            return call(*arguments, **more, _request_timeout=self._timeout)
        except client.ApiException as error:
            raise _classified(error, doing, effect) from None
        except (pool.NewConnectionError, pool.ConnectTimeoutError) as error:
            raise Unavailable(f"{doing}: cannot connect ({type(error).__name__})") from None
        except pool.HTTPError as error:
            reason = getattr(error, "reason", None)
            if not effect or isinstance(reason, (pool.NewConnectionError, pool.ConnectTimeoutError)):
                raise Unavailable(f"{doing}: no answer ({type(error).__name__})") from None
            raise OutcomeUnknown(f"{doing}: sent, but no readable answer came ({type(error).__name__})") from None

    def _apis(self, step: Step, doing: str) -> tuple[str, Any, Any]:
        name = str(step.params["cluster"])
        cluster = self._clusters.get(name)
        if cluster is None:
            raise Forbidden(f"{doing}: {name} is not among executor.kubernetes")
        try:
            client = importlib.import_module("kubernetes.client")
            config = importlib.import_module("kubernetes.config")
        except ModuleNotFoundError:
            raise Forbidden(f"{doing}: install sentinel-aiops[kubernetes]") from None
        with self._lock:
            if name not in self._made:
                made = client.Configuration()
                try:
                    if cluster.context or cluster.kubeconfig:
                        config.load_kube_config(
                            config_file=cluster.kubeconfig or None,
                            context=cluster.context or None,
                            client_configuration=made,
                        )
                    else:
                        config.load_incluster_config(client_configuration=made)
                except config.ConfigException as error:
                    raise Forbidden(f"{doing}: no way to cluster {name}: {error}") from None
                made.retries = False  # one attempt: urllib3 would send three
                self._made[name] = client.ApiClient(made)
            api = self._made[name]
        return str(step.params["namespace"]), client.AppsV1Api(api), client.CoreV1Api(api)


class _Missing(Forbidden):
    """There is no such object."""


def _request(step: Step, key: StepKey) -> tuple[str, str, str, Mapping[str, object] | None]:
    """What is sent: for people, and as method, name and body."""
    where = f"{step.params['namespace']} of {step.params['cluster']}"
    match step.action:
        case "kubernetes.restart_deployment":
            template = {"metadata": {"annotations": {RESTARTED_BY: key}}}
            name, body = str(step.params["deployment"]), {"spec": {"template": template}}
            return f"PATCH deployment {name} in {where}: {body}", "patch_namespaced_deployment", name, body
        case "kubernetes.scale_deployment":
            name, scale = str(step.params["deployment"]), {"spec": {"replicas": step.params["replicas"]}}
            return f"PATCH scale of {name} in {where}: {scale}", "patch_namespaced_deployment_scale", name, scale
        case "kubernetes.delete_pod":
            name = str(step.params["pod"])
            return f"DELETE pod {name} in {where}", "delete_namespaced_pod", name, None
    raise Invalid("step.action", step.action, "an action that the Kubernetes adapter can carry out")


def _classified(error: Any, doing: str, effect: bool) -> SentinelError:
    status = int(error.status or 0)
    said = f"{doing}: {status} {error.reason}"
    if status == 404:
        return _Missing(said)
    if status in (401, 403):
        return Forbidden(said)
    if status == 429:
        return Unavailable(said)
    if 400 <= status < 500:
        return Invalid(doing, f"{status} {error.reason}", "a call that the API server accepts")
    return OutcomeUnknown(said) if effect else Unavailable(said)


def _labels(found: Any) -> dict[str, str]:
    return {str(name): str(value) for name, value in (found.metadata.labels or {}).items()}
