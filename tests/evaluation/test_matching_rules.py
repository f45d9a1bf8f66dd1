"""Both official definitions, written down again the slow way, on random worlds and on THUMOS'14 itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.predictions import generated
from kloc.errors import UsageError
from kloc.evaluation import matching
from kloc.evaluation.detection import THRESHOLDS, THUMOS_THRESHOLDS, mean_average_precision
from kloc.evaluation.matching import LEFT_OUT, WRONG, matches
from kloc.evaluation.presets import PRESETS, preset
from kloc.evaluation.tables import detection_table, truth_table
from kloc.formats import activitynet
from kloc.formats.predictions import PredictionTable
from kloc.records import Annotation, Dataset, Detection, Instance, Item, Video

CLASSES = ("a", "b", "Ambiguous")
Found = Mapping[str, Sequence[Detection]]


def dataset(instances: Mapping[str, Sequence[Instance]], classes: tuple[str, ...] = CLASSES) -> Dataset:
    videos = {k: Video(k, 0.0, 100.0) for k in instances}
    return Dataset(classes, videos, {k: Annotation(Item(k, 0.0, 100.0), tuple(rows)) for k, rows in instances.items()})


def tiou(x: Instance | Detection, y: Instance | Detection) -> float:
    shared = max(0.0, min(x.end, y.end) - max(x.start, y.start))
    return shared / ((x.end - x.start) + (y.end - y.start) - shared)


def thumos(truth: Dataset, detections: Found, label: str, threshold: float) -> tuple[float, dict[str, list[object]]]:
    """One class of THUMOS'14's evaluation kit: AP, and what became of each video's detections, best first."""
    total = sum(i.label == label for a in truth.annotations.values() for i in a.instances)
    pooled: list[tuple[float, str, float, float, int, bool]] = []
    fate: dict[str, list[object]] = {}
    for video, annotation in truth.annotations.items():
        found = sorted((-d.score, d.start, d.end, d) for d in detections.get(video, ()) if d.label == label)
        ranked = [row[-1] for row in found]
        state: list[object] = ["free"] * len(ranked)
        for instance in annotation.instances:
            if instance.label != label:
                continue
            best, best_overlap = None, threshold + 1e-9
            for n, detection in enumerate(ranked):
                if state[n] == "free" and tiou(detection, instance) > best_overlap:
                    best, best_overlap = n, tiou(detection, instance)
            if best is not None:
                state[best] = instance
        unclear = [i for i in annotation.instances if i.label == "Ambiguous"]
        for n, detection in enumerate(ranked):
            if state[n] == "free" and any(tiou(detection, i) > 0 for i in unclear):
                state[n] = "left out"
            if state[n] != "left out":
                pooled.append((-detection.score, video, detection.start, detection.end, n, state[n] != "free"))
        fate[video] = state
    right, area = 0, 0.0
    for seen, (*_, hit) in enumerate(sorted(pooled), start=1):
        if hit:
            right += 1
            area += right / seen
    return (area / total if total else math.nan), fate


times = st.integers(0, 12)
spans = st.tuples(times, st.integers(1, 8)).map(lambda t: (float(t[0]), float(t[0] + t[1])))
instances = st.builds(lambda s, c: Instance(s[0], s[1], c), spans, st.sampled_from(CLASSES))
scores = st.one_of(st.sampled_from([0.25, 0.5]), st.floats(0, 1))
detection = st.builds(lambda s, c, p: Detection(s[0], s[1], c, p), spans, st.sampled_from(["a", "b"]), scores)
worlds = st.dictionaries(st.sampled_from(["v1", "v2", "v3"]), st.lists(instances, max_size=7))
found_in = st.dictionaries(st.sampled_from(["v1", "v2", "v3", "elsewhere"]), st.lists(detection, max_size=12))


