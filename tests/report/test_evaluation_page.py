"""An evaluation in the terminal and in a real browser: 80 columns, no request, no error, sortable, escaped."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from rich.console import Console

from benchmarks.predictions import generated
from kloc.evaluation.detection import judge
from kloc.evaluation.diagnosis.diagnose import diagnose
from kloc.evaluation.matching import RULES
from kloc.evaluation.presets import preset
from kloc.evaluation.recall import average_recall
from kloc.evaluation.tables import detection_table, truth_table
from kloc.records import Annotation, Dataset, Instance, Video
from kloc.report.evaluation import Evaluation, class_rows, spans
from kloc.report.evaluation_page import render_evaluation
from kloc.report.evaluation_plots import drawings
from kloc.report.evaluation_terminal import render_terminal
from tests.report.pages import opened

EVIL = '<img src=x onerror="document.title=1">"\'&{{7*7}}[red]</script>$x$'


def evaluation_of(truth: Dataset, per_video: int, **more: object) -> Evaluation:
    settings = preset("activitynet")
    table, predictions = truth_table(truth), generated(truth, per_video, seed=1)
    found, ignored = detection_table(table, predictions)
    result = judge(table, found, settings.asked, ignored=ignored)
    recall = average_recall(truth, predictions)
    diagnosis = diagnose(truth, table, found, settings.averaged)
    whole = Evaluation("truth.json", "made.json", "validation", settings, result, recall, diagnosis)
    return replace(whole, **more)


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    """Forty classes, one of an evil name, in sixty videos of very different lengths."""
    names = (EVIL, *(f"class {n:02d}" for n in range(39)))
    videos, annotations = {}, {}
    for n in range(60):
        video = videos[f"v{n}"] = Video(f"v{n}", 0.0, 20.0 * (1 + n % 30))
        starts = [video.end * k / (1 + n % 7) for k in range(1 + n % 7)]
        length = video.end / (1.5 + n % 7)
        annotations[f"v{n}"] = Annotation(video.item, tuple(Instance(s, s + length, names[n % 40]) for s in starts))
    truth = Dataset(names, videos, annotations)
    return evaluation_of(truth, 30, problems=(f"1 detection of {EVIL}",), simulated=True, predictions=EVIL)


def terminal(evaluation: Evaluation) -> str:
    stream = io.StringIO()
    render_terminal(evaluation, Console(file=stream, width=80, color_system=None, highlight=False))
    return stream.getvalue()


def test_the_terminal_reads_in_80_columns_and_says_all(evaluation: Evaluation) -> None:
    shown = terminal(evaluation)
    assert max(map(len, shown.splitlines())) <= 80
    joined = " ".join(shown.split())
    assert f"! 1 detection of {EVIL}" in joined
    assert "Simulated answers" in shown
    best = class_rows(evaluation)[0]
    assert f"average {100 * evaluation.average:.1f} over tIoU 0.5 to 0.95, 10 thresholds" in joined
    assert re.search(rf"^{re.escape(best.name[:20])}.* {100 * best.average:.1f} ", shown, re.MULTILINE)
    assert "Recall is averaged over tIoU 0.5 to 0.95, 10 thresholds." in shown
    assert re.search(r"^gain mAP_N +\+\d", shown, re.MULTILINE)
    assert re.search(r"^gain mAP +\+\d", shown, re.MULTILINE)
    assert "... 28 more" in shown
    assert [line.split()[0] for line in shown.splitlines() if re.match(r"\d+G ", line)] == [
        f"{n}G" for n in range(1, 1 + sum(1 for size in evaluation.diagnosis.false_positives.sizes if size))
    ]


def test_curves_begin_at_zero(evaluation: Evaluation) -> None:
    drawn = drawings(evaluation)
    for name in ("precision", "recall"):
        (axes,) = drawn[name].figure.axes
        assert axes.get_ylim()[0] == 0
        assert axes.get_ylim()[1] > max(axes.lines[-1].get_ydata())


RULES_SAID = {
    "activitynet": ("each detection, best score first, takes the free instance that it", "precision is interpolated"),
    "thumos": ("takes the free detection that overlaps it most, whatever its score", "precision is not interpolated"),
}


@pytest.mark.parametrize("name", list(RULES))
def test_how_detections_are_matched_is_explained(name: str, evaluation: Evaluation) -> None:
    by_name = replace(evaluation, settings=preset(name))
    shown = " ".join(terminal(by_name).split())
    page = render_evaluation(by_name, drawings(evaluation))
    section = page.partition('<section id="precision">')[2].partition("</section>")[0]
    for words in RULES_SAID[name]:
        assert words in shown
        assert words in section


def test_bins_of_few_instances_are_shown_and_are_neither_worst_nor_best(evaluation: Evaluation) -> None:
    row = evaluation.diagnosis.sensitivity[0]
    sizes, figures = (200, 10, 9, 0, 1), (0.5, 0.2, 0.9, math.nan, 0.0)
    bins = tuple(
        replace(b, instances=n, normalised=value) for b, n, value in zip(row.bins, sizes, figures, strict=True)
    )
    diagnosis = replace(
        evaluation.diagnosis,
        normalised=0.4,
        sensitivity=(replace(row, bins=bins), *evaluation.diagnosis.sensitivity[1:]),
    )
    few = replace(evaluation, diagnosis=diagnosis)
    _, worst, best = spans(few)[0]
    assert (worst, best) == pytest.approx((0.5, 1.25))
    assert re.search(r"^Coverage +x 0.50 +x 1.25$", terminal(few), re.MULTILINE)
    assert "Bins of fewer than 10 instances do not count." in terminal(few)
    drawn = drawings(few)
    assert re.findall(r">(\d\.\d\d)<", drawn["relative-impact"])[:2] == ["0.50", "1.25"]
    for name in ("sensitivity", "false-negatives"):
        assert all(f">{size}<" in drawn[name] for size in (200, 10, 9))
    assert "Bins of fewer than 10 instances do not count." in render_evaluation(few, drawn)


def test_what_is_not_known_is_said_and_not_drawn() -> None:
    video = Video("v", 0.0, 30.0)
    truth = Dataset(
        ("dive",), {"v": video}, {"v": Annotation(video.item, (Instance(2, 9, "dive"),))}, open_ended=frozenset({"v"})
    )
    evaluation = evaluation_of(truth, 4)
    assert "Coverage (share of the video)  not known of any instance" in terminal(evaluation)
    page = render_evaluation(evaluation, drawings(evaluation))
    assert "Coverage: not known of 1 instances" in page
    assert "Coverage by length" not in page
    assert "Simulated" not in page


def test_equal_evaluations_give_equal_bytes_that_point_nowhere(evaluation: Evaluation) -> None:
    page = render_evaluation(evaluation, drawings(evaluation))
    assert page == render_evaluation(evaluation, drawings(evaluation))
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)
    assert "://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)


@pytest.fixture(scope="module")
def html(evaluation: Evaluation) -> str:
    return render_evaluation(evaluation, drawings(evaluation))


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=["desk", "telephone"])
def page(request: pytest.FixtureRequest, chromium: Browser, html: str, tmp_path: Path) -> Iterator[Page]:
    """The page, opened from the disk; whatever it says on the console or asks the network for fails the test."""
    width, scheme = request.param
    shown, trouble = opened(chromium, tmp_path / "evaluation.html", html, width, scheme)
    yield shown
    shown.close()
    assert trouble == []


@pytest.mark.browser
def test_the_page_fits_shows_all_and_runs_nothing_foreign(page: Page, evaluation: Evaluation) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.title() == f"{EVIL} against truth.json"
    assert page.locator("img").count() == 0
    assert page.locator(".plot svg").count() == len(drawings(evaluation))
    assert page.locator("#classes tbody tr").count() == 40
    assert page.locator(".badge").inner_text().startswith("Simulated answers")
    assert page.locator("#problems li").inner_text() == f"1 detection of {EVIL}"


@pytest.mark.browser
def test_classes_sort_and_bars_tell_their_figures(page: Page, evaluation: Evaluation) -> None:
    rows = class_rows(evaluation)
    first = page.locator("#classes tbody th").first
    assert first.inner_text() == rows[0].name
    assert page.locator("#classes tbody td").first.inner_text() == f"{100 * rows[0].average:.2f}".rstrip("0").rstrip(
        "."
    )
    average = page.locator("#classes thead th").nth(1)
    assert average.inner_text().startswith("average")
    box = average.bounding_box()
    assert box is not None
    assert page.viewport_size is not None
    assert box["x"] + box["width"] <= page.viewport_size["width"]
    page.locator("#classes thead th").nth(2).get_by_role("button").click()
    counts = [int(x) for x in page.locator("#classes tbody tr td:nth-child(3)").all_inner_texts()]
    assert counts == sorted((row.instances for row in rows), reverse=True)
    page.locator("#classes thead th").first.get_by_role("button").click()
    assert page.locator("#classes tbody th").all_inner_texts()[-1] == "class 38"

    bar = page.locator("#false-positives [data-tip]").first
    bar.scroll_into_view_if_needed()
    bar.hover()
    share = 100 * evaluation.diagnosis.false_positives.right[0]
    assert page.locator("#tip").inner_text().startswith(f"1G, right: {share:.1f} %")
