"""The detector over history, and the search for a sensitivity."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from rich.console import Console

from sentinel.cli import backtest, tune
from sentinel.cli.histories import read
from sentinel.cli.tune import Tried, search, setting, turned
from sentinel.detection.config import DetectorConfig
from sentinel.errors import Invalid

START_MS = 1_700_000_000_000
CONFIG = DetectorConfig()


def history(folder: Path, name: str, faults: tuple[int, ...] = (), seed: int = 1, height: float = 200) -> Path:
    """Two days of noise round 100 each minute; from each of `faults` on 15 samples lie far out."""
    values = np.random.default_rng(seed).normal(100, 5, 2880)
    for at in faults:
        values[at : at + 15] += height
    lines = (f"{START_MS + 60_000 * row},{value:.6f}" for row, value in enumerate(values.tolist()))
    path = folder / name
    path.write_text("timestamp,value\n" + "\n".join(lines), encoding="utf-8")
    return path


def labels(folder: Path, *starts: int) -> Path:
    path = folder / "labels.csv"
    rows = [f"{START_MS + 60_000 * at},{START_MS + 60_000 * (at + 20)}" for at in starts]
    path.write_text("\n".join(["start,end", *rows]), encoding="utf-8")
    return path


def spoken(act) -> str:
    console = Console(file=io.StringIO(), width=200, highlight=False)
    act(console)
    return console.file.getvalue()


def test_a_fault_is_one_alarm_with_its_times(tmp_path):
    recorded = read([history(tmp_path, "a.csv", (1000,)), history(tmp_path, "b.csv", seed=2)]).recorded
    replayed = backtest.replay(recorded, CONFIG)
    assert replayed.refused == {}
    (alarm,) = replayed.alarms
    assert alarm.series.metric == "a"
    assert alarm.started_ms == START_MS + 60_000 * 1000
    assert alarm.told_ms == alarm.started_ms + 60_000 * (CONFIG.open_after - 1)
    assert alarm.told_ms < alarm.until_ms <= alarm.started_ms + 60_000 * 25


def test_an_alarm_that_stands_at_the_end_is_kept(tmp_path):
    recorded = read([history(tmp_path, "a.csv", (2870,))]).recorded
    (alarm,) = backtest.replay(recorded, CONFIG).alarms
    assert alarm.until_ms == START_MS + 60_000 * 2879


def test_batches_do_not_change_alarms(tmp_path, monkeypatch):
    recorded = read([history(tmp_path, "a.csv", (1000, 2000)), history(tmp_path, "b.csv", (500,), 2)]).recorded
    whole = backtest.replay(recorded, CONFIG)
    monkeypatch.setattr(backtest, "_BATCH", 97)
    assert backtest.replay(recorded, CONFIG) == whole


def test_the_report_counts_by_series_and_in_all(tmp_path):
    files = [history(tmp_path, "a.csv", (1000, 2000)), history(tmp_path, "b.csv", (1002,), 2)]
    told = spoken(
        lambda console: backtest.run(
            console, files, CONFIG, labels=labels(tmp_path, 1000, 1500), service="shop", listing=True
        )
    )
    rows = {line.split()[0]: line.split() for line in told.splitlines() if line and not line.startswith(" ")}
    assert rows["shop/a"][1:5] == ["2.0", "2,880", "2", "1.00"]
    assert rows["shop/b"][3] == "1"
    assert rows["all"][3:5] == ["3", "1.50"]
    assert "1 of 2 labelled windows found (recall 0.50)" in told
    assert "2 of 3 alarms inside one (precision 0.67)" in told
    assert told.count("expected") == 3


def test_windows_without_a_sample_do_not_count(tmp_path):
    told = spoken(
        lambda console: backtest.run(
            console,
            [history(tmp_path, "a.csv", (1000,))],
            CONFIG,
            labels=labels(tmp_path, 1000, 999_999),
            service="",
            listing=False,
        )
    )
    assert "1 labelled windows have no sample" in told
    assert "1 of 1 labelled windows found" in told


def test_a_history_within_the_grace_is_refused(tmp_path):
    path = tmp_path / "short.csv"
    path.write_text(f"{START_MS},1\n{START_MS + 1000},2\n", encoding="utf-8")
    with pytest.raises(Invalid, match="grace of 60"):
        backtest.load(Console(file=io.StringIO()), [path], None, "", CONFIG)
    told = spoken(lambda console: backtest.load(console, [path, history(tmp_path, "a.csv")], None, "", CONFIG))
    assert "1 series are never scored" in told
    with pytest.raises(Invalid, match="readable JSON or CSV"):
        backtest.load(Console(file=io.StringIO()), [history(tmp_path, "a.csv")], tmp_path / "absent", "", CONFIG)


def falling(rate_at_one: float, floor: float = 0.0):
    """Alarms a day that fall with the distance from the loudest setting, and the settings that were tried."""
    tried = []

    def attempt(value: float) -> Tried:
        tried.append(value)
        distance = abs(math.log(value / tune.LOUDEST))
        return Tried(value, 0, floor + rate_at_one * math.exp(-distance))

    return attempt, tried


def test_the_search_comes_close_to_the_rate_and_never_over_it():
    attempt, tried = falling(10.0)
    proposal = search(attempt, 1.0, setting(CONFIG))
    assert proposal.chosen is not None
    assert 0.9 < proposal.chosen.alarms_per_day <= 1.0
    assert len(tried) == len(set(tried)) <= tune.RUNGS + 1 + tune.HALVINGS
    assert setting(CONFIG) in tried
    assert [each.alarms_per_day for each in proposal.tried] == sorted(each.alarms_per_day for each in proposal.tried)


def test_the_search_says_when_nothing_or_everything_keeps_to_the_rate():
    attempt, _ = falling(10.0, floor=5.0)
    assert search(attempt, 1.0, setting(CONFIG)).chosen is None
    attempt, _ = falling(0.5)
    loudest = search(attempt, 1.0, setting(CONFIG)).chosen
    assert loudest is not None
    assert loudest.setting == tune.LOUDEST


def test_a_rate_that_rises_again_towards_quiet_is_not_trusted():
    def attempt(value: float) -> Tried:
        return Tried(value, 0, 9.0 if value == setting(CONFIG) else 0.1)

    chosen = search(attempt, 1.0, setting(CONFIG)).chosen
    assert chosen is not None
    assert (chosen.setting > setting(CONFIG)) == (tune.QUIETEST > tune.LOUDEST)


@pytest.mark.parametrize("value", [tune.LOUDEST, 6.0, tune.QUIETEST])
def test_the_knob_turns_to_a_configuration_that_holds(value):
    assert setting(turned(CONFIG, value)) == value


def test_the_yaml_is_what_was_tried():
    text = tune.changed(CONFIG, turned(CONFIG, 8.0))
    assert yaml.safe_load(text) == {"detection": {"alarms_per_day": 8.0}}


def test_tune_proposes_what_keeps_to_the_rate(tmp_path):
    files = [history(tmp_path, "a.csv", (1000, 1300, 1600, 1900, 2200, 2500))]
    known = labels(tmp_path, 1000)
    told = spoken(lambda console: tune.run(console, files, CONFIG, alarms_per_day=2.8, labels=known, service=""))
    assert "1 series over 2.0 days; at most 2.8 alarms a day in all" in told
    assert "proposed, for" in told
    (line,) = [each for each in told.splitlines() if each.endswith("proposed")]
    assert float(line.split()[2]) <= 2.8
    assert yaml.safe_load(told[told.index("detection:") :])["detection"]["alarms_per_day"] == float(line.split()[0])


def test_tune_says_when_there_is_no_such_setting(tmp_path):
    found = []
    files = [history(tmp_path, "a.csv", (1000,), height=1e6)]
    told = spoken(
        lambda console: found.append(tune.run(console, files, CONFIG, alarms_per_day=0.1, labels=None, service=""))
    )
    assert found == [False]
    assert f"even at {tune.KNOB} {tune.QUIETEST:g} there are 0.50 alarms a day" in told
    assert "detection:" not in told


@pytest.mark.parametrize("rate", [-1.0, math.nan])
def test_a_rate_that_is_none_is_refused(tmp_path, rate):
    with pytest.raises(Invalid, match="alarms-per-day"):
        tune.run(Console(file=io.StringIO()), [], CONFIG, alarms_per_day=rate, labels=None, service="")
