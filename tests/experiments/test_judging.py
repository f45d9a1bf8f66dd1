"""Judges from packed arrays say what predicting and evaluating video by video says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from experiment_helpers import CLASSES, SETTINGS, small_set
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from kloc.errors import UsageError
from kloc.evaluation.detection import mean_average_precision
from kloc.experiments.judging import AgnosticJudge, Judge
from kloc.experiments.lab import Lab
from kloc.localizers.stagewise import StageWise
from kloc.localizers.stagewise.attention import train_attention
from kloc.localizers.stagewise.classifier import train_classifier
from kloc.records import Annotation, Dataset, Detection, Instance

SOME = np.arange(0, 96, 3)  # trained on
OTHERS = np.setdiff1d(np.arange(96), SOME)


def subset(lab: Lab, videos, classes=CLASSES) -> Dataset:
    ids = [lab.videos[i].id for i in videos]
    known = {lab.videos[i].id: lab.annotations[i] for i in videos}
    return Dataset(classes, {v: lab.videos[i] for v, i in zip(ids, videos, strict=True)}, known)


def trained(lab: Lab, **more):
    settings = replace(lab.settings, **more)
    attention = train_attention(lab.table, settings, 0, videos=SOME)
    classifier = train_classifier(lab.table, attention, len(CLASSES), settings, videos=SOME)
    return settings, attention, classifier


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"max_detections": 5},  # far fewer than are above the lowest score: which are cut off must agree
        {"max_detections": 1},
        {"max_detections": 64},  # exactly all of top_k times classes
        {"min_score": 0.0},
        {"min_score": 0.05, "max_detections": 7},
        {"top_k": 50},  # more than a video has
        {"top_k": 1},
        {"background": True, "max_detections": 5},
    ],
)
@pytest.mark.parametrize("classes", [CLASSES, CLASSES[2:6]])
def test_detection_map_equals_predicting_one_by_one(lab, source, more, classes) -> None:
    settings, attention, classifier = trained(lab, **more)
    model = StageWise.of(attention, classifier, CLASSES, settings)
    testing = np.array([i for i in OTHERS if {x.label for x in lab.annotations[i].instances} <= set(classes)])
    detections = {}
    for video_id in (lab.videos[i].id for i in testing):
        detections[video_id] = model.predict(source.features(video_id), source.proposals(video_id)).detections
    expected = mean_average_precision(subset(lab, testing, classes), detections)
    judge = Judge.of(replace(lab, settings=settings), testing, classes)
    rows = lab.table.rows(testing)
    found = judge(attention.actionness(lab.table.encoded[rows]), classifier)
    assert expected.average > 0.01
    assert found.average_precision == pytest.approx(expected.average_precision, abs=1e-9, nan_ok=True)
    assert found.n_detections.tolist() == expected.n_detections.tolist()
    assert found.n_truth.tolist() == expected.n_truth.tolist()
    assert found.ignored == expected.ignored
    assert found.average == pytest.approx(expected.average, abs=1e-12)


@pytest.mark.parametrize("more", [{"score": "class"}, {"score": "geometric"}, {"nms_tiou": 0.5}])
def test_settings_it_does_not_reckon_with_are_refused(lab, more) -> None:
    settings = replace(lab.settings, **more)
    with pytest.raises(UsageError, match="product"):
        Judge.of(replace(lab, settings=settings), OTHERS, CLASSES)


def test_classes_never_seen_find_nothing(lab) -> None:
    videos = np.array([i for i in range(96) if i % 8 < 2])  # two classes to learn from
    attention = train_attention(lab.table, SETTINGS, 0, videos=videos)
    classifier = train_classifier(lab.table, attention, len(CLASSES), SETTINGS, videos=videos)
    testing = np.setdiff1d(np.arange(96), videos)
    rows = lab.table.rows(testing)
    found = Judge.of(lab, testing, CLASSES)(attention.actionness(lab.table.encoded[rows]), classifier)
    assert found.average == 0
    assert found.n_detections[2:].tolist() == [0] * 6


def flat(lab: Lab, videos) -> Dataset:
    """The same instances as one class."""
    known = {
        lab.videos[i].id: Annotation(
            lab.annotations[i].item, tuple(Instance(x.start, x.end, "action") for x in lab.annotations[i].instances)
        )
        for i in videos
    }
    return Dataset(("action",), {lab.videos[i].id: lab.videos[i] for i in videos}, known)


@tries(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from([1, 3, 8, 40]))
def test_agnostic_map_equals_that_of_one_class(lab, seed, coarse, top_k) -> None:
    rng = np.random.default_rng(seed)
    videos = np.sort(rng.permutation(96)[:20])
    table = lab.table
    rows = table.rows(videos)
    # Nearer to an instance means higher, so that there is something to find; coarse scores tie.
    scores = table.best[rows] + rng.normal(0, 0.3, len(rows))
    scores = scores.round(1) if coarse else scores
    detections, low = {}, 0
    for i in videos:
        n = int(table.offsets[i + 1] - table.offsets[i])
        segments, own = table.segments[table.rows(np.array([i]))], scores[low : low + n]
        order = sorted(range(n), key=lambda j: (-own[j], segments[j, 0], segments[j, 1] - segments[j, 0], j))[:top_k]
        detections[lab.videos[i].id] = [Detection(*segments[j].tolist(), "action", float(own[j])) for j in order]
        low += n
    expected = mean_average_precision(flat(lab, videos), detections)
    judge = AgnosticJudge.of(replace(lab, settings=replace(SETTINGS, top_k=top_k)), videos)
    assert judge.average_precision(scores) == pytest.approx(expected.average, abs=1e-12)


@tries(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_ranking_precision_is_scikit_learns(lab, seed) -> None:
    rng = np.random.default_rng(seed)
    videos = np.sort(rng.permutation(96)[:15])
    rows = lab.table.rows(videos)
    scores = lab.table.best[rows] + rng.normal(0, 0.5, len(rows))
    right = lab.table.best[rows] > 0.7 + 1e-9
    found = AgnosticJudge.of(lab, videos).ranking_precision(scores)
    assert found == pytest.approx(average_precision_score(right, scores), abs=1e-12)


def test_ranking_precision_without_any_match_is_zero(lab) -> None:
    empty = np.array([i for i in range(96) if not lab.annotations[i].instances])
    assert len(empty)
    assert AgnosticJudge.of(lab, empty).ranking_precision(np.ones(len(lab.table.rows(empty)))) == 0


def test_a_judge_sees_the_truth_of_its_videos_alone(tmp_path) -> None:
    source = small_set(30)
    lab = Lab.prepare(tmp_path, source, SETTINGS)
    judge = Judge.of(lab, np.array([3, 7, 20]), CLASSES)
    assert judge.truth.videos == ("v003", "v007", "v020")
    assert len(judge.truth.label) == sum(len(lab.annotations[i].instances) for i in (3, 7, 20))
