"""Detection mAP against a slow, obvious reference, and the rules about what is not judged."""

from __future__ import annotations

import doctest
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kloc.evaluation.detection
from kloc.errors import FormatError, UsageError
from kloc.evaluation import matching
from kloc.evaluation.detection import THUMOS_THRESHOLDS, mean_average_precision
from kloc.evaluation.tables import detection_table, truth_table
from kloc.formats.predictions import PredictionTable
from kloc.records import Annotation, Dataset, Detection, Instance, Item, Video

CLASSES = ("a", "b", "c")


def dataset(annotations: dict[str, Annotation], classes: tuple[str, ...] = CLASSES) -> Dataset:
    return Dataset(classes, {k: Video(k, 0.0, 100.0) for k in annotations}, annotations)


def whole(video_id: str, instances, exhaustive_for=None) -> Annotation:
    return Annotation(Item(video_id, 0.0, 100.0), tuple(instances), exhaustive_for)


def tiou(x, y) -> float:
    shared = max(0.0, min(x.end, y.end) - max(x.start, y.start))
    union = (x.end - x.start) + (y.end - y.start) - shared
    return shared / union if union > 0 else 0.0


def slow_ap(truth: Dataset, detections, label: str, threshold: float) -> float:
    """One class, one threshold, straight from the definition."""
    instances = {
        v: [i for i in a.instances if i.label == label] for v, a in truth.annotations.items() if a.covers(label)
    }
    total = sum(map(len, instances.values()))
    if not total:
        return math.nan
    ranked = sorted(
        (
            (-d.score, v, d.start, d.end, d)
            for v, ds in detections.items()
            for d in ds
            if v in instances and d.label == label
        ),
        key=lambda row: row[:4],
    )
    free = {v: [True] * len(found) for v, found in instances.items()}
    hits = []
    for _, video, _, _, detection in ranked:
        overlaps = [(tiou(detection, i), n) for n, i in enumerate(instances[video])]
        for overlap, n in sorted(overlaps, reverse=True):
            if overlap >= threshold - 1e-9 and free[video][n]:
                free[video][n] = False
                hits.append(True)
                break
        else:
            hits.append(False)
    recall, precision = [0.0], [0.0]
    for n in range(1, len(hits) + 1):
        recall.append(sum(hits[:n]) / total)
        precision.append(sum(hits[:n]) / n)
    recall.append(1.0)
    precision.append(0.0)
    for n in range(len(precision) - 2, -1, -1):
        precision[n] = max(precision[n], precision[n + 1])
    return sum((recall[n] - recall[n - 1]) * precision[n] for n in range(1, len(recall)))


times = st.integers(0, 12)
# Times on a coarse grid make tIoUs that fall exactly on thresholds and tie with each other.
spans = st.tuples(times, st.integers(1, 8)).map(lambda t: (float(t[0]), float(t[0] + t[1])))
labels = st.sampled_from(CLASSES)
instances = st.builds(lambda s, c: Instance(s[0], s[1], c), spans, labels)
exhaustive = st.one_of(st.none(), st.frozensets(labels))
scores = st.one_of(st.sampled_from([0.25, 0.5, 0.75]), st.floats(0, 1))
detection = st.builds(
    lambda s, c, p: Detection(s[0], s[1], c, p), spans, st.sampled_from([*CLASSES, "unknown"]), scores
)
worlds = st.dictionaries(st.sampled_from(["v1", "v2", "v3"]), st.tuples(st.lists(instances, max_size=6), exhaustive))
found = st.dictionaries(st.sampled_from(["v1", "v2", "v3", "elsewhere"]), st.lists(detection, max_size=12))


@pytest.mark.filterwarnings("ignore:.*has no instance")
@settings(max_examples=150, deadline=None)
@given(world=worlds, detections=found, chunk=st.integers(1, 5))
def test_equals_the_slow_reference(world, detections, chunk):
    truth = dataset({v: whole(v, i, e) for v, (i, e) in world.items()})
    thresholds = np.array([0.95, 0.5, 0.6, 0.1, 1.0])  # in any order
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "_PAIRS", chunk)
        result = mean_average_precision(truth, detections, thresholds)
    for k, threshold in enumerate(thresholds):
        for c, label in enumerate(CLASSES):
            expected = slow_ap(truth, detections, label, threshold)
            np.testing.assert_allclose(result.average_precision[k, c], expected, atol=1e-12)
    total = sum(map(len, detections.values()))
    ignored = result.ignored
    assert result.n_detections.sum() + ignored.unknown_class + ignored.unannotated_video + ignored.not_asked == total


@settings(max_examples=50, deadline=None)
@given(world=worlds, detections=found, data=st.data())
@pytest.mark.filterwarnings("ignore:.*has no instance")
def test_the_order_of_videos_and_detections_does_not_matter(world, detections, data):
    truth = dataset({v: whole(v, i, e) for v, (i, e) in world.items()})
    shuffled = {v: data.draw(st.permutations(detections[v])) for v in data.draw(st.permutations(sorted(detections)))}
    left = mean_average_precision(truth, detections).to_json()
    assert left == mean_average_precision(truth, shuffled).to_json()


