"""Average recall of proposals: how much of the truth a number of proposals per video reaches."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kloc.errors import UsageError
from kloc.evaluation.detection import THRESHOLDS
from kloc.evaluation.matching import Spans, overlapping
from kloc.evaluation.tables import Duplicates, TruthTable, truth_table
from kloc.formats.predictions import PredictionTable
from kloc.records import Dataset
from kloc.segments import SLACK

#: The numbers of proposals that ActivityNet's AUC goes over.
AUC_COUNTS: tuple[int, ...] = tuple(range(1, 101))
#: "each": so many of every video. "average": ActivityNet's, so many on average, each video a share of what it has.
Budget = Literal["each", "average"]
_SHOWN = (1, 5, 10, 50, 100)
_NEVER = np.iinfo(np.int64).max


class RankedSegments(Protocol):
    """Anything with segments float64 ``(N, 2)`` and a confidence ``(N,)`` each, e.g. a video's proposals."""

    @property
    def segments(self) -> NDArray[np.float64]: ...

    @property
    def confidence(self) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class RecallResult:
    """counts: int64 ``(M,)`` proposals per video; thresholds: float64 ``(K,)``; recall: float64 ``(M, K)``."""

    counts: NDArray[np.int64]
    thresholds: NDArray[np.float64]
    recall: NDArray[np.float64]
    n_truth: int
    n_videos: int
    budget: Budget = "each"

    @property
    def average_recall(self) -> NDArray[np.float64]:
        """Mean over the thresholds, float64 ``(M,)``: AR@N."""
        return np.asarray(self.recall.mean(axis=1))

    @property
    def auc(self) -> float:
        """Area under average recall over the numbers of proposals, divided by the largest; NaN of a single one.

        ActivityNet's figure where the numbers are ``AUC_COUNTS`` (it prints 100 times that).
        """
        if len(self.counts) < 2:
            return float("nan")
        order = np.argsort(self.counts)
        return float(np.trapezoid(self.average_recall[order], self.counts[order]) / self.counts.max())

    def __str__(self) -> str:
        shown = list(range(len(self.counts)))
        if len(shown) > 10:
            shown = [i for i in shown if self.counts[i] in _SHOWN] or shown[:: len(shown) // 5]
        lines = [f"average recall (%): {self.n_truth:,} instances in {self.n_videos:,} videos", "proposals  recall"]
        lines += [f"{self.counts[i]:9d} {100 * self.average_recall[i]:7.2f}" for i in shown]
        if len(self.counts) > 1:
            lines.append(f"area under it, {self.counts.min()} to {self.counts.max()}: {100 * self.auc:.2f}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary; NaN becomes ``None``."""
        plain = [[None if np.isnan(value) else value for value in row] for row in self.recall.tolist()]
        average = [None if np.isnan(value) else value for value in self.average_recall.tolist()]
        return {
            "metric": "average recall",
            "budget": self.budget,
            "counts": self.counts.tolist(),
            "thresholds": self.thresholds.tolist(),
            "average_recall": average,
            "auc": None if np.isnan(self.auc) else self.auc,
            "recall": plain,
            "instances": self.n_truth,
            "videos": self.n_videos,
        }


def average_recall(
    truth: Dataset,
    proposals: Mapping[str, RankedSegments] | PredictionTable,
    counts: Sequence[int] = (1, 5, 10, 50, 100),
    thresholds: ArrayLike = THRESHOLDS,
    *,
    duplicates: Duplicates = "keep",
    budget: Budget = "each",
) -> RecallResult:
    """Share of instances that some of a video's most confident proposals reach, whatever their class.

    Ties of confidence are broken by earlier start, then shorter. A video without proposals reaches nothing. One
    proposal may reach several instances, as in ActivityNet's proposal task.

    Args:
        truth: every video with an annotation counts.
        proposals: by video id, or a table, whose classes are passed over.
        counts: numbers of proposals per video.
        thresholds: of tIoU, reached with a slack of 1e-9.
        duplicates: as in `mean_average_precision`.
        budget: "each": the first N of every video. "average": the official ActivityNet definition, N on average over
            the videos with instances: each gives the same share of its proposals, rounded down.

    Raises:
        UsageError: counts below 1, thresholds outside (0, 1], an unknown budget.
        FormatError: an instance of a class the dataset does not have.
    """
    numbers = np.asarray(counts, np.int64)
    levels = np.atleast_1d(np.asarray(thresholds, np.float64))
    if numbers.ndim != 1 or not len(numbers) or numbers.min() < 1:
        raise UsageError("average recall needs numbers of proposals, each at least 1")
    if not len(levels) or not np.all((levels > 0) & (levels <= 1)):
        raise UsageError("tIoU thresholds must lie in (0, 1]")
    if budget not in ("each", "average"):
        raise UsageError(f"budget must be 'each' or 'average', not {budget!r}")
    table = truth_table(truth, duplicates)
    found = _ranked(table, proposals)
    size = np.bincount(found.group, minlength=len(table.videos))
    shares = numbers[:, None] if budget == "each" else _shares(numbers, size, np.unique(table.video))
    place = _first_places(table, found, size, levels)
    total = len(table.start)
    if not total:
        warnings.warn(f"dataset {truth.name!r} has no instance to reach", RuntimeWarning, stacklevel=2)
        recall = np.full((len(numbers), len(levels)), np.nan)
    else:
        # An instance is reached where what its video may show holds a proposal that reaches it.
        allowed = np.broadcast_to(shares, (len(numbers), len(table.videos)))
        recall = np.stack([(place < most[table.video]).mean(axis=1) for most in allowed])
    return RecallResult(numbers, levels, recall, total, len(table.videos), budget)


def _ranked(table: TruthTable, proposals: Mapping[str, RankedSegments] | PredictionTable) -> Spans:
    """Proposals in annotated videos, by video, best first."""
    number = {video_id: index for index, video_id in enumerate(table.videos)}
    if isinstance(proposals, PredictionTable):
        video = np.array([number.get(name, -1) for name in proposals.videos], np.int64)[proposals.video]
        start, end, score = proposals.start, proposals.end, proposals.score
    else:
        there = [(index, proposals[name]) for name, index in number.items() if name in proposals]
        video = np.repeat([index for index, _ in there], [len(one.segments) for _, one in there]).astype(np.int64)
        segments = np.concatenate([np.zeros((0, 2)), *(one.segments for _, one in there)])
        start, end = segments[:, 0], segments[:, 1]
        score = np.concatenate([np.zeros(0), *(one.confidence for _, one in there)])
    rows = np.flatnonzero(video >= 0)
    rows = rows[np.lexsort((end[rows] - start[rows], start[rows], -score[rows], video[rows]))]
    return Spans(video[rows], start[rows], end[rows])


def _shares(numbers: NDArray[np.int64], size: NDArray[np.int64], counted: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many proposals each video may show, int64 ``(M, V)``, where ``numbers`` are averages over ``counted``."""
    most = float(numbers.max()) * len(counted)
    kept = np.minimum((size * (most / max(size[counted].sum(), 1))).astype(np.int64), size)
    # In the order of the official code: what is rounded down must be the same number.
    share = numbers / float(numbers.max()) * (most / max(kept[counted].sum(), 1))
    return np.asarray(np.minimum((kept * share[:, None]).astype(np.int64), kept))


def _first_places(
    table: TruthTable, found: Spans, size: NDArray[np.int64], levels: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Place in its video, from 0, of the first proposal that reaches each instance, int64 ``(K, G)``."""
    order = np.argsort(levels)
    row, instance, _, level = overlapping(found, Spans(table.video, table.start, table.end), levels[order] - SLACK)
    place = row - (np.cumsum(size) - size)[found.group[row]]
    first = np.full((len(levels), len(table.start)), _NEVER)
    for k, original in enumerate(order.tolist()):
        some = level > k
        np.minimum.at(first[original], instance[some], place[some])
    return first
