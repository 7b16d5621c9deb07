"""A cloud in a process of its own that acts before it answers, and keeps a ledger that nobody else writes.

`Cloud` of the workers is a socket to it. Each effect is a line in the ledger, written before the reply is sent;
between the two the server waits a little, so that whoever is killed then has acted and does not know it.
"""

import contextlib
import json
import random
import socket
import socketserver
import threading
import time
from pathlib import Path
from typing import Any

from sentinel.errors import Forbidden, Invalid, OutcomeUnknown, Unavailable
from sentinel.ids import StepKey
from sentinel.incidents.nouns import Scalar, Step
from sentinel.remediation.action import Moves, Observed, Replaces, Sets, Window
from sentinel.remediation.actions import action_named
from sentinel.remediation.trail import Trail

MOST_WAIT_S = 0.02
TRAIL_LAG_S = 1.0


def serve(path: str, ledger: str, seed: int) -> None:
    """Serve the cloud on a Unix socket until the process is ended."""
    world = _World(Path(ledger), seed)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):  # whoever asked is gone; what was done is done
                for line in self.rfile:
                    self.wfile.write(json.dumps(world.answer(json.loads(line))).encode() + b"\n")

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True
        request_queue_size = 128

    with Server(path, Handler) as server:
        server.serve_forever(poll_interval=0.05)


class _World:
    """Resources by target, as their actions observe them; every one is made when it is first looked at."""

    def __init__(self, ledger: Path, seed: int) -> None:
        self._file = ledger.open("a", encoding="utf-8")
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._resources: dict[str, dict[str, Scalar]] = {}
        self._tokens: set[str] = set()
        self._trail: list[tuple[float, str, str]] = []  # when it can be read, the key, the error

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        action, target, params = action_named(asked["action"]), asked["target"], asked["params"]
        with self._lock:
            values = self._resources.setdefault(target, _first(asked["action"]))
            if asked["verb"] == "observe":
                return {"values": values}
            if asked["verb"] == "trail":
                told = [(key, error) for at, key, error in self._trail if at <= time.time()]
                calls = [error for key, error in told if key == asked["key"]]
                return {"calls": calls, "reaches": time.time() - TRAIL_LAG_S}
            if self._random.random() < 0.02:
                return {"unavailable": "throttled"}
            late = time.time() + self._random.random() * TRAIL_LAG_S
            if refused := action.may_start(values):
                self._trail.append((late, asked["key"], "IncorrectState"))
                return {"invalid": refused}
            self._trail.append((late, asked["key"], ""))
            fresh = asked["key"] not in self._tokens
            self._tokens.add(asked["key"])
            if isinstance(action, Sets):
                values[action.value] = params[action.param]
                if action.follows:
                    values[action.follows] = params[action.param]
            elif isinstance(action, Moves):
                values[action.status] = action.to
            elif isinstance(action, Replaces) and (fresh or action.idempotency != "token"):
                values[action.mark] = f"fresh-{self._random.random()}"
                if action.mark_at:
                    values[action.mark_at] = round(time.time() * 1000)
                for name, wanted in action.complete.items():
                    values[name] = values[wanted] if isinstance(wanted, str) else wanted[-1]
            line = {"action": action.name, "target": target, "params": params, "key": asked["key"], "at": time.time()}
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()  # this process is never killed, so that the kernel has it is enough
            pause, lost = self._random.random() * MOST_WAIT_S, self._random.random() < 0.03
        time.sleep(pause)
        return {"lost": True} if lost else {"said": "accepted"}


def _first(action: str) -> dict[str, Scalar]:
    if action.startswith("ec2."):
        return {"state": "running", "launch_time_ms": 1}
    if action.startswith("ssm."):
        return {"document": "Mend", "execution_id": "", "execution_status": ""}
    return {"status": "ACTIVE", "desired": 2, "running": 2, "pending": 0, "deployment_id": "ecs-svc/1"}


class SocketCloud:
    """Keeps `ports.Cloud` by asking the double, one connection a call as AWS has one request a call."""

    def __init__(self, path: str) -> None:
        self._path = path

    def observe(self, step: Step) -> Observed:
        return Observed(values=self._ask("observe", step, "", effect=False)["values"])

    def send(self, step: Step, key: StepKey) -> str:
        answer = self._ask("send", step, key, effect=True)
        if "lost" in answer:
            raise OutcomeUnknown("the reply was lost")
        if "unavailable" in answer:
            raise Unavailable(answer["unavailable"])
        if "invalid" in answer:
            raise Invalid(step.action, answer["invalid"], "a resource in a state that allows it")
        return str(answer["said"])

    def rehearse(self, step: Step) -> str:
        raise Forbidden("nothing is rehearsed here")

    def trail(self, step: Step, key: StepKey, made: Window) -> Trail:
        told = self._ask("trail", step, key, effect=False)
        return Trail(calls=tuple(told["calls"]), reaches_ms=round(told["reaches"] * 1000))

    def _ask(self, verb: str, step: Step, key: str, *, effect: bool) -> Any:
        asked = {"verb": verb, "action": step.action, "target": step.target, "params": dict(step.params), "key": key}
        try:
            with socket.socket(socket.AF_UNIX) as made:
                made.settimeout(2)
                made.connect(self._path)
                made.sendall(json.dumps(asked).encode() + b"\n")
                reply = b""
                while not reply.endswith(b"\n"):
                    part = made.recv(65536)
                    if not part:
                        break
                    reply += part
        except OSError as error:
            if effect:
                raise OutcomeUnknown(f"no answer: {error}") from None
            raise Unavailable(f"no answer: {error}") from None
        if not reply:
            raise OutcomeUnknown("no answer") if effect else Unavailable("no answer")
        return json.loads(reply)
