"""Every AWS action beside ECS services and EC2 instances, on moto with the truth before it: looked at, sent, seen."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from sentinel.adapters.aws import CALLS, AwsCloud, Role, StaticCredentials
from sentinel.clock import SystemClock
from sentinel.errors import Forbidden, Invalid
from sentinel.ids import PlanId, step_key
from sentinel.incidents.nouns import Step
from sentinel.remediation.actions import CATALOG, Settled, steps_of
from sentinel.sandbox.aws_double import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY, AwsDouble, Estate
from tests.contract.aws_rig import just_now

PAIR = StaticCredentials(access_key_id=ACCESS_KEY_ID, secret_access_key=SECRET_ACCESS_KEY)
KEY, OTHER = (step_key(PlanId(f"inc-20260101-00000000-1.p{n}"), 0) for n in (1, 2))
ACCOUNT = "123456789012"


@pytest.fixture(scope="module")
def double() -> Iterator[tuple[AwsDouble, Estate]]:
    """The sandbox's AWS with something of everything in it, whose changes take no time."""
    with AwsDouble(SystemClock(), delay_s=0) as made:
        estate = made.start()
        _more(made.url)
        yield made, estate


def _more(url: str) -> None:
    session = boto3.session.Session(ACCESS_KEY_ID, SECRET_ACCESS_KEY, region_name=REGION)
    maker: Any = session.client
    at = {"endpoint_url": url}
    groups, rds, iam, functions = (maker(each, **at) for each in ("autoscaling", "rds", "iam", "lambda"))
    ecs, ec2 = maker("ecs", **at), maker("ec2", **at)
    groups.create_launch_configuration(LaunchConfigurationName="w", ImageId="ami-12c6146b", InstanceType="t3.micro")
    groups.create_auto_scaling_group(
        AutoScalingGroupName="workers",
        LaunchConfigurationName="w",
        MinSize=1,
        MaxSize=5,
        DesiredCapacity=2,
        AvailabilityZones=["us-east-1a"],
        Tags=[{"Key": "team", "Value": "shop", "PropagateAtLaunch": False}],
    )
    rds.create_db_instance(
        DBInstanceIdentifier="orders", DBInstanceClass="db.t3.micro", Engine="postgres", AllocatedStorage=20,
        Tags=[{"Key": "team", "Value": "shop"}],
    )  # fmt: skip
    policy = {"Version": "2012-10-17", "Statement": []}
    role = iam.create_role(RoleName="r", AssumeRolePolicyDocument=json.dumps(policy))["Role"]["Arn"]
    functions.create_function(
        FunctionName="resize",
        Runtime="python3.11",
        Role=role,
        Handler="a.b",
        Code={"ZipFile": b"x"},
        Tags={"team": "shop"},
    )
    functions.put_function_concurrency(FunctionName="resize", ReservedConcurrentExecutions=10)
    ecs.register_task_definition(family="payments", containerDefinitions=[{"name": "p", "image": "p:2", "memory": 64}])
    for client in (groups, rds, iam, functions, ecs, ec2):
        client.close()


@pytest.fixture(scope="module")
def cloud(double: tuple[AwsDouble, Estate]) -> AwsCloud:
    return AwsCloud(REGION, double[0].url, call_timeout_s=10, credentials=PAIR)


def one(action: str, **params: Any) -> Step:
    [step] = steps_of(action, params)
    return step


