"""AWS for the sandbox: moto as its own process, the truth before it as a proxy, and the shop's estate inside."""

import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import boto3
import httpx

from sentinel.clock import Clock
from sentinel.sandbox.absent import JSON, XML, Absent
from sentinel.sandbox.cloudtrail import CloudTrail
from sentinel.sandbox.estate import SERVICES
from sentinel.sandbox.http_server import LoopbackServer, Reply, Request
from sentinel.sandbox.moto_process import MotoProcess
from sentinel.sandbox.truth import Call, Truth, call_of

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import TagTypeDef

REGION = "us-east-1"
CLUSTER = "shop"
ACCESS_KEY_ID, SECRET_ACCESS_KEY = "sandbox", "sandbox"  # moto accepts any pair
IMAGE = "ami-12c6146b"  # one that moto knows from the start
_NOT_FORWARDED = frozenset({"host", "connection", "content-length", "accept-encoding", "transfer-encoding"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Estate:
    """What the shop runs on: one cluster with a service each, and the instances by service name."""

    region: str
    cluster_arn: str
    services: tuple[str, ...]
    instances: Mapping[str, str]

    def labels(self) -> dict[str, dict[str, str]]:
        """By service, the labels that let a runbook name the resource: cluster and ecs_service, or instance_id."""
        on_ecs = {name: {"cluster": self.cluster_arn, "ecs_service": name} for name in self.services}
        return on_ecs | {name: {"instance_id": instance} for name, instance in self.instances.items()}


class AwsDouble:
    """The sandbox's AWS API at `url`. Every effectful call is a line in the file `ledger` before it is forwarded."""

    def __init__(self, clock: Clock, *, port: int = 0, delay_s: float = 1.5, ledger: Path | None = None) -> None:
        self._clock = clock
        self._delay_ms = round(delay_s * 1000)
        self.ledger = ledger
        self._calls: list[dict[str, object]] = []
        self._lock = threading.Lock()
        self._server = LoopbackServer(self._answer, port)
        self._moto = MotoProcess(clock)
        self._http = httpx.Client(base_url=self._moto.url, timeout=60, trust_env=False)
        self._truth = Truth(self._delay_ms)
        self._absent = Absent(self._delay_ms)
        self._cloudtrail = CloudTrail(self._delay_ms)

    @property
    def url(self) -> str:
        """The endpoint to give to boto3."""
        return self._server.url

    @property
    def moto_pid(self) -> int | None:
        """The process id of moto while it runs."""
        return self._moto.pid

    @property
    def calls(self) -> list[dict[str, object]]:
        """Every effectful call handed on so far, in order: at_ms, operation, targets."""
        with self._lock:
            return list(self._calls)

    def start(self) -> Estate:
        """Start moto and the proxy and build the estate. Raises Unavailable if moto does not start."""
        self._moto.start()
        self._server.start()
        return self._build()

    def reset(self) -> Estate:
        """A fresh estate with the same ids; calls and unfinished changes are forgotten."""
        self._moto.reset()
        with self._lock:
            self._truth = Truth(self._delay_ms)
            self._absent = Absent(self._delay_ms)
            self._cloudtrail = CloudTrail(self._delay_ms)
            self._calls.clear()
        return self._build()

    def stall(self, service: str) -> None:
        """From now on the tasks of this ECS service stay as many as they are, whatever is wanted."""
        with self._lock:
            self._truth.stall(service)

    def stop(self) -> None:
        """End the proxy and moto. Calling it twice is harmless."""
        self._server.stop()
        self._http.close()
        self._moto.stop()

    def __enter__(self) -> "AwsDouble":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _build(self) -> Estate:
        session = boto3.session.Session(ACCESS_KEY_ID, SECRET_ACCESS_KEY, region_name=REGION)
        ecs = session.client("ecs", endpoint_url=self.url)
        ec2 = session.client("ec2", endpoint_url=self.url)
        arn = ecs.create_cluster(clusterName=CLUSTER)["cluster"]["clusterArn"]
        instances: dict[str, str] = {}
        for name, service in SERVICES.items():
            if service.tasks:
                ecs.register_task_definition(
                    family=name, containerDefinitions=[{"name": name, "image": f"shop/{name}", "memory": 256}]
                )
                ecs.create_service(cluster=CLUSTER, serviceName=name, taskDefinition=name, desiredCount=service.tasks)
            else:
                instance = ec2.run_instances(ImageId=IMAGE, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
                tags: list[TagTypeDef] = [{"Key": "Name", "Value": name}, {"Key": "service", "Value": name}]
                ec2.create_tags(Resources=[instance], Tags=tags)
                instances[name] = instance
        ecs.close()
        ec2.close()
        services = tuple(name for name, service in SERVICES.items() if service.tasks)
        return Estate(region=REGION, cluster_arn=arn, services=services, instances=instances)

    def _answer(self, request: Request) -> Reply:
        call = call_of(request.headers, request.body)
        with self._lock:
            events = self._cloudtrail.answer(call, self._clock.now_ms())
        if events is not None:
            return Reply(status=200, content_type=JSON, body=events)
        reply = self._answered(call, request)
        with self._lock:
            error = _error_code(reply.body) if reply.status >= 400 else ""
            self._cloudtrail.note(call, request.headers.get("user-agent", ""), error, self._clock.now_ms())
        return reply

    def _answered(self, call: Call, request: Request) -> Reply:
        with self._lock:
            refused = self._truth.refusal(call, self._clock.now_ms())
            if refused is not None:
                kind = JSON if refused.startswith(b"{") else XML
                return Reply(status=400, content_type=kind, body=refused)
            if call.has_effect:
                self._record(call)
            told = self._absent.answer(call, self._clock.now_ms())
            if told is not None:
                return Reply(status=told[0], content_type=told[1], body=told[2])
        reply = self._http.request(
            request.method,
            request.path,
            content=request.body,
            headers={name: value for name, value in request.headers.items() if name not in _NOT_FORWARDED},
        )
        body = reply.content
        if reply.is_success:
            with self._lock:
                self._truth.accepted(call, self._clock.now_ms())
                body = self._truth.corrected(call, body, self._clock.now_ms())
        return Reply(status=reply.status_code, content_type=reply.headers.get("content-type", "text/xml"), body=body)

    def _record(self, call: Call) -> None:
        entry: dict[str, object] = {
            "at_ms": self._clock.now_ms(),
            "operation": call.operation,
            "targets": list(call.targets),
        }
        self._calls.append(entry)
        if self.ledger is not None:  # before forwarding: what reached AWS must survive whatever dies next
            with self.ledger.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")


def _error_code(body: bytes) -> str:
    """The code of AWS's error, in the JSON or the XML of its protocols."""
    found = re.search(rb'"__type": ?"(?:[^"]*#)?(\w+)"|<Code>([^<]+)</Code>', body)
    return next((each.decode() for each in found.groups() if each), "") if found else "Unknown"
