"""Predictions that look like a model's, for measures and tests: half lie near instances, all scores differ."""

from __future__ import annotations

import numpy as np

from kloc.evaluation.matching import paired_tiou
from kloc.formats.predictions import PredictionTable
from kloc.records import Dataset
from kloc.seeds import generator


def generated(truth: Dataset, per_video: int, seed: int) -> PredictionTable:
    """``per_video`` predictions for every annotated video of ``truth``.

    Half are instances whose ends are off by a quarter of their length (standard deviation). The others lie anywhere,
    seven in ten of a class that occurs in the video. A score is half the tIoU with the instance and half chance.
    """
    rng = generator(seed, "predictions", truth.name)
    number = {name: index for index, name in enumerate(truth.classes)}
    videos = tuple(sorted(truth.annotations))
    columns: list[list[np.ndarray]] = [[], [], [], []]
    for video_id in videos:
        instances = truth.annotations[video_id].instances
        near = per_video // 2 if instances else 0
        far = per_video - near
        pick = rng.integers(0, max(len(instances), 1), near)
        spans = np.array([(i.start, i.end) for i in instances]).reshape(-1, 2)[pick]
        own = np.array([number[i.label] for i in instances] or [int(rng.integers(len(number)))])
        length = spans[:, 1] - spans[:, 0]
        moved = spans + rng.normal(0, 0.25, (near, 2)) * length[:, None]
        moved[:, 1] = np.maximum(moved[:, 1], moved[:, 0] + 0.1)
        duration = max(truth.videos[video_id].duration, 1.0)
        start = np.concatenate([moved[:, 0], rng.uniform(0, duration, far)])
        end = np.concatenate([moved[:, 1], start[near:] + 0.1 + rng.exponential(duration / 10, far)])
        quality = np.append(paired_tiou(*spans.T, *moved.T), np.zeros(far)) + rng.random(per_video)
        anything = rng.integers(0, len(number), far)
        known = np.where(rng.random(far) < 0.7, own[rng.integers(0, len(own), far)], anything)
        label = np.concatenate([own[pick], known]) if near else known
        for column, values in zip(columns, (label, start, end, quality), strict=True):
            column.append(values)
    label, start, end, quality = (np.concatenate(column) for column in columns)
    video = np.repeat(np.arange(len(videos)), per_video)
    place = np.argsort(np.argsort(quality)) + 1  # all scores differ
    return PredictionTable(videos, truth.classes, video, label.astype(np.int64), start, end, place / len(place))
