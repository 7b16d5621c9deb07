"""The allow-list to the letter: what a rule chooses by ARN, tags and place, and by how much a number may change."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from sentinel.incidents.nouns import Step
from sentinel.remediation.action import Place
from sentinel.remediation.actions import steps_of
from sentinel.remediation.safety import Allowed, Limits, group_of, is_rehearsed, refusal, refusal_now

ACCOUNT, REGION = "123456789012", "us-east-1"
HOME = Place(account=ACCOUNT, region=REGION)
RUNNING, AVAILABLE = {"state": "running"}, {"status": "available"}
DATABASE = f"arn:aws:rds:{REGION}:{ACCOUNT}:db:orders"


def reboot(instance: str = "i-1", **place: str) -> Step:
    [step] = steps_of("ec2.reboot_instance", {"instance_id": instance, **place})
    return step


def reboot_database(name: str = "orders", **place: str) -> Step:
    [step] = steps_of("rds.reboot_instance", {"db_instance": name, **place})
    return step


def capacity(wanted: int) -> Step:
    [step] = steps_of("autoscaling.set_desired_capacity", {"group": "workers", "desired_capacity": wanted})
    return step


BY_ARN = Allowed(actions=frozenset({"rds.reboot_instance"}), arns=frozenset({DATABASE}))
BY_TAGS = Allowed(
    actions=frozenset({"ec2.reboot_instance"}),
    account=ACCOUNT,
    region=REGION,
    tags={"tier": "web", "team": "shop"},
)


def limits(*rules: Allowed, home: Place = HOME) -> Limits:
    return Limits(allowed=rules, home=home)


def test_nothing_is_allowed_or_rehearsed_until_somebody_says_so() -> None:
    nothing = Limits()
    assert (nothing.min_desired_count, nothing.max_desired_count, nothing.max_scale_step) == (1, 50, 5)
    assert not Allowed().dry_run
    assert refusal(reboot_database(), limits())
    assert refusal(reboot_database(), limits(Allowed()))
    assert not is_rehearsed(reboot_database(), limits(BY_ARN))


def test_a_step_acts_where_it_says_and_else_at_home() -> None:
    home = limits()
    assert home.place_of(reboot()) == HOME
    there = Place(account="210987654321", region="eu-west-1")
    assert home.place_of(reboot(account=there.account, region=there.region)) == there
    assert home.place_of(reboot(region=there.region)) == Place(account=ACCOUNT, region=there.region)
    assert home.place_of(reboot(account=there.account)) == Place(account=there.account, region=REGION)


@pytest.mark.parametrize(
    ("step", "rule", "why"),
    [
        (reboot_database(), BY_ARN, ""),
        (reboot_database("Orders".lower()), BY_ARN, ""),
        (reboot_database("order"), BY_ARN, "is not in executor.allow"),
        (reboot_database("orders2"), BY_ARN, "is not in executor.allow"),
        (reboot_database(account="123456789013"), BY_ARN, "is not in executor.allow"),
        (reboot_database(region="us-east-2"), BY_ARN, "is not in executor.allow"),
        (reboot_database(), replace(BY_ARN, actions=frozenset({"ec2.reboot_instance"})), "is not in executor.allow"),
        (reboot_database(), replace(BY_ARN, actions=frozenset()), "is not in executor.allow"),
        (reboot_database(), replace(BY_ARN, arns=frozenset()), "is not in executor.allow"),
    ],
)
def test_a_rule_by_arn_means_these_actions_on_these_resources_and_no_others(
    step: Step, rule: Allowed, why: str
) -> None:
    said = refusal_now(step, AVAILABLE, limits(rule))
    assert (why in said) if why else (said == "")


def test_what_has_no_arn_is_on_no_list() -> None:
    nowhere = limits(replace(BY_ARN, arns=frozenset({"", DATABASE})), home=Place(account="", region=REGION))
    assert "the account of orders is not known" in refusal_now(reboot_database(), AVAILABLE, nowhere)
    assert refusal_now(reboot_database(account=ACCOUNT), AVAILABLE, nowhere) == ""


OURS: Mapping[str, str] = {"tier": "".join("web"), "team": "".join("shop")}


@pytest.mark.parametrize("tags", [OURS, {**OURS, "owner": "ann"}])
def test_what_carries_every_tag_of_a_rule_is_allowed(tags: Mapping[str, str]) -> None:
    assert refusal(reboot(), limits(BY_TAGS)) == ""
    assert refusal_now(reboot(), RUNNING, limits(BY_TAGS), tags) == ""
    assert refusal_now(reboot(), RUNNING, limits(BY_ARN, BY_TAGS), tags) == ""


@pytest.mark.parametrize(
    "tags", [{}, {"tier": "web"}, {"team": "shop"}, {**OURS, "tier": "a"}, {**OURS, "tier": "z"}, {**OURS, "team": ""}]
)
def test_what_lacks_a_tag_or_carries_another_value_is_refused(tags: Mapping[str, str]) -> None:
    assert "carries none of the tags in executor.allow" in refusal_now(reboot(), RUNNING, limits(BY_TAGS), tags)


@pytest.mark.parametrize(
    "rule",
    [
        replace(BY_TAGS, tags={}),
        replace(BY_TAGS, account=""),
        replace(BY_TAGS, region=""),
        replace(BY_TAGS, account="", region=""),
        replace(BY_TAGS, actions=frozenset({"ec2.stop_instance"})),
        replace(BY_TAGS, account="123456789011"),
        replace(BY_TAGS, account="123456789013"),
        replace(BY_TAGS, region="us-east-0"),
        replace(BY_TAGS, region="us-east-2"),
    ],
)
def test_a_rule_by_tags_that_is_not_whole_or_of_another_place_allows_nothing(rule: Allowed) -> None:
    for said in (refusal(reboot(), limits(rule)), refusal_now(reboot(), RUNNING, limits(rule), OURS)):
        assert "instance i-1 is not in executor.aws_ec2_instance_whitelist" in said
    assert group_of(reboot(), limits(rule)) == ("", 0)
    assert not is_rehearsed(reboot(), limits(replace(rule, dry_run=True)))


def test_a_listed_instance_is_not_the_one_of_that_id_elsewhere() -> None:
    listed = Limits(ec2_instances=frozenset({"i-1"}), home=HOME)
    assert refusal(reboot(), listed) == ""
    assert refusal(reboot(account=ACCOUNT, region=REGION), listed) == ""
    for account in ("123456789011", "123456789013"):
        assert f"of account {account} is not in executor.allow" in refusal(reboot(account=account), listed)
    for region in ("us-east-0", "us-east-2"):
        assert f"of region {region} is not in executor.allow" in refusal(reboot(region=region), listed)


def test_an_action_or_a_rule_can_be_for_rehearsal_only() -> None:
    rehearsed = replace(limits(BY_ARN), rehearsed=frozenset({"ec2.reboot_instance"}))
    assert is_rehearsed(reboot(), rehearsed)
    assert not is_rehearsed(reboot_database(), rehearsed)
    dry = limits(replace(BY_ARN, dry_run=True), replace(BY_TAGS, dry_run=True))
    assert is_rehearsed(reboot_database(), dry)
    assert is_rehearsed(reboot(), dry)
    assert not is_rehearsed(reboot_database("customers"), dry)
    assert not is_rehearsed(reboot(region="us-east-2"), dry)


def test_the_group_of_a_resource_is_the_rule_that_chose_it() -> None:
    three = replace(BY_ARN, arns=frozenset({DATABASE, f"{DATABASE}2", f"{DATABASE}3"}))
    here = Limits(ec2_instances=frozenset({"i-2", "i-3"}), allowed=(BY_TAGS, three), home=HOME)
    assert group_of(reboot("i-2"), here) == ("executor.aws_ec2_instance_whitelist", 2)
    assert group_of(reboot("i-1"), here) == ("executor.allow.0", 1)
    assert group_of(reboot_database(), here) == ("executor.allow.1", 3)
    assert group_of(reboot_database("customers"), here) == ("", 0)


GROUP = Allowed(
    actions=frozenset({"autoscaling.set_desired_capacity"}),
    arns=frozenset({f"arn:aws:autoscaling:{REGION}:{ACCOUNT}:autoScalingGroup:*:autoScalingGroupName/workers"}),
)


def scaled(live: object, wanted: int, **bounds: object) -> str:
    now = {"status": "active", "desired": live, **bounds}
    return refusal_now(capacity(wanted), now, limits(GROUP))  # type: ignore[arg-type]


@pytest.mark.parametrize(("live", "wanted"), [(2, 2), (2, 3), (3, 8), (8, 3), (2, 7), (7, 2)])
def test_a_number_may_change_by_as_much_as_one_step_allows(live: int, wanted: int) -> None:
    assert scaled(live, wanted) == ""


@pytest.mark.parametrize(("live", "wanted"), [(2, 8), (9, 3), (1, 50), (50, 1)])
def test_and_by_no_more(live: int, wanted: int) -> None:
    assert f"from {live} to {wanted} is more than executor.max_scale_step 5 at once" in scaled(live, wanted)


@pytest.mark.parametrize(("wanted", "good"), [(1, False), (2, True), (3, True), (4, True), (5, False)])
def test_the_bounds_of_the_resource_itself_hold(wanted: int, good: bool) -> None:
    assert ("outside the bounds of the resource itself, 2 to 4" in scaled(3, wanted, least=2, most=4)) is not good
    assert scaled(3, wanted, least=2) == ""
    assert scaled(3, wanted, most=4) == ""


def test_a_resource_that_does_not_tell_its_number_is_not_compared() -> None:
    assert refusal_now(capacity(9), {"status": "active"}, limits(GROUP)) == ""


@pytest.mark.parametrize(("wanted", "word"), [(1, "below"), (2, ""), (30, ""), (31, "above")])
def test_the_bounds_of_the_settings_hold_whatever_is_there_now(wanted: int, word: str) -> None:
    bounded = replace(limits(GROUP), min_desired_count=2, max_desired_count=30)
    said = refusal(capacity(wanted), bounded)
    assert (f"desired_capacity {wanted} is {word} executor." in said) if word else (said == "")
