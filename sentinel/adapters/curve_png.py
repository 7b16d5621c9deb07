"""An anomaly as a picture: the curve, the band it was expected in, where it opened, and how far out it went."""

import io
import threading

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, DateFormatter
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sentinel.clock import iso
from sentinel.detection.curves import Curve, Explained
from sentinel.detection.explanation import number, spreads
from sentinel.detection.parts import SAYS, Part

DPI = 100
WIDTH, HEIGHT = 640, 240  # pixels; each further curve adds FURTHER
FURTHER = 110
_LINE, _BAND, _EXPECTED, _ALARM, _QUIET = "#1f2933", "#9fb8d6", "#3d5a80", "#c81e1e", "#52606d"
_LONGEST_NAME = 60
_MINUTES_MS, _DAYS_MS = 600_000, 36 * 3_600_000  # shorter curves need seconds, longer ones days
_LOCK = threading.Lock()  # Matplotlib's fonts and caches are not made for several threads


def draw(explained: Explained) -> bytes:
    """A PNG of WIDTH x HEIGHT, taller by FURTHER for each curve after the first. Raises ValueError without a curve.

    Slow (tenths of a second): call it in a worker thread. It draws for one at a time.
    """
    curves = explained.curves
    if not curves:
        raise ValueError("an anomaly without a curve cannot be drawn")
    height = HEIGHT + FURTHER * (len(curves) - 1)
    with _LOCK:
        figure = Figure(figsize=(WIDTH / DPI, height / DPI), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        rows = figure.subplots(len(curves), 1, sharex=True, squeeze=False)[:, 0]
        for axes, curve in zip(rows, curves, strict=True):
            _panel(axes, curve, explained)
        _title(figure, explained)
        day = f"{iso(int(curves[0].at_ms[-1]))[:10]} UTC"
        rows[-1].set_xlabel(day, fontsize=8, color=_QUIET, loc="right", labelpad=1)
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", metadata={"Software": None})
    return drawn.getvalue()


def _panel(axes: Axes, curve: Curve, explained: Explained) -> None:
    anomaly, part = explained.anomaly, Part[explained.explanation.part.upper()]
    when = _dates(curve.at_ms)
    axes.fill_between(when, _drawable(curve.low), _drawable(curve.high), color=_BAND, alpha=0.55, linewidth=0)
    up = anomaly.direction == "up"
    axes.annotate(
        "expected",
        (when[0], _drawable(curve.low if up else curve.high)[0]),
        xytext=(3, -2 if up else 2),
        textcoords="offset points",
        va="top" if up else "bottom",
        fontsize=8,
        color=_EXPECTED,
    )
    axes.plot(when, _drawable(curve.values), color=_LINE, linewidth=1.3, marker="." if len(when) < 3 else "")
    until = curve.at_ms[-1] if anomaly.ended_at_ms is None else anomaly.ended_at_ms
    start, end = _dates(np.array([anomaly.started_at_ms, max(int(until), anomaly.started_at_ms)]))
    axes.axvspan(start, end, color=_ALARM, alpha=0.12, linewidth=0)
    inside = (curve.at_ms >= anomaly.started_at_ms) & (curve.at_ms <= until)
    red = np.where(inside, _drawable(curve.values), np.nan)
    axes.plot(when, red, color=_ALARM, linewidth=1.8)
    if part is Part.SERVICE:
        axes.set_title(_plain(_labelled(curve)), fontsize=8, loc="left", pad=2, color=_LINE, parse_math=False)
    else:
        _mark_worst(axes, curve, explained, inside)
    if part in (Part.LEVEL, Part.SEASON):
        _limit(axes, when, _drawable(curve.high if up else curve.low), int(np.argmax(inside)), up=up)
    elif part is Part.RULE and explained.explanation.rule_limit is not None:
        _limit(axes, when, np.full(len(when), explained.explanation.rule_limit), 0, up=up)
    locator = AutoDateLocator(tz="UTC", minticks=3, maxticks=7)  # type: ignore[no-untyped-call]  # Matplotlib has no types here
    axes.xaxis.set_major_locator(locator)
    lasts_ms = int(curve.at_ms[-1] - curve.at_ms[0])
    told = "%H:%M:%S" if lasts_ms < _MINUTES_MS else "%H:%M" if lasts_ms < _DAYS_MS else "%m-%d %H:%M"
    axes.xaxis.set_major_formatter(DateFormatter(told, tz="UTC"))  # type: ignore[no-untyped-call]  # as above
    axes.tick_params(labelsize=8, colors=_QUIET, length=2)
    axes.margins(x=0.01, y=0.18)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _limit(axes: Axes, when: NDArray[np.datetime64], limit: NDArray[np.float64], at: int, *, up: bool) -> None:
    """The line beyond which an anomaly opens, with its value at one place; that is told where it changes over time."""
    then = f" at {str(when[at])[11:16]}" if np.ptp(limit) else ""
    axes.plot(when, limit, color=_ALARM, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(
        f"opens {'above' if up else 'below'} {number(float(limit[at]))}{then}",
        (when[0], limit[0]),
        xytext=(3, 3 if up else -3),
        textcoords="offset points",
        va="bottom" if up else "top",
        fontsize=8,
        color=_ALARM,
    )


def _mark_worst(axes: Axes, curve: Curve, explained: Explained, inside: NDArray[np.bool_]) -> None:
    value = explained.explanation.value
    at = np.flatnonzero(inside & (curve.values == value))
    if not len(at):
        return
    when = _dates(curve.at_ms[at[:1]])[0]
    axes.plot([when], [value], "o", color=_ALARM, markersize=5)
    up, place = explained.anomaly.direction == "up", at[0] / len(inside)
    axes.annotate(
        number(value),
        (when, value),
        xytext=(0, 6 if up else -6),
        textcoords="offset points",
        ha="left" if place < 0.1 else "right" if place > 0.9 else "center",
        va="bottom" if up else "top",
        fontsize=10,
        fontweight="bold",
        color=_ALARM,
    )


def _title(figure: Figure, explained: Explained) -> None:
    """Who and what in the first line, how bad in the second."""
    of, anomaly = explained.explanation, explained.anomaly
    part = Part[of.part.upper()]
    name = of.service if part is Part.SERVICE else f"{of.service} · {of.metric}"
    if part in (Part.LEVEL, Part.SEASON):
        what = f"{of.distance:.1f} spreads {'above' if of.value >= of.usual else 'below'} usual"
        what += f" ({number(of.usual)}), opens at {of.threshold:.1f}"
    elif part in (Part.CHANGE, Part.SHIFT):
        what = f"{SAYS[part]}, by {spreads(of.distance)} spreads from {number(of.usual)}"
        what += f"; opens at {spreads(of.threshold)}"
    elif part is Part.RULE and of.rule:
        what = f"{number(of.value)} is {of.rule}"
    else:
        what = SAYS[part]
    state = "still open" if anomaly.ended_at_ms is None else f"over at {iso(anomaly.ended_at_ms)[11:16]}"
    title = figure.suptitle(f"{_plain(name)}\n{what}; {state}", x=0.02, ha="left", fontsize=10, color=_LINE)
    title.set_parse_math(False)


def _labelled(curve: Curve) -> str:
    others = ", ".join(f"{name}={text}" for name, text in sorted(curve.series.labels.items()) if name != "service")
    return f"{curve.series.metric} {{{others}}}" if others else curve.series.metric


def _plain(text: str) -> str:
    """Names are whatever a sender wrote: one line, printable, not too long."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return shown if len(shown) <= _LONGEST_NAME else shown[: _LONGEST_NAME - 1] + "…"


def _drawable(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Beyond this a picture's scale would overflow."""
    return np.clip(np.nan_to_num(values), -1e200, 1e200)


def _dates(at_ms: NDArray[np.int64]) -> NDArray[np.datetime64]:
    return at_ms.astype("datetime64[ms]")
