"""The classifier phi: which action is it? A linear softmax over encoded segments (P2 section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import softmax

from kloc.localizers.stagewise.attention import Attention
from kloc.localizers.stagewise.settings import StageWiseSettings
from kloc.localizers.stagewise.table import EncodedTable, gather, place_in_group
from kloc.segments import above, lengths

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
    table: EncodedTable,
    attention: Attention,
    n_classes: int,
    settings: StageWiseSettings,
    *,
    videos: NDArray[np.int64] | None = None,
    top: NDArray[np.int64] | None = None,
    start: Classifier | None = None,
) -> Classifier:
    """Train on the top-k proposals of attention that match an instance, of all videos or of some (indices).

    Softmax compares the classes among positives only. A background row (option) is compared with the classes
    its annotation was asked about and no others: what nobody was asked about is never taken as absent.
    ``top``: the result of `top_proposals`, where it is known. ``start`` is a classifier to begin from: the same up
    to the solver's tolerance, sooner.
    """
    videos = table.everything if videos is None else videos
    offset = 1 if settings.background else 0
    if top is None:
        top = top_proposals(table, attention, videos, settings.top_k)
    matching, truth = _examples(table, videos, top, settings)
    blank = top[table.clear(settings, top)] if settings.background else top[:0]
    blank = blank[table.asked[table.owner[blank]].any(axis=1)]
    if not len(matching) + len(truth):
        # Instances between two samples and no proposal near them: the nearest sample is all there is.
        truth = table.truth_rows(videos)
    rows = gather(table, ("encoded", matching), ("truth", truth), ("encoded", blank))
    labels = np.concatenate(
        [table.matched[matching] + offset, table.truth_labels[truth] + offset, np.zeros_like(blank)]
    )
    rivals = np.ones((len(rows), n_classes + offset), np.bool_)
    rivals[len(rows) - len(blank) :, offset:] = table.asked[table.owner[blank]]
    return _fit(rows, labels, rivals, settings, start)


def top_proposals(table: EncodedTable, attention: Attention, videos: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """The ``k`` proposals of each video that attention likes best, best first; ties as in `segments.rank`."""
    rows = table.rows(videos)
    actionness = np.concatenate(
        [attention.actionness(table.encoded[rows[low : low + 65_536]]) for low in range(0, len(rows), 65_536)]
        or [np.zeros(0, np.float32)]
    )
    return best_proposals(table, actionness, videos, k)


def best_proposals(
    table: EncodedTable, scores: NDArray[np.floating], videos: NDArray[np.int64], k: int
) -> NDArray[np.int64]:
    """The ``k`` proposals of each video with the highest of ``scores``, one for each of ``table.rows(videos)``."""
    rows = table.rows(videos)
    segments, turn = table.segments[rows], np.repeat(np.arange(len(videos)), np.diff(table.offsets)[videos])
    order = np.lexsort((lengths(segments), segments[:, 0], -scores.astype(np.float64), turn))
    return np.asarray(rows[order[place_in_group(turn[order]) < k]])


def _examples(
    table: EncodedTable, videos: NDArray[np.int64], top: NDArray[np.int64], settings: StageWiseSettings
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Proposals and instances to learn from: matching top-k proposals, else what stands in for them."""
    n_classes = table.asked.shape[1]

    def pair(video: NDArray[np.int64], label: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.asarray(video * n_classes + label)

    matching = top[table.usable[top] & above(table.best[top], settings.positive_tiou)]
    truth = table.truth_rows(videos)
    wanted = pair(table.truth_owner[truth], table.truth_labels[truth])
    missing = ~np.isin(wanted, pair(table.owner[matching], table.matched[matching]))
    seen = truth[missing & table.truth_seen[truth]]
    # What spans no sample either is stood in for by its best proposal, where one is near.
    unseen = np.setdiff1d(wanted[missing], pair(table.truth_owner[seen], table.truth_labels[seen]))
    near = table.rows(videos)
    near = near[table.usable[near] & above(table.best[near], SECOND_BEST_TIOU)]
    near = near[np.isin(pair(table.owner[near], table.matched[near]), unseen)]
    group, segments = pair(table.owner[near], table.matched[near]), table.segments[near]
    order = np.lexsort((lengths(segments), segments[:, 0], -table.best[near], group))
    return np.concatenate([matching, near[order[place_in_group(group[order]) < 1]]]), seen


def _fit(
    rows: NDArray[np.float32],
    labels: NDArray[np.int64],
    rivals: NDArray[np.bool_],
    settings: StageWiseSettings,
    start: Classifier | None = None,
) -> Classifier:
    """L-BFGS on mean cross-entropy + decay / 2 * |W|^2, over the classes that have an example."""
    seen = np.bincount(labels, minlength=rivals.shape[1]) > 0
    columns = np.flatnonzero(seen)
    target = np.searchsorted(columns, labels)
    blocked = 0.0 if rivals.all() else np.where(rivals[:, columns], 0.0, ABSENT)
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
        first = np.zeros((dim + 1) * width)
        if start is not None:
            first = np.concatenate([start.weights[:, columns].ravel(), start.bias[columns]])
        result = minimize(
            loss, first, jac=True, method="L-BFGS-B",
            options={"maxiter": settings.classifier_iterations, "gtol": 1e-6, "ftol": 1e-12},
        )  # fmt: skip
        weights[:, columns] = result.x[:-width].reshape(dim, width)
        bias[columns] = result.x[-width:]
    return Classifier(weights, bias, seen, settings.background)
