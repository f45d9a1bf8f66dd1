"""The diagnosis against DETAD's definitions in plain loops (`slow`), on worlds full of ties and odd cases."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from kloc.attributes import BINNINGS
from kloc.errors import UsageError
from kloc.evaluation.detection import judge
from kloc.evaluation.diagnosis import false_positives
from kloc.evaluation.diagnosis.diagnose import Diagnosis, diagnose
from kloc.evaluation.tables import detection_table, truth_table
from kloc.records import Annotation, Dataset, Detection, Instance, Video
from tests.evaluation.diagnosis.slow import KINDS, World

CLASSES = ("a", "b", "c", "Ambiguous", "never")
THRESHOLDS = (0.3, 0.5, 0.75)
RULES = ("activitynet", "thumos")


def world(seed: int) -> tuple[Dataset, dict[str, list[Detection]]]:
    """Few videos on a coarse clock: equal segments, equal scores, equal overlaps, twins, empty videos and classes."""
    rng = np.random.default_rng([seed, 5])
    videos, annotations, detections = {}, {}, {}
    for n in range(int(rng.integers(1, 6))):
        name = f"v{n}"
        first = float(rng.integers(0, 4))
        video = videos[name] = Video(name, first, first + float(rng.integers(20, 400)))
        instances = []
        for _ in range(int(rng.integers(0, 12))):
            start = float(rng.integers(0, video.end - 10))
            end = min(start + float(rng.integers(1, 12) ** 2), video.end + 5.0)  # a few reach beyond their video
            instances.append(Instance(start, end, str(rng.choice(CLASSES[:4], p=[0.5, 0.25, 0.15, 0.1]))))
        annotations[name] = Annotation(video.item, tuple(instances))
        found = []
        for _ in range(int(rng.integers(0, 40))):
            score = float(rng.integers(0, 25)) / 25
            label = str(rng.choice(CLASSES[:3]))
            if instances and rng.random() < 0.7:
                near = instances[int(rng.integers(len(instances)))]
                start, end = near.start + float(rng.integers(-3, 4)), near.end + float(rng.integers(-3, 4))
                label = near.label if near.label != "Ambiguous" and rng.random() < 0.8 else label
            else:
                start = float(rng.integers(0, 300))
                end = start + float(rng.integers(1, 60))
            if end > start:
                found.append(Detection(start, end, label, score))
        detections[name] = found
    return Dataset(CLASSES, videos, annotations), detections


def fast(
    truth: Dataset, detections: dict[str, list[Detection]], rule: str = "activitynet", bins: str = "paper"
) -> Diagnosis:
    table = truth_table(truth)
    return diagnose(truth, table, detection_table(table, detections)[0], THRESHOLDS, matching=rule, bins=bins)


def same(value: float, expected: float) -> bool:
    return (math.isnan(value) and math.isnan(expected)) or value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(12))
def test_false_positives_are_as_defined(seed: int, rule: str) -> None:
    truth, detections = world(seed)
    slow, found = World(truth, detections, rule), fast(truth, detections, rule).false_positives
    names = ("right", *KINDS)
    counts = np.zeros((10, 6))
    sizes = np.zeros(10, int)
    for label in slow.labels:
        n = len(slow.of(label))
        sizes += [len(slow.ranked[label][n * g : n * (g + 1)]) for g in range(10)]
        for threshold in THRESHOLDS:
            for rank, verdict in enumerate(slow.verdicts(label, threshold)[: 10 * n]):
                if not verdict.left_out:
                    kind = "right" if verdict.took is not None else slow.kind(verdict, threshold)
                    counts[rank // n, names.index(kind)] += 1
    assert found.sizes == tuple(sizes)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    assert np.allclose(np.column_stack([found.right, found.kinds]), shares, atol=1e-12)
    total = counts.sum(axis=0) / max(counts.sum(), 1)
    assert np.allclose([i.share for i in found.impacts], total[1:], atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(4))
def test_removing_a_kind_gains_what_it_costs(seed: int, rule: str) -> None:
    truth, detections = world(seed)
    slow, found = World(truth, detections, rule), fast(truth, detections, rule).false_positives

    def top(verdict, threshold: float, rank: int) -> bool:
        return rank < 10 * len(slow.of(verdict.detection.label))

    for normalised in (False, True):
        before = slow.mean_ap(THRESHOLDS, normalised=normalised, keep=top)
        assert same(found.normalised if normalised else found.mean_ap, before)
        for impact in found.impacts:

            def kept(verdict, threshold: float, rank: int, kind: str = impact.kind) -> bool:
                is_it = verdict.took is None and not verdict.left_out and slow.kind(verdict, threshold) == kind
                return top(verdict, threshold, rank) and not is_it

            after = slow.mean_ap(THRESHOLDS, normalised=normalised, keep=kept)
            assert same(impact.normalised if normalised else impact.mean_ap, after - before)


@pytest.mark.parametrize("bins", list(BINNINGS))
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(4))
def test_bins_are_as_defined(seed: int, rule: str, bins: str) -> None:
    truth, detections = world(seed)
    slow, found = World(truth, detections, rule), fast(truth, detections, rule, bins)
    overall = slow.mean_ap(THRESHOLDS, normalised=True)
    assert same(found.normalised, overall)
    assert same(found.mean_ap, slow.mean_ap(THRESHOLDS, normalised=False))
    assert found.mean_per_class == pytest.approx(slow.mean_per_class)

    missed = slow.missed(THRESHOLDS)
    per_video = {v: sum(k[0] == v for k in slow.instances) for v in truth.videos}

    def length(key) -> float:
        instance, video = slow.instances[key], truth.videos[key[0]]
        return min(instance.end, video.end) - max(instance.start, video.start)

    value = {
        "coverage": lambda k: length(k) / truth.videos[k[0]].duration,
        "length": length,
        "instances": lambda k: per_video[k[0]],
    }
    for row, shares in zip(found.sensitivity, found.false_negatives.by_bin, strict=True):
        edges = [-math.inf, *next(b for b in BINNINGS[bins] if b.attribute == row.attribute).edges, math.inf]
        relative = []
        for n, (figures, share) in enumerate(zip(row.bins, shares, strict=True)):

            def inside(key, n: int = n, of=value[row.attribute], edges=edges) -> bool:
                return edges[n] < round(of(key), 9) <= edges[n + 1]

            mine = [k for k in slow.instances if inside(k)]
            assert figures.instances == len(mine)
            assert same(figures.mean_ap, slow.mean_ap(THRESHOLDS, normalised=False, inside=inside))
            assert same(figures.normalised, slow.mean_ap(THRESHOLDS, normalised=True, inside=inside))
            assert same(share, sum(missed[k] for k in mine) / len(mine) if mine else math.nan)
            if mine and overall > 0:
                relative.append(figures.normalised / overall)
        assert same(row.lowest, min(relative, default=math.nan))
        assert same(row.highest, max(relative, default=math.nan))
    assert same(found.false_negatives.missed, sum(missed.values()) / len(missed) if missed else math.nan)


def test_pairs_of_bins_add_up_to_their_marginals() -> None:
    truth, detections = world(3)
    found = fast(truth, detections)
    names = [row.attribute for row in found.sensitivity]
    for pair in found.false_negatives.pairs:
        counts = np.array(pair.instances)
        missing = np.nansum(counts * np.array(pair.missed), axis=1)
        row = found.sensitivity[names.index(pair.rows)]
        assert counts.sum(axis=1).tolist() == [b.instances for b in row.bins]
        share = found.false_negatives.by_bin[names.index(pair.rows)]
        for n in np.flatnonzero(counts.sum(axis=1)):
            assert missing[n] / counts[n].sum() == pytest.approx(share[n])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(12))
def test_its_map_is_the_evaluations(seed: int, rule: str) -> None:
    truth, detections = world(seed)
    table = truth_table(truth)
    judged = judge(table, detection_table(table, detections)[0], THRESHOLDS, matching=rule)
    assert same(fast(truth, detections, rule).mean_ap, judged.average)


def test_pairs_are_looked_at_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, detections = world(1)
    whole = fast(truth, detections)
    monkeypatch.setattr(false_positives, "_PAIRS", 7)
    assert fast(truth, detections).to_json() == whole.to_json()


def test_each_kind_by_hand() -> None:
    video = Video("v", 0.0, 100.0)
    truth = Dataset(
        ("dive", "jump"),
        {"v": video, "w": Video("w", 0.0, 100.0)},
        {
            "v": Annotation(video.item, (Instance(10, 20, "dive"), Instance(50, 70, "jump"))),
            "w": Annotation(Video("w", 0.0, 100.0).item, ()),
        },
    )
    detections = {
        "v": [
            Detection(10, 20, "dive", 0.9),  # right
            Detection(10, 19, "dive", 0.8),  # the same once more
            Detection(50, 68, "dive", 0.7),  # a jump
            Detection(15, 25, "dive", 0.6),  # off: tIoU 1/3
            Detection(60, 90, "dive", 0.5),  # off, and a jump: 1/4
            Detection(80, 90, "dive", 0.4),  # nothing there
        ],
        "w": [Detection(0, 9, "dive", 0.3)],  # a video without any instance
    }
    found = fast(truth, detections).false_positives
    table = truth_table(truth)
    at_half = diagnose(truth, table, detection_table(table, detections)[0], [0.5]).false_positives
    assert at_half.sizes == (1, 1, 1, 1, 1, 1, 1, 0, 0, 0)
    kinds = [dict(zip(KINDS, row, strict=True)) for row in at_half.kinds]
    expected = ["double detection", "wrong label", "localization", "confusion", "background", "background"]
    assert at_half.right[0] == 1.0
    assert [max(row, key=row.get) for row in kinds[1:7]] == expected
    assert all(max(row.values()) == 1.0 for row in kinds[1:7])
    assert found.unranked == 0


@pytest.mark.parametrize(("before", "missed"), [(18, 0.0), (19, 1.0)])
def test_what_is_found_too_late_is_missed(before: int, missed: float) -> None:
    video = Video("v", 0.0, 100.0)
    truth = Dataset(("dive",), {"v": video}, {"v": Annotation(video.item, (Instance(10, 20, "dive"),))})
    wrong = [Detection(50 + n, 60 + n, "dive", 0.9 - n / 100) for n in range(before)]
    found = fast(truth, {"v": [*wrong, Detection(10, 20, "dive", 0.1)]})
    # Precision at the hit is 1 / 19 with 18 before it, and no more than 5 % with 19.
    assert found.false_negatives.missed == missed


def test_nothing_to_judge_gives_no_figure_and_no_warning() -> None:
    video = Video("v", 0.0, 10.0)
    truth = Dataset(("dive",), {"v": video}, {"v": Annotation(video.item, ())})
    found = fast(truth, {"v": [Detection(0, 5, "dive", 0.5)]})
    assert found.to_json()["normalised"] is None
    assert found.false_positives.unranked == 1
    assert found.false_positives.sizes == (0,) * 10
    nothing = fast(replace(truth, annotations={"v": Annotation(video.item, (Instance(1, 2, "dive"),))}), {})
    assert nothing.mean_ap == 0.0
    assert nothing.false_negatives.missed == 1.0


def test_unknown_bins_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown bins 'mine'"):
        fast(*world(0), bins="mine")
