"""The HTML report: self-contained, escaped, readable in a real browser."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from kloc.records import Annotation, Dataset, Instance, Video
from kloc.report.html import Bar, Headline, ReportData, Table, Thumbnail, Timeline, Track, render_report
from kloc.report.plots import Curve, CurvePoint
from kloc.report.statistics import compute
from tests.report.pages import opened

EVIL = '<img src=x onerror="document.title=1">"\'&{{7*7}}</script>'


def _still() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((24, 32, 3), 90, np.uint8)).save(stream, "JPEG")
    return stream.getvalue()


def _data(name: str = "jump") -> ReportData:
    video = Video("v", 2.0, 42.0)
    dataset = Dataset(
        (name,), {"v": video}, {"v": Annotation(video.item, (Instance(5, 9, name), Instance(5, 5, name)))}
    )
    bars = (Bar(5, 9, name), Bar(7, 12, name, 0.5, note=name), Bar(12, 40, name, 0.0))
    line = Timeline(
        "v", 2.0, 42.0, (Track("truth", bars, "truth"), Track(name, (), "answer")), (Thumbnail(3, _still()),), name
    )
    return ReportData(
        title=name,
        summary=(name,),
        simulated=True,
        headline=(Headline(name, name, name),),
        curves=(Curve(name, (CurvePoint(8, 0.25), CurvePoint(16, 0.5))), Curve("full", (CurvePoint(16, 0.75),))),
        quality=Table(("measure", name), ((name, 0.5), ("nothing", None)), name),
        cost=Table(("round", "total"), ((1, 2.5),)),
        per_class=Table(("class", "AP"), ((name, 0.125),)),
        statistics=compute(dataset),
        timelines=(line,),
        problems=(name,),
        provenance={name: name},
    )


def test_equal_data_give_equal_bytes_and_nothing_points_outside() -> None:
    text = render_report(_data())
    assert text == render_report(_data())
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', text)
    without_names = re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
    assert "http://" not in without_names
    assert "https://" not in without_names


def test_sections_without_data_are_left_out() -> None:
    text = render_report(ReportData("Bare"))
    assert "<section" not in text
    assert "Simulated" not in text
    assert "Simulated answers" in render_report(replace(ReportData("Bare"), simulated=True))


def test_overlapping_bars_go_into_rows_and_stay_on_the_lane() -> None:
    text = render_report(_data())
    placed = re.findall(r"left:([\d.]+)%;width:([\d.]+)%;--row:(\d)", text)
    assert placed == [("7.500", "10.000", "0"), ("12.500", "12.500", "1"), ("25.000", "70.000", "0")]


@pytest.fixture
def browser(chromium: Browser) -> Browser:
    return chromium


def _open(
    browser: Browser, folder: Path, data: ReportData, width: int, scheme: Literal["light", "dark"] = "light"
) -> tuple[Page, list[str]]:
    return opened(browser, folder / "report.html", render_report(data), width, scheme)


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("name", ["jump", EVIL])
def test_the_page_opens_without_trouble_and_never_scrolls_sideways(
    browser: Browser, tmp_path: Path, width: int, name: str
) -> None:
    page, trouble = _open(browser, tmp_path, _data(name), width)
    assert trouble == []
    assert page.title() == name
    assert page.locator("h1").inner_text() == name
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("img").count() == 1
    assert page.locator("img").evaluate("image => image.naturalWidth") == 32
    assert page.locator("script").count() == 1
    headings = page.locator("section h2").all_inner_texts()
    assert headings == [
        "What each round of labels brought",
        "Label quality against the truth",
        "Videos",
        "The dataset in figures",
        "Detection by class",
        "Cost",
        "Known problems",
        "Provenance",
    ]
    page.close()


@pytest.mark.browser
def test_a_bar_tells_its_times_and_the_theme_can_be_switched(browser: Browser, tmp_path: Path) -> None:
    page, trouble = _open(browser, tmp_path, _data(EVIL), 1280)
    assert not page.locator("#tip").is_visible()
    page.locator(".bar").nth(1).hover()
    assert page.locator("#tip").inner_text() == f"truth: {EVIL}, 7.00–12.00 s (5.00 s) · {EVIL}"

    def paper() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    light = paper()
    page.locator("#theme").click()
    assert paper() != light
    page.locator("#theme").click()
    assert paper() == light
    assert trouble == []
    page.close()


@pytest.mark.browser
def test_dark_systems_get_light_ink_in_the_plot_too(browser: Browser, tmp_path: Path) -> None:
    page, _ = _open(browser, tmp_path, _data(), 1280, "dark")
    ink = page.locator(".plot svg text").first.evaluate("e => getComputedStyle(e).fill")
    assert min(int(x) for x in re.findall(r"\d+", ink)[:3]) > 200
    page.close()
