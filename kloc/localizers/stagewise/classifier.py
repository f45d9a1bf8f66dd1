"""The classifier phi: which action is it? A linear softmax over encoded segments (P2 section 3.1)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import softmax

from kloc.localizers.stagewise.attention import Attention
from kloc.localizers.stagewise.encoder import CONTAINED, EncodedVideo, stack
from kloc.localizers.stagewise.settings import StageWiseSettings
from kloc.segments import above, rank

#: Logit of a class without a training example: its probability is 0, not that of untrained weights.
ABSENT = -1e9
#: Without a better example a proposal above this tIoU stands in for its instance.
SECOND_BEST_TIOU = 0.5


@dataclass(frozen=True, slots=True)
class Classifier:
    """weights: float64 ``(E, K)``, bias: ``(K,)``, seen: bool ``(K,)``, the columns that had an example.

    K is the number of classes, or one more with ``background``, which is column 0.
    """

    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    seen: NDArray[np.bool_]
    background: bool

    def probabilities(self, encoded: NDArray[np.float32]) -> NDArray[np.float32]:
        """Softmax over the columns, float32 ``(N, K)``; exactly 0 for a class never seen."""
        logits = encoded.astype(np.float64) @ self.weights + self.bias
        logits = np.where(self.seen, logits, ABSENT)
        return np.asarray(softmax(logits, axis=1), dtype=np.float32)


def train_classifier(
    videos: Iterable[EncodedVideo], attention: Attention, n_classes: int, settings: StageWiseSettings
) -> Classifier:
    """Train on the top-k proposals of attention that match an instance.

    Softmax compares the classes among positives only. A background row (option) is compared with the classes
    its annotation was asked about and no others: what nobody was asked about is never taken as absent.
    """
    offset = 1 if settings.background else 0
    rows, labels, rivals = [], [], []
    everyone = np.ones(n_classes + offset, bool)
    for video in videos:
        top = rank(video.segments, attention.actionness(video.encoded))[: settings.top_k]
        for chosen, classes in _examples(video, top, settings):
            rows.append(chosen)
            labels.append(classes + offset)
            rivals.append(np.broadcast_to(everyone, (len(chosen), len(everyone))))
        if settings.background and video.asked.any():
            clear = top[_is_background(video, settings)[top]]
            rows.append(video.encoded[clear])
            labels.append(np.zeros(len(clear), dtype=np.int64))
            asked = np.concatenate([[True], video.asked])
            rivals.append(np.broadcast_to(asked, (len(clear), len(everyone))))
    if not any((part >= offset).any() for part in labels):
        # Instances between two samples and no proposal near them: the nearest sample is all there is.
        for video in videos:
            rows.append(video.truth)
            labels.append(video.truth_labels + offset)
            rivals.append(np.broadcast_to(everyone, (len(video.truth), len(everyone))))
    dim = len(attention.weights)
    return _fit(stack(rows, dim), np.concatenate(labels), np.concatenate(rivals), settings)


def _examples(
    video: EncodedVideo, top: NDArray[np.int64], settings: StageWiseSettings
) -> Iterable[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Examples ``(n, E)`` with class indices: matching top-k proposals, else what stands in for them."""
    matching = top[video.usable[top] & above(video.best[top], settings.positive_tiou)]
    yield video.encoded[matching], video.matched[matching]
    for label in np.setdiff1d(video.truth_labels, video.matched[matching]):
        instances = np.flatnonzero((video.truth_labels == label) & video.truth_seen)
        if len(instances):
            yield video.truth[instances], video.truth_labels[instances]
            continue
        near = np.flatnonzero(video.usable & (video.matched == label) & above(video.best, SECOND_BEST_TIOU))
        if len(near):
            best = near[rank(video.segments[near], video.best[near])[:1]]
            yield video.encoded[best], video.matched[best]


def _is_background(video: EncodedVideo, settings: StageWiseSettings) -> NDArray[np.bool_]:
    clear = video.usable & (video.best < settings.background_below - 1e-9)
    return clear & ~above(video.inside, CONTAINED) if settings.spares_contained else clear


def _fit(
    rows: NDArray[np.float32],
    labels: NDArray[np.int64],
    rivals: NDArray[np.bool_],
    settings: StageWiseSettings,
) -> Classifier:
    """L-BFGS from zero on mean cross-entropy + decay / 2 * |W|^2, over the classes that have an example."""
    seen = np.bincount(labels, minlength=rivals.shape[1]) > 0
    columns = np.flatnonzero(seen)
    target = np.searchsorted(columns, labels)
    blocked = np.where(rivals[:, columns], 0.0, ABSENT)
    x = rows.astype(np.float64)
    n, dim, width = len(x), x.shape[1], len(columns)
    truth = np.zeros((n, width))
    truth[np.arange(n), target] = 1.0

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights, bias = flat[:-width].reshape(dim, width), flat[-width:]
        logits = x @ weights + bias + blocked
        top = logits.max(axis=1, keepdims=True)
        exponentials = np.exp(logits - top)
        sums = exponentials.sum(axis=1, keepdims=True)
        value = float(np.mean(np.log(sums) + top - logits[np.arange(n), target][:, None]))
        error = (exponentials / sums - truth) / n
        gradient = x.T @ error + settings.classifier_decay * weights
        value += settings.classifier_decay / 2 * float((weights * weights).sum())
        return value, np.concatenate([gradient.ravel(), error.sum(axis=0)])

    weights = np.zeros((dim, len(seen)))
    bias = np.zeros(len(seen))
    if width > 1:
        result = minimize(
            loss, np.zeros((dim + 1) * width), jac=True, method="L-BFGS-B",
            options={"maxiter": settings.classifier_iterations, "gtol": 1e-6, "ftol": 1e-12},
        )  # fmt: skip
        weights[:, columns] = result.x[:-width].reshape(dim, width)
        bias[columns] = result.x[-width:]
    return Classifier(weights, bias, seen, settings.background)
