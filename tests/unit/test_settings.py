"""Settings: where each comes from, what is refused and in which words, and that no secret is ever shown."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from actors.wiring_approval import value_key
from sentinel.errors import Invalid
from sentinel.settings import Detection, Settings, Store
from sentinel.settings_loader import load

CLUSTER = "arn:aws:ecs:us-east-1:123456789012:cluster/prod"
SECRET = "s3cr3t-Zx9"
SLACK = {"SENTINEL_SLACK_BOT_TOKEN": f"xoxb-{SECRET}", "SENTINEL_SLACK_SIGNING_SECRET": SECRET}
REBOOT = {"action": "ec2.reboot_instance", "params": {"instance_id": "i-1"}}
WriteYaml = Callable[[object], dict[str, str]]


@pytest.fixture
def in_yaml(tmp_path: Path) -> WriteYaml:
    """Writes a configuration, as a tree or as text, and answers the environment that names it."""

    def write(content: object) -> dict[str, str]:
        path = tmp_path / "sentinel.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
        return {"SENTINEL_CONFIG": str(path)}

    return write


def refused(environ: Mapping[str, str]) -> Invalid:
    """The error of settings that are wrong: one line that says what was expected, and no secret."""
    with pytest.raises(Invalid) as caught:
        load(environ)
    text = str(caught.value)
    assert "\n" not in text
    assert "expected " in text
    assert SECRET not in text + repr(caught.value) + repr(caught.value.value)
    return caught.value


def test_without_anything_the_defaults_are_safe() -> None:
    settings = load({})
    assert settings.executor.backend == "sandbox"
    assert settings.executor.dry_run is True
    assert settings.executor.aws_ec2_instance_whitelist == settings.executor.aws_ecs_cluster_whitelist == ()
    assert settings.store.url.startswith("sqlite:///")
    assert settings.api.host == "127.0.0.1"
    assert not settings.slack.active
    assert settings.qdrant.enabled
    assert settings.qdrant.host == ""


# DESIGN.md, section 7: these must work as written.
AS_WRITTEN: dict[str, tuple[dict[str, str], Callable[[Settings], object], object]] = {
    "SENTINEL_EXECUTOR_BACKEND": ({"": "aws"}, lambda s: s.executor.backend, "aws"),
    "SENTINEL_EXECUTOR_DRY_RUN": ({"": "false"}, lambda s: s.executor.dry_run, False),
    "SENTINEL_EXECUTOR_AWS_REGION": ({"": "eu-central-1"}, lambda s: s.executor.aws_region, "eu-central-1"),
    "SENTINEL_EXECUTOR_AWS_EC2_INSTANCE_WHITELIST": (
        {"": '["i-abc123"]'},
        lambda s: s.executor.aws_ec2_instance_whitelist,
        ("i-abc123",),
    ),
    "SENTINEL_EXECUTOR_AWS_ECS_CLUSTER_WHITELIST": (
        {"": json.dumps([CLUSTER])},
        lambda s: s.executor.aws_ecs_cluster_whitelist,
        (CLUSTER,),
    ),
    "SENTINEL_SLACK_WEBHOOK_URL": (
        {"": "https://hooks.slack.com/services/T/B/x", "SENTINEL_SLACK_SIGNING_SECRET": SECRET},
        lambda s: s.slack.webhook_url.get_secret_value(),
        "https://hooks.slack.com/services/T/B/x",
    ),
    "SENTINEL_SLACK_SIGNING_SECRET": (
        {"": SECRET, "SENTINEL_SLACK_BOT_TOKEN": "xoxb-1"},
        lambda s: s.slack.signing_secret.get_secret_value(),
        SECRET,
    ),
    "SENTINEL_SLACK_BOT_TOKEN": (
        {"": "xoxb-1", "SENTINEL_SLACK_SIGNING_SECRET": SECRET},
        lambda s: s.slack.bot_token.get_secret_value(),
        "xoxb-1",
    ),
    "SENTINEL_QDRANT_ENABLED": ({"": "true"}, lambda s: s.qdrant.enabled, True),
    "SENTINEL_QDRANT_HOST": ({"": "qdrant.internal"}, lambda s: s.qdrant.host, "qdrant.internal"),
    "SENTINEL_QDRANT_PORT": ({"": "6333"}, lambda s: s.qdrant.port, 6333),
    "SENTINEL_DETECTION_IGNORE": (
        {"": '[{"metric": "go_*"}, {"labels": {"namespace": "test-*"}}]'},
        lambda s: [
            s.detection.watching.watches((m, (("namespace", n),)))
            for m, n in (("go_gc", ""), ("a", "test-1"), ("a", "b"))
        ],
        [False, False, True],
    ),
    "SENTINEL_STORE_URL": ({"": "sqlite:////data/j.db"}, lambda s: s.store.url, "sqlite:////data/j.db"),
}


@pytest.mark.parametrize("name", AS_WRITTEN)
def test_a_documented_name_works_as_written(name: str) -> None:
    values, read, wanted = AS_WRITTEN[name]
    assert read(load({key or name: value for key, value in values.items()})) == wanted


SERVER = "postgresql+psycopg://u@h/d"


def test_postgresql_works_as_written() -> None:
    settings = load({"SENTINEL_STORE_URL": SERVER, "SENTINEL_SLACK_VALUE_KEY": SECRET * 4})
    assert (settings.store.url, settings.store.file) == (SERVER, None)


def test_machines_that_share_a_store_need_one_key_for_what_they_seal() -> None:
    error = refused({"SENTINEL_STORE_URL": SERVER})
    assert error.field == "webhooks.slack.value_key"
    assert "SENTINEL_SLACK_VALUE_KEY" in str(error)
    assert load({"SENTINEL_STORE_URL": "sqlite:////a/j.db"}).store.file == Path("/a/j.db")


def test_the_key_lies_beside_sqlite_wherever_checkpoints_go(tmp_path: Path) -> None:
    there = Detection(checkpoint_path="s3://bucket/prefix")
    key = value_key(Settings(store=Store(url=f"sqlite:///{tmp_path}/j.db"), detection=there))
    assert key.hex() in next(tmp_path.iterdir()).read_text()
    with pytest.raises(Invalid, match="value_key"):
        value_key(Settings(store=Store(url=SERVER), detection=there))


def test_the_documented_sections_work_in_yaml(in_yaml: WriteYaml) -> None:
    step = {"action": "ecs.scale_service", "params": {"cluster": CLUSTER, "service": "{service}", "desired_count": 4}}
    settings = load(
        in_yaml(
            {
                "executor": {"dry_run": False},
                "qdrant": {"enabled": False},
                "webhooks": {"slack": {"bot_token": "xoxb-1", "signing_secret": SECRET}},
                "store": {"url": "sqlite:///j.db"},
                "detection": {"alarms_per_day": 0.5},
                "correlation": {"topology": {"web": ["cart"]}},
                "approval": {"required": 2, "approvers": ["slack:T1/U1"]},
                "runbooks": [{"name": "scale-out", "steps": [step]}],
                "api": {"port": 9000},
                "ray": {"namespace": "other"},
            }
        )
    )
    assert settings.slack.active
    assert settings.approval.required == 2
    assert settings.correlation.topology == {"web": ("cart",)}
    assert settings.runbooks[0].runbook.uses[0].action == "ecs.scale_service"


def test_the_environment_wins_over_the_file(in_yaml: WriteYaml) -> None:
    environ = in_yaml({"executor": {"dry_run": False, "aws_region": "eu-west-1"}, "api": {"port": 9000}})
    settings = load({**environ, "SENTINEL_EXECUTOR_AWS_REGION": "us-west-2", "SENTINEL_API_PORT": "9001"})
    assert (settings.executor.aws_region, settings.executor.dry_run, settings.api.port) == ("us-west-2", False, 9001)


def test_our_own_names_win_over_the_standard_ones() -> None:
    standard = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "RAY_ADDRESS": "auto"}
    assert load(standard).executor.aws_endpoint_url == "http://127.0.0.1:1"
    assert load(standard).ray.address == "auto"
    ours = {**standard, "SENTINEL_EXECUTOR_AWS_ENDPOINT_URL": "http://127.0.0.1:2", "SENTINEL_RAY_ADDRESS": "x:6379"}
    assert load(ours).executor.aws_endpoint_url == "http://127.0.0.1:2"
    assert load(ours).ray.address == "x:6379"


def test_what_the_commands_take_from_the_environment_is_no_setting() -> None:
    assert load({"SENTINEL_API_URL": "http://127.0.0.1:1", "SENTINEL_KEY": SECRET}) == Settings()


def test_a_variable_is_filled_in_wherever_it_stands(in_yaml: WriteYaml) -> None:
    tree = {"store": {"url": "sqlite:///${DIR}/${NAME}.db"}, "correlation": {"topology": {"web": ["${NAME}"]}}}
    settings = load({**in_yaml(tree), "DIR": "/data", "NAME": "j"})
    assert settings.store.url == "sqlite:////data/j.db"
    assert settings.correlation.topology == {"web": ("j",)}


def test_a_variable_cannot_add_settings_of_its_own(in_yaml: WriteYaml) -> None:
    settings = load({**in_yaml({"qdrant": {"path": "${X}"}}), "X": "a\nexecutor:\n  dry_run: false"})
    assert settings.executor.dry_run is True
    assert settings.qdrant.path == "a\nexecutor:\n  dry_run: false"


def test_a_variable_that_is_not_set_is_named(in_yaml: WriteYaml) -> None:
    assert refused(in_yaml({"store": {"url": "${NOWHERE}"}})).field == "${NOWHERE}"


UNKNOWN = {
    "SENTINEL_EXECUTOR_DRYRUN": "SENTINEL_EXECUTOR_DRY_RUN",
    "SENTINEL_QDRANT_HOSTS": "SENTINEL_QDRANT_HOST",
    "SENTINEL_EXECUTER_DRY_RUN": "SENTINEL_EXECUTOR_DRY_RUN",
    "SENTINEL_SLACK_TOKEN": "SENTINEL_SLACK_BOT_TOKEN",
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_name_is_refused_with_the_nearest(name: str) -> None:
    error = refused({name: SECRET})
    assert error.field == name
    assert str(error).endswith(f"did you mean {UNKNOWN[name]}?")


@pytest.mark.parametrize(
    ("tree", "field", "nearest"),
    [
        ({"executor": {"dryrun": True}}, "executor.dryrun", "dry_run"),
        ({"exekutor": {}}, "exekutor", "executor"),
        ({"webhooks": {"slack": {"bot-token": SECRET}}}, "webhooks.slack.bot-token", "bot_token"),
        (
            {"runbooks": [{"name": "a", "steps": [REBOOT], "verfy_within_s": 1}]},
            "runbooks.0.verfy_within_s",
            "verify_within_s",
        ),
        (
            {"runbooks": [{"name": "a", "match": {"servise": "x"}, "steps": [REBOOT]}]},
            "runbooks.0.match.servise",
            "service",
        ),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(in_yaml: WriteYaml, tree: Any, field: str, nearest: str) -> None:
    error = refused(in_yaml(tree))
    assert error.field == field
    assert str(error).endswith(f"did you mean {nearest}?")


WRONG: dict[str, tuple[dict[str, str], str, str]] = {
    "a number that is none": ({"SENTINEL_API_PORT": "eighty"}, "api.port", "integer"),
    "a port out of range": ({"SENTINEL_API_PORT": "70000"}, "api.port", "less than or equal to 65535"),
    "not a number": ({"SENTINEL_DETECTION_ALARMS_PER_DAY": "nan"}, "detection.alarms_per_day", "finite"),
    "more than all numbers": ({"SENTINEL_CORRELATION_GROUP_WAIT_S": "inf"}, "correlation.group_wait_s", "finite"),
    "neither yes nor no": ({"SENTINEL_EXECUTOR_DRY_RUN": "maybe"}, "executor.dry_run", "boolean"),
    "a backend that is none": ({"SENTINEL_EXECUTOR_BACKEND": "gcp"}, "executor.backend", "'sandbox' or 'aws'"),
    "a region that is none": ({"SENTINEL_EXECUTOR_AWS_REGION": "us-east"}, "executor.aws_region", "pattern"),
    "a list that is not JSON": (
        {"SENTINEL_EXECUTOR_AWS_EC2_INSTANCE_WHITELIST": "i-abc123"},
        "SENTINEL_EXECUTOR_AWS_EC2_INSTANCE_WHITELIST",
        'JSON, such as ["a", "b"]',
    ),
    "an instance id that is none": (
        {"SENTINEL_EXECUTOR_AWS_EC2_INSTANCE_WHITELIST": '["*"]'},
        "executor.aws_ec2_instance_whitelist.0",
        "pattern",
    ),
    "a cluster that is no ARN": (
        {"SENTINEL_EXECUTOR_AWS_ECS_CLUSTER_WHITELIST": '["prod"]'},
        "executor.aws_ecs_cluster_whitelist",
        "arn:aws:ecs:REGION:ACCOUNT:cluster/NAME",
    ),
    "a sandbox on somebody else's AWS": (
        {"SENTINEL_EXECUTOR_AWS_ENDPOINT_URL": "https://ec2.us-east-1.amazonaws.com"},
        "executor",
        "a loopback aws_endpoint_url, not one on ec2.us-east-1.amazonaws.com",
    ),
    "a sandbox on an address that only looks like loopback": (
        {"AWS_ENDPOINT_URL": "http://127.0.0.1.evil.example"},
        "executor",
        "a loopback aws_endpoint_url",
    ),
    "Slack that is on without a signing secret": (
        {"SENTINEL_SLACK_ENABLED": "true", "SENTINEL_SLACK_BOT_TOKEN": SECRET},
        "webhooks.slack",
        "a signing_secret beside it",
    ),
    "a token without a signing secret": ({"SENTINEL_SLACK_BOT_TOKEN": SECRET}, "webhooks.slack", "a signing_secret"),
    "a webhook without a signing secret": (
        {"SENTINEL_SLACK_WEBHOOK_URL": f"https://hooks.slack.com/services/{SECRET}"},
        "webhooks.slack",
        "a signing_secret",
    ),
    "Slack that is on with nothing to post with": (
        {"SENTINEL_SLACK_ENABLED": "true", "SENTINEL_SLACK_SIGNING_SECRET": SECRET},
        "webhooks.slack",
        "a bot_token or a webhook_url",
    ),
    "a database of another kind": ({"SENTINEL_STORE_URL": f"mysql://u:{SECRET}@h/d"}, "store.url", "sqlite:///PATH"),
    "a key for Qdrant in the clear": (
        {"SENTINEL_QDRANT_API_KEY": SECRET, "SENTINEL_QDRANT_HOST": "qdrant.internal"},
        "qdrant",
        "qdrant.https",
    ),
    "no series at all": ({"SENTINEL_DETECTION_MAX_SERIES": "0"}, "detection.max_series", "greater than or equal to 1"),
    "no approval at all": ({"SENTINEL_APPROVAL_REQUIRED": "0"}, "approval.required", "greater than or equal to 1"),
    "a file that is not there": ({"SENTINEL_CONFIG": "nowhere.yaml"}, "SENTINEL_CONFIG", "No such file"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_value_is_refused_by_name(case: str) -> None:
    environ, field, said = WRONG[case]
    error = refused(environ)
    assert error.field == field
    assert said in str(error)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("executor: [", "valid YAML (line 1)"),
        ("executor:\n  dry_run: true\n bad", "valid YAML (line 3)"),
        ("- a\n- b", "a YAML mapping of sections"),
        ("just a text", "a YAML mapping of sections"),
        ("a: !!python/object/apply:os.system ['true']", "valid YAML"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(in_yaml: WriteYaml, text: str, said: str) -> None:
    error = refused(in_yaml(text))
    assert error.field == "SENTINEL_CONFIG"
    assert said in str(error)


def test_an_empty_file_is_a_configuration(in_yaml: WriteYaml) -> None:
    assert load(in_yaml("# nothing yet\n")) == Settings()


def test_a_section_that_is_a_text_is_refused(in_yaml: WriteYaml) -> None:
    assert refused({**in_yaml({"api": "on"}), "SENTINEL_API_PORT": "9000"}).field == "api"


RUNBOOKS: dict[str, tuple[Any, str, str]] = {
    "an unknown action": (
        [{"name": "a", "steps": [{"action": "ecs.destroy"}]}],
        "runbooks.0",
        "one of autoscaling.set_desired_capacity",
    ),
    "a missing parameter": ([{"name": "a", "steps": [{"action": "ec2.reboot_instance"}]}], "runbooks.0", "instance id"),
    "no steps": ([{"name": "a", "steps": []}], "runbooks.0.steps", "at least 1 item"),
    "a name with blanks": ([{"name": "scale out", "steps": []}], "runbooks.0.name", "pattern"),
    "one name twice": (
        [{"name": "a", "steps": [REBOOT]}] * 2,
        "settings",
        "the name 'a' is used twice",
    ),
}


@pytest.mark.parametrize("case", RUNBOOKS)
def test_a_runbook_that_is_wrong_is_refused(in_yaml: WriteYaml, case: str) -> None:
    runbooks, field, said = RUNBOOKS[case]
    error = refused(in_yaml({"runbooks": runbooks}))
    assert error.field == field
    assert said in str(error)


def test_no_secret_is_shown() -> None:
    settings = load(
        {
            **SLACK,
            "SENTINEL_SLACK_WEBHOOK_URL": f"https://hooks.slack.com/services/{SECRET}",
            "SENTINEL_QDRANT_API_KEY": SECRET,
            "SENTINEL_STORE_URL": f"postgresql+psycopg://sentinel:{SECRET}@db/sentinel",
            "SENTINEL_SLACK_VALUE_KEY": SECRET * 4,
        }
    )
    assert SECRET not in repr(settings) + str(settings) + f"{settings.slack} {settings.store} {settings.qdrant}"


@pytest.mark.parametrize("name", [*SLACK, "SENTINEL_SLACK_WEBHOOK_URL", "SENTINEL_QDRANT_API_KEY"])
def test_a_secret_of_a_wrong_kind_is_not_shown(in_yaml: WriteYaml, name: str) -> None:
    section, _, field = name.removeprefix("SENTINEL_").lower().partition("_")
    below: dict[str, Any] = {section: {field: [SECRET]}}
    assert field in refused(in_yaml({"webhooks": below} if section == "slack" else below)).field


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load({}).executor.dry_run = False  # type: ignore[misc]
