"""What `kloc evaluate` says about what it could not judge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kloc.errors import UsageError
from kloc.pipeline.evaluating import Wanted, evaluate_files

DIVE = {"label": "dive", "segment": [1, 5]}
VIDEO = {"subset": "validation", "duration": 9}


def _write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_a_video_without_detections_is_no_loss(tmp_path: Path) -> None:
    database = {"a": {**VIDEO, "annotations": [DIVE]}, "b": {**VIDEO, "subset": "testing", "annotations": []}}
    truth = _write(tmp_path / "truth.json", {"database": database})
    results = {"a": [{**DIVE, "score": 0.5}], "b": [], "stranger": []}
    found = evaluate_files(truth, _write(tmp_path / "p.json", {"results": results}), Wanted())
    assert found.problems == ()


def test_another_subset_is_advised_only_where_one_helps(tmp_path: Path) -> None:
    predictions = _write(tmp_path / "p.json", {"results": {"a": [{**DIVE, "score": 0.5}]}})
    empty = {"a": {**VIDEO, "annotations": []}}
    with pytest.raises(UsageError, match=r"no instance to judge by$"):
        evaluate_files(_write(tmp_path / "truth.json", {"database": empty}), predictions, Wanted())
    with pytest.raises(UsageError, match=r"no instance to judge by$"):
        evaluate_files(_write(tmp_path / "truth.json", {"database": empty}), predictions, Wanted(subset="all"))
    more = {**empty, "b": {**VIDEO, "subset": "training", "annotations": [DIVE]}}
    with pytest.raises(UsageError, match=r"no instance to judge by; choose with --subset$"):
        evaluate_files(_write(tmp_path / "truth.json", {"database": more}), predictions, Wanted())
