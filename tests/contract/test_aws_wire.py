"""AWS's failures on the wire: what reaches AWS, how often, and what the caller is told."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, SSLError

from sentinel.adapters.aws import AwsCloud, classify
from sentinel.errors import Forbidden, Invalid, OutcomeUnknown, SentinelError, Unavailable
from sentinel.sandbox.moto_process import free_port
from tests.contract.aws_rig import (
    KEY,
    PAIR,
    REGION,
    SECRET,
    FaultProxy,
    Rig,
    estate,
    memory_rig,
    proxy,
    session_proxy,
    wired,
    wired_cloud,
)

__all__ = ["estate", "proxy", "session_proxy", "wired", "wired_cloud"]

REFUSED = (
    b"<Response><Errors><Error><Code>%s</Code><Message>no AKIAABCDEFGHIJKLMNOP</Message></Error></Errors></Response>"
)


@pytest.mark.parametrize("mode", ["drop", "hang", "cut"])
def test_a_reboot_whose_reply_is_lost_reaches_aws_once(wired: Rig, proxy: FaultProxy, mode: str) -> None:
    proxy.mode = mode
    with pytest.raises(OutcomeUnknown):
        wired.cloud.send(wired.step("ec2.reboot_instance"), KEY)
    assert proxy.received == ["RebootInstances"]


def test_a_scaling_whose_reply_is_cut_short_is_unknown_and_took_place(wired: Rig, proxy: FaultProxy) -> None:
    proxy.mode = "cut"
    step = wired.step("ecs.scale_service", desired_count=4)
    with pytest.raises(OutcomeUnknown):
        wired.cloud.send(step, KEY)
    with pytest.raises(Unavailable):
        wired.cloud.observe(step)
    proxy.mode = "pass"
    assert wired.cloud.observe(step).values["desired"] == 4


def test_a_look_whose_reply_is_lost_is_repeated_and_then_unavailable(wired: Rig, proxy: FaultProxy) -> None:
    proxy.mode = "drop"
    with pytest.raises(Unavailable):
        wired.cloud.observe(wired.step("ec2.reboot_instance"))
    assert proxy.received == ["DescribeInstances"] * 3


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (503, "RequestLimitExceeded", Unavailable),
        (400, "Throttling", Unavailable),
        (429, "TooManyRequestsException", Unavailable),
        (500, "InsufficientInstanceCapacity", Unavailable),
        (403, "UnauthorizedOperation", Forbidden),
        (400, "AccessDeniedException", Forbidden),
        (401, "AuthFailure", Forbidden),
        (400, "RequestExpired", Forbidden),
        (400, "InvalidInstanceID.NotFound", Forbidden),
        (400, "InvalidInstanceID.Malformed", Invalid),
        (400, "InvalidParameterValue", Invalid),
        (400, "ClientException", Invalid),
        (400, "IncorrectInstanceState", Invalid),
        (500, "InternalError", OutcomeUnknown),
        (503, "ServiceUnavailable", OutcomeUnknown),
        (408, "RequestTimeout", OutcomeUnknown),
    ],
)
def test_each_answer_of_aws_is_classified_once(
    wired: Rig, proxy: FaultProxy, status: int, code: str, expected: type[SentinelError]
) -> None:
    proxy.mode, proxy.answer = "answer", (status, "text/xml", REFUSED % code.encode())
    with pytest.raises(expected) as caught:
        wired.cloud.send(wired.step("ec2.reboot_instance"), KEY)
    assert code in str(caught.value)
    assert "ABCDEFGHIJKLMNOP" not in str(caught.value)
    assert proxy.count("RebootInstances") == 1


def test_getting_ready_makes_what_the_first_calls_need_and_asks_aws_nothing(
    wired: Rig, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = AwsCloud(REGION, proxy.url, call_timeout_s=5, credentials=PAIR)
    made: list[str] = []
    maker = boto3.session.Session.client

    def counted(session: boto3.session.Session, name: str, **given: Any) -> Any:
        made.append(name)
        return maker(session, name, **given)  # type: ignore[call-overload]

    monkeypatch.setattr(boto3.session.Session, "client", counted)
    cloud.get_ready(["ecs.scale_service", "ec2.reboot_instance", "ecs.force_new_deployment", "nothing.known"])
    assert made == ["ec2", "ec2", "ecs", "ecs"]
    assert proxy.received == []
    cloud.send(wired.step("ecs.scale_service", desired_count=3), KEY)
    assert proxy.received[-1] == "UpdateService"
    assert made.count("ecs") == 2


def test_a_look_that_fails_is_never_of_unknown_outcome() -> None:
    broken = ClientError({"Error": {"Code": "InternalError"}, "ResponseMetadata": {"HTTPStatusCode": 500}}, "Describe")  # type: ignore[typeddict-item]
    assert type(classify(broken, "look", effect=False)) is Unavailable
    tls = SSLError(endpoint_url="https://user:password@host", error=OSError("eof"))
    assert type(classify(tls, "look", effect=False)) is Unavailable
    told = classify(tls, "act", effect=True)
    assert type(told) is OutcomeUnknown
    assert "password" not in str(told)


def test_a_wrong_signature_does_not_repeat_what_was_signed(wired: Rig, proxy: FaultProxy) -> None:
    said = REFUSED % b"SignatureDoesNotMatch"
    proxy.mode, proxy.answer = "answer", (403, "text/xml", said.replace(b"no AKIA", b"x-amz-security-token:TOKEN AKIA"))
    with pytest.raises(Forbidden) as caught:
        wired.cloud.send(wired.step("ec2.reboot_instance"), KEY)
    assert "TOKEN" not in str(caught.value)


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:{closed}", "no scheme at all"])
def test_nobody_there_is_unavailable_with_a_hint(endpoint: str) -> None:
    cloud = AwsCloud(REGION, endpoint.format(closed=free_port()), call_timeout_s=1, credentials=PAIR)
    step = memory_rig().step("ec2.reboot_instance")
    calls: tuple[Callable[[], object], ...] = (
        lambda: cloud.observe(step),
        lambda: cloud.send(step, KEY),
        cloud.whoami,
    )
    for call in calls:
        with pytest.raises(Unavailable, match=r"executor\.aws_endpoint_url") as caught:
            call()
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("profile", ["", "nobody"])
def test_without_credentials_it_is_forbidden_with_a_hint(
    monkeypatch: pytest.MonkeyPatch, proxy: FaultProxy, profile: str
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    if profile:
        monkeypatch.setenv("AWS_PROFILE", profile)
    cloud = AwsCloud(REGION, proxy.url, call_timeout_s=1)
    step = memory_rig().step("ec2.reboot_instance")
    for call in (lambda: cloud.observe(step), lambda: cloud.send(step, KEY), cloud.whoami):
        with pytest.raises(Forbidden, match="credentials"):
            call()
    assert proxy.received == []


def test_whoami_is_the_account(wired: Rig) -> None:
    assert isinstance(wired.cloud, AwsCloud)
    assert wired.cloud.whoami() == "123456789012"


def test_many_threads_share_one_cloud(wired: Rig, proxy: FaultProxy) -> None:
    fresh = AwsCloud(REGION, proxy.url, call_timeout_s=10, credentials=PAIR)
    step = wired.step("ec2.reboot_instance")
    with ThreadPoolExecutor(6) as threads:
        looks = [threads.submit(fresh.observe, step) for _ in range(24)]
    assert {look.result().values["state"] for look in looks} == {"running"}
