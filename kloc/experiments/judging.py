"""How good a model is, from packed arrays: detection mAP on Testing, class-agnostic mAP for LAL's target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kloc.errors import UsageError
from kloc.evaluation.detection import THRESHOLDS, DetectionResult, judge
from kloc.evaluation.tables import TruthTable, judged_table, truth_table
from kloc.experiments.lab import Lab
from kloc.localizers.stagewise.classifier import Classifier, best_proposals
from kloc.localizers.stagewise.settings import StageWiseSettings
from kloc.localizers.stagewise.table import EncodedTable, place_in_group
from kloc.records import Annotation, Dataset

Indices = NDArray[np.int64]


def truth_of(
    lab: Lab, videos: Indices, classes: tuple[str, ...], annotations: tuple[Annotation, ...] | None = None
) -> TruthTable:
    """The truth of some videos, which are numbered as in ``videos`` (ascending)."""
    said = annotations or lab.annotations
    chosen = {lab.videos[i].id: i for i in videos.tolist()}
    table = truth_table(
        Dataset(classes, {v: lab.videos[i] for v, i in chosen.items()}, {v: said[i] for v, i in chosen.items()})
    )
    assert table.videos == tuple(chosen), "a lab's videos are sorted by id"
    return table


@dataclass(frozen=True)
class Judge:
    """Detection mAP of the stage-wise localizer on some videos, equal to predicting and evaluating one by one.

    videos: ascending indices into the lab's table; truth: theirs.
    """

    table: EncodedTable
    videos: Indices
    truth: TruthTable
    classes: tuple[str, ...]
    settings: StageWiseSettings

    @classmethod
    def of(cls, lab: Lab, videos: Indices, classes: tuple[str, ...]) -> Judge:
        """A judge by the truth of ``videos`` about ``classes``.

        Raises UsageError for a lab whose localizer scores or thins out its detections in another way.
        """
        if lab.settings.score != "product" or lab.settings.nms_tiou is not None:
            raise UsageError(
                'simulated localizers score detections by the product and without NMS; set score = "product" and '
                "nms_tiou = None"
            )
        return cls(lab.table, videos, truth_of(lab, videos, classes), lab.classes, lab.settings)

    def __call__(self, actionness: NDArray[np.float32], classifier: Classifier) -> DetectionResult:
        """``actionness``: of ``table.rows(videos)``. Scores are products of actionness and class probability."""
        table, settings = self.table, self.settings
        rows = table.rows(self.videos)
        top = best_proposals(table, actionness, self.videos, settings.top_k)
        by_row = np.zeros(int(table.offsets[-1]), np.float32)
        by_row[rows] = actionness
        shown = classifier.probabilities(table.encoded[top])[:, int(classifier.background) :]
        values = by_row[top].astype(np.float64)[:, None] * shown.astype(np.float64)
        video = np.searchsorted(self.videos, table.owner[top])
        place, label = np.nonzero(values >= np.maximum(self._lowest(values, video), settings.min_score)[:, None])
        score, row, video = values[place, label], top[place], video[place]
        start, end = table.segments[row, 0], table.segments[row, 1]
        order = np.lexsort((label, end, start, -score, video))
        kept = order[place_in_group(video[order]) < settings.max_detections]
        number = np.array([self.truth.classes.index(c) if c in self.truth.classes else -1 for c in self.classes])
        found, ignored = judged_table(self.truth, video[kept], number[label[kept]], start[kept], end[kept], score[kept])
        return judge(self.truth, found, THRESHOLDS, ignored=ignored)

    def _lowest(self, values: NDArray[np.float64], video: Indices) -> NDArray[np.float64]:
        """For each row the score below which its video's detections are too many: sorting all of them takes longest."""
        k, limit = self.settings.top_k, self.settings.max_detections
        if k * values.shape[1] <= limit:
            return np.zeros(len(values))
        dense = np.zeros((len(self.videos), k, values.shape[1]), np.float32)
        dense[video, place_in_group(video)] = values
        flat = dense.reshape(len(dense), -1)
        lowest = np.partition(flat, flat.shape[1] - limit, axis=1)[:, flat.shape[1] - limit]
        # float32 decides what is surely out; the exact order is found among the rest.
        return np.asarray(lowest[video] * (1 - 1e-6), np.float64)


@dataclass(frozen=True)
class AgnosticJudge:
    """Class-agnostic detection mAP of attention alone: LAL's target (P2, section 3.3).

    A video's top-k proposals are its detections, its instances one class. Which proposals reach which instances
    never changes, so that is worked out once.
    """

    table: EncodedTable
    videos: Indices
    truth: TruthTable
    top_k: int

    @classmethod
    def of(cls, lab: Lab, videos: Indices) -> AgnosticJudge:
        """A judge by the instances of ``videos``, whatever their class."""
        full = truth_of(lab, videos, lab.classes)
        one = TruthTable(
            ("action",), full.videos, full.video, np.zeros_like(full.label), full.start, full.end,
            np.ones((1, 1), np.bool_), np.zeros(len(full.videos), np.int64), full.span,
        )  # fmt: skip
        return cls(lab.table, videos, one, lab.settings.top_k)

    def average_precision(self, scores: NDArray[np.floating]) -> float:
        """Average over tIoU .5:.05:.95 of the AP of ``scores``, one for each of ``table.rows(videos)``."""
        rows = self.table.rows(self.videos)
        top = best_proposals(self.table, scores, self.videos, self.top_k)
        by_row = np.zeros(int(self.table.offsets[-1]), np.float64)
        by_row[rows] = scores
        video = np.searchsorted(self.videos, self.table.owner[top])
        segments = self.table.segments[top]
        found, _ = judged_table(
            self.truth, video, np.zeros(len(top), np.int64), segments[:, 0], segments[:, 1], by_row[top]
        )
        return judge(self.truth, found, THRESHOLDS).average

    def ranking_precision(self, scores: NDArray[np.floating]) -> float:
        """Average precision of the scores of all proposals, right where they match an instance: a smooth target."""
        rows = self.table.rows(self.videos)
        right = self.table.usable[rows] & (self.table.best[rows] > 0.7 + 1e-9)
        order = np.lexsort((rows, -np.asarray(scores, np.float64)))
        hits = right[order]
        if not hits.any():
            return 0.0
        precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
        return float(precision[hits].mean())
