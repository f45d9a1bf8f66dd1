"""Predictions survive the disk; heads stream."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kloc.errors import KlocError, MismatchError
from kloc.localizers.predictions import PredictionReader, PredictionWriter
from kloc.records import Detection, Level, Prediction

CLASSES = ("Dive", "Ski jump", "Tai chi")


def made(i: int, n: int) -> Prediction:
    rng = np.random.default_rng(i)
    starts = np.sort(rng.uniform(0, 600, n))
    return Prediction(
        video_id=f"video {i}",
        segments=np.stack([starts, starts + rng.uniform(1, 60, n)], axis=1),
        actionness=rng.random(n, dtype=np.float32),
        levels=tuple(
            Level(f"p{j}", rng.dirichlet(np.ones(4), n >> j).astype(np.float32).reshape(n >> j, 4), background=0)
            for j in range(3)
        ),
        activation="softmax",
        classes=CLASSES,
        detections=tuple(
            Detection(float(rng.random()), float(1 + rng.random()), CLASSES[k % 3], float(rng.random()))
            for k in range(n // 2)
        ),
    )


def close(left: Prediction, right: Prediction) -> None:
    assert left.video_id == right.video_id
    assert (left.classes, left.activation, left.detections) == (right.classes, right.activation, right.detections)
    assert (left.segments.dtype, left.actionness.dtype) == (np.float64, np.float32)
    np.testing.assert_allclose(left.segments, right.segments, rtol=1e-6)
    np.testing.assert_allclose(left.actionness, right.actionness, rtol=1e-3, atol=1e-6)
    assert [(level.name, level.background) for level in left.levels] == [
        (level.name, level.background) for level in right.levels
    ]
    for a, b in zip(left.levels, right.levels, strict=True):
        assert a.scores.dtype == np.float32
        assert a.scores.shape == b.scores.shape
        np.testing.assert_allclose(a.scores, b.scores, rtol=1e-3, atol=1e-6)


@pytest.fixture
def written(tmp_path):
    predictions = [made(i, n) for i, n in enumerate([9, 0, 1, 30, 8])]
    with PredictionWriter(tmp_path / "p", CLASSES, "softmax", {"round": 2, "model": "abc"}) as writer:
        for prediction in predictions:
            writer.write(prediction)
    return predictions, PredictionReader(tmp_path / "p")


def test_round_trip(written):
    predictions, reader = written
    assert reader.meta == {"round": 2, "model": "abc"}
    assert reader.classes == CLASSES
    assert len(reader) == 5
    for prediction in predictions:
        close(reader.get(prediction.video_id), prediction)
    for read, prediction in zip(reader, predictions, strict=True):
        close(read, prediction)
    assert reader.detections() == {p.video_id: p.detections for p in predictions}
    assert reader.detections(["video 4", "unknown"]) == {"video 4": predictions[4].detections}


def test_heads_stream(written):
    predictions, reader = written
    wanted = [p.video_id for p in predictions[::-1]]
    got: dict[str, list[np.ndarray]] = {}
    for block in reader.blocks(wanted, ["actionness", "levels"], block_rows=7):
        assert set(block.arrays) == {"actionness", "levels.0", "levels.1", "levels.2"}
        for j, position in enumerate(block.positions.tolist()):
            got[wanted[position]] = [
                block.arrays[c][block.offsets[c][j] : block.offsets[c][j + 1]].astype(np.float32)
                for c in ("actionness", "levels.0", "levels.1", "levels.2")
            ]
    for prediction in predictions:
        actionness, *levels = got[prediction.video_id]
        np.testing.assert_allclose(actionness, prediction.actionness, rtol=1e-3, atol=1e-6)
        for read, level in zip(levels, prediction.levels, strict=True):
            np.testing.assert_allclose(read, level.scores, rtol=1e-3, atol=1e-6)
    with pytest.raises(KlocError, match="no head 'logits'"):
        reader.blocks(wanted, ["logits"])


def test_a_prediction_under_a_clips_id(tmp_path):
    with PredictionWriter(tmp_path / "p", CLASSES, "softmax") as writer:
        writer.write(made(0, 3), "video 0@10-20")
    assert list(PredictionReader(tmp_path / "p").ids()) == ["video 0@10-20"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ("Dive",)}, "other classes"),
        ({"activation": "sigmoid"}, "another activation"),
        ({"actionness": np.zeros(2, np.float32)}, "differ in rows"),
        ({"levels": (Level("p0", np.zeros((1, 9), np.float32)),)}, "predict all videos with one model"),
        ({"detections": (Detection(0.0, 1.0, "Chess", 0.5),)}, "unknown class 'Chess'"),
    ],
)
def test_predictions_of_two_models_never_mix(tmp_path, change, message):
    with PredictionWriter(tmp_path / "p", CLASSES, "softmax") as writer:
        writer.write(made(0, 4))
        with pytest.raises(MismatchError, match=message):
            writer.write(replace(made(1, 4), **change))


def test_another_shard_is_not_taken_for_predictions(tmp_path):
    from kloc.shards import ShardWriter

    with ShardWriter(tmp_path / "s", {"x": ("<f4", ())}):
        pass
    with pytest.raises(KlocError, match="holds no predictions"):
        PredictionReader(tmp_path / "s")
