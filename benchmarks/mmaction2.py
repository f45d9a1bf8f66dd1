"""mmaction2's evaluator, the fastest of those that are known, loaded by path: its package's import needs mmcv.

``KLOC_MMACTION2`` names a folder outside the repository that holds it and what its two files import::

    pip install --no-deps --target FOLDER mmaction2==1.2.0 mmengine addict yapf termcolor pyyaml platformdirs
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kloc.files import write_json
from kloc.formats.predictions import PredictionTable
from kloc.records import Dataset

FOLDER = "KLOC_MMACTION2"
_NAME = "mmaction2_functional"


class Evaluator(NamedTuple):
    """Its modules ``eval_detection`` (mAP) and ``accuracy`` (average recall)."""

    detection: ModuleType
    accuracy: ModuleType


def evaluator() -> Evaluator | None:
    """The evaluator as it was published, or ``None`` where it is not there."""
    folder = os.environ.get(FOLDER)
    if not folder or not (Path(folder) / "mmaction").is_dir():
        return None
    # Behind everything else: what is installed here stays what is used.
    sys.path.append(folder)
    spec = importlib.util.spec_from_loader(_NAME, None, is_package=True)
    assert spec is not None
    package = importlib.util.module_from_spec(spec)
    package.__path__ = [str(Path(folder) / "mmaction" / "evaluation" / "functional")]
    sys.modules[_NAME] = package
    if not hasattr(np, "trapz"):
        np.trapz = np.trapezoid  # type: ignore[attr-defined] # the name that numpy 2.4 has dropped, which it calls
    return Evaluator(importlib.import_module(f"{_NAME}.eval_detection"), importlib.import_module(f"{_NAME}.accuracy"))


def write_truth(path: Path, truth: Dataset) -> None:
    """Ground truth in its own schema; it cuts two characters off every id (``v_``)."""
    rows = {
        f"v_{video_id}": {
            "annotations": [{"label": i.label, "segment": [i.start, i.end]} for i in annotation.instances]
        }
        for video_id, annotation in truth.annotations.items()
    }
    write_json(path, rows)


def recall_input(
    truth: Dataset, found: PredictionTable
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
    """Instances ``(n, 2)`` and proposals ``(m, 3)`` of every video with instances."""
    instances = {
        video_id: np.array([(i.start, i.end) for i in annotation.instances])
        for video_id, annotation in truth.annotations.items()
        if annotation.instances
    }
    columns = np.stack([found.start, found.end, found.score], axis=1)
    order = np.argsort(found.video, kind="stable")
    bounds = np.searchsorted(found.video[order], np.arange(len(found.videos) + 1))
    proposals = {name: columns[order[bounds[i] : bounds[i + 1]]] for i, name in enumerate(found.videos)}
    return instances, {name: proposals.get(name, np.zeros((0, 3))) for name in instances}


def recall(theirs: Evaluator, given: tuple[dict[str, Any], dict[str, Any]]) -> tuple[NDArray[np.float64], float]:
    """Recall ``(100, K)`` at 1 to 100 proposals on average, and the area under average recall in [0, 1]."""
    instances, proposals = given
    total = sum(map(len, proposals.values()))
    found, _, _, area = theirs.accuracy.average_recall_at_avg_proposals(
        instances, proposals, total, max_avg_proposals=100
    )
    return found.T, area / 100
