"""The geometry of DAPs: streams over a video, anchors inside a stream, what an anchor must learn.

A stream is a stretch of the video read as a fixed number of steps; inside a stream everything is a fraction of
its length, so that streams of all rates share one network.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from kloc.records import Grid
from kloc.segments import Segments, above, clip_segments, intersection_over_first, lengths, pairwise_tiou

#: An instance belongs to a stream that shows at least this share of it.
INSIDE = 0.9
#: An anchor is positive above this tIoU.
POSITIVE_TIOU = 0.5


def video_streams(grid: Grid, start: float, end: float, n_steps: int, stride: float) -> Segments:
    """Streams of a video, float64 ``(S, 2)``, seconds.

    For each rate b = 1, 2, 4, ... feature frames per step, streams of ``n_steps * b`` frames follow each other
    at ``stride`` (a fraction of the stream); a last one ends with the video where the stride does not divide
    it. Rates end where a stream would cover the video; the whole video is always the last stream.
    """
    origin = grid.start - grid.step / 2
    parts = []
    block = 1
    while n_steps * block < grid.count:
        frames = n_steps * block
        last = grid.count - frames
        hop = max(1, round(stride * frames))
        offsets = np.arange(0, last + 1, hop)
        if last % hop:
            offsets = np.append(offsets, last)
        begin = origin + grid.step * offsets
        parts.append(np.stack([begin, begin + grid.step * frames], axis=1))
        block *= 2
    return np.concatenate([*parts, np.array([[start, end]])])


def stream_steps(streams: Segments, n_steps: int) -> Segments:
    """The steps of all streams, float64 ``(S * n_steps, 2)``, seconds."""
    edges = np.linspace(0.0, 1.0, n_steps + 1)
    times = streams[:, :1] + edges[None, :] * lengths(streams)[:, None]
    return np.stack([times[:, :-1], times[:, 1:]], axis=2).reshape(-1, 2)


def instances_in(stream: NDArray[np.float64], instances: Segments) -> Segments:
    """Instances that the stream shows at least to 90 %, cut to it, as fractions of its length ``(G, 2)``."""
    shown = intersection_over_first(instances, stream[None])[:, 0] >= INSIDE
    unit = (instances[shown] - stream[0]) / (stream[1] - stream[0])
    return clip_segments(unit, 0.0, 1.0, min_length=1e-6)[0]


def make_anchors(instances: Segments, n_anchors: int, seed: int) -> NDArray[np.float64]:
    """Anchors ``(K, 2)`` as (centre, duration) fractions of a stream, longest first.

    k-means of the instances seen in training streams (as fractions, ``(P, 2)``); fewer distinct ones than
    anchors are all taken and a fixed log-spaced grid fills up: durations 1, 1/2, 1/4, ... with centres half a
    duration apart.
    """
    points = np.stack([instances.mean(axis=1), lengths(instances)], axis=1)
    distinct = np.unique(points.round(6), axis=0)
    if len(distinct) >= n_anchors:
        with threadpool_limits(1):  # sums in another order would be other anchors
            anchors = KMeans(n_anchors, n_init=10, random_state=seed).fit(points).cluster_centers_
    else:
        anchors = np.concatenate([distinct, _grid_anchors(n_anchors, distinct)])
    anchors = np.asarray(anchors, dtype=np.float64)
    return anchors[np.lexsort((anchors[:, 0], -anchors[:, 1]))]


def _grid_anchors(n_anchors: int, taken: NDArray[np.float64]) -> NDArray[np.float64]:
    """As many grid anchors as are missing, coarse to fine, none of them already taken."""
    known = {tuple(p) for p in taken.tolist()}
    grid: list[tuple[float, float]] = []
    duration = 1.0
    while len(grid) + len(taken) < n_anchors:
        centres = np.arange(duration / 2, 1 - duration / 2 + 1e-9, duration / 2)
        fresh = [(float(c), duration) for c in centres if (float(c), duration) not in known]
        grid += fresh[: n_anchors - len(taken) - len(grid)]
        duration /= 2
    return np.array(grid).reshape(-1, 2)


def anchor_segments(anchors: NDArray[np.float64]) -> Segments:
    """(centre, duration) as [start, end] fractions, float64 ``(K, 2)``."""
    half = anchors[:, 1] / 2
    return np.stack([anchors[:, 0] - half, anchors[:, 0] + half], axis=1)


def match(anchors: NDArray[np.float64], instances: Segments) -> NDArray[np.int64]:
    """The instance each anchor has to find, int64 ``(K,)``, -1 for none.

    An anchor takes the instance of its largest tIoU if that is above 0.5; besides, the best anchor of every
    instance takes it (of two instances with one best anchor, the one with the larger tIoU).
    """
    if len(instances) == 0:
        return np.full(len(anchors), -1, dtype=np.int64)
    tiou = pairwise_tiou(anchor_segments(anchors), instances)
    nearest = tiou.argmax(axis=1)
    taken = np.where(above(tiou.max(axis=1), POSITIVE_TIOU), nearest, -1).astype(np.int64)
    best = tiou.argmax(axis=0)
    for j in np.argsort(tiou.max(axis=0), kind="stable"):
        if tiou[best[j], j] > 0:
            taken[best[j]] = j
    return taken


def offsets(anchors: NDArray[np.float64], instances: Segments, taken: NDArray[np.int64]) -> NDArray[np.float64]:
    """Regression targets ``(K, 2)``: centre offset over the anchor's duration, log ratio of durations.

    Rows of anchors without an instance are 0.
    """
    targets = np.zeros((len(anchors), 2))
    found = np.flatnonzero(taken >= 0)
    chosen = instances[taken[found]]
    targets[found, 0] = (chosen.mean(axis=1) - anchors[found, 0]) / anchors[found, 1]
    targets[found, 1] = np.log(lengths(chosen) / anchors[found, 1])
    return targets


def decode(anchors: NDArray[np.float64], values: NDArray[np.floating], streams: Segments) -> Segments:
    """Offsets ``(S, K, 2)`` of the anchors of each stream as seconds, float64 ``(S * K, 2)``.

    The inverse of :func:`offsets`; durations change by at most a factor of 8, so that an untypical input cannot
    overflow. Fractions are clipped to the stream.
    """
    values = np.asarray(values, dtype=np.float64)
    centre = anchors[:, 0] + values[..., 0] * anchors[:, 1]
    half = anchors[:, 1] * np.exp(np.clip(values[..., 1], -np.log(8), np.log(8))) / 2
    unit = np.clip(np.stack([centre - half, centre + half], axis=-1), 0.0, 1.0)
    seconds: Segments = streams[:, None, :1] + unit * lengths(streams)[:, None, None]
    return seconds.reshape(-1, 2)
