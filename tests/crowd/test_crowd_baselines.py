"""What consolidation is measured with: scores by hand, baselines on answers small enough to see through."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks import consolidation as bench
from benchmarks.consolidation import World, calibration, clusters, f1, matched, runs, touched
from benchmarks.harness import Context
from benchmarks.measures import consolidation as measure
from kloc.records import Annotation, Instance, Item


def jump(start: float, end: float, label: str = "jump", confidence: float = 1.0) -> Instance:
    return Instance(start, end, label, confidence)


class Known(World):
    """A world of one video of 60 s whose truth and answers are given."""

    def __init__(self, *true: Instance) -> None:
        super().__init__("independent", 0, 1, 3)
        object.__setattr__(self, "true", true)

    @property
    def truth(self) -> dict[str, Annotation]:  # type: ignore[override]
        return {"v": Annotation(Item("v", 0.0, 60.0), self.true)}  # type: ignore[attr-defined]


THREE = {"v": {"a": (jump(10, 20),), "b": (jump(11, 21), jump(40, 50)), "c": (jump(12, 28), jump(30, 33, "dive"))}}


def test_matching_is_one_to_one_takes_as_many_as_it_can_and_minds_the_class() -> None:
    true = [jump(0, 10), jump(8, 18)]
    assert matched([jump(4, 14), jump(0, 10)], true, 0.3) == [(0, 1), (1, 0)]
    assert matched([jump(0, 10), jump(0, 10)], true, 0.5) == [(0, 0)]
    assert matched([jump(0, 10, "dive")], true, 0.5) == []
    assert matched([jump(0, 5)], [jump(0, 10)], 0.5) == [(0, 0)]
    assert matched([], true, 0.5) == []


def test_f1_counts_over_all_videos() -> None:
    world = Known(jump(10, 20), jump(40, 50))
    assert f1({"v": [jump(10, 20)]}, world, 0.5) == pytest.approx(2 / 3)
    assert f1({"v": [jump(10, 20), jump(40, 45.1)]}, world, 0.75) == pytest.approx(0.5)
    assert f1({"v": []}, Known(), 0.5) == 1.0
    assert bench.f1_of_single_workers(world, THREE, 0.5) == pytest.approx(2 * 3 / (5 + 6))
    assert bench.boundary_errors({"v": [jump(11, 20), jump(40, 48)]}, world) == [1, 0, 0, 2]


def test_the_majority_of_frames_wins() -> None:
    (found,) = bench.majority_per_frame(Known(), THREE)["v"]
    assert (found.start, found.end) == (pytest.approx(11), pytest.approx(21))
    assert 2 / 3 <= found.confidence <= 1
    assert runs(np.array([0.6, 0.4, 0.9, 0.9]), "jump", 0.35) == [
        jump(0, 0.1, confidence=0.6),
        jump(0.2, 0.35, confidence=0.9),
    ]


def test_clusters_are_those_of_average_linkage() -> None:
    """Against scikit-learn's agglomeration of the same distances."""
    from sklearn.cluster import AgglomerativeClustering

    rng = np.random.default_rng(0)
    for _ in range(40):
        marks = [(f"w{i}", jump(s, s + d)) for i, (s, d) in enumerate(zip(*rng.uniform(1, 20, (2, 9)), strict=True))]
        far = np.array([[1 - bench.tiou(x, y) for _, y in marks] for _, x in marks])
        link = AgglomerativeClustering(
            n_clusters=None, metric="precomputed", linkage="average", distance_threshold=1 - bench.LINK_TIOU
        )
        theirs = link.fit_predict(far)
        expected = {frozenset(w for (w, _), c in zip(marks, theirs, strict=True) if c == label) for label in theirs}
        assert {frozenset(w for w, _ in cluster) for cluster in clusters(marks)} == expected


def test_clusters_give_the_middle_of_those_that_most_marked() -> None:
    world = Known()
    (mean,), (median,) = bench.cluster_mean(world, THREE)["v"], bench.cluster_median(world, THREE)["v"]
    assert mean == jump(11, 23)
    assert median == jump(11, 21)
    every = bench.clustered(THREE, lambda values: float(np.median(values)), above=0)["v"]
    assert sorted(round(i.confidence, 2) for i in every) == [0.33, 0.33, 1.0]


