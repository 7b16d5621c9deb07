"""What is wrong is said in one line that names the field, the value and what was expected; nothing else is harmed."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sentinel.clock import SystemClock
from tests.chaos.running import System, environ, running, waited
from tests.scenarios.ray_head import free_ports

pytestmark = pytest.mark.timeout(180)  # the first test waits for the system to start
OTHER_CLUSTER = "arn:aws:ecs:us-east-1:999999999999:cluster/elsewhere"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system that may act on another cluster than the shop's."""
    allowed = {"SENTINEL_EXECUTOR_AWS_ECS_CLUSTER_WHITELIST": json.dumps([OTHER_CLUSTER])}
    with running(tmp_path_factory.mktemp("bad-input"), **allowed) as system:
        yield system


def sample(**changes: object) -> dict[str, object]:
    good = {"metric": "m", "labels": {"service": "s"}, "timestamp": SystemClock().now_ms() / 1000, "value": 1.0}
    return {**good, **changes}


SAMPLES: dict[str, tuple[str, list[str]]] = {
    "no JSON at all": ("{", ["JSON"]),
    "nothing": ("", ["body"]),
    "a text": ('"cpu is high"', ["expected"]),
    "a value that is a text": (json.dumps([sample(value="high")]), ["value", "high", "number"]),
    "a value that is no number": ('[{"metric": "m", "labels": {}, "timestamp": 1, "value": NaN}]', ["value", "NaN"]),
    "a value beyond all numbers": (json.dumps([sample()]).replace("1.0}", "1e999}"), ["value"]),
    "a time that is a text": (json.dumps([sample(timestamp="yesterday")]), ["timestamp", "yesterday"]),
    "a time in another unit": (json.dumps([sample(timestamp=1)]), ["timestamp", "2000 and 2100"]),
    "a time that is to come": (json.dumps([sample(timestamp=4_000_000_000)]), ["timestamp"]),
    "labels that are a list": (json.dumps([sample(labels=["a"])]), ["labels"]),
    "no metric": (json.dumps([{"labels": {}, "timestamp": 1, "value": 1}]), ["metric"]),
}


@pytest.mark.parametrize("case", SAMPLES)
def test_a_sample_that_is_wrong_is_refused_by_name(shop: System, case: str) -> None:
    body, names = SAMPLES[case]
    answer = post(shop, "/api/v1/samples", body)
    assert answer.status_code == 400
    assert answer.headers["content-type"].startswith("application/json")
    for name in names:
        assert name in answer.text
    assert "Traceback" not in answer.text


def test_one_bad_sample_does_not_sink_the_others(shop: System) -> None:
    answer = post(shop, "/api/v1/samples", json.dumps([sample(), sample(value=None), sample(metric="n")]))
    assert answer.status_code == 202
    told = answer.json()
    assert (told["received"], told["scored"]) == (3, 2)
    [rejected] = told["rejected"]
    assert (rejected["index"], rejected["field"]) == (1, "value")


CALLS: dict[str, tuple[str, str, Any, int, list[str]]] = {
    "a digest that is none": (
        *("POST", "/api/v1/plans/inc-20260101-00000000-1.p1/approve", {"digest": "yes"}, 400),
        ["digest", "yes"],
    ),
    "a word too many": (
        *("POST", "/api/v1/plans/inc-20260101-00000000-1.p1/approve", {"digest": "0" * 64, "force": True}, 400),
        ["force"],
    ),
    "a plan id that is none": ("POST", "/api/v1/plans/everything/approve", {"digest": "0" * 64}, 400, ["plan_id"]),
    "a plan that is not there": (
        *("POST", "/api/v1/plans/inc-20260101-00000000-1.p1/approve", {"digest": "0" * 64}, 404),
        ["inc-20260101-00000000-1.p1"],
    ),
    "an incident that is not there": ("GET", "/api/v1/incidents/inc-none", None, 404, ["inc-none"]),
    "a state that is none": ("GET", "/api/v1/incidents?state=broken", None, 400, ["state", "broken"]),
    "a page without end": ("GET", "/api/v1/incidents?limit=100000", None, 400, ["limit", "100000"]),
    "a click that nobody signed": ("POST", "/slack/events", {"payload": "{}"}, 401, ["x-slack-"]),
}


