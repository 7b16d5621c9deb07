"""The world's control door: GET / tells its state, POST /fault begins a fault, DELETE /fault ends them."""

import json
from collections.abc import Callable, Mapping

from sentinel.errors import Invalid
from sentinel.sandbox.http_server import Reply, Request
from sentinel.sandbox.world import World, shown


class Control:
    """Answers requests about one world. `extra` adds to its state, such as the calls that AWS received."""

    def __init__(self, world: World, extra: Callable[[], Mapping[str, object]] = dict) -> None:
        self._world = world
        self._extra = extra

    def answer(self, request: Request) -> Reply:
        """200 with JSON; 201 for a fault that began; 400 with one line for a bad request; 404 and 405."""
        path = request.path.split("?", maxsplit=1)[0]
        try:
            match request.method, path:
                case "GET", "/":
                    return _json(200, {**self._world.state(), **self._extra()})
                case "POST", "/fault":
                    wanted = _fields(request.body)
                    kind = wanted.get("kind")
                    if kind is None:
                        raise Invalid("kind", "nothing", "the kind of fault to begin")
                    return _json(201, shown(self._world.start_fault(kind, wanted.get("service"))))
                case "DELETE", "/fault":
                    ended = self._world.stop_faults(_fields(request.body).get("kind"))
                    return _json(200, {"ended": [shown(fault) for fault in ended]})
        except Invalid as error:
            return _json(400, {"error": str(error)})
        known = path in ("/", "/fault")
        return _json(405 if known else 404, {"error": "GET /, POST /fault and DELETE /fault are what there is"})


def _fields(body: bytes) -> dict[str, str]:
    """The body as an object of texts; empty for none. Raises Invalid for anything else."""
    try:
        fields = json.loads(body or b"{}")
    except ValueError:
        raise Invalid("body", body[:40], 'JSON such as {"kind": "traffic_surge"}') from None
    if not isinstance(fields, dict):
        raise Invalid("body", fields, 'an object such as {"kind": "traffic_surge"}')
    for name, value in fields.items():
        if name not in ("kind", "service"):
            raise Invalid(name, value, "kind or service")
        if not isinstance(value, str):
            raise Invalid(name, value, "a text")
    return fields


def _json(status: int, content: Mapping[str, object]) -> Reply:
    body = json.dumps(content, indent=2).encode() + b"\n"
    return Reply(status=status, content_type="application/json", body=body)