@pytest.mark.filterwarnings("ignore:.*has no instance")
@settings(max_examples=200, deadline=None)
@given(world=worlds, detections=found_in, chunk=st.integers(1, 5))
def test_thumos_equals_its_evaluation_kit(
    world: dict[str, list[Instance]], detections: dict[str, list[Detection]], chunk: int
) -> None:
    truth = dataset(world)
    thresholds = [0.5, 0.3, 0.7, 0.1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "_PAIRS", chunk)
        result = mean_average_precision(truth, detections, thresholds, matching="thumos")
    assert result.classes == ("a", "b")
    for k, threshold in enumerate(thresholds):
        for c, label in enumerate(result.classes):
            expected, _ = thumos(truth, detections, label, threshold)
            np.testing.assert_allclose(result.average_precision[k, c], expected, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(world=worlds, detections=found_in, threshold=st.sampled_from([0.1, 0.5]))
def test_matches_says_which_instance_a_detection_takes(
    world: dict[str, list[Instance]], detections: dict[str, list[Detection]], threshold: float
) -> None:
    truth = dataset(world)
    table = truth_table(truth)
    found, _ = detection_table(table, detections)
    taken = matches(table, found, threshold, "thumos")
    fates = {label: thumos(truth, detections, label, threshold)[1] for label in table.classes}
    for row in range(len(taken)):
        video, label = table.videos[found.video[row]], table.classes[found.label[row]]
        mine = np.flatnonzero((found.video == found.video[row]) & (found.label == found.label[row]))
        said = fates[label][video][int(np.searchsorted(mine, row))]
        if isinstance(said, Instance):
            assert (table.start[taken[row]], table.end[taken[row]]) == (said.start, said.end)
        else:
            assert taken[row] == {"free": WRONG, "left out": LEFT_OUT}[said]
    for rule in matching.RULES:
        held = matches(table, found, threshold, rule)
        held = held[held >= 0]
        assert len(np.unique(held)) == len(held)


def test_the_rules_differ_where_two_instances_want_one_detection() -> None:
    truth = dataset({"v": [Instance(0.0, 10.0, "a"), Instance(4.0, 14.0, "a")]})
    detections = {"v": [Detection(3.0, 13.0, "a", 0.9), Detection(5.0, 15.0, "a", 0.8)]}
    table = truth_table(truth)
    found, _ = detection_table(table, detections)
    # The better one takes the second instance; for the first the other one is too far away.
    assert matches(table, found, 0.5).tolist() == [1, WRONG]
    # The first instance may choose before the second does.
    assert matches(table, found, 0.5, "thumos").tolist() == [0, 1]
    with pytest.raises(UsageError, match="unknown matching rule 'pascal'; known: activitynet, thumos"):
        matches(table, found, 0.5, "pascal")


def test_ambiguous_instances_are_no_truth_and_excuse_what_lies_on_them() -> None:
    rows = [Instance(0.0, 10.0, "a"), Instance(50.0, 60.0, "ambiguous")]
    truth = dataset({"v": rows, "w": []}, ("a", "ambiguous"))
    detections = {"v": [Detection(50.0, 60.0, "a", 0.9), Detection(0.0, 10.0, "a", 0.8)]}
    official = mean_average_precision(truth, detections, [0.5], matching="thumos")
    assert (official.average, official.classes, official.ignored.ambiguous) == (1.0, ("a",), 1)
    assert "1 on ambiguous instances" in str(official)
    assert mean_average_precision(truth, detections, [0.5]).average == 0.5
    # What takes an instance is right, wherever it lies.
    covered = dataset({"v": [*rows, Instance(0.0, 60.0, "Ambiguous")]}, ("a", "ambiguous", "Ambiguous"))
    assert mean_average_precision(covered, detections, [0.5], matching="thumos").average == 1.0


def test_thumos_takes_the_threshold_itself_for_too_little() -> None:
    truth = dataset({"v": [Instance(0.0, 10.0, "a")]})
    for u in (0.3, 0.5, 0.7):
        exact = {"v": [Detection(0.0, 10 * u, "a", 1.0)]}
        assert mean_average_precision(truth, exact, [u], matching="thumos").average == 0.0
        assert mean_average_precision(truth, exact, [u - 1e-6], matching="thumos").average == 1.0
        assert mean_average_precision(truth, exact, [u]).average == 1.0


@pytest.mark.parametrize("rule", sorted(matching.RULES))
def test_ties_go_by_video_then_start_then_end_whatever_the_order(rule: str) -> None:
    truth = dataset({"v2": [Instance(0.0, 10.0, "a")], "v1": [Instance(20.0, 30.0, "a"), Instance(0.0, 3.0, "b")]})
    rows = [("v2", 0.0, 10.0), ("v1", 20.0, 30.0), ("v1", 20.0, 29.0), ("v1", 5.0, 40.0), ("v2", 1.0, 10.0)]
    table = truth_table(truth)
    expected = None
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(len(rows))
        detections: dict[str, list[Detection]] = {}
        for n in order:
            video, start, end = rows[n]
            detections.setdefault(video, []).append(Detection(start, end, "a", 0.5))
        found, _ = detection_table(table, detections)
        ranked = [(table.videos[v], s, e) for v, s, e in zip(found.video, found.start, found.end, strict=True)]
        assert ranked == sorted(rows)
        result = mean_average_precision(truth, detections, matching=rule).to_json()
        assert result == (expected := expected or result)


def official_activitynet(truth: pd.DataFrame, found: pd.DataFrame, thresholds: Sequence[float]) -> list[float]:
    """mAP at each threshold as ActivityNet's evaluation defines it, one data frame of a class at a time."""
    each = []
    for label, instances in truth.groupby("label"):
        mine = found[found["label"] == label].sort_values("score", ascending=False)
        by_video = dict(list(instances.groupby("video")))
        locked = {threshold: set() for threshold in thresholds}
        hits = np.zeros((len(thresholds), len(mine)))
        for n, row in enumerate(mine.itertuples()):
            if row.video not in by_video:
                continue
            rows = by_video[row.video]
            shared = np.minimum(rows["end"], row.end) - np.maximum(rows["start"], row.start)
            shared = shared.clip(lower=0)
            overlap = shared / ((rows["end"] - rows["start"]) + (row.end - row.start) - shared)
            for k, threshold in enumerate(thresholds):
                for index in overlap.sort_values(ascending=False).index:
                    if overlap[index] < threshold:
                        break
                    if index not in locked[threshold]:
                        locked[threshold].add(index)
                        hits[k, n] = 1
                        break
        areas = []
        for row in hits:
            recall = np.concatenate([[0], np.cumsum(row) / len(instances), [1]])
            precision = np.concatenate([[0], np.cumsum(row) / np.arange(1, len(row) + 1), [0]])
            for n in range(len(precision) - 2, -1, -1):
                precision[n] = max(precision[n], precision[n + 1])
            areas.append(sum((recall[1:] - recall[:-1]) * precision[1:]))
        each.append(areas)
    return np.mean(each, axis=0).tolist()


@pytest.fixture(scope="module")
def thumos14(request: pytest.FixtureRequest) -> tuple[Dataset, PredictionTable]:
    folder: Path = request.getfixturevalue("real_data")
    truth = activitynet.read(folder / "annotations" / "thumos14-test.json").dataset.of("testing")
    return truth, generated(truth, 20, seed=4)


@pytest.mark.realdata
def test_activitynets_map_on_thumos14(thumos14: tuple[Dataset, PredictionTable]) -> None:
    truth, found = thumos14
    assert len(np.unique(found.score)) == len(found)
    instances = pd.DataFrame(
        [(v, i.label, i.start, i.end) for v, a in truth.annotations.items() for i in a.instances],
        columns=["video", "label", "start", "end"],
    )
    predicted = pd.DataFrame({
        "video": np.array(found.videos)[found.video], "label": np.array(found.classes)[found.label],
        "start": found.start, "end": found.end, "score": found.score,
    })  # fmt: skip
    thresholds = THRESHOLDS[::3]
    result = mean_average_precision(truth, found, thresholds)
    assert result.average > 0.05
    np.testing.assert_allclose(result.mean_ap, official_activitynet(instances, predicted, thresholds), atol=1e-9)
    np.testing.assert_array_equal(mean_average_precision(truth, found.detections(), thresholds).mean_ap, result.mean_ap)


@pytest.mark.realdata
def test_thumos14s_map_on_thumos14(thumos14: tuple[Dataset, PredictionTable]) -> None:
    truth, found = thumos14
    # The file lacks the ambiguous instances; every tenth one stands for them.
    rows = sorted((v, i) for v, a in truth.annotations.items() for i in a.instances)
    unclear = set(rows[::10])
    world = {
        v: [Instance(i.start, i.end, "Ambiguous") if (v, i) in unclear else i for i in a.instances]
        for v, a in truth.annotations.items()
    }
    marked = dataset(world, (*truth.classes, "Ambiguous"))
    detections = found.detections()
    result = mean_average_precision(marked, found, THUMOS_THRESHOLDS[::2], matching="thumos")
    assert result.average > 0.05
    assert result.ignored.ambiguous > 0
    for k, threshold in enumerate(result.thresholds.tolist()):
        expected = [thumos(marked, detections, label, threshold)[0] for label in result.classes]
        np.testing.assert_allclose(result.average_precision[k], expected, atol=1e-9)


def test_presets_are_what_their_benchmarks_say() -> None:
    assert preset("activitynet").asked == THRESHOLDS
    assert preset("thumos").asked == (0.3, 0.4, 0.5, 0.6, 0.7)
    assert {p.name: (p.matching, p.duplicates, p.subset) for p in PRESETS.values()} == {
        "activitynet": ("activitynet", "keep", "validation"),
        "thumos": ("thumos", "keep", "testing"),
        "kinetics-localization": ("activitynet", "keep", "validation"),
    }
    with pytest.raises(UsageError, match="unknown preset 'coco'; known: activitynet, thumos, kinetics-localization"):
        preset("coco")


def test_the_papers_columns_and_average_are_apart() -> None:
    paper = preset("kinetics-localization")
    assert len(paper.asked) == 14
    truth = dataset({"v": [Instance(0.0, 10.0, "a")]})
    result = mean_average_precision(truth, {"v": [Detection(0.0, 8.0, "a", 1.0)]}, paper.asked)
    assert paper.columns(result).tolist() == [1.0] * 8 + [0.0]
    assert paper.average(result) == pytest.approx(0.7)  # .5 to .8 of .5:.05:.95
