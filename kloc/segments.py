"""The 1-D geometry everything stands on: tIoU, ranking, NMS, exact-tIoU jitter, mean pooling.

Segments are float64 ``(N, 2)``, seconds, half-open ``[start, end)``. Pure functions, no state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from kloc.records import Grid

Segments = NDArray[np.float64]

#: A tIoU counts as above a threshold only by more than this: segments that overlap by exactly 0.7 on paper must
#: not land on either side by rounding, nor change sides when a video moves in time.
SLACK = 1e-9
#: Instances no longer than this (seconds) are slips of an annotation tool, not actions.
MIN_LENGTH = 1e-3

JitterMode = Literal["shift", "shrink", "expand"]
JITTER_MODES: tuple[JitterMode, ...] = ("shift", "shrink", "expand")


def as_segments(values: ArrayLike) -> Segments:
    """``values`` as a float64 array ``(N, 2)``; an empty sequence becomes ``(0, 2)``.

    Raises ValueError for another shape.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        return np.zeros((0, 2))
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(f"segments must have the shape (N, 2), not {array.shape}")
    return array


def lengths(segments: Segments) -> NDArray[np.float64]:
    """Lengths in seconds, float64 ``(N,)``; never negative."""
    return np.maximum(segments[:, 1] - segments[:, 0], 0.0)


def intersection(first: Segments, second: Segments) -> NDArray[np.float64]:
    """Seconds that each pair shares, float64 ``(N, M)``."""
    end = np.minimum(first[:, None, 1], second[None, :, 1])
    start = np.maximum(first[:, None, 0], second[None, :, 0])
    return np.asarray(np.maximum(end - start, 0.0))


def pairwise_tiou(first: Segments, second: Segments) -> NDArray[np.float64]:
    """Temporal intersection over union of all pairs, float64 ``(N, M)``; 0 where the union is empty."""
    shared = intersection(first, second)
    union = lengths(first)[:, None] + lengths(second)[None, :] - shared
    tiou: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return tiou


def intersection_over_first(first: Segments, second: Segments) -> NDArray[np.float64]:
    """How much of each first segment lies inside each second one, float64 ``(N, M)``; 0 for an empty first."""
    shared = intersection(first, second)
    own = np.broadcast_to(lengths(first)[:, None], shared.shape)
    inside: NDArray[np.float64] = np.divide(shared, own, out=np.zeros_like(shared), where=own > 0)
    return inside


def above(tiou: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]:
    """Strictly above ``threshold``: exactly 0.7 is not above 0.7, whatever the rounding."""
    return np.asarray(tiou > threshold + SLACK)


