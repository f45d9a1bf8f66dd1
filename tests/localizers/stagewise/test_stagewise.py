"""The stage-wise localizer as a whole: what it finds, what it promises, what it refuses."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kloc.errors import KlocError, MismatchError, UsageError
from kloc.features.bank import VideoFeatures
from kloc.localizers import (
    NoInstancesError,
    TrainingSet,
    TrainingVideo,
    load_localizer,
    make_localizer,
)
from kloc.localizers.stagewise import StageWise, StageWiseSettings, encode_training, train_attention
from kloc.proposals import Proposals, make_generator
from kloc.records import Annotation, Prediction
from kloc.segments import pairwise_tiou, rank

CLASSES = ("dive", "jump", "run")
MakeVideo = Callable[..., TrainingVideo]


def trained(videos: list[TrainingVideo], seed: int = 0, **settings: object) -> StageWise:
    localizer = StageWise(StageWiseSettings(**settings))  # type: ignore[arg-type]
    localizer.fit(TrainingSet(CLASSES, videos, seed))
    return localizer


def predictions(localizer: StageWise, videos: list[TrainingVideo]) -> list[Prediction]:
    return [localizer.predict(v.features, v.proposals) for v in videos]


def average_precision(ranked: list[bool], n_truth: int) -> float:
    """Area under the interpolated precision-recall curve, the slow way."""
    precision = [sum(ranked[: i + 1]) / (i + 1) for i in range(len(ranked))]
    return sum(max(precision[i:]) for i in range(len(ranked)) if ranked[i]) / n_truth


def mean_average_precision(videos: list[TrainingVideo], found: list[Prediction], threshold: float) -> float:
    values = []
    for label in CLASSES:
        truth = {
            (v.features.video_id, i): (x.start, x.end)
            for v in videos
            for i, x in enumerate(v.annotation.instances)
            if x.label == label
        }
        detections = [(d, p.video_id) for p in found for d in p.detections if d.label == label]
        free, ranked = dict(truth), []
        for d, video_id in sorted(detections, key=lambda pair: -pair[0].score):
            own = [(k, s) for k, s in free.items() if k[0] == video_id]
            overlaps = [pairwise_tiou(np.array([[d.start, d.end]]), np.array([s]))[0, 0] for _, s in own]
            hit = bool(overlaps) and max(overlaps) >= threshold
            if hit:
                del free[own[int(np.argmax(overlaps))][0]]
            ranked.append(hit)
        values.append(average_precision(ranked, len(truth)))
    return float(np.mean(values))


# The mean cannot tell a part of an action from the whole of it, context can.
def test_perfect_features_are_localized_perfectly(make_video: MakeVideo) -> None:
    lengths = [(7.5, 15.0), (22.5, 30.0), (40.0, 55.0)]
    videos = [make_video(n, spans=[lengths[n % 3]]) for n in range(36)]
    localizer = trained(videos[:24], encoder="context")
    found = predictions(localizer, videos[24:])
    marks = [
        (a, t)
        for v, p in zip(videos[24:], found, strict=True)
        for a, t in zip(
            p.actionness,
            pairwise_tiou(p.segments, np.array([[i.start, i.end] for i in v.annotation.instances])).max(axis=1),
            strict=True,
        )
        if t > 0.7 or t < 0.3
    ]
    marks.sort(key=lambda m: -m[0])
    assert average_precision([t > 0.7 for _, t in marks], sum(t > 0.7 for _, t in marks)) > 0.95
    assert mean_average_precision(videos[24:], found, 0.5) > 0.9


def test_the_mean_encoder_separates_action_from_background(perfect_videos: list[TrainingVideo]) -> None:
    localizer = trained(perfect_videos[:24])
    marks = []
    for v, p in zip(perfect_videos[24:], predictions(localizer, perfect_videos[24:]), strict=True):
        truth = np.array([[i.start, i.end] for i in v.annotation.instances])
        inside = (
            np.minimum(p.segments[:, None, 1], truth[:, 1]) - np.maximum(p.segments[:, None, 0], truth[:, 0])
        ).max(axis=1) / (p.segments[:, 1] - p.segments[:, 0])
        tiou = pairwise_tiou(p.segments, truth).max(axis=1)
        marks += [(a, t > 0.7) for a, t, i in zip(p.actionness, tiou, inside, strict=True) if t > 0.7 or i <= 0]
    marks.sort(key=lambda m: -m[0])
    assert average_precision([m for _, m in marks], sum(m for _, m in marks)) > 0.95


def test_a_prediction_keeps_its_promises(noisy_videos: list[TrainingVideo]) -> None:
    localizer = trained(noisy_videos[:12])
    video = noisy_videos[20]
    p = localizer.predict(video.features, video.proposals)
    n = len(video.proposals)
    assert p.video_id == "v020"
    assert p.segments.shape == (n, 2)
    assert p.actionness.shape == (n,)
    assert p.actionness.dtype == np.float32
    assert ((p.actionness > 0) & (p.actionness < 1)).all()
    (level,) = p.levels
    assert level.name == "topk"
    assert level.background is None
    assert level.scores.shape == (10, 3)
    assert level.scores.dtype == np.float32
    assert level.scores.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert p.activation == "softmax"
    assert p.classes == CLASSES
    top = rank(p.segments, p.actionness)[:10]
    expected = {
        (float(s), float(e), CLASSES[c]): float(a) * float(level.scores[i, c])
        for i, ((s, e), a) in enumerate(zip(p.segments[top], p.actionness[top], strict=True))
        for c in range(3)
    }
    found = {(d.start, d.end, d.label): d.score for d in p.detections}
    assert found == pytest.approx({k: v for k, v in expected.items() if v >= 1e-4})
    scores = [d.score for d in p.detections]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(
    ("setting", "check"),
    [
        ({"max_detections": 4}, lambda p: len(p.detections) == 4),
        ({"min_score": 0.3}, lambda p: all(d.score >= 0.3 for d in p.detections)),
        ({"top_k": 2}, lambda p: p.levels[0].scores.shape == (2, 3)),
        ({"score": "class"}, lambda p: p.detections[0].score == pytest.approx(p.levels[0].scores.max())),
        (
            {"score": "geometric", "top_k": 1},
            lambda p: p.detections[0].score == pytest.approx(np.sqrt(p.actionness.max() * p.levels[0].scores.max())),
        ),
    ],
)
def test_settings_do_what_they_say(
    noisy_videos: list[TrainingVideo], setting: dict[str, object], check: Callable[[Prediction], bool]
) -> None:
    video = noisy_videos[20]
    assert check(trained(noisy_videos[:12], **setting).predict(video.features, video.proposals))


def test_class_wise_nms_leaves_no_overlap(noisy_videos: list[TrainingVideo]) -> None:
    video = noisy_videos[20]
    plain, thinned = (
        trained(noisy_videos[:12], nms_tiou=t).predict(video.features, video.proposals).detections for t in (None, 0.2)
    )
    assert 0 < len(thinned) < len(plain)
    assert plain[0] == thinned[0]
    for label in CLASSES:
        boxes = np.array([(d.start, d.end) for d in thinned if d.label == label]).reshape(-1, 2)
        assert (pairwise_tiou(boxes, boxes) - np.eye(len(boxes)) <= 0.2 + 1e-8).all()


def test_few_or_no_proposals(noisy_videos: list[TrainingVideo]) -> None:
    localizer = trained(noisy_videos[:12])
    video = noisy_videos[20].features
    three = Proposals("v020", np.array([[0.0, 60.0], [0, 30], [30, 60]]), np.ones(3, np.float32))
    assert localizer.predict(video, three).levels[0].scores.shape == (3, 3)
    none = localizer.predict(video, Proposals("v020", np.zeros((0, 2)), np.zeros(0, np.float32)))
    assert none.detections == ()
    assert none.levels[0].scores.shape == (0, 3)


def test_equal_actionness_is_ranked_by_time(make_video: MakeVideo) -> None:
    videos = [make_video(n) for n in range(6)]
    localizer = trained(videos, top_k=4)
    blank = make_video(7, spans=[])  # features all zero: every proposal looks the same
    p = localizer.predict(blank.features, blank.proposals)
    assert len(set(p.actionness.tolist())) == 1
    best = [(d.start, d.end) for d in p.detections if d.label == "dive"]
    expected = sorted(p.segments.tolist(), key=lambda s: (s[0], s[1] - s[0]))[:4]
    assert best == [tuple(s) for s in expected]


def test_the_same_seed_gives_the_same_bytes(noisy_videos: list[TrainingVideo], tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        trained(noisy_videos[:12], seed).save(tmp_path / name)
    a, b, c = ((tmp_path / n / "localizer.safetensors").read_bytes() for n in "abc")
    assert a == b != c
    assert (tmp_path / "a/localizer.json").read_bytes() == (tmp_path / "b/localizer.json").read_bytes()


def test_saved_and_loaded_it_predicts_the_same(noisy_videos: list[TrainingVideo], tmp_path: Path) -> None:
    localizer = trained(noisy_videos[:12], encoder="context", background=True)
    localizer.save(tmp_path)
    again = load_localizer(tmp_path)
    assert isinstance(again, StageWise)
    assert again.attention.platt_a == localizer.attention.platt_a
    one, two = (m.predict(noisy_videos[20].features, noisy_videos[20].proposals) for m in (localizer, again))
    assert one.detections == two.detections
    assert one.actionness.tobytes() == two.actionness.tobytes()
    assert one.levels[0].scores.tobytes() == two.levels[0].scores.tobytes()


@pytest.mark.parametrize("encoder", ["mean", "context"])
def test_detections_move_with_the_video(make_video: MakeVideo, encoder: str) -> None:
    here = trained([make_video(n, noise=0.3) for n in range(9)], encoder=encoder)
    there = trained([make_video(n, noise=0.3, start=17.3) for n in range(9)], encoder=encoder)
    a, b = make_video(20, noise=0.3), make_video(20, noise=0.3, start=17.3)
    first = here.predict(a.features, a.proposals).detections
    second = there.predict(b.features, b.proposals).detections
    assert len(first) == len(second) > 5
    for one, two in zip(first, second, strict=True):
        assert (two.start - 17.3, two.end - 17.3, two.score) == pytest.approx((one.start, one.end, one.score), abs=1e-4)


def test_nothing_labelled_is_a_clear_error(make_video: MakeVideo) -> None:
    for videos in ([], [make_video(n, spans=[]) for n in range(3)]):
        with pytest.raises(NoInstancesError, match=f"none of {len(videos)} labelled videos") as caught:
            trained(videos)
        assert isinstance(caught.value, KlocError)
        assert "\n" not in str(caught.value)


def test_a_class_never_seen_gets_no_probability(make_video: MakeVideo) -> None:
    localizer = trained([make_video(n, label=("dive", "run")[n % 2], noise=0.2) for n in range(8)])
    video = make_video(30, label="jump", noise=0.2)
    p = localizer.predict(video.features, video.proposals)
    assert (p.levels[0].scores[:, 1] == 0).all()
    assert np.isfinite(p.levels[0].scores).all()
    assert {d.label for d in p.detections} <= {"dive", "run"}


def test_one_video_of_one_class_is_enough(make_video: MakeVideo, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        localizer = trained([make_video(0, noise=0.2)])
    assert "calibrated on training scores" in caplog.text
    p = predictions(localizer, [make_video(3, noise=0.2)])[0]
    assert p.levels[0].scores[:, 0] == pytest.approx(1)
    assert p.detections[0].label == "dive"


def test_without_any_background_attention_is_a_constant(
    make_video: MakeVideo, caplog: pytest.LogCaptureFixture
) -> None:
    whole = make_video(0, spans=[(0.0, 60.0)])
    only = dataclasses.replace(whole, proposals=Proposals("v000", np.array([[0.0, 60.0]]), np.ones(1, np.float32)))
    with caplog.at_level(logging.WARNING):
        localizer = trained([only])
    assert "no proposal is background" in caplog.text
    assert localizer.predict(only.features, only.proposals).actionness.tolist() == [0.5]


def test_background_is_taken_from_near_instances_if_there_is_no_other(
    make_video: MakeVideo, caplog: pytest.LogCaptureFixture
) -> None:
    videos = [make_video(n, spans=[(0.0, 60.0)], noise=0.3) for n in range(4)]
    with caplog.at_level(logging.WARNING):
        localizer = trained(videos)
    assert "no proposal is clear of the instances" in caplog.text
    assert np.abs(localizer.attention.weights).max() > 0


def test_instances_stand_in_where_no_proposal_matches(make_video: MakeVideo, caplog: pytest.LogCaptureFixture) -> None:
    def far(number: int) -> TrainingVideo:
        video = make_video(number, spans=[(10.0, 14.0)])
        boxes = np.array([[0.0, 60.0], [30.0, 60.0], [40.0, 50.0]])
        return dataclasses.replace(video, proposals=Proposals(video.features.video_id, boxes, np.ones(3, np.float32)))

    videos = [far(n) for n in range(6)]
    with caplog.at_level(logging.WARNING):
        localizer = trained(videos, include_truth=False)
    assert "the instances themselves are the positives" in caplog.text
    assert "no Platt scaling" in caplog.text  # no proposal is positive
    test = make_video(6, spans=[(20.0, 30.0)])  # a "dive"
    assert predictions(localizer, [test])[0].detections[0].label == "dive"


def test_an_instance_between_two_samples_still_teaches_its_class(make_video: MakeVideo) -> None:
    tiny = [make_video(n, spans=[(10.11, 10.14)]) for n in range(3)]
    localizer = trained(tiny)
    assert localizer.classifier.seen.all()


def test_background_compares_with_asked_classes_only(make_video: MakeVideo) -> None:
    """Blank stretches of videos that were asked about "dive" alone say nothing about "run"."""
    asked = [make_video(n, label="dive", exhaustive_for=frozenset({"dive"})) for n in range(0, 18, 3)]
    others = [make_video(n, label="run", spans=[(0.0, 60.0)], exhaustive_for=frozenset()) for n in range(1, 13, 3)]
    localizer = trained([*asked, *others], background=True, top_k=150)
    blank = make_video(40, spans=[])
    p = localizer.predict(blank.features, blank.proposals)
    assert p.levels[0].background == 0
    assert p.levels[0].scores.shape[1] == 4
    background, dive, _, run = p.levels[0].scores[0]
    assert background > dive
    # Where all were asked about all, blank stretches push "run" down too.
    everything = [dataclasses.replace(v, annotation=dataclasses.replace(v.annotation, exhaustive_for=None))
                  for v in [*asked, *others]]  # fmt: skip
    strict = trained(everything, background=True, top_k=150).predict(blank.features, blank.proposals)
    assert run / background > 2 * strict.levels[0].scores[0, 3] / strict.levels[0].scores[0, 0]


def test_attention_alone_can_be_retrained_from_where_it_was(noisy_videos: list[TrainingVideo]) -> None:
    settings = StageWiseSettings(hard_negative_rounds=0, tolerance=1e-6)
    encoded = encode_training(TrainingSet(CLASSES, noisy_videos[:13]), settings)
    before = train_attention(encoded, settings, 0, videos=np.arange(12), calibrate=False)
    cold = train_attention(encoded, settings, 0, calibrate=False)
    warm = train_attention(encoded, settings, 0, start=before, calibrate=False)
    assert (warm.platt_a, warm.platt_b) == (-1.0, 0.0)
    assert warm.weights == pytest.approx(cold.weights, abs=2e-3)
    assert np.abs(before.weights - cold.weights).max() > 2e-3


def test_probabilities_match_how_often_it_is_true(noisy_videos: list[TrainingVideo]) -> None:
    """Calibrated on all proposals of held-out videos, not on a mined sample: means agree with the truth."""
    localizer = trained(noisy_videos[:24], encoder="context")
    found = predictions(localizer, noisy_videos[24:])
    truth = np.concatenate(
        [
            pairwise_tiou(p.segments, np.array([[i.start, i.end] for i in v.annotation.instances])).max(axis=1) > 0.7
            for v, p in zip(noisy_videos[24:], found, strict=True)
        ]
    )
    mean = np.concatenate([p.actionness for p in found]).mean()
    assert mean == pytest.approx(truth.mean(), rel=0.35)


def test_order_of_videos_changes_nothing(noisy_videos: list[TrainingVideo]) -> None:
    a, b = trained(noisy_videos[:9]), trained(noisy_videos[:9][::-1])
    assert a.attention.weights == pytest.approx(b.attention.weights, abs=1e-2)
    assert a.attention.platt_a == pytest.approx(b.attention.platt_a, rel=0.02)


def test_wrong_use_is_told(noisy_videos: list[TrainingVideo], tmp_path: Path) -> None:
    video = noisy_videos[0]
    with pytest.raises(UsageError, match="not trained"):
        StageWise().predict(video.features, video.proposals)
    with pytest.raises(UsageError, match="not trained"):
        StageWise().save(tmp_path)
    localizer = trained(noisy_videos[:6])
    wide = VideoFeatures("w", np.zeros((10, 9), np.float32), dataclasses.replace(video.features.grid, count=10), 0, 2)
    with pytest.raises(MismatchError, match="w: features have 9 dimensions"):
        localizer.predict(wide, make_generator("sliding").propose(wide))
    with pytest.raises(MismatchError, match="proposals of v001"):
        localizer.predict(video.features, noisy_videos[1].proposals)
    narrow = VideoFeatures("w", np.zeros((10, 9), np.float32), wide.grid, 0, 2)
    odd = TrainingVideo(narrow, make_generator("sliding").propose(narrow),
                        Annotation(dataclasses.replace(video.annotation.item, video_id="w"), ()))  # fmt: skip
    with pytest.raises(MismatchError, match="several widths"):
        trained([video, odd])
    assert make_localizer("stagewise").name == "stagewise"