def test_perfect_detections_reach_one_and_none_reach_zero():
    truth = dataset({"v": whole("v", [Instance(0.0, 10.0, "a"), Instance(20.0, 30.0, "b")])})
    perfect = {"v": [Detection(i.start, i.end, i.label, 0.5) for i in truth.annotations["v"].instances]}
    assert mean_average_precision(truth, perfect).average == 1.0
    nothing = mean_average_precision(truth, {})
    assert nothing.average == 0.0
    assert np.isnan(nothing.average_precision[:, 2]).all()  # no truth of class c


def test_exactly_on_the_threshold_counts():
    truth = dataset({"v": whole("v", [Instance(0.0, 10.0, "a")])})
    # 0.3 is not exact in binary, and 7.000000000000001 / 10 is what the division may give.
    for u in (0.3, 0.5, 0.55, 0.7):
        assert mean_average_precision(truth, {"v": [Detection(0.0, 10 * u, "a", 1.0)]}, [u]).average == 1.0
        assert mean_average_precision(truth, {"v": [Detection(0.0, 10 * u, "a", 1.0)]}, [u + 1e-6]).average == 0.0


def test_a_second_detection_of_the_same_instance_is_wrong():
    truth = dataset({"v": whole("v", [Instance(0.0, 10.0, "a"), Instance(50.0, 60.0, "a")])})
    twice = [Detection(0.0, 10.0, "a", 0.9), Detection(0.0, 9.9, "a", 0.8), Detection(50.0, 60.0, "a", 0.7)]
    # Precision 1 at recall 1/2, then 2/3 at recall 1.
    assert mean_average_precision(truth, {"v": twice}, [0.5]).average == pytest.approx((1 + 2 / 3) / 2)


def test_what_nobody_asked_about_is_neither_right_nor_wrong():
    asked = Instance(0.0, 10.0, "a")
    truth = dataset(
        {
            "v": whole("v", [asked, Instance(0.0, 10.0, "b")], frozenset({"a"})),
            "w": whole("w", [asked, Instance(5.0, 9.0, "b")]),
        }
    )
    detections = {
        "v": [Detection(0.0, 10.0, "a", 0.5), Detection(40.0, 50.0, "b", 0.99)],
        "w": [Detection(0.0, 10.0, "a", 0.5), Detection(5.0, 9.0, "b", 0.1)],
        "x": [Detection(0.0, 1.0, "a", 1.0)] * 3,
    }
    result = mean_average_precision(truth, detections)
    assert result.average == 1.0
    assert result.n_truth.tolist() == [2, 1, 0]
    assert (result.ignored.not_asked, result.ignored.unannotated_video) == (1, 3)


def test_outside_the_annotated_stretch_nothing_is_judged():
    annotation = Annotation(Item("v", 20.0, 40.0), (Instance(25.0, 35.0, "a"),))
    truth = dataset({"v": annotation})
    detections = {"v": [Detection(60.0, 70.0, "a", 0.9), Detection(25.0, 35.0, "a", 0.5)]}
    result = mean_average_precision(truth, detections)
    assert (result.average, result.ignored.outside) == (1.0, 1)
    # Of a video annotated as a whole everything is judged, also what lies beyond its end.
    complete = dataset({"v": whole("v", annotation.instances)})
    beyond = {"v": [Detection(160.0, 170.0, "a", 0.9), Detection(25.0, 35.0, "a", 0.5)]}
    assert mean_average_precision(complete, beyond).average == 0.5


def test_what_is_left_out_or_missing_is_named():
    truth = dataset({v: whole(v, [Instance(0.0, 10.0, c)]) for v, c in (("v", "a"), ("w", "b"), ("x", "b"))})
    detections = {
        "v": [Detection(0.0, 10.0, "a", 0.5), Detection(0.0, 10.0, "zebra", 0.5), Detection(0.0, 10.0, "yak", 0.5)],
        "x": [],
        **{name: [Detection(0.0, 1.0, "zebra", 1.0)] * 1000 for name in ("there", "here", "anywhere", "else")},
    }
    result = mean_average_precision(truth, detections)
    assert result.ignored.classes == ("yak", "zebra")
    assert result.ignored.videos == ("anywhere", "else", "here", "there")
    assert result.remarks() == [
        "no detection at all for 2 videos and 1 classes with instances",
        "ignored detections: 2 of unknown classes (yak, zebra), "
        "4,000 in videos without annotation (anywhere, else, here, ...)",
    ]
    assert result.to_json() == mean_average_precision(truth, PredictionTable.of(detections)).to_json()
    assert result.to_json()["videos_without_detections"] == 2
    perfect = {v: [Detection(i.start, i.end, i.label, 1.0) for i in a.instances] for v, a in truth.annotations.items()}
    assert mean_average_precision(truth, perfect).remarks() == []


