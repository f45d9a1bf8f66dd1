"""Predictions made from a truth: jittered instances, the same with wrong labels, and background; seeded."""

from __future__ import annotations

import numpy as np

from kloc.formats.predictions import PredictionTable
from kloc.records import Dataset
from kloc.seeds import generator


def made_predictions(truth: Dataset, per_video: int, seed: int = 0) -> PredictionTable:
    """``per_video`` detections in each annotated video: about half near an instance, the rest anywhere.

    A fifth of those near an instance have another class. Scores fall with the distance from the truth, with noise.
    """
    names = tuple(truth.classes)
    codes = {name: n for n, name in enumerate(names)}
    videos = tuple(sorted(truth.annotations))
    columns: list[list[np.ndarray]] = [[], [], [], [], []]
    for number, video_id in enumerate(videos):
        rng = generator(seed, "made predictions", video_id)
        video, instances = truth.videos[video_id], truth.annotations[video_id].instances
        near = rng.random(per_video) < (0.5 if instances else 0.0)
        start = rng.uniform(video.start, video.end, per_video)
        end = np.minimum(start + rng.exponential(0.2 * max(video.duration, 1.0), per_video) + 0.5, video.end + 1.0)
        label = rng.integers(len(names), size=per_video)
        score = rng.beta(1.5, 3.0, per_video)
        if instances:
            usual = rng.integers(len(instances), size=per_video)
            low, high, of = (np.array([getattr(i, f) for i in instances])[usual] for f in ("start", "end", "label"))
            spread = rng.choice([0.05, 0.2, 0.6], per_video) * (high - low)
            off = rng.normal(0, 1, (2, per_video)) * spread
            start = np.where(near, low + off[0], start)
            end = np.where(near, np.maximum(high + off[1], start + 0.1), end)
            right = np.array([codes[name] for name in of])
            label = np.where(near & (rng.random(per_video) < 0.8), right, label)
            closeness = np.exp(-np.abs(off).sum(axis=0) / np.maximum(high - low, 0.1))
            score = np.where(near, 0.5 * closeness + 0.5 * rng.random(per_video), score)
        # Most detectors stay inside the video; a few detections do not.
        inside = rng.random(per_video) < 0.99
        end = np.where(inside & (start < video.end), np.minimum(end, video.end), end)
        start = np.where(inside & (end > video.start), np.maximum(start, video.start), start)
        for column, values in zip(columns, (np.full(per_video, number), label, start, end, score), strict=True):
            column.append(values)
    video_of, label, start, end, score = (np.concatenate(column) for column in columns)
    return PredictionTable(videos, names, video_of.astype(np.int64), label.astype(np.int64), start, end, score)
