"""Pools with predictions on disk."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # selection_helpers

from kloc.localizers.predictions import PredictionReader, PredictionWriter
from kloc.records import Item, Prediction


@pytest.fixture(scope="session")
def predicted(tmp_path_factory) -> Callable[[Mapping[str, object]], PredictionReader]:
    """Writes actionness per video id, for real, and opens it."""

    def make(actionness: Mapping[str, object]) -> PredictionReader:
        folder: Path = tmp_path_factory.mktemp("predictions") / "p"
        with PredictionWriter(folder, ("a",), "softmax") as writer:
            for video_id, values in actionness.items():
                x = np.asarray(values, np.float32).reshape(-1)
                writer.write(Prediction(video_id, np.zeros((len(x), 2)), x, (), "softmax", ("a",)))
        return PredictionReader(folder)

    return make


@pytest.fixture(scope="session")
def pool() -> Callable[[int], list[Item]]:
    return lambda n: [Item(f"v{i:04d}", 0.0, 10.0 + i) for i in range(n)]
