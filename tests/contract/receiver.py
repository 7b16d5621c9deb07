"""A small receiver in Sentinel's place, on loopback."""

import json
from collections.abc import Iterator, Mapping

import pytest

from sentinel.sandbox.http_server import LoopbackServer, Reply, Request
from sentinel.sandbox.shop import Sample


class Receiver:
    """Takes samples as Sentinel's door does; answers what is queued in `answers` first, then 202."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.headers: list[Mapping[str, str]] = []
        self.answers: list[tuple[int, str]] = []
        self._server = LoopbackServer(self._answer)
        self._server.start()
        self.url = self._server.url

    def _answer(self, request: Request) -> Reply:
        self.headers.append(request.headers)
        status, body = self.answers.pop(0) if self.answers else (202, "{}")
        if status == 202:
            assert (request.method, request.path) == ("POST", "/api/v1/samples")
            self.samples.extend(json.loads(request.body))
        return Reply(status=status, content_type="application/json", body=body.encode())

    def stop(self) -> None:
        self._server.stop()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """One that listens."""
    made = Receiver()
    yield made
    made.stop()