@pytest.mark.parametrize("case", CALLS)
def test_a_call_that_is_wrong_is_answered_in_one_line(shop: System, case: str) -> None:
    method, path, body, status, names = CALLS[case]
    answer = shop.http.request(method, f"{shop.addresses.api_url}{path}", json=body)
    assert answer.status_code == status, answer.text
    said = answer.json()["error"]
    assert "\n" not in said
    for name in names:
        assert name in said


def test_after_all_that_the_system_is_well(shop: System) -> None:
    assert shop.client.ready() is not None
    assert shop.client.get("/api/v1/audit")["intact"]


@pytest.mark.timeout(180)
def test_what_is_outside_the_allow_list_is_left_to_people_with_the_reason(shop: System) -> None:
    story = shop.story("traffic_surge", "payments")
    story.learned()
    story.injected()
    story.detected()
    incident = waited(lambda: story._incident_if("escalated"), 30, "the incident in the hands of people")
    assert "cluster/shop is not in executor.aws_ecs_cluster_whitelist" in incident["state_reason"]
    assert incident["plans"] == []
    waited(lambda: story._message(with_buttons=False), 20, "a message without buttons")
    assert shop.aws_calls() == []
    shop.calm()


def up(directory: Path, **variables: str) -> str:
    """What `sentinel up` says on its way out; it must end by itself, with exit code 2 and one line."""
    ran = subprocess.run(
        [sys.executable, "-m", "sentinel", "up"],
        cwd=directory,
        env=environ(free_ports(1)[0]) | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 2, ran.stdout + ran.stderr
    [line] = ran.stderr.strip().splitlines()
    assert line.startswith("sentinel: ")
    return line


SECRET = "xoxb-not-for-your-eyes"
STARTS: dict[str, tuple[dict[str, str], list[str]]] = {
    "a setting nobody knows": ({"SENTINEL_EXECUTOR_DRYRUN": "1"}, ["did you mean SENTINEL_EXECUTOR_DRY_RUN?"]),
    "Slack without its secret": (
        {"SENTINEL_SLACK_ENABLED": "true", "SENTINEL_SLACK_BOT_TOKEN": SECRET},
        ["webhooks.slack", "expected a signing_secret"],
    ),
    "a region that is none": (
        {"SENTINEL_EXECUTOR_AWS_REGION": "the-moon"},
        ["executor.aws_region", "'the-moon'", "expected"],
    ),
    "a door open to everyone": ({"SENTINEL_API_HOST": "0.0.0.0"}, ["api.host", "0.0.0.0", "api.keys"]),
}


@pytest.mark.parametrize("case", STARTS)
def test_a_start_with_wrong_settings_ends_with_one_line(tmp_path: Path, case: str) -> None:
    variables, names = STARTS[case]
    said = up(tmp_path, **variables)
    for name in names:
        assert name in said
    assert SECRET not in said


def test_a_port_that_another_program_has_is_said_to_be_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = up(tmp_path, SENTINEL_API_PORT=port)
    assert f"port {port} of 127.0.0.1 is taken by another program" in said
    assert "SENTINEL_API_PORT" in said


def test_a_second_start_is_told_of_the_first(shop: System, tmp_path: Path) -> None:
    url = shop.addresses.api_url
    said = up(tmp_path, SENTINEL_API_PORT=url.rpartition(":")[2])
    assert f"Sentinel is already running at {url}" in said
    assert shop.client.ready() is not None


def test_a_second_start_on_the_same_files_is_told_whose_they_are(shop: System, tmp_path: Path) -> None:
    # The first system holds the memory of incidents, from the first incident it looked one up for.
    files = Path(f"/proc/{shop.pid}/cwd").resolve() / ".sentinel" / "demo"
    said = up(tmp_path, SENTINEL_QDRANT_PATH=str(files / "qdrant"))
    assert str(files / "qdrant") in said


def post(shop: System, path: str, body: str) -> httpx.Response:
    headers = {"Content-Type": "application/json"}
    return shop.http.post(f"{shop.addresses.api_url}{path}", content=body.encode(), headers=headers)
