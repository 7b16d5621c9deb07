"""Texts for Slack: escaped, cut and short."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.adapters import slack_text

hostile = st.one_of(st.text(max_size=60), st.text(alphabet="<>&*`~_|@!#: \n\u202e😀", max_size=5000))


@given(hostile, st.integers(4, 200))
def test_escape_never_exceeds_its_limit_nor_cuts_an_escape(text: str, limit: int) -> None:
    escaped = slack_text.escape(text, limit)
    assert slack_text.width(escaped) <= limit
    assert re.search(r"[<>]|&(?!(amp|lt|gt);)", escaped) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (2.31, "2.31"),
        (0.00123456, "0.001235"),
        (1234.56, "1,235"),
        (987654.3, "987,654"),
        (-12.5, "-12.5"),
        (3e15, "3.000e+15"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert slack_text.number(value) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0, "0 s"), (900, "0 s"), (59_000, "59 s"), (60_000, "1 min"), (3_900_000, "1 h 5 min"), (90_061_000, "1 d 1 h")],
)
def test_durations_are_short(milliseconds: int, text: str) -> None:
    assert slack_text.duration(milliseconds) == text


@pytest.mark.parametrize(
    ("title", "told"),
    [
        ("checkout is slow", "checkout is slow (payments)"),
        ("checkout and payments are slow", "checkout and payments are slow"),
        ("slow", "slow (checkout, payments)"),
    ],
)
def test_a_title_is_followed_by_the_services_that_it_does_not_name(title: str, told: str) -> None:
    assert slack_text.titled(title, ("checkout", "payments"), 200) == told
