"""Encodings of segments, and what counts as action, as background, as neither."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable

import numpy as np
import pytest

from kloc.errors import MismatchError, UsageError, VideoError
from kloc.features.bank import VideoFeatures
from kloc.localizers import TrainingSet, TrainingVideo
from kloc.localizers.stagewise import EncodedTable, StageWiseSettings, encode_training, train_attention
from kloc.localizers.stagewise import encoder as en
from kloc.localizers.stagewise import table as tb
from kloc.proposals import Proposals
from kloc.records import Annotation, Grid, Instance, Item

CLASSES = ("dive", "jump", "run")


def with_segments(video: TrainingVideo, segments: list[tuple[float, float]]) -> TrainingVideo:
    boxes = np.array(segments)
    return dataclasses.replace(
        video, proposals=Proposals(video.features.video_id, boxes, np.ones(len(boxes), np.float32))
    )


def encoded(video: TrainingVideo, settings: StageWiseSettings | None = None) -> EncodedTable:
    return encode_training(TrainingSet(CLASSES, [video]), settings or StageWiseSettings())


def chosen(table: EncodedTable, which: str, settings: StageWiseSettings) -> list[int]:
    rows = table.rows(table.everything)
    return np.flatnonzero(getattr(table, which)(settings, rows)).tolist()


def test_context_sees_before_inside_after_and_length() -> None:
    features = np.zeros((10, 3), np.float32)
    features[0:2, 0], features[2:6, 1], features[6:10, 2] = 5, 3, 2
    video = VideoFeatures("v", features, Grid(0.5, 1, 1, 10), 0.0, 10.0)
    row = en.encode(video, np.array([[2.0, 6.0]]), "context")[0]
    assert row.shape == (10,) == (en.encoded_dim(3, "context"),)
    third = 3**-0.5
    assert row[:9].reshape(3, 3) == pytest.approx(np.eye(3) * third, abs=1e-6)
    assert row[9] == pytest.approx(0.2 * np.log(0.4), abs=1e-6)
    whole = en.encode(video, np.array([[0.0, 10.0]]), "context")[0]
    assert (whole[:3] == 0).all()
    assert (whole[6:9] == 0).all()
    assert en.encode(video, np.array([[2.0, 6.0]]))[0] == pytest.approx([0, 1, 0])
    assert en.encode(video, np.zeros((0, 2)), "context").shape == (0, 10)


def test_a_few_bad_frames_are_zeroed_and_many_refused(caplog: pytest.LogCaptureFixture) -> None:
    features = np.ones((100, 2), np.float32)
    features[3, 0], features[50, 1] = np.nan, np.inf
    video = VideoFeatures("bad", features, Grid(0.5, 1, 1, 100), 0.0, 100.0)
    with caplog.at_level(logging.WARNING):
        rows = en.encode(video, np.array([[0.0, 100.0], [3.0, 4.0]]))
    assert np.isfinite(rows).all()
    assert rows[1].tolist() == [0.0, 1.0]
    assert "bad: 2 of 100 feature frames" in caplog.text
    features[:6] = np.nan
    with pytest.raises(VideoError, match="bad: 7 of 100 feature frames"):
        en.encode(video, np.array([[0.0, 1.0]]))


def test_features_must_fit_their_grid() -> None:
    video = VideoFeatures("v", np.ones((3, 2), np.float32), Grid(0.5, 1, 1, 4), 0.0, 4.0)
    with pytest.raises(MismatchError, match="do not fit a grid of 4"):
        en.encode(video, np.array([[0.0, 1.0]]))
    nothing = VideoFeatures("v", np.ones((0, 2), np.float32), Grid(0.5, 1, 1, 0), 0.0, 4.0)
    with pytest.raises(VideoError, match="no features"):
        en.encode(nothing, np.array([[0.0, 1.0]]))


def test_positives_negatives_and_the_band_between(make_video: Callable[..., TrainingVideo]) -> None:
    video = with_segments(
        make_video(0, spans=[(10.0, 20.0)]),
        [
            (10.0, 17.0),  # tIoU exactly .7: not positive
            (10.0, 17.1),  # positive
            (10.0, 14.0),  # .4: ignored
            (10.0, 12.9),  # .29, but inside the instance
            (19.0, 25.0),  # .07: background
            (30.0, 40.0),  # background
            (20.0, 10.0 + 1e-12),  # no overlap
        ][:6],
    )
    mean = encoded(video)
    settings = StageWiseSettings()
    assert chosen(mean, "positive", settings) == [1]
    assert chosen(mean, "negative", settings) == [4, 5]
    assert chosen(mean, "loose_negative", settings) == [0, 2, 3, 4, 5]
    context = StageWiseSettings(encoder="context")
    assert chosen(encoded(video, context), "negative", context) == [2, 3, 4, 5]
    literal = StageWiseSettings(negative_tiou=0.7)
    assert chosen(encoded(video, literal), "negative", literal) == [4, 5]


def test_what_nobody_was_asked_about_is_no_background(make_video: Callable[..., TrainingVideo]) -> None:
    settings = StageWiseSettings()
    nothing = encoded(make_video(0, exhaustive_for=frozenset()))
    assert len(chosen(nothing, "positive", settings))
    assert len(chosen(nothing, "negative", settings)) == len(chosen(nothing, "loose_negative", settings)) == 0
    one = encoded(make_video(0, exhaustive_for=frozenset({"dive"})))
    assert one.asked.tolist() == [[True, False, False]]
    assert len(chosen(one, "negative", settings))
    assert encoded(make_video(0)).asked.all()


def test_outside_the_annotated_stretch_nothing_counts(make_video: Callable[..., TrainingVideo]) -> None:
    video = make_video(0, spans=[(10.0, 20.0)])
    part = dataclasses.replace(video, annotation=Annotation(Item("v000", 5.0, 30.0), video.annotation.instances))
    settings = StageWiseSettings()
    mine = encoded(part)
    for part_of in (chosen(mine, "positive", settings), chosen(mine, "negative", settings)):
        assert part_of
        assert mine.segments[part_of].min() >= 5.0 - 1e-6
        assert mine.segments[part_of].max() <= 30.0 + 1e-6


def test_ties_go_to_the_shorter_instance_then_the_lower_class() -> None:
    segment = np.array([[0.0, 6.0]])
    instances = np.array([[0.0, 9.0], [0.0, 4.0], [-3.0, 6.0]])  # all overlap it by 2/3
    best, matched = en.match_instances(segment, instances, np.array([1, 2, 0]))
    assert best == pytest.approx([2 / 3])
    assert matched.tolist() == [2]
    assert en.match_instances(segment, instances[[0, 2]], np.array([1, 0]))[1].tolist() == [0]
    assert en.match_instances(segment, instances[:1] + 100, np.array([1]))[1].tolist() == [-1]
    assert en.match_instances(segment, instances[:0], np.array([], int))[1].tolist() == [-1]


def test_slips_of_the_annotation_are_dropped_and_counted(
    make_video: Callable[..., TrainingVideo], caplog: pytest.LogCaptureFixture
) -> None:
    video = make_video(0, spans=[(50.0, 58.0)])
    instances = (
        Instance(50.0, 70.0, "dive"),
        Instance(50.0, 70.0, "dive"),
        Instance(5.0, 5.0, "dive"),
        Instance(61.0, 70.0, "dive"),
    )
    with caplog.at_level(logging.WARNING):
        mine = encoded(dataclasses.replace(video, annotation=Annotation(Item("v000", 0, 60), instances)))
    assert mine.truth_segments.tolist() == [[50.0, 60.0]]
    assert "v000: 3 of 4 instances dropped" in caplog.text


def test_things_that_do_not_belong_together_are_told(
    make_video: Callable[..., TrainingVideo], perfect_videos: list[TrainingVideo]
) -> None:
    with pytest.raises(UsageError, match="v000: an instance of class 'dive'"):
        encode_training(TrainingSet(("jump",), [make_video(0)]), StageWiseSettings())
    mixed = dataclasses.replace(perfect_videos[0], annotation=perfect_videos[1].annotation)
    with pytest.raises(MismatchError, match="annotation of v001"):
        encode_training(TrainingSet(CLASSES, [mixed]), StageWiseSettings())


def test_a_set_too_large_for_memory_lies_in_a_file_and_gives_the_same_model(
    perfect_videos: list[TrainingVideo], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = StageWiseSettings()
    small = encode_training(TrainingSet(CLASSES, perfect_videos[:6]), settings)
    monkeypatch.setattr(tb, "MEMORY_BYTES", 1000)
    large = encode_training(TrainingSet(CLASSES, perfect_videos[:6]), settings)
    assert isinstance(large.encoded, np.memmap)
    assert not isinstance(small.encoded, np.memmap)
    assert np.array_equal(small.encoded, large.encoded)
    assert isinstance(tb.gather(large, ("encoded", np.arange(200))), np.memmap)
    from_disk = train_attention(large, settings)
    monkeypatch.undo()
    in_memory = train_attention(small, settings)
    assert np.array_equal(from_disk.weights, in_memory.weights)
    assert (from_disk.platt_a, from_disk.platt_b) == (in_memory.platt_a, in_memory.platt_b)


def test_a_table_of_many_holds_each_video_as_it_was(perfect_videos: list[TrainingVideo]) -> None:
    whole = encode_training(TrainingSet(CLASSES, perfect_videos[:5]), StageWiseSettings())
    for index, video in enumerate(perfect_videos[:5]):
        own, at = encoded(video), np.array([index])
        rows, truth = whole.rows(at), whole.truth_rows(at)
        assert whole.video_ids[index] == video.features.video_id
        for name in ("segments", "encoded", "best", "matched", "inside", "usable"):
            assert np.array_equal(getattr(whole, name)[rows], getattr(own, name))
        for name in ("truth", "truth_segments", "truth_labels", "truth_seen"):
            assert np.array_equal(getattr(whole, name)[truth], getattr(own, name))
        assert (whole.owner[rows] == index).all()
    mixed = whole.rows(np.array([3, 0]))
    assert mixed.tolist() == [*range(*whole.offsets[3:5]), *range(*whole.offsets[:2])]
