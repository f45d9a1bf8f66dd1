"""The page about simulated campaigns: says what the data say, escaped, readable in a real browser."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page

from kloc.report.html import Headline
from kloc.report.plots import Panel, Series
from kloc.report.simulation import (
    Difference,
    Interval,
    Lesson,
    Reached,
    Saving,
    SimulationData,
    Strategy,
    render_simulation,
)
from tests.report.pages import opened

EVIL = '<img src=x onerror="document.title=1">"\'&{{7*7}}</script>'
WIDE = "us,mode=binary,k=5 · class-quota,per=3"


def _data(name: str = "lal") -> SimulationData:
    """Test data: nothing of it was measured."""
    area, full = Interval(0.75, 0.7, 0.8, 3), Interval(0.2512, 0.24, 0.26, 3)
    lines = (
        Series(name, (0.1, 0.5, 1.0), (0.2, 0.8, 1.0), (0.1, 0.7, 1.0), (0.3, 0.9, 1.0)),
        Series("random", (0.1, 1.0), (0.2, 1.0), slot=7),
    )
    panel = Panel("How far", "labelled share", "share of full mAP", lines, level=(0.8, "80 %"), percent="xy", note=name)
    small = Panel("By batch", "videos a round", "AULC", (Series(name, (1, 64), (0.8, 0.7)),), lines[:1], small=True)
    return SimulationData(
        title=name,
        simulated=True,
        summary=(name,),
        headline=(Headline(name, "35 %", name),),
        protocol=name,
        interval_note=name,
        learning=panel,
        cost=replace(panel, title="By time", x_label="minutes", percent="y"),
        batches=replace(small, ticks=(1, 64), log=True),
        noises=replace(small, title="By noise", x_label="noise", percent="x"),
        strategies=(
            Strategy(name, "lal", Reached(0.8, Interval(0.35, 0.3, 0.4, 3), 3, 3, 1.0), area, area, area, full),
            Strategy("random", "random", Reached(0.8, None, 0, 3, 0.5), area, area, area, full),
        ),
        differences=(
            Difference(name, "random", Interval(-0.0004, -0.1, 0.02, 3), (-0.1, 0.1), "cannot", area, "better"),
        ),
        order=(name, "The order is not reproduced."),
        savings=(
            Saving(name, "random", 3, (Interval(-12.4, -20, 5, 2), *[None] * 5)),
            Saving("random", name, 3, (Interval(3.6, None, None, 1), *[None] * 5)),
        ),
        saving_at=(0.15, 0.2, 0.3, 0.5, 0.7, 0.9),
        batch_gaps=(Series(f"{name} less random", (64,), (-0.02,), (-0.05,), (0.01,)),),
        noise_gaps=(Series(f"{name} less random", (1, 64), (0.1, 0.2)),),
        lessons=(
            Lesson(0, 0.04, (-0.01, 0.09), {"0.1": 0.02}, 1e-4, 2e-4, 100, close_to_random=True),
            Lesson(1, 0.2, (0.1, 0.3), {"0.1": 0.3, "0.05": -0.1}, -1e-4, None, None, close_to_random=False),
            Lesson(2, 0.06, (-0.1, 0.2), {}, None, None, None, close_to_random=False),
            Lesson(3, None, None, {}, None, None, None, close_to_random=False),
        ),
        problems=(name,),
        provenance={name: name},
    )


def _words(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", text))


def test_equal_data_give_equal_bytes_and_nothing_points_outside() -> None:
    text = render_simulation(_data())
    assert text == render_simulation(_data())
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', text)
    without_names = re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
    assert not re.search(r"https?://", without_names)
    assert len(re.findall(r'<svg [^>]*role|role="img"', text)) == 4


def test_the_tables_say_what_was_found_and_what_was_not() -> None:
    words = _words(render_simulation(_data()))
    assert "lal 35.0 % 30.0 to 40.0 % 35 % 0.750 0.700 to 0.800 0.750 0.750 25.1 % 3" in words
    assert "random not reached – 65 % 0.750" in words
    assert "lal +0.000 −0.100 to +0.020 cannot +0.750" in words
    assert "lal instead of random −12 % (2/3) –" in words
    assert "random instead of lal +4 % (1/3) –" in words


def test_the_figures_by_batch_and_noise_tell_the_difference_to_random() -> None:
    words = _words(render_simulation(_data()))
    assert "videos a round lal lal less random 1 0.800 – 64 0.700 −0.020 (−0.050 to +0.010)" in words
    assert "noise lal lal less random 100 % 0.800 +0.100 6.4e+03 % 0.700 +0.200" in words


def test_what_figures_lean_to_is_said_beside_them() -> None:
    text = render_simulation(_data())
    saving, lessons = text.index('<section id="saving">'), text.index('<section id="lessons">')
    assert "Late columns (from about 50 %) lean low" in text[saving:lessons]
    assert "leave out seeds that never get there" in text[saving:lessons]
    assert "other halves of the same videos" in text[lessons:]
    assert "intervals are too narrow" in text[lessons:]


def test_lal_is_judged_by_its_rank_correlation() -> None:
    words = _words(render_simulation(_data()))
    assert "regressor rank correlation 95 % interval order 5 % 10 % gain" in words
    assert "seed 0 +0.040 −0.010 to +0.090 close to random – +0.020 1 ± 2" in words
    assert "seed 1 +0.200 +0.100 to +0.300 better than a draw −0.100 +0.300 −1" in words
    assert "seed 2 +0.060 −0.100 to +0.200 cannot tell – –" in words
    assert "seed 3 – – – – – –" in words


def test_a_variant_of_a_strategy_has_no_published_figure() -> None:
    data = _data(WIDE)
    assert data.strategies[0].published_to_80 is None
    assert replace(data.strategies[0], name="us · diverse").published_to_80 == 0.42


def test_sections_without_data_are_left_out_and_real_features_have_no_badge() -> None:
    bare = replace(
        _data(), simulated=False, cost=None, batches=None, noises=None, savings=(), lessons=(), differences=(),
        problems=(), provenance={},
    )  # fmt: skip
    text = render_simulation(bare)
    assert re.findall(r'<section id="(\w+)"', text) == ["learning", "results", "protocol"]
    assert set(re.findall(r'<a href="#(\w+)"', text)) == {"learning", "results", "protocol"}
    assert "Simulated features" not in text
    assert "Simulated features" in render_simulation(_data())
    assert "Compared with random" not in text


def test_shares_never_leave_what_shares_can_be() -> None:
    wild = Reached(0.8, Interval(0.4, -0.3, 1.1, 2), 2, 2, 1.0)
    assert wild.ends == "0.0 to 100.0 %"
    assert Reached(0.8, Interval(0.4, 0.3, 0.5, 2), 1, 2, 1.0).ends is None


def _open(
    browser: Browser, folder: Path, data: SimulationData, width: int, scheme: Literal["light", "dark"]
) -> tuple[Page, list[str]]:
    return opened(browser, folder / "simulation.html", render_simulation(data), width, scheme)


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
@pytest.mark.parametrize("name", [WIDE, EVIL])
def test_the_page_opens_without_trouble_and_never_scrolls_sideways(
    chromium: Browser, tmp_path: Path, width: int, scheme: str, name: str
) -> None:
    page, trouble = _open(chromium, tmp_path, _data(name), width, scheme)
    assert trouble == []
    assert page.title() == name
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("img").count() == 0
    assert page.locator("section h2").all_inner_texts() == [
        "How far",
        "Who needs how many labels",
        "Batch size and noise",
        "By time",
        "Relative Saving",
        "What LAL had learned",
        "Protocol",
        "Known problems",
        "Provenance",
    ]
    for link in page.locator("nav a").all():
        assert page.locator(str(link.get_attribute("href"))).count() == 1
    ink = page.locator(".plot svg text").first.evaluate("e => getComputedStyle(e).fill")
    assert (min(int(x) for x in re.findall(r"\d+", ink)[:3]) > 200) == (scheme == "dark")
    # What is wider than the screen can be scrolled by the keyboard, inside its own box.
    plot = page.locator(".plot").first
    plot.focus()
    assert plot.evaluate("e => document.activeElement === e")
    assert "the figures are in the table below" in str(plot.locator("[role=img]").get_attribute("aria-label"))
    # A row's name may be broken over lines, never letter by letter.
    for head in page.locator("#saving tbody th").all():
        assert head.evaluate("e => e.offsetWidth") > 100 or not head.is_visible()
    page.close()


@pytest.mark.browser
def test_the_figures_behind_a_plot_unfold(chromium: Browser, tmp_path: Path) -> None:
    page, _ = _open(chromium, tmp_path, _data(), 1280, "light")
    table = page.locator("#learning details table")
    assert not table.is_visible()
    page.locator("#learning summary").click()
    assert table.is_visible()
    assert table.locator("tr").nth(2).inner_text().split("\t") == ["50 %", "80.0 %", "55.6 %"]
    page.close()
