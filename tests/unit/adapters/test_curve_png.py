"""The picture of an anomaly: a PNG of the size it says, whatever the curve and the names are."""

import dataclasses
import struct

import numpy as np
import pytest

from sentinel.adapters.curve_png import FURTHER, HEIGHT, WIDTH, draw
from sentinel.detection.config import DetectorConfig
from sentinel.detection.curves import Curve, Explained
from sentinel.detection.detector import Detector
from sentinel.detection.parts import Part
from sentinel.telemetry.series import identify
from tests.unit.detection.streams import START_MS, STEP_MS, named, noise, replay

(WEB,) = named(1)


def made() -> Explained:
    detector = Detector(DetectorConfig())
    values = [*noise(200), 200.0, 210.0, 205.0]
    (anomaly,) = replay(detector, values, WEB).changes
    found, shown = detector.explain(WEB.fingerprint), detector.band(WEB.fingerprint)
    assert found is not None
    assert shown is not None
    at_ms = START_MS + STEP_MS * np.arange(len(values))
    return Explained(anomaly, found, (Curve(WEB, at_ms, np.array(values), *shown[1].at(at_ms)),))


SEEN = made()
(CURVE,) = SEEN.curves


def size(png: bytes) -> tuple[int, int]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def cut(count: int) -> Curve:
    columns = (CURVE.at_ms, CURVE.values, CURVE.low, CURVE.high)
    return Curve(WEB, *(column[-count:] for column in columns))  # type: ignore[arg-type]


def test_a_picture_is_small_and_the_same_each_time() -> None:
    png = draw(SEEN)
    assert size(png) == (WIDTH, HEIGHT)
    assert len(png) < 100_000
    assert draw(SEEN) == png


def test_what_went_wrong_is_drawn() -> None:
    calm = dataclasses.replace(CURVE, values=np.full(len(CURVE.values), 100.0))
    assert draw(dataclasses.replace(SEEN, curves=(calm,))) != draw(SEEN)


@pytest.mark.parametrize("part", list(Part), ids=lambda part: part.label)
@pytest.mark.parametrize("ended", [None, int(CURVE.at_ms[-1])], ids=["open", "over"])
def test_every_part_of_a_score_can_be_drawn(part: Part, ended: int | None) -> None:
    of = dataclasses.replace(SEEN.explanation, part=part.label, rule="above 150", rule_limit=150.0)
    anomaly = dataclasses.replace(SEEN.anomaly, ended_at_ms=ended)
    assert size(draw(Explained(anomaly, of, SEEN.curves))) == (WIDTH, HEIGHT)


def test_the_metrics_of_a_service_stand_below_one_another() -> None:
    of = dataclasses.replace(SEEN.explanation, part="service")
    assert size(draw(Explained(SEEN.anomaly, of, SEEN.curves * 3))) == (WIDTH, HEIGHT + 2 * FURTHER)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_curve_of_few_samples(count: int) -> None:
    assert size(draw(dataclasses.replace(SEEN, curves=(cut(count),)))) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("factor", [0.0, 1e-300, 1e290], ids=str)
def test_values_of_any_size(factor: float) -> None:
    curve = Curve(WEB, CURVE.at_ms, CURVE.values * factor, CURVE.low * factor, CURVE.high * factor)
    assert size(draw(dataclasses.replace(SEEN, curves=(curve,)))) == (WIDTH, HEIGHT)


def test_an_endless_band_is_drawn_as_far_as_it_goes() -> None:
    curve = dataclasses.replace(CURVE, high=np.full(len(CURVE.values), np.inf))
    assert size(draw(dataclasses.replace(SEEN, curves=(curve,)))) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("name", ["a$b$c_{x}^2", "\\frac{", "two\nlines\x00", "x" * 500, "<b>&"], ids=repr)
def test_names_are_text_whatever_is_in_them(name: str) -> None:
    series = identify(name, {"service": name, name: name})
    of = dataclasses.replace(SEEN.explanation, service=name, metric=name)
    for part in ("level", "service"):
        of = dataclasses.replace(of, part=part)
        assert size(draw(Explained(SEEN.anomaly, of, (dataclasses.replace(CURVE, series=series),)))) == (WIDTH, HEIGHT)


def test_without_a_curve_there_is_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="without a curve"):
        draw(dataclasses.replace(SEEN, curves=()))
