"""`sentinel tune`: a sensitivity from history, what it would cost, and the YAML to paste."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from sentinel.cli.backtest import days, load, replay, worth
from sentinel.cli.labels import Judgement, judge
from sentinel.detection.config import DetectorConfig
from sentinel.errors import Invalid

# The knob: the only lines that know which setting makes the detector more or less sensitive.
KNOB = "alarms_per_day"
LOUDEST, QUIETEST = 30.0, 1e-9


def turned(config: DetectorConfig, value: float) -> DetectorConfig:
    """`config` with the knob at `value`."""
    return replace(config, alarms_per_day=value)


def setting(config: DetectorConfig) -> float:
    """Where the knob stands."""
    return config.alarms_per_day


RUNGS = 6  # settings between the ends that are always tried, to show what each costs
HALVINGS = 6


@dataclass(frozen=True, slots=True)
class Tried:
    """What one setting comes to on the history."""

    setting: float
    alarms: int
    alarms_per_day: float
    judged: Judgement | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """The loudest setting tried that keeps to the rate together with every quieter one, None if none does; and all."""

    chosen: Tried | None
    tried: tuple[Tried, ...]


def search(attempt: Callable[[float], Tried], alarms_per_day: float, now: float) -> Proposal:
    """Try settings from quiet to loud, `now` among them, then halve the step where the rate is first exceeded.

    `attempt` is called once a setting. Alarms need not fall with every step towards quiet, though they mostly do.
    """
    step = math.log(QUIETEST / LOUDEST) / (RUNGS - 1)
    ladder = {_rounded(LOUDEST * math.exp(step * rung)) for rung in range(RUNGS)} | {now}
    high_is_quiet = LOUDEST < QUIETEST
    tried = {each: attempt(each) for each in sorted(ladder, reverse=high_is_quiet)}
    for _ in range(HALVINGS):
        quiet_to_loud = sorted(tried, reverse=high_is_quiet)
        over = next((at for at, each in enumerate(quiet_to_loud) if tried[each].alarms_per_day > alarms_per_day), None)
        if not over:  # everything keeps to it, or nothing does
            break
        middle = _rounded(math.sqrt(quiet_to_loud[over - 1] * quiet_to_loud[over]))
        if middle in tried:
            break
        tried[middle] = attempt(middle)
    results = [tried[each] for each in sorted(tried, reverse=high_is_quiet)]
    chosen = None
    for each in results:
        if each.alarms_per_day > alarms_per_day:
            break
        chosen = each
    return Proposal(chosen, tuple(results))


def changed(before: DetectorConfig, after: DetectorConfig) -> str:
    """The YAML that makes `before` into `after`."""
    differing = {
        each.name: getattr(after, each.name)
        for each in fields(after)
        if getattr(after, each.name) != getattr(before, each.name)
    }
    return yaml.safe_dump({"detection": differing}, sort_keys=False).strip()


def run(
    console: Console,
    files: Sequence[Path],
    config: DetectorConfig,
    *,
    alarms_per_day: float,
    labels: Path | None,
    service: str,
) -> bool:
    """Print what several settings cost and propose one; whether one was found."""
    if not alarms_per_day >= 0:
        raise Invalid("alarms-per-day", alarms_per_day, "0 or more")
    recording, known = load(console, files, labels, service, config)
    recorded = recording.recorded
    span = days(recorded)

    def attempt(value: float) -> Tried:
        with console.status(f"replaying with {KNOB} {value:g} …"):
            alarms = replay(recorded, turned(config, value)).alarms
        return Tried(value, len(alarms), len(alarms) / span, None if known is None else judge(alarms, known))

    now = setting(config)
    proposal = search(attempt, alarms_per_day, now)
    console.print(f"{len(recorded)} series over {span:.1f} days; at most {alarms_per_day:g} alarms a day in all")
    console.print(_table(proposal, now))
    chosen = proposal.chosen
    if chosen is None:
        quietest = proposal.tried[0]
        console.print(
            f"[red]even at {KNOB} {quietest.setting:g} there are {quietest.alarms_per_day:.2f} alarms a day[/red]: "
            "allow more, or leave the noisiest series out (`sentinel backtest` names them)"
        )
        return False
    if chosen.judged is not None:
        console.print(worth(chosen.judged))
    if chosen.setting == now:
        console.print(f"{KNOB} {now:g}, as it stands, is the proposal")
        return True
    console.print(f"proposed, for {chosen.alarms_per_day:.2f} alarms a day:\n")
    console.print(changed(config, turned(config, chosen.setting)), markup=False)
    return True


def _table(proposal: Proposal, now: float) -> Table:
    table = Table(box=None, pad_edge=False)
    judged = proposal.tried[0].judged is not None
    for column in (KNOB, "alarms", "a day", *(("found", "recall", "precision") if judged else ()), ""):
        table.add_column(column, justify="right" if column else "left")
    for each in proposal.tried:
        cells = [f"{each.setting:g}", f"{each.alarms}", f"{each.alarms_per_day:.2f}"]
        if each.judged is not None:
            cells += [
                f"{each.judged.found} of {each.judged.windows}",
                f"{each.judged.recall:.2f}",
                f"{each.judged.precision:.2f}",
            ]
        notes = [("now", each.setting == now), ("proposed", each is proposal.chosen)]
        table.add_row(*cells, ", ".join(note for note, holds in notes if holds))
    return table


def _rounded(value: float) -> float:
    """Three digits: what is tried is what will be pasted."""
    return float(f"{value:.3g}")
