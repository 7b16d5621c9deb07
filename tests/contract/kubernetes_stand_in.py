"""The few calls of the Kubernetes API that Sentinel uses, over HTTP, with objects that a test may read and change.

Paths and shapes are those of the API reference (apps/v1 Deployment and Scale, v1 Pod). A controller that acts at once
stands behind it: a changed template is a new generation with every pod updated.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class KubernetesStandIn:
    """`deployments` and `pods` by name; `received` is every effectful call; `fail` is answered to the next ones."""

    def __init__(self) -> None:
        self.deployments: dict[str, dict[str, Any]] = {}
        self.pods: dict[str, dict[str, Any]] = {}
        self.received: list[tuple[str, str]] = []
        self.fail: list[int] = []
        self.drop = 0
        self.frozen = False
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                stand_in._answer(self, "GET")

            def do_PATCH(self) -> None:
                stand_in._answer(self, "PATCH")

            def do_DELETE(self) -> None:
                stand_in._answer(self, "DELETE")

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def add_deployment(self, name: str, replicas: int) -> None:
        self.deployments[name] = {
            "metadata": {"name": name, "namespace": "shop", "generation": 1, "labels": {"team": "shop"}},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": name}},
                "template": {"metadata": {}, "spec": {"containers": [{"name": name, "image": name}]}},
            },
            "status": {
                "observedGeneration": 1,
                "replicas": replicas,
                "availableReplicas": replicas,
                "updatedReplicas": replicas,
            },
        }

    def add_pod(self, name: str, uid: str) -> None:
        self.pods[name] = {
            "metadata": {"name": name, "namespace": "shop", "uid": uid},
            "spec": {"containers": [{"name": name, "image": name}]},
            "status": {"phase": "Running"},
        }

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler, method: str) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers.get("Content-Length") or 0)) or b"null")
        path, _, query = handler.path.partition("?")
        dry = "dryRun=All" in query
        if method != "GET" and not dry:
            self.received.append((method, path))
        status, content = (self.fail.pop(0), {"kind": "Status"}) if self.fail else self._done(method, path, body, dry)
        if self.drop and method != "GET":
            self.drop -= 1
            handler.close_connection = True
            handler.connection.close()
            return
        said = json.dumps(content).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(said)))
        handler.end_headers()
        handler.wfile.write(said)

    def _done(self, method: str, path: str, body: Any, dry: bool) -> tuple[int, Any]:
        match path.strip("/").split("/"):
            case ["apis", "apps", "v1", "namespaces", "shop", "deployments", name, *rest] if name in self.deployments:
                found = self.deployments[name]
                if method == "PATCH" and not dry:
                    self._patch(found, body, scale=rest == ["scale"])
                if rest == ["scale"]:
                    return 200, {"metadata": found["metadata"], "spec": {"replicas": found["spec"]["replicas"]}}
                return 200, found
            case ["api", "v1", "namespaces", "shop", "pods", name] if name in self.pods:
                found = self.pods[name]
                if method == "DELETE" and not dry:
                    del self.pods[name]
                return 200, found
        return 404, {"kind": "Status", "reason": "NotFound"}

    def _patch(self, found: dict[str, Any], body: Any, *, scale: bool) -> None:
        before = json.dumps(found["spec"])
        if scale:
            found["spec"]["replicas"] = body["spec"]["replicas"]
        else:
            annotations = found["spec"]["template"]["metadata"].setdefault("annotations", {})
            annotations.update(body["spec"]["template"]["metadata"]["annotations"])
        if json.dumps(found["spec"]) != before:
            found["metadata"]["generation"] += 1
            if not self.frozen:
                count = found["spec"]["replicas"]
                found["status"] = {
                    "observedGeneration": found["metadata"]["generation"],
                    "replicas": count,
                    "availableReplicas": count,
                    "updatedReplicas": count,
                }
