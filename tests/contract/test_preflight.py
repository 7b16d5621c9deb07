"""The look before people are asked: on the cloud in memory, and on AWS's API with EC2's own DryRun."""

from pathlib import Path

import pytest

from sentinel.adapters.key_file import key_in
from sentinel.adapters.preflight import CloudPreflight, Ec2DryRun
from sentinel.errors import Forbidden, Invalid, Unavailable
from tests.contract.aws_rig import (
    PAIR,
    REGION,
    SECRET,
    Estate,
    FaultProxy,
    Rig,
    aws_cloud,
    estate,
    proxy,
    rig,
    session_proxy,
    wired,
    wired_cloud,
)

__all__ = ["aws_cloud", "estate", "proxy", "rig", "session_proxy", "wired", "wired_cloud"]
ACCOUNT = "123456789012"


def looks(rig: Rig, **changes: object) -> CloudPreflight:
    return CloudPreflight(rig.cloud, region=REGION, whoami=lambda: ACCOUNT, **changes)  # type: ignore[arg-type]


def test_a_service_is_seen_with_place_values_and_notes(rig: Rig) -> None:
    seen = looks(rig, hourly_cost={"*:cluster/*": 0.05}).look(rig.step("ecs.scale_service", desired_count=4))
    assert (seen.account, seen.region) == (ACCOUNT, REGION)
    assert seen.observed["status"] == "ACTIVE"
    desired = seen.observed["desired"]
    assert seen.notes[0] == (
        f"tasks: {seen.observed['running']} running, {desired} wanted now; 4 wanted after (at most 50)"
    )
    assert seen.notes[1] == f"cost: {(4 - int(desired)) * 0.05:+.2f} USD an hour"


def test_an_instance_is_seen(rig: Rig) -> None:
    seen = looks(rig).look(rig.step("ec2.reboot_instance"))
    assert (seen.account, seen.region, seen.observed["state"]) == (ACCOUNT, REGION, "running")
    assert seen.notes == ("instance: running now",)


def test_looking_twice_sees_the_same(rig: Rig) -> None:
    step = rig.step("ecs.scale_service", desired_count=4)
    assert looks(rig).look(step) == looks(rig).look(step)


def test_a_target_of_another_account_is_refused(rig: Rig) -> None:
    other = CloudPreflight(rig.cloud, region=REGION, whoami=lambda: "999999999999")
    with pytest.raises(Forbidden, match="is in account 123456789012, these credentials are of 999999999999"):
        other.look(rig.step("ecs.scale_service", desired_count=4))


def test_a_resource_that_is_not_there_is_refused(rig: Rig) -> None:
    with pytest.raises(Forbidden):
        looks(rig).look(rig.step("ecs.scale_service", desired_count=4, service="nobody"))


@pytest.mark.parametrize("action", ["ec2.reboot_instance", "ec2.stop_instance", "ec2.start_instance"])
def test_ec2_says_that_it_would_and_does_not(wired: Rig, estate: Estate, proxy: FaultProxy, action: str) -> None:
    step = wired.step(action)
    before = wired.cloud.observe(step)
    rehearsal = Ec2DryRun(REGION, proxy.url, PAIR)
    assert looks(wired, rehearsal=rehearsal).look(step).notes[-1] == f"EC2 DryRun: {action} would be taken"
    assert wired.cloud.observe(step) == before


def test_ecs_has_no_rehearsal(wired: Rig, proxy: FaultProxy) -> None:
    assert Ec2DryRun(REGION, proxy.url, PAIR).would(wired.step("ecs.scale_service", desired_count=4)) == ""


def test_what_ec2_would_refuse_is_refused(wired: Rig, proxy: FaultProxy) -> None:
    proxy.mode = "answer"
    refused = (
        b"<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>no</Message></Error></Errors></Response>"
    )
    proxy.answer = (403, "text/xml", refused)
    with pytest.raises(Forbidden, match="UnauthorizedOperation"):
        Ec2DryRun(REGION, proxy.url, PAIR).would(wired.step("ec2.reboot_instance"))


def test_an_ec2_that_breaks_off_is_unavailable_and_nothing_is_told_of_the_secret(wired: Rig, proxy: FaultProxy) -> None:
    proxy.mode = "drop"
    with pytest.raises(Unavailable) as error:
        Ec2DryRun(REGION, proxy.url, PAIR).would(wired.step("ec2.reboot_instance"))
    assert SECRET not in str(error.value)


def test_the_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "slack-value.key"
    key = key_in(path)
    assert len(key) == 32
    assert key_in(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert key_in(tmp_path / "other.key") != key


@pytest.mark.parametrize("content", ["", "zz", "ab" * 31, "ab" * 33])
def test_a_file_that_holds_no_key_is_refused_and_not_overwritten(tmp_path: Path, content: str) -> None:
    path = tmp_path / "slack-value.key"
    path.write_text(content)
    with pytest.raises(Invalid, match="32 bytes in hex"):
        key_in(path)
    assert path.read_text() == content


def test_a_key_that_cannot_be_kept_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot be kept"):
        key_in(tmp_path / "file" / "slack-value.key")
