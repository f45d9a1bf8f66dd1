"""What must be true of features and annotations before anything learns from them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kloc.errors import KlocError, MismatchError, VideoError
from kloc.segments import Segments, as_segments, clip_segments

if TYPE_CHECKING:
    from kloc.features.bank import VideoFeatures
    from kloc.records import Annotation

log = logging.getLogger(__name__)

#: A video with a larger share of frames that are not numbers is refused: linear models fail silently on it.
MAX_BAD_FRAMES = 0.05


class NoInstancesError(KlocError):
    """Nothing to learn from: the labelled videos hold no usable instance at all."""


def finite_features(video: VideoFeatures) -> NDArray[np.float32]:
    """The features ``(T, D)`` with NaN and infinities replaced by 0 (and counted in the log).

    Raises VideoError where there are no frames or more than 5 % of them are bad, MismatchError where the
    features do not fit their grid.
    """
    features = video.features
    if features.ndim != 2 or len(features) != video.grid.count:
        raise MismatchError(
            f"{video.video_id}: features of shape {features.shape} do not fit a grid of "
            f"{video.grid.count} samples; extract them again"
        )
    if len(features) == 0:
        raise VideoError(f"{video.video_id}: no features; extract them again or drop the video")
    # A sum is finite only where all its terms are; the exact test is made only where it is not.
    if np.isfinite(features.sum(dtype=np.float64)):
        return features
    good = np.isfinite(features)
    n_bad = int((~good.all(axis=1)).sum())
    if n_bad > MAX_BAD_FRAMES * len(features):
        raise VideoError(
            f"{video.video_id}: {n_bad} of {len(features)} feature frames are not finite numbers; "
            "extract them again or drop the video"
        )
    log.warning("%s: %d of %d feature frames held NaN or infinity, now 0", video.video_id, n_bad, len(features))
    return np.where(good, features, np.float32(0))


def usable_instances(annotation: Annotation, video: VideoFeatures) -> tuple[Segments, tuple[str, ...]]:
    """The annotated segments ``(G, 2)`` cut to the video and their labels, without duplicates.

    Instances of at most a millisecond, and those outside the video, are dropped and counted in the log.
    """
    raw = as_segments([(i.start, i.end) for i in annotation.instances])
    cut, kept = clip_segments(raw, video.start, video.end)
    labels = [annotation.instances[i].label for i in kept]
    unique = list({(s, e, label): None for (s, e), label in zip(cut.tolist(), labels, strict=True)})
    if len(unique) < len(raw):
        log.warning(
            "%s: %d of %d instances dropped (empty, outside the video or duplicates)",
            video.video_id, len(raw) - len(unique), len(raw),
        )  # fmt: skip
    return as_segments([(s, e) for s, e, _ in unique]), tuple(label for _, _, label in unique)


def inside_item(segments: Segments, annotation: Annotation) -> NDArray[np.bool_]:
    """Which segments lie inside the annotated stretch, bool ``(N,)``: elsewhere nobody was asked."""
    low, high = annotation.item.start - 1e-6, annotation.item.end + 1e-6
    return np.asarray((segments[:, 0] >= low) & (segments[:, 1] <= high))