CASES: dict[str, tuple[Step, dict[str, object], dict[str, object]]] = {
    "capacity": (
        one("autoscaling.set_desired_capacity", group="workers", desired_capacity=3),
        {"status": "active", "desired": 2, "running": 2, "least": 1, "most": 5},
        {"desired": 3, "running": 3},
    ),
    "refresh": (
        one("autoscaling.start_instance_refresh", group="workers"),
        {"status": "active", "refresh_id": ""},
        {"refresh_status": "Successful"},
    ),
    "database": (one("rds.reboot_instance", db_instance="orders"), {"status": "available"}, {"status": "available"}),
    "function": (
        one("lambda.set_reserved_concurrency", function="resize", concurrency=20),
        {"status": "Active", "concurrency": 10},
        {"concurrency": 20},
    ),
    "automation": (
        one("ssm.start_automation", document="Sentinel-Restart", version="3", parameter="Name", value="a-1"),
        {"document": "Sentinel-Restart", "execution_id": ""},
        {"execution_status": "Success"},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_looked_at_sent_and_seen(cloud: AwsCloud, case: str) -> None:
    step, before, after = CASES[case]
    action = CATALOG[step.action]
    seen = cloud.observe(step)
    assert {name: seen.values.get(name) for name in before} == before
    if case != "automation":
        assert seen.tags.get("team") == "shop"
    assert action.may_start(seen.values) == ""
    said = cloud.send(step, KEY)
    assert said
    assert "\n" not in said
    now = cloud.observe(step).values
    assert {name: now.get(name) for name in after} == after
    assert action.effect_seen(step, seen.values, now)
    assert action.settle(step, seen.values, now, just_now()) is not Settled.NOT_DONE
    inverse = action.inverse(step, seen.values)
    assert (inverse is not None) is action.reversible
    if inverse:
        cloud.send(inverse, OTHER)
        assert action.holds(inverse, cloud.observe(inverse).values)


def test_a_service_is_rolled_back_to_an_earlier_revision_and_forth(cloud: AwsCloud, double: Any) -> None:
    cluster = double[1].cluster_arn
    step = one("ecs.roll_back_service", cluster=cluster, service="payments", task_definition="payments:2")
    action, before = CATALOG[step.action], cloud.observe(step).values
    assert before["task_definition"] == "payments:1"
    cloud.send(step, KEY)
    now = cloud.observe(step).values
    assert action.effect_seen(step, before, now)
    inverse = action.inverse(step, before)
    assert inverse is not None
    cloud.send(inverse, OTHER)
    assert cloud.observe(step).values["task_definition"] == "payments:1"


def test_a_start_with_the_same_token_is_the_same_execution(cloud: AwsCloud) -> None:
    step = one("ssm.start_automation", document="Sentinel-Twice", version="1")
    first, again, other = (cloud.send(step, key) for key in (KEY, KEY, OTHER))
    assert first == again != other


@pytest.mark.parametrize(
    ("action", "params"),
    [
        ("autoscaling.set_desired_capacity", {"group": "nobody", "desired_capacity": 2}),
        ("rds.reboot_instance", {"db_instance": "nobody"}),
        ("lambda.set_reserved_concurrency", {"function": "nobody", "concurrency": 2}),
    ],
)
def test_what_does_not_exist_is_forbidden(cloud: AwsCloud, action: str, params: dict[str, Any]) -> None:
    with pytest.raises(Forbidden):
        cloud.observe(one(action, **params))


def test_the_double_refuses_what_aws_refuses_and_moto_takes(cloud: AwsCloud, double: Any) -> None:
    with pytest.raises(Invalid, match="outside 1 to 5"):
        cloud.send(one("autoscaling.set_desired_capacity", group="workers", desired_capacity=6), KEY)
    session = boto3.session.Session(ACCESS_KEY_ID, SECRET_ACCESS_KEY, region_name=REGION)
    ecs = session.client("ecs", endpoint_url=double[0].url)
    for count in (-1, 99_999):
        with pytest.raises(ecs.exceptions.InvalidParameterException):
            ecs.update_service(cluster="shop", service="cart", desiredCount=count)
    ecs.create_service(cluster="shop", serviceName="old", taskDefinition="payments", desiredCount=1)
    ecs.delete_service(cluster="shop", service="old", force=True)
    with pytest.raises(ecs.exceptions.ServiceNotActiveException):
        ecs.update_service(cluster="shop", service="old", desiredCount=2)
    ecs.close()


def test_a_service_that_stalls_never_gets_its_tasks(cloud: AwsCloud, double: Any) -> None:
    aws, estate = double
    aws.stall("shipping")
    step = one("ecs.scale_service", cluster=estate.cluster_arn, service="shipping", desired_count=5)
    before = cloud.observe(step).values
    cloud.send(step, KEY)
    now = cloud.observe(step).values
    assert (now["desired"], now["running"], now["pending"]) == (5, 2, 3)
    assert not CATALOG[step.action].effect_seen(step, before, now)


def test_a_rehearsal_says_exactly_what_would_be_sent_and_sends_nothing(cloud: AwsCloud, double: Any) -> None:
    aws, estate = double
    before = len(aws.calls)
    said = cloud.rehearse(one("ecs.scale_service", cluster=estate.cluster_arn, service="cart", desired_count=3))
    assert said == f"ecs.update_service(cluster='{estate.cluster_arn}', service='cart', desiredCount=3)"
    assert len(aws.calls) == before
    instance = estate.instances["storage"]
    said = cloud.rehearse(one("ec2.reboot_instance", instance_id=instance))
    assert said == f"ec2.reboot_instances(InstanceIds=['{instance}']); AWS says that it would"


def test_every_aws_action_of_the_catalog_can_be_carried_out() -> None:
    wanted = {name for name, action in CATALOG.items() if action.arn.startswith("arn:") and not action.expands_to}
    assert set(CALLS) == wanted


# --- places ------------------------------------------------------------------------------------------------------


def test_another_region_is_reached_where_it_is_allowed(double: Any) -> None:
    step = one("rds.reboot_instance", db_instance="orders", region="eu-west-1")
    strict = AwsCloud(REGION, double[0].url, call_timeout_s=10, credentials=PAIR)
    with pytest.raises(Forbidden, match="not in us-east-1"):
        strict.observe(step)
    wide = AwsCloud(REGION, double[0].url, call_timeout_s=10, credentials=PAIR, regions=frozenset({"eu-west-1"}))
    with pytest.raises(Forbidden, match="DBInstanceNotFound"):  # moto keeps the regions apart, as AWS does
        wide.observe(step)
    assert wide.observe(one("rds.reboot_instance", db_instance="orders")).values["status"] == "available"


def test_our_own_credentials_must_be_of_the_account(double: Any) -> None:
    there = one("rds.reboot_instance", db_instance="orders", account="210987654321")
    cloud = AwsCloud(REGION, double[0].url, call_timeout_s=10, credentials=PAIR)
    for call in (lambda: cloud.observe(there), lambda: cloud.send(there, KEY), lambda: cloud.rehearse(there)):
        with pytest.raises(Forbidden, match="our credentials are of account 123456789012"):
            call()
    assert cloud.observe(one("rds.reboot_instance", db_instance="orders", account=ACCOUNT))


def test_a_role_is_assumed_for_each_step_with_its_own_policy(double: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    role = Role(arn="arn:aws:iam::210987654321:role/sentinel", external_id="x-1")
    cloud = AwsCloud(REGION, double[0].url, call_timeout_s=10, credentials=PAIR, roles={"210987654321": role})
    session = cloud._session()
    made = session.client

    def client(service: str, **kwargs: Any) -> Any:
        maker: Any = made
        found = maker(service, **kwargs)
        if service == "sts":
            found.meta.events.register("provide-client-params.sts.AssumeRole", lambda params, **_: asked.append(params))
        return found

    monkeypatch.setattr(session, "client", client)
    there = one("rds.reboot_instance", db_instance="orders", account="210987654321")
    with pytest.raises(Forbidden, match="DBInstanceNotFound"):  # it is the other account's, and moto has none there
        cloud.send(there, KEY)
    with pytest.raises(Forbidden, match="DBInstanceNotFound"):
        cloud.observe(there)
    effect, look = asked
    assert effect["RoleArn"] == role.arn
    assert effect["ExternalId"] == "x-1"
    assert effect["RoleSessionName"] == KEY
    assert effect["DurationSeconds"] == 900
    [may] = json.loads(effect["Policy"])["Statement"]
    assert may["Action"] == ["rds:RebootDBInstance"]
    assert may["Resource"] == "arn:aws:rds:us-east-1:210987654321:db:orders"
    assert "DateLessThan" in may["Condition"]
    assert json.loads(look["Policy"])["Statement"][0]["Resource"] == "*"


def test_a_role_of_another_account_is_not_assumed(double: Any) -> None:
    role = Role(arn="arn:aws:iam::111111111111:role/sentinel")
    cloud = AwsCloud(REGION, double[0].url, call_timeout_s=10, credentials=PAIR, roles={"210987654321": role})
    with pytest.raises(Forbidden, match="is not of account 210987654321"):
        cloud.send(one("rds.reboot_instance", db_instance="orders", account="210987654321"), KEY)
