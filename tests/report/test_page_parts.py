"""What every page stands on: tables that sort, tips that show, by mouse and by keyboard."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from kloc.report.html import ReportData, Table, render_report

ROWS = (("b 2", 3, 0.5), ("a", 1200, None), ("<b>10</b>", 20, 12.25))


@pytest.fixture
def page(chromium: Browser, tmp_path: Path) -> Page:
    """The report's table of detections by class, which sorts, and one bar with a tip."""
    data = ReportData("Parts", per_class=Table(("class", "videos", "AP"), ROWS))
    path = tmp_path / "page.html"
    path.write_text(render_report(data), encoding="utf-8")
    page = chromium.new_page()
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.goto(path.as_uri())
    yield page
    page.close()
    assert trouble == []


def _first(page: Page) -> list[str]:
    return page.locator("#classes tbody th").all_inner_texts()


@pytest.mark.browser
def test_a_table_sorts_by_figures_and_by_names_and_says_so(page: Page) -> None:
    assert _first(page) == ["b 2", "a", "<b>10</b>"]
    heads = page.locator("#classes thead th")
    heads.nth(1).get_by_role("button").click()
    assert _first(page) == ["a", "<b>10</b>", "b 2"]  # 1,200 before 20 before 3: figures, the largest first
    assert [h.get_attribute("aria-sort") for h in heads.all()] == [None, "descending", None]
    heads.nth(1).get_by_role("button").click()
    assert _first(page) == ["b 2", "<b>10</b>", "a"]
    assert heads.nth(1).get_attribute("aria-sort") == "ascending"
    heads.nth(0).get_by_role("button").click()
    assert _first(page)[-2:] == ["a", "b 2"]  # names from A
    assert [h.get_attribute("aria-sort") for h in heads.all()] == ["ascending", None, None]


@pytest.mark.browser
def test_the_keyboard_sorts_and_what_is_missing_comes_last_both_ways(page: Page) -> None:
    page.locator("#classes thead button").nth(2).focus()
    page.keyboard.press("Enter")
    assert _first(page) == ["<b>10</b>", "b 2", "a"]
    page.keyboard.press("Space")
    assert _first(page) == ["b 2", "<b>10</b>", "a"]
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    assert page.locator("#classes thead th").nth(1).get_attribute("aria-sort") == "descending"
