"""The attention module h_t: is there an action in this segment, whatever it is? (P2 section 3.1)

A linear SVM over encoded segments, hard negatives, and Platt probabilities from held-out scores.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kloc import seeds
from kloc.localizers.stagewise.encoder import EncodedVideo, stack
from kloc.localizers.stagewise.platt import FALLBACK, fit_platt, platt_probability
from kloc.localizers.stagewise.settings import StageWiseSettings
from kloc.localizers.stagewise.svm import Vector, fit_svm, margins
from kloc.proposals.hygiene import NoInstancesError
from kloc.segments import above, rank

log = logging.getLogger(__name__)

#: Share of a video's background sample that is drawn at random beside the hard ones.
RANDOM_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Attention:
    """The state of the attention module, all of it (selection by LAL reads it).

    weights: float64 ``(E,)``; intercept; platt_a < 0 and platt_b: ``p = 1 / (1 + exp(A (w x + b) + B))``.
    """

    weights: Vector
    intercept: float
    platt_a: float
    platt_b: float

    def margin(self, encoded: NDArray[np.float32]) -> Vector:
        """Margins ``w x + b``, float64 ``(N,)``; equal rows get equal margins."""
        # float64 products: in float32 equal rows may differ in the last bit by their place in the matrix.
        return np.asarray(encoded.astype(np.float64) @ self.weights + self.intercept)

    def actionness(self, encoded: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities of an action, float32 ``(N,)``."""
        return platt_probability(self.margin(encoded), self.platt_a, self.platt_b).astype(np.float32)


def train_attention(
    videos: Iterable[EncodedVideo],
    settings: StageWiseSettings,
    seed: int = 0,
    *,
    start: Attention | None = None,
    calibrate: bool = True,
) -> Attention:
    """Train the attention module on encoded videos (gone through several times).

    ``start`` is a model to begin from: the result is the same up to the solver's tolerance, sooner.
    ``calibrate=False`` leaves out the folds and takes (A, B) = (-1, 0): the ranking is the same.
    Raises NoInstancesError if no video holds an instance. Without any background the result is a constant
    0.5, with a warning.
    """
    counts = {video.key: (video.video_id, len(video.truth), len(video.negatives(settings))) for video in videos}
    if not any(n for _, n, _ in counts.values()):
        raise NoInstancesError(
            f"the stage-wise localizer cannot be trained: none of {len(counts)} labelled videos holds an instance; "
            "label videos that do"
        )
    first = None if start is None else np.append(start.weights, start.intercept)
    w = _train_svm(videos, lambda _: True, settings, seed, first)
    if w is None:
        dim = next(iter(videos)).encoded.shape[1]
        log.warning("no proposal is background: attention takes every proposal for equally likely")
        return Attention(np.zeros(dim), 0.0, *FALLBACK)
    a, b = _calibrate(videos, counts, w, settings, seed) if calibrate else FALLBACK
    return Attention(w[:-1], float(w[-1]), a, b)


def _train_svm(
    videos: Iterable[EncodedVideo],
    belongs: Callable[[str], bool],
    settings: StageWiseSettings,
    seed: int,
    start: Vector | None,
) -> Vector | None:
    """Weights and intercept from the videos whose id ``belongs``; None where one class is missing."""
    w = start
    for turn in range(settings.hard_negative_rounds + 1):
        rows, positive = _sample(videos, belongs, settings, seed, turn, w if turn else None)
        if positive.all() or not positive.any():
            return w if turn else None  # no negative is hard any more
        w = fit_svm(
            rows, positive, c=settings.c, tolerance=settings.tolerance, max_iterations=settings.max_iterations,
            solver=settings.solver, start=w,
        )  # fmt: skip
    return w


