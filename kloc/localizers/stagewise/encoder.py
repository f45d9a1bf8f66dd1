"""Segments as vectors, and training videos as what the two models learn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from kloc.errors import MismatchError, UsageError
from kloc.localizers.stagewise.settings import StageWiseSettings
from kloc.proposals.hygiene import finite_features, inside_item, usable_instances
from kloc.segments import (
    Segments,
    above,
    intersection_over_first,
    lengths,
    mean_pool,
    pairwise_tiou,
)

if TYPE_CHECKING:
    from kloc.features.bank import VideoFeatures
    from kloc.localizers.base import TrainingSet, TrainingVideo
    from kloc.records import Annotation

#: Encodings of a training set are kept in memory up to this size and made again on every pass beyond it.
CACHE_BYTES = 2 << 30
#: A segment that lies in an instance by more than this looks like it to a mean (see StageWiseSettings).
CONTAINED = 0.7


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


@dataclass(frozen=True, slots=True)
class EncodedVideo:
    """A training video as the models see it: N proposals, G instances.

    key: names the video and its annotated stretch (seeds depend on it, not on the order).
    encoded, truth: float32 ``(N, E)`` and ``(G, E)``.
    truth_segments, truth_labels: ``(G, 2)`` and class indices ``(G,)``; truth_seen ``(G,)``: whether an
    instance spans a feature sample.
    best, matched: largest tIoU with an instance ``(N,)``, and the class of that instance (-1 without one).
    inside: how much of a proposal lies in an instance, ``(N,)``.
    usable: proposals inside the annotated stretch, ``(N,)``.
    asked: classes whose absence the annotation states, bool ``(C,)``.
    """

    video_id: str
    key: str
    segments: Segments
    encoded: NDArray[np.float32]
    truth: NDArray[np.float32]
    truth_segments: Segments
    truth_labels: NDArray[np.int64]
    truth_seen: NDArray[np.bool_]
    best: NDArray[np.float64]
    matched: NDArray[np.int64]
    inside: NDArray[np.float64]
    usable: NDArray[np.bool_]
    asked: NDArray[np.bool_]

    def positives(self, settings: StageWiseSettings) -> NDArray[np.int64]:
        """Proposals that count as an action."""
        return np.flatnonzero(self.usable & above(self.best, settings.positive_tiou))

    def negatives(self, settings: StageWiseSettings) -> NDArray[np.int64]:
        """Proposals that count as background for attention.

        What an annotation leaves unmarked is background for the classes it was asked about. Attention knows no
        classes: any annotation that asked about one gives background (P2 section 5.2: each video is annotated
        for its own class); one that asked about none gives none.
        """
        if not self.asked.any():
            return np.zeros(0, dtype=np.int64)
        chosen = self.usable & (self.best < settings.background_below - 1e-9)
        if settings.spares_contained:
            chosen &= ~above(self.inside, CONTAINED)
        return np.flatnonzero(chosen)

    def loose_negatives(self, settings: StageWiseSettings) -> NDArray[np.int64]:
        """Proposals that match no instance, however near: background where there is no other."""
        return np.flatnonzero(self.usable & self.asked.any() & ~above(self.best, settings.positive_tiou))


class EncodedTraining:
    """The encoded training set: goes through its videos again and again, from memory while they fit there."""

    def __init__(self, training: TrainingSet, settings: StageWiseSettings) -> None:
        self._training = training
        self._settings = settings
        self._index = {name: i for i, name in enumerate(training.classes)}
        self._kept: list[EncodedVideo] = []
        self._size = 0
        self._whole = False

    def __iter__(self) -> Iterator[EncodedVideo]:
        if self._whole:
            yield from self._kept
            return
        kept: list[EncodedVideo] = []
        size = 0
        for video in self._training.videos:
            encoded = self._encode(video)
            yield encoded
            size += encoded.encoded.nbytes
            if size <= CACHE_BYTES:
                kept.append(encoded)
        if size <= CACHE_BYTES:
            self._kept, self._whole = kept, True

    def _encode(self, video: TrainingVideo) -> EncodedVideo:
        features, annotation = video.features, video.annotation
        segments = video.proposals.segments
        if len({features.video_id, video.proposals.video_id, annotation.item.video_id}) > 1:
            raise MismatchError(
                f"features of {features.video_id}, proposals of {video.proposals.video_id} and an annotation of "
                f"{annotation.item.video_id} make no training video; give all three of one video"
            )
        truth_segments, names = usable_instances(annotation, features)
        for name in names:
            if name not in self._index:
                raise UsageError(
                    f"{features.video_id}: an instance of class {name!r}, which is not among the training "
                    "classes; add the class or leave the instance out"
                )
        labels = np.array([self._index[name] for name in names], dtype=np.int64)
        both = encode(features, np.concatenate([segments, truth_segments]), self._settings.encoder)
        best, matched = match_instances(segments, truth_segments, labels)
        inside = intersection_over_first(segments, truth_segments).max(axis=1, initial=0.0)
        grid = features.grid
        return EncodedVideo(
            video_id=features.video_id,
            key=_key(features, annotation),
            segments=segments,
            encoded=both[: len(segments)],
            truth=both[len(segments) :],
            truth_segments=truth_segments,
            truth_labels=labels,
            truth_seen=np.array(
                [low < high for low, high in (grid.index_range(s, e) for s, e in truth_segments.tolist())], bool
            ),
            best=best,
            matched=matched,
            inside=inside,
            usable=inside_item(segments, annotation),
            asked=np.array([annotation.covers(name) for name in self._training.classes], bool),
        )


def _key(video: VideoFeatures, annotation: Annotation) -> str:
    """Relative to the video, so that a video moved in time draws the same numbers."""
    item = annotation.item
    return f"{video.video_id}\x1f{item.start - video.start:.3f}\x1f{item.end - video.start:.3f}"


def encode_training(training: TrainingSet, settings: StageWiseSettings) -> EncodedTraining:
    """The training set, encoded once, for training on it (or on parts of it) many times."""
    return EncodedTraining(training, settings)


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


def stack(rows: Sequence[NDArray[np.float32]], dim: int) -> NDArray[np.float32]:
    """Rows of many videos as one float32 ``(n, E)``, also of none."""
    return np.concatenate(rows) if rows else np.zeros((0, dim), np.float32)
