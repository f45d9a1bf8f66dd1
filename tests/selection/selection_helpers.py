"""Strategies with known scores and sources with known predictions, shared by the tests of this folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from kloc.localizers.predictions import PredictionReader, PredictionWriter
from kloc.records import Annotation, Instance, Item, Level, Prediction
from kloc.selection import Context, Scores


class Known:
    """A strategy whose scores are known beforehand, by video id."""

    name: ClassVar[str] = "known"
    heads: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, value: Mapping[str, float], group: Mapping[str, int] | None = None) -> None:
        self.value, self.group = value, group
        self.log: list[int] = []

    def score(self, items, context) -> Scores:
        value = np.array([self.value[item.video_id] for item in items], np.float64)
        return Scores(value, None if self.group is None else np.array([self.group[i.video_id] for i in items]))

    def reason(self, index: int, score: float) -> str:
        return f"scored {score:g}"

    def picked(self, index: int) -> None:
        self.log.append(index)


def pooled_of(features: Mapping[str, Sequence[float]]):
    """`Context.pooled` from features by video id; zeros where there are none."""
    width = len(next(iter(features.values())))

    def pooled(items):
        return np.array([features.get(item.video_id, np.zeros(width)) for item in items], np.float32).reshape(-1, width)

    return pooled


def annotated(**labels: Sequence[str]) -> dict[str, Annotation]:
    """Annotations by video id: one instance per label."""
    return {
        video_id: Annotation(
            Item(video_id, 0.0, 60.0), tuple(Instance(float(i), i + 1.0, label) for i, label in enumerate(found)), None
        )
        for video_id, found in labels.items()
    }


def with_levels(folder, classes, levels: Mapping[str, np.ndarray], background: int | None = None) -> PredictionReader:
    """Predictions on disk with one level of class scores ``(T, C)`` per video."""
    with PredictionWriter(folder, classes, "softmax") as writer:
        for video_id, scores in levels.items():
            level = Level("top", np.asarray(scores, np.float32), background)
            x = np.full(2, 0.5, np.float32)
            writer.write(Prediction(video_id, np.zeros((2, 2)), x, (level,), "softmax", tuple(classes)))
    return PredictionReader(folder)


def ids(items: Sequence[Item]) -> list[str]:
    return [item.video_id for item in items]


def plain(items: Sequence[Item]) -> Known:
    """Every item scores by its place in the alphabet: different scores, the last one best."""
    return Known({v: float(i) for i, v in enumerate(sorted(ids(items)))})


__all__ = ["Context", "Known", "annotated", "ids", "plain", "pooled_of", "with_levels"]
