"""The actions on Kubernetes through its official client, against a stand-in that speaks its API over HTTP."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from actors import wiring_approval, wiring_execution
from sentinel.adapters.clouds import Clouds
from sentinel.adapters.in_memory_cloud import InMemoryCloud
from sentinel.adapters.kubernetes_cloud import KubernetesCloud, KubernetesCluster
from sentinel.adapters.preflight import CloudPreflight
from sentinel.errors import Forbidden, Invalid, OutcomeUnknown, Unavailable
from sentinel.ids import PlanId, step_key
from sentinel.incidents.nouns import Step
from sentinel.remediation.actions import CATALOG, Settled, steps_of
from sentinel.sandbox.moto_process import free_port
from sentinel.settings import Settings
from tests.contract.aws_rig import just_now
from tests.contract.kubernetes_stand_in import KubernetesStandIn
from tests.unit.incidents.make import INSTANCE, reboot

KEY, OTHER = (step_key(PlanId(f"inc-20260101-00000000-1.p{n}"), 0) for n in (1, 2))


@pytest.fixture
def cluster() -> Iterator[KubernetesStandIn]:
    made = KubernetesStandIn()
    made.add_deployment("checkout", 2)
    made.add_pod("checkout-0", "uid-1")
    yield made
    made.stop()


@pytest.fixture
def cloud(cluster: KubernetesStandIn, tmp_path: Path) -> KubernetesCloud:
    return cloud_at(cluster.url, tmp_path)


def cloud_at(url: str, directory: Path) -> KubernetesCloud:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }
    path = directory / "kubeconfig"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    known = KubernetesCluster(name="prod", context="c", kubeconfig=str(path))
    return KubernetesCloud({"prod": known}, call_timeout_s=2)


def one(action: str, **params: Any) -> Step:
    [step] = steps_of(f"kubernetes.{action}", {"cluster": "prod", "namespace": "shop", **params})
    return step


RESTART = one("restart_deployment", deployment="checkout")
SCALE = one("scale_deployment", deployment="checkout", replicas=4)
DELETE = one("delete_pod", pod="checkout-0")


@pytest.mark.parametrize("step", [RESTART, SCALE, DELETE], ids=lambda step: step.action)
def test_it_is_looked_at_sent_and_seen(cloud: KubernetesCloud, cluster: KubernetesStandIn, step: Step) -> None:
    action, before = CATALOG[step.action], cloud.observe(step).values
    assert action.may_start(before) == ""
    cloud.send(step, KEY)
    now = cloud.observe(step).values
    assert action.effect_seen(step, before, now)
    assert action.settle(step, before, now, just_now()) is Settled.DONE
    assert len(cluster.received) == 1
    inverse = action.inverse(step, before)
    assert (inverse is not None) is action.reversible
    if inverse:
        cloud.send(inverse, OTHER)
        assert action.holds(inverse, cloud.observe(inverse).values)


def test_a_restart_with_the_same_key_rolls_out_once(cloud: KubernetesCloud, cluster: KubernetesStandIn) -> None:
    for key in (KEY, KEY):
        cloud.send(RESTART, key)
    assert cluster.deployments["checkout"]["metadata"]["generation"] == 2
    cloud.send(RESTART, OTHER)
    assert cluster.deployments["checkout"]["metadata"]["generation"] == 3


def test_a_rollout_that_stands_still_is_not_seen(cloud: KubernetesCloud, cluster: KubernetesStandIn) -> None:
    cluster.frozen = True
    before = cloud.observe(RESTART).values
    cloud.send(RESTART, KEY)
    now = cloud.observe(RESTART).values
    assert not CATALOG[RESTART.action].effect_seen(RESTART, before, now)
    assert CATALOG[RESTART.action].settle(RESTART, before, now, just_now()) is Settled.DONE


def test_a_pod_that_is_there_again_under_its_name_is_not_deleted_twice(
    cloud: KubernetesCloud, cluster: KubernetesStandIn
) -> None:
    before = cloud.observe(DELETE).values
    cloud.send(DELETE, KEY)
    cluster.add_pod("checkout-0", "uid-2")
    assert CATALOG[DELETE.action].settle(DELETE, before, cloud.observe(DELETE).values, just_now()) is Settled.DONE


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, Forbidden),
        (403, Forbidden),
        (404, Forbidden),
        (409, Invalid),
        (422, Invalid),
        (429, Unavailable),
        (500, OutcomeUnknown),
        (503, OutcomeUnknown),
    ],
)
def test_each_answer_is_classified_once_and_sent_once(
    cloud: KubernetesCloud, cluster: KubernetesStandIn, status: int, error: type[Exception]
) -> None:
    cluster.fail = [status]
    with pytest.raises(error):
        cloud.send(SCALE, KEY)
    assert len(cluster.received) == 1


def test_a_lost_reply_is_unknown_and_reaches_the_server_once(
    cloud: KubernetesCloud, cluster: KubernetesStandIn
) -> None:
    cluster.drop = 3
    with pytest.raises(OutcomeUnknown):
        cloud.send(DELETE, KEY)
    assert len(cluster.received) == 1


def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    cloud = cloud_at(f"http://127.0.0.1:{free_port()}", tmp_path)
    for call in (lambda: cloud.observe(SCALE), lambda: cloud.send(SCALE, KEY), lambda: cloud.rehearse(SCALE)):
        with pytest.raises(Unavailable):
            call()


@pytest.mark.parametrize("step", [RESTART, SCALE, DELETE], ids=lambda step: step.action)
def test_a_rehearsal_changes_nothing(cloud: KubernetesCloud, cluster: KubernetesStandIn, step: Step) -> None:
    before = cloud.observe(step)
    assert "the API server says that it would" in cloud.rehearse(step)
    assert cluster.received == []
    assert cloud.observe(step) == before


def test_a_cluster_that_is_not_named_is_forbidden(cloud: KubernetesCloud) -> None:
    step = Step(action=SCALE.action, target=SCALE.target, params={**SCALE.params, "cluster": "other"})
    with pytest.raises(Forbidden, match=r"other is not among executor\.kubernetes"):
        cloud.send(step, KEY)


def test_an_action_goes_to_its_own_cloud(cloud: KubernetesCloud, cluster: KubernetesStandIn) -> None:
    aws = InMemoryCloud()
    aws.add_instance(INSTANCE)
    both = Clouds(aws, {"kubernetes": cloud})
    both.send(SCALE, KEY)
    both.send(reboot()[0], OTHER)
    assert len(cluster.received) == 1
    assert [key for _step, key in aws.sent] == [OTHER]
    assert both.observe(SCALE).values["desired"] == 4


def test_it_is_looked_at_before_people_are_asked_though_no_aws_is_there(
    cluster: KubernetesStandIn, cloud: KubernetesCloud, tmp_path: Path
) -> None:
    known = {"name": "prod", "context": "c", "kubeconfig": str(tmp_path / "kubeconfig")}
    settings = Settings.model_validate({"executor": {"kubernetes": [known]}})
    assert settings.executor.backend == "sandbox"
    made = wiring_execution.cloud(settings)
    looks = wiring_approval.preflight(settings, made, None)
    assert looks is not None
    seen = looks.look(SCALE)
    assert (seen.account, seen.region, seen.observed["desired"]) == ("", "", 2)
    with pytest.raises(Forbidden, match="no AWS is connected"):
        looks.look(reboot()[0])
    made.send(SCALE, KEY)
    assert cluster.deployments["checkout"]["spec"]["replicas"] == 4


def test_credentials_of_aws_are_not_asked_for_it(cloud: KubernetesCloud) -> None:
    def whoami() -> str:
        raise Forbidden("Unable to locate credentials")

    both = Clouds(InMemoryCloud(), {"kubernetes": cloud})
    looks = CloudPreflight(both, region="us-east-1", whoami=whoami, beside_aws=both.beside_aws)
    assert looks.look(SCALE).target == SCALE.target
