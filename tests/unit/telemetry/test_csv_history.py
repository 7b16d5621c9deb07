"""CSV history: the forms of a time, and errors that name the line."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.errors import Invalid
from sentinel.telemetry.csv_history import parse_csv, parse_labelled_csv

AT_MS = 1_392_388_200_000  # 2014-02-14 14:30:00 UTC


@pytest.mark.parametrize(
    "stamp",
    ["2014-02-14 14:30:00", "2014-02-14T14:30:00Z", "2014-02-14T16:30:00+02:00", "1392388200", "1392388200000"],
)
def test_forms_of_a_time(stamp: str) -> None:
    history = parse_csv(f"timestamp,value\n{stamp},1.5\n")
    assert history.timestamps_ms.tolist() == [AT_MS]
    assert history.values.tolist() == [1.5]


def test_header_blank_lines_and_byte_order_mark_are_optional() -> None:
    bare = parse_csv("1392388200,1\n\n1392388260,-2e3\n")
    marked = parse_csv('\ufefftimestamp, value\r\n"1392388200","1"\r\n1392388260,-2e3')
    assert bare.values.tolist() == marked.values.tolist() == [1.0, -2000.0]
    assert len(bare) == 2
    assert len(parse_csv("")) == 0


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("1392388260", "line 3"),
        ("1392388260,1,2", "line 3"),
        ("1392388260,much", "line 3, value"),
        ("1392388260,nan", "line 3, value"),
        ("1392388260,inf", "line 3, value"),
        ("noon,1", "line 3, timestamp"),
        ("nan,1", "line 3, timestamp"),
        ("1e300,1", "line 3, timestamp"),
        ("13,1", "line 3, timestamp"),
        ("timestamp,value", "line 3"),
    ],
)
def test_a_bad_line_is_named(line: str, names: str) -> None:
    with pytest.raises(Invalid, match=f"^cpu.csv {names}"):
        parse_csv(f"timestamp,value\n1392388200,1\n{line}\n", "cpu.csv")


@given(st.text(alphabet='0123456789.,-:T Znaife+\n"', max_size=60) | st.text(max_size=40))
def test_text_gives_a_history_or_a_named_error(text: str) -> None:
    with contextlib.suppress(Invalid):
        history = parse_csv(text)
        assert len(history.timestamps_ms) == len(history.values)


@given(st.text(alphabet='0123456789.,-:T Znaife+\n"', max_size=60) | st.text(max_size=40))
def test_text_with_labels_gives_histories_in_order_or_a_named_error(text: str) -> None:
    for header in ("", "timestamp,value\n", "pod,timestamp,value\n"):
        with contextlib.suppress(Invalid):
            for history in parse_labelled_csv(header + text).histories.values():
                assert len(history) == len(history.timestamps_ms) > 0
                assert history.timestamps_ms.tolist() == sorted(history.timestamps_ms.tolist())


def test_a_cell_beyond_all_measure_is_named() -> None:
    with pytest.raises(Invalid, match=r"^cpu\.csv line 2"):
        parse_labelled_csv(f"timestamp,value\n{'1' * 200_000},1\n", "cpu.csv")
