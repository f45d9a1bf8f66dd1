"""Plots: SVG that is whole, the same each time, and holds its figures as text."""

from __future__ import annotations

import io
import re
from xml.etree.ElementTree import Element

import pytest
from defusedxml.ElementTree import fromstring
from PIL import Image

from kloc.records import Annotation, Dataset, Instance, Video
from kloc.report.plots import (
    Curve,
    CurvePoint,
    Panel,
    Series,
    bars,
    for_page,
    heatmap,
    learning_curve,
    panel_plot,
    to_png,
)
from kloc.report.statistics import compute

CURVES = (
    Curve(
        "uncertainty $x_1$ <b>", tuple(CurvePoint(8 * k, 0.1 * k, 0.1 * k - 0.02, 0.1 * k + 0.02) for k in (1, 2, 3))
    ),
    Curve("random", (CurvePoint(8, 0.1), CurvePoint(16, 0.15))),
    Curve("all labels", (CurvePoint(32, 0.5),)),
)


def _texts(svg: str) -> str:
    root: Element = fromstring(svg)
    assert root.tag.endswith("svg")
    return " ".join("".join(e.itertext()) for e in root.iter() if e.tag.endswith("}text"))


def test_a_learning_curve_names_its_arms_and_axes() -> None:
    svg = learning_curve(CURVES, y_label="mAP@0.5")
    shown = _texts(svg)
    for name in ("uncertainty $x_1$ <b>", "random", "all labels", "mAP@0.5", "labelled videos"):
        assert name in shown
    assert svg == learning_curve(CURVES, y_label="mAP@0.5")
    assert "Date" not in svg
    assert "<metadata" not in svg


def test_bars_show_their_figures_and_names_are_no_formulas() -> None:
    svg = bars({"a $\\frac{1}$ & b": 0.25, "c": 1.0}, percent=True)
    shown = _texts(svg)
    assert "25.0 %" in shown
    assert "a $\\frac{1}$ & b" in shown
    assert svg == bars({"a $\\frac{1}$ & b": 0.25, "c": 1.0}, percent=True)


def test_a_heatmap_shows_percent() -> None:
    video = Video("v", 0, 10)
    dataset = Dataset(("x",), {"v": video}, {"v": Annotation(video.item, (Instance(0, 1, "x"), Instance(2, 9, "x")))})
    shown = _texts(heatmap(compute(dataset).pairwise[0]))
    assert shown.count("50.0") == 2


@pytest.mark.parametrize("svg", [learning_curve(()), bars({}), heatmap(compute(Dataset((), {}, {})).pairwise[0])])
def test_nothing_to_show_is_still_a_drawing(svg: str) -> None:
    fromstring(svg)


def test_the_pages_version_has_no_fixed_ink() -> None:
    svg = for_page(learning_curve(CURVES))
    assert "#22272e" not in svg
    assert "var(--ink)" in svg
    fromstring(svg)


PANEL = Panel(
    "AULC by batch $x$",
    "videos a round",
    "AULC",
    (Series("lal $y$", (1, 16, 256), (0.8, 0.75, 0.7), (0.7, 0.7, 0.6), (0.9, 0.8, 0.8)), Series("us", (1,), (0.5,))),
    (Series("mcle, paper", (1, 64), (0.75, 0.65), slot=1), Series("other, paper", (1,), (0.7,))),
    level=(0.8, "to reach"),
    ticks=(1, 16, 256),
    log=True,
    percent="y",
)


def test_a_panel_names_its_lines_and_places_and_is_the_same_each_time() -> None:
    svg = panel_plot(PANEL)
    shown = _texts(svg)
    for name in ("lal $y$", "us", "published, by colour", "to reach", "videos a round", "AULC", "16", "256", "80 %"):
        assert name in shown
    assert svg == panel_plot(PANEL)
    assert shown.count("published") == 1


def test_a_band_of_two_seeds_does_not_press_the_lines_flat() -> None:
    calm = Series("a", (0.0, 1.0), (0.4, 0.6), (0.35, 0.55), (0.45, 0.65))
    wild = Series("b", (0.0, 1.0), (0.4, 0.6), (-9.0, -9.0), (9.0, 9.0))
    labels = {
        line.name: {float(t) for t in re.findall(r"\b0\.\d+\b|\b\d\.\d\b", _texts(panel_plot(_bare(line))))}
        for line in (calm, wild)
    }
    assert max(labels["a"]) <= 0.66
    assert 0.66 < max(labels["b"]) <= 0.72


def _bare(line: Series) -> Panel:
    return Panel("", "", "", (line,), percent="x")


def test_an_empty_panel_is_still_a_drawing() -> None:
    fromstring(panel_plot(Panel("", "x", "y", ())))


def test_the_same_figure_as_png_has_equal_bytes_and_the_svgs_shape() -> None:
    drawing = bars({"a $x$": 0.25, "b": 1.0}, title="shares")
    made = to_png(drawing)
    assert made == to_png(bars({"a $x$": 0.25, "b": 1.0}, title="shares"))
    image = Image.open(io.BytesIO(made))
    width, height = (float(x) for x in re.findall(r'(?:width|height)="([\d.]+)pt"', drawing)[:2])
    assert image.width / image.height == pytest.approx(width / height, rel=0.03)
    assert len({pixel for _, pixel in image.convert("RGB").getcolors(1 << 20) or ()}) > 8  # something is drawn


def test_pointing_at_a_bar_tells_its_figure_on_the_disk_and_on_the_page() -> None:
    svg = bars({'a "b" <c>': 0.25, "d": 1.0}, percent=True)
    titles = [e.text for e in fromstring(svg).iter() if e.tag.endswith("}title")]
    assert titles == ['a "b" <c>: 25.0 %', "d: 100.0 %"]
    tips = [e.get("data-tip") for e in fromstring(for_page(svg)).iter() if e.get("data-tip")]
    assert tips == titles