def _sample(
    videos: Iterable[EncodedVideo],
    belongs: Callable[[str], bool],
    settings: StageWiseSettings,
    seed: int,
    turn: int,
    w: Vector | None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Rows ``(n, E)`` and which of them are positive; hard negatives by the margins of ``w``."""
    positives: list[NDArray[np.float32]] = []
    truth: list[NDArray[np.float32]] = []
    for video in videos:
        if belongs(video.video_id):
            positives.append(video.encoded[video.positives(settings)])
            truth.append(video.truth)
    if settings.include_truth:
        positives += truth
    elif not any(map(len, positives)):
        log.warning("no proposal matches an instance: the instances themselves are the positives")
        positives = truth
    negatives = _background(videos, belongs, settings, seed, turn, w, EncodedVideo.negatives)
    if w is None and not any(map(len, negatives)):
        log.warning("no proposal is clear of the instances: those that match none are the background")
        negatives = _background(videos, belongs, settings, seed, turn, w, EncodedVideo.loose_negatives)
    dim = positives[0].shape[1] if positives else 0
    good, bad = stack(positives, dim), stack(negatives, dim)
    return np.concatenate([good, bad]), np.arange(len(good) + len(bad)) < len(good)


def _background(
    videos: Iterable[EncodedVideo],
    belongs: Callable[[str], bool],
    settings: StageWiseSettings,
    seed: int,
    turn: int,
    w: Vector | None,
    candidates: Callable[[EncodedVideo, StageWiseSettings], NDArray[np.int64]],
) -> list[NDArray[np.float32]]:
    """The background rows of each video, capped by its number of positives."""
    rows = []
    for video in videos:
        if belongs(video.video_id):
            n_positive = len(video.positives(settings)) + settings.include_truth * len(video.truth)
            limit = settings.negatives_per_positive * max(n_positive, 10)
            rng = seeds.generator(seed, "negatives", video.key, turn)
            rows.append(video.encoded[_choose(video, candidates(video, settings), limit, w, rng)])
    return rows


def _choose(
    video: EncodedVideo, candidates: NDArray[np.int64], limit: int, w: Vector | None, rng: np.random.Generator
) -> NDArray[np.int64]:
    """At most ``limit`` background proposals: at random, or the hardest (margin above -1) and some at random."""
    if w is None:
        return candidates if len(candidates) <= limit else np.sort(rng.choice(candidates, limit, replace=False))
    scores = margins(video.encoded, w)[candidates]
    n_random = round(RANDOM_SHARE * limit)
    order = rank(video.segments[candidates], scores)
    hard = order[scores[order] > -1][: limit - n_random]
    rest = np.setdiff1d(np.arange(len(candidates)), hard)
    some = rest if len(rest) <= n_random else rng.choice(rest, n_random, replace=False)
    return np.sort(candidates[np.concatenate([hard, some])])


def _calibrate(
    videos: Iterable[EncodedVideo],
    counts: dict[str, tuple[str, int, int]],
    w: Vector,
    settings: StageWiseSettings,
    seed: int,
) -> tuple[float, float]:
    """A and B from held-out margins of all proposals: the prior is the real one, not that of a mined sample."""
    folds = _folds(counts, settings.platt_folds, seed)
    n_folds = max(folds.values()) + 1
    models: list[Vector] = []
    if n_folds > 1:
        for fold in range(n_folds):
            held_in = _train_svm(videos, lambda v, f=fold: folds[v] != f, settings, seed, w)  # type: ignore[misc]
            models.append(w if held_in is None else held_in)
    else:
        log.warning("a single labelled video holds instances: probabilities are calibrated on training scores")
        models.append(w)
    scores, positive = [], []
    for video in videos:
        if video.asked.any():
            scores.append(margins(video.encoded, models[folds[video.video_id]])[video.usable])
            positive.append(above(video.best[video.usable], settings.positive_tiou))
    if not scores:
        return FALLBACK
    return fit_platt(np.concatenate(scores), np.concatenate(positive))


def _folds(counts: dict[str, tuple[str, int, int]], n_folds: int, seed: int) -> dict[str, int]:
    """A fold for each video id; those with instances are dealt first, so that every fold has some."""
    total: dict[str, int] = {}
    for video_id, n_instances, _ in counts.values():
        total[video_id] = total.get(video_id, 0) + n_instances
    ids = sorted(total)
    shuffled = [ids[i] for i in seeds.generator(seed, "folds").permutation(len(ids))]
    shuffled.sort(key=lambda v: total[v] == 0)
    n_used = max(1, min(n_folds, sum(n > 0 for n in total.values())))
    return {video_id: place % n_used for place, video_id in enumerate(shuffled)}
