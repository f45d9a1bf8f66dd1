"""Statistics: bins closed on the right, matrices that agree with their margins, problems counted."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from kloc.attributes import BINNINGS
from kloc.errors import UsageError
from kloc.formats import activitynet
from kloc.records import Annotation, Dataset, Instance, Video
from kloc.report.label_problems import leakage
from kloc.report.statistics import Facts, Statistics, compute, sentences
from kloc.report.terminal import render_terminal


def _dataset(*videos: tuple[str, float, list[tuple[float, float, str]]], subset: str = "training") -> Dataset:
    found = {i: Video(i, 0.0, duration, subset=subset) for i, duration, _ in videos}  # type: ignore[arg-type]
    notes = {i: Annotation(found[i].item, tuple(Instance(*x) for x in rows)) for i, _, rows in videos}  # type: ignore[arg-type]
    return Dataset(("run", "jump"), found, notes, "tiny")


def _counts(statistics: Statistics, attribute: str) -> tuple[int, ...]:
    return next(h.counts for h in statistics.attributes if h.attribute == attribute)


@pytest.mark.parametrize(
    ("coverage", "name"),
    [(0.1, "XS"), (0.2, "XS"), (0.2001, "S"), (0.4, "S"), (0.6, "M"), (0.8, "L"), (0.8001, "XL"), (1.0, "XL")],
)
def test_coverage_bins_are_closed_on_the_right(coverage: float, name: str) -> None:
    statistics = compute(_dataset(("v", 10.0, [(0, 10 * coverage, "run")])))
    histogram = statistics.attributes[0]
    assert dict(zip(histogram.names, histogram.counts, strict=True))[name] == 1


def test_float_trouble_does_not_move_an_instance_to_the_next_bin() -> None:
    assert (0.1 + 0.2) * 2 > 0.6
    assert list(BINNINGS["paper"][0].index(np.array([(0.1 + 0.2) * 2, 0.6000001]))) == [2, 3]


@pytest.mark.parametrize(
    ("seconds", "name"), [(30, "XS"), (30.01, "S"), (60, "S"), (120, "M"), (180, "L"), (180.01, "XL")]
)
def test_length_bins_are_closed_on_the_right(seconds: float, name: str) -> None:
    histogram = compute(_dataset(("v", 1000.0, [(0, seconds, "run")]))).attributes[1]
    assert dict(zip(histogram.names, histogram.counts, strict=True))[name] == 1


@pytest.mark.parametrize(
    ("n", "paper", "detad"),
    [(1, 0, 0), (2, 1, 1), (4, 1, 1), (5, 2, 2), (8, 2, 2), (9, 3, 3), (16, 3, 3), (17, 4, 3)],
)
def test_number_of_instances_bins(n: int, paper: int, detad: int) -> None:
    dataset = _dataset(("v", 1000.0, [(10 * i, 10 * i + 5, "run") for i in range(n)]))
    assert _counts(compute(dataset), "instances")[paper] == n
    assert _counts(compute(dataset, "detad"), "instances")[detad] == n


def test_a_video_without_instances_counts_as_video_only() -> None:
    statistics = compute(_dataset(("a", 10.0, []), ("b", 10.0, [(0, 1, "run"), (2, 5, "run")])))
    assert (statistics.annotated, statistics.instances, statistics.videos_without_instance) == (2, 2, 1)
    assert (statistics.instances_per_video, statistics.instances_per_video_with_any) == (1.0, 2.0)
    assert [(r.video_id, r.instances, r.action_seconds) for r in statistics.per_video] == [("a", 0, 0.0), ("b", 2, 4.0)]
    assert sum(_counts(statistics, "instances")) == 2


_segment = st.tuples(st.floats(0, 290), st.floats(0.6, 200), st.sampled_from(["run", "jump"]))


@given(st.lists(st.lists(_segment, max_size=20), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_matrices_sum_to_100_and_agree_with_the_histograms(videos: list[list[tuple[float, float, str]]]) -> None:
    rows = [(f"v{i}", 300.0, [(a, min(a + d, 300.0), c) for a, d, c in v]) for i, v in enumerate(videos)]
    statistics = compute(_dataset(*rows))
    histograms = {h.attribute: h for h in statistics.attributes}
    assert [(m.rows, m.columns) for m in statistics.pairwise] == [
        ("coverage", "length"),
        ("coverage", "instances"),
        ("length", "instances"),
    ]
    for m in statistics.pairwise:
        table = np.asarray(m.counts)
        assert tuple(table.sum(axis=1)) == histograms[m.rows].counts
        assert tuple(table.sum(axis=0)) == histograms[m.columns].counts
        assert table.sum() == statistics.instances
        if statistics.instances:
            assert abs(np.sum(m.percent) - 100) < 1e-6
    assert sum(row.instances for row in statistics.per_class) == statistics.instances


def test_classes_subsets_and_balance() -> None:
    dataset = _dataset(("a", 100.0, [(0, 10, "run"), (20, 50, "run")]), ("b", 50.0, [(0, 10, "run"), (5, 15, "jump")]))
    statistics = compute(dataset)
    run, jump = statistics.per_class
    assert (run.videos, run.instances, run.instances_per_video, run.seconds) == (2, 3, 1.5, 50.0)
    assert (run.mean_length, run.median_length) == (pytest.approx(50 / 3), 10.0)
    assert (run.mean_coverage, run.median_coverage) == (pytest.approx(0.2), pytest.approx(0.2))
    assert jump.by_subset == {"training": 1}
    (subset,) = statistics.subsets
    assert (subset.videos, subset.annotated, subset.instances) == (2, 2, 4)
    assert subset.action_hours * 3600 == pytest.approx(40 + 15)  # overlapping instances counted once
    p = np.array([0.75, 0.25])
    assert statistics.balance == pytest.approx(-(p * np.log2(p)).sum())


def test_label_problems_are_found() -> None:
    rows = [
        (5, 5, "run"),
        (7, 6, "run"),
        (1, 1.2, "run"),
        (8, 12, "run"),
        (2, 4, "jump"),
        (2, 4, "jump"),
        (2.0009, 4.001, "jump"),
        (3, 5, "jump"),
        (11, 12, "jump"),
    ]
    dataset = _dataset(("v", 10.0, [*rows, (0, 1, "Run ")]), ("nil", 0.0, [(0, 1, "run")]))
    statistics = compute(dataset)
    assert {p.kind: p.count for p in statistics.label_problems} == {
        "classes that differ only in case, spaces or signs": 1,
        "ends before or where it starts (left out)": 2,
        "given twice (counted once)": 1,
        "label that is no class of the dataset": 1,
        "outside its video (left out)": 1,
        "overlaps another instance of its class": 1,
        "reaches beyond its video (cut)": 1,
        "shorter than 0.5 s": 1,
        "video without a duration: no coverage": 1,
        "within 1 ms of another of its class (counted)": 1,
    }
    assert statistics.label_problems[0].examples == ("'Run ' / 'run'",)
    assert statistics.instances == 7  # 1-1.2, 8-10, 2-4 and its near twin, 3-5, "Run " and the one of unknown coverage
    assert statistics.measured == 6
    assert [row.label for row in statistics.per_class] == ["run", "jump", "Run "]


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 12)), max_size=12))
def test_near_twins_are_those_that_a_look_at_all_pairs_finds(ticks: list[tuple[int, int]]) -> None:
    rows = sorted({(a * 4e-4, 1 + (a + d) * 4e-4) for a, d in ticks})
    apart = [
        max(abs(rows[i][0] - rows[j][0]), abs(rows[i][1] - rows[j][1])) for i in range(len(rows)) for j in range(i)
    ]
    near, at = 0, 0
    for i in range(len(rows)):
        near += any(x <= 1e-3 for x in apart[at : at + i])
        at += i
    found = compute(_dataset(("v", 10.0, [(a, b, "run") for a, b in rows]))).label_problems
    assert sum(p.count for p in found if p.kind.startswith("within 1 ms")) == near


def test_where_no_duration_is_known_coverage_is_left_out_and_the_rest_stays() -> None:
    statistics = compute(_dataset(("v", 0.0, [(0, 40, "run"), (50, 55, "run")]), ("w", 0.0, [(3, 200, "jump")])))
    assert [h.attribute for h in statistics.attributes] == ["length", "instances"]
    assert [(m.rows, m.columns) for m in statistics.pairwise] == [("length", "instances")]
    assert np.sum(statistics.pairwise[0].percent) == pytest.approx(100, abs=1e-6)
    assert (statistics.measured, statistics.untimed, statistics.hours) == (3, 2, 0.0)
    assert statistics.facts == Facts(None, None, None)
    assert all(row.mean_coverage is None and row.mean_length for row in statistics.per_class)
    assert sentences(statistics) == ("No video's duration is known: coverage and hours of video are left out.",)


def test_the_papers_sentences_are_computed() -> None:
    many = [(10.0 * i, 10.0 * i + 5, "run") for i in range(5)]
    dataset = _dataset(
        ("a", 100.0, many),  # five of coverage .05, length 5
        ("b", 100.0, [(0, 35, "run")]),  # coverage S, length S
        ("c", 100.0, [(0, 90, "run")]),  # coverage XL, alone
        ("d", 100.0, [(0, 85, "run"), (0, 82, "jump"), (0, 50, "jump")]),  # two of coverage XL, not alone
    )
    facts = compute(dataset).facts
    assert facts.relatively_small == pytest.approx(60)
    assert facts.hardest == pytest.approx(50)
    assert facts.single_of_xl == pytest.approx(100 / 3)
    assert sentences(compute(dataset))[0].startswith("60.0 % of instances are relatively small")
    counts = dict(
        zip(compute(dataset).videos_by_instances.names, compute(dataset).videos_by_instances.counts, strict=True)
    )
    assert counts == {"none": 0, "XS": 2, "S": 1, "M": 1, "L": 0, "XL": 0}


def test_leaks_between_subsets_are_found_and_only_between_them() -> None:
    def video(name: str, subset: str, url: str | None = None) -> Video:
        return Video(name, 0.0, 10.0, subset=subset, url=url)  # type: ignore[arg-type]

    videos = [
        video("v_Ab-1", "training", "https://www.youtube.com/watch?v=xyz"),
        video("ab_1.mp4", "testing", "other.org/1"),
        video("c", "validation", "http://youtu.be/xyz"),
        video("d", "training", "https://example.org/films"),
        video("D", "training", "https://example.org/films"),
    ]
    found = {p.kind: p for p in leakage(videos, {"same file": {"c": "hash", "d": "hash", "D": "hash"}})}
    assert {kind: p.count for kind, p in found.items()} == {
        "same source in more than one subset": 1,
        "same id in another spelling in more than one subset": 1,
        "same file in more than one subset": 1,
    }
    assert "v_Ab-1" in found["same id in another spelling in more than one subset"].examples[0]
    assert leakage([v for v in videos if v.subset == "training"], {}) == ()


def test_an_end_beyond_the_video_is_clipped_but_detad_leaves_an_overlong_one_out() -> None:
    dataset = _dataset(("v", 10.0, [(-1, 12, "run"), (8, 12, "jump")]))
    assert _counts(compute(dataset), "coverage") == (1, 0, 0, 0, 1)
    assert _counts(compute(dataset, "detad"), "coverage") == (1, 0, 0, 0, 0)


def test_unknown_bins_are_refused_and_json_is_plain() -> None:
    with pytest.raises(UsageError, match="unknown bins 'mine'; there are: paper, detad"):
        compute(_dataset(), "mine")
    statistics = compute(_dataset(("v", 10.0, [(0, 1, "run")])))
    assert json.loads(json.dumps(statistics.to_json(), allow_nan=False))["instances"] == 1


def _shown(statistics: Statistics, width: int = 80) -> str:
    stream = io.StringIO()
    render_terminal(statistics, Console(file=stream, width=width, color_system=None))
    return stream.getvalue()


def test_the_terminal_shows_all_of_it_in_80_columns() -> None:
    many = [(f"v{i}", 100.0, [(0, 10 + i, "run"), (50, 60, "jump")]) for i in range(30)]
    shown = _shown(compute(_dataset(*many, ("bad", 10.0, [(5, 5, "run")]))))
    assert max(map(len, shown.splitlines())) <= 80
    for text in ("tiny", "31 annotated", "Subsets", "Coverage", "Length", "100.0 %", "1 x ends before"):
        assert text in shown
    for matrix in ("Coverage (rows) by length", "Coverage (rows) by instances", "Length (rows) by instances"):
        assert matrix in shown


def test_the_terminal_survives_an_empty_dataset_and_markup_in_names() -> None:
    assert "No label problems" in _shown(compute(Dataset((), {}, {}, "[red]none")))
    assert "[red]none" in _shown(compute(Dataset((), {}, {}, "[red]none")))
    video = Video("v", 0, 9)
    odd = Dataset(("[bold]x",), {"v": video}, {"v": Annotation(video.item, (Instance(0, 5, "[bold]x"),))})
    assert "[bold]x" in _shown(compute(odd))


@pytest.mark.realdata
def test_the_real_activitynet(real_data: Path) -> None:
    statistics = compute(activitynet.read(real_data / "annotations" / "activitynet-1.3.json").dataset)
    coverage, length, _ = statistics.attributes
    assert coverage.percent == pytest.approx((41.3, 12.8, 9.6, 11.8, 24.4), abs=0.2)
    assert length.percent == pytest.approx(
        (52.7, 17.0, 17.2, 9.4, 3.7), abs=0.25
    )  # 64 instances fewer: repeated, empty
