"""What all parts of a diagnosis read: the instance that each detection took, and average precision over parts of both.

Average precision here takes any N in ``precision = R N / (R N + FP)``, with R the recall. N = the class's number of
instances is the ordinary one. N = the mean number of instances per class is the normalised one (DETAD's mAP_N), which
does not grow with the number of instances and so compares parts of the truth that differ in size.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kloc.evaluation.matching import LEFT_OUT, WRONG, Rule, match
from kloc.evaluation.tables import DetectionTable, TruthTable

Flags = NDArray[np.bool_]
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Matched:
    """Truth, detections, and which instance each detection took.

    thresholds: float64 ``(K,)``, of tIoU, ascending. instance: int64 ``(K, D)``: the row of the truth that a detection
    took; `WRONG` where it took none, `LEFT_OUT` where it is neither right nor wrong.
    """

    truth: TruthTable
    found: DetectionTable
    thresholds: Array
    rule: Rule
    instance: NDArray[np.int64]

    @property
    def right(self) -> Flags:
        """Detections that took an instance, bool ``(K, D)``."""
        return np.asarray(self.instance >= 0)

    @property
    def wrong(self) -> Flags:
        """False positives, bool ``(K, D)``."""
        return np.asarray(self.instance == WRONG)

    @property
    def mean_per_class(self) -> float:
        """The N of normalised precision: instances per class that has any; 0 without truth."""
        counts = self.truth.per_class()
        return float(counts[counts > 0].mean()) if counts.any() else 0.0


def matched(truth: TruthTable, found: DetectionTable, thresholds: Array, rule: Rule) -> Matched:
    """Match the detections at all of the ascending thresholds, at most 64."""
    result = match(truth, found, thresholds, rule)
    instance = np.full((len(thresholds), len(found.start)), WRONG)
    for level, bit in enumerate(np.uint64(1) << np.arange(len(thresholds), dtype=np.uint64)):
        instance[level, (result.left_out & bit) > 0] = LEFT_OUT
        held = (result.held & bit) > 0
        instance[level, result.detection[held]] = result.instance[held]
    return Matched(truth, found, thresholds, rule, instance)


def right_precision(
    right: Flags, wrong: Flags, label: NDArray[np.int64], n_truth: NDArray[np.int64], weight: Array | float
) -> tuple[NDArray[np.int64], Array]:
    """Precision at each right detection, at one threshold.

    Args:
        right, wrong: bool ``(D,)``, best first within each class; what is neither is passed over.
        label: int64 ``(D,)``, ascending.
        n_truth: int64 ``(C,)``, what recall is measured against. weight: the N, float64 ``(C,)`` or one for all.

    Returns:
        rows int64 ``(R,)`` of the right detections, and their precision, float64 ``(R,)``.
    """
    rows = np.flatnonzero(right)
    mine = label[rows]
    nth = np.arange(len(rows)) - np.searchsorted(mine, mine) + 1
    passed = np.concatenate([[0], np.cumsum(wrong)])
    false = passed[rows] - passed[np.searchsorted(label, mine)]
    reached = nth / n_truth[mine] * np.broadcast_to(weight, n_truth.shape)[mine]
    return rows, reached / (reached + false)


def average_precision(
    right: Flags,
    wrong: Flags,
    label: NDArray[np.int64],
    n_truth: NDArray[np.int64],
    weight: Array | float,
    *,
    interpolated: bool = True,
) -> Array:
    """Area under each class's precision-recall curve, float64 ``(C,)``; NaN without truth.

    Arguments as `right_precision`. interpolated: precision at a recall is the best at that or any higher recall.
    """
    rows, precision = right_precision(right, wrong, label, n_truth, weight)
    mine = label[rows]
    if interpolated:
        for low, high in pairwise(np.searchsorted(mine, np.arange(len(n_truth) + 1)).tolist()):
            if high > low:
                precision[low:high] = np.maximum.accumulate(precision[low:high][::-1])[::-1]
    total = np.bincount(mine, precision, minlength=len(n_truth))
    return np.asarray(np.divide(total, n_truth, out=np.full(len(n_truth), np.nan), where=n_truth > 0))


class Means(NamedTuple):
    """mAP and mAP_N, averaged over the classes with truth and the thresholds; NaN without truth."""

    mean_ap: float
    normalised: float


def means(matched: Matched, right: Flags, wrong: Flags, label: NDArray[np.int64], n_truth: NDArray[np.int64]) -> Means:
    """Both means of the detections ``(K, D)`` that are right and wrong; their matching is ``matched``'s."""
    if not n_truth.any():
        return Means(float("nan"), float("nan"))
    of = [
        [
            average_precision(r, w, label, n_truth, weight, interpolated=matched.rule.interpolated)
            for r, w in zip(right, wrong, strict=True)
        ]
        for weight in (n_truth.astype(np.float64), matched.mean_per_class)
    ]
    return Means(*np.nanmean(of, axis=2).mean(axis=1).tolist())