def test_dawid_skene_is_better_than_one_worker_and_finds_nothing_in_silence() -> None:
    pytest.importorskip("crowdkit")
    world = World("independent", 1, 30, 20)
    answers = world.answers(5)
    found = bench.dawid_skene_per_frame(world, answers)
    assert set(found) == set(answers)
    assert f1(found, world, 0.5) > bench.f1_of_single_workers(world, answers, 0.5) + 0.1
    silent = replace(world, mood="nothing occurs")
    assert not any(bench.dawid_skene_per_frame(silent, silent.answers(5)).values())


def test_what_was_merged_or_split_is_told_by_overlap() -> None:
    true = [jump(0, 10), jump(12, 20), jump(30, 50), jump(55, 58)]
    assert touched({"a": (jump(0, 20), jump(30, 50))}, true) == {0, 1}
    assert touched({"a": (jump(31, 38), jump(40, 49))}, true) == {2}
    assert touched({"a": (jump(0, 10),), "b": (jump(1, 9),)}, true) == set()
    assert touched({"a": (jump(0, 20, "dive"),)}, true) == set()


def test_repair_counts_only_what_was_touched() -> None:
    world = Known(jump(0, 10), jump(12, 20), jump(30, 50))
    answers = {"v": {"a": (jump(0, 20),)}}
    assert bench.f1_where_touched({"v": [jump(0, 10), jump(12, 20), jump(55, 60)]}, world, answers) == 1.0
    assert bench.f1_where_touched({"v": [jump(0, 20), jump(30, 50)]}, world, answers) == pytest.approx(2 / 3)
    assert bench.f1_where_touched({"v": []}, world, answers) == 0.0


def test_calibration_compares_words_with_deeds() -> None:
    honest = [(0.75, True)] * 3 + [(0.75, False)]
    assert calibration(honest).ece == 0.0
    assert calibration([*honest, (1.0, False)] * 2).ece == pytest.approx(0.2)
    assert calibration([]).ece == 0.0
    world = Known(jump(10, 20))
    assert bench.said_and_true({"v": [jump(10, 15, confidence=0.4), jump(9, 9.5)]}, world) == [
        (0.4, True),
        (1.0, False),
    ]


@pytest.mark.parametrize("generator", measure.GENERATORS)
def test_fewer_answers_are_among_more_and_moods_are_what_they_say(generator: str) -> None:
    world = World(generator, 2, 10, 20)
    three, seven = world.raw(3), world.raw(7)
    assert all(list(seven[name].items())[:3] == list(three[name].items()) for name in three)
    assert {len(given) for given in seven.values()} == {7}
    assert not any(
        a["segments"] for given in replace(world, mood="nothing occurs").raw(7).values() for a in given.values()
    )
    spam = [a for given in replace(world, mood="all spam").raw(7).values() for a in given.values()]
    assert max(a["watched"][0][1] for a in spam) <= 0.15 * 240


def test_intervals_are_those_of_student() -> None:
    from scipy import stats

    mine, theirs = [0.9, 0.8, 0.85], [0.7, 0.75, 0.8]
    low, high = stats.ttest_rel(mine, theirs).confidence_interval(0.95)
    found = measure.paired(mine, theirs)
    assert found["mean"] == pytest.approx(0.1)
    assert found["interval"] == [pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4)]
    assert measure.paired([0.5], [0.4])["interval"] is None


def test_seeds_for_tests_are_not_those_for_development() -> None:
    assert not set(measure.TEST_SEEDS) & set(measure.DEVELOPMENT_SEEDS)


def test_the_measure_works_on_a_tiny_crowd(tmp_path: Any) -> None:
    figures = measure.measured(Context("small", 0, tmp_path, lambda text: None), [1], 6, 10, 60)
    names = [figure.name for figure in figures]
    assert len(names) == len(set(names))
    assert "60 stored answers parsed and consolidated" in names
    assert {f"{g}, k = {k}: calibration error (ECE)" for g in measure.GENERATORS for k in (3, 5, 7)} < set(names)
    silent = [f.value for f in figures if "nothing occurs" in f.name]
    assert silent == [0.0, 0.0]