def test_predictions_without_any_truth_and_truth_without_any_prediction():
    detections = {"v": [Detection(0.0, 10.0, "a", 0.5)]}
    with pytest.warns(RuntimeWarning, match="no instance to judge"):
        nowhere = mean_average_precision(dataset({}), detections)
    assert (nowhere.ignored.unannotated_video, math.isnan(nowhere.average)) == (1, True)
    silent = mean_average_precision(dataset({"v": whole("v", [Instance(0.0, 10.0, "a")])}), {})
    assert (silent.average, silent.n_silent) == (0.0, 1)
    assert "no detection at all for 1 videos and 1 classes with instances" in str(silent)


def test_many_classes_and_equal_scores_are_ranked_as_promised():
    rng = np.random.default_rng(0)
    names = tuple(f"c{i:03d}" for i in range(300))
    truth = dataset({f"v{i}": whole(f"v{i}", [Instance(0.0, 10.0, "c007")]) for i in range(5)}, names)
    n = 4000
    label, video = rng.integers(0, 300, n), rng.integers(0, 5, n)
    start, score = rng.integers(0, 3, n).astype(float), rng.integers(0, 4, n) / 4
    found = PredictionTable(tuple(truth.annotations), names, video, label, start, start + rng.integers(1, 3, n), score)
    table, _ = detection_table(truth_table(truth), found)
    keys = list(zip(table.label, -table.score, table.video, table.start, table.end, strict=True))
    assert len(keys) == n
    assert keys == sorted(keys)


def test_near_duplicates_by_either_convention():
    twins = [Instance(0.0, 10.0, "a"), Instance(0.0005, 10.0, "a"), Instance(0.0, 10.0, "b")]
    truth = dataset({"v": whole("v", twins)})
    detections = {"v": [Detection(0.0, 10.0, "a", 0.9), Detection(0.0, 10.0, "b", 0.9)]}
    assert mean_average_precision(truth, detections).average == 0.75
    dropped = mean_average_precision(truth, detections, duplicates="drop")
    assert (dropped.average, dropped.n_truth.tolist()) == (1.0, [1, 1, 0])


def test_no_truth_is_nan_with_a_warning():
    truth = dataset({"v": whole("v", [])})
    with pytest.warns(RuntimeWarning, match="no instance to judge"):
        result = mean_average_precision(truth, {"v": [Detection(0.0, 1.0, "a", 0.5)]})
    assert math.isnan(result.average)
    assert json.loads(json.dumps(result.to_json(), allow_nan=False))["average"] is None
    assert "nan" in str(result)


@pytest.mark.parametrize(
    ("thresholds", "options", "message"),
    [
        ([], {}, "1 to 64"),
        ([0.0, 0.5], {}, "1 to 64"),
        ([1.5], {}, "1 to 64"),
        ([math.nan], {}, "1 to 64"),
        ([0.5], {"matching": "pascal"}, "unknown matching rule 'pascal'; known: activitynet"),
        ([0.5], {"duplicates": "merge"}, "'keep' or 'drop'"),
    ],
)
def test_wrong_use(thresholds, options, message):
    with pytest.raises(UsageError, match=message):
        mean_average_precision(dataset({}), {}, thresholds, **options)


def test_broken_input_is_named():
    with pytest.raises(FormatError, match=r"'v 1' is annotated with 'zebra'"):
        mean_average_precision(dataset({"v 1": whole("v 1", [Instance(0.0, 1.0, "zebra")])}), {})
    truth = dataset({"v 1": whole("v 1", [Instance(0.0, 1.0, "a")])})
    with pytest.raises(FormatError, match=r"'v 1' is not finite"):
        mean_average_precision(truth, {"v 1": [Detection(0.0, 1.0, "a", math.nan)]})


def test_the_result_can_be_read():
    truth = dataset({"v": whole("v", [Instance(0.0, 10.0, "a"), Instance(20.0, 30.0, "b")])})
    detections = {"v": [Detection(0.0, 8.0, "a", 0.5), Detection(0.0, 8.0, "nope", 0.5)]}
    result = mean_average_precision(truth, detections, THUMOS_THRESHOLDS)
    text = str(result).splitlines()
    assert text[0].startswith("mean AP (%) over 2 classes: 2 instances in 1 videos, 1 detections")
    assert text[-3].split() == ["mean", "AP", *["50.00"] * 5, "50.00"]
    assert text[-1] == "ignored detections: 1 of unknown classes (nope)"
    assert text[-2] == "no detection at all for 1 classes with instances"
    frame = result.to_pandas()
    assert frame.loc["a", "AP@0.70"] == 1.0
    assert frame.loc["b", "average"] == 0.0
    assert frame["instances"].tolist() == [1, 1, 0]
    assert result.to_json()["classes"]["a"]["average_precision"] == [1.0] * 5


def test_the_docstrings_example_is_real():
    outcome = doctest.testmod(kloc.evaluation.detection)
    assert outcome.attempted >= 4
    assert outcome.failed == 0
