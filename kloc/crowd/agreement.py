"""How much workers agree: with each other, at the boundaries, and each of them with those who agree themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
from scipy.optimize import linear_sum_assignment

from kloc.crowd.consolidate import WorkerAnswer
from kloc.records import Instance, Item
from kloc.segments import as_segments, pairwise_tiou

#: Rounds of weighing workers by their agreement; it settles long before.
_ROUNDS = 50


@dataclass(frozen=True, slots=True)
class Match:
    """Two lists of segments compared: matched pairs with their tIoU, and how many segments each list has."""

    tious: tuple[float, ...]
    offsets: tuple[tuple[float, float], ...]
    n_first: int
    n_second: int

    @property
    def f1(self) -> float:
        """F1 of either list against the other; 1 where both are empty."""
        total = self.n_first + self.n_second
        return 2 * len(self.tious) / total if total else 1.0


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two workers' answers to one item, compared."""

    first: str
    second: str
    found: Match


@dataclass(frozen=True, slots=True)
class Agreement:
    """``None`` where nothing could be compared. Spreads in seconds.

    pairwise_f1: mean over pairs of answers to one item. matched_tiou: mean over their matched segments.
    start_spread, end_spread: mean absolute difference between matched boundaries.
    alpha: Krippendorff's alpha of "the class is under way", nominal, over continuous time (1 perfect, 0 chance).
    workers: per worker the mean F1 with each other worker on the same item, others weighing the more the
    more they agree themselves; who shared items only with workers that agree with nobody has no figure.
    """

    pairs: int
    pairwise_f1: float | None
    matched_tiou: float | None
    start_spread: float | None
    end_spread: float | None
    alpha: float | None
    workers: Mapping[str, float]

    def __str__(self) -> str:
        def shown(value: float | None) -> str:
            return "-" if value is None else f"{value:.3f}"

        return (
            f"{self.pairs} pairs of answers: F1@.5 {shown(self.pairwise_f1)}, matched tIoU {shown(self.matched_tiou)}, "
            f"boundary spread {shown(self.start_spread)} / {shown(self.end_spread)} s, alpha {shown(self.alpha)}"
        )


def match(first: Sequence[Instance], second: Sequence[Instance], threshold: float = 0.5) -> Match:
    """The largest one-to-one matching of equal classes at tIoU of at least ``threshold``; of several the one with
    the highest sum of tIoU."""
    tious: list[float] = []
    offsets: list[tuple[float, float]] = []
    for label in sorted({i.label for i in first} & {i.label for i in second}):
        mine = sorted(i for i in first if i.label == label)
        theirs = sorted(i for i in second if i.label == label)
        table = pairwise_tiou(
            as_segments([(i.start, i.end) for i in mine]), as_segments([(i.start, i.end) for i in theirs])
        )
        fits = table >= threshold - 1e-9
        # A match is worth more than all differences in overlap together: first the number, then the quality.
        value = np.where(fits, min(table.shape) + 1 + table, 0.0)
        for i, j in zip(*linear_sum_assignment(value, maximize=True), strict=True):
            if fits[i, j]:
                tious.append(float(table[i, j]))
                offsets.append((mine[i].start - theirs[j].start, mine[i].end - theirs[j].end))
    return Match(tuple(tious), tuple(offsets), len(first), len(second))


def agreement(answers: Sequence[WorkerAnswer], *, threshold: float = 0.5) -> Agreement:
    """Agreement over all items with several answers; order-independent."""
    by_item: dict[Item, list[WorkerAnswer]] = {}
    for answer in sorted(answers, key=lambda a: (a.item, a.worker_id, a.assignment_id)):
        by_item.setdefault(answer.item, []).append(answer)
    pairs = [pair for group in by_item.values() for pair in _pairs(group, threshold)]
    matches = [pair.found for pair in pairs]
    tious = [tiou for found in matches for tiou in found.tious]
    offsets = [offset for found in matches for offset in found.offsets]
    return Agreement(
        pairs=len(matches),
        pairwise_f1=_mean([found.f1 for found in matches]),
        matched_tiou=_mean(tious),
        start_spread=_mean([abs(start) for start, _ in offsets]),
        end_spread=_mean([abs(end) for _, end in offsets]),
        alpha=_alpha(by_item),
        workers=_workers(pairs) if pairs else {},
    )


def pairwise_f1(answers: Sequence[WorkerAnswer], *, threshold: float = 0.5) -> float | None:
    """Mean F1 over the pairs of answers to one item by different workers; ``None`` where there is no pair."""
    return _mean([pair.found.f1 for pair in _pairs(answers, threshold)])


def _pairs(answers: Sequence[WorkerAnswer], threshold: float) -> list[_Pair]:
    return [
        _Pair(a.worker_id, b.worker_id, match(_about(a, b), _about(b, a), threshold))
        for a, b in combinations(answers, 2)
        if a.worker_id != b.worker_id and set(a.classes) & set(b.classes)
    ]


def _about(answer: WorkerAnswer, other: WorkerAnswer) -> list[Instance]:
    """What an answer says about the classes that both were asked about."""
    return [segment for segment in answer.segments if segment.label in other.classes]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _workers(pairs: Sequence[_Pair]) -> dict[str, float]:
    """Each worker's mean F1 with the others, an other counting as the square of that one's own figure: the fixed
    point, from equal weights. Among three of whom one is bad, the two who agree hardly count the third."""
    names = sorted({worker for pair in pairs for worker in (pair.first, pair.second)})
    place = {worker: k for k, worker in enumerate(names)}
    one, two = (
        np.array([place[w] for w in side], int) for side in zip(*((p.first, p.second) for p in pairs), strict=True)
    )
    mine, theirs = np.concatenate([one, two]), np.concatenate([two, one])
    f1 = np.tile([pair.found.f1 for pair in pairs], 2)
    figures = np.ones(len(names))
    for _ in range(_ROUNDS):
        weights = figures[theirs] ** 2
        counted = np.bincount(mine, weights, len(names))
        agreed = np.bincount(mine, weights * f1, len(names))
        figures = np.divide(agreed, counted, out=np.zeros(len(names)), where=counted > 0)
    return {worker: float(figures[k]) for worker, k in place.items() if counted[k] > 0}


def _alpha(by_item: Mapping[Item, Sequence[WorkerAnswer]]) -> float | None:
    """Krippendorff's alpha for two values (under way, not under way), each moment weighing its duration."""
    disagreed = positive = negative = 0.0
    for item, group in by_item.items():
        for label in sorted({name for answer in group for name in answer.classes}):
            asked = [answer for answer in group if label in answer.classes]
            n = len(asked)
            if n < 2:
                continue
            marks = [[(s.start, s.end) for s in answer.segments if s.label == label] for answer in asked]
            edges = sorted({item.start, item.end, *(edge for mine in marks for pair in mine for edge in pair)})
            for low, high in pairwise(edges):
                middle = (low + high) / 2
                yes = sum(any(start <= middle < end for start, end in mine) for mine in marks)
                # Units of time as Krippendorff's coincidence matrix wants them: each counts its n ratings.
                disagreed += (high - low) * 2 * yes * (n - yes) / (n - 1)
                positive += (high - low) * yes
                negative += (high - low) * (n - yes)
    total = positive + negative
    if positive <= 0 or negative <= 0:
        return None
    # Time is continuous, so the number of ratings is unlimited and the small-sample correction vanishes.
    return 1.0 - disagreed / (2 * positive * negative / total)
