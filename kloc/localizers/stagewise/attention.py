"""The attention module h_t: is there an action in this segment, whatever it is? (P2 section 3.1)

A linear SVM over encoded segments, hard negatives, and Platt probabilities from held-out scores.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kloc import seeds
from kloc.localizers.stagewise.platt import FALLBACK, fit_platt, platt_probability
from kloc.localizers.stagewise.settings import StageWiseSettings
from kloc.localizers.stagewise.svm import Vector, fit_svm, fit_svms, margins
from kloc.localizers.stagewise.table import EncodedTable, gather, place_in_group
from kloc.proposals.hygiene import NoInstancesError
from kloc.segments import above, lengths

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
    table: EncodedTable,
    settings: StageWiseSettings,
    seed: int = 0,
    *,
    videos: NDArray[np.int64] | None = None,
    start: Attention | None = None,
    calibrate: bool = True,
) -> Attention:
    """Train the attention module on a table of encoded videos, or on some of its ``videos`` (indices).

    ``start`` is a model to begin from: the result is the same up to the solver's tolerance, sooner.
    ``calibrate=False`` leaves out the folds and takes (A, B) = (-1, 0): the ranking is the same.
    Raises NoInstancesError if no video holds an instance. Without any background the result is a constant
    0.5, with a warning.
    """
    videos = table.everything if videos is None else videos
    if not len(table.truth_rows(videos)):
        raise NoInstancesError(
            f"the stage-wise localizer cannot be trained: none of {len(videos)} labelled videos holds an instance; "
            "label videos that do"
        )
    w = None if start is None else np.append(start.weights, start.intercept)
    sample: Sample | None = None
    rows = np.zeros((0, table.encoded.shape[1]), np.float32)
    for turn in range(settings.hard_negative_rounds + 1):
        drawn = draw_sample(table, videos, settings, seed, turn, w if turn else None)
        if drawn.positive.all() or not drawn.positive.any():
            break  # no negative is hard any more
        del rows  # never two samples in memory
        sample, rows = drawn, drawn.rows(table)
        w = fit_svm(rows, sample.positive, start=w, **_solver(settings))
    if sample is None or w is None:
        log.warning("no proposal is background: attention takes every proposal for equally likely")
        return Attention(np.zeros(table.encoded.shape[1]), 0.0, *FALLBACK)
    a, b = _calibrate(table, videos, sample, rows, w, settings, seed) if calibrate else FALLBACK
    return Attention(w[:-1], float(w[-1]), a, b)


def _solver(settings: StageWiseSettings) -> dict[str, Any]:
    return {
        "c": settings.c,
        "tolerance": settings.tolerance,
        "max_iterations": settings.max_iterations,
        "solver": settings.solver,
    }


@dataclass(frozen=True, slots=True)
class Sample:
    """What the SVM is trained on: matching proposals, instances, background proposals, as indices of a table."""

    matching: NDArray[np.int64]
    truth: NDArray[np.int64]
    background: NDArray[np.int64]

    @property
    def positive(self) -> NDArray[np.bool_]:
        """Which rows are an action, ``(n,)``."""
        n_positive = len(self.matching) + len(self.truth)
        return np.arange(n_positive + len(self.background)) < n_positive

    def owner(self, table: EncodedTable) -> NDArray[np.int64]:
        """The video of each row, ``(n,)``."""
        return np.concatenate([table.owner[self.matching], table.truth_owner[self.truth], table.owner[self.background]])

    def rows(self, table: EncodedTable) -> NDArray[np.float32]:
        """The rows, float32 ``(n, E)``."""
        return gather(table, ("encoded", self.matching), ("truth", self.truth), ("encoded", self.background))


def draw_sample(
    table: EncodedTable,
    videos: NDArray[np.int64],
    settings: StageWiseSettings,
    seed: int,
    turn: int = 0,
    w: Vector | None = None,
) -> Sample:
    """Positives and background of some videos; hard negatives by the margins of ``w``.

    What a video gives depends on the video alone (and on ``w``), so that the sample of more videos holds it too.
    """
    rows = table.rows(videos)
    matching = rows[table.positive(settings, rows)]
    truth = table.truth_rows(videos)
    n_positive = np.bincount(table.owner[matching], minlength=len(table))
    if settings.include_truth:
        n_positive = n_positive + np.diff(table.truth_offsets)
    limit = settings.negatives_per_positive * np.maximum(n_positive, 10)
    candidates = rows[table.negative(settings, rows)]
    if w is None and not len(candidates):
        log.warning("no proposal is clear of the instances: those that match none are the background")
        candidates = rows[table.loose_negative(settings, rows)]
    if not settings.include_truth and len(matching):
        truth = truth[:0]
    elif not settings.include_truth:
        log.warning("no proposal matches an instance: the instances themselves are the positives")
    keys = _random_keys(table, videos, candidates, seed, turn)
    if w is None:
        background = _first(table, candidates, keys, limit)
    else:
        background = _hard(table, candidates, keys, limit, w)
    return Sample(matching, truth, np.sort(background))


def _first(
    table: EncodedTable, candidates: NDArray[np.int64], key: NDArray[Any], limit: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Of each video the ``limit`` candidates with the lowest key."""
    owner = table.owner[candidates]
    order = np.lexsort((key, owner))
    return candidates[order[place_in_group(owner[order]) < limit[owner[order]]]]


