"""Starts the sandbox's processes beside Sentinel, and settings that point at them."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import httpx
import msgspec

from sentinel.cli.locks import claimed
from sentinel.cli.waiting import wait_until
from sentinel.errors import NotFound, Unavailable
from sentinel.settings import Settings
from sentinel.settings_loader import load

FILES = Path(".sentinel/demo")
ADDRESSES = FILES / "addresses.json"
_UP_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where the parts of a running sandbox are, and the Sentinel they belong to."""

    api_url: str
    slack_url: str
    control_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """A running sandbox and the settings of a Sentinel that watches it."""

    addresses: Addresses
    settings: Settings


@contextlib.contextmanager
def sandbox(environ: Mapping[str, str], tick_s: float) -> Iterator[Sandbox]:
    """The AWS and Slack doubles and the shop, for the length of the block.

    Its files are made anew under `.sentinel/demo`, so that one run's history is not the next one's. Raises
    Unavailable if a process does not come up, with what it said.
    """
    with contextlib.ExitStack() as ends:
        api_port = environ.get("SENTINEL_API_PORT", "8000")
        api_url = f"http://127.0.0.1:{api_port}"
        # A second demo of this directory must not sweep the files of the first from under it.
        ends.enter_context(claimed(FILES.with_name("demo.lock"), f"{FILES} is"))
        shutil.rmtree(FILES, ignore_errors=True)
        FILES.mkdir(parents=True, mode=0o700)
        slack_port, token, secret = _free_port(8065), f"xoxb-{os.urandom(12).hex()}", os.urandom(16).hex()
        slack_url = f"http://127.0.0.1:{slack_port}"
        ends.enter_context(
            _process(
                "sentinel.sandbox.slack",
                ["--port", str(slack_port), "--interactivity-url", f"{api_url}/slack/events"],
                ["--token", token, "--signing-secret", secret],
            )
        )
        world = ends.enter_context(_process("sentinel.sandbox", ["--sentinel-url", api_url, "--tick", str(tick_s)], []))
        started = _first_line(world)
        if wait_until(lambda: _answers(f"{slack_url}/_control/messages"), _UP_WITHIN_S) is None:
            raise Unavailable(f"the Slack double does not answer at {slack_url}")
        addresses = Addresses(api_url=api_url, slack_url=slack_url, control_url=started["control_url"])
        variables = {
            "SANDBOX_FILES": str(FILES),
            "SANDBOX_REGION": started["region"],
            "SANDBOX_AWS_URL": started["aws_url"],
            "SANDBOX_CLUSTER_ARN": started["cluster_arn"],
            "SANDBOX_SLACK_URL": slack_url,
            "SANDBOX_SLACK_TOKEN": token,
            "SANDBOX_SLACK_SECRET": secret,
            **{f"SANDBOX_INSTANCE_{name.upper()}": each for name, each in started["instances"].items()},
        }
        with as_file(files("sentinel.sandbox").joinpath("config.yaml")) as path:
            settings = load({**environ, **variables, "SENTINEL_CONFIG": str(path)})
        ADDRESSES.write_bytes(msgspec.json.encode(addresses))
        ends.callback(ADDRESSES.unlink, missing_ok=True)
        yield Sandbox(addresses=addresses, settings=settings)


def running_sandbox(api_url: str) -> Addresses:
    """The sandbox that belongs to the Sentinel at `api_url`. Raises NotFound if none is running from this directory."""
    try:
        addresses = msgspec.json.decode(ADDRESSES.read_bytes(), type=Addresses)
    except (OSError, msgspec.DecodeError):
        addresses = None
    if addresses is None or addresses.api_url != api_url.rstrip("/"):
        raise NotFound(
            f"no sandbox for {api_url} is running from this directory: start one with `sentinel demo`, "
            "or leave --api-url out to have one started"
        )
    return addresses


@contextlib.contextmanager
def _process(module: str, options: list[str], secret_options: list[str]) -> Iterator[subprocess.Popen[str]]:
    log = FILES / f"{module.rpartition('.')[2]}.log"
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(  # noqa: S603 our own modules by our own interpreter
            [sys.executable, "-m", module, *options, *secret_options],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            # Its own session: Ctrl-C reaches us, and we end it after Sentinel.
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _first_line(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        said = (FILES / "sandbox.log").read_text(encoding="utf-8").strip().splitlines()
        raise Unavailable(f"the sandbox did not start: {said[-1] if said else 'it said nothing'}")
    started: dict[str, Any] = json.loads(line)
    return started


def _answers(url: str) -> bool | None:
    try:
        return httpx.get(url, timeout=2, trust_env=False).is_success or None
    except httpx.HTTPError:
        return None


def _free_port(wished: int) -> int:
    """`wished`, so that its address stays the same from run to run, or else any."""
    for port in (wished, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            chosen: int = probe.getsockname()[1]
            return chosen
    raise Unavailable("this machine has no free port")
