"""Average recall of proposals: how much of the truth the first N proposals of a video reach."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kloc.errors import UsageError
from kloc.evaluation.detection import THRESHOLDS
from kloc.evaluation.tables import Duplicates, truth_table
from kloc.records import Dataset
from kloc.segments import SLACK, pairwise_tiou, rank


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

    @property
    def average_recall(self) -> NDArray[np.float64]:
        """Mean over the thresholds, float64 ``(M,)``: AR@N."""
        return np.asarray(self.recall.mean(axis=1))

    def __str__(self) -> str:
        lines = [f"average recall (%): {self.n_truth} instances in {self.n_videos} videos", "proposals  recall"]
        pairs = zip(self.counts.tolist(), self.average_recall.tolist(), strict=True)
        return "\n".join([*lines, *(f"{count:9d} {100 * value:7.2f}" for count, value in pairs)])

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary; NaN becomes ``None``."""
        plain = [[None if np.isnan(value) else value for value in row] for row in self.recall.tolist()]
        average = [None if np.isnan(value) else value for value in self.average_recall.tolist()]
        return {
            "metric": "average recall",
            "counts": self.counts.tolist(),
            "thresholds": self.thresholds.tolist(),
            "average_recall": average,
            "recall": plain,
            "instances": self.n_truth,
            "videos": self.n_videos,
        }


def average_recall(
    truth: Dataset,
    proposals: Mapping[str, RankedSegments],
    counts: Sequence[int] = (1, 5, 10, 50, 100),
    thresholds: ArrayLike = THRESHOLDS,
    *,
    duplicates: Duplicates = "keep",
) -> RecallResult:
    """Share of instances that one of a video's ``N`` most confident proposals reaches, whatever their class.

    Ties of confidence are broken by earlier start, then shorter. A video without proposals reaches nothing. One
    proposal may reach several instances, as in ActivityNet's proposal task.

    Raises:
        UsageError: counts below 1, thresholds outside (0, 1].
        FormatError: an instance of a class the dataset does not have.
    """
    numbers = np.asarray(counts, np.int64)
    levels = np.atleast_1d(np.asarray(thresholds, np.float64))
    if numbers.ndim != 1 or not len(numbers) or numbers.min() < 1:
        raise UsageError("average recall needs numbers of proposals, each at least 1")
    if not len(levels) or not np.all((levels > 0) & (levels <= 1)):
        raise UsageError("tIoU thresholds must lie in (0, 1]")
    table = truth_table(truth, duplicates)
    reached = np.zeros((len(numbers), len(levels)), np.int64)
    bounds = np.searchsorted(table.video, np.arange(len(table.videos) + 1))
    for number, video_id in enumerate(table.videos):
        rows = slice(bounds[number], bounds[number + 1])
        found = proposals.get(video_id)
        if found is None or not len(found.segments) or rows.start == rows.stop:
            continue
        best = rank(found.segments, found.confidence)[: int(numbers.max())]
        instances = np.stack([table.start[rows], table.end[rows]], axis=1)
        # Row n: the largest tIoU of each instance with the first n + 1 proposals.
        largest = np.maximum.accumulate(pairwise_tiou(found.segments[best], instances), axis=0)
        at = largest[np.minimum(numbers, len(best)) - 1]
        reached += (at[:, :, None] >= levels - SLACK).sum(axis=1)
    total = len(table.start)
    if not total:
        warnings.warn(f"dataset {truth.name!r} has no instance to reach", RuntimeWarning, stacklevel=2)
    recall = reached / total if total else np.full(reached.shape, np.nan)
    return RecallResult(numbers, levels, recall, total, len(table.videos))
