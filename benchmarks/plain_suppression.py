"""NMS and Gaussian soft-NMS as a textbook writes them in numpy: one loop over segments, all others in one go."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def made(count: int, span: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Segments ``(count, 2)`` of 20 s on average that begin within ``span`` seconds, and scores that all differ."""
    start = rng.uniform(0, span, count)
    segments = np.stack([start, start + 0.1 + rng.exponential(20, count)], axis=1)
    return segments, rng.permutation(count) / count


def nms(segments: Array, scores: Array, threshold: float) -> NDArray[np.int64]:
    """Indices of the survivors, best first."""
    order = np.argsort(-scores)
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        order = rest[tiou(segments[rest], segments[best]) <= threshold]
    return np.array(kept)


def soft_nms(segments: Array, scores: Array, sigma: float, min_score: float) -> tuple[NDArray[np.int64], Array]:
    """Indices in the order they are taken, and their decayed scores."""
    left, score = np.arange(len(scores)), scores.copy()
    taken, values = [], []
    while len(left):
        best = int(np.argmax(score))
        if score[best] < min_score:
            break
        index = left[best]
        taken.append(index)
        values.append(score[best])
        left, score = np.delete(left, best), np.delete(score, best)
        score *= np.exp(-(tiou(segments[left], segments[index]) ** 2) / sigma)
    return np.array(taken), np.array(values)


def tiou(segments: Array, one: Array) -> Array:
    """tIoU of each segment with one, ``(N,)``."""
    shared = np.maximum(np.minimum(segments[:, 1], one[1]) - np.maximum(segments[:, 0], one[0]), 0)
    return np.asarray(shared / ((segments[:, 1] - segments[:, 0]) + (one[1] - one[0]) - shared))
