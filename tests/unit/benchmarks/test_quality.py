"""Nobody who is compared looks ahead, and the tables come out of files as they are published."""

import json

import numpy as np
import pytest

from benchmarks.detection_quality import OURS, sections
from benchmarks.scoring.machines import read_machines
from benchmarks.scoring.nab import NabFile, read_nab
from benchmarks.scoring.peers import Method, plain
from benchmarks.scoring.stepping import array_bytes
from sentinel.errors import Invalid

MINUTE = 60_000
METHODS = [OURS, *plain()]
# Noise is drawn anew at each call, so it cannot be compared with itself.
COMPARED = [each for each in METHODS if "random" not in each.name]


def nab_file(values: np.ndarray) -> NabFile:
    return NabFile("a", 1_700_000_000_000 + np.arange(len(values)) * MINUTE, values, ())


@pytest.mark.parametrize("method", COMPARED, ids=lambda method: method.name)
def test_what_is_to_come_changes_no_score_of_a_file(method: Method):
    values = np.random.default_rng(1).normal(100, 5, 500)
    other = np.concatenate((values[:300], [1e6], values[301:400] * -3))
    (whole,), (changed,) = method.nab([nab_file(values)]), method.nab([nab_file(other)])
    assert len(whole) == 500
    assert whole[:300].tolist() == changed[:300].tolist()
    assert whole.any()


@pytest.mark.parametrize("method", COMPARED, ids=lambda method: method.name)
def test_what_is_to_come_changes_no_score_of_a_machine(method: Method):
    values = np.random.default_rng(1).random((400, 3))
    train, test = method.machine(values[:200], values[200:], MINUTE)
    early, late = method.machine(values[:200], np.concatenate((values[200:300], values[300:350] + 9)), MINUTE)
    assert (len(train), len(test), len(late)) == (200, 200, 150)
    assert early.tolist() == train.tolist()
    assert late[:100].tolist() == test[:100].tolist()


def folder(tmp_path):
    """A corpus of one file and a set of two machines, as they are published."""
    noise = np.random.default_rng(1)
    values = noise.normal(100, 5, 400)
    values[300:310] += 100
    rows = [f"2014-02-14 {each // 60:02d}:{each % 60:02d}:00,{value}" for each, value in enumerate(values)]
    (tmp_path / "nab" / "data" / "real").mkdir(parents=True)
    (tmp_path / "nab" / "labels").mkdir()
    (tmp_path / "nab" / "data" / "real" / "a.csv").write_text("timestamp,value\n" + "\n".join(rows))
    windows = {"real/a.csv": [["2014-02-14 04:55:00.000000", "2014-02-14 05:20:00.000000"]], "real/b.csv": []}
    (tmp_path / "nab" / "labels" / "combined_windows.json").write_text(json.dumps(windows))
    (tmp_path / "asd").mkdir()
    for number in range(2):
        test = noise.random((600, 3))
        test[400:410] += 5
        label = np.zeros(600, np.uint8)
        label[400:410] = 1
        np.savez(tmp_path / "asd" / f"omi-{number}.npz", train=noise.random((600, 3)), test=test, label=label)
    return tmp_path


def test_the_tables_come_from_files_as_published(tmp_path):
    data = folder(tmp_path)
    assert read_nab(data / "nab")[0].windows == ((1_392_353_700_000, 1_392_355_200_000),)
    nab, asd = sections(data, "", METHODS)
    assert "1 files, 1 windows" in nab
    assert "2 machines, 2 labelled segments, 4 machine-days" in asd
    for section in (nab, asd):
        assert all(f"| {method.name}" in section for method in METHODS)
    (row,) = [line for line in asd.splitlines() if "EWMA z, rate" in line]
    assert [cell.strip() for cell in row.split("|")][4] == "1.000", "a fault this plain is found by the best threshold"
    assert sections(data, "smd", METHODS) == []


def test_a_machine_that_does_not_fit_together_is_named(tmp_path):
    np.savez(tmp_path / "x.npz", train=np.zeros((5, 2)), test=np.zeros((5, 3)), label=np.zeros(5))
    with pytest.raises(Invalid, match=r"x\.npz"):
        read_machines(tmp_path)


def test_every_array_that_is_reachable_is_counted_once():
    shared = np.zeros(10)

    class Holder:
        def __init__(self) -> None:
            self.arrays = {"a": shared, "again": [shared, shared[2:]]}
            self.inner = (np.zeros(5, np.float32),)

    assert array_bytes(Holder()) == 80 + 20
