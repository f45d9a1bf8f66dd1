"""Segments as vectors, and training videos as what the two models learn from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from kloc.errors import MismatchError, UsageError
from kloc.localizers.stagewise.settings import StageWiseSettings
from kloc.localizers.stagewise.table import EncodedTable
from kloc.proposals.hygiene import finite_features, inside_item, usable_instances
from kloc.segments import (
    Segments,
    intersection_over_first,
    lengths,
    mean_pool,
    pairwise_tiou,
)

if TYPE_CHECKING:
    from kloc.features.bank import VideoFeatures
    from kloc.localizers.base import TrainingSet, TrainingVideo
    from kloc.records import Annotation


def encode(video: VideoFeatures, segments: Segments, kind: Literal["mean", "context"] = "mean") -> NDArray[np.float32]:
    """Segments as float32 ``(N, E)``.

    "mean" (P2): the mean feature inside, L2-normalised; E = D. "context": the same of half a duration before,
    of the inside and of half a duration after (zeros where the video has ended), and the logarithm of the
    length as a fraction of the video; E = 3 D + 1. Raises VideoError or MismatchError for unusable features.
    """
    features = finite_features(video)
    if len(segments) == 0:
        return np.zeros((0, encoded_dim(features.shape[1], kind)), np.float32)
    if kind == "mean":
        return _normalised(mean_pool(features, video.grid, segments))
    half = lengths(segments) / 2
    before = np.stack([np.maximum(segments[:, 0] - half, video.start), segments[:, 0]], axis=1)
    after = np.stack([segments[:, 1], np.minimum(segments[:, 1] + half, video.end)], axis=1)
    pooled = mean_pool(features, video.grid, np.concatenate([before, segments, after]))
    blocks = _normalised(pooled).reshape(3, len(segments), -1) / np.float32(np.sqrt(3))
    for block, context in ((blocks[0], before), (blocks[2], after)):
        block[lengths(context) < video.grid.step / 2] = 0
    fraction = lengths(segments) / max(video.end - video.start, 1e-9)
    scale = 0.2 * np.log(np.clip(fraction, 1e-6, 1.0))  # about the size of the other columns
    return np.concatenate([*blocks, scale[:, None].astype(np.float32)], axis=1)


def encoded_dim(dim: int, kind: Literal["mean", "context"]) -> int:
    """Length E of an encoding of D-dimensional features."""
    return dim if kind == "mean" else 3 * dim + 1


def _normalised(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    return np.asarray(rows / np.maximum(norms, 1e-12)[:, None].astype(np.float32))


def encode_training(training: TrainingSet, settings: StageWiseSettings) -> EncodedTable:
    """The training set, encoded once, for training on it (or on parts of it) many times.

    Raises UsageError for an instance of an unlisted class, MismatchError or VideoError for features that cannot be
    used.
    """
    index = {name: i for i, name in enumerate(training.classes)}
    return EncodedTable.join(encode_video(video, index, settings) for video in training.videos)


def encode_video(video: TrainingVideo, index: Mapping[str, int], settings: StageWiseSettings) -> EncodedTable:
    """A table of one training video. ``index``: the number of each class. Raises as :func:`encode_training`."""
    features, segments = video.features, video.proposals.segments
    if len({features.video_id, video.proposals.video_id, video.annotation.item.video_id}) > 1:
        raise MismatchError(
            f"features of {features.video_id}, proposals of {video.proposals.video_id} and an annotation of "
            f"{video.annotation.item.video_id} make no training video; give all three of one video"
        )
    encoded = encode(features, segments, settings.encoder)
    return label_video(features, segments, encoded, video.annotation, index, settings)


def label_video(
    features: VideoFeatures,
    segments: Segments,
    encoded: NDArray[np.float32],
    annotation: Annotation,
    index: Mapping[str, int],
    settings: StageWiseSettings,
) -> EncodedTable:
    """A table of one video whose proposals are encoded already: what the annotation makes of them."""
    truth_segments, names = usable_instances(annotation, features)
    for name in names:
        if name not in index:
            raise UsageError(
                f"{features.video_id}: an instance of class {name!r}, which is not among the training "
                "classes; add the class or leave the instance out"
            )
    labels = np.array([index[name] for name in names], dtype=np.int64)
    best, matched = match_instances(segments, truth_segments, labels)
    grid = features.grid
    return EncodedTable(
        video_ids=(features.video_id,),
        keys=(_key(features, annotation),),
        offsets=np.array([0, len(segments)]),
        truth_offsets=np.array([0, len(truth_segments)]),
        segments=segments,
        encoded=encoded,
        best=best,
        matched=matched,
        inside=intersection_over_first(segments, truth_segments).max(axis=1, initial=0.0),
        usable=inside_item(segments, annotation),
        truth=encode(features, truth_segments, settings.encoder),
        truth_segments=truth_segments,
        truth_labels=labels,
        truth_seen=np.array(
            [low < high for low, high in (grid.index_range(s, e) for s, e in truth_segments.tolist())], bool
        ),
        asked=np.array([[annotation.covers(name) for name in index]], bool),
    )


def _key(video: VideoFeatures, annotation: Annotation) -> str:
    """Relative to the video, so that a video moved in time draws the same numbers."""
    item = annotation.item
    return f"{video.video_id}\x1f{item.start - video.start:.3f}\x1f{item.end - video.start:.3f}"


def match_instances(
    segments: Segments, instances: Segments, labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Largest tIoU of each segment ``(N,)`` and the class of that instance ``(N,)``, -1 without overlap.

    Of equal tIoUs the shorter instance counts, then the lower class.
    """
    if len(instances) == 0:
        return np.zeros(len(segments)), np.full(len(segments), -1, dtype=np.int64)
    order = np.lexsort((labels, lengths(instances).round(9)))
    tiou = pairwise_tiou(segments, instances[order])
    best = tiou.max(axis=1)
    # The first of the ordered instances that is as good as the best up to rounding.
    first = (tiou >= best[:, None] - 1e-9).argmax(axis=1)
    return best, np.where(best > 0, labels[order][first], -1)
