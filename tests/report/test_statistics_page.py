"""The page of statistics: self-contained, escaped, sortable, with tips, in a real browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page

from kloc.records import Annotation, Dataset, Instance, Video
from kloc.report.campaign import Agreement, Campaign, ChosenRow, RoundRow
from kloc.report.statistics import Statistics, compute
from kloc.report.statistics_page import panels, render_statistics
from tests.report.pages import opened

EVIL = '<img src=x onerror="document.title=1">"\'&{{7*7}}</script>'


def _statistics(name: str = "jump") -> Statistics:
    subsets = ("training", "validation", "testing")
    videos = {
        f"{name}{i}": Video(f"{name}{i}", 0.0, 100.0, subset=subsets[i % 3], url="https://youtu.be/same")
        for i in range(6)
    }
    notes = {
        v: Annotation(
            video.item, tuple(Instance(10.0 * k, 10.0 * k + 4 + i, (name, "run")[k % 2]) for k in range(i + 1))
        )
        for i, (v, video) in enumerate(videos.items())
    }
    chosen = tuple(ChosenRow(f"{name}{i}", i % 2, name, i + 1, 3, None if i else 2.5, 0.3 * i) for i in range(4))
    campaign = Campaign(
        True,
        (RoundRow(0, name, "done", 2, 3.5, 6, 0.6), RoundRow(1, "us", "done", 2, 3.5, 6, 1.2)),
        chosen,
        Agreement(12, 0.8, None, 0.5, 0.25),
        (f"{name}9 (file not found)",),
    )
    return compute(Dataset((name, "run"), videos, notes, name), reading=(name,), campaign=campaign)


def test_equal_statistics_give_equal_bytes_and_nothing_points_outside() -> None:
    text = render_statistics(_statistics(EVIL))
    assert text == render_statistics(_statistics(EVIL))
    assert "<img src=x" not in text
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', text)
    assert "://" not in text


def test_every_panel_of_the_papers_figure_is_drawn() -> None:
    assert set(panels(_statistics())) == {
        "instances-per-class",
        "videos-per-class",
        "coverage",
        "length",
        "instances",
        "instances-per-video",
        "coverage-by-length",
        "coverage-by-instances",
        "length-by-instances",
    }


def _open(
    browser: Browser, folder: Path, name: str, width: int, scheme: Literal["light", "dark"]
) -> tuple[Page, list[str]]:
    return opened(browser, folder / "statistics.html", render_statistics(_statistics(name)), width, scheme)


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme", "name"), [(1280, "light", "jump"), (390, "dark", EVIL)])
def test_the_page_opens_without_trouble_and_never_scrolls_sideways(
    chromium: Browser, tmp_path: Path, width: int, scheme: str, name: str
) -> None:
    page, trouble = _open(chromium, tmp_path, name, width, scheme)
    assert page.title() == name
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    headings = page.locator("section h2").all_inner_texts()
    assert headings[:4] == ["Attributes of the instances", "Subsets", "Classes", "The campaign behind it"]
    assert headings[4:] == ["Annotated videos", "Label problems", "Known problems"]
    assert page.locator(".badge").inner_text().startswith("Simulated answers")
    assert "same source" in page.locator("#subsets").inner_text()
    assert trouble == []
    page.close()


@pytest.mark.browser
def test_every_table_sorts_and_bars_and_cells_tell_their_counts(chromium: Browser, tmp_path: Path) -> None:
    page, trouble = _open(chromium, tmp_path, "jump", 1280, "light")
    for table in page.locator("table.sortable").all():
        head = table.locator("thead th").nth(1)
        for direction in ("descending", "ascending"):
            head.get_by_role("button").focus()
            page.keyboard.press("Enter")
            if head.get_attribute("aria-sort") != direction:  # names begin with A, figures with the largest
                page.keyboard.press("Enter")
            assert head.get_attribute("aria-sort") == direction
    page.locator("#videos thead button").nth(2).click()
    figures = [int(x) for x in page.locator("#videos tbody td:nth-child(3)").all_inner_texts()]
    assert figures == sorted(figures, reverse=True) == [6, 5, 4, 3, 2, 1]
    page.locator(".hist i").first.hover()
    assert page.locator("#tip").inner_text() == "XS, ≤ 0.2: 21 instances, 100.00 %"
    page.locator(".heat td[data-tip]").first.hover()
    assert page.locator("#tip").inner_text() == "coverage XS, length XS: 21 instances, 100.00 %"
    page.keyboard.press("Escape")
    assert not page.locator("#tip").is_visible()
    assert trouble == []
    page.close()