def _hard(
    table: EncodedTable, candidates: NDArray[np.int64], keys: NDArray[np.uint64], limit: NDArray[np.int64], w: Vector
) -> NDArray[np.int64]:
    """Of each video the hardest candidates (margin above -1) and some at random."""
    score = _margins_of(table, candidates, w)
    n_random = np.round(RANDOM_SHARE * limit).astype(np.int64)
    owner = table.owner[candidates]
    segments = table.segments[candidates]
    order = np.lexsort((lengths(segments), segments[:, 0], -score, owner))
    hard = order[(place_in_group(owner[order]) < (limit - n_random)[owner[order]]) & (score[order] > -1)]
    rest = np.ones(len(candidates), np.bool_)
    rest[hard] = False
    return np.concatenate([candidates[hard], _first(table, candidates[rest], keys[rest], n_random)])


def _margins_of(table: EncodedTable, proposals: NDArray[np.int64], w: Vector) -> Vector:
    """Margins ``(n,)`` of some proposals, without a copy of all their rows."""
    size = 8192
    parts = [margins(table.encoded[proposals[low : low + size]], w) for low in range(0, len(proposals), size)]
    return np.concatenate(parts) if parts else np.zeros(0)


def _random_keys(
    table: EncodedTable, videos: NDArray[np.int64], rows: NDArray[np.int64], seed: int, turn: int
) -> NDArray[np.uint64]:
    """A random number per proposal that depends on the video, its place there, the seed and the turn alone."""
    of_video = np.zeros(len(table), np.uint64)
    for index in videos.tolist():
        text = f"{seed}\x1fnegatives\x1f{table.keys[index]}\x1f{turn}".encode("utf-8", "surrogatepass")
        of_video[index] = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
    place = (rows - table.offsets[table.owner[rows]]).astype(np.uint64)
    # Steele, Lea and Flood's splitmix64: counters become uniform bits.
    x = of_video[table.owner[rows]] + (place + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))


def _calibrate(
    table: EncodedTable,
    videos: NDArray[np.int64],
    sample: Sample,
    rows: NDArray[np.float32],
    w: Vector,
    settings: StageWiseSettings,
    seed: int,
) -> tuple[float, float]:
    """A and B from held-out margins of all proposals: the prior is the real one, not that of a mined sample.

    The folds' models learn from the same rows as ``w``, less those of the held-out videos; all are fitted side by
    side, from ``w`` on.
    """
    fold = _folds(table, videos, settings.platt_folds, seed)
    n_folds = int(fold.max()) + 1
    models = np.repeat(w[None], n_folds, axis=0)
    if n_folds > 1:
        owner = sample.owner(table)
        member = fold[owner][None, :] != np.arange(n_folds)[:, None]
        whole = [k for k in range(n_folds) if len(np.unique(sample.positive[member[k]])) == 2]
        # Two numbers are read off these margins: they need not be as exact as the model itself.
        rough = {**_solver(settings), "tolerance": 10 * settings.tolerance}
        models[whole] = fit_svms(rows, sample.positive, member[whole], start=models[whole], **rough)
    else:
        log.warning("a single labelled video holds instances: probabilities are calibrated on training scores")
    proposals = table.rows(videos[table.asked[videos].any(axis=1)])
    proposals = proposals[table.usable[proposals]]
    if not len(proposals):
        return FALLBACK
    scores = np.empty(len(proposals))
    own = fold[table.owner[proposals]]
    for k in range(n_folds):
        scores[own == k] = _margins_of(table, proposals[own == k], models[k])
    return fit_platt(scores, above(table.best[proposals], settings.positive_tiou))


def _folds(table: EncodedTable, videos: NDArray[np.int64], n_folds: int, seed: int) -> NDArray[np.int64]:
    """A fold for each video of the table (those of ``videos`` count); stretches of one video share theirs.

    Videos with instances are dealt first, so that every fold has some.
    """
    total: dict[str, int] = {}
    n_instances = np.diff(table.truth_offsets)
    for index in videos.tolist():
        name = table.video_ids[index]
        total[name] = total.get(name, 0) + int(n_instances[index])
    ids = sorted(total)
    shuffled = [ids[i] for i in seeds.generator(seed, "folds").permutation(len(ids))]
    shuffled.sort(key=lambda v: total[v] == 0)
    n_used = max(1, min(n_folds, sum(n > 0 for n in total.values())))
    fold_of = {video_id: place % n_used for place, video_id in enumerate(shuffled)}
    result = np.full(len(table), -1, np.int64)
    result[videos] = [fold_of[table.video_ids[index]] for index in videos.tolist()]
    return result
