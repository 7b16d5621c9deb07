"""Windows of people against alarms of the detector."""

import pytest

from sentinel.cli.labels import Alarm, Labels, Window, judge, parse_labels
from sentinel.detection.anomaly import Anomaly
from sentinel.errors import Invalid
from sentinel.telemetry.series import identify

FILES = ["data/nab/a.csv", "data/nab/b.csv"]
AT_MS = 1_392_388_200_000
PAIR = '["2014-02-14 14:30:00.000000", "2014-02-14 15:30:00"]'


def alarm(file: str, started: int, told: int, until: int) -> Alarm:
    series = identify("m", {"file": file})
    first = Anomaly(
        series=series,
        direction="up",
        score=9.0,
        value=1.0,
        expected_low=0.0,
        expected_high=0.5,
        started_at_ms=started,
        last_at_ms=told,
        ended_at_ms=None,
    )
    return Alarm(file=file, series=series, started_ms=started, told_ms=told, until_ms=until, first=first)


def test_an_alarm_that_touches_a_window_finds_it_and_the_first_telling_is_the_delay():
    alarms = [alarm("a", 5, 12, 15), alarm("a", 18, 19, 30), alarm("a", 90, 91, 95)]
    judged = judge(alarms, Labels((Window(10, 20), Window(50, 60))))
    assert (judged.found, judged.windows, judged.inside, judged.outside) == (1, 2, 2, 1)
    assert judged.delays_ms == (2,)
    assert (judged.recall, judged.precision) == (0.5, pytest.approx(2 / 3))
    assert judge([alarm("a", 1, 3, 30)], Labels((Window(10, 20),))).delays_ms == (0,), "it stood before"


def test_windows_of_one_file_are_not_found_by_another_and_unlabelled_files_are_not_judged():
    labels = Labels((Window(10, 20, "a"),), frozenset({"a", "b"}))
    judged = judge([alarm("b", 12, 13, 14), alarm("c", 12, 13, 14)], labels)
    assert (judged.found, judged.inside, judged.outside) == (0, 0, 1)
    assert judge([alarm("b", 12, 13, 14)], labels.of("a")).outside == 0
    assert judge([alarm("b", 12, 13, 14)], labels.of("b")).outside == 1


def test_nothing_is_no_division_by_zero():
    judged = judge([], Labels(()))
    assert (judged.recall, judged.precision, judged.median_delay_ms) == (0, 0, None)


def test_labels_by_file_as_nab_has_them():
    text = f'{{"nab/a.csv": [{PAIR}], "nab/b.csv": [], "c.csv": [{PAIR}]}}'
    labels = parse_labels(text, "windows.json", FILES)
    assert labels == Labels((Window(AT_MS, AT_MS + 3_600_000, FILES[0]),), frozenset(FILES))


@pytest.mark.parametrize(
    "text", [f"[{PAIR}]", "start,end\n2014-02-14T14:30:00Z,2014-02-14 15:30:00\n", "1392388200, 1392391800"]
)
def test_labels_for_every_file(text):
    assert parse_labels(text, "windows", FILES) == Labels((Window(AT_MS, AT_MS + 3_600_000),))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no window"),
        ("start,end\n", "no window"),
        ("[[", "JSON"),
        ('[["2014-02-14"]]', "window 1.*start and end"),
        ('[["noon", "2014-02-14"]]', "window 1, start"),
        ('[["2014-02-15", "2014-02-14"]]', "not after its end"),
        ('{"nab/a.csv": "2014-02-14"}', "nab/a.csv"),
        ('{"nab/a.csv": {"from": 1}}', "nab/a.csv"),
        ('{"elsewhere.csv": []}', "name of one of the files"),
        ("{}", "name of one of the files"),
        ("1392388200\n", "line 1"),
        ("a,b\n", "line 1, start"),
    ],
)
def test_bad_labels_are_named(text, says):
    with pytest.raises(Invalid, match=says):
        parse_labels(text, "windows", FILES)
