"""Mean average precision of detections, by ActivityNet's definition."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kloc.errors import UsageError
from kloc.evaluation.matching import match, rule
from kloc.evaluation.tables import (
    DetectionTable,
    Duplicates,
    Ignored,
    TruthTable,
    detection_table,
    truth_table,
)
from kloc.formats.predictions import PredictionTable
from kloc.records import Dataset, Detection

if TYPE_CHECKING:
    import pandas as pd

#: ActivityNet's: 0.5, 0.55 ... 0.95.
THRESHOLDS: tuple[float, ...] = tuple(np.linspace(0.5, 0.95, 10).round(2).tolist())
#: THUMOS'14's: 0.3 ... 0.7.
THUMOS_THRESHOLDS: tuple[float, ...] = (0.3, 0.4, 0.5, 0.6, 0.7)


@dataclass(frozen=True)
class DetectionResult:
    """Average precision per threshold and class, and what went into it.

    thresholds: float64 ``(K,)``. classes: all ``C`` classes of the truth.
    average_precision: float64 ``(K, C)`` in [0, 1]; NaN for classes without truth, 0 for classes without detections.
    n_truth, n_detections: int64 ``(C,)``, what was judged. n_videos: annotated ones; n_silent: those of them that have
    instances and no detection that counts.
    """

    thresholds: NDArray[np.float64]
    classes: tuple[str, ...]
    average_precision: NDArray[np.float64]
    n_truth: NDArray[np.int64]
    n_detections: NDArray[np.int64]
    n_videos: int
    n_silent: int
    ignored: Ignored = field(default_factory=Ignored)
    matching: str = "activitynet"
    duplicates: str = "keep"

    @property
    def mean_ap(self) -> NDArray[np.float64]:
        """Mean over the classes that have truth, float64 ``(K,)``; NaN without any truth."""
        counted = self.average_precision[:, self.n_truth > 0]
        if not counted.shape[1]:
            return np.full(len(self.thresholds), np.nan)
        return np.asarray(counted.mean(axis=1))

    @property
    def average(self) -> float:
        """Mean of `mean_ap` over the thresholds: ActivityNet's ranking figure."""
        return float(self.mean_ap.mean())

    def __str__(self) -> str:
        with_truth = np.flatnonzero(self.n_truth)
        width = max([len("tIoU"), len("mean AP"), *(min(len(self.classes[c]), 32) for c in with_truth)])
        columns = [f"{threshold:6.2f}" for threshold in self.thresholds]
        lines = [
            f"mean AP (%) over {len(with_truth)} classes: {int(self.n_truth.sum()):,} instances in {self.n_videos:,} "
            f"videos, {int(self.n_detections.sum()):,} detections",
            f"{'tIoU':<{width}} {' '.join(columns)}  average",
        ]
        if len(with_truth) <= 20:
            lines += [_row(self.classes[c][:32], self.average_precision[:, c], width) for c in with_truth]
        lines.append(_row("mean AP", self.mean_ap, width))
        lines += self.remarks()
        return "\n".join(lines)

    def remarks(self) -> list[str]:
        """What was left out, and what of the truth nothing was detected for, as plain sentences."""
        without = int(((self.n_truth > 0) & (self.n_detections == 0)).sum())
        missing = {"videos": self.n_silent, "classes": without}
        said = " and ".join(f"{count:,} {what}" for what, count in missing.items() if count)
        lines = [f"no detection at all for {said} with instances"] if said else []
        if self.ignored != Ignored():
            lines.append(f"ignored detections: {self.ignored}")
        return lines

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary; NaN becomes ``None``."""
        return {
            "metric": "mean average precision",
            "matching": self.matching,
            "duplicates": self.duplicates,
            "thresholds": self.thresholds.tolist(),
            "average": _plain(self.average),
            "mean_ap": [_plain(value) for value in self.mean_ap.tolist()],
            "videos": self.n_videos,
            "videos_without_detections": self.n_silent,
            "classes": {
                name: {
                    "instances": int(self.n_truth[c]),
                    "detections": int(self.n_detections[c]),
                    "average_precision": [_plain(value) for value in self.average_precision[:, c].tolist()],
                }
                for c, name in enumerate(self.classes)
            },
            "ignored": self.ignored.to_json(),
        }

    def to_pandas(self) -> pd.DataFrame:
        """One row per class: average precision per threshold, their mean, instances, detections."""
        import pandas as pd

        frame = pd.DataFrame(
            self.average_precision.T,
            index=pd.Index(self.classes, name="class"),
            columns=[f"AP@{threshold:.2f}" for threshold in self.thresholds],
        )
        frame["average"] = self.average_precision.mean(axis=0)
        frame["instances"] = self.n_truth
        frame["detections"] = self.n_detections
        return frame


def mean_average_precision(
    truth: Dataset,
    detections: Mapping[str, Sequence[Detection]] | PredictionTable,
    thresholds: ArrayLike = THRESHOLDS,
    *,
    matching: str = "activitynet",
    duplicates: Duplicates = "keep",
) -> DetectionResult:
    """Mean average precision, by ActivityNet's official definition or by THUMOS'14's.

    Per class, detections are ranked by score (ties: video id, then start, then end) and matched to the instances of
    their video; average precision is the area under the precision-recall curve, interpolated by ActivityNet's
    definition and as it is by THUMOS'14's; the mean goes over the classes that have truth.

    Left out and counted, neither right nor wrong: detections of unknown classes, in videos without annotation, of
    classes that nobody was asked about in a video, and outside the stretch that was annotated. Instances of a class
    called "Ambiguous" are no truth.

    Args:
        truth: every video with an annotation counts, also one without instances.
        detections: by video id, in any order; or a table, for many.
        thresholds: of tIoU; at most 64. ActivityNet's is reached (with a slack of 1e-9), THUMOS'14's exceeded.
        matching: the matching rule. "activitynet": each detection, best first, takes the free instance of largest tIoU.
            "thumos": each instance, in the order of the annotation, takes the free detection of largest tIoU;
            detections that touch an ambiguous instance and take none are left out.
        duplicates: "keep" near-duplicate instances as the official evaluations, or "drop" those within 1 ms of another.

    Example:
        >>> from kloc.records import Annotation, Dataset, Detection, Instance, Video
        >>> video = Video("a", 0.0, 60.0)
        >>> truth = Dataset(("Dive",), {"a": video}, {"a": Annotation(video.item, (Instance(10.0, 20.0, "Dive"),))})
        >>> print(mean_average_precision(truth, {"a": [Detection(10.0, 18.0, "Dive", 0.9)]}, [0.5, 0.75, 0.9]))
        mean AP (%) over 1 classes: 1 instances in 1 videos, 1 detections
        tIoU      0.50   0.75   0.90  average
        Dive    100.00 100.00   0.00    66.67
        mean AP 100.00 100.00   0.00    66.67

    Raises:
        UsageError: thresholds outside (0, 1] or more than 64, an unknown rule.
        FormatError: an instance of a class the dataset does not have, or a detection that is not finite.
    """
    table = truth_table(truth, duplicates)
    found, ignored = detection_table(table, detections)
    if not len(table.label):
        warnings.warn(f"dataset {truth.name!r} has no instance to judge detections by", RuntimeWarning, stacklevel=2)
    return judge(table, found, thresholds, ignored=ignored, matching=matching, duplicates=duplicates)


def judge(
    table: TruthTable,
    found: DetectionTable,
    thresholds: ArrayLike = THRESHOLDS,
    *,
    ignored: Ignored | None = None,
    matching: str = "activitynet",
    duplicates: Duplicates = "keep",
) -> DetectionResult:
    """`mean_average_precision` of truth and detections that are tables already.

    Raises:
        UsageError: thresholds outside (0, 1] or more than 64, an unknown rule.
    """
    chosen = rule(matching)
    asked = np.atleast_1d(np.asarray(thresholds, np.float64))
    if asked.ndim != 1 or not 0 < len(asked) <= 64 or not np.all((asked > 0) & (asked <= 1)):
        raise UsageError("tIoU thresholds must be 1 to 64 numbers in (0, 1]")
    order = np.argsort(asked)
    result = match(table, found, asked[order], chosen)
    shifts = np.arange(len(asked), dtype=np.uint64)[:, None]
    n_truth = table.per_class()
    bounds = np.searchsorted(found.label, np.arange(len(table.classes) + 1))
    precision = np.full((len(asked), len(table.classes)), np.nan)
    for c in np.flatnonzero(n_truth):
        rows = slice(bounds[c], bounds[c + 1])
        correct = ((result.right[rows] >> shifts) & np.uint64(1)).astype(np.bool_)
        counted = ((result.left_out[rows] >> shifts) & np.uint64(1)) == 0
        precision[order, c] = average_precision(correct, counted, int(n_truth[c]), interpolated=chosen.interpolated)
    return DetectionResult(
        asked,
        table.classes,
        precision,
        n_truth,
        np.diff(bounds),
        len(table.videos),
        len(np.setdiff1d(table.video, found.video)),
        replace(ignored or Ignored(), ambiguous=int((result.left_out > 0).sum())),
        matching,
        duplicates,
    )


def average_precision(
    correct: NDArray[np.bool_], counted: NDArray[np.bool_], n_truth: int, *, interpolated: bool = True
) -> NDArray[np.float64]:
    """Area under the precision-recall curve of each row.

    Args:
        correct: bool ``(K, D)``, detections best first.
        counted: bool ``(K, D)``, false where a detection is neither right nor wrong.
        n_truth: instances there are.
        interpolated: precision at a recall is the best precision at that or any higher recall.

    Returns:
        float64 ``(K,)``.
    """
    if not correct.shape[1]:
        return np.zeros(len(correct))
    precision = np.cumsum(correct, axis=1) / np.maximum(np.cumsum(counted, axis=1), 1)
    if interpolated:
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # Recall grows by 1 / n_truth at every right detection and nowhere else.
    return np.asarray(np.where(correct, precision, 0.0).sum(axis=1) / n_truth)


def _row(name: str, values: NDArray[np.float64], width: int) -> str:
    return f"{name:<{width}} {' '.join(f'{100 * value:6.2f}' for value in values)}  {100 * values.mean():7.2f}"


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
