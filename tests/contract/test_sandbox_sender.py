"""The sandbox's sender: in order, patient, and losing nothing without counting it."""

import httpx
import pytest

from sentinel.clock import ManualClock
from sentinel.sandbox.sender import Sender
from sentinel.sandbox.shop import Sample
from tests.contract.receiver import Receiver, receiver

__all__ = ["receiver"]


def sample(n: int) -> Sample:
    return Sample(metric="m", labels={"service": "s"}, timestamp=n, value=0.0)


def test_samples_arrive_once_and_in_order(receiver: Receiver) -> None:
    sender = Sender(receiver.url, ManualClock(), token="t0ken")
    sender.offer([sample(n) for n in range(1200)])
    assert sender.flush()
    assert [each["timestamp"] for each in receiver.samples] == list(range(1200))
    assert sender.state() == {"waiting": 0, "sent": 1200, "dropped": 0, "refused": 0, "retries": 0, "last_error": ""}
    assert receiver.headers[0]["authorization"] == "Bearer t0ken"
    sender.close()


@pytest.mark.parametrize("status", [404, 429, 500, 503])
def test_a_door_that_is_busy_is_asked_again_after_a_pause(receiver: Receiver, status: int) -> None:
    clock = ManualClock()
    sender = Sender(receiver.url, clock)
    receiver.answers = [(status, "")]
    sender.offer([sample(n) for n in range(700)])
    assert not sender.flush()
    assert not sender.flush(), "the door was asked again before the pause was over"
    assert (len(receiver.headers), sender.state()["last_error"]) == (1, f"HTTP {status}")
    clock.advance(5)
    assert sender.flush()
    assert [each["timestamp"] for each in receiver.samples] == list(range(700))
    sender.close()


def test_retry_after_is_honoured() -> None:
    asked: list[str] = []

    class Busy(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            asked.append(request.url.path)
            return httpx.Response(503, headers={"Retry-After": "30"})

    clock = ManualClock()
    sender = Sender("http://sentinel", clock, transport=Busy())
    sender.offer([sample(1)])
    for seconds, times in ((0, 1), (29, 1), (2, 2)):
        clock.advance(seconds)
        assert not sender.flush()
        assert len(asked) == times
    sender.close()


def test_what_is_refused_or_forgotten_is_counted(receiver: Receiver) -> None:
    sender = Sender(receiver.url, ManualClock(), capacity=10)
    receiver.answers = [(400, '{"error": "timestamp: absurd"}')]
    sender.offer([sample(n) for n in range(15)])
    sender.flush()
    state = sender.state()
    assert (state["dropped"], state["refused"], state["sent"], state["waiting"]) == (5, 10, 0, 0)
    assert "absurd" in str(state["last_error"])
    sender.close()


def test_an_absent_sentinel_is_waited_for(receiver: Receiver) -> None:
    receiver.stop()
    clock = ManualClock()
    sender = Sender(receiver.url, clock)
    sender.offer([sample(1)])
    assert not sender.flush()
    assert sender.state()["waiting"] == 1
    assert "ConnectError" in str(sender.state()["last_error"])
    sender.close()
