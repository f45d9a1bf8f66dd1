"""Videos with features that tell everything: one-hot of the class inside an instance, of the background outside."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from kloc.features.bank import VideoFeatures
from kloc.localizers import TrainingVideo
from kloc.proposals import make_generator
from kloc.records import Annotation, Exhaustive, Grid, Instance, Item

CLASSES = ("dive", "jump", "run")
STEP = 0.2
SLIDING = make_generator("sliding", scales_per_octave=2)

MakeVideo = Callable[..., TrainingVideo]


def build_video(
    number: int,
    *,
    label: str | None = None,
    spans: list[tuple[float, float]] | None = None,
    duration: float = 60.0,
    noise: float = 0.0,
    start: float = 0.0,
    exhaustive_for: Exhaustive = None,
) -> TrainingVideo:
    """A video of one class; without ``spans`` one to three instances of 4-16 s."""
    rng = np.random.default_rng(500 + number)
    label = label or CLASSES[number % len(CLASSES)]
    grid = Grid(start + STEP / 2, STEP, STEP, round(duration / STEP))
    if spans is None:
        spans, free = [], 0.0
        for _ in range(3):
            begin, length = free + rng.uniform(2, 12), rng.uniform(4, 16)
            if begin + length < duration:
                spans.append((begin, begin + length))
            free = begin + length
    features = rng.normal(scale=noise, size=(grid.count, 6)) if noise else np.zeros((grid.count, 6))
    features[:, 5] += 1.0
    for begin, end in spans:
        low, high = grid.index_range(start + begin, start + end)
        features[low:high, CLASSES.index(label)] += 1.0
        features[low:high, 5] -= 1.0
    name = f"v{number:03d}"
    video = VideoFeatures(name, features.astype(np.float32), grid, start, start + duration)
    instances = tuple(Instance(start + b, start + e, label) for b, e in spans)
    item = Item(name, start, start + duration)
    return TrainingVideo(video, SLIDING.propose(video), Annotation(item, instances, exhaustive_for))


@pytest.fixture(scope="session")
def make_video() -> MakeVideo:
    return build_video


@pytest.fixture(scope="session")
def perfect_videos() -> list[TrainingVideo]:
    return [build_video(n) for n in range(36)]


@pytest.fixture(scope="session")
def noisy_videos() -> list[TrainingVideo]:
    return [build_video(n, noise=0.3) for n in range(36)]
