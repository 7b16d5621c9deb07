"""Recorded history from CSV and Parquet: the same series either way, and errors that name what is wrong."""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from sentinel.cli.histories import read
from sentinel.errors import Invalid, UnsupportedFormat

AT_MS = 1_392_388_200_000
LABELLED = (
    "timestamp,metric,service,value,zone\n"
    "2014-02-14 14:31:00,cpu,shop,2,a\n"
    "2014-02-14 14:30:00,cpu,shop,1,a\n"
    "2014-02-14 14:30:00,cpu,shop,7,b\n"
    "2014-02-14 14:31:00,cpu,shop,NaN,b\n"
    "2014-02-14 14:30:00,latency,,5,\n"
)


def csv(tmp_path: Path, text: str, name: str = "cpu.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def parquet(tmp_path: Path, name: str = "cpu.parquet", **columns: object) -> Path:
    path = tmp_path / name
    pa.parquet.write_table(pa.table(columns), path)
    return path


def told(path: Path, service: str = "") -> list[tuple[str, str, dict[str, str], list[int], list[float]]]:
    return [
        (
            each.series.metric,
            each.series.service,
            dict(each.series.labels),
            each.history.timestamps_ms.tolist(),
            each.history.values.tolist(),
        )
        for each in read([path], service).recorded
    ]


def test_a_file_without_labels_is_one_series_named_after_it(tmp_path):
    path = csv(tmp_path, "timestamp,value\n1392388200,1\n1392388260,2\n")
    labels = {"file": path.as_posix()}
    assert told(path) == [("cpu", "unknown", labels, [AT_MS, AT_MS + 60_000], [1.0, 2.0])]
    assert told(path, "shop")[0][1] == "shop"
    assert told(csv(tmp_path, "1392388200,1\n", "bare.csv"))[0][4] == [1.0]


def test_two_files_of_one_name_are_two_series(tmp_path):
    (tmp_path / "a").mkdir()
    paths = [csv(tmp_path, "1392388200,1\n"), csv(tmp_path / "a", "1392388200,1\n")]
    assert len({each.series.id for each in read(paths).recorded}) == 2


def test_other_columns_are_labels_and_rows_are_put_in_order_of_time(tmp_path):
    path = csv(tmp_path, LABELLED)
    shop = {"service": "shop", "zone": "a"}
    assert told(path, "elsewhere") == [
        ("cpu", "shop", shop, [AT_MS, AT_MS + 60_000], [1.0, 2.0]),
        ("cpu", "shop", {"service": "shop", "zone": "b"}, [AT_MS], [7.0]),
        ("latency", "elsewhere", {"service": "elsewhere"}, [AT_MS], [5.0]),
    ]
    assert read([path]).missing == 1


@pytest.mark.parametrize("kind", ["timestamp[s]", "timestamp[ns]", "with zone", "seconds", "milliseconds", "text"])
def test_parquet_says_the_same_as_csv_whatever_its_times_are(tmp_path, kind):
    at_ms = np.array([AT_MS + 60_000, AT_MS, AT_MS, AT_MS + 60_000, AT_MS])
    texts = ["2014-02-14 14:31:00", "2014-02-14 14:30:00"]
    times = {
        "timestamp[s]": pa.array(at_ms // 1000, pa.timestamp("s")),
        "timestamp[ns]": pa.array(at_ms * 10**6, pa.timestamp("ns")),
        "with zone": pa.array(at_ms, pa.timestamp("ms", "Europe/Berlin")),
        "seconds": pa.array(at_ms / 1000),
        "milliseconds": pa.array(at_ms),
        "text": pa.array([texts[0], texts[1], texts[1], texts[0], texts[1]]),
    }
    path = parquet(
        tmp_path,
        timestamp=times[kind],
        metric=pa.array(["cpu"] * 4 + ["latency"]).dictionary_encode(),
        service=["shop"] * 4 + [None],
        value=pa.array([2, 1, 7, None, 5], pa.int32()),
        zone=["a", "a", "b", "b", None],
    )
    assert told(path) == told(csv(tmp_path, LABELLED))
    assert read([path]).missing == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no samples"),
        ("timestamp,value\n", "no samples"),
        ("timestamp,value\n1392388200,nan\n", "no samples"),
        ("timestamp,value\n1392388200,1\n1392388260\n", "cpu.csv line 3"),
        ("timestamp,value\n1392388200,much\n", "line 2, value"),
        ("timestamp,value\n1392388200,inf\n", "line 2, value"),
        ("timestamp,value\nnoon,1\n", "line 2, timestamp"),
        ("timestamp,cpu,latency\n1392388200,1,2\n", "one column value"),
        ("timestamp,value,value\n1392388200,1,2\n", "one column value"),
        ("time,value\n1392388200,1\n", "line 1, timestamp"),
    ],
)
def test_a_bad_file_is_named(tmp_path, text, says):
    with pytest.raises(Invalid, match=says):
        read([csv(tmp_path, text)])


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(Invalid, match="readable CSV"):
        read([tmp_path / "absent.csv"])
    with pytest.raises(Invalid, match="readable CSV"):
        read([tmp_path])
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Invalid, match="readable CSV"):
        read([tmp_path / "x.csv"])
    (tmp_path / "x.parquet").write_bytes(b"no parquet")
    with pytest.raises(Invalid, match="readable Parquet"):
        read([tmp_path / "x.parquet"])
    with pytest.raises(Invalid, match="readable Parquet"):
        read([tmp_path / "absent.parquet"])


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"timestamp": [AT_MS]}, "one column value"),
        ({"timestamp": [AT_MS], "value": ["much"]}, "cpu.parquet, value"),
        ({"timestamp": [AT_MS], "value": [float("inf")]}, "row 1, value"),
        ({"timestamp": [13], "value": [1.0]}, "cpu.parquet, timestamp"),
        ({"timestamp": [None, AT_MS], "value": [1.0, 2.0]}, "cpu.parquet, timestamp"),
        ({"timestamp": ["noon"], "value": [1.0]}, "cpu.parquet, timestamp"),
        ({"timestamp": [True], "value": [1.0]}, "cpu.parquet, timestamp"),
        ({"timestamp": [AT_MS], "value": [None]}, "no samples"),
    ],
)
def test_a_bad_parquet_file_is_named(tmp_path, columns, says):
    with pytest.raises(Invalid, match=says):
        read([parquet(tmp_path, **columns)])


def test_a_series_in_two_files_is_refused(tmp_path):
    paths = [csv(tmp_path, LABELLED, name) for name in ("a.csv", "b.csv")]
    with pytest.raises(Invalid, match="another series"):
        read(paths)


def test_parquet_without_its_library_says_what_to_install(tmp_path, monkeypatch):
    path = parquet(tmp_path, timestamp=[AT_MS], value=[1.0])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UnsupportedFormat, match=r"pip install 'sentinel-aiops\[parquet\]'"):
        read([path])
