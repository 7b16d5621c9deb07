"""Serve's part of the manifest on a local Ray, deployed by the same call that KubeRay's operator makes."""

import copy
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from sentinel.cli.waiting import wait_until
from sentinel.clock import SystemClock
from tests.scenarios.ray_head import ROOT, Head, free_ports, ray_head

KEY = "a telemetry key for tests"
_READY_WITHIN_S = 120.0


@dataclass(frozen=True, slots=True)
class Deployed:
    """What the manifest came to on this machine."""

    head: Head
    url: str
    config: Mapping[str, Any]
    worker: Mapping[str, Any]
    files: Path


def manifest() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((ROOT / "cluster" / "rayservice.yaml").read_text(encoding="utf-8")))


def environment(worker: Mapping[str, Any], files: Path) -> dict[str, str]:
    """The worker's environment, with files of this machine in place of servers and with no way to a real AWS."""
    return {
        **{each["name"]: each["value"] for each in worker["env"] if "value" in each},
        "SENTINEL_CONFIG": str(files / "sentinel.yaml"),
        "SENTINEL_STORE_URL": f"sqlite:///{files}/journal.db",
        "SENTINEL_QDRANT_HOST": "",
        "SENTINEL_QDRANT_PATH": f"{files}/qdrant",
        "SENTINEL_DETECTION_CHECKPOINT_PATH": f"{files}/checkpoints",
        "SENTINEL_SLACK_ENABLED": "false",
        "SENTINEL_EXECUTOR_BACKEND": "sandbox",
        "TELEMETRY_KEY_SHA256": hashlib.sha256(KEY.encode()).hexdigest(),
        "ONCALL_KEY_SHA256": "0" * 64,
        "ADMIN_KEY_SHA256": "1" * 64,
        "PYTHONPATH": str(ROOT),
    }


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """The application of the manifest, ready, on a cluster of one node."""
    files = tmp_path_factory.mktemp("d")
    config_map, service = (
        next(each for each in manifest() if each["kind"] == kind) for kind in ("ConfigMap", "RayService")
    )
    (files / "sentinel.yaml").write_text(config_map["data"]["sentinel.yaml"], encoding="utf-8")
    worker = service["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]
    config = yaml.safe_load(service["spec"]["serveConfigV2"])
    [port] = free_ports(1)
    config["http_options"] |= {"host": "127.0.0.1", "port": port}
    config["applications"][0]["deployments"][0]["num_replicas"] = 1  # one a node, and this is one node
    with ray_head(environment(worker, files)) as head:
        answer = httpx.put(
            f"{head.dashboard_url}/api/serve/applications/",
            json=config,
            headers=dict(head.headers),
            timeout=60,
            trust_env=False,
        )
        assert answer.is_success, answer.text
        url = f"http://127.0.0.1:{port}"
        if wait_until(lambda: _ready(url), _READY_WITHIN_S) is None:
            pytest.fail(f"not ready: {_said(head)}")
        yield Deployed(head=head, url=url, config=config, worker=worker, files=files)


def _ready(url: str) -> bool | None:
    try:
        return httpx.get(f"{url}/health/ready", timeout=10, trust_env=False).status_code == 200 or None
    except httpx.HTTPError:
        return None


def _said(head: Head) -> str:
    return _applications(head).text[-3000:]


def _applications(head: Head) -> httpx.Response:
    return httpx.get(
        f"{head.dashboard_url}/api/serve/applications/", headers=dict(head.headers), timeout=30, trust_env=False
    )


def _end_replica(deployed: Deployed) -> None:
    """End the process of the door as a crash would, and wait for the next one."""

    def replica() -> int | None:
        [application] = _applications(deployed.head).json()["applications"].values()
        running = [each for each in application["deployments"]["door"]["replicas"] if each["state"] == "RUNNING"]
        return running[0]["pid"] if running else None

    before = replica()
    assert before
    os.kill(before, signal.SIGKILL)
    assert wait_until(lambda: replica() not in (None, before) or None, _READY_WITHIN_S), _said(deployed.head)
    assert wait_until(lambda: _ready(deployed.url), _READY_WITHIN_S), _said(deployed.head)


def _post(deployed: Deployed, headers: Mapping[str, str]) -> httpx.Response:
    sample = {
        "metric": "cpu_usage",
        "labels": {"service": "payments"},
        "timestamp": SystemClock().now_ms(),
        "value": 1,
    }
    return httpx.post(
        f"{deployed.url}/api/v1/samples", json=[sample], headers=dict(headers), timeout=30, trust_env=False
    )


@pytest.mark.timeout(240)
def test_a_posted_sample_is_scored(deployed: Deployed):
    answer = _post(deployed, {"Authorization": f"Bearer {KEY}"})
    assert answer.status_code == 202, answer.text
    assert (answer.json()["received"], answer.json()["scored"]) == (1, 1)


@pytest.mark.timeout(240)
def test_nobody_posts_without_a_key(deployed: Deployed):
    assert _post(deployed, {}).status_code == 401
    assert _post(deployed, {"Authorization": "Bearer guessed"}).status_code == 401


@pytest.mark.timeout(240)
def test_serve_took_the_config_as_it_is_written(deployed: Deployed):
    details = _applications(deployed.head).json()
    [application] = details["applications"].values()
    assert application["status"] == "RUNNING"
    assert application["deployments"]["door"]["deployment_config"]["max_replicas_per_node"] == 1
    assert details["proxy_location"] == deployed.config["proxy_location"]


@pytest.mark.timeout(240)
def test_what_the_probes_ask_answers_without_the_token(deployed: Deployed):
    places = {8000: deployed.url, 52365: deployed.head.agent_url}
    for probe in ("readinessProbe", "livenessProbe"):
        asked = deployed.worker[probe]["httpGet"]
        answer = httpx.get(f"{places[asked['port']]}{asked['path']}", timeout=10, trust_env=False)
        assert answer.status_code == 200, f"{probe}: {answer.text}"


@pytest.mark.timeout(240)
def test_the_dashboard_asks_for_the_token(deployed: Deployed):
    answer = httpx.get(f"{deployed.head.dashboard_url}/api/serve/applications/", timeout=10, trust_env=False)
    assert answer.status_code == 401


@pytest.mark.timeout(240)
def test_a_sandbox_cannot_take_over_a_sentinel_that_runs(deployed: Deployed, tmp_path: Path):
    environ = {name: value for name, value in deployed.head.environ.items() if not name.startswith("SENTINEL_")}
    [port] = free_ports(1)
    played = subprocess.run(
        [sys.executable, "-m", "sentinel", "e2e", "--auto-approve"],
        cwd=tmp_path,
        env={**environ, "RAY_ADDRESS": deployed.head.address, "SENTINEL_API_PORT": str(port)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert played.returncode == 2, played.stdout + played.stderr
    assert "already runs on the Ray cluster" in played.stderr
    assert _ready(deployed.url), "the one that runs is left as it is"


@pytest.mark.timeout(240)
def test_user_config_changes_how_detection_judges_and_a_wrong_one_is_named(deployed: Deployed):
    def put(user_config: object) -> dict[str, Any]:
        config = copy.deepcopy(dict(deployed.config))
        config["applications"][0]["deployments"][0]["user_config"] = user_config
        answer = httpx.put(
            f"{deployed.head.dashboard_url}/api/serve/applications/",
            json=config,
            headers=dict(deployed.head.headers),
            timeout=60,
            trust_env=False,
        )
        assert answer.is_success, answer.text
        settled = wait_until(_settled, _READY_WITHIN_S)
        assert settled is not None, _said(deployed.head)
        return settled

    def _settled() -> dict[str, Any] | None:
        [application] = _applications(deployed.head).json()["applications"].values()
        door = application["deployments"]["door"]
        return None if application["status"] == "DEPLOYING" or door["status"] == "UPDATING" else application

    assert put({"detection": {"alarms_per_day": 3}})["status"] == "RUNNING"
    kept = list(deployed.files.glob("checkpoints/*.settings"))
    assert kept
    assert all(b'"alarms_per_day":3.0' in each.read_bytes() for each in kept)
    assert _post(deployed, {"Authorization": f"Bearer {KEY}"}).status_code == 202
    written = {each: each.stat().st_mtime_ns for each in kept}
    _end_replica(deployed)
    assert {each: each.stat().st_mtime_ns for each in kept} == written, (
        "a new replica took user_config back for a while"
    )
    wrong = put({"detection": {"open_aftr": 3}})
    assert "did you mean open_after" in str(wrong)
    assert put({"detection": {"alarms_per_day": 3}})["status"] == "RUNNING"