def rank(segments: Segments, scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """Indices ``(N,)``, best score first; ties by earlier start, then shorter, then lower index."""
    order = np.lexsort((lengths(segments), segments[:, 0], -np.asarray(scores, dtype=np.float64)))
    return order.astype(np.int64)


def nms(
    segments: Segments, scores: NDArray[np.floating], threshold: float, limit: int | None = None
) -> NDArray[np.int64]:
    """Greedy non-maximum suppression: indices of the survivors, best first (ties as in :func:`rank`).

    A segment falls if its tIoU with a better survivor is strictly above ``threshold``. ``limit`` stops after
    that many survivors. Only segments whose start lies near enough to reach the threshold are compared.
    """
    count = len(segments)
    if count == 0:
        return np.zeros(0, dtype=np.int64)
    by_start = np.argsort(segments[:, 0], kind="stable")
    place = np.empty(count, dtype=np.int64)
    place[by_start] = np.arange(count)
    start, end = segments[by_start, 0], segments[by_start, 1]
    length = np.maximum(end - start, 0.0)
    # tIoU > t needs starts closer than (1 - t) * the longer length, and that is below length / t.
    reach = np.full(count, np.inf) if threshold <= 0 else (1 / threshold - 1) * length * (1 + 1e-6) + 1e-9
    low = np.searchsorted(start, start - reach, side="left").tolist()
    high = np.searchsorted(start, start + reach, side="right").tolist()
    alive = np.ones(count, dtype=bool)
    kept: list[int] = []
    order = rank(segments, scores)
    for index, i in zip(order.tolist(), place[order].tolist(), strict=True):
        if not alive[i]:
            continue
        kept.append(index)
        if limit is not None and len(kept) >= limit:
            break
        near = slice(low[i], high[i])
        shared = np.minimum(end[near], end[i]) - np.maximum(start[near], start[i])
        # shared > t * union, without a division; a shared stretch below zero never passes.
        union = length[near] + length[i] - shared
        alive[near] &= ~((shared > (threshold + SLACK) * union) & (shared > 0))
    return np.array(kept, dtype=np.int64)


def soft_nms(
    segments: Segments,
    scores: NDArray[np.floating],
    *,
    method: Literal["gaussian", "linear"] = "gaussian",
    sigma: float = 0.5,
    threshold: float = 0.5,
    min_score: float = 0.001,
    limit: int | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Soft-NMS: indices ``(K,)`` in the order they were taken and their decayed scores, float64 ``(K,)``.

    Again and again the best remaining segment is taken (ties: earlier start, shorter, lower index) and every
    other one is multiplied by ``exp(-tIoU^2 / sigma)`` ("gaussian") or, above ``threshold``, by ``1 - tIoU``
    ("linear"). Ends when the best score is below ``min_score``; the last survivor is kept.
    """
    layout = np.lexsort((lengths(segments), segments[:, 0]))
    start, end = segments[layout, 0].copy(), segments[layout, 1].copy()
    score = np.asarray(scores, dtype=np.float64)[layout]
    longest = float(lengths(segments).max(initial=0.0)) * (1 + 1e-9)
    taken: list[int] = []
    values: list[float] = []
    live = len(layout)
    while len(score) and (limit is None or len(taken) < limit):
        i = int(score.argmax())  # the layout makes the first maximum the one that wins the tie
        best = float(score[i])
        if not best >= min_score:
            break
        taken.append(int(layout[i]))
        values.append(best)
        left, right = start[i], end[i]
        score[i], end[i] = -np.inf, -np.inf  # gone: overlaps nothing any more
        live -= 1
        # Nothing that begins earlier than this lasts long enough to touch it, nothing that begins later does.
        near = slice(start.searchsorted(left - longest), start.searchsorted(right))
        shared = np.minimum(end[near], right) - np.maximum(start[near], left)
        touched = np.flatnonzero(shared > 0)
        if len(touched):
            shared = shared[touched]
            touched += near.start
            tiou = shared / ((end[touched] - start[touched]) + (right - left) - shared)
            if method == "gaussian":
                score[touched] *= np.exp(-(tiou**2) / sigma)
            else:
                score[touched] *= np.where(above(tiou, threshold), 1.0 - tiou, 1.0)
        if live * 2 < len(score) and len(score) > 64:
            stay = score >= min_score
            start, end, score, layout = start[stay], end[stay], score[stay], layout[stay]
            live = len(score)
    return np.array(taken, dtype=np.int64), np.array(values)


def clip_segments(
    segments: Segments, start: float, end: float, min_length: float = MIN_LENGTH
) -> tuple[Segments, NDArray[np.int64]]:
    """Segments cut to ``[start, end]``, and the indices of those that stay longer than ``min_length`` seconds."""
    cut = np.clip(segments, start, end)
    kept = np.flatnonzero(np.isfinite(segments).all(axis=1) & (cut[:, 1] - cut[:, 0] > min_length))
    return cut[kept], kept


def jitter(
    start: float,
    end: float,
    tiou: float,
    low: float,
    high: float,
    rng: np.random.Generator,
    modes: tuple[JitterMode, ...] = JITTER_MODES,
) -> tuple[float, float]:
    """A segment inside ``[low, high]`` whose tIoU with ``[start, end)`` is exactly ``tiou`` (P2 section 4.2).

    With L the length and u the tIoU: *shift* by ``L (1 - u) / (1 + u)``, *shrink* to ``u L`` at a random place
    inside, or *expand* to ``L / u`` around it. One of the ``modes`` that stay inside ``[low, high]`` is drawn
    with equal chance; shrinking always stays. A segment without length comes back as it is.

    Raises ValueError unless ``0 < tiou <= 1`` and ``[start, end)`` lies inside ``[low, high]``.
    """
    if not 0 < tiou <= 1:
        raise ValueError(f"a segment cannot be moved to a tIoU of {tiou}: it must be above 0 and at most 1")
    if not low <= start <= end <= high:
        raise ValueError(f"segment [{start}, {end}) does not lie inside [{low}, {high}]")
    length = end - start
    if length == 0 or tiou == 1:
        return start, end
    distance = length * (1 - tiou) / (1 + tiou)
    sides = [side for side in (-distance, distance) if low <= start + side and end + side <= high]
    extra = length / tiou - length
    feasible = {"shift": bool(sides), "shrink": True, "expand": extra <= high - low - length}
    choices = [mode for mode in modes if feasible[mode]] or ["shrink"]
    mode = choices[int(rng.integers(len(choices)))]
    if mode == "shift":
        side = sides[int(rng.integers(len(sides)))]
        return start + side, end + side
    if mode == "shrink":
        offset = rng.uniform(0, length - tiou * length)
        return start + offset, start + offset + tiou * length
    before = rng.uniform(max(0.0, extra - (high - end)), min(extra, start - low))
    return max(low, start - before), min(high, end + extra - before)


def index_ranges(grid: Grid, segments: Segments) -> NDArray[np.int64]:
    """Half-open ranges of the samples whose centres lie in each segment, int64 ``(N, 2)``.

    The rule of :meth:`kloc.records.Grid.index_range`, for many segments at once, except that a segment without
    a sample gets the one nearest to its middle: every range holds at least one sample.
    """
    ranges = np.ceil((segments - grid.start) / grid.step - 1e-9)
    ranges = np.clip(ranges, 0, grid.count).astype(np.int64)
    nearest = np.floor((segments.mean(axis=1) - grid.start) / grid.step + 0.5)
    nearest = np.clip(nearest, 0, grid.count - 1).astype(np.int64)
    empty = ranges[:, 1] <= ranges[:, 0]
    ranges[empty] = np.stack([nearest, nearest + 1], axis=1)[empty]
    return ranges


def mean_pool(features: NDArray[np.floating], grid: Grid, segments: Segments) -> NDArray[np.float32]:
    """Mean feature of the samples inside each segment, float32 ``(N, D)``.

    ``features`` is ``(T, D)`` with ``T == grid.count >= 1``. Prefix sums in float64 make it O(T + N) and exact
    for long float16 videos too. A segment shorter than one sample gets the sample nearest to its middle.
    Raises ValueError if the features do not fit the grid or there are none.
    """
    if len(features) != grid.count or grid.count < 1:
        raise ValueError(f"{len(features)} features do not fit a grid of {grid.count} samples")
    ranges = index_ranges(grid, segments)
    sums = _prefix_sums(features)
    pooled = sums[ranges[:, 1]] - sums[ranges[:, 0]]
    pooled /= (ranges[:, 1] - ranges[:, 0])[:, None]
    return pooled.astype(np.float32)


def _prefix_sums(features: NDArray[np.floating]) -> NDArray[np.float64]:
    """Sums of the first 0, 1, ..., T rows, float64 ``(T + 1, D)``."""
    sums = np.zeros((len(features) + 1, features.shape[1]))
    if features.shape[1] < 64:
        np.cumsum(features, axis=0, dtype=np.float64, out=sums[1:])
    else:  # whole rows at a time: the same sums, but cumsum goes down the columns and is ten times slower
        for i, row in enumerate(features):
            np.add(sums[i], row, out=sums[i + 1])
    return sums
