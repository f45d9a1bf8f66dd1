"""Small made-up videos whose features show where something happens."""

from __future__ import annotations

import numpy as np
import pytest

from kloc.features.bank import VideoFeatures
from kloc.records import Annotation, Grid, Instance, Item


def made_up_video(
    number: int, duration: float = 60.0, dim: int = 16, noise: float = 0.3, start: float = 0.0
) -> tuple[VideoFeatures, Annotation]:
    """One to three instances of 3-20 s; a fixed direction of the features is on inside them."""
    rng = np.random.default_rng(1000 + number)
    step = 0.2
    grid = Grid(start + step / 2, step, step, round(duration / step))
    features = rng.normal(scale=noise, size=(grid.count, dim))
    instances, free = [], start
    for _ in range(int(rng.integers(1, 4))):
        length = rng.uniform(3, 20)
        begin = free + rng.uniform(1, 10)
        if begin + length > start + duration:
            break
        instances.append(Instance(begin, begin + length, "act"))
        low, high = grid.index_range(begin, begin + length)
        features[low:high, 0] += 2.0
        free = begin + length + 1
    name = f"v{number:03d}"
    video = VideoFeatures(name, features.astype(np.float32), grid, start, start + duration)
    return video, Annotation(Item(name, start, start + duration), tuple(instances))


@pytest.fixture(scope="session")
def made_up_videos() -> list[tuple[VideoFeatures, Annotation]]:
    return [made_up_video(n) for n in range(24)]
