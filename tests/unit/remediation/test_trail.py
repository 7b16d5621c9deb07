"""What the record of calls says of a call: found, refused, never made, or not to be known."""

import pytest

from sentinel.remediation.actions import Settled, Window
from sentinel.remediation.trail import Trail, read

MADE = Window(from_ms=0, until_ms=60_000)
PATIENCE_MS = 900_000
OVER_MS = MADE.until_ms + PATIENCE_MS


@pytest.mark.parametrize("now_ms", [0, OVER_MS - 1, OVER_MS])
@pytest.mark.parametrize("calls", [("",), ("Throttling", ""), ("", "IncorrectInstanceState")])
def test_a_call_that_is_recorded_was_made(calls: tuple[str, ...], now_ms: int) -> None:
    reading = read(Trail(calls=calls, reaches_ms=1), MADE, now_ms, PATIENCE_MS)
    assert reading.settled is Settled.DONE
    assert "CloudTrail has the call" in reading.reason


@pytest.mark.parametrize("calls", [(), ("Throttling",)])
@pytest.mark.parametrize("reaches_ms", [0, OVER_MS])
def test_nothing_follows_from_its_absence_before_the_record_had_time(calls: tuple[str, ...], reaches_ms: int) -> None:
    reading = read(Trail(calls=calls, reaches_ms=reaches_ms), MADE, OVER_MS - 1, PATIENCE_MS)
    assert reading.settled is None
    assert "900 s" in reading.reason


def test_a_call_that_is_missing_although_newer_ones_are_there_was_never_made() -> None:
    reading = read(Trail(reaches_ms=MADE.until_ms + 1), MADE, OVER_MS, PATIENCE_MS)
    assert reading.settled is Settled.NEVER_DONE
    assert "1970-01-01T00:01:00.001Z" in reading.reason


@pytest.mark.parametrize("trail", [Trail(), Trail(reaches_ms=MADE.until_ms), Trail(calls=("Throttling",))])
def test_a_record_that_ends_before_the_call_could_have_been_made_proves_nothing(trail: Trail) -> None:
    reading = read(trail, MADE, OVER_MS, PATIENCE_MS)
    assert reading.settled is Settled.UNKNOWN
    assert "nothing newer" in reading.reason


def test_a_call_that_aws_refused_was_never_made_and_the_reason_is_told() -> None:
    trail = Trail(calls=("Throttling", "IncorrectInstanceState"), reaches_ms=OVER_MS)
    reading = read(trail, MADE, OVER_MS, PATIENCE_MS)
    assert reading.settled is Settled.NEVER_DONE
    assert "IncorrectInstanceState" in reading.reason


@pytest.mark.parametrize(("at_ms", "inside"), [(-1, False), (0, True), (60_000, True), (60_001, False), (None, False)])
def test_a_window_holds_the_moments_from_its_first_to_its_last(at_ms: int | None, inside: bool) -> None:
    assert MADE.holds(at_ms) is inside
    assert not MADE.holds("1970-01-01")
