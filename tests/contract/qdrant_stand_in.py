"""A Qdrant server's REST answers, as far as the adapter asks: in this process, on loopback, in plain dictionaries.

No Qdrant server comes as a package, so this stands in for the wire; SENTINEL_TEST_QDRANT_URL names a real one.
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np


class StandIn:
    """What the server holds, and how it is asked to misbehave."""

    def __init__(self) -> None:
        self.collections: dict[str, dict[str, Any]] = {}
        self.api_key = ""
        self.fail_with: int | None = None
        self.fail_times = 0  # how many more requests fail so; below 0 all do
        self.asked: list[tuple[str, str]] = []
        self.hang = threading.Event()
        self.hang.set()
        self.port = 0

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """The status and `result` of one request."""
        name = path.split("/")[2]
        rest = path.removeprefix(f"/collections/{name}")
        collection = self.collections.get(name)
        if (method, rest) == ("GET", "/exists"):
            return 200, {"exists": collection is not None}
        if (method, rest) == ("PUT", "") and collection is not None:
            return 409, None
        if (method, rest) == ("PUT", ""):
            self.collections[name] = {"config": body, "points": {}, "indexes": {}}
            return 200, True
        if collection is None:
            return 404, None
        match method, rest:
            case "GET", "":
                return 200, _info(collection)
            case "PUT", "/index":
                collection["indexes"][body["field_name"]] = body["field_schema"]
                return 200, {"operation_id": 1, "status": "completed"}
            case "PUT", "/points":
                collection["points"].update({point["id"]: point for point in body["points"]})
                return 200, {"operation_id": 1, "status": "completed"}
            case "DELETE", "":
                del self.collections[name]
                return 200, True
            case "POST", "/points/query/batch":
                return 200, [{"points": _nearest(collection, search)} for search in body["searches"]]
            case "POST", "/points/scroll":
                return 200, _page(collection, body)
        return 404, None


@contextmanager
def qdrant_stand_in() -> Iterator[StandIn]:
    """A stand-in that listens on a free port of loopback."""
    stand_in = StandIn()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            stand_in.hang.wait(timeout=30)
            stand_in.asked.append((self.command, self.path))
            if stand_in.fail_with and stand_in.fail_times:
                stand_in.fail_times -= 1
                status, result = stand_in.fail_with, None
            elif stand_in.api_key and self.headers.get("api-key") != stand_in.api_key:
                status, result = 401, None
            else:
                status, result = stand_in.answer(
                    self.command, re.sub(r"\?.*", "", self.path), json.loads(raw) if raw else {}
                )
            answer = {"result": result, "status": "ok" if status == 200 else {"error": "refused"}, "time": 0.0}
            payload = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_PUT = do_POST = do_DELETE = _serve

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    stand_in.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield stand_in
    finally:
        stand_in.hang.set()
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


def _nearest(collection: dict[str, Any], body: dict[str, Any]) -> list[dict[str, Any]]:
    query = np.array(body["query"]["nearest"] if isinstance(body["query"], dict) else body["query"])
    conditions = (body.get("filter") or {}).get("must") or []
    # Strict mode: what has no index may not be filtered by.
    assert all(condition["key"] in collection["indexes"] for condition in conditions)
    scored = []
    for point in collection["points"].values():
        if not all(point["payload"].get(each["key"]) in each["match"]["any"] for each in conditions):
            continue
        vector = np.array(point["vector"][body["using"]])
        score = float(vector @ query / (np.linalg.norm(vector) * np.linalg.norm(query)))
        scored.append({**point, "version": 1, "score": score})
    return sorted(scored, key=lambda point: -point["score"])[: body["limit"]]


def _page(collection: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    ids = sorted(collection["points"])
    start = ids.index(body["offset"]) if body.get("offset") else 0
    page, rest = ids[start : start + body["limit"]], ids[start + body["limit"] :]
    points = [{"id": each, "payload": collection["points"][each]["payload"]} for each in page]
    return {"points": points, "next_page_offset": rest[0] if rest else None}


def _info(collection: dict[str, Any]) -> dict[str, Any]:
    return {
        "status": "green",
        "optimizer_status": "ok",
        "segments_count": 1,
        "points_count": len(collection["points"]),
        "payload_schema": {},
        "config": {
            "params": {"vectors": collection["config"]["vectors"]},
            "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
            "optimizer_config": {
                "deleted_threshold": 0.2,
                "vacuum_min_vector_number": 1000,
                "default_segment_number": 0,
                "flush_interval_sec": 5,
            },
            "metadata": collection["config"].get("metadata"),
        },
    }
