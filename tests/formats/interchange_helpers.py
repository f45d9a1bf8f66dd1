"""Opens exports with the tools they are for; a test whose tool is absent skips, saying where it was looked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.interchange import HALF_A_STEP, AbsentError, Opened, compare, export, make_dataset, open_with
from kloc.records import Annotation, Dataset, Instance, Video


def opened(tool: str, folder: Path, dataset: Dataset | None = None) -> Opened:
    """What the tool sees of an export; nothing may be missing, and no boundary off by more than half a step."""
    dataset = make_dataset(12, 5) if dataset is None else dataset
    path = export(dataset, tool, folder)
    try:
        version, seen = open_with(tool, path)
    except AbsentError as error:
        pytest.skip(str(error))
    result = compare(dataset, version, seen, HALF_A_STEP[tool])
    assert not result.wrong
    assert result.instances == sum(len(a.instances) for a in dataset.annotations.values()) > 0
    assert result.error_ms <= HALF_A_STEP[tool]
    return result


def one_video(*instances: Instance, start: float = 0.0, end: float = 10.0, **more: Any) -> Dataset:
    """A dataset of one annotated video ``v``."""
    video = Video("v", start, end, labels=tuple(sorted({i.label for i in instances})), **more)
    classes = ("jump", "run")
    return Dataset(classes, {"v": video}, {"v": Annotation(video.item, tuple(sorted(instances)))}, "one")
