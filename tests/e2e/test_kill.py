"""kill -9 in the middle of `kloc run`: it completes afterwards, with the result of an undisturbed run."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

from benchmarks.measures.kill import fresh_workspace, leftovers, outcome, run_once


def test_killed_runs_end_like_undisturbed_ones(campaign_files: object, tmp_path: Path) -> None:
    files: Path = campaign_files.folder  # type: ignore[attr-defined]
    start = tmp_path / "start"
    fresh_workspace(start, files)
    shutil.copytree(start, tmp_path / "reference")
    shutil.copytree(start, tmp_path / "killed")
    began = time.monotonic()
    assert run_once(tmp_path / "reference", files)
    duration = time.monotonic() - began
    chance = random.Random(1)
    kills = sum(not run_once(tmp_path / "killed", files, duration * chance.uniform(0.1, 0.8)) for _ in range(2))
    assert kills >= 1, "none of the two attempts was killed in time"
    run_once(tmp_path / "killed", files)
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "reference")
    assert leftovers(tmp_path / "killed") == []
