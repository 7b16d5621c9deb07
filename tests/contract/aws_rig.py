"""What the suites of the Cloud port share: moto over HTTP with a small estate, and a proxy that ill-treats the wire."""

import http.client
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest

from sentinel.adapters.aws import AwsCloud, StaticCredentials
from sentinel.adapters.in_memory_cloud import InMemoryCloud
from sentinel.clock import SystemClock
from sentinel.ids import PlanId, step_key
from sentinel.incidents.nouns import Scalar, Step
from sentinel.ports import Cloud
from sentinel.remediation.action import Window
from sentinel.remediation.actions import target_of
from sentinel.sandbox.moto_process import MotoProcess

REGION = "us-east-1"
SECRET = "not-a-real-secret-key"
PAIR = StaticCredentials(access_key_id="AKIAIOSFODNN7EXAMPLE", secret_access_key=SECRET)
KEY = step_key(PlanId("inc-20260101-00000000-1.p1"), 0)


def just_now() -> Window:
    """When a call that was made a moment ago was made."""
    now_ms = SystemClock().now_ms()
    return Window(from_ms=now_ms - 60_000, until_ms=now_ms + 60_000)


class FaultProxy:
    """Forwards to `upstream`, counts what it received by operation, and ill-treats the next requests as told."""

    def __init__(self, upstream: str) -> None:
        self.received: list[str] = []
        self.mode = "pass"
        self.answer: tuple[int, str, bytes] = (200, "text/xml", b"")
        self.release = threading.Event()
        proxy = self
        host = urlsplit(upstream).netloc

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                target = self.headers.get("X-Amz-Target", "")
                proxy.received.append(target.rpartition(".")[2] or parse_qs(body.decode())["Action"][0])
                if proxy.mode == "answer":
                    self._reply(*proxy.answer)
                    return
                upstream_connection = http.client.HTTPConnection(host, timeout=20)
                upstream_connection.request("POST", self.path, body, dict(self.headers))
                reply = upstream_connection.getresponse()
                content = reply.read()
                upstream_connection.close()
                if proxy.mode == "hang":
                    proxy.release.wait(2)  # longer than the impatient adapter waits
                if proxy.mode in ("drop", "hang"):
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                if proxy.mode == "cut":
                    content = content[: len(content) // 2]
                self._reply(reply.status, reply.headers["Content-Type"], content)

            def _reply(self, status: int, kind: str, content: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def count(self, operation: str) -> int:
        return self.received.count(operation)

    def stop(self) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@dataclass(frozen=True)
class Rig:
    """A cloud with one service of two tasks and one running instance."""

    cloud: Cloud
    cluster: str
    instance: str

    def step(self, action: str, **params: Scalar) -> Step:
        own: dict[str, Scalar] = (
            {"cluster": self.cluster, "service": "payments"}
            if action.startswith("ecs.")
            else {"instance_id": self.instance}
        )
        filled = {**own, **params}
        return Step(action=action, target=target_of(action, filled), params=filled)


class Estate:
    """One cluster, service and instance in moto, made once and put back before each test: a reset takes longer."""

    def __init__(self, url: str) -> None:
        self.url = url
        session = boto3.session.Session("AKIAIOSFODNN7EXAMPLE", SECRET, region_name=REGION)
        self._ecs = session.client("ecs", endpoint_url=url)
        self._ec2 = session.client("ec2", endpoint_url=url)
        self.cluster = self._ecs.create_cluster(clusterName="shop")["cluster"]["clusterArn"]
        container = {"name": "a", "image": "b", "memory": 64}
        self._ecs.register_task_definition(family="payments", containerDefinitions=[container])  # type: ignore[list-item]
        self._ecs.create_service(cluster="shop", serviceName="payments", taskDefinition="payments", desiredCount=2)
        run = self._ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1)
        self.instance = run["Instances"][0]["InstanceId"]

    def put_back(self) -> None:
        """Two tasks running, and the instance too."""
        self._ecs.update_service(cluster="shop", service="payments", desiredCount=2)
        self._ec2.start_instances(InstanceIds=[self.instance])

    def close(self) -> None:
        self._ecs.close()
        self._ec2.close()


def memory_rig() -> Rig:
    """The twin in memory."""
    cloud = InMemoryCloud(region=REGION)
    cluster = f"arn:aws:ecs:{REGION}:123456789012:cluster/shop"
    cloud.add_service(cluster, "payments", 2)
    cloud.add_instance("i-0abc")
    return Rig(cloud, cluster, "i-0abc")


@pytest.fixture(scope="session")
def estate() -> Iterator[Estate]:
    """moto as its own process, with the estate in it."""
    with MotoProcess(SystemClock()) as moto:
        made = Estate(moto.url)
        yield made
        made.close()


@pytest.fixture(scope="session")
def aws_cloud(estate: Estate) -> AwsCloud:
    """The real adapter, straight to moto."""
    return AwsCloud(REGION, estate.url, call_timeout_s=10, credentials=PAIR)


@pytest.fixture(params=["in memory", "aws"])
def rig(request: pytest.FixtureRequest) -> Rig:
    """The twin, then the real adapter."""
    if request.param == "in memory":
        return memory_rig()
    estate: Estate = request.getfixturevalue("estate")
    estate.put_back()
    return Rig(request.getfixturevalue("aws_cloud"), estate.cluster, estate.instance)


@pytest.fixture(scope="session")
def session_proxy(estate: Estate) -> Iterator[FaultProxy]:
    """One proxy before moto."""
    made = FaultProxy(estate.url)
    yield made
    made.stop()


@pytest.fixture
def proxy(session_proxy: FaultProxy) -> Iterator[FaultProxy]:
    """The proxy, well-behaved and with nothing counted."""
    session_proxy.mode = "pass"
    session_proxy.received.clear()
    yield session_proxy
    session_proxy.mode = "pass"


@pytest.fixture(scope="session")
def wired_cloud(session_proxy: FaultProxy) -> AwsCloud:
    """The real adapter through the proxy, impatient."""
    made = AwsCloud(REGION, session_proxy.url, call_timeout_s=0.7, credentials=PAIR)
    made.whoami()  # asked once in the life of a process; the faults of a test are for other calls
    return made


@pytest.fixture
def wired(estate: Estate, wired_cloud: AwsCloud, proxy: FaultProxy) -> Rig:
    """A rig whose calls go through the proxy."""
    estate.put_back()
    return Rig(wired_cloud, estate.cluster, estate.instance)
